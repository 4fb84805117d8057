"""All modes at one wave vector in a basis that does not depend on the program, and from force
constants.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from perovskite_polaron.errors import require
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.phonons.modes import DEGENERACY_MEV, Modes
from perovskite_polaron.units import HBAR2_PER_AMU_A2_EV

#: The same as DEGENERACY_MEV for modes that are diagonalised here, where symmetry makes energies
#: equal to far more digits.
DEGENERACY_COMPUTED_MEV = 1e-4
#: Largest overlap Σ m u*·u' between two modes that is put down to the digits of a file.
ORTHOGONALITY = 5e-3
_TIE = 1e-3


def canonical_modes(crystal: Crystal, masses_amu: ArrayLike, energies_meV: ArrayLike,
                    patterns: ArrayLike, q: ArrayLike = (0.0, 0.0, 0.0),
                    direction: ArrayLike | None = None, provenance: str = "",
                    degeneracy_meV: float = DEGENERACY_MEV) -> Modes:
    """Return all modes at one wave vector by rising energy, in a basis that all programs share.

    Parameters
    ----------
    crystal, masses_amu, energies_meV, patterns, q, direction, provenance, degeneracy_meV
        As in Modes; q is one wave vector, and the modes may come in any order.

    Raises
    ------
    InputError
        As Modes does, and for patterns that are not orthogonal with these masses (Σ m u*·u' beyond
        ORTHOGONALITY): then masses or atoms are not those of the calculation.

    Notes
    -----
    In each degenerate subspace the modes are replaced by its canonical basis. That is found from
    the projector P onto the subspace, which no rotation within it changes. The Cartesian unit
    vectors (atom 1 x, y, z, atom 2 x, ...; mass-weighted) are projected by P; the longest
    projection is the first mode, it is removed from the others, the longest that is left is the
    second, and so on. Of equally long ones (symmetry makes them so) the first in order is taken. A
    mode that is not degenerate thereby gets its phase: its largest mass-weighted component is real
    and positive.
    """
    given: tuple[Any, ...] = (q, (), direction, provenance, degeneracy_meV)
    modes = Modes(crystal, masses_amu, energies_meV, patterns, *given)  # type: ignore[arg-type]
    modes = modes[np.argsort(modes.energies_meV, kind="stable")]
    weighted = _orthonormal(modes)
    for group in modes.degenerate_groups:
        weighted[group] = _canonical(weighted[group])
    unweighted = weighted.reshape(modes.patterns.shape) / np.sqrt(modes.masses_amu)[:, None]
    return Modes(crystal, modes.masses_amu, modes.energies_meV, unweighted, *given)


def diagonalise(crystal: Crystal, masses_amu: ArrayLike, force_constants_eV_A2: ArrayLike,
                q: ArrayLike = (0.0, 0.0, 0.0), direction: ArrayLike | None = None,
                provenance: str = "") -> Modes:
    """Return the modes of force constants Φ(q) = Σ_R Φ(0, R) exp(2πi q·R), (3n, 3n), eV/Å².

    The matrix holds whatever is to act (sum rules, non-analytic term); it is made Hermitian, which
    removes rounding only, weighted by the masses and diagonalised.

    Raises
    ------
    InputError
        As canonical_modes does.
    """
    masses = np.asarray(masses_amu, dtype=np.float64)
    phi = np.asarray(force_constants_eV_A2, dtype=np.complex128)
    n, who = len(crystal), provenance or "these force constants"
    require(masses.shape == (n,) and (masses > 0).all() and phi.shape == (3 * n, 3 * n), f"{who}:"
            f" {phi.shape} numbers do not fit the {n} atoms of {crystal.label} and their masses")
    require(np.isfinite(phi).all(),
            f"{who}: a force constant is not a finite number: compute them again")
    weight = np.repeat(1 / np.sqrt(masses), 3)
    squares, vectors = np.linalg.eigh((phi + phi.conj().T) / 2 * np.outer(weight, weight))
    energies = np.sign(squares) * np.sqrt(np.abs(squares) * HBAR2_PER_AMU_A2_EV) * 1e3
    patterns = (vectors * weight[:, None]).T.reshape(-1, n, 3)
    return canonical_modes(crystal, masses, energies, patterns, q, direction, provenance,
                           DEGENERACY_COMPUTED_MEV)


def _orthonormal(modes: Modes) -> NDArray[np.complex128]:
    """Mass-weighted rows (m, 3n), checked for orthogonality and freed of rounding."""
    rows = modes.weighted
    overlap = np.abs(rows.conj() @ rows.T - np.eye(len(rows)))
    i, j = sorted(np.unravel_index(overlap.argmax(), overlap.shape))
    require(len(rows) <= rows.shape[1] and overlap[i, j] <= ORTHOGONALITY,
            f"{modes.provenance or 'these modes'}: modes {i + 1} and {j + 1} overlap by"
            f" {overlap.max():.3f} with the masses given for {modes.crystal.label}: masses or order"
            " of atoms are not those of the calculation; give the right crystal (modes --crystal)")
    # Löwdin: the nearest orthonormal rows; it favours none of the modes.
    u, _, vh = np.linalg.svd(rows, full_matrices=False)
    return np.asarray(u @ vh)


def _canonical(rows: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Return the basis of the space of orthonormal rows (d, 3n) that canonical_modes describes."""
    projector = rows.T @ rows.conj()
    basis = []
    for _ in rows:
        lengths = projector.diagonal().real
        pivot = int(np.flatnonzero(lengths >= (1 - _TIE) * lengths.max())[0])
        vector = projector[:, pivot] / np.sqrt(lengths[pivot])
        basis.append(vector / np.linalg.norm(vector))
        projector = projector - np.outer(basis[-1], basis[-1].conj())
    return np.array(basis)
