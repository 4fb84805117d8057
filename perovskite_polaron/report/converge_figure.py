"""Figure of convergence: how far the difference spectrum moves with each setting, and what it looks like."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from perovskite_polaron.report.sweep_figure import BLUE, ORANGE, save
from perovskite_polaron.workflow.converge import Movement
from perovskite_polaron.workflow.spectra import StudySpectra

_NAMES = {
    "cutoff": "cut-off of the wave functions",
    "kpoints": "k grid of the density",
    "spectrum-kpoints": "k grid of the spectrum",
    "lanczos": "Lanczos steps",
}


def write_converge_figure(
    found: Mapping[str, tuple[Sequence[Movement], Sequence[StudySpectra]]], tolerance_percent: float, path: Path
) -> Path:
    """Draw one row for each setting: movements (logarithmic) on the left, the difference spectra on the right."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, 3.1 * len(found)), layout="constrained")
    axes = figure.subplots(len(found), 2, squeeze=False, width_ratios=(1, 1.5))
    for (left, right), (setting, (rows, spectra)) in zip(axes, found.items(), strict=True):
        places = np.arange(len(rows) - 1)
        for key, colour, marker, label in (
            ("difference_percent", ORANGE, "o", "difference"),
            ("spectrum_percent", BLUE, "s", "reference spectrum"),
        ):
            left.plot(places, [getattr(r, key) for r in rows[:-1]], marker=marker, color=colour, label=label)
        left.axhline(tolerance_percent, color="0.5", linestyle="--", linewidth=1, label="allowed")
        left.set_yscale("log")
        left.set_xticks(places, [r.value.rpartition("/")[2] for r in rows[:-1]])
        left.margins(x=0.15)
        left.set(xlabel=_NAMES.get(setting, setting), ylabel=f"change up to {rows[-1].value} (%)")
        left.legend(frameon=False, fontsize=8)
        name = next(n for n, d in spectra[-1].differences.items() if np.any(d.intensity))
        shades = colormaps["viridis"](np.linspace(0.9, 0.0, len(rows)))
        for row, one, shade in zip(rows, spectra, shades, strict=True):
            d = one.differences[name]
            right.plot(d.energy_eV, d.intensity, color=shade, linewidth=1.2, label=row.value)
        right.axhline(0, color="0.7", linewidth=0.6)
        right.set(xlabel="energy from the reference's mean edge (eV)", ylabel=f"{name} − {spectra[-1].reference}")
        right.legend(frameon=False, fontsize=8)
    return save(figure, path)
