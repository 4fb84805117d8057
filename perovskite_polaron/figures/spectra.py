"""Figures of a study's spectra: steady states with their differences, the sites, and what the alignment does.

Figure of a projected density of states: the shells that make the bands on either side of the gap.

Figure of convergence: how far the difference spectrum moves with each setting, and what it looks like.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.figures.measured import COLOURS
from perovskite_polaron.figures.style import BLUE, ORANGE, save
from perovskite_polaron.spectra.projected import BandEdge
from perovskite_polaron.workflow.converge import Movement
from perovskite_polaron.workflow.spectra import StudySpectra

# Okabe and Ito's colours, distinguishable with any colour vision.
_COLOURS = ("#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_ENERGY = "energy above the reference edge (eV)"


def write_difference_figure(spectra: StudySpectra, path: Path, edge_eV: float | None = None) -> Path:
    """Draw the averaged spectra above and their differences from the reference below; .png or .svg.

    Each entry of the study has a panel of its own for its differences (they can differ in size by an order of
    magnitude); the points of a sweep share one. edge_eV: photon energy of the calculated zero, if the caller places the
    axis on the experimental one.
    """
    return save(draw_difference(spectra, edge_eV)[0], path)


def draw_difference(
    spectra: StudySpectra, edge_eV: float | None = None, *, width_in: float = 7.0, extra_panels: int = 0
) -> tuple[Any, list[Any]]:
    """Return the matplotlib figure of write_difference_figure and its panels, with empty ones added at the bottom."""
    entries: dict[str, list[str]] = {}
    for name in spectra.differences:
        entries.setdefault(name.split("@")[0], []).append(name)
    lower = len(entries) + extra_panels
    figure, axes = _panels((width_in, 3.8 + 2.0 * lower), (3.2,) + (2.0,) * lower)
    above, *panels = np.atleast_1d(axes)
    top = float(spectra.structures[spectra.reference].average.intensity.max())
    # Points of a sweep are coloured in their order, everything else by a colour of its own.
    sweeps = [names for names in entries.values() if len(names) > 1]
    alone = [n for n in spectra.structures if not any(n in names for names in sweeps)]
    colours = dict(zip(alone, _cycle(len(alone)), strict=True))
    for names in sweeps:
        colours |= dict(zip(names, shades(len(names)), strict=True))
    for name, structure in spectra.structures.items():
        x = structure.average.energy_eV + (edge_eV or 0.0)
        above.plot(x, structure.average.intensity / top, color=colours[name], lw=1.5, label=name)
    above.set_ylabel("absorption\n(reference maximum = 1)")
    above.legend(frameon=False)
    above.set_title(_settings(spectra), fontsize=9)
    for ax, (entry, names) in zip(panels, entries.items(), strict=False):
        for name in names:
            x = spectra.differences[name].energy_eV + (edge_eV or 0.0)
            ax.plot(x, _percent(spectra, name), color=colours[name], lw=1.5, label=f"{name} − {spectra.reference}")
        ax.axhline(0, color="0.6", lw=0.8)
        ax.set_ylabel("difference\n(% of maximum)")
        if len(names) == 1:
            ax.legend(frameon=False, fontsize=9)
        else:
            # No room is free of curves for so many names, and the colours are those of the spectra above.
            ax.set_title(f"{entry} − {spectra.reference}, colours as above", fontsize=9, loc="left")
    np.atleast_1d(axes)[-1].set_xlabel("photon energy (eV)" if edge_eV is not None else _ENERGY)
    return figure, [above, *panels]


def _percent(spectra: StudySpectra, name: str) -> NDArray[np.float64]:
    base = spectra.structures[spectra.reference].average.intensity
    return 100 * (spectra.structures[name].average.intensity - base) / base.max()


def write_sites_figure(spectra: StudySpectra, path: Path) -> Path:
    """Draw each site's share of the difference: its weighted spectrum minus the reference's average, per structure."""
    names = list(spectra.structures)
    figure, axes = _panels((7.0, 1.2 + 2.3 * len(names)), (1,) * len(names))
    top = float(spectra.structures[spectra.reference].average.intensity.max())
    for ax, name in zip(np.atleast_1d(axes), names, strict=True):
        structure = spectra.structures[name]
        total = sum(structure.multiplicities.values())
        ax.plot(structure.average.energy_eV, structure.average.intensity / top, color="0.7", lw=3, label="average")
        for colour, (site, spectrum) in zip(_cycle(len(structure.sites)), structure.sites.items(), strict=True):
            weight = structure.multiplicities[site]
            ax.plot(
                spectrum.energy_eV,
                spectrum.intensity / top,
                color=colour,
                lw=1.3,
                label=f"{site}, weight {weight}/{total}",
            )
        ax.set_title(name, fontsize=10, loc="left")
        ax.set_ylabel("absorption")
        ax.legend(frameon=False, fontsize=8)
    np.atleast_1d(axes)[-1].set_xlabel(_ENERGY)
    return save(figure, path)


def write_alignment_figure(spectra: StudySpectra, other: StudySpectra, path: Path) -> Path:
    """Draw each difference with the alignment of the study and with it switched."""
    return save(draw_alignment(spectra, other), path)


def draw_alignment(
    spectra: StudySpectra, other: StudySpectra, *, names: Sequence[str] | None = None, width_in: float = 7.0
) -> Any:
    """Return the matplotlib figure of write_alignment_figure; names: of the structures to draw, default all."""
    names = list(spectra.differences) if names is None else names
    figure, axes = _panels((width_in, 1.4 + 2.4 * max(len(names), 1)), (1,) * max(len(names), 1))
    for ax, name in zip(np.atleast_1d(axes), names, strict=False):
        for colour, style, one in (("#D55E00", "-", spectra), ("#0072B2", "--", other)):
            label = "ΔSCF" if one.settings.alignment == "delta-scf" else "each at its own Fermi energy"
            x = one.differences[name].energy_eV
            ax.plot(x, _percent(one, name), color=colour, ls=style, lw=1.4, label=label)
        ax.axhline(0, color="0.6", lw=0.8)
        ax.set_title(f"{name} - {spectra.reference}", fontsize=10, loc="left")
        ax.set_ylabel("difference (% of maximum)")
        ax.legend(frameon=False, fontsize=9)
    np.atleast_1d(axes)[-1].set_xlabel(_ENERGY)
    return figure


def shades(count: int) -> list[Any]:
    """Return colours for an ordered series, dark to light; the pale end, invisible on white, is left out."""
    from matplotlib import colormaps

    return [colormaps["viridis"](x) for x in np.linspace(0, 0.85, count)]


def _cycle(count: int) -> list[Any]:
    return list(_COLOURS[:count]) if count <= len(_COLOURS) else shades(count)


def _panels(size: tuple[float, float], heights: tuple[float, ...]) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(heights), 1, sharex=True, gridspec_kw={"height_ratios": heights})
    return figure, axes


def _settings(spectra: StudySpectra) -> str:
    s = spectra.settings
    align = "ΔSCF-aligned" if s.alignment == "delta-scf" else "each at its own Fermi energy"
    return f"{align}\ncore hole HWHM {s.core_hole_hwhm_eV:g} eV ({s.width_model}), resolution FWHM {s.resolution_fwhm_eV:g} eV"



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
