"""The Q² law of an odd mode: differences over Q², and where they part."""

from perovskite_polaron.report.charts import WIDTH_IN, Chart, Column
from perovskite_polaron.report.difference_chart import RANGE_EV
from perovskite_polaron.report.spectra_figure import shades
from perovskite_polaron.report.subject import Subject
from perovskite_polaron.report.sweep_figure import ORANGE, panels
from perovskite_polaron.spectra.amplitude import AmplitudeSpectra
from perovskite_polaron.spectra.regime import Regime


def amplitude_chart(subject: Subject, entry: str, sweep: AmplitudeSpectra, found: Regime) -> Chart:
    """Draw every difference over Q² with the law above, and the deviation from the law against Q below."""
    figure, (top, bottom) = panels(2, (4.2, 3.6), (WIDTH_IN, 3.0), True)
    amplitudes = sweep.amplitudes_sqrt_amu_A
    x = sweep.energy_eV + subject.edge_eV
    # The sweep is in the study's normalisation; readers compare with % of the maximum.
    scale = 100 / float(subject.scenarios.steady_state.max())
    columns: dict[str, Column] = {"energy_eV": x, "law (% of maximum per A2 amu)": scale * found.law}
    for q, curve, colour in zip(amplitudes, sweep.differences, shades(len(amplitudes)), strict=True):
        top.plot(x, scale * curve / q**2, color=colour, lw=1.3, label=f"{q:.2f}")
        columns[f"Q = {q:.4f} sqrt(amu) A"] = scale * curve / q**2
    top.plot(x, scale * found.law, color="0.1", lw=1.2, ls="--", label="Q → 0")
    top.axhline(0, color="0.6", lw=0.8)
    place = subject.white_line_eV + subject.edge_eV
    top.set_xlim(place + RANGE_EV[0], place + RANGE_EV[1])
    top.ticklabel_format(axis="x", useOffset=False)
    top.locator_params(axis="x", nbins=6)
    top.set_ylabel("difference / Q²\n(% of maximum / (Å²·amu))")
    top.set_xlabel("photon energy (eV)" if subject.is_published_case else "energy above the reference edge (eV)")
    top.legend(
        frameon=False,
        fontsize=9,
        title="Q (Å√amu)",
        title_fontsize=9,
        ncols=4,
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
    )
    bottom.plot(found.amplitude_sqrt_amu_A, 100 * found.deviation, color=ORANGE)
    bottom.plot(amplitudes, 100 * found.computed, "o", color=ORANGE)
    bottom.axhline(100 * found.tolerance, color="0.5", lw=0.8, ls="--")
    if found.fails_at_sqrt_amu_A is not None:
        bottom.axvline(found.fails_at_sqrt_amu_A, color="0.5", lw=0.8, ls=":")
    bottom.set_ylim(0, None)
    bottom.set_xlabel("amplitude Q (Å√amu)")
    bottom.set_ylabel("deviation from\nthe law (%)")
    return Chart(
        "amplitude",
        f"The Q² law of {entry}",
        "Differences divided by the square of the amplitude, and how far each is from one common shape.",
        figure,
        {
            "": columns,
            "-deviation": {
                "amplitude_sqrt_amu_A": found.amplitude_sqrt_amu_A,
                "deviation_percent": 100 * found.deviation,
            },
        },
    )
