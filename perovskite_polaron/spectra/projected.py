"""Densities of states projected onto the shells of the atoms, and what band edges are made of.

Energies are relative to the valence band maximum, in eV; densities in states (two for each band,
one for each band of one spin) per eV and cell. The file of projected states that travels is
``pdos.npz``, from which every width and grid can be had again.

Where the two spins differ, each k point is there once for each, as a row with half the weight: sums
over rows are then sums over both, and what holds of one spin holds of its rows.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from perovskite_polaron.arrays import Array, floats, freeze
from perovskite_polaron.errors import ComputationError, require
from perovskite_polaron.files import open_npz, write_npz
from perovskite_polaron.kernels.convolution import broaden_gaussian

# The second is the one with two spins, which a reader of the first must not take for more k points.
FORMATS = ("perovskite_polaron projected states 1", "perovskite_polaron projected states 2")
#: Names of the spins.
SPINS = {1.0: "up", -1.0: "down"}
# What a record says at least: of what, how computed, and element -> the shells it was projected
# onto.
_KEYS = ("name", "space_group", "settings", "projected_onto")
# The states are laid on a grid this much finer than the Gaussian, each shared between its two
# neighbours: that widens the Gaussian by less than 1e-4 of itself.
_STEPS_PER_SIGMA = 50
_REACH_SIGMA = 10.0
# Bands of one k point within so many eV count as degenerate.
_DEGENERATE_EV = 0.005
# Where no last energy is given a curve ends here at the latest, in eV.
_MOST_EV = 6.0


@dataclass(frozen=True)
class Shell:
    """A shell of equivalent atoms.

    Attributes
    ----------
    element, shell
        Such as ``Br`` and ``4p``.
    site
        The first of the atoms with its Wyckoff site, ``Br9-8d``.
    atoms
        Their number.
    """

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

    The arrays are read-only.

    Attributes
    ----------
    energies_eV
        (k, bands) float64, any zero.
    kpoints
        (k, 3) float64, in the reciprocal vectors of the crystal.
    kpoint_names
        Such as Γ, empty where there is none.
    weights
        (k,) float64, positive, their sum is 1.
    shares
        (k, bands, shells) float64, 0 to 1; the sum over the shells is at most 1.
    shells
        What the last axis means.
    electrons
        In the cell, one for each filled band and spin.
    spins
        (k,) float64: 0 where a row holds for both spins; 1 (up) or −1 (down), first all rows of
        the one, then in the same order all of the other.
    moment_muB
        Electrons up less electrons down.

    Raises
    ------
    InputError
        For wrong shapes, NaN, shares out of range, electrons that do not fill whole bands, or no
        empty band.
    """

    energies_eV: Array
    kpoints: Array
    kpoint_names: tuple[str, ...]
    weights: Array
    shares: Array
    shells: tuple[Shell, ...]
    electrons: float
    spins: Array = field(default_factory=lambda: np.zeros(0))
    moment_muB: float = 0.0

    def __post_init__(self) -> None:
        energies = floats(self.energies_eV, "energies_eV", (None, None))
        count, bands = energies.shape
        weights = floats(self.weights, "weights", (count,))
        shares = floats(self.shares, "shares", (count, bands, len(self.shells)))
        kpoints = floats(self.kpoints, "kpoints", (count, 3))
        spins = (floats(self.spins, "spins", (count,)) if np.size(self.spins)
                 else np.zeros(count))
        freeze(self, energies_eV=energies, kpoints=kpoints, weights=weights, shares=shares,
               spins=spins)
        require(len(self.kpoint_names) == count,
                f"{len(self.kpoint_names)} names for {count} k points: give one for each")
        require(weights.min() > 0 and abs(weights.sum() - 1) < 1e-6,
                "the weights of the k points are not positive numbers whose sum is 1: correct them")
        require(shares.min() >= -1e-6 and shares.sum(axis=2).max() <= 1.001,
                "the shares of a state are below 0 or add up to more than 1: no projections do")
        half = count // 2
        pairs = (np.array_equal(spins, np.repeat([1.0, -1.0], half))
                 and np.array_equal(kpoints[:half], kpoints[half:])
                 and np.array_equal(weights[:half], weights[half:]))
        require(pairs or not spins.any(),
                "the rows are not the k points of spin up and then the same of spin down: put them"
                " in this order")
        require(spins.any() or self.moment_muB == 0,
                f"a moment of {self.moment_muB:g} µB needs rows for two spins: give them")
        filled = self._filled
        require(self.electrons > 0 and filled.min() >= 0 and np.abs(filled - filled.round()).max()
                < 1e-6, f"{self.electrons:g} electrons with a moment of {self.moment_muB:g} µB do"
                " not fill whole bands: it must be an insulator")
        require(bands > filled.max(), f"{bands} bands hold no empty one for {self.electrons:g}"
                " electrons: compute more bands")

    @property
    def _filled(self) -> Array:
        """(k,) number of filled bands in each row."""
        return np.asarray((self.electrons + self.spins * self.moment_muB) / 2)

    @property
    def polarised(self) -> bool:
        """Whether the two spins are apart."""
        return bool(self.spins.any())

    @property
    def occupied(self) -> NDArray[np.bool_]:
        """(k, bands) which states are filled."""
        return np.arange(self.energies_eV.shape[1]) < self._filled.round()[:, None]

    @property
    def top_eV(self) -> float:
        """The valence band maximum, of both spins, on the axis of energies_eV."""
        return float(self.energies_eV[self.occupied].max())

    @property
    def bottom_eV(self) -> float:
        """The conduction band minimum, of both spins, on the axis of energies_eV."""
        return float(self.energies_eV[~self.occupied].min())

    def merged(self, by_site: bool = False) -> dict[str, Array]:
        """Return label -> shares (k, bands), summed over the shells of one label."""
        labels = [shell.label(by_site) for shell in self.shells]
        return {label: self.shares[:, :, np.array(labels) == label].sum(axis=2)
                for label in dict.fromkeys(labels)}

    def spilling(self) -> float:
        """Return the part of the electrons on none of the shells, as projwfc.x's spilling."""
        filled = 2 * (self.shares.sum(axis=2) * self.occupied).sum(axis=1)
        return float(1 - self.weights @ filled / self.electrons)

    def charges(self) -> dict[str, tuple[float, float]]:
        """Return site -> electrons up and down on the shells of one of its atoms (Löwdin).

        Without two spins they are halves of all.
        """
        held = 2 * self.weights[:, None] * self.occupied
        rows = [self.spins >= 0, self.spins <= 0]
        both = [np.einsum("kb,kbs->s", held[r], self.shares[r]) for r in rows]
        found: dict[str, tuple[float, float]] = {}
        for n, shell in enumerate(self.shells):
            up, down = found.get(shell.site, (0.0, 0.0))
            each = shell.atoms * (1 if self.polarised else 2)
            found[shell.site] = up + float(both[0][n]) / each, down + float(both[1][n]) / each
        return found

    def complete_to_eV(self) -> float:
        """Return the energy (from the band maximum) up to which no k point lacks a band."""
        return float(self.energies_eV.max(axis=1).min() - self.top_eV)


