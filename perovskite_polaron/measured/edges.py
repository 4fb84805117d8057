"""Energies of absorption edges, to tell a wrong unit or a wrong name from a scan of that edge."""

from functools import cache
from pathlib import Path

import numpy as np

from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import require

#: So far from the edge that is named a scan may stay: this part of its energy, or so many eV.
#: A scan of the edge holds it; one that was cut, or of emission below it, is closer than this; the
#: edges of the neighbours in the periodic table and energies in another unit are farther.
FARTHEST, FARTHEST_EV = 0.02, 50.0
#: Above the edges of every element.
HIGHEST_EV = 160e3
_FILE = Path(__file__).parent.parent / "data" / "edges.txt"


@cache
def _energies() -> dict[tuple[str, str], float]:
    """Return (element, edge), in small letters -> energy (eV)."""
    found: dict[tuple[str, str], float] = {}
    for line in _FILE.read_text(encoding="utf-8").splitlines():
        element, *words = line.lower().split()
        if element != "#":
            found |= {(element, edge): float(energy)
                      for edge, energy in zip(words[::2], words[1::2], strict=True)}
    return found


def edge_energy(edge: str) -> float | None:
    """Return the energy (eV) of an edge such as ``Br-K``, None for one that is not known."""
    element, _, name = edge.lower().partition("-")
    return _energies().get((element, name))


def check_unit(energy_eV: Array, source: str) -> None:
    """Refuse energies, shape (n,), that no absorption edge of X-rays has: they are in another unit.

    The highest edge is that of the heaviest element, at 0.15 MeV. Below 120 eV steps of less than
    5 meV, and below 25 eV of less than 20 meV, are those of a scan in keV: no edge there is as
    sharp. Energies relative to an edge begin below zero and are no such case.
    """
    known = energy_eV[np.isfinite(energy_eV)]
    if not len(known):
        return
    top, bottom = float(known.max()), float(known.min())
    require(top <= HIGHEST_EV, f"{source}: energies up to {top:g} eV are beyond those of every"
            f" absorption edge ({HIGHEST_EV:g} eV): correct their unit")
    steps = np.abs(np.diff(known))
    step = float(np.median(steps[steps > 0])) if (steps > 0).any() else np.inf
    in_keV = bottom > 0 and ((top < 25 and step < 0.02) or (top < 120 and step < 0.005))
    require(not in_keV, f"{source}: energies of {bottom:g} to {top:g} eV in steps of {step:.2g} eV"
            " are of no absorption edge of X-rays: are they in keV? correct their unit")


def check_edge(energy_eV: Array, element: str, edge: str, source: str) -> None:
    """Refuse a scan, shape (n,) and rising, that is nowhere near the edge it is said to be of."""
    place = _energies().get((element.lower(), edge.lower()))
    if place is None:
        return
    low, high = float(energy_eV[0]), float(energy_eV[-1])
    far = max(place - high, low - place)
    require(far <= max(FARTHEST * place, FARTHEST_EV),
            f"{source}: {low:g} to {high:g} eV are not energies of the {element}-{edge.upper()}"
            f" edge, which lies at {place:g} eV: correct the unit of the energies, or the edge")
