"""The report of a study: one HTML page that needs nothing else, and its figures with their data beside it."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from perovskite_polaron import __version__
from perovskite_polaron.errors import InputError
from perovskite_polaron.figures.style import Chart, inline
from perovskite_polaron.files import write_atomically
from perovskite_polaron.measured.scan import Scan
from perovskite_polaron.report.blocks import Section
from perovskite_polaron.report.method_sections import heating_section, method_section
from perovskite_polaron.report.spectra_sections import (
    amplitude_section,
    experiment_section,
    parts_section,
    spectra_section,
    sweeps,
)
from perovskite_polaron.report.structure_sections import bonds_chart, summary_section
from perovskite_polaron.report.study_charts import (
    alignment_chart,
    amplitude_chart,
    comparison_chart,
    difference_chart,
    heating_chart,
    kinetics_chart,
    largest_displaced,
    parts_chart,
    published_heating,
)
from perovskite_polaron.report.subject import Subject
from perovskite_polaron.spectra.amplitude import quadratic_regime

PAGE = "report.html"


def sections(subject: Subject, transient: Scan | None = None, verdicts: Sequence[str] = ()) -> list[Section]:
    """Return the sections of a study's report; those about the published experiment only for CsPbBr3 at the Br K edge.

    verdicts: sentences on the transient, as ``experiment.verdict`` makes them.
    """
    heat = published_heating() if subject.is_published_case else None
    result = [summary_section(subject), spectra_section(subject, transient, verdicts)]
    if heat is not None:
        result.append(experiment_section(subject, heat))
    result += [parts_section(subject), amplitude_section(subject)]
    if heat is not None:
        result.append(heating_section(heat))
    return [*result, method_section(subject)]


def write_report(subject: Subject, found: Sequence[Section], source: str, folder: Path) -> list[Path]:
    """Write ``report.html`` and ``figures/`` into a folder, which is made; return all files, the page first.

    Errors as in files.write_atomically.
    """
    import jinja2

    figures = folder / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    charts = [block for section in found for block in section.blocks if isinstance(block, Chart)]
    written = [path for chart in charts for path in chart.write_all(figures)]
    pictures = {
        chart.name: environment.filters["safe"](
            inline((figures / f"{chart.name}.svg").read_text(encoding="utf-8"), chart.name, chart.alt)
        )
        for chart in charts
    }
    html = environment.get_template("template.html").render(
        title=f"{subject.results.study.element} K edge: {', '.join(s.name for s in subject.results.structures)}",
        sections=found,
        figures=pictures,
        version=__version__,
        source=source,
    )
    return [write_atomically(folder / PAGE, html), *written]


def figures(subject: Subject, transient: Scan | None = None) -> Mapping[str, Callable[[], Chart]]:
    """Return, by name, what draws each figure that this study has."""
    found: dict[str, Callable[[], Chart]] = {"figure-4": lambda: difference_chart(subject, transient)}
    if subject.is_published_case:
        found["figure-2"] = lambda: kinetics_chart(published_heating())
        found["heating"] = lambda: heating_chart(published_heating())
        if subject.names:
            found["figure-3"] = lambda: comparison_chart(subject)
    if subject.names:
        found["alignment"] = lambda: alignment_chart(subject)
    resolved = largest_displaced(subject)
    if resolved is not None:
        found["sites"] = lambda: parts_chart(subject, resolved)
        report, reference = subject.bonds(resolved), subject.bonds(subject.reference)
        if report is not None and reference is not None:
            found["bonds"] = lambda: bonds_chart(resolved, report, reference, subject)
    for entry, sweep in sweeps(subject).items():
        if len(sweep.amplitudes_sqrt_amu_A) > 1:
            found["amplitude"] = partial(amplitude_chart, subject, entry, sweep, quadratic_regime(sweep))
    return found


def write_figure(subject: Subject, name: str, path: Path, transient: Scan | None = None) -> Path:
    """Write one figure of the report as .png, .svg or .pdf. Raises InputError for a figure this study does not have."""
    known = figures(subject, transient)
    if name not in known:
        raise InputError(f"figure {name!r} is not one of this study's: choose from {', '.join(sorted(known))}")
    return known[name]().write(path)
