"""The error budget of a calculation: what its settings may still change in its differences.

``polaron converge`` computes a difference again with the next better value of one setting (a k
grid, a cut-off, the number of steps of the chains, the cell). What that changes is one row of the
budget: a curve over energy. A series that is still moving may move once more by as much, to either
side, so that the curve times a number of zero mean and unit variance stands for what is not known;
numbers of different settings are taken as independent. The covariance over energy is then the sum
of the outer products of the rows, and its diagonal the square of ``sigma``.

It says nothing about what no setting changes: the functional, the static lattice, one hole at a
time.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from perovskite_polaron.arrays import Array, floats, freeze
from perovskite_polaron.files import open_npz, write_npz

BUDGET_FILE = "budget.npz"
_FORMAT = "perovskite_polaron error budget 1"


@dataclass(frozen=True)
class Source:
    """One row: the setting, its values (as computed, and the better one), and the difference.

    Attributes
    ----------
    setting, value, better
        Such as ``spectrum-kpoints``, ``4x4x2``, ``6x6x4``.
    structure
        Whose difference from the reference it is.
    amplitude_sqrt_amu_A
        Its Q, signed; None for an undistorted crystal.
    """

    setting: str
    value: str
    better: str
    structure: str
    amplitude_sqrt_amu_A: float | None = None


@dataclass(frozen=True, eq=False)
class ErrorBudget:
    """Rows of a budget on one axis; arrays float64, read-only.

    Attributes
    ----------
    energy_eV
        (n,), from the zero of the calculated axis.
    sources
        k rows.
    changes_percent
        (k, n): what each row changes, in % of the reference's maximum.
    made_for
        How the spectra were computed and evaluated (``budget_key`` in workflow/spectra.py): the
        rows hold for that alone.
    """

    energy_eV: Array
    sources: tuple[Source, ...]
    changes_percent: Array
    made_for: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        energy = floats(self.energy_eV, "energy_eV", (None,))
        changes = floats(self.changes_percent, "changes_percent", (len(self.sources), len(energy)))
        freeze(self, energy_eV=energy, changes_percent=changes)

    def of(self, structure: str, amplitude_sqrt_amu_A: float | None,
           power: int) -> dict[str, Array]:
        """Return setting -> row (n,) of a difference; empty where none was estimated.

        An amplitude of a sweep without rows of its own takes those of the nearest one, scaled as
        small differences are, with that power of Q.
        """
        own = {source.setting: row for source, row
               in zip(self.sources, self.changes_percent, strict=True)
               if source.structure == structure}
        if own or not amplitude_sqrt_amu_A:
            return own
        entry = structure.split("@")[0]
        near = {s.amplitude_sqrt_amu_A: s.structure for s in self.sources
                if s.amplitude_sqrt_amu_A and s.structure.split("@")[0] == entry}
        if not near:
            return {}
        q = min(near, key=lambda known: abs(known - amplitude_sqrt_amu_A))
        factor = (amplitude_sqrt_amu_A / q) ** power
        return {name: row * factor for name, row in self.of(near[q], None, power).items()}


def sigma(rows: Mapping[str, Array]) -> Array:
    """Return the standard deviation (n,) that the rows (n,) of the settings amount to."""
    return np.asarray(np.sqrt(sum(row**2 for row in rows.values())))


def write_budget(budget: ErrorBudget, folder: str | Path) -> Path:
    """Write a budget beside the results of its study."""
    meta = {"format": _FORMAT, "sources": [asdict(s) for s in budget.sources],
            "made_for": dict(budget.made_for)}
    return write_npz(Path(folder) / BUDGET_FILE, {
        "meta": np.frombuffer(json.dumps(meta).encode(), np.uint8), "energy_eV": budget.energy_eV,
        "changes_percent": budget.changes_percent})


def read_budget(folder: str | Path) -> ErrorBudget | None:
    """Return the budget beside the results of a study; None where there is none.

    Raises
    ------
    InputError
        For a damaged file.
    """
    path = Path(folder) / BUDGET_FILE
    if not path.exists():
        return None
    with open_npz(path, "the error budget of a study", "run polaron converge again") as file:
        meta = json.loads(bytes(file["meta"]).decode())
        sources = tuple(Source(**row) for row in meta["sources"])
        return ErrorBudget(file["energy_eV"], sources, file["changes_percent"], meta["made_for"])


def merged(old: ErrorBudget | None, new: ErrorBudget) -> ErrorBudget:
    """Return a budget with the rows of new, and those of old for other settings.

    Rows that were made for something else, or on another axis, are dropped.
    """
    if old is None or old.made_for != new.made_for or not np.array_equal(old.energy_eV,
                                                                           new.energy_eV):
        return new
    settled = {source.setting for source in new.sources}
    kept = [k for k, s in enumerate(old.sources) if s.setting not in settled]
    rows = np.concatenate([old.changes_percent[kept], new.changes_percent])
    return ErrorBudget(new.energy_eV, (*(old.sources[k] for k in kept), *new.sources), rows,
                       new.made_for)
