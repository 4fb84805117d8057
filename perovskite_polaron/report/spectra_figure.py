"""Figures of a study's spectra: steady states with their differences, the sites, and what the alignment does."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.report.sweep_figure import save
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
