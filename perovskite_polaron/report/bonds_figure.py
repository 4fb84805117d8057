"""Figure of bond lengths, before and after, and of how far each class of atoms moved."""

from pathlib import Path
from typing import Any

import numpy as np

from perovskite_polaron.bonds import BondReport, Comparison
from perovskite_polaron.report.sweep_figure import BLUE, ORANGE, panels, save

GREY = "#999999"


def write_bonds_figure(
    report: BondReport, path: Path, reference: BondReport | None = None, comparison: Comparison | None = None
) -> Path:
    """Draw every bond length by class (reference in grey) and, with a comparison, the displacements; .png or .svg."""
    return save(draw_bonds(report, reference, comparison), path)


def draw_bonds(
    report: BondReport,
    reference: BondReport | None = None,
    comparison: Comparison | None = None,
    *,
    stacked: bool = False,
) -> Any:
    """Return the matplotlib figure of write_bonds_figure, its panels side by side or stacked for a narrow page."""
    figure, axes = panels(2 if comparison else 1, (4.0, 3.6), (4.8, 3.0), stacked)
    drawn = (
        [(report, ORANGE, "measured structure")]
        if reference is None
        else [(reference, GREY, "reference"), (report, ORANGE, "displaced")]
    )
    for place, (item, colour, label) in enumerate(drawn):
        lengths = item.octahedra.lengths_A[0]
        for column, values in enumerate((lengths[:, 4:].ravel(), lengths[:, :4].ravel())):
            x = column + 0.22 * (place - (len(drawn) - 1) / 2) + np.linspace(-0.06, 0.06, len(values))
            axes[0].plot(x, values, "o", ms=4, color=colour, label=label if column == 0 else None)
    f = report.framework
    axes[0].set_xticks([0, 1], ["axial", "equatorial"])
    axes[0].set_xlim(-0.5, 1.5)
    axes[0].set_ylabel(f"{f.b}–{f.x} length (Å)")
    axes[0].ticklabel_format(axis="y", useOffset=False)
    axes[0].legend(frameon=False, fontsize=9)
    axes[0].margins(y=0.2)
    if comparison:
        names = {"axial_X": f"axial {f.x}", "equatorial_X": f"equatorial {f.x}", "B": f.b, "A": "A site"}
        bars = axes[1].bar(list(names.values()), [comparison.classes_A[k] for k in names], color=BLUE, width=0.6)
        axes[1].bar_label(bars, fmt="%.3f", fontsize=9)
        axes[1].set_ylabel("rms displacement (Å)")
        axes[1].margins(y=0.12)
    return figure
