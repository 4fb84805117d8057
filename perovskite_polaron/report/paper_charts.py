"""The article's figures 2 and 3, as far as published constants and calculated differences go, and the heating."""

import numpy as np

from perovskite_polaron.experiment.comparison import EDGES
from perovskite_polaron.heating import CUBIC_C, TETRAGONAL_C, Exposure, Heating, heating
from perovskite_polaron.kernels.convolution import exponential_gaussian
from perovskite_polaron.report import published
from perovskite_polaron.report.charts import WIDTH_IN, Chart, Column
from perovskite_polaron.report.heating_figure import draw_heating
from perovskite_polaron.report.judge import comparison_range
from perovskite_polaron.report.subject import Subject
from perovskite_polaron.report.sweep_figure import BLUE, ORANGE, panels
from perovskite_polaron.units import HC_EV_A


def published_heating() -> Heating:
    """Return the estimate for the published pump and sample, with the assumed jet."""
    return heating(
        Exposure(
            published.FLUENCE_MJ_CM2,
            HC_EV_A / (10 * published.PUMP_NM),
            published.SIZE_A,
            published.CONCENTRATION_MG_ML,
            published.ASSUMED_JET_A,
        )
    )


def kinetics_chart(result: Heating) -> Chart:
    """Draw the published decay, with a band for the errors of its lifetimes, and how the crystal cools meanwhile."""
    figure, (top, bottom) = panels(2, (4.2, 3.6), (WIDTH_IN, 2.7), True)
    delay = np.linspace(-200, 3000, 641)
    signal = _decay(delay, *(t for t, _ in published.LIFETIMES_PS))
    rng = np.random.default_rng(0)
    drawn = [_decay(delay, *(max(rng.normal(t, e), 1.0) for t, e in published.LIFETIMES_PS)) for _ in range(400)]
    low, high = np.percentile(drawn, [15.865, 84.135], axis=0)
    top.fill_between(delay, low, high, color=ORANGE, alpha=0.25, lw=0)
    top.plot(delay, signal, color=ORANGE)
    top.set_ylabel("signal\n(sum of amplitudes = 1)")
    temperature = result.exposure.start_C + np.where(
        delay < 0, 0.0, result.temperature_C(np.maximum(delay, 0.0), published.COOLING_PS) - result.exposure.start_C
    )
    bottom.plot(delay, temperature, color=BLUE)
    for (start, end), name in ((TETRAGONAL_C, "to tetragonal"), (CUBIC_C, "to cubic")):
        bottom.axhspan(start, end, color="#56B4E9", alpha=0.35, lw=0)
        bottom.text(2950, (start + end) / 2, f"transition {name}", ha="right", va="center", fontsize=9)
    bottom.set_ylabel("temperature (°C),\nupper limit")
    bottom.set_xlabel("delay after the pulse (ps)")
    for axes in (top, bottom):
        axes.set_xlim(-200, 3000)
    columns = {
        "delay_ps": delay, "signal": signal, "signal_low": low, "signal_high": high, "temperature_C": temperature,
    }  # fmt: skip
    return Chart(
        "figure-2",
        "Decay and cooling",
        "The published decay of the transient as a curve, and the calculated cooling of the crystal below it.",
        figure,
        {"": columns},
    )


def _decay(delay: np.ndarray, *lifetimes_ps: float) -> np.ndarray:
    basis = np.asarray(exponential_gaussian(delay, [*lifetimes_ps, np.inf], published.IRF_SIGMA_PS))
    return np.asarray(basis @ np.array([*published.FRACTIONS, published.OFFSET]))


def comparison_chart(subject: Subject) -> Chart:
    """Draw the comparison parameter C of every calculated difference, with its range as the edge moves by ±0.5 eV."""
    from matplotlib.figure import Figure

    times = EDGES["Br-K"].shown_times
    rows = {name: comparison_range(subject, name) for name in subject.names}
    figure = Figure(figsize=(WIDTH_IN, 1.3 + 0.55 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place, (value, low, high) in enumerate(reversed(rows.values())):
        axes.plot([times * low, times * high], [place, place], color=BLUE, lw=5, alpha=0.3, solid_capstyle="butt")
        axes.plot(times * value, place, "o", color=BLUE)
    axes.axvline(0, color="0.6", lw=0.8)
    axes.set_yticks(range(len(rows)), list(reversed(rows)))
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlabel(f"comparison parameter C × {times:g}")
    values = np.array(list(rows.values()))
    columns: dict[str, Column] = {
        "structure": list(rows),
        **{f"C{word}": values[:, i] for i, word in enumerate(("", " lowest", " highest"))},
    }
    return Chart(
        "figure-3",
        "The comparison parameter C",
        "C of each calculated difference; bars: its range as the edge is moved by half an electronvolt either way.",
        figure,
        {"": columns},
    )


def heating_chart(result: Heating) -> Chart:
    """Draw what each input's uncertainty does to the rise, and the cooling."""
    time = np.linspace(0, 5 * published.COOLING_PS, 301)
    names, low, high = zip(*result.tornado, strict=True)
    return Chart(
        "heating",
        "What the heating estimate rests on",
        "The rise with each input one standard deviation lower and higher, and the cooling curve.",
        draw_heating(result, published.COOLING_PS, stacked=True),
        {
            "": {"input": names, "rise_input_low_K": low, "rise_input_high_K": high},
            "-cooling": {"time_ps": time, "temperature_C": result.temperature_C(time, published.COOLING_PS)},
        },
    )
