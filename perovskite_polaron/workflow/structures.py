"""The crystals that a study computes, with their inequivalent absorbers.

Each has a neighbour, the structure of the study nearest to it, where its self-consistent cycles
start.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from perovskite_polaron.errors import require
from perovskite_polaron.lattice.crystal import Crystal, supercell
from perovskite_polaron.lattice.files import read_crystal
from perovskite_polaron.lattice.symmetry import (
    Absorber, Symmetry, absorbers, find_symmetry, primitive)
from perovskite_polaron.phonons.distortion import Distortion, distort, sign_equivalent
from perovskite_polaron.phonons.modes import mode_of
from perovskite_polaron.workflow.study import AMPLITUDES, StructureSettings, Study

# What pw.x with a core hole can do on a cluster, and some more.
_MOST_ATOMS = 2000


@dataclass(frozen=True)
class StudyStructure:
    """One structure of a study, ready to be computed.

    Attributes
    ----------
    settings
        The entry of the study that it comes from.
    distortion
        None for an undistorted crystal.
    sign_equivalent
        Whether the structures of +Q and −Q are images under an operation of the parent crystal:
        their averaged spectra are the same, and even in Q. None for an undistorted crystal.
    opposite_sign
        The amplitude asked for was negative, and the image with the positive one is computed.
    """

    name: str
    settings: StructureSettings
    crystal: Crystal
    symmetry: Symmetry
    absorbers: tuple[Absorber, ...]
    distortion: Distortion | None = None
    sign_equivalent: bool | None = None
    opposite_sign: bool = False

    @property
    def space_group(self) -> str:
        """Symbol and number of the space group."""
        return f"{self.symmetry.symbol} ({self.symmetry.number})"

    def absorber_label(self, absorber: Absorber) -> str:
        """Return the name of an absorber within its structure, such as ``Br9-8d``."""
        return f"{absorber.element}{absorber.index + 1}-{absorber.site}"


def study_structures(study: Study) -> tuple[StudyStructure, ...]:
    """Build every structure of a study, sweeps expanded, in the study's order.

    A sweep of several amplitudes gives structures named ``name@amplitude``, in the unit the study
    uses.

    Raises
    ------
    InputError
        As the readers of crystals and modes do, or if the absorbing element is in none of the
        sites.
    """
    result: list[StudyStructure] = []
    for name, settings in study.structures.items():
        crystal = read_crystal(study.file(settings.crystal))
        if settings.primitive:
            crystal = primitive(crystal)
        count = len(crystal) * math.prod(settings.supercell)
        require(count <= _MOST_ATOMS, f"[structures.{name}] has {count} atoms, more than"
                f" {_MOST_ATOMS}: give a smaller supercell")
        if settings.moments_muB is not None:
            crystal = replace(crystal, moments_muB=settings.moments_muB)
        if settings.supercell != (1, 1, 1):
            crystal = supercell(crystal, settings.supercell)
        if settings.modes:
            result += _sweep(study, name, settings, crystal)
        else:
            symmetry = find_symmetry(crystal)
            sites = absorbers(crystal, study.element, symmetry)
            result.append(StudyStructure(name, settings, crystal, symmetry, sites))
    return tuple(result)


def _sweep(study: Study, name: str, settings: StructureSettings,
           crystal: Crystal) -> list[StudyStructure]:
    numbers = settings.select or [None] * len(settings.modes)
    modes = [mode_of(study.file(source), number)
             for source, number in zip(settings.modes, numbers, strict=True)]
    key = next(k for k in AMPLITUDES if getattr(settings, k) is not None)
    amplitudes = getattr(settings, key)
    # Two amplitudes that look alike in six digits still need two names.
    short = {f"{a:g}" for a in amplitudes}
    texts = [f"{a:g}" if len(short) == len(amplitudes) else repr(a) for a in amplitudes]
    require(len(set(texts)) == len(texts),
            f"[structures.{name}]: {key} holds the same amplitude twice; name each once")
    result = []
    points = distort(crystal, modes, amplitudes, unit=AMPLITUDES[key])
    # All amplitudes share one pattern.
    largest = max(points, key=lambda point: point.max_displacement_A)
    equivalent = sign_equivalent(crystal, largest.displacement_A)
    for amplitude, text, point in zip(amplitudes, texts, points, strict=True):
        opposite = amplitude < 0 and equivalent
        if opposite:
            point = distort(crystal, modes, [-amplitude], unit=AMPLITUDES[key])[0]
        sites = absorbers(point.crystal, study.element, point.symmetry)
        one = name if len(amplitudes) == 1 else f"{name}@{text}"
        result.append(StudyStructure(one, settings, point.crystal, point.symmetry, sites, point,
                                     equivalent, opposite))
    return result


def image_distance_A(crystal: Crystal) -> float:
    """Return the shortest distance (Å) between an atom and its own periodic images."""
    steps = np.array([step for step in product((-1, 0, 1), repeat=3) if any(step)])
    return float(np.linalg.norm(steps @ crystal.lattice_A, axis=1).min())


def neighbours(structures: Sequence[StudyStructure]) -> list[tuple[int, int | None]]:
    """Return pairs (index, index of the neighbour), each structure after its neighbour.

    The neighbours form a shortest spanning tree from the first structure of each cell: a sweep
    becomes a chain from the equilibrium structure to the largest amplitude. Only structures of the
    same cell, atoms and k points are neighbours.
    """
    groups: dict[tuple[object, ...], list[int]] = {}
    for index, one in enumerate(structures):
        cell = tuple(np.round(one.crystal.lattice_A, 9).ravel().tolist())
        alike = (cell, one.crystal.kinds, one.settings.kpoints, one.settings.kpoint_shift)
        groups.setdefault(alike, []).append(index)
    order: list[tuple[int, int | None]] = []
    for members in groups.values():
        # Undistorted crystals come first, whatever the order in the study.
        members.sort(key=lambda index: structures[index].distortion is not None)
        order += _tree(structures, members)
    return order


def _tree(structures: Sequence[StudyStructure], members: list[int]) -> list[tuple[int, int | None]]:
    """Return the minimum spanning tree of structures of one cell, walked from the first of them."""
    from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree

    positions = np.array([structures[index].crystal.positions for index in members])
    moved = positions[:, None] - positions
    lattice = structures[members[0]].crystal.lattice_A
    distance = np.linalg.norm((moved - np.rint(moved)) @ lattice, axis=(2, 3))
    # Equal structures are neighbours too, but to csgraph a distance of zero is no connection.
    tree = minimum_spanning_tree(distance + 1e-9)
    order, before = breadth_first_order(tree, 0, directed=False)
    return [(members[i], members[before[i]] if before[i] >= 0 else None) for i in order]
