"""Figures of a crystal: bond lengths and displacements, bonds along a sweep, and one mode."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from perovskite_polaron.arrays import Array
from perovskite_polaron.figures.style import (
    BLUE, GREY, ORANGE, colours, legend, panels, row_or_column)
from perovskite_polaron.lattice.octahedra import (
    BondReport, Displacements, Framework, find_framework, named_classes, rms_by_element,
    sweep_bonds)
from perovskite_polaron.lattice.shells import Shell
from perovskite_polaron.lattice.statistics import QUANTITIES, Distribution
from perovskite_polaron.phonons.modes import Modes
from perovskite_polaron.phonons.selection import ModeRow


def draw_bonds(report: BondReport, reference: BondReport | None = None,
               comparison: Displacements | None = None, *, stacked: bool = False) -> Any:
    """Draw every bond length by class and, with a comparison, the displacements.

    Stacked: panels below each other.
    """
    drawn = [one.octahedra.lengths_A[0] for one in (reference, report) if one is not None]
    f = report.framework
    groups = {"axial": [lengths[:, 4:].ravel() for lengths in drawn],
              "equatorial": [lengths[:, :4].ravel() for lengths in drawn]}
    moved = {} if comparison is None else named_classes(f, comparison.classes_A)
    return _draw_lengths(groups, f"{f.b}–{f.x} length (Å)", moved, stacked)


def draw_shells(shells: Sequence[Shell], comparison: Displacements | None = None, *,
                stacked: bool = False) -> Any:
    """Draw the distances of the nearest shell of each site and, with a comparison, of the same
    pairs before and after, and the displacement of each element.
    """
    moved = None if comparison is None else comparison.displacement_A
    drawn = [None] if moved is None else [None, moved]
    groups: dict[str, list[Array]] = {}
    for shell in shells:
        name = f"{shell.element}{shell.first + 1}–"
        if not any(known.startswith(name) for known in groups):
            groups[name + shell.neighbour] = [shell.lengths_A(one) for one in drawn]
    return _draw_lengths(groups, "distance (Å)",
                         {} if comparison is None else comparison.classes_A, stacked)


def _draw_lengths(groups: Mapping[str, Sequence[Array]], label: str, moved: Mapping[str, float],
                  stacked: bool) -> Any:
    """Draw the lengths of each group, before and after if there are two, and how far who moved."""
    figure, axes = row_or_column(2 if moved else 1, stacked)
    for column, drawn in enumerate(groups.values()):
        looks = [(ORANGE, "measured structure")]
        if len(drawn) == 2:
            looks = [(GREY, "reference"), (ORANGE, "displaced")]
        for place, (values, (colour, said)) in enumerate(zip(drawn, looks, strict=True)):
            # Bonds of one class lie beside each other, so that equal lengths do not hide.
            spread = np.linspace(-0.06, 0.06, len(values))
            x = column + 0.22 * (place - (len(drawn) - 1) / 2) + spread
            axes[0].plot(x, values, "o", ms=4, color=colour, label=None if column else said)
    axes[0].set_xticks(range(len(groups)), list(groups))
    axes[0].set(xlim=(-0.5, len(groups) - 0.5), ylabel=label)
    axes[0].ticklabel_format(axis="y", useOffset=False)
    legend(axes[0])
    axes[0].margins(y=0.2)
    if moved:
        _bars(axes[1], moved, "%.3f")
        axes[1].set_ylabel("rms displacement (Å)")
    return figure


def _bars(axes: Any, heights: Mapping[str, float], form: str) -> None:
    bars = axes.bar(list(heights), list(heights.values()), color=BLUE, width=0.6)
    axes.bar_label(bars, fmt=form, fontsize=9)
    axes.margins(y=0.12)


def draw_sweep(framework: Framework, patterns: Array, coefficients: Array) -> Any:
    """Draw bond lengths and off-centring along a sweep, from zero to the largest amplitude.

    The horizontal axis is the largest atomic displacement, signed as the first mode's amplitude.

    Parameters
    ----------
    framework
        Octahedra of the equilibrium structure.
    patterns
        (modes, atoms, 3) displacements for unit coefficients, Å.
    coefficients
        (points, modes) the sweep.
    """
    largest = coefficients[np.abs(coefficients).sum(axis=1).argmax()]
    along = (coefficients @ largest) / max(largest @ largest, 1e-300)
    low, high = min(0.0, float(along.min())), max(0.0, float(along.max()))
    steps = np.linspace(low, high if high > low else 1.0, 201)
    moved_A = float(np.linalg.norm(np.tensordot(largest, patterns, 1), axis=1).max())
    x = steps * moved_A * np.sign(largest[0] or 1.0)
    found = sweep_bonds(framework, patterns, steps[:, None] * largest)
    figure, (left, right) = row_or_column(2, stacked=False)
    for slots, colour, label in ((slice(0, 4), BLUE, "equatorial"), (slice(4, 6), ORANGE, "axial")):
        lengths = found.lengths_A[:, :, slots].reshape(len(steps), -1)
        left.plot(x, np.unique(np.round(lengths, 9), axis=1), color=colour, lw=1.2)
        left.plot([], [], color=colour, label=label)
    left.set_ylabel(f"{framework.b}–{framework.x} length (Å)")
    legend(left)
    right.plot(x, found.offcentring_A.mean(axis=1), color=ORANGE)
    right.set_ylabel(f"{framework.b} off-centring (Å)")
    for axes in (left, right):
        axes.set_xlabel("largest atomic displacement (Å)")
    return figure


def draw_modes(modes: Modes, rows: Sequence[ModeRow], index: int) -> Any:
    """Draw who moves in one mode, in % of the largest mover, and the coupling of all modes.

    In a crystal without octahedra the classes are the elements. Without a coupling the right panel
    shows the infrared intensity, and without charges it is left out.
    """
    row = rows[index]
    values = [row.froehlich_meV_A if row.froehlich_meV_A is not None else row.ir_intensity
              for row in rows]
    known = any(v is not None for v in values)
    figure, axes = panels(1, 2 if known else 1, (8.0 if known else 4.4, 3.6))
    movers = _movers(modes, row, index)
    largest = max(movers.values())
    _bars(axes[0], {name: 100 * v / largest for name, v in movers.items()}, "%.0f")
    axes[0].set_ylabel("rms displacement (% of the largest)")
    axes[0].set_title(f"{row.irrep} {row.kind}, {row.energy_meV:.2f} meV", fontsize=10)
    if known:
        energies, chosen = modes.energies_meV, values[index] or 0.0
        axes[1].vlines(energies, 0, [v or 0.0 for v in values], color=GREY, lw=1.5)
        axes[1].plot(energies[index], chosen, "o", color=ORANGE, label="chosen mode")
        axes[1].vlines(energies[index], 0, chosen, color=ORANGE, lw=2)
        coupled = row.froehlich_meV_A is not None
        words = "Fröhlich coupling |q g| (meV/Å)" if coupled else "infrared intensity ((D/Å)²/amu)"
        axes[1].set(xlabel="mode energy (meV); negative: imaginary", ylabel=words, ylim=(0, None))
        legend(axes[1], loc="upper left")
    return figure


def _movers(modes: Modes, row: ModeRow, index: int) -> dict[str, float]:
    """Return the rms displacement of each class of atoms, or of each element without octahedra."""
    if row.classes is None:
        return rms_by_element(modes.crystal, (np.abs(modes.patterns[index]) ** 2).sum(axis=1))
    return named_classes(find_framework(modes.crystal), row.classes)


def draw_distributions(found: Mapping[str, Distribution]) -> Any:
    """Draw a histogram of each quantity over an ensemble, and its mean in the crystal at rest."""
    figure, axes = panels((len(found) + 1) // 2, 2, (8.0, 2.2 * ((len(found) + 1) // 2)))
    for ax, (name, one) in zip(axes, found.items(), strict=False):
        ax.hist(one.values, bins=min(60, max(10, round(one.values.size**0.5))), density=True,
                color=BLUE, alpha=0.75)
        ax.axvline(one.reference, color=ORANGE, lw=1.4)
        ax.set(xlabel=QUANTITIES.get(name, f"{name} (Å)"), yticks=[])
    for ax in axes[len(found):]:
        ax.set_axis_off()
    figure.suptitle("blue: snapshots; line: mean of the crystal at rest", fontsize=10)
    return figure


def draw_powder(two_theta_deg: Array, curves: Mapping[str, Array]) -> Any:
    """Draw powder patterns below each other, each over its own maximum."""
    figure, axes = panels(len(curves), 1, (7.0, 0.8 + 1.5 * len(curves)), sharex=True)
    for ax, colour, (name, curve) in zip(axes, colours(len(curves)), curves.items(), strict=True):
        ax.plot(two_theta_deg, curve / curve.max(), color=colour, lw=1.0)
        ax.set_title(name, fontsize=9, loc="left")
        ax.set(ylim=(0, 1.05), yticks=[])
    axes[-1].set(xlabel="2θ (degrees)", xlim=(two_theta_deg[0], two_theta_deg[-1]))
    figure.supylabel("intensity (each over its maximum)", fontsize=10)
    return figure
