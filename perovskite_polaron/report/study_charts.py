"""The charts of a report: spectra, their parts, the Q² law, C, decay and heating, with their data.

The article's figures 2, 3 and 4 have their numbers in the names. Their measured points are in its
public archive, which ``polaron reproduce`` takes; here figure 2 is a curve from published
constants, and figures 3 and 4 are calculated.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.analysis.heating import Heating
from perovskite_polaron.analysis.shape_ratio import EDGES
from perovskite_polaron.arrays import Array
from perovskite_polaron.figures import style
from perovskite_polaron.figures.lattice import draw_bonds, draw_shells
from perovskite_polaron.figures.measured import draw_cooling, draw_heating
from perovskite_polaron.figures.spectra import draw_alignment, draw_difference
from perovskite_polaron.figures.structure import movers
from perovskite_polaron.figures.style import BLUE, INK, ORANGE, WIDTH_IN, Chart
from perovskite_polaron.files import Column
from perovskite_polaron.kernels.convolution import exponential_gaussian
from perovskite_polaron.lattice.octahedra import Displacements
from perovskite_polaron.measured.scan import Scan
from perovskite_polaron.published import PumpProbe
from perovskite_polaron.report.claims import shape_ratio_range
from perovskite_polaron.report.subject import Subject
from perovskite_polaron.spectra.amplitude import AmplitudeSpectra, Regime
from perovskite_polaron.spectra.budget import sigma
from perovskite_polaron.spectra.resolved import Part

Columns = dict[str, Column]
#: Around the anchor: from below the edge to beyond the last published feature.
RANGE_EV = (-12.0, 44.0)


def show_range(subject: Subject, *panels: Any) -> None:
    """Show the same energies in every chart: around the anchor; where nothing is published that
    says what matters, from the first calculated one on, for a pre-edge may lie far below it.
    """
    low, high = (subject.anchor_eV + e for e in RANGE_EV)
    if subject.article is None:
        low, high = float(subject.energy_eV[0]), min(high, float(subject.energy_eV[-1]))
    for axes in panels:
        axes.set_xlim(low + (subject.edge_eV or 0.0), high + (subject.edge_eV or 0.0))
        style.photon_energies(axes)
    panels[-1].set_xlabel(subject.axis_label)


def seen(subject: Subject) -> NDArray[np.bool_]:
    """Return which of the energies (n,) the charts show."""
    place = subject.energy_eV - subject.anchor_eV
    return (place >= RANGE_EV[0]) & (place <= RANGE_EV[1])


def difference_chart(subject: Subject, transient: Scan | None = None,
                     name: str = "figure-4") -> Chart:
    """Draw the steady states, each difference and, below them, a measured transient."""
    figure, panels = draw_difference(subject.spectra, subject.edge_eV, width_in=WIDTH_IN,
                                     extra_panels=0 if transient is None else 1)
    tables: dict[str, Columns] = {"": _columns(subject)}
    if transient is not None:
        tables["-transient"] = _draw_transient(panels[-1], transient)
    show_range(subject, *panels)
    for axes in panels:
        fit_height(axes)
    if subject.features:
        for axes in panels[1:]:
            _mark_features(axes, subject)
        figure.supxlabel("+ / −: where the published transient gains or loses;\n"
                         "grey: made by carriers, which are not calculated", fontsize=9)
    names = ", ".join(subject.spectra.structures)
    return Chart(name, "Spectra and difference spectra",
                 f"Absorption of {names} and the differences from {subject.reference}.",
                 figure, tables)


def _columns(subject: Subject) -> Columns:
    columns: Columns = {"energy_from_reference_edge_eV": subject.energy_eV}
    if subject.edge_eV is not None:
        columns["photon_energy_eV"] = subject.axis_eV
    columns |= {f"{name} (reference maximum = 1)": s.average.intensity / subject.maximum
                for name, s in subject.spectra.structures.items()}
    columns |= {_difference(subject, name): subject.percent(name) for name in subject.names}
    return columns | {f"calculation error of {name} (% of maximum)": sigma(rows)
                      for name, rows in subject.spectra.budget.items()}


def _difference(subject: Subject, name: str) -> str:
    return f"{name} - {subject.reference} (% of maximum)"


def _draw_transient(axes: Any, transient: Scan) -> Columns:
    top = float(np.abs(transient.intensity).max()) or 1.0
    error = transient.error
    axes.errorbar(transient.energy_eV, transient.intensity / top,
                  None if error is None else error / top, fmt="o", ms=2.5, lw=0.7,
                  color=style.GREY, label=f"measured: {transient.name}")
    style.zero_line(axes)
    axes.set_ylabel("transient\n(largest = 1)")
    style.legend(axes)
    columns: Columns = {"photon_energy_eV": transient.energy_eV, "signal": transient.intensity}
    return columns if error is None else columns | {"error": error}


def _mark_features(axes: Any, subject: Subject) -> None:
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.6 * (high - low))
    for feature in subject.features:
        colour = INK if feature.structural else style.GREY
        axes.axvline(feature.energy_eV, color=colour, lw=0.7, ls=":", zorder=0)
        axes.text(feature.energy_eV, 0.73, "+" if feature.sign > 0 else "−", color=colour,
                  ha="center", va="center", fontsize=12, fontweight="bold",
                  transform=axes.get_xaxis_transform())
    if axes.get_legend() is not None:
        style.legend(axes, loc="upper right", ncols=2, columnspacing=1.0)


def fit_height(axes: Any) -> None:
    """Make the vertical range that of what is seen, not of what lies beyond the panel's edges."""
    low, high = axes.get_xlim()
    lines = [np.asarray(line.get_data(), dtype=np.float64) for line in axes.get_lines()]
    seen = [y[(x >= low) & (x <= high)] for x, y in lines if len(x) > 2]
    values = np.concatenate(seen) if seen else np.empty(0)
    if len(values):
        margin = 0.06 * (np.ptp(values) or 1.0)
        axes.set_ylim(values.min() - margin, values.max() + margin)


