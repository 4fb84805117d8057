"""Figure of the comparison parameter against delay (below) and temperature (above), on one vertical axis."""

from collections.abc import Sequence
from pathlib import Path

from perovskite_polaron.errors import InputError
from perovskite_polaron.experiment.comparison import Comparison, Windows
from perovskite_polaron.report.sweep_figure import save


def write_comparison_figure(points: Sequence[Comparison], windows: Windows, path: Path) -> Path:
    """Draw the points that have a delay or a temperature; InputError when none has. .png or .svg."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 4.0), layout="constrained")
    axes = figure.subplots()
    delays = [p for p in points if p.delay_ps is not None]
    heated = [p for p in points if p.delay_ps is None and p.temperature_C is not None]
    if not delays and not heated:
        raise InputError("no file says its delay or temperature: put it in the header or the name, as in br_100ps.xdi")
    handles = []
    for rows, shape, colour, name in ((delays, "o", "#0072B2", "pump-probe"), (heated, "s", "#D55E00", "thermal")):
        if not rows:
            continue
        target = axes if rows is delays or not delays else axes.twiny()
        x = [float(p.delay_ps if rows is delays else p.temperature_C) for p in rows]  # type: ignore[arg-type]
        errors = [windows.shown_times * (p.err or 0.0) for p in rows]
        handles.append(
            target.errorbar(
                x, [windows.shown_times * p.value for p in rows], errors, fmt=shape, color=colour, capsize=3, label=name
            )
        )
        target.set_xlabel("delay (ps)" if rows is delays else "temperature (°C)", color=colour)
        if rows is delays and min(x) > 0 and max(x) > 20 * min(x):
            target.set_xscale("log")
    axes.axhline(0, color="0.6", lw=0.8)
    axes.set_ylabel("comparison parameter C" + (f" × {windows.shown_times:g}" if windows.shown_times != 1 else ""))
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
    return save(figure, path)
