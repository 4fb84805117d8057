"""Figure of bond lengths and off-centring against the amplitude of a mode.

A chart: a figure with its caption and its data, and the files it becomes.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.errors import InputError
from perovskite_polaron.files import Column, replace_atomically, write_csv
from perovskite_polaron.lattice.octahedra import Framework, sweep_bonds

BLUE, ORANGE = "#0072B2", "#D55E00"


def write_sweep_figure(
    framework: Framework, patterns: NDArray[np.float64], coefficients: NDArray[np.float64], path: Path
) -> Path:
    """Draw the bonds along a sweep: curves from zero to the largest amplitude; .png or .svg.

    The horizontal axis is the largest atomic displacement, signed as the first mode's amplitude.
    """
    largest = coefficients[np.abs(coefficients).sum(axis=1).argmax()]
    low = min(0.0, float((coefficients @ largest).min() / max(largest @ largest, 1e-300)))
    high = max(0.0, float((coefficients @ largest).max() / max(largest @ largest, 1e-300)))
    steps = np.linspace(low, high if high > low else 1.0, 201)
    unit = float(np.linalg.norm(np.tensordot(largest, patterns, 1), axis=1).max()) * np.sign(largest[0] or 1.0)
    found = sweep_bonds(framework, patterns, steps[:, None] * largest)
    x = steps * unit
    figure, (left, right) = panels(2, (4.0, 3.6), (4.8, 3.0), False)
    for slots, colour, label in ((slice(0, 4), BLUE, "equatorial"), (slice(4, 6), ORANGE, "axial")):
        lengths = found.lengths_A[:, :, slots].reshape(len(steps), -1)
        distinct = np.unique(np.round(lengths, 9), axis=1)
        left.plot(x, distinct, color=colour, lw=1.2)
        left.plot([], [], color=colour, label=label)
    left.set_ylabel(f"{framework.b}–{framework.x} length (Å)")
    left.legend(frameon=False, fontsize=9)
    right.plot(x, found.offcentring_A.mean(axis=1), color=ORANGE)
    right.set_ylabel(f"{framework.b} off-centring (Å)")
    for axes in (left, right):
        axes.set_xlabel("largest atomic displacement (Å)")
    return save(figure, path)


def panels(
    count: int, beside_in: tuple[float, float], stacked_in: tuple[float, float], stacked: bool
) -> tuple[Any, Any]:
    """Return a figure and its panels: side by side, or below each other; the sizes (inches) are those of one panel."""
    from matplotlib.figure import Figure

    size = (stacked_in[0], count * stacked_in[1]) if stacked else (count * beside_in[0], beside_in[1])
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(*((count, 1) if stacked else (1, count)), squeeze=False).ravel()


def save(figure: Any, path: Path) -> Path:
    """Write a figure as PNG (200 dpi), SVG or PDF, atomically; InputError for another extension."""
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise InputError(f"{path} is not a figure this program writes: name it .png, .svg or .pdf")
    return replace_atomically(path, lambda temporary: figure.savefig(temporary, dpi=200))



# A page of a phone shows a figure of this width at about its own size, so that its letters stay readable.
WIDTH_IN = 4.8
SUFFIXES = (".svg", ".png", ".pdf")


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
            written.append(write_csv(folder / f"{self.name}{ending}.csv", columns))
        return written


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
