"""A chart: a figure with its caption and its data, and the files it becomes."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.files import write_atomically
from perovskite_polaron.report.sweep_figure import save

# A page of a phone shows a figure of this width at about its own size, so that its letters stay readable.
WIDTH_IN = 4.8
SUFFIXES = (".svg", ".png", ".pdf")

Column = Sequence[float] | Sequence[str] | Sequence[float | str] | NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Chart:
    """figure: matplotlib's. alt: what it shows, for who cannot see it. tables: ending of the file -> name -> column."""

    name: str
    title: str
    alt: str
    figure: Any
    tables: Mapping[str, Mapping[str, Column]]

    def write(self, path: Path) -> Path:
        """Write the figure as .png, .svg or .pdf, by the extension; the same chart gives the same SVG."""
        import matplotlib as mpl

        # Letters stay letters; ids come from the name, not from chance.
        with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": self.name}):
            return save(self.figure, path)

    def write_all(self, folder: Path) -> list[Path]:
        """Write the figure in every format and its data as CSV into a folder."""
        written = [self.write(folder / f"{self.name}{suffix}") for suffix in SUFFIXES]
        for ending, columns in self.tables.items():
            written.append(write_atomically(folder / f"{self.name}{ending}.csv", csv_text(columns)))
        return written


def csv_text(columns: Mapping[str, Column]) -> str:
    """Return columns of one length as CSV; numbers with ten digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        writer.writerow([v if isinstance(v, str) else f"{v:.10g}" for v in row])
    return text.getvalue()


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
