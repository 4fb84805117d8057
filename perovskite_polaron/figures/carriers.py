"""What carriers open and block, site by site, and what each way of saying it makes of the sum."""

from typing import Any

import numpy as np

from perovskite_polaron.arrays import Array
from perovskite_polaron.figures.style import (
    BLUE, GREY, INK, ORANGE, PALETTE, legend, panels, zero_line)
from perovskite_polaron.workflow.carriers import CarrierSpectra

_ENERGY_LABEL = "energy from the mean edge of the reference (eV)"
# What lies so many eV below and above the edges of the gap is drawn.
_BEFORE_EV, _BEYOND_EV = 9.0, 12.0


def draw_carriers(found: CarrierSpectra, maximum: float, edge_eV: float | None = None) -> Any:
    """Draw the channels of each site over those of the average, by each way.

    Parameters
    ----------
    found
        The channels.
    maximum
        The reference's largest absorption, which 100 % is.
    edge_eV
        Photon energy of the calculated zero, for the axis.
    """
    figure, (upper, lower) = panels(2, 1, (6.8, 6.2), sharex=True)
    zero = edge_eV or 0.0
    x, percent = found.energy_eV + zero, 100 / maximum
    for site, colour in zip(found.sites, PALETTE, strict=False):
        label = f"{site.label} ({site.multiplicity})"
        upper.plot(x, percent * site.projection.opened, color=colour, lw=1.5, label=label)
        upper.plot(x, -percent * site.chain.blocked, color=colour, lw=1.5, ls="--")
    given = found.carriers
    upper.set_title(f"{given.density_per_cm3:.3g} pairs per cm³ at {given.temperature_K:g} K:"
                    " opened (solid) and blocked (dashed) channels of each absorber",
                    fontsize=9, loc="left")
    ways: list[tuple[str, str, str, Array]] = [
        ("opened without, blocked with core hole", "-", INK, found.difference),
        ("both with core hole", "--", BLUE,
         found.mean([s.chain.opened - s.chain.blocked for s in found.sites])),
        ("both without", ":", ORANGE,
         found.mean([s.projection.opened - s.projection.blocked for s in found.sites]))]
    for label, style, colour, curve in ways:
        lower.plot(x, percent * curve, color=colour, ls=style, lw=1.6, label=label)
    lower.set_title("their sum, averaged over all absorbers", fontsize=9, loc="left")
    for axes in (upper, lower):
        zero_line(axes)
        for name, at in zip(("VBM", "CBM"), found.edges_eV, strict=True):
            axes.axvline(at + zero, color=GREY, lw=0.8, ls=":")
            axes.annotate(name, (at + zero, 0.02), xycoords=("data", "axes fraction"), fontsize=9,
                          color="0.25", ha="right" if name == "VBM" else "left",
                          xytext=(-3 if name == "VBM" else 3, 0), textcoords="offset points")
        axes.set_ylabel("change (% of maximum)")
        axes.margins(y=0.14)
        legend(axes)
    low = max(x[0], zero + found.edges_eV[0] - _BEFORE_EV)
    lower.set_xlim(low, min(x[-1], zero + found.edges_eV[1] + _BEYOND_EV))
    lower.set_xlabel(_ENERGY_LABEL if edge_eV is None else "photon energy (eV)")
    return figure


def columns(found: CarrierSpectra, maximum: float) -> dict[str, Array]:
    """Return the data of the figure as columns, in % of the reference's maximum."""
    percent = 100 / maximum
    rows: dict[str, Array] = {"energy_eV": found.energy_eV}
    for site in found.sites:
        for way, one in (("without core hole", site.projection), ("with core hole", site.chain)):
            rows[f"{site.label} opened {way} (%)"] = percent * one.opened
            rows[f"{site.label} blocked {way} (%)"] = percent * one.blocked
    mean = {"opened": found.opened, "blocked": found.blocked, "difference": found.difference}
    return rows | {f"{name} (%)": np.asarray(percent * curve) for name, curve in mean.items()}
