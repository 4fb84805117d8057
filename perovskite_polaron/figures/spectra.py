"""Figures of calculated spectra: differences, sites, alignment, shells of bands, convergence."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from perovskite_polaron.arrays import Array
from perovskite_polaron.figures.style import (
    BLUE, GREY, ORANGE, PALETTE, colours, legend, panels, shades, zero_line)
from perovskite_polaron.spectra.budget import sigma
from perovskite_polaron.spectra.projected import BandEdge
from perovskite_polaron.workflow.converge import Movement
from perovskite_polaron.workflow.engines import Agreement
from perovskite_polaron.workflow.spectra import StudySpectra

ENERGY_LABEL = "energy above the reference edge (eV)"
PHOTON_LABEL = "photon energy (eV)"


def draw_difference(spectra: StudySpectra, edge_eV: float | None = None, *, width_in: float = 7.0,
                    extra_panels: int = 0) -> tuple[Any, list[Any]]:
    """Draw the averaged spectra above and their differences from the reference below.

    Each entry of the study has a panel of its own for its differences (they can differ in size by
    an order of magnitude); the points of a sweep share one. Bands are what the settings may still
    change (1σ), where that was estimated.

    Parameters
    ----------
    spectra
        What to draw.
    edge_eV
        Photon energy of the calculated zero, if the axis is to be the experimental one.
    width_in, extra_panels
        Width of the figure, inches, and number of empty panels at the bottom.

    Returns
    -------
    tuple
        The figure and its panels.
    """
    entries: dict[str, list[str]] = {}
    for name in spectra.differences:
        entries.setdefault(name.split("@")[0], []).append(name)
    lower = len(entries) + extra_panels
    figure, axes = panels(1 + lower, 1, (width_in, 3.8 + 2.0 * lower), sharex=True,
                          height_ratios=(3.2, *(2.0,) * lower))
    # Points of a sweep are coloured in their order, everything else by a colour of its own.
    sweeps = [names for names in entries.values() if len(names) > 1]
    alone = [n for n in spectra.structures if not any(n in names for names in sweeps)]
    colour_of = dict(zip(alone, colours(len(alone)), strict=True))
    for names in sweeps:
        colour_of |= dict(zip(names, shades(len(names)), strict=True))
    top = _maximum(spectra)
    for name, structure in spectra.structures.items():
        x = structure.average.energy_eV + (edge_eV or 0.0)
        axes[0].plot(x, structure.average.intensity / top, color=colour_of[name], lw=1.5,
                     label=name)
    axes[0].set_ylabel("absorption\n(reference maximum = 1)")
    legend(axes[0], fontsize=None)
    axes[0].set_title(_settings(spectra), fontsize=9)
    for ax, (entry, names) in zip(axes[1:], entries.items(), strict=False):
        for name in names:
            x = spectra.differences[name].energy_eV + (edge_eV or 0.0)
            ax.plot(x, percent(spectra, name), color=colour_of[name], lw=1.5,
                    label=f"{name} − {spectra.base_of(name)}")
            calculated = sigma(spectra.budget[name]) if name in spectra.budget else None
            for band, alpha in ((calculated, 0.25), (spectra.error_percent(name), 0.45)):
                if band is not None:
                    ax.fill_between(x, percent(spectra, name) - band, percent(spectra, name) + band,
                                    color=colour_of[name], alpha=alpha, lw=0)
        zero_line(ax)
        ax.set_ylabel("difference\n(% of maximum)")
        if len(names) == 1:
            ax.set_title(_bands(spectra, names), fontsize=9, loc="right", color="0.35")
            legend(ax)
        else:
            # No place is free of curves for so many names; the colours are those above.
            ax.set_title(f"{entry} − {spectra.base_of(names[0])}, colours as above\n"
                         f"{_bands(spectra, names)}", fontsize=9, loc="left")
    axes[-1].set_xlabel(axis_label(edge_eV))
    return figure, list(axes)


def _bands(spectra: StudySpectra, names: Sequence[str]) -> str:
    """Say what the bands of a panel are."""
    sampled = [spectra.errors[n] for n in names if n in spectra.errors]
    words = []
    if sampled:
        how = "common random numbers" if sampled[0].paired else "no common random numbers"
        words.append(f"standard error of {min(e.samples for e in sampled)} snapshots (1σ, {how})")
    if any(name in spectra.budget for name in names):
        words.append("calculation error (1σ)")
    if words:
        return "band: " + "; ".join(words)
    return "calculation error not estimated"


def _maximum(spectra: StudySpectra) -> float:
    return float(spectra.structures[spectra.reference].average.intensity.max())


def percent(spectra: StudySpectra, name: str) -> Array:
    """Return the difference (n,) of a structure in % of the reference's maximum."""
    return spectra.percent(name)


_ALIGNED = {"xspectra": "aligned by ΔSCF", "feff": "aligned by the edges of FEFF"}


