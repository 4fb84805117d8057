"""Densities of states projected onto the shells of the atoms, and what the edges of the bands are made of.

Energies are relative to the valence band maximum, in eV; densities in states (two for each band) per eV and cell.

The file of projected states that travels: ``pdos.npz``, from which every width and grid can be had again.
"""

import io
import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from perovskite_polaron.arrays import floats
from perovskite_polaron.errors import ComputationError, InputError
from perovskite_polaron.files import write_atomically
from perovskite_polaron.kernels.convolution import broaden_gaussian

Array = NDArray[np.float64]

# The states are laid on a grid this much finer than the Gaussian, each shared between its two neighbours: that widens
# the Gaussian by less than 1e-4 of itself.
_STEPS_PER_SIGMA = 50
_REACH_SIGMA = 10.0


@dataclass(frozen=True)
class Shell:
    """A shell of equivalent atoms: element, shell (``4p``), the first such atom with its site (``Br9-8d``), their number."""

    element: str
    shell: str
    site: str
    atoms: int

    def label(self, by_site: bool = False) -> str:
        """Return ``Br 4p``, or for one site ``Br9-8d 4p``."""
        return f"{self.site if by_site else self.element} {self.shell}"


@dataclass(frozen=True, eq=False)
class ProjectedStates:
    """The states of an insulator, and what of each lies on each shell of equivalent atoms.

    energies_eV  (k, bands) float64, any zero
    kpoints      (k, 3) float64, in the reciprocal vectors of the crystal; kpoint_names: such as Γ, empty where none
    weights      (k,) float64, positive, their sum is 1
    shares       (k, bands, shells) float64, 0 to 1; the sum over the shells is at most 1
    shells       what the last axis means; electrons: in the cell, two for each filled band

    The arrays become read-only. Raises InputError for wrong shapes, NaN, shares out of range, an odd or fractional
    number of electrons, or no empty band.
    """

    energies_eV: Array
    kpoints: Array
    kpoint_names: tuple[str, ...]
    weights: Array
    shares: Array
    shells: tuple[Shell, ...]
    electrons: float

    def __post_init__(self) -> None:
        put = object.__setattr__
        energies = floats(self.energies_eV, "energies_eV", (None, None)).copy()
        count, bands = energies.shape
        arrays = {
            "energies_eV": energies,
            "kpoints": floats(self.kpoints, "kpoints", (count, 3)).copy(),
            "weights": floats(self.weights, "weights", (count,)).copy(),
            "shares": floats(self.shares, "shares", (count, bands, len(self.shells))).copy(),
        }
        for name, array in arrays.items():
            array.flags.writeable = False
            put(self, name, array)
        if len(self.kpoint_names) != count:
            raise InputError(f"{len(self.kpoint_names)} names for {count} k points: give one for each")
        if not (arrays["weights"].min() > 0 and abs(arrays["weights"].sum() - 1) < 1e-6):
            raise InputError("the weights of the k points are not positive numbers whose sum is 1: correct them")
        if self.shares.min() < -1e-6 or self.shares.sum(axis=2).max() > 1.001:
            raise InputError("the shares of a state are below 0 or add up to more than 1: these are not projections")
        if not (self.electrons > 0 and abs(self.electrons / 2 - round(self.electrons / 2)) < 1e-6):
            raise InputError(f"{self.electrons:g} electrons do not fill bands by two: the crystal must be an insulator")
        if bands <= self.filled:
            raise InputError(f"{bands} bands hold no empty one for {self.electrons:g} electrons: compute more bands")

    @property
    def filled(self) -> int:
        """Number of filled bands."""
        return round(self.electrons / 2)

    def merged(self, by_site: bool = False) -> dict[str, Array]:
        """Return label -> shares (k, bands), summed over the shells of one label, in the order of first appearance."""
        result: dict[str, Array] = {}
        for n, shell in enumerate(self.shells):
            label = shell.label(by_site)
            result[label] = result.get(label, np.zeros(self.energies_eV.shape)) + self.shares[:, :, n]
        return result

    def spilling(self) -> float:
        """Return the part of the electrons that lies on none of the shells (as the spilling parameter of projwfc.x)."""
        filled = 2 * self.shares[:, : self.filled].sum(axis=(1, 2))
        return float(1 - self.weights @ filled / self.electrons)

    def complete_to_eV(self) -> float:
        """Return the energy above the valence band maximum up to which no band is missing at any k point."""
        return float(self.energies_eV.max(axis=1).min() - self._top())

    def _top(self) -> float:
        return float(self.energies_eV[:, : self.filled].max())