@dataclass(frozen=True)
class BandEdge:
    """The states at one edge of the gap, of one spin where there are two.

    Attributes
    ----------
    name
        ``VBM`` or ``CBM``.
    energy_eV
        From the valence band maximum of both spins.
    kpoint, kpoint_name
        In reciprocal vectors; its name, if it has one.
    degeneracy
        How many bands meet there.
    shares
        Label -> mean of these states; a mean over all of them does not depend on which combination
        of degenerate states was computed.
    unprojected
        What lies on none of the shells.
    spin
        ``up`` or ``down``; empty where the spins are not apart.
    """

    name: str
    energy_eV: float
    kpoint: tuple[float, ...]
    kpoint_name: str
    degeneracy: int
    shares: Mapping[str, float]
    unprojected: float
    spin: str = ""


def band_edges(states: ProjectedStates, by_site: bool = False) -> tuple[BandEdge, ...]:
    """Return the valence band maximum and conduction band minimum, of the computed k points.

    Where there are two spins those of the one come first; a spin without electrons has no maximum.

    Raises
    ------
    ComputationError
        If there is no gap.
    """
    energies, gap = states.energies_eV - states.top_eV, states.bottom_eV - states.top_eV
    if gap <= _DEGENERATE_EV:
        raise ComputationError(f"the filled and the empty bands overlap by {-gap:.3f} eV: these"
                               " band edges are not those of an insulator")
    merged, occupied = states.merged(by_site), states.occupied

    def edges(spin: str, rows: NDArray[np.bool_]) -> Iterator[BandEdge]:
        for name, part in (("VBM", occupied & rows), ("CBM", ~occupied & rows)):
            if part.any():
                extreme = float(energies[part].max() if name == "VBM" else energies[part].min())
                near = np.where(part, np.abs(energies - extreme), np.inf)
                k = int(near.min(axis=1).argmin())
                bands = np.flatnonzero(near[k] <= _DEGENERATE_EV)
                shares = {label: float(v[k, bands].mean()) for label, v in merged.items()}
                yield BandEdge(name, extreme, tuple(states.kpoints[k].tolist()),
                               states.kpoint_names[k], len(bands), shares,
                               1 - sum(shares.values()), spin)

    return tuple(edge for spin, rows in _channels(states).items() for edge in edges(spin, rows))


def _channels(states: ProjectedStates) -> dict[str, NDArray[np.bool_]]:
    """Return the rows, (k, 1), of each spin; under an empty name all where they are not apart."""
    if not states.polarised:
        return {"": np.ones((len(states.weights), 1), dtype=bool)}
    return {name: states.spins[:, None] == spin for spin, name in SPINS.items()}


