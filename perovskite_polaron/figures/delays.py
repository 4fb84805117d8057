"""How the parts of a transient go with delay."""

from typing import Any

import numpy as np

from perovskite_polaron.analysis.map_fit import Followed
from perovskite_polaron.figures.style import PALETTE, panels, photon_energies, zero_line

#: Of the strength of a part, for its axis.
_UNITS = {"shift": "\n(f × eV)", "carriers": "\n(f × 10¹⁹ cm⁻³)"}
#: Residuals beyond this many errors have the last colour.
_MOST = 4.0


def draw_delays(found: Followed) -> Any:
    """Draw the strength of each part against delay, and what is left of the map.

    Points are what each delay alone says, lines the time laws with their errors (1σ) as bands. The
    delay axis is linear up to ten times the width of the response, then logarithmic.
    """
    best, data = found.best, found.data
    parts, kinetics = best.model.shapes.parts, best.model.kinetics
    figure, axes = panels(len(parts) + 1, 1, (6.4, 1.9 * len(parts) + 3.2),
                          height_ratios=(*[1.0] * len(parts), 1.5))
    low, high = data.delay_ps[0], data.delay_ps[-1]
    linear = 10 * kinetics.sigma_ps
    # No point sits on the frame.
    ends = low - 0.03 * min(linear, high - low) - 5, high * 1.15
    curve = np.unique(np.r_[np.linspace(ends[0], min(linear, ends[1]), 500),
                            np.geomspace(linear, max(linear, ends[1]), 400)])
    law, error = best.strengths(curve)
    for i, (part, panel) in enumerate(zip(parts, axes[:-1], strict=True)):
        colour = PALETTE[i % len(PALETTE)]
        panel.errorbar(data.delay_ps, found.strengths[i], found.errors[i], fmt="o", ms=3, lw=0.8,
                       color=colour)
        panel.fill_between(curve, law[i] - error[i], law[i] + error[i], color=colour, alpha=0.25,
                           lw=0)
        panel.plot(curve, law[i], color=colour)
        zero_line(panel)
        (tau, tau_error) = best.lifetimes_ps(i)
        said = ", ".join(f"{t:.3g} ± {e:.2g}" for t, e in zip(tau, tau_error, strict=True))
        panel.set_title(f"{part.name}: τ = {said} ps", fontsize=9, loc="left")
        panel.set_ylabel(f"strength{_UNITS.get(part.kind, '')}")
        panel.tick_params(labelbottom=i == len(parts) - 1)
        panel.set_xlim(*ends)
        if high > linear:
            panel.set_xscale("symlog", linthresh=linear, linscale=2)
    axes[-2].set_xlabel("delay (ps)")
    last = axes[-1]
    image = last.pcolormesh(data.energy_eV, np.arange(len(data.delay_ps) + 0.0), found.residuals,
                            cmap="RdBu_r", vmin=-_MOST, vmax=_MOST, shading="nearest",
                            rasterized=True)
    rows = np.unique(np.linspace(0, len(data.delay_ps) - 1, 6).round().astype(int))
    last.set_yticks(rows, [f"{data.delay_ps[n]:.5g}" for n in rows])
    photon_energies(last)
    last.set(xlabel="photon energy (eV)", ylabel="delay (ps)")
    figure.colorbar(image, ax=last, label="residual (σ)", extend="both")
    figure.align_ylabels(list(axes))
    return figure
