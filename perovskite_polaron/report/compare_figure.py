"""Figure of a transient with its scenarios: steady state above, transient with fits, residuals, and f against Q below."""

from pathlib import Path
from typing import Any

import numpy as np

from perovskite_polaron.experiment.fit import Comparison, ScenarioFit
from perovskite_polaron.experiment.scan import Scan
from perovskite_polaron.experiment.scenario import ScenarioSet
from perovskite_polaron.report.sweep_figure import save

COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def write_compare_figure(transient: Scan, found: Comparison, theory: ScenarioSet, offset_eV: float, path: Path) -> Path:
    """Draw it; .png or .svg. The thick line is what is claimed; the others are the best single scenarios, thin.

    Where the best scenario is an odd mode whose f and Q the data do not separate, a last panel shows the pairs that fit
    alike.
    """
    from matplotlib.figure import Figure

    best = found.best
    shown = [f for f in found.fits if len(f.parts) == 1 or f is best][: len(COLOURS)]
    degenerate = best is not None and best.f_q2 is not None and best.amplitude is None
    figure = Figure(figsize=(6.4, 8.6 if degenerate else 7.0), layout="constrained")
    panels: Any = figure.subfigures(2, 1, height_ratios=(7.0, 1.9)) if degenerate else None
    above: Any = figure if panels is None else panels[0]
    top, middle, bottom = above.subplots(3, 1, sharex=True, height_ratios=(2, 3, 1.1))
    inside = (theory.energy_eV + offset_eV >= transient.energy_eV[0] - 8) & (
        theory.energy_eV + offset_eV <= transient.energy_eV[-1] + 1
    )
    x = theory.energy_eV[inside] + offset_eV + (0.0 if best is None else best.shift_eV)
    steady = theory.steady_state[inside]
    top.plot(x, steady / steady.max(), color="0.1", lw=1.5)
    top.set_ylabel("steady state\n(calculated, max. = 1)")
    scale, name = _per(float(np.abs(transient.intensity).max()))
    error = transient.error
    middle.errorbar(
        transient.energy_eV, scale * transient.intensity, None if error is None else scale * error, fmt="o", ms=2.5,
        lw=0.7, color="0.45", label="transient", zorder=1,
    )  # fmt: skip
    for colour, fit in zip(COLOURS, shown, strict=False):
        chosen = fit is best
        middle.plot(
            transient.energy_eV, scale * fit.model, color=colour, lw=2.2 if chosen else 1.1, ls="-" if chosen else "--",
            label=f"{fit.name} (ΔAIC {_rounded(fit.aic - found.fits[0].aic)})", zorder=3 if chosen else 2,
        )  # fmt: skip
        if error is not None and (chosen or (best is None and fit is shown[0])):
            bottom.plot(
                transient.energy_eV, (transient.intensity - fit.model) / error, "o-", ms=2.5, lw=0.7, color=colour
            )
    for axes in (middle, bottom):
        axes.axhline(0, color="0.7", lw=0.8, zorder=0)
    bottom.axhspan(-1, 1, color="0.92", zorder=-1)
    middle.set_ylabel(f"change of absorption{name}")
    middle.legend(frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, columnspacing=1.4)
    bottom.set_ylabel("residual (σ)")
    bottom.set_xlim(transient.energy_eV[0], transient.energy_eV[-1])
    bottom.ticklabel_format(axis="x", useOffset=False)
    bottom.set_xlabel("photon energy (eV)")
    above.align_ylabels()
    if panels is not None and best is not None:
        _pairs(panels[1].subplots(), best)
    return save(figure, path)


def _pairs(axes: Any, best: ScenarioFit) -> None:
    """The pairs of fraction and amplitude with the f·Q² that was found: a band, for they fit alike."""
    largest = best.parts[0].amplitude_sqrt_amu_A or 1.0
    low, middle, high = (max(s, 0.0) * largest**2 for s in (best.interval68[0], best.strength, best.interval68[1]))
    q = np.linspace(max(np.sqrt(middle), 0.05 * largest), max(2.5 * np.sqrt(middle), 1.3 * largest), 300)
    axes.fill_between(q, np.minimum(low / q**2, 1), np.minimum(high / q**2, 1), color=COLOURS[0], alpha=0.3, lw=0)
    axes.plot(q, np.minimum(middle / q**2, 1), color=COLOURS[0], lw=1.6)
    axes.axvline(largest, color="0.5", lw=0.8, ls=":")
    axes.text(
        largest, 0.97, " largest computed", fontsize=8, color="0.35", va="top", transform=axes.get_xaxis_transform()
    )
    axes.set_xlim(q[0], q[-1])
    axes.set_ylim(0, None)
    axes.set_xlabel("amplitude Q (Å√amu)")
    axes.set_ylabel("fraction f")
    axes.text(
        0.98, 0.55, f"these pairs fit alike:\nf·Q² = {middle:.3g} ± {(high - low) / 2:.2g} Å²·amu", fontsize=9, ha="right",
        transform=axes.transAxes,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 2},
    )  # fmt: skip


def _rounded(value: float) -> str:
    return f"{value:.1f}" if abs(value) < 1e5 else f"{value:.1e}"


def _per(largest: float) -> tuple[float, str]:
    """A power of ten that brings the values near one, and how the label says it."""
    power = int(np.floor(np.log10(largest))) if largest > 0 else 0
    return (1.0, "") if -2 <= power <= 2 else (10.0**-power, f"\n(10$^{{{power}}}$)")
