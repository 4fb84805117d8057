"""The figures' one style: colours that can be seen and told apart, one saver, data beside charts.
"""

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from coverage_kinetics import MODEL, traces
from matplotlib.colors import to_hex, to_rgb

from perovskite_polaron.analysis.kinetics import fit_kinetics
from perovskite_polaron.errors import InputError
from perovskite_polaron.figures import style
from perovskite_polaron.figures.measured import draw_kinetics

# Linear sRGB to what full protanopia, deuteranopia and tritanopia leave of it: Machado, Oliveira
# and Fernandes, IEEE Trans. Vis. Comput. Graph. 15, 1291 (2009).
VISION = {
    "full": np.eye(3),
    "protanopia": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                            [-0.003882, -0.048116, 1.051998]]),
    "deuteranopia": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                              [-0.011820, 0.042940, 0.968881]]),
    "tritanopia": np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                            [0.004733, 0.691367, 0.303900]]),
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colour: object) -> np.ndarray:
    value = np.array(to_rgb(colour))
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of linear sRGB, white D65."""
    x = XYZ @ np.clip(rgb, 0, 1) / XYZ.sum(axis=1)
    f = np.where(x > 0.008856, np.cbrt(x), 7.787 * x + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("colour", [style.INK, style.GREY, *style.PALETTE, *style.shades(9)])
def test_what_draws_data_has_contrast_on_white(colour: object) -> None:
    # WCAG 2.1: (1 + 0.05) over the relative luminance + 0.05.
    assert 1.05 / (XYZ[1] @ linear(colour) + 0.05) >= 3


@pytest.mark.parametrize("colour", [style.INK, style.GREY, *style.PALETTE,
                                    *map(to_hex, style.shades(9))])
def test_what_can_be_seen_on_white_can_be_seen_on_the_dark_page(colour: str) -> None:
    own = 1.05 / (XYZ[1] @ linear(colour) + 0.05)
    assert style.contrast(colour, style.PAPER) == pytest.approx(own, rel=1e-3)
    assert style.contrast(style.on_dark(colour), style.DARK_PAPER) >= style.CONTRAST
    assert style.on_dark("#ffffff") == style.DARK_PAPER.lower()


def test_a_change_of_scale_is_a_break_between_two_panels() -> None:
    fit = fit_kinetics(traces(0, noise=0.01), MODEL)
    figure = draw_kinetics(fit)
    scales = [axes.get_xscale() for axes in figure.axes]
    assert scales == ["linear", "log", "linear", "log"]
    (_, left), (right, _) = figure.axes[0].get_xlim(), figure.axes[1].get_xlim()
    # Ten times the width of the instrument.
    assert left == right == pytest.approx(10 * fit.sigma_ps)
    assert not figure.axes[0].spines["right"].get_visible()
    figure.draw_without_rendering()
    assert not any(tick.label1.get_text() for tick in figure.axes[3].xaxis.get_minor_ticks())


@pytest.mark.parametrize("vision", VISION)
def test_no_two_colours_look_alike(vision: str) -> None:
    seen = [lab(VISION[vision] @ linear(c)) for c in (style.INK, *style.PALETTE)]
    # A difference of 2.3 is just noticeable side by side.
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 5 * 2.3


def test_every_number_of_lines_has_colours() -> None:
    for count in (1, 3, 7, 12):
        assert len({to_rgb(c) for c in style.colours(count)}) == count


def test_dollars_in_names_are_letters_and_logarithms_stay_powers(tmp_path: Path) -> None:
    figure, (axes,) = style.panels(1, 1, (3.0, 3.0))
    axes.loglog([1, 100], [1, 1e4], label="a$^{b$")
    axes.set(title="cost $5 and $x_{$", xlabel="x$_$")
    style.legend(axes)
    for name in ("a.png", "a.svg", "b.svg"):
        style.save(figure, tmp_path / name)
    import matplotlib as mpl

    with mpl.rc_context({"svg.fonttype": "none"}):
        text = style.save(figure, tmp_path / "c.svg").read_text()
    for name in ("cost $5 and $x_{$", "x$_$", "a$^{b$"):
        assert name in text
    assert not re.search("mathdefault[^<>]*</text>", text)


def made() -> style.Chart:
    figure, (axes,) = style.panels(1, 1, (2.0, 2.0))
    axes.plot([0, 1], [0, 1])
    return style.Chart("one", "One", "a line", figure, {"": {"x": [0, 1]}, "-b": {"y": ["c"]}})


def test_a_chart_is_written_in_every_format_with_its_data(tmp_path: Path) -> None:
    written = {p.name for p in made().write_all(tmp_path)}
    assert written == {"one.svg", "one.png", "one.pdf", "one.csv", "one-b.csv"}
    assert written == {p.name for p in tmp_path.iterdir()}
    assert (tmp_path / "one.csv").read_text() == "x\n0\n1\n"


def test_the_same_chart_gives_the_same_svg(tmp_path: Path) -> None:
    texts = [made().write(tmp_path / name).read_text() for name in ("a.svg", "b.svg")]
    first, second = (re.sub("<dc:date>.*</dc:date>", "", text) for text in texts)
    assert first == second


def test_another_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"name it \.png, \.svg or \.pdf"):
        made().write(tmp_path / "one.jpg")
    assert not list(tmp_path.iterdir())
