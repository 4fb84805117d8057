"""The article's figure 4, ours: steady state and differences, with the published features marked."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from perovskite_polaron.experiment.scan import Scan
from perovskite_polaron.report.charts import WIDTH_IN, Chart, Column
from perovskite_polaron.report.published import FEATURES
from perovskite_polaron.report.spectra_figure import draw_alignment, draw_difference
from perovskite_polaron.report.subject import Subject

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
