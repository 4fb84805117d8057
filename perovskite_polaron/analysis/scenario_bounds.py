"""What strengths can be: not negative, and excited fractions not above one.

A strength that the data would pull below zero is zero, and all else is fitted without its part. Its
interval then begins at zero and ends where the likelihood, all else fitted again, has fallen from
zero on as far as it falls from the best to the end of a usual interval (profile at the bound). So
an interval is never empty, and above the bound it is the usual one cut off there, which covers as
often: the truth is never in what is cut off.
"""

from collections.abc import Sequence

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


def most_at_zero(template: Template, part: int, others: Array, axes: Axes | None, whiten: Array,
                 noise: Noise, priors: Priors, intensity: Array) -> Array:
    """Return the upper ends (2,) of the intervals of a part whose strength is zero.

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
    from scipy.optimize import brentq
    from scipy.stats import chi2

    whole = [*template.axes()]
    if axes is not None:
        whole = [own if len(found) == 1 else found for own, found in zip(whole, axes, strict=True)]
    if part == 0:
        # Without a strength a sweep has no amplitude: the shape of the largest.
        whole[3] = np.full(1, template.largest)
    point = np.array([0.0, 0.0, 0.0, template.largest])
    grid = Grid(template, weigh(whiten, template.errors(point), others), priors, tuple(whole))
    strengths, least = grid.solve(white_data(intensity, grid.weights.whiten))
    spread = np.sqrt(grid.inverse[:, part, part])

    def lost(value: float) -> float:
        rise = ((value - strengths[:, part]) / spread) ** 2
        return float((noise.lost(least + rise) + grid.prior).min())

    start, ends = lost(0.0), []
    step = float(spread.max())
    for level in LEVELS:
        wanted, high = float(chi2.ppf(level, 1)), step
        while lost(high) - start < wanted:
            high *= 2
        ends.append(brentq(lambda value, w=wanted: lost(value) - start - w, 0.0, high,
                           xtol=1e-6 * step))
    return np.array(ends)
