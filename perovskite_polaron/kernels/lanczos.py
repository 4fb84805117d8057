"""Resolvents of Lanczos chains as continued fractions, with and without the occupied states.

References
----------
Haydock recursion, and the terminator of a chain with a constant tail: Haydock, Heine and Kelly,
J. Phys. C 5, 2845 (1972). Occupied states: Brouder, Alouani and Bennemann, Phys. Rev. B 54, 7334
(1996). Poles of the Fermi function: Wildberger, Lang, Zeller and Dederichs, Phys. Rev. B 52, 11502
(1995).
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
# The poles of a Fermi function are summed to so many half widths above the real axis, at least so
# many, and beyond go over into an integral like an error function so many times narrower.
_POLES_PER_WIDTH, _LEAST_POLES, _NARROW = 4.0, 16, 14.0


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

    They depend on no energy, and on no width up to ``widest``.

    Attributes
    ----------
    t_real, t_imag
        (2, nodes) points of the rays, counted from the Fermi energy.
    real, imag
        (2, groups, nodes) resolvents there with the weights of the quadrature.
    thermal
        Width kT of the Fermi function; 0 for a step.
    widest
        The largest half width that they are made for.
    """

    t_real: Array
    t_imag: Array
    real: Array
    imag: Array
    thermal: float = 0.0
    widest: float = np.inf


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
    return FermiRays(*_along(chains, fermi, t, t * (step / np.pi)))


def thermal_rays(chains: Chains, fermi: float, thermal: float, widest: float) -> FermiRays:
    """Sum the chains at the poles of a Fermi function, for any number of later grids and widths.

    The integral of density of states × Fermi function × Lorentzian, closed in the upper half plane,
    is the residue at the Lorentzian's pole and one at each pole of the Fermi function, fermi + i π
    thermal (2 m + 1). It is exact. Poles far above the axis, where the sum has become an integral,
    go over into one smoothly, which leaves an error below 1e-10.

    Parameters
    ----------
    chains, fermi
        As in fermi_rays.
    thermal
        kT of the Fermi function, above zero.
    widest
        The largest half width of the later calls.

    Raises
    ------
    InputError
        For a thermal width or a half width that is not positive, or so cold a function that a step
        does as well.
    """
    from scipy.special import ndtr

    require(thermal > 0 and widest > 0, "thermal and widest must be above zero: a step has"
            " fermi_rays")
    spacing = 2 * np.pi * thermal
    count = max(_LEAST_POLES, int(np.ceil(_POLES_PER_WIDTH * widest / spacing)))
    require(count < 100_000, f"a Fermi function of width {thermal:g} is a step to a half width of"
            f" {widest:g}: use one")
    end = count * spacing
    poles = spacing * (np.arange(2 * count) + 0.5)
    # Panels that double in length, the first where sum and integral share.
    x, weight = np.polynomial.legendre.leggauss(16)
    edges = end * np.concatenate([np.linspace(1, 2, 9), 2.0 ** np.arange(2, 44)])
    half = np.diff(edges)[:, None] / 2
    heights, lengths = (edges[:-1, None] + half + half * x).ravel(), (half * weight).ravel()
    share = ndtr((heights / end - 1.5) * _NARROW)
    y = np.concatenate([poles, heights])
    factor = np.concatenate([spacing * (1 - ndtr((poles / end - 1.5) * _NARROW)),
                             lengths * share])
    missing = -len(y) % load("lanczos").NODE_BLOCK
    t = 1j * np.concatenate([y, np.full(missing, end)])
    weights = (1j / np.pi) * np.concatenate([factor, np.zeros(missing)])
    return FermiRays(*_along(chains, fermi, np.tile(t, (2, 1)), weights), thermal=thermal,
                     widest=widest)


def _along(chains: Chains, fermi: float, t: NDArray[np.complex128],
           weights: NDArray[np.complex128]) -> tuple[Array, Array, Array, Array]:
    """Return points (2, nodes) from the Fermi energy, and the weighted resolvents there."""
    g = resolvent(chains, fermi + t.real.ravel(), t.imag.ravel()).reshape(chains.groups, *t.shape)
    weighted = (g * weights).transpose(1, 0, 2)
    real, imag = np.ascontiguousarray(weighted.real), np.ascontiguousarray(weighted.imag)
    return np.ascontiguousarray(t.real), np.ascontiguousarray(t.imag), real, imag


def cut_resolvent(chains: Chains, rays: FermiRays, fermi: float, energy: ArrayLike,
                  hwhm: ArrayLike) -> Array:
    """Return Im of the resolvent from the empty states only, broadened by hwhm.

    Empty are those above the Fermi energy, or each by 1 − f where the rays are those of a Fermi
    function f. It is exact for any width at each energy: no convolution on a grid. Arguments and
    errors as in resolvent; shape (groups, n).
    """
    energy, hwhm = _points(energy, hwhm)
    require(hwhm.max() <= rays.widest, f"hwhm reaches {hwhm.max():g}, the rays are made for"
            f" {rays.widest:g}: make them for the largest width")
    u = energy - fermi
    out = np.zeros((chains.groups, len(u)))
    if rays.thermal:
        # The residue of the Lorentzian and that of a pole of f are both infinite where they meet:
        # the mean of both sides, 2e-4 kT away, is right to 1e-8 of the whole.
        z = (u + 1j * hwhm) / rays.thermal
        pole = 1j * np.pi * (2 * np.maximum(np.floor(z.imag / (2 * np.pi)), 0) + 1)
        if (meets := np.abs(z - pole) < 1e-4).any():
            sides = [cut_resolvent(chains, rays, fermi, energy[meets] + side * rays.thermal,
                                   hwhm[meets]) for side in (-2e-4, 2e-4)]
            out[:, meets] = (sides[0] + sides[1]) / 2
            if not meets.all():
                out[:, ~meets] = cut_resolvent(chains, rays, fermi, energy[~meets], hwhm[~meets])
            return out
        real, imag = _sums(chains, energy, hwhm)
        low = np.exp(-np.abs(z.real) - 1j * np.sign(z.real + 1e-300) * z.imag)
        empty = np.where(z.real >= 0, 1 / (1 + low), low / (1 + low))
        out += real * empty.imag + imag * empty.real
    elif (above := u >= 0).any():
        out[:, above] = _sums(chains, energy[above], hwhm[above])[1]
    given = u, hwhm, *rays[:4], out
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
