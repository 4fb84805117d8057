"""Figure of the comparison parameter against delay (below) and temperature (above), on one vertical axis."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from perovskite_polaron.errors import InputError
from perovskite_polaron.experiment.comparison import Comparison, Windows, constancy
from perovskite_polaron.report.sweep_figure import BLUE, ORANGE, save

# series -> its horizontal axis, marker and colour
_SERIES = {"pump-probe": ("delay", "o", BLUE), "thermal": ("temperature (°C)", "s", ORANGE)}


def write_comparison_figure(points: Sequence[Comparison], windows: Windows, path: Path) -> Path:
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
