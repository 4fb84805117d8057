"""Steady states and transients of several edges in one figure, as articles show them."""

from collections.abc import Mapping, Sequence
from typing import Any

from perovskite_polaron.figures.measured import condition
from perovskite_polaron.figures.style import INK, legend, panels, photon_energies, shades, zero_line
from perovskite_polaron.measured.scan import Scan
from perovskite_polaron.spectra.spectrum import Spectrum, norm

#: Scans of the steady state and of transients.
Edge = tuple[Sequence[Scan], Sequence[Scan]]


def draw_edges(edges: Mapping[str, Edge]) -> Any:
    """Draw the steady state of each edge above its transients.

    Each transient is divided by its absolute area, and the legend says the inverse of that: the
    factor that articles print beside their curves.

    Parameters
    ----------
    edges
        Name -> the steady states and the transients; either may be empty.
    """
    count = len(edges)
    figure, axes = panels(2, count, (max(6.4, 4.6 * count), 6.2), height_ratios=(2, 3),
                          sharex="col")
    for column, (name, (steady, transients)) in enumerate(edges.items()):
        top, bottom = axes[column], axes[count + column]
        for scan, colour in zip(steady, [INK, *shades(len(steady))], strict=False):
            top.plot(scan.energy_eV, scan.intensity, color=colour, lw=1.4, label=scan.name)
        ordered = sorted(transients, key=lambda s: s.delay_ps or 0.0)
        for scan, colour in zip(ordered, shades(len(ordered)), strict=True):
            area = norm(Spectrum(scan.energy_eV, scan.intensity), "absolute-area")
            factor = 1 / area if area > 0 else 1.0
            y = factor * scan.intensity
            bottom.plot(scan.energy_eV, y, color=colour, lw=1.1,
                        label=f"{condition(scan)}, × {factor:.4g}")
            if scan.error is not None:
                e = factor * scan.error
                bottom.fill_between(scan.energy_eV, y - e, y + e, color=colour, alpha=0.25, lw=0)
        top.set_title(name)
        zero_line(bottom)
        bottom.set_xlabel("photon energy (eV)")
        for panel, shown in ((top, steady), (bottom, transients)):
            photon_energies(panel)
            panel.margins(x=0)
            if shown:
                legend(panel)
        top.tick_params(labelbottom=False)
    axes[0].set_ylabel("absorption (as treated)")
    axes[count].set_ylabel("transient / absolute area (1/eV)")
    return figure
