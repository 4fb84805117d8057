"""The report of a study: its first screen, its sections, and its figures by name."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from perovskite_polaron.analysis.verdict import Judgement
from perovskite_polaron.errors import require
from perovskite_polaron.figures.style import Chart
from perovskite_polaron.measured.scan import Scan
from perovskite_polaron.report import study_charts as charts
from perovskite_polaron.report.answer import answer, structure_chart
from perovskite_polaron.report.blocks import Section
from perovskite_polaron.report.hot_section import hot_section
from perovskite_polaron.report.live import live
from perovskite_polaron.report.method_sections import heating_section, method_section
from perovskite_polaron.report.page import Page
from perovskite_polaron.report.spectra_sections import (
    amplitude_section, beside_section, experiment_section, parts_section, spectra_section)
from perovskite_polaron.report.structure_sections import structures_section
from perovskite_polaron.report.subject import Subject
from perovskite_polaron.report.variations import Variation, variations
from perovskite_polaron.spectra.amplitude import leading_regime


def sections(subject: Subject, judged: Judgement | None = None,
             beside: Sequence[Subject] = (), varied: Sequence[Variation] = ()) -> list[Section]:
    """Return what stands below the first screen of a study's report.

    Those about a published experiment are there only where an article is about this study.

    Parameters
    ----------
    subject
        The study.
    judged
        What the study makes of a measured difference spectrum.
    beside
        The same structures at other edges, and ensembles of the crystal.
    varied
        What ``variations`` found.
    """
    found = [spectra_section(subject, judged), *(
        hot_section(one) if one.ensembles else beside_section(one) for one in beside)]
    if subject.experiment is not None:
        found.append(experiment_section(subject, *subject.experiment))
    found += [parts_section(subject), amplitude_section(subject), structures_section(subject)]
    if subject.experiment is not None:
        found.append(heating_section(*subject.experiment))
    return [*found, method_section(subject, varied)]


def study_page(subject: Subject, source: str, transient: Scan | None = None,
               judged: Judgement | None = None, beside: Sequence[Subject] = ()) -> Page:
    """Return the page of a study; parameters as ``sections`` and ``answer``."""
    varied = variations(subject) if subject.names else []
    return Page(answer(subject, transient, judged, varied),
                sections(subject, judged, beside, varied),
                live([subject, *(one for one in beside if not one.ensembles)], transient, judged),
                source)


def figures(subject: Subject, transient: Scan | None = None) -> Mapping[str, Callable[[], Chart]]:
    """Return, by name, what draws each figure that this study has."""
    found: dict[str, Callable[[], Chart]] = {}
    found["figure-4"] = partial(charts.difference_chart, subject, transient)
    structure = structure_chart(subject)
    if structure is not None:
        found["structure"] = lambda: structure
    if subject.experiment is not None:
        found["figure-2"] = partial(charts.kinetics_chart, *subject.experiment)
        found["heating"] = partial(charts.heating_chart, *subject.experiment)
        if subject.names:
            found["figure-3"] = partial(charts.shape_ratio_chart, subject)
    if subject.names:
        found["alignment"] = partial(charts.alignment_chart, subject)
    resolved = charts.largest_displaced(subject)
    if resolved is not None:
        found["sites"] = partial(charts.parts_chart, subject, resolved)
        bonds = charts.bonds_chart(subject, resolved)
        if bonds is not None:
            found["bonds"] = lambda: bonds
    for entry, sweep in subject.sweeps.items():
        if len(sweep.amplitudes_sqrt_amu_A) > 1:
            regime = leading_regime(sweep)
            found["amplitude"] = partial(charts.amplitude_chart, subject, entry, sweep, regime)
    return found


def write_figure(subject: Subject, name: str, path: Path, transient: Scan | None = None) -> Path:
    """Write one figure of the report as .png, .svg or .pdf.

    Raises
    ------
    InputError
        For a figure this study does not have.
    """
    known = figures(subject, transient)
    require(name in known, f"figure {name!r} is not one of this study's: choose from "
            f"{', '.join(sorted(known))}")
    return known[name]().write(path)
