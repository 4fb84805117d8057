"""Figure of one mode: how far each class of atoms moves, and how strongly every mode couples."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from perovskite_polaron.bonds import find_framework
from perovskite_polaron.phonons.selection import ModeRow
from perovskite_polaron.phonons.spectrum import PhononModes
from perovskite_polaron.report.bonds_figure import GREY
from perovskite_polaron.report.sweep_figure import BLUE, ORANGE, save


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
