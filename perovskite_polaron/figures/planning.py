"""Figures of planned measurements: where to measure, and the errors to expect."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from perovskite_polaron.analysis.beamtime import SpectrumPlan
from perovskite_polaron.analysis.design import Design
from perovskite_polaron.arrays import Array
from perovskite_polaron.figures.delay_axis import DelayAxis
from perovskite_polaron.figures.style import (
    BLUE, GREY, INK, ORANGE, legend, panels, photon_energies, zero_line)
from perovskite_polaron.kernels.convolution import exponential_gaussian


def draw_spectrum_plan(plan: SpectrumPlan, best: Array, scans: Sequence[int],
                       errors: Sequence[Sequence[float]], chosen: int) -> Any:
    """Draw the expected transient with the time at each energy, and errors against scans."""
    figure, (top, middle, bottom) = panels(3, 1, (6.4, 7.6), height_ratios=(2, 1.2, 2))
    energy, design = plan.design.points, plan.design
    signal = plan.strength * plan.curve
    top.plot(energy, 100 * signal, color=ORANGE, lw=1.6, label="expected transient")
    for k in np.flatnonzero(best):
        top.axvline(energy[k], color=BLUE, lw=0.8, ls=":")
    zero_line(top)
    top.set_ylabel("change\n(% of the edge step)")
    legend(top)
    middle.vlines(energy[best > 0], 0, 100 * best[best > 0], color=BLUE, lw=3)
    middle.axhline(100 / len(energy), color=GREY, lw=1.0, ls="--", label="equally spaced")
    middle.set(ylabel="share of\nthe time (%)", xlabel="photon energy (eV)",
               ylim=(0, 135 * best.max()))  # the legend is above the highest
    legend(middle, fontsize=9, loc="upper left")
    step_eV = design.points[1] - design.points[0]
    for axes in (top, middle):
        axes.set_xlim(design.points[0] - step_eV, design.points[-1] + step_eV)
        photon_energies(axes)
    top.tick_params(labelbottom=False)
    expected = abs(plan.strength) * plan.per_strength
    relative = 100 * np.array(errors) / expected
    bottom.loglog(scans, relative[:, 0], "o-", color=BLUE, ms=4, label="best energies")
    bottom.loglog(scans, relative[:, 1], "s--", color=GREY, ms=4, label="equally spaced")
    bottom.axvline(chosen, color=INK, lw=0.8, ls=":")
    bottom.text(chosen, 0.03, f" {chosen} scans", fontsize=9,
                transform=bottom.get_xaxis_transform())
    what = "f·Q²" if plan.scenario.power == 2 else "f·Q"
    bottom.set(xlabel="scans", ylabel=f"error of {what if plan.scenario.sweep else 'the strength'}"
               " (%)")
    for axis in (bottom.xaxis, bottom.yaxis):
        axis.set_major_formatter("{x:g}")
    legend(bottom)
    figure.align_ylabels([top, middle, bottom])
    return figure


def draw_delay_plan(design: Design, best: Array, lifetimes_ps: Sequence[float],
                    fractions: Sequence[float], sigma_ps: float) -> Any:
    """Draw the expected trace, and the share of the points at each delay."""
    delay = design.points
    axis = DelayAxis(float(delay[0]), float(delay[-1]), sigma_ps)
    figure, (tops, bottoms) = axis.panels(2, (6.4, 4.8), (2, 1.2))
    fine = axis.fine_ps
    decays = np.asarray(exponential_gaussian(fine, lifetimes_ps, sigma_ps)) @ np.array(fractions)
    rest = (1 - sum(fractions)) * np.asarray(exponential_gaussian(fine, np.inf, sigma_ps))
    for top, bottom in zip(tops, bottoms, strict=True):
        top.plot(fine, decays + rest, color=ORANGE, lw=1.6)
        for k in np.flatnonzero(best):
            top.axvline(delay[k], color=BLUE, lw=0.8, ls=":")
        zero_line(top)
        bottom.vlines(delay[best > 0], 0, 100 * best[best > 0], color=BLUE, lw=3)
    tops[0].set_ylabel("signal / sum of amplitudes")
    bottoms[0].set(ylabel="share of\nthe points (%)", ylim=(0, None))
    figure.supxlabel(axis.label, fontsize=10)
    tops[0].set_title("expected trace, and where its points are best", fontsize=9, loc="left")
    figure.align_ylabels([tops[0], bottoms[0]])
    return figure