@dataclass(frozen=True)
class BandEdge:
    """The states at one edge of the gap.

    energy_eV: from the valence band maximum. kpoint: in reciprocal vectors; kpoint_name: its name, if it has one.
    degeneracy: how many bands meet there.
    shares: label -> mean of these states; a mean over all of them does not depend on which combination of degenerate
    states was computed. unprojected: what lies on none of the shells.
    """

    name: str
    energy_eV: float
    kpoint: tuple[float, float, float]
    kpoint_name: str
    degeneracy: int
    shares: Mapping[str, float]
    unprojected: float


def band_edges(
    states: ProjectedStates, by_site: bool = False, tolerance_eV: float = 0.005
) -> tuple[BandEdge, BandEdge]:
    """Return the valence band maximum and the conduction band minimum, of the k points that were computed.

    Bands of one k point within tolerance_eV count as degenerate. Raises ComputationError if there is no gap.
    """
    filled, top = states.filled, states._top()
    valence, conduction = states.energies_eV[:, :filled], states.energies_eV[:, filled:]
    gap = float(conduction.min()) - top
    if gap <= tolerance_eV:
        raise ComputationError(
            f"the filled and the empty bands overlap by {-gap:.3f} eV: these band edges are not those of an insulator"
        )
    merged = states.merged(by_site)

    def edge(name: str, part: Array, first: int, extreme: float) -> BandEdge:
        k = int(np.abs(part - extreme).min(axis=1).argmin())
        bands = first + np.flatnonzero(np.abs(part[k] - extreme) <= tolerance_eV)
        shares = {label: float(values[k, bands].mean()) for label, values in merged.items()}
        point = states.kpoints[k]
        return BandEdge(
            name,
            extreme - top,
            (float(point[0]), float(point[1]), float(point[2])),
            states.kpoint_names[k],
            len(bands),
            shares,
            1 - sum(shares.values()),
        )

    return edge("VBM", valence, 0, top), edge("CBM", conduction, filled, gap + top)


def energy_grid(
    states: ProjectedStates, sigma_eV: float, low_eV: float, high_eV: float | None = None,
    most_eV: float = 6.0,
) -> tuple[Array, float]:
    """Return five energies for each sigma, and up to where no missing band shows.

    Parameters
    ----------
    states
        The states.
    sigma_eV
        Of the Gaussian.
    low_eV, high_eV
        First and last energy from the valence band maximum; without a last one the grid ends at
        most_eV, or before a missing band would show, but above the gap.
    most_eV
        See high_eV.
    """
    complete_eV = states.complete_to_eV() - 3 * sigma_eV
    if high_eV is None:
        gap_eV = float(states.energies_eV[:, states.filled :].min()) - states._top()
        high_eV = max(min(most_eV, complete_eV), gap_eV + 5 * sigma_eV)
    count = max(2, round(5 * (high_eV - low_eV) / sigma_eV) + 1)
    return np.linspace(low_eV, high_eV, count), complete_eV


