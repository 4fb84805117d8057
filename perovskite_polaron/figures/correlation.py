"""Which parameters of a fit go together."""

from typing import Any

import numpy as np

from perovskite_polaron.analysis.scenario_fit import COLLINEAR, ScenarioFit
from perovskite_polaron.figures.style import panels


def draw_correlation(fit: ScenarioFit) -> Any:
    """Draw the correlation matrix of strengths and nuisance parameters, each with its number.

    Those that are not told apart stand in a frame.
    """
    names, matrix = fit.correlated, fit.correlation
    size = 2.4 + 0.75 * len(names)
    figure, (axes,) = panels(1, 1, (size + 1.1, size))
    image = axes.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1)
    parts = len(fit.parts)
    for (row, column), value in np.ndenumerate(matrix):
        axes.text(column, row, f"{value:+.2f}" if row != column else "1", ha="center", va="center",
                  fontsize=9, color="white" if abs(value) > 0.6 else "black")
        if row != column and max(row, column) < parts and abs(value) > COLLINEAR:
            axes.add_patch(_frame(column, row))
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axes.set_yticks(range(len(names)), names)
    for at in (parts - 0.5,):
        axes.axhline(at, color="black", lw=0.8)
        axes.axvline(at, color="black", lw=0.8)
    axes.set_title(fit.name, fontsize=10, loc="left")
    figure.colorbar(image, ax=axes, label="correlation", shrink=0.8)
    return figure


def _frame(column: int, row: int) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor="black", lw=2.2)