def _settings(spectra: StudySpectra) -> str:
    s = spectra.settings
    return (f"{_alignment(spectra)}\ncore hole HWHM {s.core_hole_hwhm_eV:.3g} eV ({s.width_model}),"
            f" resolution FWHM {s.resolution_fwhm_eV:.3g} eV")


def _alignment(spectra: StudySpectra) -> str:
    aligned = spectra.settings.alignment == "delta-scf"
    words = _ALIGNED[spectra.engine] if aligned else "each at its own Fermi energy"
    return f"{words}, {spectra.part}" if spectra.part else words


def draw_engines(agreed: Sequence[Agreement], mine: str, other: str) -> Any:
    """Draw each difference from both engines, from the first maximum of each reference.

    Parameters
    ----------
    agreed
        What to draw.
    mine, other
        Names of the engines.
    """
    figure, axes = panels(len(agreed), 1, (7.0, 1.0 + 2.0 * len(agreed)), sharex=True)
    for ax, one in zip(axes, agreed, strict=True):
        ax.axvspan(one.from_eV, one.to_eV, color="0.94", zorder=-1)
        for curve, name, colour in ((one.mine, mine, BLUE), (one.other, other, ORANGE)):
            ax.plot(one.energy_eV, curve, color=colour, lw=1.5, label=name)
        zero_line(ax)
        ax.set_title(f"{one.name}: correlation {one.correlation:.2f} in grey", fontsize=9,
                     loc="left")
        ax.set_ylabel("difference\n(% of maximum)")
    legend(axes[0])
    axes[-1].set_xlabel("energy above the first maximum (eV)")
    return figure


def draw_sites(spectra: StudySpectra, edge_eV: float | None = None) -> Any:
    """Draw the spectrum of each site with the average of its structure, over one maximum.

    With the photon energy of the calculated zero the axis is the experimental one.
    """
    names = list(spectra.structures)
    figure, axes = panels(len(names), 1, (7.0, 1.2 + 2.3 * len(names)), sharex=True)
    top = _maximum(spectra)
    for ax, name in zip(axes, names, strict=True):
        one = spectra.structures[name]
        total = sum(one.multiplicities.values())
        ax.plot(one.average.energy_eV + (edge_eV or 0.0), one.average.intensity / top, color=GREY,
                lw=3, label="average")
        for colour, (site, spectrum) in zip(colours(len(one.sites)), one.sites.items(),
                                            strict=True):
            ax.plot(spectrum.energy_eV + (edge_eV or 0.0), spectrum.intensity / top, color=colour,
                    lw=1.3,
                    label=f"{site}, weight {one.multiplicities[site]}/{total}")
        ax.set_title(name, fontsize=10, loc="left")
        ax.set_ylabel("absorption")
        legend(ax, fontsize=9)
    axes[-1].set_xlabel(axis_label(edge_eV))
    return figure


def axis_label(edge_eV: float | None) -> str:
    """Return what the energies of a figure are: photon energies where the edge is known."""
    return ENERGY_LABEL if edge_eV is None else PHOTON_LABEL


def draw_alignment(spectra: StudySpectra, other: StudySpectra, names: Sequence[str],
                   width_in: float = 7.0, edge_eV: float | None = None) -> Any:
    """Draw the differences of named structures with the study's alignment and with it switched.

    With the photon energy of the calculated zero the axis is the experimental one.
    """
    rows = max(len(names), 1)
    figure, axes = panels(rows, 1, (width_in, 1.4 + 2.4 * rows), sharex=True)
    for ax, name in zip(axes, names, strict=False):
        for colour, style, one in ((ORANGE, "-", spectra), (BLUE, "--", other)):
            ax.plot(one.differences[name].energy_eV + (edge_eV or 0.0), percent(one, name),
                    color=colour, ls=style, lw=1.4, label=_alignment(one))
        zero_line(ax)
        ax.set_title(f"{name} − {spectra.base_of(name)}", fontsize=10, loc="left")
        ax.set_ylabel("difference (% of maximum)")
        legend(ax)
    axes[-1].set_xlabel(axis_label(edge_eV))
    return figure


# A shell below this part of the largest total, and of both band edges, is left to the grey.
_SEEN = 0.03


# Characters of a line of the legend above a figure, and those that a handle is worth.
_LEGEND_WIDTH, _HANDLE = 80, 6


