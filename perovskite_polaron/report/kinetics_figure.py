"""Figure of pump-probe traces with their global fit, residuals below."""

from pathlib import Path

import numpy as np

from perovskite_polaron.experiment.kinetics import KineticFit
from perovskite_polaron.report.sweep_figure import save

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
