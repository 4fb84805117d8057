"""How the parts of a transient go with delay."""

from typing import Any

import numpy as np

from perovskite_polaron.analysis.map_fit import Followed
from perovskite_polaron.figures.delay_axis import DelayAxis
from perovskite_polaron.figures.style import PALETTE, photon_energies, zero_line

#: Of the strength of a part, for its axis.
_UNITS = {"shift": "\n(f × eV)", "screening": "\n(f × eV)", "carriers": "\n(f × 10¹⁹ cm⁻³)"}
#: Residuals beyond this many errors have the last colour.
_MOST = 4.0


def draw_delays(found: Followed) -> Any:
    """Draw the strength of each part against delay, and what is left of the map.

    Points are what each delay alone says, lines the time laws with their errors (1σ) as bands.
    """
    best, data = found.best, found.data
    parts, kinetics = best.model.shapes.parts, best.model.kinetics
    axis = DelayAxis(data.delay_ps[0], data.delay_ps[-1], kinetics.sigma_ps)
    figure, rows = axis.panels(len(parts) + 1, (6.4, 1.9 * len(parts) + 3.2),
                               (*[1.0] * len(parts), 1.5))
    law, error = best.strengths(axis.fine_ps)
    for i, (part, row) in enumerate(zip(parts, rows[:-1], strict=True)):
        colour = PALETTE[i % len(PALETTE)]
        for panel in row:
            panel.errorbar(data.delay_ps, found.strengths[i], found.errors[i], fmt="o", ms=3,
                           lw=0.8, color=colour)
            panel.fill_between(axis.fine_ps, law[i] - error[i], law[i] + error[i], color=colour,
                               alpha=0.25, lw=0)
            panel.plot(axis.fine_ps, law[i], color=colour)
            zero_line(panel)
            panel.tick_params(labelbottom=i == len(parts) - 1)
        (tau, tau_error) = best.lifetimes_ps(i)
        said = ", ".join(f"{t:.3g} ± {e:.2g}" for t, e in zip(tau, tau_error, strict=True))
        row[0].set_title(f"{part.name}: τ = {said} ps", fontsize=9, loc="left")
        row[0].set_ylabel(f"strength{_UNITS.get(part.kind, '')}")
    rows[-2][0].set_xlabel(axis.label)
    # The map has energies below it, and takes the whole row.
    place = rows[-1][0].get_gridspec()[-1, :]
    for panel in rows[-1]:
        panel.remove()
    last = figure.add_subplot(place)
    image = last.pcolormesh(data.energy_eV, np.arange(len(data.delay_ps) + 0.0), found.residuals,
                            cmap="RdBu_r", vmin=-_MOST, vmax=_MOST, shading="nearest",
                            rasterized=True)
    ticks = np.unique(np.linspace(0, len(data.delay_ps) - 1, 6).round().astype(int))
    last.set_yticks(ticks, [f"{data.delay_ps[n]:.0f}" for n in ticks])
    photon_energies(last)
    last.set(xlabel="photon energy (eV)", ylabel="delay (ps)")
    figure.colorbar(image, ax=last, label="residual (σ)", extend="both")
    figure.align_ylabels([*(row[0] for row in rows[:-1]), last])
    return figure
