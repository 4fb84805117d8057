"""Which scenario a transient supports, and how strongly.

Model: a sum of strengths times difference spectra, each moved, stretched and broadened by the
nuisance parameters of ``scenario_curves.Priors``; the odd mode of a sweep also has its amplitude Q.
Strengths are linear and solved for; the nuisance parameters and Q are integrated on a grid that is
narrowed until it resolves the posterior (``evidence``). Intervals are central ones of the
posterior. What the shape of a sweep, or a given fraction, tells beyond the product f·Q² is in
``separation``. What the settings of the calculation may still change, where a scenario has an error
budget, is part of the covariance (``weights``), and so of χ², evidence and intervals.

Strengths are physical (``scenario_bounds``): not negative but for shifts, fractions at most one.

Hypotheses are compared by their evidence; no change at all competes as a model without parameters.
A scenario is claimed only when it is a hundred times as probable as no change, and a mixture only
when it is that much more probable than each of its parts: noise alone then claims none, and a true
scenario is not lost to a mixture that fits its noise. Use it when the scenarios' shapes differ over
the window; it cannot tell apart scenarios whose shapes agree, nor say that none of the given ones
is right (look at χ²).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log
from typing import Any

import numpy as np
from scipy.special import logsumexp

from perovskite_polaron.analysis.evidence import Noise, Posterior, ln_evidence, strength_sigmas
from perovskite_polaron.analysis.scenario_bounds import (
    intervals_at_zero, upper_bounds, widest, within)
from perovskite_polaron.analysis.scenario_curves import REACH_SHIFT, Curves, Grid, Priors, Template
from perovskite_polaron.analysis.scenario_found import ScenarioFit, shares
from perovskite_polaron.analysis.scenarios import Scenario
from perovskite_polaron.analysis.separation import separate
from perovskite_polaron.analysis.weights import noise_whitening, weigh, white_data
from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import ComputationError, InputError, require
from perovskite_polaron.measured.scan import Scan

CLAIM_ODDS = 100.0
#: Two strengths of a mixture that are correlated more than this share their errors, 2.3 times those
#: that each would have alone: they are named as not told apart.
COLLINEAR = 0.9
#: The strengths in the weights are those of the fit to this part of their errors, or so often done.
CLOSE, ROUNDS = 0.1, 8


@dataclass(frozen=True, eq=False)
class Comparison:
    """All fits against no change.

    Attributes
    ----------
    fits
        Most probable first.
    chi2_null, ln_evidence_null
        χ² (and AIC) and ln evidence of no change.
    points
        How many were fitted.
    """

    fits: tuple[ScenarioFit, ...]
    chi2_null: float
    ln_evidence_null: float
    points: int

    @property
    def best(self) -> ScenarioFit | None:
        """The fit that is claimed, or None; see the module for the rule."""
        claimed: ScenarioFit | None = None
        for fit in sorted(self.fits, key=lambda f: (len(f.parts), -f.ln_evidence)):
            if not fit.possible or self.to_null(fit) <= log(CLAIM_ODDS):
                continue
            more = claimed is not None and len(fit.parts) > len(claimed.parts)
            if claimed is None or (fit.ln_evidence - claimed.ln_evidence) > log(CLAIM_ODDS) * more:
                claimed = fit
        return claimed

    def collinear(self) -> list[tuple[str, str, float]]:
        """Return the pairs of parts whose strengths the data do not tell apart, with their
        correlation: of the claimed mixture, and of all with carriers; the largest of each pair.
        """
        worst: dict[tuple[str, str], float] = {}
        for fit in self.fits:
            if fit is not self.best and all(part.kind != "carriers" for part in fit.parts):
                continue
            for j, one in enumerate(fit.parts):
                for i, other in enumerate(fit.parts[:j]):
                    names, value = (other.name, one.name), float(fit.correlation[i, j])
                    if abs(value) > max(COLLINEAR, abs(worst.get(names, 0.0))):
                        worst[names] = value
        return [(*names, value) for names, value in worst.items()]

    def to_null(self, fit: ScenarioFit) -> float:
        """Return ln of the odds of a hypothesis to no change."""
        return fit.ln_evidence - self.ln_evidence_null

    def odds(self) -> dict[str, float]:
        """Return the probability of each hypothesis and of ``no change``, from equal prior ones."""
        ln = {f.name: f.ln_evidence for f in self.fits} | {"no change": self.ln_evidence_null}
        total = logsumexp([*ln.values()])
        return {name: float(np.exp(value - total)) for name, value in ln.items()}


class Problem:
    """Hypotheses prepared for transients on one set of energies with one covariance.

    Parameters
    ----------
    transient
        Gives the energies and the errors; ``fit`` may be called for many intensities.
    hypotheses
        Each a scenario or a tuple of scenarios that act together.
    priors
        Of the nuisance parameters.
    offset_eV
        Added to the calculated energies.
    fraction
        The excited fraction, if it is known from elsewhere.
    fractions
        Whether a strength is an excited fraction: transient and steady state in one unit.

    Raises
    ------
    InputError
        When errors are missing or known too badly, names repeat, or a scenario does not span the
        transient, shifts included.
    """

    def __init__(self, transient: Scan, hypotheses: Sequence[Scenario | tuple[Scenario, ...]],
                 priors: Priors | None = None, offset_eV: float = 0.0,
                 fraction: float | None = None, *, fractions: bool = False) -> None:
        parts = [h if isinstance(h, tuple) else (h,) for h in hypotheses]
        names = [" + ".join(p.name for p in h) for h in parts]
        require(parts and len(set(names)) == len(names),
                "give at least one scenario, each with a name of its own")
        if fraction is not None and not 0 < fraction <= 1:
            raise InputError(f"the excited fraction, {fraction:g}, must lie above 0 and not above "
                             "1")
        self.priors, self.fraction, self.fractions = priors or Priors(), fraction, fractions
        self.whiten = noise_whitening(transient)
        self.noise = Noise(len(transient.energy_eV), transient.dof)
        self._curves = {id(s): Curves(s, transient.energy_eV, offset_eV, self.priors)
                        for h in parts for s in h}
        self.hypotheses = tuple(parts)
        self._grids = {h: self._grid(h) for h in parts}

    def fit(self, intensity: Array) -> Comparison:
        """Fit every hypothesis to intensities (m,) at the transient's energies.

        Raises ComputationError when the claimed fit sits on the bound of a parameter or does not
        converge.
        """
        every: dict[tuple[Scenario, ...], ScenarioFit] = {}
        data = np.asarray(intensity, dtype=np.float64)
        fits = sorted((self._bounded(parts, data, every) for parts in self.hypotheses),
                      key=lambda f: -f.ln_evidence)
        data = white_data(intensity, self.whiten)
        null = data @ data
        found = Comparison(tuple(fits), float(null), -float(self.noise.lost(null)) / 2,
                           self.noise.points)
        # A wrong scenario may well run to the end of its range; the one that is claimed must not.
        if found.best is not None and found.best.on_bound:
            raise ComputationError(f"{found.best.name!r} fits best, but {found.best.on_bound}")
        return found

    def _grid(self, parts: tuple[Scenario, ...]) -> Grid:
        """Return the first grid of a hypothesis."""
        none = np.zeros((0, self.noise.points, len(parts)))
        return Grid(Template([self._curves[id(s)] for s in parts]),
                    weigh(self.whiten, none, np.zeros(len(parts))), self.priors)

    def _bounded(self, parts: tuple[Scenario, ...], intensity: Array,
                 every: dict[tuple[Scenario, ...], ScenarioFit]) -> ScenarioFit:
        """Return the fit of a hypothesis with strengths that are not negative.

        Where one would be, it is zero, and all else is that of the hypothesis without it; of
        several, the one that costs least goes. every: fits that were found.
        """
        if parts in every:
            return every[parts]
        if parts not in self._grids:
            self._grids[parts] = self._grid(parts)
        template = self._grids[parts].template
        free = self._fit(parts, intensity)
        smaller = [(i, self._bounded(parts[:i] + parts[i + 1 :], intensity, every)
                    if len(parts) > 1 else None)
                   for i, part in enumerate(parts) if part.kind != "shift"
                   and free.strengths[i] <= 0]
        if smaller:
            i, rest = min(smaller, key=lambda one: 0.0 if one[1] is None else one[1].chi2)
            found = self._at_zero(free, i, rest, template, intensity)
        else:
            found = replace(free, intervals68=within(parts, free.upper, free.intervals68),
                            intervals95=within(parts, free.upper, free.intervals95))
        every[parts] = found
        return found

    def _at_zero(self, free: ScenarioFit, part: int, rest: ScenarioFit | None, template: Template,
                 intensity: Array) -> ScenarioFit:
        """Return the fit of a hypothesis with one strength at zero, from that without the part (or
        None for no change); evidence and correlations stay those of all strengths.
        """
        def joined(values: Array, own: Array) -> Array:
            return np.insert(values, part, own, axis=0)

        errors: tuple[float, ...] = ()
        if rest is None:
            still, flat = white_data(intensity, self.whiten), np.zeros_like(intensity)
            strengths = np.zeros(0)
            intervals = np.zeros((0, 2)), np.zeros((0, 2))
            same: dict[str, Any] = {
                "errors_calculation": free.errors_calculation, "shift_eV": 0.0, "stretch": 0.0,
                "axes": free.axes, "width_fwhm_eV": 0.0, "q_sqrt_amu_A": None, "amplitude": None,
                "chi2": float(still @ still), "ln_determinant": 0.0,
                "model": flat, "model_error": flat, "on_bound": ""}
        else:
            strengths, errors = rest.strengths, rest.errors
            known = [*rest.errors_calculation]
            known.insert(part, free.errors_calculation[part])
            same = {name: getattr(rest, name) for name in (
                "axes", "shift_eV", "stretch", "width_fwhm_eV", "chi2", "ln_determinant", "model",
                "model_error", "on_bound")}
            same |= {"errors_calculation": tuple(known),
                     "q_sqrt_amu_A": rest.q_sqrt_amu_A if part else None,
                     "amplitude": rest.amplitude if part else None}
            intervals = rest.intervals68, rest.intervals95
        strengths = joined(strengths, np.zeros(1))
        profile = intervals_at_zero(template, part, strengths, rest.axes if rest else None,
                                    self.whiten, self.noise, self.priors, intensity)
        unknown = np.full((1, 2), np.nan)
        own68, own95 = (within(free.parts, free.upper, widest(joined(given, unknown), ends))
                        for given, ends in zip(intervals, profile, strict=True))
        return replace(
            free, strengths=strengths, intervals68=own68, intervals95=own95,
            errors=(*errors[:part], free.errors[part], *errors[part:]), **same)

    def posteriors(self, parts: tuple[Scenario, ...],
                   intensity: Array) -> tuple[Grid, Grid, Posterior, Posterior]:
        """Return the grid on which one of the hypotheses is integrated, its most probable point,
        and what intensities (m,) leave of it by their noise alone, with the calculation's errors.
        """
        name, template = " + ".join(p.name for p in parts), self._grids[parts].template
        grid, best, found = self._located(self._grids[parts], intensity, name)
        exact = whole = Posterior(grid, white_data(intensity, self.whiten), self.noise)
        for _ in range(ROUNDS if template.settings else 0):
            before = found.strengths[0]
            weights = weigh(self.whiten, template.errors(best.points[0]), before)
            grid, best, found = self._located(Grid(template, weights, self.priors), intensity, name)
            moved = np.abs(found.strengths[0] - before)
            if (moved <= CLOSE * found.spreads[0]).all():
                break
        if template.settings:
            whole = Posterior(grid, white_data(intensity, grid.weights.whiten), self.noise)
        return grid, best, exact, whole

    def _fit(self, parts: tuple[Scenario, ...], intensity: Array) -> ScenarioFit:
        grid, best, exact, whole = self.posteriors(parts, intensity)
        template, name = grid.template, " + ".join(p.name for p in parts)
        data = white_data(intensity, grid.weights.whiten)
        strengths, chi2 = (values[0] for values in best.solve(data))
        statistical = _intervals(exact)
        intervals = statistical if whole is exact else _intervals(whole)
        errors, total = (np.diff(ends[:, 0])[:, 0] / 2 for ends in (statistical, intervals))
        calculation = np.sqrt(np.maximum(total**2 - errors**2, 0))
        point, shift = best.points[0], float(best.shift_eV(best.points)[0])
        placed = float(best.shift_eV(best.points, self.priors.pivot_eV)[0])
        amplitude, on_bound = separate(template, whole, point, float(strengths[0]), self.fraction)
        if amplitude is not None and self.fractions:
            amplitude = amplitude.at_most_all()
        reach = REACH_SHIFT * self.priors.shift_sigma_eV
        for value, most, what, unit in (
                (placed, reach if template.reach_shift_eV else 0.0, "its shift", " eV"),
                (100 * point[1], 100 * template.reach_stretch, "its stretch", " %"),
                (point[2], template.reach_width_eV, "its broadening", " eV")):
            if most and abs(value) >= 0.98 * most:
                on_bound = (f"{what} sits on its bound, {value:+.2f}{unit}; check the calibration "
                            "or widen the prior")
        parameters = len(template.parts) + sum(len(a) > 1 for a in grid.axes)
        model = template.columns(*best.axes)[0] @ strengths
        correlated, correlation = whole.correlation()
        sigmas = strength_sigmas(template, white_data(intensity, self.whiten), self.whiten)
        return ScenarioFit(
            name, template.parts, upper_bounds(parts, self.fractions), strengths,
            intervals[:, 0], intervals[:, 1], tuple(map(float, errors)),
            tuple(float(error) if part.errors else None
                  for error, part in zip(calculation, template.parts, strict=True)),
            dict(zip(template.settings, shares(best, strengths), strict=True)),
            shift, float(point[1]), float(point[2]), float(point[3]) if template.sweep else None,
            amplitude, float(chi2 + best.prior[0]), grid.weights.ln_determinant,
            ln_evidence(grid, data, self.noise, sigmas), parameters, model,
            np.sqrt(((template.errors(point) @ strengths) ** 2).sum(axis=0)), on_bound, correlated,
            correlation, grid.axes)

    def _located(self, grid: Grid, intensity: Array, name: str) -> tuple[Grid, Grid, Posterior]:
        """Return the grid on which a hypothesis is integrated, and its most probable point."""
        data = white_data(intensity, grid.weights.whiten)
        grid, lost = self._resolved(grid, data, name)
        best = self._most_probable(grid, lost, data)
        return grid, best, Posterior(best, data, self.noise)

    def _resolved(self, grid: Grid, data: Array, name: str) -> tuple[Grid, Array]:
        """Return the grid on which a hypothesis is integrated, and −2 ln p of its points."""
        bounds = [(float(a[0]), float(a[-1])) for a in grid.axes]
        for _ in range(60):
            lost = self._lost(grid, data)
            finer = grid.finer(lost, bounds)
            if finer is None:
                return grid, lost
            grid = finer
        raise ComputationError(f"the fit of {name!r} did not converge; give the edge, or narrower "
                               "priors")

    def _lost(self, grid: Grid, data: Array) -> Array:
        return self.noise.lost(grid.solve(data)[1]) + grid.prior

    def _most_probable(self, grid: Grid, lost: Array, data: Array) -> Grid:
        """Return the grid of one point to which ever finer grids of five points an axis lead."""
        steps = [axis[1] - axis[0] if len(axis) > 1 else 0.0 for axis in grid.axes]
        bounds = [(axis[0], axis[-1]) for axis in grid.axes]
        best = grid.points[int(np.argmin(lost))]
        for k in range(6):
            axes = [np.clip(x + step / 2**k * np.linspace(-1, 1, 5) if step else np.zeros(1), *ends)
                    for x, step, ends in zip(best, steps, bounds, strict=True)]
            zoom = Grid(grid.template, grid.weights, self.priors, tuple(axes))
            best = zoom.points[int(np.argmin(self._lost(zoom, data)))]
        return Grid(grid.template, grid.weights, self.priors, tuple(best[:, None]))


def _intervals(found: Posterior) -> Array:
    """Return the 68 % and 95 % intervals (parts, 2, 2) of all strengths."""
    return np.array([found.intervals(part) for part in range(found.strengths.shape[1])])

