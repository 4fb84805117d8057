"""The difference spectrum of a mode at any amplitude, from the amplitudes that were computed.

The averaged difference vanishes with the amplitude Q. Where −Q gives the image of +Q under an
operation of the undistorted crystal (an odd mode, such as a polar one of a crystal with inversion)
it is even in Q: Q² times a smooth even function. Elsewhere (a totally symmetric mode, most modes of
a crystal without inversion) it has a linear part: Q times a smooth function of Q, in which +Q and
−Q are two different structures. That function is interpolated by a cubic spline in Q through the
computed amplitudes, of an even one with their mirror images −Q (through two of them that is a line
in Q², or in Q); with a single amplitude it is constant: the Q² law, or the linear one. A polynomial
or a spline in Q² would follow the error of the smallest amplitudes, which lie close together there,
far out between the larger ones. The interpolation is exact at the computed amplitudes and is not
continued beyond the largest.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.interpolate import CubicSpline

from perovskite_polaron.arrays import Array, floats, freeze
from perovskite_polaron.errors import InputError, require

# The law counts as broken where a difference deviates from it by more of its own largest value.
_TOLERANCE = 0.05


@dataclass(frozen=True, eq=False)
class AmplitudeSpectra:
    """Difference spectra of one mode at k amplitudes; arrays float64, read-only.

    Attributes
    ----------
    energy_eV
        (n,), rising.
    amplitudes_sqrt_amu_A
        (k,): Q, rising, Å√amu, the last positive; all positive where the difference is even.
    differences
        (k, n), in any unit: changed minus unchanged spectrum.
    even
        Whether +Q and −Q give the same difference; else both signs may be among the amplitudes.
    of_temperature
        The amplitudes are temperatures above that of the unchanged spectrum, K, in place of Q: a
        heated lattice, whose difference vanishes with them and begins linear.

    Raises
    ------
    InputError
        For other shapes, NaN, or Q out of order.
    """

    energy_eV: Array
    amplitudes_sqrt_amu_A: Array
    differences: Array
    even: bool = True
    of_temperature: bool = False

    @property
    def symbol(self) -> str:
        """What the amplitude is called."""
        return "ΔT" if self.of_temperature else "Q"

    @property
    def unit(self) -> str:
        """The unit of the amplitude."""
        return "K" if self.of_temperature else "Å√amu"

    def __post_init__(self) -> None:
        energy = floats(self.energy_eV, "energy_eV", (None,))
        amplitudes = floats(self.amplitudes_sqrt_amu_A, "amplitudes_sqrt_amu_A", (None,))
        differences = floats(self.differences, "differences", (len(amplitudes), len(energy)))
        require(len(energy) > 1 and (np.diff(energy) > 0).all(),
                "the energies of a sweep do not increase: sort them first")
        lowest = amplitudes[0] > 0 if self.even else amplitudes.all() and amplitudes[-1] > 0
        require(lowest and (np.diff(amplitudes) > 0).all(), "the amplitudes of a sweep must rise"
                " and be positive, but for a mode whose two signs differ: sort them, each once")
        freeze(self, energy_eV=energy, amplitudes_sqrt_amu_A=amplitudes, differences=differences)

    @property
    def power(self) -> int:
        """The power of Q that a small difference grows with."""
        return 2 if self.even else 1

    @property
    def law(self) -> str:
        """What small differences follow, in words."""
        return "Q² law" if self.even else "linear law"

    def weights(self, amplitudes_sqrt_amu_A: ArrayLike) -> Array:
        """Return (j, k): row i times ``differences`` is the difference at the i-th of j amplitudes.

        Raises
        ------
        InputError
            Beyond the largest computed amplitude of that sign.
        """
        q = floats(amplitudes_sqrt_amu_A, "amplitudes_sqrt_amu_A", (None,))
        nodes = self.amplitudes_sqrt_amu_A
        if self.even:
            q = np.abs(q)
        low, high = min(nodes[0], 0.0), nodes[-1]
        beyond = q[(q < low * (1 + 1e-9)) | (q > high * (1 + 1e-9))]
        if len(beyond):
            raise InputError(f"{self.symbol} = {beyond[0]:g} {self.unit} is beyond the largest"
                             f" computed amplitude, {high if beyond[0] > 0 else low:g} {self.unit}:"
                             " compute a larger one")
        law = (q**self.power)[:, None] / nodes**self.power
        if len(nodes) == 1:
            return np.asarray(law)
        own = np.eye(len(nodes))
        if self.even:
            nodes, own = np.append(-nodes[::-1], nodes), np.append(own[::-1], own, axis=0)
        return np.asarray(CubicSpline(nodes, own)(q) * law)

    def at(self, amplitude_sqrt_amu_A: float) -> Array:
        """Return the difference (n,) at one amplitude of either sign."""
        return np.asarray(self.weights(np.array([amplitude_sqrt_amu_A]))[0] @ self.differences)

    def left_out(self) -> Array:
        """Return for each amplitude between the outermost how far the others miss it.

        The outermost are the largest of either sign, and of an even difference the largest: nothing
        is used beyond them. The miss is the largest deviation over the largest |difference| of that
        amplitude. Empty for a single amplitude: then nothing is known of the error.
        """
        nodes, misses = self.amplitudes_sqrt_amu_A, []
        for i in range(int(nodes[0] < 0), len(nodes) - 1):
            others = replace(self, amplitudes_sqrt_amu_A=np.delete(nodes, i),
                             differences=np.delete(self.differences, i, axis=0))
            own = self.differences[i]
            miss = np.abs(others.at(float(nodes[i])) - own).max()
            misses.append(miss / max(np.abs(own).max(), 1e-300))
        return np.array(misses)


@dataclass(frozen=True, eq=False)
class Regime:
    """Where the difference is Q² (or Q) times one shape. All arrays float64.

    Attributes
    ----------
    law
        (n,): that shape, the coefficient of Q² (in the differences' unit per Å²·amu), or of Q where
        the two signs differ (per Å·√amu).
    computed
        (k,): deviation at the computed amplitudes: the largest difference from the law over the
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


def leading_regime(sweep: AmplitudeSpectra) -> Regime:
    """Return how far the Q² law of a sweep of two or more amplitudes holds, or the linear one.

    The coefficient of Q² is that of a least-squares fit of Q², Q⁴ (and Q⁶ from three amplitudes on;
    without the even symmetry Q, Q² and Q³) to all differences with equal weights: with four or more
    the smallest differences, which carry the most relative noise, do not decide alone. Between the
    computed amplitudes the sweep's own interpolation is used.

    Raises
    ------
    InputError
        For a single amplitude, which says nothing about a law.
    """
    q, power = sweep.amplitudes_sqrt_amu_A, sweep.power
    require(len(q) > 1, "one amplitude says nothing about the law of a sweep: compute two or more")
    powers = q[:, None] ** (power * np.arange(1, 1 + min(len(q), 3)))
    # Columns of like size keep the least squares well conditioned.
    scale = powers[-1]
    law = np.linalg.lstsq(powers / scale, sweep.differences, rcond=None)[0][0] / scale[0]
    between = np.linspace(np.abs(q).min(), q[-1], 200)
    deviation = _deviation(between**power, sweep.weights(between) @ sweep.differences, law)
    fails = None
    if deviation[-1] > _TOLERANCE:
        below = np.flatnonzero(deviation <= _TOLERANCE)
        fails = float(between[below[-1] + 1] if len(below) else between[0])
    computed = _deviation(q**power, sweep.differences, law)
    return Regime(law, computed, between, deviation, _TOLERANCE, fails)


def _deviation(powers: Array, curves: Array, law: Array) -> Array:
    miss = np.abs(curves - powers[:, None] * law).max(axis=1)
    return np.asarray(miss / np.maximum(np.abs(curves).max(axis=1), 1e-300))
