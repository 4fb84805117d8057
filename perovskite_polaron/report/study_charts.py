"""The Q² law of an odd mode: differences over Q², and where they part.

The article's figure 4, ours: steady state and differences, with the published features marked.

The article's figures 2 and 3, as far as published constants and calculated differences go, and the heating.

Which atoms and which polarisation make the difference.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from perovskite_polaron import published_cspbbr3 as published
from perovskite_polaron.analysis.heating import CUBIC_C, TETRAGONAL_C, Exposure, Heating, heating
from perovskite_polaron.analysis.shape_ratio import EDGES
from perovskite_polaron.errors import InputError
from perovskite_polaron.figures.measured import draw_heating
from perovskite_polaron.figures.spectra import draw_alignment, draw_difference, shades
from perovskite_polaron.figures.style import BLUE, ORANGE, WIDTH_IN, Chart, Column, panels
from perovskite_polaron.kernels.convolution import exponential_gaussian
from perovskite_polaron.lattice.octahedra import find_framework
from perovskite_polaron.measured.scan import Scan
from perovskite_polaron.published_cspbbr3 import FEATURES
from perovskite_polaron.report.claims import comparison_range
from perovskite_polaron.report.subject import Subject
from perovskite_polaron.spectra.amplitude import AmplitudeSpectra, Regime
from perovskite_polaron.spectra.resolved import Part
from perovskite_polaron.units import HC_EV_A


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



# Around the first maximum: from below the edge to beyond the last published feature.
RANGE_EV = (-12.0, 44.0)


def difference_chart(subject: Subject, transient: Scan | None = None) -> Chart:
    """Draw the steady states, each difference and, below them, the measured transient if there is one."""
    edge = subject.edge_eV
    figure, panels = draw_difference(
        subject.spectra,
        edge if subject.is_published_case else None,
        width_in=WIDTH_IN,
        extra_panels=0 if transient is None else 1,
    )
    if transient is not None:
        _transient(panels[-1], transient)
    place = subject.white_line_eV + edge
    for axes in panels:
        axes.set_xlim(place + RANGE_EV[0], place + RANGE_EV[1])
        _fit_height(axes)
    panels[-1].ticklabel_format(axis="x", useOffset=False)
    panels[-1].locator_params(axis="x", nbins=6)
    if subject.is_published_case:
        for axes in panels[1:]:
            _mark_features(axes)
        figure.supxlabel(
            "+ / −: where the measured transient gains or loses;\ngrey: made by carriers, which are not calculated",
            fontsize=9,
        )
    return Chart(
        "figure-4",
        "Spectra and difference spectra",
        f"Absorption of {', '.join(subject.spectra.structures)} and the differences from {subject.reference}.",
        figure,
        {"": _columns(subject), **({} if transient is None else {"-transient": _measured(transient)})},
    )


def alignment_chart(subject: Subject) -> Chart:
    """Draw differences, of a sweep the largest, with and without the shifts of the alignment."""
    figure = draw_alignment(subject.spectra, subject.unaligned, names=subject.principal, width_in=WIDTH_IN)
    for axes in figure.axes:
        axes.set_xlim(subject.white_line_eV + RANGE_EV[0], subject.white_line_eV + RANGE_EV[1])
        _fit_height(axes)
    columns: dict[str, Column] = {"energy_eV": subject.energy_eV}
    for one in (subject.spectra, subject.unaligned):
        columns |= {
            f"{name} {one.settings.alignment} (% of maximum)": subject.percent(name, one) for name in subject.names
        }
    return Chart(
        "alignment",
        "The same with and without alignment",
        "Differences (of a sweep that of the largest amplitude) with the sites aligned by total energies, and with each at its own "
        "Fermi energy.",
        figure,
        {"": columns},
    )


def _columns(subject: Subject) -> Mapping[str, Column]:
    structures = subject.spectra.structures
    top = structures[subject.reference].average.intensity.max()
    columns: dict[str, Column] = {"energy_from_reference_edge_eV": subject.energy_eV}
    if subject.is_published_case:
        columns["photon_energy_eV"] = subject.energy_eV + subject.edge_eV
    columns |= {f"{name} (reference maximum = 1)": s.average.intensity / top for name, s in structures.items()}
    return columns | {f"{name} - {subject.reference} (% of maximum)": subject.percent(name) for name in subject.names}


def _measured(transient: Scan) -> Mapping[str, Column]:
    columns: dict[str, Column] = {"photon_energy_eV": transient.energy_eV, "signal": transient.intensity}
    return columns if transient.error is None else {**columns, "error": transient.error}


def _transient(axes: Any, transient: Scan) -> None:
    top = float(np.abs(transient.intensity).max()) or 1.0
    error = None if transient.error is None else transient.error / top
    axes.errorbar(
        transient.energy_eV, transient.intensity / top, error, fmt="o", ms=2.5, lw=0.7, color="0.35",
        label=f"measured: {transient.name}",
    )  # fmt: skip
    axes.axhline(0, color="0.6", lw=0.8)
    axes.set_ylabel("transient\n(largest = 1)")
    axes.legend(frameon=False, fontsize=9)


def _mark_features(axes: Any) -> None:
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.6 * (high - low))
    for feature in FEATURES:
        colour = "0.1" if feature.structural else "0.6"
        axes.axvline(feature.energy_eV, color=colour, lw=0.7, ls=":", zorder=0)
        axes.text(
            feature.energy_eV, 0.73, "+" if feature.sign > 0 else "−", color=colour, ha="center", va="center", fontsize=12,
            transform=axes.get_xaxis_transform(), fontweight="bold",
        )  # fmt: skip
    if axes.get_legend() is not None:
        axes.legend(frameon=False, fontsize=9, loc="upper right", ncols=2, columnspacing=1.0)


def _fit_height(axes: Any) -> None:
    """Make the vertical range that of what is seen, not of what lies beyond the edges of the panel."""
    low, high = axes.get_xlim()
    seen = []
    for line in axes.get_lines():
        x, y = (np.asarray(v, dtype=np.float64) for v in line.get_data())
        if len(x) > 2:
            seen.append(y[(x >= low) & (x <= high)])
    if seen and sum(map(len, seen)):
        values = np.concatenate(seen)
        room = 0.06 * (np.ptp(values) or 1.0)
        axes.set_ylim(values.min() - room, values.max() + room)



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



_COLOURS = {"x": "#0072B2", "y": "#009E73", "z": "#D55E00", "": "#0072B2"}


def largest_displaced(subject: Subject) -> str | None:
    """Return the structure with the largest displacement whose difference can be resolved; None when none can."""
    names = [n for n in subject.names if subject.parts(n)]
    return max(names, key=lambda n: subject.result(n).amplitude_sqrt_amu_A or 0.0, default=None)


def site_title(subject: Subject, name: str, first: int) -> str:
    """Return what to call an orbit: ``axial Br, 4c → 4a`` where there are octahedra, else element and sites."""
    structure = subject.structures[name]
    absorber = next(a for a in structure.absorbers if a.index == first)
    where = absorber.site if absorber.parent is None else f"{absorber.parent} → {absorber.site}"
    try:
        axial = find_framework(subject.structures[subject.reference].crystal)
    except InputError:
        return f"{absorber.element}{first + 1}, {where}"
    word = "axial " if first in axial.axial_x else "equatorial " if first in axial.equatorial_x else ""
    return f"{word}{absorber.element}{first + 1}, {where}"


def by_site(found: Sequence[Part]) -> dict[int, list[Part]]:
    """Return the parts of each orbit, by its first atom."""
    sites: dict[int, list[Part]] = {}
    for part in found:
        sites.setdefault(part.first, []).append(part)
    return sites


def parts_chart(subject: Subject, name: str) -> Chart:
    """Draw a panel for each orbit: its polarisations and their sum; above them the sums with the whole difference."""
    from matplotlib.figure import Figure

    sites = by_site(subject.parts(name))
    total = sum(p[0].atoms for p in sites.values())
    figure = Figure(figsize=(WIDTH_IN, 2.4 + 2.1 * len(sites)), layout="constrained")
    top, *panels = figure.subplots(1 + len(sites), 1, sharex=True, sharey=True)
    x = subject.energy_eV + subject.edge_eV
    columns: dict[str, Column] = {"energy_eV": x}
    top.plot(x, subject.percent(name), color="0.1", lw=2.0, label=f"{name} − {subject.reference}")
    for colour, style, axes, (first, found) in zip(
        ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9") * len(sites), ("-", "--", "-.", ":") * len(sites),
        panels, sites.items(), strict=False,
    ):  # fmt: skip
        title = f"{site_title(subject, name, first)}, {found[0].atoms} of {total}"
        whole = np.sum([p.difference for p in found], axis=0)
        top.plot(x, whole, color=colour, ls=style, lw=1.3, label=title)
        columns[f"{title} (% of maximum)"] = whole
        axes.plot(x, whole, color="0.1", lw=1.6, label="sum")
        for part in found:
            if part.polarisation:
                axes.plot(x, part.difference, color=_COLOURS[part.polarisation], lw=1.3, label=part.polarisation)
                columns[f"{title} {part.polarisation} (% of maximum)"] = part.difference
        axes.set_title(title, fontsize=10, loc="left")
        axes.legend(frameon=False, fontsize=9, ncols=4, loc="lower right", columnspacing=1.0)
    for axes in (top, *panels):
        axes.axhline(0, color="0.6", lw=0.8)
        axes.set_ylabel("% of maximum")
    place = subject.white_line_eV + subject.edge_eV
    top.set_xlim(place + RANGE_EV[0], place + RANGE_EV[1])
    low, high = top.get_ylim()
    top.set_ylim(low - 0.15 * (high - low), high)
    top.legend(frameon=False, fontsize=9, loc="lower left", bbox_to_anchor=(0.0, 1.0))
    panels[-1].ticklabel_format(axis="x", useOffset=False)
    panels[-1].locator_params(axis="x", nbins=6)
    panels[-1].set_xlabel("photon energy (eV)" if subject.is_published_case else "energy above the reference edge (eV)")
    columns[f"{name} - {subject.reference} (% of maximum)"] = subject.percent(name)
    return Chart(
        "sites",
        "Which atoms make the signal",
        f"The difference of {name} split into its sites and polarisations, which add up to it.",
        figure,
        {"": columns},
    )
