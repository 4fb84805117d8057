"""One HTML file that needs nothing else, and beside it, for a report, its figures and data."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perovskite_polaron import __version__
from perovskite_polaron.figures import style
from perovskite_polaron.figures.style import Chart
from perovskite_polaron.files import write_atomically
from perovskite_polaron.report.blocks import Answer, Block, Claims, Section, unfolded

PAGE = "report.html"
#: Template, style and scripts of the page.
WEB = Path(__file__).parent / "web"


@dataclass(frozen=True, eq=False)
class Page:
    """What one HTML file shows.

    Attributes
    ----------
    answer, sections
        The first screen, and what stands below it.
    live
        What its script redraws (``report.live``), or nothing.
    source
        What it was made from, in words.
    """

    answer: Answer
    sections: Sequence[Section] = ()
    live: Mapping[str, Any] = field(default_factory=lambda: {"edges": [], "structure": None})
    source: str = ""

    @property
    def charts(self) -> list[Chart]:
        """Every figure, in order."""
        return self.answer.charts + [b for b in self._blocks() if isinstance(b, Chart)]

    @property
    def claims(self) -> list[Claims]:
        """Every box of published statements, in order."""
        first = [] if self.answer.claims is None else [self.answer.claims]
        return first + [b for b in self._blocks() if isinstance(b, Claims)]

    def _blocks(self) -> Iterator[Block]:
        return unfolded([block for section in self.sections for block in section.blocks])

    def html(self, pictures: Mapping[str, str] | None = None) -> str:
        """Return the file.

        Parameters
        ----------
        pictures
            The SVG of each chart by name, where their files lie beside the page; by default they
            are drawn here, and the page stands alone.
        """
        import jinja2

        drawn = pictures or {chart.name: chart.svg() for chart in self.charts}
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(WEB), autoescape=True, undefined=jinja2.StrictUndefined,
            finalize=lambda found: typeset(found) if type(found) is str else found)
        safe = environment.filters["safe"]
        figures = {chart.name: safe(inline(drawn[chart.name], chart.name, chart.alt))
                   for chart in self.charts}
        names = ["chart.js", "controls.js", "viewer.js", "start.js"]
        if self.live["structure"]:
            names.append("3dmol/3Dmol-min.js")
        # Text within a script ends where it says so, even inside of a string.
        data = json.dumps(self.live, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
        return environment.get_template("template.html").render(
            answer=self.answer, sections=self.sections, figures=figures, version=__version__,
            source=self.source, beside=pictures is not None, turns=bool(self.live["structure"]),
            data=safe(data),
            colours=safe(colours("".join(figures.values()))),
            css=safe((WEB / "page.css").read_text(encoding="utf-8")),
            scripts=[safe((WEB / name).read_text(encoding="utf-8")) for name in names])


def write_report(page: Page, folder: Path) -> list[Path]:
    """Write ``report.html`` and ``figures/`` into a folder, which is made; return all files.

    The page comes first. Errors as in ``files.write_atomically``.
    """
    figures = folder / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    written = [path for chart in page.charts for path in chart.write_all(figures)]
    pictures = {chart.name: (figures / f"{chart.name}.svg").read_text(encoding="utf-8")
                for chart in page.charts}
    return [write_atomically(folder / PAGE, page.html(pictures)), *written]


def typeset(text: str) -> str:
    """Return text with minus signs before numbers, and numbers on one line with their unit."""
    text = re.sub(r"(?<![\w.\-–/])-(?=\d)", "−", text)
    return re.sub(r"(?<=\d) (?=(?:%|Å|[km]?eV|K|ps|°C)(?!\w))", "\N{NO-BREAK SPACE}", text)


def colours(drawn: str) -> str:
    """Return the colours of curves and of static figures as CSS, for light and dark pages."""
    curves = {f"c{i}": colour for i, colour in enumerate((style.INK, *style.PALETTE))}
    used = sorted(set(re.findall(r"var\(--k([0-9a-f]{6})", drawn)))
    both = curves | {f"k{name}": f"#{name}" for name in used}
    light = "".join(f"--{name}: {colour};" for name, colour in both.items())
    dark = "".join(f"--{name}: {style.on_dark(colour)};" for name, colour in both.items())
    return (f":root {{ {light} }}\n"
            f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}")


def inline(svg: str, name: str, alt: str) -> str:
    """Return the text of a chart's SVG file as an element for an HTML page.

    Its ids are made the page's own, its background transparent, its size that of its box, and its
    colours variables that the page sets (``colours``).
    """
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'(\sid="|url\(#|href="#)', lambda m: m[1] + name + "-", body)
    # The first white area is the figure's paper.
    body = re.sub(r"fill: #ffffff(?=[;\"])", "fill: none", body, count=1)
    body = re.sub(r"(?<=: )#([0-9a-f]{6})(?=[;\"])", r"var(--k\1, #\1)", body)
    box = re.search(r'viewBox="[^"]*"', body)
    label = alt.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    head = f'<svg {spaces} {box[0] if box else ""} role="img" aria-label="{label}">'
    return head + body[body.index(">") + 1 :]
