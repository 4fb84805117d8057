"""A crystal drawn in projection, with arrows where its atoms go; the same scene for a viewer."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import InputError
from perovskite_polaron.figures.style import GREY, INK, ORANGE, panels
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.octahedra import (
    find_framework, framework_of, named_classes, rms_by_class, rms_by_element)

# Atoms this near to a face of the cell (fractional) are shown on the opposite one too.
_FACE = 0.06
# The longest arrow is drawn about this long, Å.
_ARROW_A = 1.2
# Bonds are drawn up to this many times the shortest one, or the sum of covalent radii.
_BOND, _COVALENT = 1.3, 1.15
# Turned and tilted, so that no atom hides those behind it. Degrees.
_TURN, _TILT = 17.0, 9.0


@dataclass(frozen=True, eq=False)
class Scene:
    """A cell with the atoms on its faces repeated.

    Attributes
    ----------
    species
        (m,) elements.
    atoms
        (m,) which atom of the crystal each one is.
    positions_A, displacement_A
        (m, 3) float64, Å; the second is zero where nothing moves.
    bonds
        Pairs of the m atoms.
    corners_A
        (12, 2, 3): the edges of the cell.
    """

    species: tuple[str, ...]
    atoms: tuple[int, ...]
    positions_A: Array
    displacement_A: Array
    bonds: tuple[tuple[int, int], ...]
    corners_A: Array

    @property
    def magnified(self) -> float:
        """By how much displacements are drawn longer: 1, 2 or 5 times a power of ten."""
        longest = float(np.linalg.norm(self.displacement_A, axis=1).max(initial=0.0))
        if longest == 0:
            return 1.0
        steps = [digit * 10.0**power for power in range(-3, 7) for digit in (1, 2, 5)]
        return min(steps, key=lambda step: abs(np.log(step * longest / _ARROW_A)))


def make_scene(crystal: Crystal, displacement_A: Array | None = None) -> Scene:
    """Return the atoms of a cell, its bonds and edges.

    Parameters
    ----------
    crystal
        What is drawn; atoms are moved into the cell by lattice vectors.
    displacement_A
        (n, 3) float64, Å.
    """
    moved = np.zeros((len(crystal), 3)) if displacement_A is None else displacement_A
    inside = crystal.positions - np.floor(crystal.positions + 1e-6)
    found: list[tuple[int, Array]] = []
    for atom, place in enumerate(inside):
        sides = [[0, 1] if x < _FACE else [0, -1] if x > 1 - _FACE else [0] for x in place]
        found += [(atom, place + np.array(shift, dtype=float)) for shift in
                  np.array(np.meshgrid(*sides)).T.reshape(-1, 3)]
    atoms = [atom for atom, _ in found]
    positions = np.array([place for _, place in found]) @ crystal.lattice_A
    species = tuple(crystal.species[atom] for atom in atoms)
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=float)
    edges = [(one, other) for one in corners for other in corners
             if np.abs(one - other).sum() == 1 and (other - one).sum() > 0]
    return Scene(species, tuple(atoms), positions, moved[atoms],
                 tuple(_bonds(crystal, species, positions)),
                 np.array(edges) @ crystal.lattice_A)


def _bonds(crystal: Crystal, species: tuple[str, ...], positions_A: Array) -> list[tuple[int, int]]:
    """Return bonds between B and X of octahedra, else by covalent radii."""
    from ase.data import atomic_numbers, covalent_radii

    apart = np.linalg.norm(positions_A[:, None] - positions_A, axis=2)
    pairs = [(i, j) for i in range(len(species)) for j in range(i)]
    try:
        framework = find_framework(crystal)
    except InputError:
        radius = [covalent_radii[atomic_numbers[s]] for s in species]
        return [(i, j) for i, j in pairs if apart[i, j] < _COVALENT * (radius[i] + radius[j])]
    b, x = framework.b.split("/"), framework.x.split("/")
    joined = [(i, j) for i, j in pairs if (species[i] in b and species[j] in x)
              or (species[i] in x and species[j] in b)]
    shortest = min((apart[i, j] for i, j in joined), default=0.0)
    return [(i, j) for i, j in joined if apart[i, j] < _BOND * shortest]


def look(element: str) -> tuple[str, float]:
    """Return the colour of an element (that of Jmol) and the radius it is drawn with, Å."""
    from ase.data import atomic_numbers, covalent_radii
    from ase.data.colors import jmol_colors
    from matplotlib.colors import to_hex

    number = atomic_numbers[element]
    return to_hex(jmol_colors[number]), float(0.22 + 0.2 * covalent_radii[number])


def movers(crystal: Crystal, displacement_A: Array) -> dict[str, float]:
    """Return the rms displacement (Å) of each class of atoms, largest first.

    Classes are axial and equatorial X, B and A where there are octahedra, else elements.
    """
    squares, framework = (displacement_A**2).sum(axis=1), framework_of(crystal, displacement_A)
    classes = (rms_by_element(crystal, squares) if framework is None
               else named_classes(framework, rms_by_class(framework, squares)))
    return dict(sorted(classes.items(), key=lambda item: -item[1]))


def _projected(scene: Scene, lattice_A: Array) -> tuple[Array, Array]:
    """Return the horizontal, vertical and depth axes (3, 3), and the middle of the cell.

    Upwards is the axis of the cell along which the atoms go, else the longest.
    """
    unit = lattice_A / np.linalg.norm(lattice_A, axis=1)[:, None]
    along = np.abs(scene.displacement_A @ unit.T).sum(axis=0)
    up = int(along.argmax()) if along.any() else int(np.linalg.norm(lattice_A, axis=1).argmax())
    z = unit[up]
    x = unit[(up + 1) % 3] - (unit[(up + 1) % 3] @ z) * z
    x /= np.linalg.norm(x)
    y = np.cross(z, x)
    turn, tilt = np.radians(_TURN), np.radians(_TILT)
    across = np.cos(turn) * x + np.sin(turn) * y
    depth = -np.sin(turn) * x + np.cos(turn) * y
    upwards = np.cos(tilt) * z + np.sin(tilt) * depth
    return np.array([across, upwards, np.cos(tilt) * depth - np.sin(tilt) * z]), (
        lattice_A.sum(axis=0) / 2)


def draw_structure(scene: Scene, lattice_A: Array, *, size_in: float = 4.2) -> Any:
    """Draw atoms, bonds, the cell and, where atoms move, arrows that are longer by ``magnified``.

    What is nearer hides what is behind it.
    """
    figure, (axes,) = panels(1, 1, (size_in, size_in))
    frame, middle = _projected(scene, lattice_A)
    place = (scene.positions_A - middle) @ frame.T
    for edge in (scene.corners_A - middle) @ frame.T:
        axes.plot(*edge[:, :2].T, color=GREY, lw=0.8, zorder=0)
    for i, j in scene.bonds:
        axes.plot(*place[[i, j], :2].T, color=GREY, lw=2.0,
                  zorder=1 - 1e-3 * max(place[i, 2], place[j, 2]))
    shown: dict[str, Any] = {}
    for element, point in zip(scene.species, place, strict=True):
        colour, radius = look(element)
        shown[element] = _ball(axes, point, colour, radius)
    step = scene.magnified * scene.displacement_A @ frame.T
    for element, centre, way in zip(scene.species, place, step, strict=True):
        if (length := np.linalg.norm(way[:2])) > 0.05:
            # From the surface of the atom on, so that none is hidden in it.
            start = centre + 0.8 * look(element)[1] * way / length
            axes.annotate("", start[:2] + way[:2], start[:2], zorder=3, arrowprops={
                "arrowstyle": "-|>", "color": ORANGE, "lw": 1.8, "shrinkA": 0, "shrinkB": 0,
                "mutation_scale": 11})
    axes.set_aspect("equal")
    axes.margins(0.1)
    axes.axis("off")
    axes.legend(shown.values(), shown.keys(), loc="upper center", bbox_to_anchor=(0.5, 0.0),
                ncols=len(shown), frameon=False, fontsize=10)
    return figure


def _ball(axes: Any, point: Array, colour: str, radius: float) -> Any:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Circle

    axes.add_patch(Circle(tuple(point[:2]), radius, facecolor=colour, edgecolor=INK, lw=0.7,
                          zorder=2 - 1e-3 * point[2]))
    axes.plot(*point[:2], ",", color=colour, zorder=0)
    return Line2D([], [], marker="o", ls="", mfc=colour, mec=INK, ms=7)
