"""Figure of a projected density of states: the shells that make the bands on either side of the gap."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.report.compare_figure import COLOURS
from perovskite_polaron.report.sweep_figure import save
from perovskite_polaron.spectra.projected import BandEdge

# A shell that is below this part of the largest total, and of both band edges, is left to the grey of all states.
_SEEN = 0.03


def write_pdos_figure(
    energy_eV: NDArray[np.float64], curves: Mapping[str, NDArray[np.float64]], edges: Sequence[BandEdge], path: Path
) -> Path:
    """Draw all states in grey, the shells over them, and the gap with its width; .png, .svg or .pdf.

    energy_eV (n,): from the valence band maximum. curves: ``total`` and each shell, (n,), states per eV and cell.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.9), layout="constrained")
    axes = figure.subplots()
    total = curves["total"]
    axes.fill_between(energy_eV, total, color="0.9", lw=0, label="all states")
    for n, label in enumerate(seen_shells(curves, edges)):
        style = "-" if n < len(COLOURS) else "--"
        axes.plot(energy_eV, curves[label], color=COLOURS[n % len(COLOURS)], ls=style, lw=1.4, label=label)
    top = 1.08 * float(total.max())
    valence, conduction = edges
    for edge in edges:
        axes.axvline(edge.energy_eV, color="0.5", lw=0.7, ls=":")
    middle = 0.5 * (valence.energy_eV + conduction.energy_eV)
    axes.annotate(
        f"gap\n{conduction.energy_eV:.2f} eV", (middle, 0.93 * top), ha="center", va="top", fontsize=8, color="0.25"
    )
    axes.text(0.01, 0.98, "without spin–orbit coupling", fontsize=8, color="0.25", va="top", transform=axes.transAxes)
    axes.set(
        xlim=(energy_eV[0], energy_eV[-1]),
        ylim=(0, top),
        xlabel="energy from the valence band maximum (eV)",
        ylabel="density of states (1/eV per cell)",
    )
    axes.legend(frameon=False, fontsize=8, ncols=len(axes.get_legend_handles_labels()[0]), loc="lower center",
                bbox_to_anchor=(0.5, 1.0), columnspacing=1.1, handlelength=1.4)  # fmt: skip
    return save(figure, path)


def seen_shells(curves: Mapping[str, NDArray[np.float64]], edges: Sequence[BandEdge]) -> list[str]:
    """Return the shells that a figure of these curves shows: by their part in the band edges, then by height."""
    part = {label: max(e.shares[label] for e in edges) for label in curves if label != "total"}
    height = {label: float(curves[label].max() / max(curves["total"].max(), 1e-300)) for label in part}
    seen = [label for label in part if max(part[label], height[label]) >= _SEEN]
    return sorted(seen, key=lambda label: (-part[label], -height[label]))
