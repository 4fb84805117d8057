"""An ensemble: snapshots of one crystal at a temperature, in a folder that says how they were made.

The folder holds ``reference.extxyz`` (the structure that the snapshots are displaced from, whose
order of atoms they keep), one extended XYZ file for each snapshot, and ``ensemble.json``.
"""

import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from perovskite_polaron.arrays import Array, floats
from perovskite_polaron.errors import ComputationError, DamagedError, InputError, require
from perovskite_polaron.files import read_sealed, sha256_of, write_sealed
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.files import read_crystal, write_crystal

FORMAT = "perovskite_polaron ensemble 1"
RECORD, REFERENCE = "ensemble.json", "reference.extxyz"
#: How snapshots depend on each other: ``single`` ones do not; of ``pairs`` the second is displaced
#: by the opposite of the first; a ``series`` follows in time.
ORDERS = ("single", "pairs", "series")


@dataclass(frozen=True)
class Origin:
    """Where an ensemble comes from.

    Attributes
    ----------
    kind
        ``harmonic``, ``special``, ``molecular dynamics`` or ``trajectory``.
    source
        What the displacements are from: modes, a calculator, a file.
    rule
        How they were drawn, with every choice that moves a result.
    temperature_K
        None where it is not known.
    seed
        Of the random numbers; None without.
    order
        One of ORDERS.
    draws
        Ensembles with one text share their random numbers: sample k of one is sample k of the
        other, at another temperature.
    correlation
        Integrated autocorrelation time of the displacements, in snapshots (½: independent).
    """

    kind: str
    source: str
    rule: str
    temperature_K: float | None
    seed: int | None
    order: str
    draws: str
    correlation: float = 0.5


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Snapshots of one crystal; all have its atoms in its order.

    Attributes
    ----------
    origin
        How they were made.
    reference
        The structure that they are displaced from.
    snapshots
        Their own cells may differ where the pressure was held and not the cell.
    label
        For people: the folder's name.
    """

    origin: Origin
    reference: Crystal
    snapshots: tuple[Crystal, ...]
    label: str = ""

    def __post_init__(self) -> None:
        require(self.snapshots,
                f"{self.label or 'an ensemble'} holds no snapshot: give one or more")
        require(self.origin.order in ORDERS, f"{self.origin.order!r} is no order of snapshots:"
                f" choose from {', '.join(ORDERS)}")
        wrong = next((k for k, s in enumerate(self.snapshots)
                      if s.species != self.reference.species), None)
        require(wrong is None, f"snapshot {wrong} of {self.label or 'an ensemble'} has other atoms,"
                " or another order of atoms, than its reference: make the ensemble again")

    def __len__(self) -> int:
        return len(self.snapshots)

    @cached_property
    def displacements_A(self) -> Array:
        """(s, n, 3) from the reference, Cartesian, Å; the strain of a cell is no part of it."""
        moved = np.array([s.positions for s in self.snapshots]) - self.reference.positions
        return np.asarray(moved @ self.reference.lattice_A)

    @property
    def unit(self) -> int:
        """How many snapshots make one that is independent of the others: 2 for pairs."""
        return 2 if self.origin.order == "pairs" else 1

    def first(self, count: int) -> "Ensemble":
        """Return the ensemble of the first snapshots.

        Raises
        ------
        InputError
            For more than there are, or half a pair.
        """
        require(1 <= count <= len(self), f"{self.label or 'the ensemble'} holds {len(self)}"
                f" snapshots: {count} cannot be selected")
        require(count % self.unit == 0, f"{self.label or 'the ensemble'} is made of pairs: select"
                " an even number of snapshots")
        return replace(self, snapshots=self.snapshots[:count])


def write_ensemble(ensemble: Ensemble, folder: str | Path, *,
                   overwrite: bool = False) -> list[Path]:
    """Write an ensemble into a new folder and return the paths of its snapshots.

    The folder appears whole or not at all.

    Raises
    ------
    InputError
        When it exists, unless it is an ensemble that may be replaced.
    ComputationError
        When the disk refuses.
    """
    folder = Path(folder)
    refuse_folder(folder, overwrite=overwrite)
    temporary = old = None
    try:
        folder.absolute().parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".tmp-", dir=folder.absolute().parent))
        names = [f"{k:05d}.extxyz" for k in range(len(ensemble))]
        write_crystal(ensemble.reference, temporary / REFERENCE)
        for name, snapshot, moved in zip(names, ensemble.snapshots, ensemble.displacements_A,
                                         strict=True):
            write_crystal(snapshot, temporary / name, moved)
        files = [{"file": n, "sha256": sha256_of(temporary / n)} for n in (REFERENCE, *names)]
        write_sealed(temporary / RECORD, {
            "format": FORMAT, **asdict(ensemble.origin),
            "lattice_A": ensemble.reference.lattice_A.tolist(), "atoms": len(ensemble.reference),
            "files": files})
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o777 & ~mask)
        if folder.exists():
            old = temporary.with_name(f"{temporary.name}-old")
            folder.rename(old)
        temporary.rename(folder)
    except OSError as error:
        raise ComputationError(f"{folder} was not written: {error.strerror or error}; free the disk"
                               " or choose another folder with --out") from None
    finally:
        if old is not None and not folder.exists():
            old.rename(folder)
        for left in filter(None, (temporary, old)):
            with suppress(OSError):
                shutil.rmtree(left)
    return [folder / name for name in names]


def refuse_folder(folder: Path, *, overwrite: bool) -> None:
    """Refuse, with InputError, to replace a folder unasked, or one that is no ensemble."""
    if folder.exists():
        require(overwrite, f"{folder} exists already: choose another name, or add --overwrite")
        require((folder / RECORD).is_file(), f"{folder} exists and is no ensemble, so it is not"
                " replaced: choose another name")


def read_ensemble(folder: str | Path) -> Ensemble:
    """Read what ``write_ensemble`` wrote.

    Raises
    ------
    InputError
        When the folder is no ensemble, or a file in it is missing or was changed.
    """
    folder, remedy = Path(folder), "make it again with polaron ensemble"
    try:
        record = read_sealed(folder / RECORD, remedy)
        require(record["format"] == FORMAT, f"{folder / RECORD} is of format {record['format']!r},"
                f" this version reads {FORMAT!r}: {remedy}")
        origin = Origin(**{name: record[name] for name in Origin.__dataclass_fields__})
        files = [(folder / str(one["file"]), str(one["sha256"])) for one in record["files"]]
        for path, digest in files:
            require(path.is_file() and sha256_of(path) == digest,
                    f"{path} is missing, or not what its ensemble was made with: {remedy}")
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{folder} is no ensemble: give a folder with {RECORD}, as polaron"
                         " ensemble leaves it (--out DIR makes DIR/TEMPERATURE)") from None
    except (DamagedError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder} is no sound ensemble ({error}): {remedy}") from None
    reference, *snapshots = (read_crystal(path) for path, _ in files)
    label = str(folder)
    return Ensemble(origin, replace(reference, name=f"{label} reference"),
                    tuple(replace(s, name=f"{label}/{path.name}") for s, (path, _)
                          in zip(snapshots, files[1:], strict=True)), label)


def correlation_time(series: ArrayLike) -> float:
    """Return the integrated autocorrelation time of a series, in its steps: ½ + Σ ρ(k).

    The variance of a mean over s steps is 2τ/s times that of one step; ½ means independent. The
    autocovariance is summed over all components, its bias by the mean that was taken off is added
    back (2τ/s of the variance), and the sum ends at the first k ≥ 5τ, beyond which is noise [Sokal
    in DeWitt-Morette et al., Functional Integration, Plenum 1997]. It needs several ten times τ
    steps: a fourth of them is the largest value returned, and one near it is a lower bound.

    Parameters
    ----------
    series : (s, m)
        Components of one unit.

    Raises
    ------
    InputError
        For an array of another shape, or NaN.
    """
    values = floats(series, "series", (None, None))
    steps = len(values)
    if steps < 4:
        return 0.5
    power = np.abs(np.fft.rfft(values - values.mean(axis=0), 2 * steps, axis=0)) ** 2
    covariance = np.fft.irfft(power.sum(axis=1), 2 * steps)[:steps] / (steps - np.arange(steps))
    if covariance[0] <= 0:
        return 0.5
    time, missing = 0.5, 0.0
    for _ in range(20):
        whole = covariance + missing
        sums = 0.5 + np.cumsum(whole[1:]) / whole[0]
        ended = np.arange(1, steps) >= 5 * sums
        time = float(np.clip(sums[ended.argmax() if ended.any() else -1], 0.5, steps / 4))
        before, missing = missing, 2 * time * whole[0] / steps
        if abs(missing - before) < 1e-6 * whole[0]:
            break
    return time


def summary(ensemble: Ensemble) -> dict[str, Any]:
    """Return what a reader wants to know of an ensemble: root mean square displacements (Å) of its
    elements, and how far the mean snapshot is from its reference (Å, largest of all atoms).
    """
    moved = ensemble.displacements_A
    squares, species = (moved**2).sum(axis=2).mean(axis=0), np.array(ensemble.reference.species)
    rms = {s: float(np.sqrt(squares[species == s].mean())) for s in dict.fromkeys(species.tolist())}
    furthest = float(np.linalg.norm(moved.mean(axis=0), axis=1).max())
    return {"rms_displacement_A": rms, "mean_from_reference_A": furthest,
            "largest_displacement_A": float(np.linalg.norm(moved, axis=2).max())}
