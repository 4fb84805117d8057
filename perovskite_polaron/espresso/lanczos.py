"""X-ray absorption cross-section from the chains of an XSpectra save file, on any grid and with any
width.

Taillefumier et al., Phys. Rev. B 66, 195107 (2002); Gougoussis et al., Phys. Rev. B 80, 075102
(2009).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from perovskite_polaron.arrays import floats
from perovskite_polaron.errors import InputError, require
from perovskite_polaron.espresso.savefile import LanczosSave
from perovskite_polaron.kernels import lanczos as kernel
from perovskite_polaron.units import RYDBERG_EV

# XSpectra rounds the fine-structure constant; to print its numbers the same one is used here.
XSPECTRA_FINE_STRUCTURE = 1 / 137.04
# With its terminator XSpectra leaves out so many pairs of each chain.
_DROPPED = 2


@dataclass(frozen=True)
class CrossSection:
    """A cross-section in XSpectra's own units, at energies from the Fermi energy in the file;
    shapes (n,).
    """

    energy_eV: NDArray[np.float64]
    total: NDArray[np.float64]
    up: NDArray[np.float64] | None = None
    down: NDArray[np.float64] | None = None


class Filling(NamedTuple):
    """One term of an occupation: weight × Fermi function of a level and a width.

    Attributes
    ----------
    weight
        Any number; the terms of an occupation are added.
    level_eV
        From the Fermi energy in the file.
    thermal_eV
        kT; 0 for a step, all states below the level.
    """

    weight: float
    level_eV: float
    thermal_eV: float = 0.0


def evaluate(save: LanczosSave, energy_eV: ArrayLike, hwhm_eV: ArrayLike, *,
             cut_occupied: bool = False, cut_smooth_eV: float = 0.1, cut_above_eV: float = 0.0,
             occupation: Sequence[Filling] | None = None, terminator: int | None = None,
             taper: float = 0.0) -> CrossSection:
    """Return the cross-section at some energies.

    k-points have equal weights, as on the full grid that XSpectra uses; states of the core are
    added, as XSpectra adds them (Bunau and Calandra, Phys. Rev. B 87, 205105 (2013)). An aligned
    spectrum needs no interpolation: evaluate at ``common_grid - shift``.

    Parameters
    ----------
    save
        The chains.
    energy_eV
        Energies (n,), counted from the Fermi energy in the file.
    hwhm_eV
        Half width, one or one per energy.
    cut_occupied
        Remove the states below the Fermi energy (Brouder et al., Phys. Rev. B 54, 7334 (1996)).
    cut_smooth_eV
        So close to the cut the resolvent is a cubic that joins both sides, with slopes over one
        step of the energy grid, which is what XSpectra prints (0: the exact spectrum).
    cut_above_eV
        Height of the cut above the Fermi energy. XSpectra has 0, and where the Fermi energy is the
        highest occupied level of a few k points the cut then moves with that one level, not with
        the states it should take away; a third of the gap keeps it clear of both bands.
    occupation
        Instead of a cut: n(E) as a sum of Fermi functions, by any of which a state of the energy E
        is taken away. It is exact on the chain; no term is the whole chain, one step is the exact
        cut. Electrons at µe and holes at µh beside a gap that holds c are three terms, (1, µe, kT),
        (1, µh, kT) and (−1, c, 0), as long as neither Fermi function reaches across the gap.
    terminator
        N is XSpectra's xcheck_conv=N: the last two pairs of each chain are left out and the mean of
        the N // 2 before them continues it for ever. None ends each chain at its last vector, which
        shows the poles of a finite chain; XSpectra without its terminator takes the last level with
        the opposite sign of the width, which is not followed here.
    taper
        The last part of each chain, as a share of its steps, goes over into that mean by half a
        cosine (XSpectra: 0). A chain that changes into its mean from one step to the next reflects
        there, which makes a ripple; with a tenth a difference of two spectra is off by a third as
        much (docs/conventions.md).

    Raises
    ------
    InputError
        For non-finite or non-positive input, a cut beside an occupation, a terminator longer than
        a chain, a taper that is no share or has no terminator.
    """
    energy = floats(energy_eV, "energy_eV", (None,))
    hwhm = floats(np.broadcast_to(hwhm_eV, energy.shape) if np.ndim(hwhm_eV) == 0 else hwhm_eV,
                  "hwhm_eV", energy.shape)
    require((hwhm > 0).all(), "hwhm_eV is not positive: give a half width above zero")
    if not (np.isfinite(cut_smooth_eV) and cut_smooth_eV >= 0):
        raise InputError(f"cut_smooth_eV is {cut_smooth_eV}: give zero or a positive energy")
    require(np.isfinite(cut_above_eV), f"cut_above_eV is {cut_above_eV}: give an energy")
    require(taper == 0 or (0 < taper <= 1 and terminator is not None), f"taper is {taper}: give a"
            " share of a chain from 0 to 1, and a terminator for it to go over into")
    require(occupation is None or not cut_occupied,
            "a cut is an occupation of its own: leave out cut_occupied, or the occupation")
    terms = tuple(occupation or ())
    require(np.isfinite(np.array(terms)).all() and all(t.thermal_eV >= 0 for t in terms),
            "a term of the occupation is not finite, or has a negative kT: correct it")
    chains = _chains(save, terminator)
    if taper:
        chains = _tapered(chains, taper)
    fermi = save.fermi_energy_eV / RYDBERG_EV
    x, width = energy / RYDBERG_EV + fermi, hwhm / RYDBERG_EV
    if cut_occupied:
        cut = fermi + cut_above_eV / RYDBERG_EV
        result = _above(chains, cut, x, width, energy - cut_above_eV, cut_smooth_eV)
    else:
        result = (1 - sum(t.weight for t in terms)) * kernel.resolvent(chains, x, width).imag
        for term in terms:
            level, thermal = fermi + term.level_eV / RYDBERG_EV, term.thermal_eV / RYDBERG_EV
            rays = (kernel.thermal_rays(chains, level, thermal, float(width.max())) if thermal
                    else kernel.fermi_rays(chains, level))
            result += term.weight * kernel.cut_resolvent(chains, rays, level, x, width)
    photon = x + save.core_energy_eV / RYDBERG_EV
    sigma = -4 * np.pi * XSPECTRA_FINE_STRUCTURE * photon * result
    if not save.spin_polarised:
        return CrossSection(energy, sigma[0])
    return CrossSection(energy, sigma.sum(axis=0), sigma[0], sigma[1])


def _chains(save: LanczosSave, terminator: int | None) -> kernel.Chains:
    drop, tail = 0, 0
    if terminator is not None:
        drop, tail = _DROPPED, terminator // 2
        longest = 2 * (int(save.iterations.min()) - drop)
        require(2 <= terminator <= longest, f"terminator {terminator} averages {tail} coefficients"
                f" before the last two, but the shortest chain has {save.iterations.min()}: give a"
                f" number from 2 to {longest}")
    spins, k = save.norms.shape
    # Each spin channel holds one electron per state: the weights of all k add to two, over both
    # spins together.
    weights = save.norms.ravel() ** 2 * (2 * save.core_states / (k * spins))
    a, b = ([x[: len(x) - drop] for x in rows] for rows in (save.a, save.b))
    return kernel.join(a, b, weights, list(np.repeat(range(spins), k)), tail)


def _above(chains: kernel.Chains, cut: float, x: NDArray[np.float64], width: NDArray[np.float64],
           beyond_eV: NDArray[np.float64], smooth_eV: float) -> NDArray[np.float64]:
    """Return the resolvent of the states above a cut, (spins, n).

    Parameters
    ----------
    chains, cut, x, width
        Chains, cut, energies and half widths, Ry.
    beyond_eV
        The energies from the cut.
    smooth_eV
        So close to the cut the result is a cubic that joins both sides.
    """
    rays = kernel.fermi_rays(chains, cut)
    result = kernel.cut_resolvent(chains, rays, cut, x, width)
    near = np.abs(beyond_eV) < smooth_eV
    if near.any():
        step = max(float(np.ptp(beyond_eV)) / max(len(x) - 1, 1), 1e-4)
        beyond = np.array([-smooth_eV - step, -smooth_eV, smooth_eV, smooth_eV + step])
        at = np.repeat(cut + beyond / RYDBERG_EV, near.sum())
        ends = kernel.cut_resolvent(chains, rays, cut, at, np.tile(width[near], 4))
        before, left, right, after = np.split(ends, 4, axis=1)
        slopes = (left - before) * (2 * smooth_eV / step), (after - right) * (2 * smooth_eV / step)
        result[:, near] = _hermite((beyond_eV[near] / smooth_eV + 1) / 2, left, right, *slopes)
    return result


def _tapered(chains: kernel.Chains, taper: float) -> kernel.Chains:
    """Let the last coefficients of each chain go over into what its terminator continues."""
    a, b = chains.a.copy(), chains.b.copy()
    for c, (begin, end) in enumerate(pairwise(chains.start)):
        steps = round(taper * (end - begin))
        weight, last = 0.5 * (1 + np.cos(np.pi * np.linspace(0, 1, steps))), slice(end - steps, end)
        a[last] = chains.tail_a[c] + weight * (a[last] - chains.tail_a[c])
        b[last] = chains.tail_b[c] + weight * (b[last] - chains.tail_b[c])
    return replace(chains, a=a, b=b)


def _hermite(s: NDArray[np.float64], *ends: NDArray[np.float64]) -> NDArray[np.float64]:
    """The cubic on [0, 1] with these values and slopes: left, right, slope left, slope right."""
    left, right, slope_left, slope_right = ends
    return ((1 + 2 * s) * (1 - s) ** 2 * left + s**2 * (3 - 2 * s) * right
            + s * (1 - s) ** 2 * slope_left - s**2 * (1 - s) * slope_right)
