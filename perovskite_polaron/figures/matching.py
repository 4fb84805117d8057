"""The figure of a calculated steady state matched to a measured one."""

from typing import Any

import numpy as np

from perovskite_polaron.analysis.steady_state import Match
from perovskite_polaron.figures.style import (
    BLUE, GREY, ORANGE, legend, panels, photon_energies, zero_line)


def draw_match(found: Match) -> Any:
    """Draw data, fit and background, the law of the widths, and residuals below each other."""
    figure, (top, middle, bottom) = panels(3, 1, (6.4, 7.0), sharex=True,
                                           height_ratios=(3.2, 1.1, 1.1))
    scan, matched = found.measured, found.found
    e = scan.energy_eV
    top.errorbar(e, scan.intensity, scan.error, fmt="o", ms=2.5, lw=0.7, color=GREY,
                 label=f"measured: {scan.name}", zorder=1)
    top.plot(e, found.model, color=ORANGE, lw=1.6, label=f"fit: {matched.fit.calculated}")
    top.plot(e, found.background, color=BLUE, lw=1.0, ls="--", label="background")
    zero = matched.axis.e0_eV
    for axes in (top, middle, bottom):
        axes.axvline(zero, color="0.6", lw=0.8, ls=":")
        photon_energies(axes)
    top.text(zero, 0.02, f" zero {zero:.2f} ± {matched.error('e0_eV'):.2g} eV", fontsize=9,
             color="0.35", transform=top.get_xaxis_transform())
    top.set_ylabel("absorption (as measured)")
    legend(top, loc="lower left", bbox_to_anchor=(0.0, 1.0))
    width = matched.width
    middle.plot(e, 2 * matched.hwhm_eV(e), color=ORANGE, lw=1.4,
                label=f"Lorentzian, {width.model}")
    middle.axhline(width.resolution_fwhm_eV, color=BLUE, lw=1.0, ls="--", label="Gaussian")
    middle.set(ylabel="FWHM (eV)", ylim=(0, 1.5 * middle.get_ylim()[1]))
    legend(middle, fontsize=9, loc="upper left", ncols=2)
    scale = np.ones(len(e)) if scan.error is None else scan.error
    bottom.plot(e, (scan.intensity - found.model) / scale, "o-", ms=2.5, lw=0.7, color=GREY)
    zero_line(bottom)
    bottom.set(xlabel="photon energy (eV)", ylabel="residual" + (" (σ)" if scan.error is not None
                                                                else ""), xlim=(e[0], e[-1]))
    figure.align_ylabels([top, middle, bottom])
    return figure