def energy_grid(states: ProjectedStates, sigma_eV: float, low_eV: float,
                high_eV: float | None = None) -> tuple[Array, float]:
    """Return five energies for each sigma, and up to where no missing band shows.

    Parameters
    ----------
    states
        The states.
    sigma_eV
        Of the Gaussian.
    low_eV, high_eV
        First and last energy from the valence band maximum; without a last one the grid ends at 6
        eV, or before a missing band would show, but above the gap.
    """
    complete_eV = states.complete_to_eV() - 3 * sigma_eV
    if high_eV is None:
        gap_eV = states.bottom_eV - states.top_eV
        high_eV = max(min(_MOST_EV, complete_eV), gap_eV + 5 * sigma_eV)
    count = max(2, round(5 * (high_eV - low_eV) / sigma_eV) + 1)
    return np.linspace(low_eV, high_eV, count), complete_eV


def density_of_states(states: ProjectedStates, energy_eV: ArrayLike, sigma_eV: float,
                      by_site: bool = False) -> dict[str, Array]:
    """Return the density of all states (``total``) and of each label; of two spins each by itself
    (``total up``, ``total down``, ``Ni 3d up``).

    Each state counts two electrons, times the weight of its k point, times its share, and is
    broadened to a Gaussian; the error of the grid it is laid on is below 1e-4 of the maximum of a
    single Gaussian. Symmetry is used up by the sum over equivalent atoms, so irreducible k points
    suffice.

    Parameters
    ----------
    states
        The states.
    energy_eV
        (n,), from the valence band maximum.
    sigma_eV
        Standard deviation of the Gaussian.
    by_site
        Whether equivalent atoms of each site have a label of their own.

    Raises
    ------
    InputError
        For NaN, a wrong shape, or a width that is not positive.
    """
    energy = floats(energy_eV, "energy_eV", (None,))
    require(1e-3 <= sigma_eV <= 10,
            f"sigma_eV is {sigma_eV}: give a standard deviation of 0.001 to 10 eV")
    step, reach = sigma_eV / _STEPS_PER_SIGMA, _REACH_SIGMA * sigma_eV
    at = states.energies_eV - states.top_eV
    # Beyond its reach a state adds nothing at the energies asked for.
    inside = (at > energy.min() - reach) & (at < energy.max() + reach)
    both = {"total": np.ones(at.shape)} | states.merged(by_site)
    shares = {f"{label} {spin}".rstrip(): share * rows for label, share in both.items()
              for spin, rows in _channels(states).items()}
    if not inside.any():
        return {label: np.zeros(len(energy)) for label in shares}
    first = at[inside].min() - step
    place = (at[inside] - first) / step
    cell = place.astype(np.intp)
    part, size = place - cell, int(cell.max()) + 3
    rows = [(2 * states.weights[:, None] * share)[inside] for share in shares.values()]
    grid = np.array([np.bincount(cell, row * (1 - part), size)
                     + np.bincount(cell + 1, row * part, size) for row in rows]) / step
    curves = broaden_gaussian(first + step * np.arange(size), grid, energy, sigma_eV, ends="zero")
    return dict(zip(shares, curves, strict=True))


def write_states(path: str | os.PathLike[str], states: ProjectedStates,
                 record: Mapping[str, Any]) -> Path:
    """Write states (to 1 µeV, shares to 1e-6) and their record; equal input, equal bytes."""
    head = {"format": FORMATS[states.polarised], "electrons": states.electrons,
            "kpoint_names": states.kpoint_names, "shells": [asdict(s) for s in states.shells],
            "record": record}
    arrays = {"energies_eV": states.energies_eV.round(6), "kpoints": states.kpoints.round(9),
              "weights": states.weights, "shares": states.shares.round(6)}
    if states.polarised:
        head["moment_muB"] = states.moment_muB
        arrays["spins"] = states.spins
    return write_npz(path, {"head": np.frombuffer(json.dumps(head).encode(), np.uint8)} | arrays)


def read_states(path: str | os.PathLike[str]) -> tuple[ProjectedStates, dict[str, Any]]:
    """Read what write_states wrote.

    Raises
    ------
    InputError
        When the file is missing, damaged or of another kind.
    """
    with open_npz(path, "projected states", "write it again with polaron pdos") as arrays:
        head = json.loads(arrays.pop("head").tobytes())
        require(head["format"] in FORMATS and ("spins" in arrays) == (head["format"] == FORMATS[1]),
                f"it is of format {head['format']!r}, this version reads {FORMATS!r}")
        record = dict(head["record"])
        require(set(_KEYS) <= set(record) and isinstance(record["projected_onto"], dict),
                f"its record does not say {', '.join(_KEYS)}")
        return ProjectedStates(
            **arrays, kpoint_names=tuple(head["kpoint_names"]), electrons=float(head["electrons"]),
            moment_muB=float(head.get("moment_muB", 0.0)),
            shells=tuple(Shell(**s) for s in head["shells"])), record
