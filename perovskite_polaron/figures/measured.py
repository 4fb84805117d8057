"""Figures of measured data: treated spectra, a transient's scenarios, C, kinetics, heating."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from perovskite_polaron.analysis.heating import Heating
from perovskite_polaron.analysis.kinetic_intervals import FEW
from perovskite_polaron.analysis.kinetics import KineticFit
from perovskite_polaron.analysis.scenario_fit import Comparison
from perovskite_polaron.analysis.scenario_found import ScenarioFit
from perovskite_polaron.analysis.scenarios import ScenarioSet
from perovskite_polaron.analysis.shape_ratio import Constancy, ShapeRatio, Windows
from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import require
from perovskite_polaron.figures.delay_axis import DelayAxis
from perovskite_polaron.figures.style import (
    BLUE, GREY, INK, ORANGE, PALETTE, TINT, legend, panels, photon_energies, row_or_column, shades,
    zero_line)
from perovskite_polaron.measured.scan import Scan

# A longer label does not fit beside another.
_HALF_WIDTH = 36


def _percent(share: float) -> str:
    """Return a probability in per cent; a tenth of one from the ends nothing is told apart."""
    if 1e-3 <= share <= 1 - 1e-3:
        return f"{100 * share:.1f} %"
    return "< 0.1 %" if share < 0.5 else "> 99.9 %"


def draw_scenarios(transient: Scan, found: Comparison, theory: ScenarioSet,
                   offset_eV: float) -> Any:
    """Draw steady state, transient with its scenarios, and residuals below each other.

    The thick line is what is claimed, its band what the settings of the calculation may still
    change (1σ); the thin ones are the best single scenarios. Where the best
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
    pairs = best is not None and best.product is not None and best.amplitude is None
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
    odds = found.odds()
    shown = [f for f in found.fits if len(f.parts) == 1 or f is best][: len(PALETTE)]
    said = {f.name: f"{f.name} ({_percent(odds[f.name])})" for f in shown}
    for colour, fit in zip(PALETTE, shown, strict=False):
        chosen = fit is best
        middle.plot(transient.energy_eV, scale * fit.model, color=colour, lw=2.2 if chosen else 1.1,
                    ls="-" if chosen else "--", label=said[fit.name], zorder=3 if chosen else 2)
        if chosen and fit.model_error.any():
            low, high = (scale * (fit.model + side * fit.model_error) for side in (-1, 1))
            middle.fill_between(transient.energy_eV, low, high, color=colour, alpha=0.25, lw=0)
        if error is not None and (chosen or (best is None and fit is shown[0])):
            residual = (transient.intensity - fit.model) / error
            bottom.plot(transient.energy_eV, residual, "o-", ms=2.5, lw=0.7, color=colour)
    bottom.axhspan(-1, 1, color="0.92", zorder=-1)
    middle.set_ylabel(f"change of absorption{unit}")
    legend(middle, fontsize=9, loc="lower center", bbox_to_anchor=(0.5, 1.0),
           ncols=2 if max(map(len, said.values())) < _HALF_WIDTH else 1, columnspacing=1.4)
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
    """Draw the pairs of fraction and amplitude with the product that was found, which fit alike.

    The product is f·Q², or f·Q where the two signs of the mode differ; of heat it is f·ΔT.
    """
    largest, power = best.parts[0].amplitude_sqrt_amu_A or 1.0, best.parts[0].power
    low, middle, high = (max(s, 0.0) * largest**power
                         for s in (best.interval68[0], best.strength, best.interval68[1]))
    root, heat = middle ** (1 / power), best.parts[0].kind == "heat"
    q = np.linspace(max(root, 0.05 * largest), max(2.5 * root, 1.3 * largest), 300)
    axes.fill_between(q, np.minimum(low / q**power, 1), np.minimum(high / q**power, 1),
                      color=ORANGE, alpha=0.3, lw=0)
    axes.plot(q, np.minimum(middle / q**power, 1), color=ORANGE, lw=1.6)
    axes.axvline(largest, color="0.5", lw=0.8, ls=":")
    axes.text(largest, 0.97, " largest computed", fontsize=9, color="0.35", va="top",
              transform=axes.get_xaxis_transform())
    axes.set(xlim=(q[0], q[-1]), ylim=(0, None), ylabel="fraction f",
             xlabel="temperature rise ΔT (K)" if heat else "amplitude Q (Å√amu)")
    what, unit = ("f·ΔT", "K") if heat else ("f·Q²", "Å²·amu") if power == 2 else ("f·Q", "Å·√amu")
    errors = (best.strength_err, best.strength_err_calculation)
    both = " ± ".join(f"{e * largest**power:.2g}" for e in errors if e is not None)
    said = f"these pairs fit alike:\n{what} = {middle:.3g} ± {both} {unit}"
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