def alignment_chart(subject: Subject) -> Chart:
    """Draw differences, of a sweep the largest, with and without the shifts of the alignment."""
    figure = draw_alignment(subject.spectra, subject.unaligned, subject.principal, WIDTH_IN,
                            subject.edge_eV)
    show_range(subject, *figure.axes)
    for axes in figure.axes:
        fit_height(axes)
    columns: Columns = {"energy_eV": subject.axis_eV}
    for one in (subject.spectra, subject.unaligned):
        columns |= {f"{name} {one.settings.alignment} (% of maximum)": subject.percent(name, one)
                    for name in subject.names}
    return Chart("alignment", "The same with and without alignment",
                 "Differences (of a sweep that of the largest amplitude) with the sites aligned by "
                 "total energies, and with each at its own Fermi energy.", figure, {"": columns})


def amplitude_chart(subject: Subject, entry: str, sweep: AmplitudeSpectra, found: Regime) -> Chart:
    """Draw every difference over the law's power of Q with it, and below the deviation from it."""
    figure, (top, bottom) = style.row_or_column(2, stacked=True)
    amplitudes, power = sweep.amplitudes_sqrt_amu_A, sweep.power
    # The sweep is in the study's normalisation; readers compare with % of the maximum.
    scale = 100 / float(subject.scenarios.steady_state.max())
    unit = "A2 amu" if sweep.even else "A sqrt(amu)"
    columns: Columns = {"energy_eV": subject.axis_eV,
                        f"law (% of maximum per {unit})": scale * found.law}
    for q, curve, colour in zip(amplitudes, sweep.differences, style.shades(len(amplitudes)),
                                strict=True):
        top.plot(subject.axis_eV, scale * curve / q**power, color=colour, lw=1.3, label=f"{q:.2f}")
        columns[f"Q = {q:.4f} sqrt(amu) A"] = scale * curve / q**power
    top.plot(subject.axis_eV, scale * found.law, color=INK, lw=1.2, ls="--", label="Q → 0")
    style.zero_line(top)
    show_range(subject, top)
    top.set_ylabel("difference / Q²\n(% of maximum / (Å²·amu))" if sweep.even else
                   "difference / Q\n(% of maximum / (Å·√amu))")
    style.legend(top, title="Q (Å√amu)", title_fontsize=9, ncols=4, loc="lower left",
                 bbox_to_anchor=(0.0, 1.0))
    bottom.plot(found.amplitude_sqrt_amu_A, 100 * found.deviation, color=ORANGE)
    bottom.plot(amplitudes, 100 * found.computed, "o", color=ORANGE)
    bottom.axhline(100 * found.tolerance, color="0.5", lw=0.8, ls="--")
    if found.fails_at_sqrt_amu_A is not None:
        bottom.axvline(found.fails_at_sqrt_amu_A, color="0.5", lw=0.8, ls=":")
    bottom.set(ylim=(0, None), xlabel="amplitude Q (Å√amu)", ylabel="deviation from\nthe law (%)")
    deviation: Columns = {"amplitude_sqrt_amu_A": found.amplitude_sqrt_amu_A,
                          "deviation_percent": 100 * found.deviation}
    return Chart("amplitude", f"The {sweep.law} of {entry}",
                 "Differences divided by the law's power of the amplitude, and how far each is "
                 "from one common shape.", figure, {"": columns, "-deviation": deviation})


