"""Which parameters of a fit go together."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from perovskite_polaron.analysis.scenario_fit import COLLINEAR
from perovskite_polaron.arrays import Array
from perovskite_polaron.figures.style import panels

#: Of more parameters only correlations beyond COLLINEAR have their number.
TOLD = 10


def draw_correlation(title: str, names: Sequence[str], matrix: Array, parts: int) -> Any:
    """Draw a correlation matrix (n, n), each number where it stands.

    The first parameters are the strengths of so many parts; of these, those that are not told apart
    stand in a frame. Of more than TOLD parameters small correlations have their colours only.
    """
    size = 2.4 + 0.75 * min(len(names), TOLD) + 0.25 * max(0, len(names) - TOLD)
    figure, (axes,) = panels(1, 1, (size + 1.1, size))
    image = axes.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1)
    for (row, column), value in np.ndenumerate(matrix):
        if len(names) > TOLD and abs(value) <= COLLINEAR:
            continue
        axes.text(column, row, f"{value:+.2f}" if row != column else "1", ha="center", va="center",
                  fontsize=9, color="white" if abs(value) > 0.6 else "black")
        if row != column and max(row, column) < parts and abs(value) > COLLINEAR:
            axes.add_patch(_frame(column, row))
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axes.set_yticks(range(len(names)), names)
    if parts:
        axes.axhline(parts - 0.5, color="black", lw=0.8)
        axes.axvline(parts - 0.5, color="black", lw=0.8)
    axes.set_title(title, fontsize=10, loc="left")
    figure.colorbar(image, ax=axes, label="correlation", shrink=0.8)
    return figure


def _frame(column: int, row: int) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor="black", lw=2.2)
