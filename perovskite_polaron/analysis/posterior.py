"""The posterior of one hypothesis by sampling (extra ``emcee``): intervals that do not rest on the profile's approximation.

Priors: those of ``template.Priors``; flat in the strengths (an odd mode's is f·Q²/Qmax²), positive for structures; flat in
Q where a sweep was computed. Sampler: D. Foreman-Mackey et al., Publ. Astron. Soc. Pac. 125, 306 (2013).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.analysis.scenario_curves import SMALLEST_AMPLITUDE, white
from perovskite_polaron.analysis.scenario_fit import Problem, ScenarioFit
from perovskite_polaron.errors import ComputationError, MissingExtraError

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Samples:
    """values (draws, parameters) with their names: ``strength NAME`` for each part, then the free ones among ``shift_eV``,
    ``width_fwhm_eV``, ``q_sqrt_amu_A``. autocorrelation: the longest, in steps."""

    names: tuple[str, ...]
    values: Array
    autocorrelation: float

    def interval(self, name: str, level: float = 0.6827) -> tuple[float, float]:
        """Return the central interval of one parameter."""
        tail = 50 * (1 - level)
        low, high = np.percentile(self.values[:, self.names.index(name)], [tail, 100 - tail])
        return float(low), float(high)


def sample(
    problem: Problem, fit: ScenarioFit, intensity: Array, walkers: int = 32, steps: int = 3000, seed: int = 0
) -> Samples:
    """Draw from the posterior of one of the problem's hypotheses about its fit.

    The first quarter of the steps is thrown away. Raises MissingExtraError without emcee, and ComputationError when the
    chains are shorter than 20 autocorrelation times, since their intervals would not be trustworthy.
    """
    try:
        import emcee
    except ImportError:
        raise MissingExtraError("emcee", "emcee") from None
    template = next(t for name, t, _ in problem.hypotheses if name == fit.name)
    data = white(np.asarray(intensity, dtype=np.float64)[None, :, None], problem.whiten)[0, :, 0]
    largest = fit.parts[0].amplitude_sqrt_amu_A or 1.0
    parts, priors = len(fit.parts), problem.priors
    free = [
        (name, low, high, sigma)
        for name, low, high, sigma, use in (
            ("shift_eV", -template.reach_shift_eV, template.reach_shift_eV, priors.shift_sigma_eV, template.reach_shift_eV),
            ("width_fwhm_eV", 0.0, template.reach_width_eV, priors.width_sigma_eV, template.reach_width_eV),
            ("q_sqrt_amu_A", SMALLEST_AMPLITUDE * largest, largest, np.inf, template.sweep),
            ("scale", 1 - 3 * priors.scale_sigma, 1 + 3 * priors.scale_sigma, priors.scale_sigma, priors.scale_sigma),
        )
        if use
    ]  # fmt: skip
    positive = np.array([p.kind != "shift" for p in fit.parts])
    names = (*(f"strength {p.name}" for p in fit.parts), *(name for name, *_ in free))
    middle = {"shift_eV": 0.0, "width_fwhm_eV": 0.0, "scale": 1.0}

    def log_posterior(theta: Array) -> float:
        strengths = theta[:parts]
        if (strengths[positive] < 0).any():
            return -np.inf
        value = {"shift_eV": 0.0, "width_fwhm_eV": 0.0, "q_sqrt_amu_A": largest, "scale": 1.0}
        total = 0.0
        for (name, low, high, sigma), x in zip(free, theta[parts:], strict=True):
            if not low <= x <= high:
                return -np.inf
            value[name] = float(x)
            total += ((x - middle.get(name, 0.0)) / sigma) ** 2
        columns = template.columns(*(np.array([value[n]]) for n in ("shift_eV", "width_fwhm_eV", "q_sqrt_amu_A")))
        residual = data - white(columns, problem.whiten)[0] @ strengths * value["scale"]
        return float(-0.5 * (total + residual @ residual))

    rng = np.random.default_rng(seed)
    spread = np.maximum((fit.intervals68[:, 1] - fit.intervals68[:, 0]) / 4, 1e-12)
    start = fit.strengths + spread * rng.normal(size=(walkers, parts))
    start[:, positive] = np.abs(start[:, positive])
    best = {
        "shift_eV": fit.shift_eV,
        "width_fwhm_eV": fit.width_fwhm_eV,
        "q_sqrt_amu_A": fit.q_sqrt_amu_A,
        "scale": 1.0,
    }
    for name, low, high, _ in free:
        column = (best[name] or 0.0) + (high - low) * 0.02 * rng.normal(size=walkers)
        # Reflected, not clipped: walkers on one value cannot leave it.
        column = low + np.abs(column - low)
        start = np.column_stack([start, np.minimum(high - np.abs(high - column), high)])
    sampler = emcee.EnsembleSampler(walkers, start.shape[1], log_posterior)
    sampler.run_mcmc(emcee.State(start, random_state=np.random.RandomState(seed).get_state()), steps)
    longest = float(np.max(sampler.get_autocorr_time(discard=steps // 4, tol=0)))
    if not 20 * longest < 0.75 * steps:
        raise ComputationError(
            f"the sampling of {fit.name!r} has not converged: {steps} steps for an autocorrelation of {longest:.0f}; take more steps"
        )
    return Samples(names, sampler.get_chain(discard=steps // 4, flat=True), longest)
