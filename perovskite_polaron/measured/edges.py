"""Energies of absorption edges, to tell a wrong unit or a wrong name from a scan of that edge."""

from functools import cache
from pathlib import Path

from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import require

#: So far from the edge that is named a scan may stay: this part of its energy, or so many eV.
#: A scan of the edge holds it; one that was cut, or of emission below it, is closer than this; the
#: edges of the neighbours in the periodic table and energies in another unit are farther.
FARTHEST, FARTHEST_EV = 0.02, 50.0
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
