"""Figure of a transient with its scenarios: steady state above, transient with fits, residuals, and f against Q below.

Figure of the comparison parameter against delay (below) and temperature (above), on one vertical axis.

Figure of pump-probe traces with their global fit, residuals below.

Figure of treated spectra: one line for each condition, with the error as a band.

Figure of the heating estimate: what each input's uncertainty does to the rise, and how the crystal cools.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from perovskite_polaron.analysis.heating import CUBIC_C, TETRAGONAL_C, Heating
from perovskite_polaron.analysis.kinetics import KineticFit
from perovskite_polaron.analysis.scenario_fit import Comparison, ScenarioFit
from perovskite_polaron.analysis.scenarios import ScenarioSet
from perovskite_polaron.analysis.shape_ratio import ShapeRatio, Windows, constancy
from perovskite_polaron.errors import InputError
from perovskite_polaron.figures.style import BLUE, ORANGE, panels, save
from perovskite_polaron.measured.scan import Scan

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



# series -> its horizontal axis, marker and colour
_SERIES = {"pump-probe": ("delay", "o", BLUE), "thermal": ("temperature (°C)", "s", ORANGE)}


def write_comparison_figure(points: Sequence[ShapeRatio], windows: Windows, path: Path) -> Path:
    """Draw the points that have a delay or a temperature; InputError when none has. .png or .svg.

    A band shows the weighted mean of the pump-probe points and its standard error, where their errors are known.
    """
    from matplotlib.figure import Figure

    series = {name: [p for p in points if p.series == name] for name in _SERIES}
    series = {name: rows for name, rows in series.items() if rows}
    if not series:
        raise InputError("no file says its delay or temperature: put it in the header or the name, as in br_100ps.xdi")
    times = windows.shown_times
    figure = Figure(figsize=(5.6, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.axhline(0, color="0.6", lw=0.8, zorder=0)
    handles: list[Any] = []
    for target, (name, rows) in zip((axes, axes.twiny()) if len(series) > 1 else (axes,), series.items(), strict=True):
        words, marker, colour = _SERIES[name]
        x = [float(p.delay_ps if p.delay_ps is not None else p.temperature_C) for p in rows]  # type: ignore[arg-type]
        if name == "pump-probe":
            factor, unit = (1e-3, "ns") if max(x) >= 10_000 else (1.0, "ps")
            x, words = [factor * value for value in x], f"{words} ({unit})"
        errors = [times * p.err for p in rows] if all(p.err is not None for p in rows) else None  # type: ignore[operator]
        handles.append(
            target.errorbar(
                x, [times * p.value for p in rows], errors, fmt=marker, color=colour, capsize=3, ms=5,
                mfc=colour if name == "pump-probe" else "white", label=name,
            )
        )  # fmt: skip
        target.set_xlabel(words, color=colour)
        target.tick_params(axis="x", colors=colour)
        if name == "pump-probe" and min(x) > 0 and max(x) > 20 * min(x):
            target.set_xscale("log")
            target.xaxis.set_major_formatter("{x:g}")
        target.margins(x=0.08)
        if name == "pump-probe" and len(rows) > 1 and all(p.err for p in rows):
            mean = constancy(rows)
            low, high = times * (mean.mean - mean.mean_err), times * (mean.mean + mean.mean_err)
            handles.append(
                axes.axhspan(low, high, color=colour, alpha=0.15, lw=0, label="pump-probe mean ± standard error")
            )
    axes.set_ylabel("comparison parameter C" + (f" × {times:g}" if times != 1 else ""))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return save(figure, path)



COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def write_kinetics_figure(fit: KineticFit, path: Path) -> Path:
    """Draw each trace over the sum of its amplitudes; .png or .svg. The delay axis is linear up to 10 σ, then logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 5.2), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    linear = 10 * fit.sigma_ps
    low, high = min(t.delay_ps.min() for t in fit.traces), max(t.delay_ps.max() for t in fit.traces)
    delay = np.unique(np.r_[np.linspace(low, min(linear, high), 600), np.geomspace(linear, max(high, linear), 400)])
    for i, trace in enumerate(fit.traces):
        colour, scale = COLOURS[i % len(COLOURS)], 1 / fit.amplitudes[i].sum()
        error = None if trace.error is None else trace.error * abs(scale)
        top.errorbar(
            trace.delay_ps,
            trace.signal * scale,
            error,
            fmt="o",
            ms=3.5,
            lw=0.8,
            color=colour,
            label=trace.label or f"trace {i + 1}",
        )
        top.plot(delay, fit.curve(i, delay) * scale, color=colour)
        bottom.plot(trace.delay_ps, fit.residuals[i], "o", ms=3, color=colour)
    bottom.axhline(0, color="0.5", lw=0.8)
    top.set_ylabel("signal / sum of amplitudes")
    bottom.set_ylabel("residual" if fit.scaled_errors else "residual (σ)")
    bottom.set_xlabel("delay (ps)")
    bottom.set_xlim(low - 20, high * 1.2)
    if high > linear:
        bottom.set_xscale("symlog", linthresh=linear, linscale=2)
    text = "\n".join(
        f"τ{k + 1} = {t:.0f} ± {e:.0f} ps"
        for k, (t, e) in enumerate(zip(fit.lifetimes_ps, fit.lifetimes_err_ps, strict=True))
    )
    top.legend(frameon=False, fontsize=9, title=text, title_fontsize=9)
    return save(figure, path)



