"""What strengths can be: not negative, and excited fractions not above one.

A strength that the data would pull below zero is zero, and all else is fitted without its part. Its
interval then begins at zero and ends where the likelihood, all else fitted again, has fallen from
zero on as far as it falls from the best to the end of a usual interval (profile at the bound). So
an interval is never empty, and above the bound it is the usual one cut off there, which covers as
often: the truth is never in what is cut off.

That a strength is best at zero does not say that it is zero: the intervals of the others are at
least those of the same profile, in which it may be anything from zero on.
"""

from collections.abc import Callable, Sequence

import numpy as np

from perovskite_polaron.analysis.evidence import LEVELS, Noise
from perovskite_polaron.analysis.scenario_curves import Axes, Grid, Priors, Template
from perovskite_polaron.analysis.scenarios import Scenario
from perovskite_polaron.analysis.weights import weigh, white_data
from perovskite_polaron.arrays import Array


def upper_bounds(parts: Sequence[Scenario], fractions: bool) -> Array:
    """Return what the strengths (parts,) cannot be above.

    One for a structure, where a strength is an excited fraction. For a mode of one amplitude it is
    f·Q²/Qmax² with any Q, and a density of carriers, a shift or a heating have no bound.
    """
    return np.array([1.0 if fractions and part.kind == "structure"
                     and (part.sweep is None or part.is_swept) else np.inf for part in parts])


def lower_bounds(parts: Sequence[Scenario]) -> Array:
    """Return what the strengths (parts,) cannot be below: zero, but for a shift of the edge."""
    return np.array([-np.inf if part.kind == "shift" else 0.0 for part in parts])


def within(parts: Sequence[Scenario], upper: Array, intervals: Array) -> Array:
    """Return intervals (parts, 2) cut off at the bounds of the strengths."""
    return np.clip(intervals, lower_bounds(parts)[:, None], upper[:, None])


def widest(one: Array, other: Array) -> Array:
    """Return intervals (n, 2) that hold those of both; NaN is none."""
    return np.column_stack([np.fmin(one[:, 0], other[:, 0]), np.fmax(one[:, 1], other[:, 1])])


def intervals_at_zero(template: Template, part: int, others: Array, axes: Axes | None,
                      whiten: Array, noise: Noise, priors: Priors, intensity: Array) -> Array:
    """Return the profile intervals (2, parts, 2) of all strengths where that of a part is zero.

    Parameters
    ----------
    template
        Of the whole hypothesis.
    part
        Which one is zero.
    others
        (parts,): all strengths, for the covariance of the calculation error.
    axes
        Where the fit without the part resolves the nuisance parameters; None where no part is left:
        then all that the priors allow.
    whiten
        Of the noise.
    noise, priors
        As ``Grid`` has them.
    intensity
        (m,): the data.
    """
    whole = [*template.axes()]
    if axes is not None:
        whole = [own if len(found) == 1 else found for own, found in zip(whole, axes, strict=True)]
    if part == 0:
        # Without a strength a sweep has no amplitude: the shape of the largest.
        whole[3] = np.full(1, template.largest)
    point = np.array([0.0, 0.0, 0.0, template.largest])
    grid = Grid(template, weigh(whiten, template.errors(point), others), priors, tuple(whole))
    strengths, least = grid.solve(white_data(intensity, grid.weights.whiten))
    variances = np.einsum("pcc->pc", grid.inverse)
    below = np.minimum(strengths[:, part], 0.0)
    best = int(np.argmin(noise.lost(least + below**2 / variances[:, part]) + grid.prior))

    def profile(one: int) -> Array:
        middle, variance, along = strengths[:, one], variances[:, one], grid.inverse[:, one, part]
        left = variances[:, part] - along**2 / variance

        def lost(value: float) -> float:
            rise = (value - middle) ** 2 / variance
            if one != part:
                # Where the part would be negative it is zero.
                low = np.minimum(strengths[:, part] + along / variance * (value - middle), 0.0)
                rise = rise + low**2 / np.maximum(left, 1e-12 * variances[:, part])
            return float((noise.lost(least + rise) + grid.prior).min())

        start = 0.0 if one == part else float(
            middle[best] - along[best] / variances[best, part] * below[best])
        step = float(np.sqrt(variance.max()))
        return np.array([[0.0 if one == part else _fallen(lost, start, -step, level),
                          _fallen(lost, start, step, level)] for level in LEVELS])

    return np.array([profile(one) for one in range(len(template.parts))]).swapaxes(0, 1)


def _fallen(lost: Callable[[float], float], start: float, step: float, level: float) -> float:
    """Return where −2 ln of a likelihood has risen by the quantile of χ² of a level."""
    from scipy.optimize import brentq
    from scipy.stats import chi2

    goal, away = lost(start) + float(chi2.ppf(level, 1)), 1e-3 * step
    while lost(start + away) < goal:
        away *= 2
    return float(brentq(lambda value: lost(value) - goal, start, start + away,
                        xtol=1e-6 * abs(away)))