def kinetics_chart(pump: PumpProbe, heats: Mapping[str, Heating]) -> Chart:
    """Draw the published decay with a band for the errors of its lifetimes, and the cooling."""
    figure, (top, bottom) = style.row_or_column(2, stacked=True)
    delay = np.linspace(-200, 3000, 641)
    amplitudes = np.array([*pump.fractions, pump.offset])

    def decay(lifetimes_ps: Sequence[float]) -> Array:
        basis = exponential_gaussian(delay, [*lifetimes_ps, np.inf], pump.irf_sigma_ps)
        return np.asarray(basis @ amplitudes)

    values, errors = np.array(pump.lifetimes_ps).T
    drawn = np.maximum(np.random.default_rng(0).normal(values, errors, (400, len(values))), 1.0)
    low, high = np.percentile([decay(row) for row in drawn], [15.865, 84.135], axis=0)
    signal = decay(values)
    top.fill_between(delay, low, high, color=ORANGE, alpha=0.25, lw=0)
    top.plot(delay, signal, color=ORANGE)
    top.set_ylabel("signal\n(sum of amplitudes = 1)")
    temperature = draw_cooling(bottom, heats, delay, pump.cooling_ps)
    bottom.set(xlabel="delay after the pulse (ps)", ylabel="temperature (°C)")
    for axes in (top, bottom):
        axes.set_xlim(-200, 3000)
    columns: Columns = {"delay_ps": delay, "signal": signal, "signal_low": low,
                        "signal_high": high} | temperature
    return Chart("figure-2", "Decay and cooling",
                 "The published decay of the transient as a curve, and the calculated cooling of "
                 "the crystal below it.", figure, {"": columns})


def heating_chart(pump: PumpProbe, heats: Mapping[str, Heating]) -> Chart:
    """Draw what each input's uncertainty does to the rise, and the cooling."""
    heat, *_ = heats.values()
    names, low, high = zip(*heat.tornado, strict=True)
    figure, cooling = draw_heating(heats, pump.cooling_ps, stacked=True)
    return Chart("heating", "What the heating estimate rests on",
                 "The rise with each input one standard deviation lower and higher, and the "
                 "temperature after the pulse.", figure,
                 {"": {"input": names, "rise_input_low_K": low, "rise_input_high_K": high},
                  "-cooling": cooling})


def shape_ratio_chart(subject: Subject) -> Chart:
    """Draw C of every calculated difference, with its range as the edge moves."""
    times = EDGES[subject.edge].shown_times
    rows = {name: shape_ratio_range(subject, name) for name in subject.names}
    figure, (axes,) = style.panels(1, 1, (WIDTH_IN, 1.3 + 0.55 * len(rows)))
    for place, (value, low, high) in enumerate(reversed(rows.values())):
        axes.plot([times * low, times * high], [place, place], color=BLUE, lw=5, alpha=0.3,
                  solid_capstyle="butt")
        axes.plot(times * value, place, "o", color=BLUE)
    axes.axvline(0, color="0.6", lw=0.8)
    axes.set_yticks(range(len(rows)), list(reversed(rows)))
    axes.set(ylim=(-0.6, len(rows) - 0.4), xlabel=f"comparison parameter C × {times:g}")
    shown = "" if times == 1 else f", times {times:g} as in the article"
    columns: Columns = {"structure": list(rows)}
    columns |= zip(("C", "C lowest", "C highest"), np.array(list(rows.values())).T, strict=True)
    return Chart("figure-3", "The comparison parameter C",
                 f"C of each calculated difference{shown}; bars: its range as the edge is moved by "
                 "half an electronvolt either way.", figure, {"": columns})


