"""Section of a report: ensembles of a hot crystal, what temperature changes in their spectra, and
what is left of a displacement on top of thermal motion.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from perovskite_polaron.analysis.shape_ratio import EDGES
from perovskite_polaron.arrays import Array
from perovskite_polaron.figures import style
from perovskite_polaron.figures.style import INK, WIDTH_IN, Chart
from perovskite_polaron.files import Column
from perovskite_polaron.report import study_charts as charts
from perovskite_polaron.report.blocks import (
    Block, Claims, Fold, Rows, Section, Table, Text, meaning)
from perovskite_polaron.report.claims import (
    extremum_eV, findings, shape_ratio_range, shape_ratio_sigma)
from perovskite_polaron.report.subject import Subject
from perovskite_polaron.workflow.engines import ENGINES
from perovskite_polaron.workflow.scenarios import on_top


def hot_section(subject: Subject) -> Section:
    """Return what a study of ensembles says, as the section of the edge it was computed at."""
    study = subject.study
    blocks: list[Block] = [meaning("hot"), Text(_source(subject)), hot_chart(subject)]
    if claims := findings(subject, "hot"):
        blocks.append(Claims(f"Heated crystals at {study.element} {study.edge} with"
                             f" {ENGINES[study.engine.kind]}, published and ours", claims))
    if pairs := on_top(subject.results, subject.spectra):
        blocks += [meaning("on-top"), Table("The displacement at rest and on top of thermal motion",
                                            *_on_top(subject, pairs))]
    numbers = [Table("Differences from the coldest ensemble", *_series(subject))]
    if subject.article is not None and any(f.extremum for f in subject.features):
        numbers.append(Table("Extrema of the steady state", *_extrema(subject)))
    blocks.append(Fold("Every temperature in numbers", numbers))
    return Section(_key(subject), f"Hot crystals at the {study.element} {study.edge} edge, with"
                   f" {ENGINES[study.engine.kind]}", blocks)


def _key(subject: Subject) -> str:
    return f"hot-{subject.edge.lower()}-{subject.study.engine.kind}"


def _source(subject: Subject) -> str:
    first = next(iter(subject.ensembles))
    origin = subject.result(first).ensemble or {}
    counts = [len(subject.result(name).samples) for name in subject.ensembles]
    sites = len(subject.result(first).sites) / counts[0]
    said = (str(counts[0]) if len(set(counts)) == 1 else f"{min(counts)} to {max(counts)}")
    return (f"{said} snapshots at each temperature, absorbing atoms of each: {sites:.3g}. "
            f"Where they are from: {origin['source']}; "
            f"{origin['rule']}.")


def _series(subject: Subject) -> Rows:
    """Return a row for each hotter ensemble: its largest change with its place, and C."""
    rows: list[list[str]] = []
    for name, celsius in subject.heated.items():
        curve, error = subject.percent(name), subject.spectra.error_percent(name)
        inside = charts.seen(subject)
        at = int(np.flatnonzero(inside)[np.abs(curve[inside]).argmax()])
        said = "" if error is None else f" ± {error[at]:.2f}"
        row = [f"{name}, {celsius:.0f} °C", f"{curve[at]:+.2f}{said}",
               f"{subject.axis_eV[at]:.1f}"]
        if subject.edge in EDGES and subject.edge_eV is not None:
            c, low, high = shape_ratio_range(subject, name)
            sigma = shape_ratio_sigma(subject, name)
            row += [f"{c:+.2f}" + ("" if sigma is None else f" ± {sigma:.2f}"),
                    f"{low:+.2f} to {high:+.2f}"]
        rows.append(row)
    head = ["ensemble", "largest difference (% of maximum)", "at (eV)"]
    if rows and len(rows[0]) > len(head):
        head += ["C", "C as the edge moves"]
    return head, rows


def _extrema(subject: Subject) -> Rows:
    """Return the published extrema beside those of the crystal at rest and of the ensembles, with
    the height of each above or below the spectrum's mean around it.
    """
    features = [f for f in subject.features if f.extremum]
    kinds = {1: "maximum", -1: "minimum"}
    rows = []
    for name in (subject.reference, *subject.ensembles):
        spectra = replace(subject.spectra, reference=name)
        found = [extremum_eV(subject, feature, spectra) for feature in features]
        rows.append([name, *("–" if at is None else f"{at / 1000:.4f}" for at in found),
                     f"{_contrast(subject, name):.2f}"])
    rows.insert(0, ["published (keV)", *(f"{f.energy_eV / 1000:.4f}" for f in features), ""])
    return ["spectrum", *(kinds[f.extremum] for f in features), "post-edge rms (%)"], rows


def _contrast(subject: Subject, name: str) -> float:
    """Return the rms of a spectrum beyond the first maximum about its parabola, in %."""
    average = subject.spectra.structures[name].average
    offset = average.energy_eV - subject.anchor_eV
    x, y = offset[(offset >= 8) & (offset <= charts.RANGE_EV[1])], average.intensity
    y = 100 * y[(offset >= 8) & (offset <= charts.RANGE_EV[1])] / subject.maximum
    return float(np.std(y - np.polynomial.Polynomial.fit(x, y, 2)(x)))


def strength(still: Array, hot: Array, rows: Array | None) -> tuple[float, float, float | None]:
    """Return how much of a difference at rest there is in a hot one, and how alike they are.

    The factor s of the least squares of ‖hot − s·still‖, the cosine of the angle between them, and
    the standard error of s that the principal errors ``rows`` (k, n) of the hot one make.
    """
    square = float(still @ still)
    factor = float(still @ hot) / square
    alike = float(still @ hot) / float(np.linalg.norm(still) * np.linalg.norm(hot))
    sigma = None if rows is None else float(np.linalg.norm(rows @ still)) / square
    return factor, alike, sigma


def _on_top(subject: Subject, pairs: Mapping[str, str]) -> Rows:
    head = ["displaced crystal", "range", "strength when hot", "cosine similarity"]
    offset = subject.energy_eV - subject.anchor_eV
    rows = []
    for still, hot in pairs.items():
        error = subject.spectra.errors.get(hot)
        for word, low in (("whole", charts.RANGE_EV[0]), ("beyond 8 eV", 8.0)):
            inside = (offset >= low) & (offset <= charts.RANGE_EV[1])
            factor, alike, sigma = strength(
                subject.percent(still)[inside], subject.percent(hot)[inside],
                None if error is None else error.rows[:, inside] * 100 / subject.maximum)
            rows.append([still, word, f"{factor:.2f}" + (
                "" if sigma is None else f" ± {sigma:.2f}"), f"{alike:.3f}"])
    return head, rows


def hot_chart(subject: Subject) -> Chart:
    """Draw the ensembles, their differences with standard errors, and a displacement at rest and
    on top of thermal motion.
    """
    pairs = on_top(subject.results, subject.spectra)
    count = 2 + bool(pairs)
    figure, panels = style.panels(count, 1, (WIDTH_IN, 0.4 + 2.4 * count), sharex=True)
    x, top = subject.axis_eV, panels[0]
    columns: dict[str, Column] = {"energy_eV": x}
    for name, colour, dash in _spectra(subject):
        curve = subject.spectra.structures[name].average.intensity / subject.maximum
        top.plot(x, curve, color=colour, lw=1.4, ls=dash, label=name)
        columns[f"{name} (maximum at rest = 1)"] = curve
    top.set_ylabel("absorption\n(maximum at rest = 1)")
    heated = list(subject.heated)
    for name, colour in zip(heated, style.shades(len(heated)), strict=True):
        _banded(panels[1], subject, name, columns, color=colour)
    panels[1].set_ylabel(f"minus {subject.spectra.base_of(heated[0])}\n(% of maximum)"
                         if heated else "% of maximum")
    for i, (still, hot) in enumerate(pairs.items()):
        axes, colour = panels[2], style.PALETTE[i % len(style.PALETTE)]
        curve = subject.percent(still)
        axes.plot(x, curve, color=colour, lw=1.2, ls="--", label=f"{still} at rest")
        columns[f"{still} (% of maximum)"] = curve
        _banded(axes, subject, hot, columns, color=colour)
        axes.set_ylabel("displacement\n(% of maximum)")
    charts.show_range(subject, *panels)
    for i, axes in enumerate(panels):
        charts.fit_height(axes)
        if i:
            style.zero_line(axes)
        style.legend(axes, ncols=3, loc="lower left", bbox_to_anchor=(0.0, 1.0))
    return Chart(_key(subject), "Hot crystals",
                 "Mean spectra of the ensembles and of the crystal at rest, differences with one "
                 "standard error of the mean over snapshots, and a displacement at rest and on top "
                 "of thermal motion.", figure, {"": columns})


def _spectra(subject: Subject) -> Iterator[tuple[str, Any, str]]:
    yield subject.reference, INK, "--"
    yield from ((name, colour, "-") for name, colour
                in zip(subject.ensembles, style.shades(len(subject.ensembles)), strict=True))


def _banded(axes: Any, subject: Subject, name: str, columns: dict[str, Column],
            **options: Any) -> None:
    """Draw a difference with its standard error."""
    curve, error = subject.percent(name), subject.spectra.error_percent(name)
    axes.plot(subject.axis_eV, curve, lw=1.4, label=name, **options)
    columns[f"{name} (% of maximum)"] = curve
    if error is not None:
        axes.fill_between(subject.axis_eV, curve - error, curve + error, alpha=0.25, lw=0,
                          **options)
        columns[f"standard error of {name} (% of maximum)"] = error
