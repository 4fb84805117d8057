"""The difference spectrum of an odd mode at any amplitude, from the amplitudes that were computed.

The averaged difference of an odd (polar) mode is even in its amplitude Q and vanishes with it, so
it is Q² times a smooth even function of Q. That function is interpolated by a cubic spline in Q
through the computed amplitudes and their mirror images −Q (through two of them that is a line in
Q²); with a single amplitude it is constant: the Q² law. A polynomial or a spline in Q² would follow
the error of the smallest amplitudes, which lie close together there, far out between the larger
ones. The interpolation is exact at the computed amplitudes and is not continued beyond the largest.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.interpolate import CubicSpline

from perovskite_polaron.arrays import Array, floats, freeze
from perovskite_polaron.errors import require

# The Q² law counts as broken where a difference deviates from it by more of its own largest value.
_TOLERANCE = 0.05


@dataclass(frozen=True, eq=False)
class AmplitudeSpectra:
    """Difference spectra of one odd mode at k amplitudes; arrays float64, read-only.

    Attributes
    ----------
    energy_eV
        (n,), rising.
    amplitudes_sqrt_amu_A
        (k,): Q > 0, rising, Å√amu (give |Q|: the difference is even).
    differences
        (k, n), in any unit: changed minus unchanged spectrum.

    Raises
    ------
    InputError
        For other shapes, NaN, or Q out of order.
    """

    energy_eV: Array
    amplitudes_sqrt_amu_A: Array
    differences: Array

    def __post_init__(self) -> None:
        energy = floats(self.energy_eV, "energy_eV", (None,))
        amplitudes = floats(self.amplitudes_sqrt_amu_A, "amplitudes_sqrt_amu_A", (None,))
        differences = floats(self.differences, "differences", (len(amplitudes), len(energy)))
        require(len(energy) > 1 and (np.diff(energy) > 0).all(),
                "the energies of a sweep do not increase: sort them first")
        require((np.diff(amplitudes, prepend=0) > 0).all(),
                "the amplitudes of a sweep must be positive and rise: give |Q|, sorted, each once")
        freeze(self, energy_eV=energy, amplitudes_sqrt_amu_A=amplitudes, differences=differences)

    def weights(self, amplitudes_sqrt_amu_A: ArrayLike) -> Array:
        """Return (j, k): row i times ``differences`` is the difference at the i-th of j amplitudes.

        Raises
        ------
        InputError
            Beyond the largest computed amplitude.
        """
        q = np.abs(floats(amplitudes_sqrt_amu_A, "amplitudes_sqrt_amu_A", (None,)))
        nodes = self.amplitudes_sqrt_amu_A
        require(q.max() <= nodes[-1] * (1 + 1e-9), f"Q = {q.max():g} Å√amu is beyond the largest"
                f" computed amplitude, {nodes[-1]:g} Å√amu: compute a larger one")
        law = (q**2)[:, None] / nodes**2
        if len(nodes) == 1:
            return np.asarray(law)
        own = np.eye(len(nodes))
        spline = CubicSpline(np.append(-nodes[::-1], nodes), np.append(own[::-1], own, axis=0))
        return np.asarray(spline(q) * law)

    def at(self, amplitude_sqrt_amu_A: float) -> Array:
        """Return the difference (n,) at one amplitude of either sign."""
        return np.asarray(self.weights(np.array([amplitude_sqrt_amu_A]))[0] @ self.differences)

    def left_out(self) -> Array:
        """Return (k − 1,): for each amplitude but the largest, how far the others miss it.

        The miss is the largest deviation over the largest |difference| of that amplitude. The
        largest amplitude is not left out, since nothing is used beyond it. Empty for a single
        amplitude: then nothing is known of the error.
        """
        misses = []
        for i, own in enumerate(self.differences[:-1]):
            others = AmplitudeSpectra(self.energy_eV, np.delete(self.amplitudes_sqrt_amu_A, i),
                                      np.delete(self.differences, i, axis=0))
            miss = others.at(float(self.amplitudes_sqrt_amu_A[i])) - own
            misses.append(np.abs(miss).max() / max(np.abs(own).max(), 1e-300))
        return np.array(misses)


@dataclass(frozen=True, eq=False)
class Regime:
    """Where the difference is Q² times one shape. All arrays float64.

    Attributes
    ----------
    law
        (n,): that shape, the coefficient of Q² (in the differences' unit per Å²·amu).
    computed
        (k,): deviation at the computed amplitudes: the largest difference from Q² · law over the
        largest |difference| at that amplitude.
    amplitude_sqrt_amu_A, deviation
        (m,): the same between them.
    tolerance
        Deviation from which on the law counts as broken.
    fails_at_sqrt_amu_A
        The amplitude from which on the deviation stays above the tolerance: the smallest computed
        one when it is above it everywhere, None when it is below it at the largest.
    """

    law: Array
    computed: Array
    amplitude_sqrt_amu_A: Array
    deviation: Array
    tolerance: float
    fails_at_sqrt_amu_A: float | None


def quadratic_regime(sweep: AmplitudeSpectra) -> Regime:
    """Return how far the Q² law of a sweep of two or more amplitudes holds.

    The coefficient of Q² is that of a least-squares fit of Q², Q⁴ (and Q⁶ from three amplitudes on)
    to all differences with equal weights: with four or more the smallest differences, which carry
    the most relative noise, do not decide alone. Between the computed amplitudes the sweep's own
    interpolation is used.

    Raises
    ------
    InputError
        For a single amplitude, which says nothing about a law.
    """
    q = sweep.amplitudes_sqrt_amu_A
    require(len(q) > 1, "one amplitude says nothing about the Q² law: compute two or more of them")
    powers = q[:, None] ** (2 * np.arange(1, 1 + min(len(q), 3)))
    # Columns of like size keep the least squares well conditioned.
    scale = powers[-1]
    law = np.linalg.lstsq(powers / scale, sweep.differences, rcond=None)[0][0] / scale[0]
    between = np.linspace(q[0], q[-1], 200)
    deviation = _deviation(between, sweep.weights(between) @ sweep.differences, law)
    fails = None
    if deviation[-1] > _TOLERANCE:
        below = np.flatnonzero(deviation <= _TOLERANCE)
        fails = float(between[below[-1] + 1] if len(below) else between[0])
    computed = _deviation(q, sweep.differences, law)
    return Regime(law, computed, between, deviation, _TOLERANCE, fails)


def _deviation(q: Array, curves: Array, law: Array) -> Array:
    miss = np.abs(curves - (q**2)[:, None] * law).max(axis=1)
    return np.asarray(miss / np.maximum(np.abs(curves).max(axis=1), 1e-300))