def density_of_states(
    states: ProjectedStates, energy_eV: ArrayLike, sigma_eV: float, by_site: bool = False, threads: int = 1
) -> dict[str, Array]:
    """Return the density of all states (``total``) and of each label, at energy_eV (n,) from the valence band maximum.

    Each state counts two electrons, times the weight of its k point, times its share, and is broadened to a Gaussian of
    standard deviation sigma_eV; the error of the grid it is laid on is below 1e-4 of the maximum of a single Gaussian.
    Symmetry is used up by the sum over equivalent atoms, so irreducible k points suffice.
    Raises InputError for NaN, a wrong shape, or a width that is not positive.
    """
    energy = floats(energy_eV, "energy_eV", (None,))
    if not (np.isfinite(sigma_eV) and 1e-3 <= sigma_eV <= 10):
        raise InputError(f"sigma_eV is {sigma_eV}: give a standard deviation of 0.001 to 10 eV")
    merged = states.merged(by_site)
    step, reach = sigma_eV / _STEPS_PER_SIGMA, _REACH_SIGMA * sigma_eV
    at = states.energies_eV - states._top()
    # Beyond its reach a state adds nothing at the energies asked for.
    inside = (at > energy.min() - reach) & (at < energy.max() + reach)
    if not inside.any():
        return {label: np.zeros(len(energy)) for label in ("total", *merged)}
    place = (at[inside] - at[inside].min()) / step + 1
    cell = place.astype(np.intp)
    part = place - cell
    weight = np.broadcast_to(2 * states.weights[:, None], at.shape)[inside]
    size = int(cell.max()) + 3
    rows = [weight] + [weight * values[inside] for values in merged.values()]
    grid = np.array(
        [np.bincount(cell, row * (1 - part), size) + np.bincount(cell + 1, row * part, size) for row in rows]
    )
    x = at[inside].min() + step * (np.arange(size) - 1.0)
    curves = broaden_gaussian(x, grid / step, energy, sigma_eV, ends="zero", threads=threads)
    return dict(zip(("total", *merged), curves, strict=True))



FORMAT = "perovskite_polaron projected states 1"
# What a record says at least: of what, how computed, and element -> the shells it was projected onto.
_KEYS = ("name", "space_group", "settings", "projected_onto")


def write_states(path: str | os.PathLike[str], states: ProjectedStates, record: Mapping[str, Any]) -> Path:
    """Write states (energies to 1 µeV, shares to 1e-6) and their record to one small .npz; equal input, equal bytes."""
    head = {
        "format": FORMAT,
        "electrons": states.electrons,
        "kpoint_names": states.kpoint_names,
        "shells": [asdict(s) for s in states.shells],
        "record": record,
    }
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        head=np.frombuffer(json.dumps(head).encode(), np.uint8),
        energies_eV=states.energies_eV.round(6),
        kpoints=states.kpoints.round(9),
        weights=states.weights,
        shares=states.shares.round(6),
    )
    return write_atomically(path, buffer.getvalue())


def read_states(path: str | os.PathLike[str]) -> tuple[ProjectedStates, dict[str, Any]]:
    """Read what write_states wrote. Raises InputError when the file is missing, damaged or of another kind."""
    try:
        with open(path, "rb") as handle, np.load(handle, allow_pickle=False) as file:
            head = json.loads(file["head"].tobytes())
            if head["format"] != FORMAT:
                raise ValueError(f"it is of format {head['format']!r}, this version reads {FORMAT!r}")
            arrays = {name: file[name] for name in ("energies_eV", "kpoints", "weights", "shares")}
        shells = tuple(Shell(**s) for s in head["shells"])
        states = ProjectedStates(
            **arrays, kpoint_names=tuple(head["kpoint_names"]), shells=shells, electrons=float(head["electrons"])
        )
        record = dict(head["record"])
        if [key for key in _KEYS if key not in record] or not isinstance(record["projected_onto"], dict):
            raise ValueError(f"its record does not say {', '.join(_KEYS)}")
        return states, record
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: give a file that polaron pdos wrote (.npz)") from None
    except (InputError, OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile, zlib.error) as why:
        raise InputError(f"{path} does not hold projected states ({why}): write it again with polaron pdos") from None