def bonds_chart(subject: Subject, name: str) -> Chart | None:
    """Draw every bond before and after, and the displacements; without octahedra the nearest
    shells. None where the crystals are not here.
    """
    report, reference, moved = (subject.bonds(name), subject.bonds(subject.reference),
                                subject.moved(name))
    if moved is not None and subject.shells:
        shells = subject.shells
        return Chart("bonds", f"Distances in {name}",
                     "The distances to the nearest shell of each inequivalent atom before and "
                     "after, and the displacement of each element.",
                     draw_shells(shells, moved, stacked=True),
                     {"": {"shell": [s.name for s in shells for _ in s.centres],
                           "before_A": np.concatenate([s.lengths_A() for s in shells]),
                           "after_A": np.concatenate([s.lengths_A(moved.displacement_A)
                                                      for s in shells])}})
    if report is None or reference is None:
        return None
    before, after = (one.octahedra.lengths_A[0].T for one in (reference, report))
    kinds = np.repeat(["equatorial"] * 4 + ["axial"] * 2, before.shape[1])
    return Chart("bonds", f"Bonds of {name}",
                 "Every bond length before and after, and the displacement of each class.",
                 draw_bonds(report, reference, moved, stacked=True),
                 {"": {"class": kinds, "before_A": before.ravel(), "after_A": after.ravel()}})


def largest_displaced(subject: Subject) -> str | None:
    """Return the structure with the largest displacement whose difference has known parts."""
    return max((n for n in subject.names if subject.parts(n)), key=subject.amplitude, default=None)


def site_title(subject: Subject, name: str, first: int) -> str:
    """Return what to call an orbit: ``axial Br9, 4c → 4a``, or element and sites."""
    absorber = next(a for a in subject.structures[name].absorbers if a.index == first)
    sites = absorber.site if absorber.parent is None else f"{absorber.parent} → {absorber.site}"
    return f"{atom_name(subject, absorber.element, first)}, {sites}"


def atom_name(subject: Subject, element: str, index: int) -> str:
    """Return the name of an atom, with its class where there are octahedra: ``axial Br9``."""
    framework = subject.framework
    if framework is None:
        return f"{element}{index + 1}"
    classes = {"axial ": framework.axial_x, "equatorial ": framework.equatorial_x}
    word = next((word for word, atoms in classes.items() if index in atoms), "")
    return f"{word}{element}{index + 1}"


def by_site(found: Sequence[Part]) -> Mapping[int, list[Part]]:
    """Return the parts of each orbit, by its first atom."""
    sites: dict[int, list[Part]] = {}
    for part in found:
        sites.setdefault(part.first, []).append(part)
    return sites


def parts_chart(subject: Subject, name: str) -> Chart:
    """Draw a panel for each orbit's polarisations and sum; above them the sums and the whole."""
    sites = by_site(subject.parts(name))
    total = sum(p[0].atoms for p in sites.values())
    rows = 1 + len(sites)
    figure, (top, *panels) = style.panels(rows, 1, (WIDTH_IN, 0.3 + 2.1 * rows), sharex=True,
                                          sharey=True)
    x = subject.axis_eV
    columns: Columns = {"energy_eV": x}
    top.plot(x, subject.percent(name), color=INK, lw=2.0, label=f"{name} − {subject.reference}")
    for i, (axes, (first, found)) in enumerate(zip(panels, sites.items(), strict=True)):
        title = f"{site_title(subject, name, first)}, {found[0].atoms} of {total}"
        whole = np.sum([p.difference for p in found], axis=0)
        top.plot(x, whole, color=style.PALETTE[i % len(style.PALETTE)],
                 ls=("-", "--", "-.", ":")[i % 4], lw=1.3, label=title)
        columns[f"{title} (% of maximum)"] = whole
        axes.plot(x, whole, color=INK, lw=1.6, label="sum")
        for part in found:
            if part.polarisation:
                axes.plot(x, part.difference, color=style.AXIS_COLOURS[part.polarisation], lw=1.3,
                          label=part.polarisation)
                columns[f"{title} {part.polarisation} (% of maximum)"] = part.difference
        axes.set_title(title, fontsize=10, loc="left")
        style.legend(axes, ncols=4, loc="lower right", columnspacing=1.0)
    for axes in (top, *panels):
        style.zero_line(axes)
        axes.set_ylabel("% of maximum")
    show_range(subject, top, *panels)
    low, high = top.get_ylim()
    top.set_ylim(low - 0.15 * (high - low), high)
    style.legend(top, loc="lower left", bbox_to_anchor=(0.0, 1.0))
    columns[_difference(subject, name)] = subject.percent(name)
    return Chart("sites", "Which atoms make the signal",
                 f"The difference of {name} split into its sites and polarisations, which add up "
                 "to it.", figure, {"": columns})


def moves(subject: Subject, moved: Displacements) -> Mapping[str, float]:
    """Return how far each class of atoms moved, rms in Å, largest first."""
    return movers(subject.structures[subject.reference].crystal, moved.displacement_A)
