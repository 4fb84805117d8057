"""Delays from before time zero to nanoseconds: linear up to ten times the width of the response,
logarithmic beyond, in two panels between which the break is drawn. On one axis a curve would bend
where the scale changes, as if something happened there.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from perovskite_polaron.arrays import Array
from perovskite_polaron.figures.style import INK, panels

_WIDTHS = 10.0


class DelayAxis:
    """The axis of delays from low to high, for a response of this width (sigma).

    Attributes
    ----------
    ends
        Limits of the linear panel and, where delays are later, of the logarithmic one, ps.
    fine_ps
        (n,): where curves are drawn.
    """

    def __init__(self, low_ps: float, high_ps: float, sigma_ps: float) -> None:
        linear, low, high = _WIDTHS * sigma_ps, low_ps - 20, 1.2 * high_ps
        self.ends = [(low, linear), (linear, high)] if high_ps > linear > low else [(low, high)]
        self.fine_ps: Array = np.unique(np.r_[np.linspace(low, min(linear, high), 600),
                                              np.geomspace(linear, max(high, linear), 400)])

    def panels(self, rows: int, size_in: tuple[float, float],
               heights: Sequence[float]) -> tuple[Any, list[tuple[Any, ...]]]:
        """Return a figure and, for each of its rows, the panels of the axis, scaled and broken."""
        count = len(self.ends)
        figure, flat = panels(rows, count, size_in, sharex="col", sharey="row",
                              height_ratios=tuple(heights), width_ratios=(1.1, 1)[:count])
        found = [tuple(flat[i * count : (i + 1) * count]) for i in range(rows)]
        for row in found:
            for axes, limits in zip(row, self.ends, strict=True):
                axes.set_xlim(*limits)
            if count > 1:
                row[1].set_xscale("log")
                row[1].xaxis.set_major_formatter("{x:g}")
                # Over less than two decades matplotlib would label these too, over each other.
                row[1].xaxis.set_minor_formatter("")
                _break(*row)
        return figure, found

    @property
    def label(self) -> str:
        """What stands below both panels."""
        return "delay (ps)" + ("; linear, then logarithmic" if len(self.ends) > 1 else "")


def _break(left: Any, right: Any) -> None:
    """Mark that the axis changes its scale between two panels."""
    left.spines["right"].set_visible(False)
    right.spines["left"].set_visible(False)
    right.tick_params(axis="y", left=False)
    for axes, x in ((left, 1.0), (right, 0.0)):
        axes.plot([x, x], [0, 1], transform=axes.transAxes, marker=[(-0.5, -1), (0.5, 1)], ms=10,
                  ls="none", color=INK, mew=1, clip_on=False)
