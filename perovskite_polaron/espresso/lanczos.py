"""X-ray absorption cross-section from the chains of an XSpectra save file, on any grid and with any width.

Taillefumier et al., Phys. Rev. B 66, 195107 (2002); Gougoussis et al., Phys. Rev. B 80, 075102 (2009).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from perovskite_polaron.errors import InputError
from perovskite_polaron.espresso.savefile import LanczosSave
from perovskite_polaron.kernels import lanczos as kernel
from perovskite_polaron.kernels._core import floats
from perovskite_polaron.units import RYDBERG_EV

# XSpectra rounds the fine-structure constant; to print its numbers the same one is used here.
XSPECTRA_FINE_STRUCTURE = 1 / 137.04


@dataclass(frozen=True)
class CrossSection:
    """energy_eV from the Fermi energy in the file, and the cross-section in XSpectra's own units; all shape (n,)."""

    energy_eV: NDArray[np.float64]
    total: NDArray[np.float64]
    up: NDArray[np.float64] | None = None
    down: NDArray[np.float64] | None = None


def evaluate(
    save: LanczosSave,
    energy_eV: ArrayLike,
    hwhm_eV: ArrayLike,
    *,
    cut_occupied: bool = False,
    cut_smooth_eV: float = 0.1,
    terminator: int | None = None,
) -> CrossSection:
    """Return the cross-section at energy_eV (n,), counted from the Fermi energy in the file.

    hwhm_eV: half width, one or one per energy. cut_occupied removes the states below the Fermi energy; within
    cut_smooth_eV of it the spectrum is then a straight line, as in XSpectra (0: the exact spectrum).
    terminator N continues each chain with the mean of its last N // 2 coefficients (XSpectra's xcheck_conv=N).
    k-points have equal weights, as on the full grid that XSpectra uses. An aligned spectrum needs no interpolation:
    evaluate at ``common_grid - shift``.
    Raises InputError for non-finite or non-positive input, or a terminator longer than a chain.
    """
    energy = floats(energy_eV, "energy_eV", (None,))
    hwhm = floats(np.broadcast_to(hwhm_eV, energy.shape) if np.ndim(hwhm_eV) == 0 else hwhm_eV, "hwhm_eV", energy.shape)
    if (hwhm <= 0).any():
        raise InputError("hwhm_eV is not positive: give a half width above zero")
    if not (np.isfinite(cut_smooth_eV) and cut_smooth_eV >= 0):
        raise InputError(f"cut_smooth_eV is {cut_smooth_eV}: give zero or a positive energy")
    tail = 0
    if terminator is not None:
        tail = terminator // 2
        if terminator < 2 or tail > save.iterations.min():
            raise InputError(
                f"terminator {terminator} averages {tail} coefficients but the shortest chain has "
                f"{save.iterations.min()}: give a number from 2 to {2 * save.iterations.min()}"
            )
    spins, k = save.norms.shape
    # Each spin channel holds one electron per state: the weights of all k add to two, over both spins together.
    weights = save.norms.ravel() ** 2 * (2 / (k * spins))
    chains = kernel.join(save.a, save.b, weights, list(np.repeat(range(spins), k)), tail)
    fermi = save.fermi_energy_eV / RYDBERG_EV
    x = energy / RYDBERG_EV + fermi
    width = hwhm / RYDBERG_EV
    if cut_occupied:
        rays = kernel.fermi_rays(chains, fermi)
        near = np.abs(energy) < cut_smooth_eV
        result = kernel.cut_resolvent(chains, rays, fermi, x, width)
        if near.any():
            h = cut_smooth_eV / RYDBERG_EV
            n = int(near.sum())
            ends = kernel.cut_resolvent(
                chains, rays, fermi, fermi + np.repeat([-h, h], n), np.tile(width[near], 2)
            ).reshape(spins, 2, n)
            part = (energy[near] / cut_smooth_eV + 1) / 2
            result[:, near] = ends[:, 0] * (1 - part) + ends[:, 1] * part
    else:
        result = kernel.resolvent(chains, x, width).imag
    photon = x + save.core_energy_eV / RYDBERG_EV
    sigma = -4 * np.pi * XSPECTRA_FINE_STRUCTURE * photon * result
    if spins == 1:
        return CrossSection(energy, sigma[0])
    return CrossSection(energy, sigma.sum(axis=0), sigma[0], sigma[1])