def draw_shape_ratios(points: Sequence[ShapeRatio], windows: Windows,
                      mean: Constancy | None) -> Any:
    """Draw C against delay (below) and temperature (above), on one vertical axis.

    A band shows the weighted mean of the pump-probe points and its standard error, where it is
    known.

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
        if name == "pump-probe" and mean is not None:
            low, high = (times * (mean.mean + s * mean.mean_err) for s in (-1, 1))
            handles.append(axes.axhspan(low, high, color=colour, alpha=0.15, lw=0,
                                        label="pump-probe mean ± standard error"))
    axes.set_ylabel("comparison parameter C" + (f" × {times:g}" if times != 1 else ""))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def draw_kinetics(fit: KineticFit) -> Any:
    """Draw each trace over the sum of its amplitudes with the fit, and the residuals below.

    Of more traces than FEW the amplitudes are drawn, against the energies that their columns are
    named by, or in their order.
    """
    if len(fit.traces) > FEW:
        return _draw_amplitudes(fit)
    axis = DelayAxis(min(t.delay_ps.min() for t in fit.traces),
                     max(t.delay_ps.max() for t in fit.traces), fit.sigma_ps)
    figure, (tops, bottoms) = axis.panels(2, (6.4, 5.2), (3, 1))
    delay, parts = axis.fine_ps, fit.fractions.shape[1]
    for i, trace in enumerate(fit.traces):
        # The first trace in blue: orange is for what is claimed or heated.
        colour = PALETTE[(i + 1) % len(PALETTE)]
        size = fit.amplitudes[i, :parts]
        scale = 1 / (np.abs(size).max() if fit.mixed[i] else size.sum())
        error = None if trace.error is None else trace.error * abs(scale)
        for top, bottom in zip(tops, bottoms, strict=True):
            top.errorbar(trace.delay_ps, trace.signal * scale, error, fmt="o", ms=3.5, lw=0.8,
                         color=colour, label=trace.label or f"trace {i + 1}")
            top.plot(delay, fit.curve(i, delay) * scale, color=colour)
            bottom.plot(trace.delay_ps, fit.residuals[i], "o", ms=3, color=colour)
    words = "largest amplitude" if fit.mixed.all() else "sum of amplitudes"
    tops[0].set_ylabel(f"signal / {words}")
    bottoms[0].set_ylabel("residual" if fit.scaled_errors else "residual (σ)")
    for bottom in bottoms:
        zero_line(bottom)
    figure.supxlabel(axis.label, fontsize=10)
    lifetimes = zip(fit.lifetimes_ps, fit.lifetimes_err_ps, strict=True)
    text = "\n".join(f"τ{k} = {t:.0f} ± {e:.0f} ps" for k, (t, e) in enumerate(lifetimes, 1))
    legend(tops[-1], title=text, title_fontsize=9)
    return figure


def _draw_amplitudes(fit: KineticFit) -> Any:
    figure, (axes,) = panels(1, 1, (6.4, 4.0))
    names = [trace.label.rpartition(":")[2] for trace in fit.traces]
    named = all(re.fullmatch(r"\d+(\.\d+)?", name) for name in names)
    x = np.array(names, float) if named else np.arange(1.0, len(names) + 1)
    words = [f"{t:.0f} ± {e:.0f} ps"
             for t, e in zip(fit.lifetimes_ps, fit.lifetimes_err_ps, strict=True)]
    words += ["offset"] * fit.model.offset + ["baseline"] * fit.model.baseline
    for y, error, word, colour in zip(fit.amplitudes.T, fit.amplitudes_err.T, words, PALETTE,
                                      strict=False):
        axes.fill_between(x, y - error, y + error, color=colour, alpha=0.25, lw=0)
        axes.plot(x, y, color=colour, lw=1.2, label=word)
    zero_line(axes)
    axes.set(xlabel="energy or wavelength of the column" if named else "trace",
             ylabel="amplitude", xlim=(x.min(), x.max()))
    axes.ticklabel_format(useOffset=False)
    legend(axes)
    return figure


def draw_treated(scans: Sequence[Scan]) -> Any:
    """Draw the scans over each other, in the order of delay or temperature, errors as bands."""
    figure, (axes,) = panels(1, 1, (6.4, 4.0))
    ordered = sorted(scans, key=lambda s: (s.delay_ps or 0.0, s.temperature_C or 0.0))
    for scan, colour in zip(ordered, shades(len(ordered)), strict=True):
        y = scan.intensity
        axes.plot(scan.energy_eV, y, color=colour, lw=1.2, label=condition(scan))
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


def condition(scan: Scan) -> str:
    """Return delay and temperature of a scan in words, or its name."""
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


def draw_heating(results: Mapping[str, Heating], cooling_ps: float, *,
                 stacked: bool = False) -> tuple[Any, dict[str, Array]]:
    """Draw what each input's uncertainty does to the first result's rise, and all temperatures.

    Returns the figure and, as columns, the temperatures. The keys say what is assumed.
    """
    figure, (left, right) = row_or_column(2, stacked, 4.2)
    result, *_ = results.values()
    rows = list(reversed(result.tornado))
    for i, (_, low, high) in enumerate(rows):
        for end, colour in ((high, ORANGE), (low, BLUE)):
            left.barh(i, end - result.delta_T_K, left=result.delta_T_K, color=colour, height=0.6)
    for colour, word in ((ORANGE, "higher"), (BLUE, "lower")):
        left.plot([], [], color=colour, lw=6, label=f"input one σ {word}")
    left.set_yticks(range(len(rows)), [name.replace("_", " ") for name, *_ in rows])
    left.axvline(result.delta_T_K, color="0.3", lw=0.8)
    left.set_xlabel("rise right after the pulse (K)")
    legend(left, loc="lower right")
    time = np.linspace(0, 5 * cooling_ps, 301)
    columns = draw_cooling(right, results, time, cooling_ps)
    right.set(xlim=(0, time[-1]), xlabel="time after the pulse (ps)", ylabel="temperature (°C)")
    return figure, {"time_ps": time} | columns


def draw_cooling(axes: Any, results: Mapping[str, Heating], time_ps: Array,
                 cooling_ps: float) -> dict[str, Array]:
    """Draw temperature against time (m,), before and after the pulse; return the columns drawn."""
    columns = {}
    for n, (words, result) in enumerate(results.items()):
        after = result.temperature_C(np.maximum(time_ps, 0.0), cooling_ps)
        curve = np.where(time_ps < 0, result.exposure.start_C, after)
        axes.plot(time_ps, curve, color=(INK, ORANGE, BLUE)[n % 3], ls=("-", "--", ":")[n % 3],
                  label=words.replace(", ", ",\n"))
        columns["temperature_C" if n == 0 else f"temperature_{n}_C"] = curve
    for change in result.exposure.material.transitions:
        axes.axhspan(change.low_C, change.high_C, color=TINT, lw=0, zorder=0)
        axes.annotate(f"to {change.phase}", (1.0, (change.low_C + change.high_C) / 2), (-4, 0),
                      xycoords=axes.get_yaxis_transform(), textcoords="offset points",
                      ha="right", va="center", fontsize=9)
    if len(results) > 1:
        # Room for the legend above the curves.
        low, high = axes.get_ylim()
        axes.set_ylim(low, high + 0.35 * (high - low))
        legend(axes, loc="upper right")
    return columns
