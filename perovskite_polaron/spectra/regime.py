"""How far the Q² law of an odd mode's difference spectrum holds: from differences at several amplitudes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.errors import InputError
from perovskite_polaron.spectra.amplitude import AmplitudeSpectra

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Regime:
    """Where the difference is Q² times one shape. All arrays float64.

    law (n,): that shape, the coefficient of Q² (in the differences' unit per Å²·amu). computed (k,): deviation at the
    computed amplitudes. amplitude_sqrt_amu_A, deviation (m,): the same between them. The deviation is the largest
    difference from Q² · law over the largest |difference| at that amplitude. fails_at_sqrt_amu_A: the amplitude from which
    on the deviation stays above the tolerance: the smallest computed one when it is above it everywhere, None when it is below it at
    the largest.
    """

    law: Array
    computed: Array
    amplitude_sqrt_amu_A: Array
    deviation: Array
    tolerance: float
    fails_at_sqrt_amu_A: float | None


def quadratic_regime(sweep: AmplitudeSpectra, tolerance: float = 0.05, points: int = 200) -> Regime:
    """Return the regime of a sweep of two or more amplitudes.

    The coefficient of Q² is that of a least-squares fit of Q², Q⁴ (and Q⁶ from three amplitudes on) to all differences with
    equal weights: with four or more the smallest differences, which carry the most relative noise, do not decide alone. Between
    the computed amplitudes the sweep's own interpolation is used. Raises InputError for a single amplitude, which says nothing about a law.
    """
    q = sweep.amplitudes_sqrt_amu_A
    if len(q) < 2:
        raise InputError("one amplitude says nothing about the Q² law: compute two or more of them")
    powers = q[:, None] ** (2 * np.arange(1, 1 + min(len(q), 3)))
    # Columns of like size keep the least squares well conditioned.
    scale = powers[-1]
    law = np.linalg.lstsq(powers / scale, sweep.differences, rcond=None)[0][0] / scale[0]
    between = np.linspace(q[0], q[-1], points)
    curves = sweep.weights(between) @ sweep.differences
    deviation = _deviation(between, curves, law)
    fails = None
    if deviation[-1] > tolerance:
        below = np.flatnonzero(deviation <= tolerance)
        fails = float(between[below[-1] + 1] if len(below) else between[0])
    return Regime(law, _deviation(q, sweep.differences, law), between, deviation, tolerance, fails)


def _deviation(q: Array, curves: Array, law: Array) -> Array:
    miss = np.abs(curves - (q**2)[:, None] * law).max(axis=1)
    return np.asarray(miss / np.maximum(np.abs(curves).max(axis=1), 1e-300))
