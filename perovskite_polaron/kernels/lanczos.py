"""Resolvents of Lanczos chains as continued fractions, with and without the occupied states.

References
----------
Haydock recursion, and the terminator of a chain with a constant tail: Haydock, Heine and Kelly,
J. Phys. C 5, 2845 (1972). Occupied states: Brouder, Alouani and Bennemann, Phys. Rev. B 54, 7334
(1996).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from perovskite_polaron.arrays import Array, floats
from perovskite_polaron.errors import require
from perovskite_polaron.kernels import load, share

# Energies that the kernel works on together.
TOGETHER = 16


@dataclass(frozen=True)
class Chains:
    """Many chains end to end, all in one energy unit.

    Attributes
    ----------
    a, b
        Coefficients of all chains.
    start
        (chains + 1) where each chain begins.
    weight, group
        (chains,) weight of each, and the sum it belongs to.
    tail_a, tail_b
        (chains,) constant coefficients that continue each chain for ever; tail_b = 0 ends it.
    """

    a: Array
    b: Array
    start: NDArray[np.int64]
    weight: Array
    group: NDArray[np.int64]
    tail_a: Array
    tail_b: Array

    @property
    def groups(self) -> int:
        """Number of separate sums."""
        return int(self.group.max()) + 1


def join(a: Sequence[ArrayLike], b: Sequence[ArrayLike], weights: ArrayLike, groups: Sequence[int],
         tail: int = 0) -> Chains:
    """Join chains for evaluation.

    Parameters
    ----------
    a, b
        Coefficients of each chain, equally many; b[c][j] couples vectors j and j + 1.
    weights
        Weight of each chain.
    groups
        Which sum each chain belongs to.
    tail
        How many of the last coefficients the terminator averages; 0 for no terminator.

    Raises
    ------
    InputError
        For empty, unequal or non-finite chains, or a tail longer than a chain.
    """
    require(0 < len(a) == len(b) == len(groups),
            f"{len(a)} a, {len(b)} b and {len(groups)} groups do not match: give each chain all"
            " three")
    rows_a = [floats(x, "a", (None,)) for x in a]
    rows_b = [floats(y, "b", (len(x),)) for x, y in zip(rows_a, b, strict=True)]
    shortest = min(len(x) for x in rows_a)
    require(0 <= tail <= shortest, f"the terminator averages {tail} coefficients, the shortest"
            f" chain has {shortest}: ask for fewer")
    require(min(groups) >= 0, "a group is negative: number the groups from zero")
    tail_a, tail_b = (np.array([row[-tail:].mean() if tail else 0.0 for row in rows])
                      for rows in (rows_a, rows_b))
    return Chains(
        np.concatenate(rows_a), np.concatenate(rows_b),
        np.cumsum([0, *map(len, rows_a)], dtype=np.int64), floats(weights, "weights", (len(a),)),
        np.array(groups, dtype=np.int64), tail_a, tail_b)


def resolvent(chains: Chains, energy: ArrayLike, hwhm: ArrayLike) -> NDArray[np.complex128]:
    """Return the sum of weight · G(energy + i hwhm) for each group.

    Parameters
    ----------
    chains
        What join returned.
    energy, hwhm
        (n,) in the unit of the coefficients (numbers of 1e-30 to 1e30). Many grids and widths are
        joined into one call.

    Returns
    -------
    numpy.ndarray
        (groups, n), complex128.

    Raises
    ------
    InputError
        For wrong shapes, numbers that are not finite, or a width that is not positive.
    """
    real, imag = _sums(chains, *_points(energy, hwhm))
    return real + 1j * imag


class FermiRays(NamedTuple):
    """Resolvents along two rays into the upper half plane from the Fermi energy.

    They depend on no energy or width.

    Attributes
    ----------
    t_real, t_imag
        (2, nodes) points of the rays, counted from the Fermi energy.
    real, imag
        (2, groups, nodes) resolvents there with the weights of the quadrature.
    """

    t_real: Array
    t_imag: Array
    real: Array
    imag: Array


def fermi_rays(chains: Chains, fermi: float) -> FermiRays:
    """Sum the chains once along the rays, for any number of later widths and grids.

    The rays lean 45 degrees to either side, so the poles of the Lorentzian stay 45 degrees away
    and the trapezoidal rule on a logarithmic grid converges exponentially (to 1e-11), at the Fermi
    energy too. Levels and widths may lie 1e-3 to 1e3 units from the Fermi energy for that: what is
    left out of the rays shrinks with these distances.
    """
    step = 0.18
    radius = 1e-14 * np.exp(step * np.arange(15 * load("lanczos").NODE_BLOCK))
    t = (np.array([[1 + 1j], [-1 + 1j]]) * np.sqrt(0.5) * radius).astype(np.complex128)
    g = resolvent(chains, fermi + t.real.ravel(), t.imag.ravel()).reshape(chains.groups, *t.shape)
    weighted = (g * t * (step / np.pi)).transpose(1, 0, 2)
    return FermiRays(*map(np.ascontiguousarray, (t.real, t.imag, weighted.real, weighted.imag)))


def cut_resolvent(chains: Chains, rays: FermiRays, fermi: float, energy: ArrayLike,
                  hwhm: ArrayLike) -> Array:
    """Return Im of the resolvent from states above the Fermi energy only, broadened by hwhm.

    It is exact for any width at each energy: no convolution on a grid. Arguments and errors as in
    resolvent; shape (groups, n).
    """
    energy, hwhm = _points(energy, hwhm)
    u = energy - fermi
    out = np.zeros((chains.groups, len(u)))
    above = u >= 0
    if above.any():
        out[:, above] = _sums(chains, energy[above], hwhm[above])[1]
    given = u, hwhm, *rays, out
    share("lanczos", "occupied", given, len(u), 0.3 * rays.real[0].size)
    return out


def _points(energy: ArrayLike, hwhm: ArrayLike) -> tuple[Array, Array]:
    energies = floats(energy, "energy", (None,))
    widths = floats(hwhm, "hwhm", energies.shape)
    require(widths.min() > 0, "hwhm is not positive: give a half width above zero")
    return energies, widths


def _sums(chains: Chains, energy: Array, hwhm: Array) -> tuple[Array, Array]:
    """Real and imaginary parts of the resolvents of each group."""
    real, imag = np.zeros((2, chains.groups, len(energy)))
    given = (chains.a, chains.b, chains.start, chains.weight, chains.tail_a, chains.tail_b,
             chains.group, energy, hwhm, real, imag)
    share("lanczos", "resolvent", given, len(energy), 0.35 * len(chains.a), TOGETHER)
    return real, imag
