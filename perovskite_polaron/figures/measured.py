"""Figures of measured data: treated spectra, a transient's scenarios, C, kinetics, heating."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from perovskite_polaron.analysis.heating import Heating
from perovskite_polaron.analysis.kinetics import KineticFit
from perovskite_polaron.analysis.scenario_fit import Comparison, ScenarioFit
from perovskite_polaron.analysis.scenarios import ScenarioSet
from perovskite_polaron.analysis.shape_ratio import ShapeRatio, Windows, constancy
from perovskite_polaron.errors import require
from perovskite_polaron.figures.style import (
    BLUE, GREY, INK, ORANGE, PALETTE, TINT, legend, panels, photon_energies, row_or_column, shades,
    zero_line)
from perovskite_polaron.measured.scan import Scan
from perovskite_polaron.published_cspbbr3 import CUBIC_C, TETRAGONAL_C


def draw_scenarios(transient: Scan, found: Comparison, theory: ScenarioSet,
                   offset_eV: float) -> Any:
    """Draw steady state, transient with its scenarios, and residuals below each other.

    The thick line is what is claimed; the thin ones are the best single scenarios. Where the best
    scenario is an odd mode whose f and Q the data do not separate, a last panel shows the pairs
    that fit alike.

    Parameters
    ----------
    transient
        Measured difference spectrum.
    found, theory
        The fits, and the calculated curves that were fitted.
    offset_eV
        Photon energy of the calculated zero, before the fitted shift.
    """
    best = found.best
    pairs = best is not None and best.f_q2 is not None and best.amplitude is None
    heights = (2.0, 3.0, 1.1, 1.7)[: 4 if pairs else 3]
    figure, (top, middle, bottom, *rest) = panels(
        len(heights), 1, (6.4, 8.8 if pairs else 7.0), height_ratios=heights)
    x = theory.energy_eV + offset_eV
    inside = (x >= transient.energy_eV[0] - 8) & (x <= transient.energy_eV[-1] + 1)
    shift = 0.0 if best is None else best.shift_eV
    steady = theory.steady_state[inside]
    top.plot(x[inside] + shift, steady / steady.max(), color=INK, lw=1.5)
    top.set_ylabel("steady state\n(calculated, max. = 1)")
    scale, unit = _power_of_ten(float(np.abs(transient.intensity).max()))
    error = transient.error
    middle.errorbar(transient.energy_eV, scale * transient.intensity,
                    None if error is None else scale * error, fmt="o", ms=2.5, lw=0.7, color=GREY,
                    label="transient", zorder=1)
    shown = [f for f in found.fits if len(f.parts) == 1 or f is best][: len(PALETTE)]
    for colour, fit in zip(PALETTE, shown, strict=False):
        chosen = fit is best
        above = fit.aic - found.fits[0].aic
        words = f"{above:.1f}" if abs(above) < 1e5 else f"{above:.1e}"
        middle.plot(transient.energy_eV, scale * fit.model, color=colour, lw=2.2 if chosen else 1.1,
                    ls="-" if chosen else "--", label=f"{fit.name} (ΔAIC {words})",
                    zorder=3 if chosen else 2)
        if error is not None and (chosen or (best is None and fit is shown[0])):
            residual = (transient.intensity - fit.model) / error
            bottom.plot(transient.energy_eV, residual, "o-", ms=2.5, lw=0.7, color=colour)
    bottom.axhspan(-1, 1, color="0.92", zorder=-1)
    middle.set_ylabel(f"change of absorption{unit}")
    legend(middle, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2,
           columnspacing=1.4)
    bottom.set(xlabel="photon energy (eV)", ylabel="residual (σ)")
    for axes in (top, middle, bottom):
        axes.set_xlim(transient.energy_eV[0], transient.energy_eV[-1])
        photon_energies(axes)
        axes.tick_params(labelbottom=axes is bottom)
    for axes in (middle, bottom):
        zero_line(axes)
    figure.align_ylabels([top, middle, bottom])
    if rest and best is not None:
        _draw_pairs(rest[0], best)
    return figure


def _draw_pairs(axes: Any, best: ScenarioFit) -> None:
    """Draw the pairs of fraction and amplitude with the f·Q² that was found, which fit alike."""
    largest = best.parts[0].amplitude_sqrt_amu_A or 1.0
    low, middle, high = (max(s, 0.0) * largest**2
                         for s in (best.interval68[0], best.strength, best.interval68[1]))
    root = np.sqrt(middle)
    q = np.linspace(max(root, 0.05 * largest), max(2.5 * root, 1.3 * largest), 300)
    axes.fill_between(q, np.minimum(low / q**2, 1), np.minimum(high / q**2, 1), color=ORANGE,
                      alpha=0.3, lw=0)
    axes.plot(q, np.minimum(middle / q**2, 1), color=ORANGE, lw=1.6)
    axes.axvline(largest, color="0.5", lw=0.8, ls=":")
    axes.text(largest, 0.97, " largest computed", fontsize=8, color="0.35", va="top",
              transform=axes.get_xaxis_transform())
    axes.set(xlim=(q[0], q[-1]), ylim=(0, None), xlabel="amplitude Q (Å√amu)", ylabel="fraction f")
    said = f"these pairs fit alike:\nf·Q² = {middle:.3g} ± {(high - low) / 2:.2g} Å²·amu"
    axes.text(0.98, 0.55, said, fontsize=9, ha="right", transform=axes.transAxes,
              bbox={"facecolor": "white", "edgecolor": "none", "pad": 2})


def _power_of_ten(largest: float) -> tuple[float, str]:
    """Return a factor that brings the values near one, and how the label says it."""
    power = int(np.floor(np.log10(largest))) if largest > 0 else 0
    raised = str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return (1.0, "") if -2 <= power <= 2 else (10.0**-power, f"\n(10{raised})")


# series -> its horizontal axis, marker, colour and what fills the marker
_SERIES = {
    "pump-probe": ("delay", "o", BLUE, BLUE),
    "thermal": ("temperature (°C)", "s", ORANGE, "white")}


def draw_shape_ratios(points: Sequence[ShapeRatio], windows: Windows) -> Any:
    """Draw C against delay (below) and temperature (above), on one vertical axis.

    A band shows the weighted mean of the pump-probe points and its standard error, where their
    errors are known.

    Raises
    ------
    InputError
        When no point has a delay or a temperature.
    """
    series = {name: rows for name in _SERIES if (rows := [p for p in points if p.series == name])}
    require(series, "no file says its delay or temperature: put it in the header or the name, as in"
            " br_100ps.xdi")
    times = windows.shown_times
    figure, (axes,) = panels(1, 1, (5.6, 4.2))
    zero_line(axes)
    handles: list[Any] = []
    for name, rows in series.items():
        target = axes if not handles else axes.twiny()
        words, marker, colour, fill = _SERIES[name]
        x = np.array([p.temperature_C if p.delay_ps is None else p.delay_ps for p in rows], float)
        if name == "pump-probe":
            factor, unit = (1e-3, "ns") if x.max() >= 10_000 else (1.0, "ps")
            x, words = factor * x, f"{words} ({unit})"
            if x.min() > 0 and x.max() > 20 * x.min():
                target.set_xscale("log")
                target.xaxis.set_major_formatter("{x:g}")
        known = [p.err for p in rows if p.err is not None]
        errors = times * np.array(known) if len(known) == len(rows) else None
        handles.append(target.errorbar(x, [times * p.value for p in rows], errors, fmt=marker,
                                       color=colour, capsize=3, ms=5, mfc=fill, label=name))
        target.set_xlabel(words, color=colour)
        target.tick_params(axis="x", colors=colour)
        target.margins(x=0.08)
        if name == "pump-probe" and len(rows) > 1 and all(p.err for p in rows):
            mean = constancy(rows)
            low, high = (times * (mean.mean + s * mean.mean_err) for s in (-1, 1))
            handles.append(axes.axhspan(low, high, color=colour, alpha=0.15, lw=0,
                                        label="pump-probe mean ± standard error"))
    axes.set_ylabel("comparison parameter C" + (f" × {times:g}" if times != 1 else ""))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def draw_kinetics(fit: KineticFit) -> Any:
    """Draw each trace over the sum of its amplitudes with the fit, and the residuals below.

    The delay axis is linear up to ten times the width of the instrument, then logarithmic.
    """
    figure, (top, bottom) = panels(2, 1, (6.4, 5.2), sharex=True, height_ratios=(3, 1))
    linear = 10 * fit.sigma_ps
    low = min(t.delay_ps.min() for t in fit.traces)
    high = max(t.delay_ps.max() for t in fit.traces)
    delay = np.unique(np.r_[np.linspace(low, min(linear, high), 600),
                            np.geomspace(linear, max(high, linear), 400)])
    for i, trace in enumerate(fit.traces):
        # The first trace in blue: orange is for what is claimed or heated.
        colour, scale = PALETTE[(i + 1) % len(PALETTE)], 1 / fit.amplitudes[i].sum()
        error = None if trace.error is None else trace.error * abs(scale)
        top.errorbar(trace.delay_ps, trace.signal * scale, error, fmt="o", ms=3.5, lw=0.8,
                     color=colour, label=trace.label or f"trace {i + 1}")
        top.plot(delay, fit.curve(i, delay) * scale, color=colour)
        bottom.plot(trace.delay_ps, fit.residuals[i], "o", ms=3, color=colour)
    zero_line(bottom)
    top.set_ylabel("signal / sum of amplitudes")
    bottom.set(xlabel="delay (ps)", xlim=(low - 20, high * 1.2),
               ylabel="residual" if fit.scaled_errors else "residual (σ)")
    if high > linear:
        bottom.set_xscale("symlog", linthresh=linear, linscale=2)
    lifetimes = zip(fit.lifetimes_ps, fit.lifetimes_err_ps, strict=True)
    text = "\n".join(f"τ{k} = {t:.0f} ± {e:.0f} ps" for k, (t, e) in enumerate(lifetimes, 1))
    legend(top, title=text, title_fontsize=9)
    return figure


def draw_treated(scans: Sequence[Scan]) -> Any:
    """Draw the scans over each other, in the order of delay or temperature, errors as bands."""
    figure, (axes,) = panels(1, 1, (6.4, 4.0))
    ordered = sorted(scans, key=lambda s: (s.delay_ps or 0.0, s.temperature_C or 0.0))
    for scan, colour in zip(ordered, shades(len(ordered)), strict=True):
        y = scan.intensity
        axes.plot(scan.energy_eV, y, color=colour, lw=1.2, label=_condition(scan))
        if scan.error is not None:
            axes.fill_between(scan.energy_eV, y - scan.error, y + scan.error, color=colour,
                              alpha=0.25, lw=0)
    if min(scan.intensity.min() for scan in scans) < 0:
        zero_line(axes)
    photon_energies(axes)
    axes.set(xlabel="energy (eV)", ylabel=_ordinate(scans[0]))
    axes.margins(x=0)
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    return figure


def _condition(scan: Scan) -> str:
    parts, delay = [], scan.delay_ps
    if delay is not None:
        parts.append(f"{delay:g} ps" if abs(delay) < 1000 else f"{delay / 1000:g} ns")
    if scan.temperature_C is not None:
        parts.append(f"{scan.temperature_C:g} °C")
    return ", ".join(parts) or scan.name


def _ordinate(scan: Scan) -> str:
    done = {step.name: step.parameters for step in scan.history}
    word = "difference" if "subtract" in done else "signal"
    if "normalise" not in done:
        return f"{word} (as measured)"
    by = str(done["normalise"]["by"]).replace("-", " ")
    return f"{word}, divided by {by}{' (1/eV)' if 'area' in by else ''}"


def draw_heating(result: Heating, cooling_ps: float, *, stacked: bool = False) -> Any:
    """Draw what each input's uncertainty does to the rise, and the cooling curve."""
    figure, (left, right) = row_or_column(2, stacked, 4.2)
    rows = list(reversed(result.tornado))
    for i, (_, low, high) in enumerate(rows):
        for end, colour in ((high, ORANGE), (low, BLUE)):
            left.barh(i, end - result.delta_T_K, left=result.delta_T_K, color=colour, height=0.6)
    for colour, word in ((ORANGE, "higher"), (BLUE, "lower")):
        left.plot([], [], color=colour, lw=6, label=f"input one σ {word}")
    left.set_yticks(range(len(rows)), [name.replace("_", " ") for name, *_ in rows])
    left.axvline(result.delta_T_K, color="0.3", lw=0.8)
    left.set_xlabel("upper limit of the rise (K)")
    legend(left, loc="lower right")
    time = np.linspace(0, 5 * cooling_ps, 300)
    right.plot(time, result.temperature_C(time, cooling_ps), color=INK)
    mark_transitions(right, time[-1])
    right.set(xlim=(0, time[-1]), xlabel="time after the pulse (ps)", ylabel="temperature (°C)")
    return figure


def mark_transitions(axes: Any, end: float) -> None:
    """Shade the temperatures of the two phase transitions; end: where their names end."""
    for (low, high), phase in ((TETRAGONAL_C, "tetragonal"), (CUBIC_C, "cubic")):
        axes.axhspan(low, high, color=TINT, lw=0, zorder=0)
        axes.text(end, (low + high) / 2, f"transition to {phase} ", ha="right", va="center",
                  fontsize=9)
