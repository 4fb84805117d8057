"""What all figures share: colours, panels, legends, the saver, and a chart with its data.

Every colour that draws data has a contrast of 3:1 or more on white (WCAG 2.1, 1.4.11), and no two
of the palette are alike for readers with any kind of colour vision.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perovskite_polaron.errors import require
from perovskite_polaron.files import Column, replace_atomically, write_csv

# Okabe and Ito's vermilion and blue; their other colours are too pale for a thin line and are
# replaced by darker ones of the same hues.
ORANGE, BLUE = "#D55E00", "#0072B2"
PALETTE = (ORANGE, BLUE, "#009470", "#CC5FA0", "#6E4A00", "#3D2F8F")
INK, GREY = "#1A1A1A", "#808080"
# Behind the data: intervals and bands, never lines.
TINT = "#BFE0F5"
# Polarisations along x, y and z.
AXIS_COLOURS = {"x": BLUE, "y": PALETTE[2], "z": ORANGE}
# A page of a phone shows a figure of this width at about its own size, so that its letters stay
# readable.
WIDTH_IN = 4.8
# Of a figure in a notebook.
_SCREEN_DPI = 100
_COLOURS = 64
SUFFIXES = (".svg", ".png", ".pdf")
#: The papers of the page, light and dark; every curve has this contrast on both.
PAPER, DARK_PAPER, CONTRAST = "#FFFFFF", "#15181C", 3.0


def colours(count: int) -> list[Any]:
    """Return black and the palette for that many lines; shades where there are not enough."""
    found = [INK, *PALETTE][:count]
    return found if len(found) == count else shades(count)


def shades(count: int) -> list[Any]:
    """Return colours for an ordered series, dark to light.

    The first half of *plasma*: beyond it colours come near the palette's orange, then grow pale.
    """
    from matplotlib import colormaps

    return [colormaps["plasma"](0.5 * i / max(1, count - 1)) for i in range(count)]


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours, 1 to 21 (WCAG 2.1)."""
    from matplotlib.colors import to_rgb

    def luminance(colour: str) -> float:
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4
                  for v in to_rgb(colour)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def on_dark(colour: str) -> str:
    """Return what a colour of the light page is on the dark one: as light as it was dark.

    What can be seen on the light paper can be seen on the dark one; white becomes that paper.
    """
    from matplotlib.colors import hsv_to_rgb, rgb_to_hsv, to_hex, to_rgb

    rgb, paper = to_rgb(colour), to_rgb(DARK_PAPER)
    hue = rgb_to_hsv(rgb)[0]
    light = (max(rgb) + min(rgb)) / 2
    spread = max(rgb) - min(rgb)
    seen = contrast(colour, PAPER)
    found = 1 - light
    while True:
        # Hue, lightness and spread of the channels to red, green and blue.
        room = min(spread, 2 * min(found, 1 - found))
        top = found + room / 2
        pure = hsv_to_rgb((hue, room / top if top else 0.0, top))
        red, green, blue = (p + (1 - p) * v for p, v in zip(paper, pure, strict=True))
        turned = str(to_hex((red, green, blue)))
        if contrast(turned, DARK_PAPER) >= min(seen, CONTRAST) or found >= 1:
            return turned
        found = min(1.0, found + 0.02)


def panels(rows: int, columns: int, size_in: tuple[float, float], **layout: Any) -> tuple[Any, Any]:
    """Return a figure and its panels, row by row.

    Parameters
    ----------
    rows, columns
        How many panels stand below and beside each other.
    size_in
        Width and height of the whole figure, inches.
    **layout
        More of ``Figure.subplots``: ``sharex``, ``height_ratios``, ...
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=size_in, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **layout).ravel()


def row_or_column(count: int, stacked: bool, beside_in: float = 4.0) -> tuple[Any, Any]:
    """Return a figure and its panels: side by side, or stacked for a narrow page."""
    if stacked:
        return panels(count, 1, (WIDTH_IN, 3.0 * count))
    return panels(1, count, (count * beside_in, 3.6))


def legend(axes: Any, **options: Any) -> None:
    """Draw the legend of a panel as every figure does."""
    axes.legend(**{"frameon": False, "fontsize": 9} | options)


def zero_line(axes: Any) -> None:
    """Draw zero behind the data."""
    axes.axhline(0, color="0.6", lw=0.8, zorder=0)


def photon_energies(axes: Any) -> None:
    """Label energies of keV in full, with room between them."""
    axes.ticklabel_format(axis="x", useOffset=False)
    axes.locator_params(axis="x", nbins=6)


def save(figure: Any, path: Path) -> Path:
    """Write a figure as PNG (200 dpi), SVG or PDF, atomically, and return its path.

    Raises
    ------
    InputError
        For another extension; else as ``files.replace_atomically``.
    """
    require(path.suffix.lower() in SUFFIXES,
            f"{path} is not a figure this program writes: name it .png, .svg or .pdf")
    return replace_atomically(path, lambda temporary: _draw(figure, temporary))


def png(figure: Any) -> tuple[bytes, dict[str, int]]:
    """Return a figure as PNG for a notebook, and the size to show it at, in pixels.

    It has few colours, as the figures here have: a notebook keeps every figure it shows.
    """
    from PIL import Image

    drawn, small = io.BytesIO(), io.BytesIO()
    _draw(figure, drawn, format="png")
    image = Image.open(drawn).convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
    image.save(small, "png", optimize=True)
    width, height = (round(_SCREEN_DPI * side) for side in figure.get_size_inches())
    return small.getvalue(), {"width": width, "height": height}


def _draw(figure: Any, target: Any, **options: Any) -> None:
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        # Dollars in users' names are no formulae; those of logarithmic ticks are.
        text.set_parse_math("\\mathdefault" in text.get_text() or not text.get_text())
    figure.savefig(target, dpi=200, **options)


@dataclass(frozen=True, eq=False)
class Chart:
    """A figure with its caption and its data.

    Attributes
    ----------
    name
        Of its files, without extension.
    title, alt
        The caption: its heading, and what the figure shows, for who cannot see it.
    figure
        matplotlib's.
    tables
        The data: ending of the file's name -> header -> column.
    """

    name: str
    title: str
    alt: str
    figure: Any
    tables: Mapping[str, Mapping[str, Column]]

    def write(self, path: Path) -> Path:
        """Write the figure as .png, .svg or .pdf; the same chart gives the same SVG."""
        import matplotlib as mpl

        # Letters stay letters; ids come from the name, not from chance.
        with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": self.name}):
            return save(self.figure, path)

    def svg(self) -> str:
        """Return the figure as the text of an SVG file, without writing one."""
        import matplotlib as mpl

        text = io.StringIO()
        with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": self.name}):
            _draw(self.figure, text, format="svg")
        return text.getvalue()

    def write_all(self, folder: Path) -> list[Path]:
        """Write the figure in every format and its data as CSV into a folder."""
        first = self.write(folder / f"{self.name}{SUFFIXES[0]}")
        # Laid out once: that takes longer than drawing.
        self.figure.set_layout_engine(None)
        written = [first, *(self.write(folder / f"{self.name}{suffix}") for suffix in SUFFIXES[1:])]
        return written + [write_csv(folder / f"{self.name}{ending}.csv", columns)
                          for ending, columns in self.tables.items()]
