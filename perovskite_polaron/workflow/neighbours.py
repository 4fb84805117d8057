"""Which structure of a study each one is nearest to: where its self-consistent cycles may start."""

from collections.abc import Sequence

import numpy as np

from perovskite_polaron.workflow.structures import StudyStructure


def neighbours(structures: Sequence[StudyStructure]) -> list[tuple[int, int | None]]:
    """Return the structures in an order in which each follows its neighbour, as pairs (index, index of the neighbour).

    The neighbours form a shortest spanning tree from the first structure of each cell: a sweep becomes a chain from the
    crystal at rest to the largest amplitude. Only structures of the same cell, atoms and k points are neighbours.
    """
    groups: dict[tuple[object, ...], list[int]] = {}
    for index, one in enumerate(structures):
        crystal, settings = one.crystal, one.settings
        cell = tuple(np.round(crystal.lattice_A, 9).ravel().tolist())
        groups.setdefault((cell, crystal.species, settings.kpoints, settings.kpoint_shift), []).append(index)
    order: list[tuple[int, int | None]] = []
    for members in groups.values():
        # Crystals at rest come first, whatever the order in the study.
        members.sort(key=lambda index: structures[index].distortion is not None)
        order += _tree(structures, members)
    return order


def _tree(structures: Sequence[StudyStructure], members: list[int]) -> list[tuple[int, int | None]]:
    """Return Prim's minimum spanning tree of some structures, from the first of them, in the order of growth."""
    positions = np.array([structures[index].crystal.positions for index in members])
    lattice = structures[members[0]].crystal.lattice_A
    order: list[tuple[int, int | None]] = [(members[0], None)]
    nearest = np.zeros(len(members), dtype=np.intp)
    distance = np.full(len(members), np.inf)
    latest = 0
    for _ in members[1:]:
        moved = positions - positions[latest]
        now = np.linalg.norm((moved - np.rint(moved)) @ lattice, axis=(1, 2))
        nearest[now < distance] = latest
        distance = np.minimum(distance, now)
        distance[latest] = -np.inf
        latest = int(np.argmin(np.where(np.isneginf(distance), np.inf, distance)))
        order.append((members[latest], members[nearest[latest]]))
    return order