def draw_pdos(energy_eV: Array, curves: Mapping[str, Array], edges: Sequence[BandEdge]) -> Any:
    """Draw all states in grey, the shells over them, and the gap with its width; of two spins up
    above zero and down below.

    Parameters
    ----------
    energy_eV
        (n,) from the valence band maximum.
    curves
        ``total`` and each shell, (n,), states per eV and cell; of two spins each with its name.
    edges
        Valence band maximum and conduction band minimum, of each spin.
    """
    figure, (axes,) = panels(1, 1, (6.4, 3.9))
    polarised = "total" not in curves
    sides = {" up": 1, " down": -1} if polarised else {"": 1}
    for spin, side in sides.items():
        total = side * curves[f"total{spin}"]
        axes.fill_between(energy_eV, total, color="0.9", lw=0,
                          label="all states" if side > 0 else None)
        for n, label in enumerate(seen_shells(curves, edges)):
            axes.plot(energy_eV, side * curves[label + spin], color=PALETTE[n % len(PALETTE)],
                      ls="-" if n < len(PALETTE) else "--", lw=1.4,
                      label=label if side > 0 else None)
    top = (1.2 if polarised else 1.08) * max(float(curves[f"total{spin}"].max()) for spin in sides)
    low = max(e.energy_eV for e in edges if e.name == "VBM")
    high = min(e.energy_eV for e in edges if e.name == "CBM")
    for energy in (low, high):
        axes.axvline(energy, color=GREY, lw=0.7, ls=":")
    axes.annotate(f"gap\n{high - low:.2f} eV", ((low + high) / 2, 0.93 * top), ha="center",
                  va="top", fontsize=9, color="0.25")
    axes.text(0.01, 0.98, "without spin–orbit coupling", fontsize=9, color="0.25", va="top",
              transform=axes.transAxes)
    if polarised:
        zero_line(axes)
        for word, place in (("up", 0.9), ("down", 0.04)):
            axes.text(0.99, place, f"spin {word}", fontsize=9, color="0.25", ha="right",
                      transform=axes.transAxes)
    axes.set(xlim=(energy_eV[0], energy_eV[-1]), ylim=(-top if polarised else 0, top),
             xlabel="energy from the valence band maximum (eV)",
             ylabel="density of states (1/eV per cell)")
    names = axes.get_legend_handles_labels()[1]
    lines = -(-sum(len(name) + _HANDLE for name in names) // _LEGEND_WIDTH)
    legend(axes, fontsize=9, ncols=-(-len(names) // lines), loc="lower center",
           bbox_to_anchor=(0.5, 1.0), columnspacing=1.1, handlelength=1.4)
    return figure


def seen_shells(curves: Mapping[str, Array], edges: Sequence[BandEdge]) -> list[str]:
    """Return the shells that the figure shows: by their part in the band edges, then by height."""
    spins = dict.fromkeys(f" {e.spin}".rstrip() for e in edges)
    most = max(*(float(curves[f"total{spin}"].max()) for spin in spins), 1e-300)
    part = {s: max(e.shares[s] for e in edges) for s in edges[0].shares}
    height = {s: max(float(curves[s + spin].max()) for spin in spins) / most for s in part}
    seen = [s for s in part if max(part[s], height[s]) >= _SEEN]
    return sorted(seen, key=lambda s: (-part[s], -height[s]))


_SETTINGS = {
    "cutoff": "cut-off of the wave functions",
    "kpoints": "k grid of the density",
    "spectrum-kpoints": "k grid of the spectrum",
    "lanczos": "Lanczos steps"}


def draw_converge(found: Mapping[str, tuple[Sequence[Movement], Sequence[StudySpectra]]],
                  tolerance_percent: float) -> Any:
    """Draw a row for each setting: changes (logarithmic) on the left, differences on the right."""
    figure, axes = panels(len(found), 2, (10.0, 3.1 * len(found)), width_ratios=(1, 1.5))
    curves = (("difference_percent", ORANGE, "o", "difference"),
              ("spectrum_percent", BLUE, "s", "reference spectrum"))
    # No place inside is free of curves at every setting.
    above = {"fontsize": 8, "loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "columnspacing": 1.0,
             "handlelength": 1.4}
    for left, right, (setting, (rows, spectra)) in zip(axes[::2], axes[1::2], found.items(),
                                                       strict=True):
        places = np.arange(len(rows) - 1)
        for key, colour, marker, label in curves:
            left.plot(places, [getattr(r, key) for r in rows[:-1]], marker=marker, color=colour,
                      label=label)
        left.axhline(tolerance_percent, color="0.5", linestyle="--", linewidth=1, label="allowed")
        left.set_yscale("log")
        left.set_xticks(places, [r.value.rpartition("/")[2] for r in rows[:-1]])
        left.margins(x=0.15)
        left.set(xlabel=_SETTINGS.get(setting, setting),
                 ylabel=f"change up to {rows[-1].value} (%)")
        legend(left, ncols=3, **above)
        name = next(n for n, d in spectra[-1].differences.items() if np.any(d.intensity))
        # The last value, which the others are judged by, is the darkest.
        for row, one, shade in zip(rows, spectra, shades(len(rows))[::-1], strict=True):
            right.plot(one.differences[name].energy_eV, percent(one, name), color=shade,
                       linewidth=1.2, label=row.value)
        zero_line(right)
        right.set(xlabel=ENERGY_LABEL, ylabel=f"{name} − {spectra[-1].reference}\n(% of maximum)")
        legend(right, ncols=7, **above)
    return figure
