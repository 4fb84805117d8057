"""The report of a study: an HTML page that needs nothing else, figures and data beside it."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from perovskite_polaron import __version__
from perovskite_polaron.errors import require
from perovskite_polaron.figures.style import Chart
from perovskite_polaron.files import write_atomically
from perovskite_polaron.measured.scan import Scan
from perovskite_polaron.report import study_charts as charts
from perovskite_polaron.report.blocks import Section
from perovskite_polaron.report.method_sections import heating_section, method_section
from perovskite_polaron.report.spectra_sections import (
    amplitude_section, beside_section, experiment_section, parts_section, spectra_section, sweeps)
from perovskite_polaron.report.structure_sections import summary_section
from perovskite_polaron.report.subject import Subject
from perovskite_polaron.spectra.amplitude import leading_regime

PAGE = "report.html"


def sections(subject: Subject, transient: Scan | None = None,
             verdicts: Sequence[str] = (), beside: Sequence[Subject] = ()) -> list[Section]:
    """Return the sections of a study's report.

    Those about a published experiment are there only where an article is about this study.

    Parameters
    ----------
    subject
        The study.
    transient
        A measured difference spectrum, to be drawn.
    verdicts
        Sentences on it, as ``analysis.verdict`` makes them.
    beside
        The same structures at other edges.
    """
    found = [summary_section(subject), spectra_section(subject, transient, verdicts),
             *map(beside_section, beside)]
    if subject.experiment is not None:
        found.append(experiment_section(subject, *subject.experiment))
    found += [parts_section(subject), amplitude_section(subject)]
    if subject.experiment is not None:
        found.append(heating_section(*subject.experiment))
    return [*found, method_section(subject)]


def write_report(subject: Subject, found: Sequence[Section], source: str,
                 folder: Path) -> list[Path]:
    """Write ``report.html`` and ``figures/`` into a folder, which is made; return all files.

    The page comes first. Errors as in ``files.write_atomically``.
    """
    import jinja2

    figures = folder / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent),
                                     autoescape=True, undefined=jinja2.StrictUndefined)
    drawn = [block for section in found for block in section.blocks if isinstance(block, Chart)]
    written = [path for chart in drawn for path in chart.write_all(figures)]
    pictures = {}
    for chart in drawn:
        svg = (figures / f"{chart.name}.svg").read_text(encoding="utf-8")
        pictures[chart.name] = environment.filters["safe"](inline(svg, chart.name, chart.alt))
    names = ", ".join(s.name for s in subject.results.structures)
    html = environment.get_template("template.html").render(
        title=f"{subject.study.element} {subject.study.edge} edge: {names}", sections=found,
        figures=pictures, version=__version__, source=source)
    return [write_atomically(folder / PAGE, html), *written]


def inline(svg: str, name: str, alt: str) -> str:
    """Return the text of a chart's SVG file as an element for an HTML page.

    Its ids are made the page's own, its background transparent, and its size that of its box.
    """
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'(\sid="|url\(#|href="#)', lambda m: m[1] + name + "-", body)
    body = re.sub(r"fill: #ffffff(?=[;\"])", "fill: none", body)
    box = re.search(r'viewBox="[^"]*"', body)
    label = alt.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    head = f'<svg {spaces} {box[0] if box else ""} role="img" aria-label="{label}">'
    return head + body[body.index(">") + 1 :]


def figures(subject: Subject, transient: Scan | None = None) -> Mapping[str, Callable[[], Chart]]:
    """Return, by name, what draws each figure that this study has."""
    found: dict[str, Callable[[], Chart]] = {}
    found["figure-4"] = partial(charts.difference_chart, subject, transient)
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
        report, reference = subject.bonds(resolved), subject.bonds(subject.reference)
        if report is not None and reference is not None:
            found["bonds"] = partial(charts.bonds_chart, resolved, report, reference, subject)
    for entry, sweep in sweeps(subject).items():
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
