"""Densities of states projected onto the shells of the atoms, and what band edges are made of.

Energies are relative to the valence band maximum, in eV; densities in states (two for each band)
per eV and cell. The file of projected states that travels is ``pdos.npz``, from which every width
and grid can be had again.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from perovskite_polaron.arrays import Array, floats, freeze
from perovskite_polaron.errors import ComputationError, require
from perovskite_polaron.files import open_npz, write_npz
from perovskite_polaron.kernels.convolution import broaden_gaussian

FORMAT = "perovskite_polaron projected states 1"
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
        In the cell, two for each filled band.

    Raises
    ------
    InputError
        For wrong shapes, NaN, shares out of range, an odd or fractional number of electrons, or no
        empty band.
    """

    energies_eV: Array
    kpoints: Array
    kpoint_names: tuple[str, ...]
    weights: Array
    shares: Array
    shells: tuple[Shell, ...]
    electrons: float

    def __post_init__(self) -> None:
        energies = floats(self.energies_eV, "energies_eV", (None, None))
        count, bands = energies.shape
        weights = floats(self.weights, "weights", (count,))
        shares = floats(self.shares, "shares", (count, bands, len(self.shells)))
        kpoints = floats(self.kpoints, "kpoints", (count, 3))
        freeze(self, energies_eV=energies, kpoints=kpoints, weights=weights, shares=shares)
        require(len(self.kpoint_names) == count,
                f"{len(self.kpoint_names)} names for {count} k points: give one for each")
        require(weights.min() > 0 and abs(weights.sum() - 1) < 1e-6,
                "the weights of the k points are not positive numbers whose sum is 1: correct them")
        require(shares.min() >= -1e-6 and shares.sum(axis=2).max() <= 1.001,
                "the shares of a state are below 0 or add up to more than 1: no projections do")
        require(self.electrons > 0 and abs(self.electrons / 2 - self.filled) < 1e-6,
                f"{self.electrons:g} electrons do not fill bands by two: it must be an insulator")
        require(bands > self.filled, f"{bands} bands hold no empty one for {self.electrons:g}"
                " electrons: compute more bands")

    @property
    def filled(self) -> int:
        """Number of filled bands."""
        return round(self.electrons / 2)

    @property
    def top_eV(self) -> float:
        """The valence band maximum, on the axis of energies_eV."""
        return float(self.energies_eV[:, : self.filled].max())

    def merged(self, by_site: bool = False) -> dict[str, Array]:
        """Return label -> shares (k, bands), summed over the shells of one label."""
        labels = [shell.label(by_site) for shell in self.shells]
        return {label: self.shares[:, :, np.array(labels) == label].sum(axis=2)
                for label in dict.fromkeys(labels)}

    def spilling(self) -> float:
        """Return the part of the electrons on none of the shells, as projwfc.x's spilling."""
        filled = 2 * self.shares[:, : self.filled].sum(axis=(1, 2))
        return float(1 - self.weights @ filled / self.electrons)

    def complete_to_eV(self) -> float:
        """Return the energy (from the band maximum) up to which no k point lacks a band."""
        return float(self.energies_eV.max(axis=1).min() - self.top_eV)


@dataclass(frozen=True)
class BandEdge:
    """The states at one edge of the gap.

    Attributes
    ----------
    name
        ``VBM`` or ``CBM``.
    energy_eV
        From the valence band maximum.
    kpoint, kpoint_name
        In reciprocal vectors; its name, if it has one.
    degeneracy
        How many bands meet there.
    shares
        Label -> mean of these states; a mean over all of them does not depend on which combination
        of degenerate states was computed.
    unprojected
        What lies on none of the shells.
    """

    name: str
    energy_eV: float
    kpoint: tuple[float, ...]
    kpoint_name: str
    degeneracy: int
    shares: Mapping[str, float]
    unprojected: float


def band_edges(states: ProjectedStates, by_site: bool = False) -> tuple[BandEdge, BandEdge]:
    """Return the valence band maximum and conduction band minimum, of the computed k points.

    Raises
    ------
    ComputationError
        If there is no gap.
    """
    filled, energies = states.filled, states.energies_eV - states.top_eV
    gap = float(energies[:, filled:].min())
    if gap <= _DEGENERATE_EV:
        raise ComputationError(f"the filled and the empty bands overlap by {-gap:.3f} eV: these"
                               " band edges are not those of an insulator")
    merged = states.merged(by_site)

    def edge(name: str, part: slice, extreme: float) -> BandEdge:
        near = np.abs(energies[:, part] - extreme)
        k = int(near.min(axis=1).argmin())
        bands = (part.start or 0) + np.flatnonzero(near[k] <= _DEGENERATE_EV)
        shares = {label: float(values[k, bands].mean()) for label, values in merged.items()}
        return BandEdge(name, extreme, tuple(states.kpoints[k].tolist()), states.kpoint_names[k],
                        len(bands), shares, 1 - sum(shares.values()))

    return edge("VBM", slice(filled), 0.0), edge("CBM", slice(filled, None), gap)


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
        gap_eV = float(states.energies_eV[:, states.filled :].min()) - states.top_eV
        high_eV = max(min(_MOST_EV, complete_eV), gap_eV + 5 * sigma_eV)
    count = max(2, round(5 * (high_eV - low_eV) / sigma_eV) + 1)
    return np.linspace(low_eV, high_eV, count), complete_eV


def density_of_states(states: ProjectedStates, energy_eV: ArrayLike, sigma_eV: float,
                      by_site: bool = False) -> dict[str, Array]:
    """Return the density of all states (``total``) and of each label.

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
    shares = {"total": np.ones(at.shape)} | states.merged(by_site)
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
    head = {"format": FORMAT, "electrons": states.electrons, "kpoint_names": states.kpoint_names,
            "shells": [asdict(s) for s in states.shells], "record": record}
    arrays = {"energies_eV": states.energies_eV.round(6), "kpoints": states.kpoints.round(9),
              "weights": states.weights, "shares": states.shares.round(6)}
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
        require(head["format"] == FORMAT,
                f"it is of format {head['format']!r}, this version reads {FORMAT!r}")
        record = dict(head["record"])
        require(set(_KEYS) <= set(record) and isinstance(record["projected_onto"], dict),
                f"its record does not say {', '.join(_KEYS)}")
        return ProjectedStates(
            **arrays, kpoint_names=tuple(head["kpoint_names"]), electrons=float(head["electrons"]),
            shells=tuple(Shell(**s) for s in head["shells"])), record