def write_treatment_figure(scans: Sequence[Scan], path: Path) -> Path:
    """Draw the scans over each other, coloured in the order of delay or temperature; .png or .svg."""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    ordered = sorted(scans, key=lambda s: (s.delay_ps or 0.0, s.temperature_C or 0.0))
    # The end of viridis is too pale for a line on white.
    colours = mpl.colormaps["viridis"]([0.85 * i / max(1, len(ordered) - 1) for i in range(len(ordered))])
    for scan, colour in zip(ordered, colours, strict=True):
        axes.plot(scan.energy_eV, scan.intensity, color=colour, lw=1.2, label=_condition(scan))
        if scan.error is not None:
            axes.fill_between(
                scan.energy_eV, scan.intensity - scan.error, scan.intensity + scan.error, color=colour, alpha=0.25, lw=0
            )
    if min(scan.intensity.min() for scan in scans) < 0:
        axes.axhline(0, color="0.6", lw=0.8, zorder=0)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.ticklabel_format(useOffset=False, axis="x")
    axes.set_xlabel("energy (eV)")
    axes.set_ylabel(_ordinate(scans[0]))
    axes.margins(x=0)
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    return save(figure, path)


def _condition(scan: Scan) -> str:
    parts = []
    if scan.delay_ps is not None:
        parts.append(f"{scan.delay_ps:g} ps" if abs(scan.delay_ps) < 1000 else f"{scan.delay_ps / 1000:g} ns")
    if scan.temperature_C is not None:
        parts.append(f"{scan.temperature_C:g} °C")
    return ", ".join(parts) or scan.name


def _ordinate(scan: Scan) -> str:
    names = {step.name: step.parameters for step in scan.history}
    word = "difference" if "subtract" in names else "signal"
    by = str(names["normalise"]["by"]).replace("_", " ") if "normalise" in names else ""
    return f"{word}, divided by {by}{' (1/eV)' if 'area' in by else ''}" if by else f"{word} (as measured)"



def write_heating_figure(result: Heating, cooling_ps: float, path: Path) -> Path:
    """Draw a tornado chart (left) and the cooling curve with the transitions' intervals (right); .png or .svg."""
    return save(draw_heating(result, cooling_ps), path)


def draw_heating(result: Heating, cooling_ps: float, *, stacked: bool = False) -> Any:
    """Return the matplotlib figure of write_heating_figure, its panels side by side or stacked for a narrow page."""
    figure, (left, right) = panels(2, (4.2, 3.6), (4.8, 3.0), stacked)
    for i, (_, low, high) in enumerate(reversed(result.tornado)):
        left.barh(i, high - result.delta_T_K, left=result.delta_T_K, color="#D55E00", height=0.6)
        left.barh(i, low - result.delta_T_K, left=result.delta_T_K, color="#0072B2", height=0.6)
    left.plot([], [], color="#D55E00", lw=6, label="input one σ higher")
    left.plot([], [], color="#0072B2", lw=6, label="input one σ lower")
    left.set_yticks(range(len(result.tornado)), [name.replace("_", " ") for name, *_ in reversed(result.tornado)])
    left.axvline(result.delta_T_K, color="0.3", lw=0.8)
    left.set_xlabel("upper limit of the rise (K)")
    left.legend(frameon=False, fontsize=9, loc="lower right")
    time = np.linspace(0, 5 * cooling_ps, 300)
    right.plot(time, result.temperature_C(time, cooling_ps), color="0.1")
    for (low, high), name in ((TETRAGONAL_C, "to tetragonal"), (CUBIC_C, "to cubic")):
        right.axhspan(low, high, color="#56B4E9", alpha=0.35, lw=0)
        right.text(time[-1], (low + high) / 2, f"transition {name} ", ha="right", va="center", fontsize=9)
    right.set_xlim(0, time[-1])
    right.set_xlabel("time after the pulse (ps)")
    right.set_ylabel("temperature (°C)")
    return figure
