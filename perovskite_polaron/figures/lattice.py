"""Figure of bond lengths, before and after, and of how far each class of atoms moved.

Figure of one mode: how far each class of atoms moves, and how strongly every mode couples.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from perovskite_polaron.figures.style import BLUE, ORANGE, panels, save
from perovskite_polaron.lattice.octahedra import BondReport, Comparison, find_framework
from perovskite_polaron.phonons.modes import PhononModes
from perovskite_polaron.phonons.selection import ModeRow

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



def write_modes_figure(modes: PhononModes, rows: Sequence[ModeRow], index: int, path: Path) -> Path:
    """Draw who moves in mode index, in percent of the largest mover, and the coupling of all modes; .png or .svg.

    In a crystal without octahedra the classes are the elements. Without a coupling the right panel shows the infrared
    intensity, and without charges it is left out.
    """
    from matplotlib.figure import Figure

    row = rows[index]
    if row.classes is not None:
        f = find_framework(modes.crystal)
        others = "/".join(s for s in dict.fromkeys(modes.crystal.species) if s not in (f.b, f.x))
        names = {"axial_X": f"axial {f.x}", "equatorial_X": f"equatorial {f.x}", "B": f.b, "A": others}
        movers = {names[k]: v for k, v in row.classes.items() if names[k]}
    else:
        squares = (np.abs(modes.patterns[index]) ** 2).sum(axis=1)
        species = np.array(modes.crystal.species)
        movers = {s: float(np.sqrt(squares[species == s].mean())) for s in dict.fromkeys(modes.crystal.species)}
    values = [row.froehlich_meV_A if row.froehlich_meV_A is not None else row.ir_intensity for row in rows]
    known = [v for v in values if v is not None]
    figure = Figure(figsize=(8.0 if known else 4.4, 3.6), layout="constrained")
    axes = figure.subplots(1, 2 if known else 1, squeeze=False)[0]
    largest = max(movers.values())
    bars = axes[0].bar(list(movers), [100 * v / largest for v in movers.values()], color=BLUE, width=0.6)
    axes[0].bar_label(bars, fmt="%.0f", fontsize=9)
    axes[0].set_ylabel("rms displacement (% of the largest)")
    axes[0].set_title(f"{row.irrep} {row.kind}, {row.energy_meV:.2f} meV", fontsize=10)
    axes[0].margins(y=0.12)
    if known:
        energies = modes.energies_meV
        axes[1].vlines(energies, 0, [v or 0.0 for v in values], color=GREY, lw=1.5)
        axes[1].plot(energies[index], values[index] or 0.0, "o", color=ORANGE, label="chosen mode")
        axes[1].vlines(energies[index], 0, values[index] or 0.0, color=ORANGE, lw=2)
        coupled = row.froehlich_meV_A is not None
        axes[1].set_ylabel("Fröhlich coupling |q g| (meV/Å)" if coupled else "infrared intensity ((D/Å)²/amu)")
        axes[1].set_xlabel("mode energy (meV); negative: imaginary")
        axes[1].set_ylim(bottom=0)
        axes[1].legend(frameon=False, fontsize=9, loc="upper left")
    return save(figure, path)
