"""The posterior of one hypothesis by sampling (extra ``emcee``).

An independent integration of what ``evidence`` integrates on a grid. Priors are those of
``scenario_curves.Priors``; flat in the strengths (an odd mode's is f·Q²/Qmax²), positive for
structures; flat in Q where a sweep was computed.

References
----------
D. Foreman-Mackey et al., Publ. Astron. Soc. Pac. 125, 306 (2013): the sampler.
"""

from dataclasses import dataclass

import numpy as np

from perovskite_polaron.analysis.scenario_curves import REACH_SHIFT, SMALLEST_AMPLITUDE, white
from perovskite_polaron.analysis.scenario_fit import Problem, ScenarioFit
from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import ComputationError, extra


@dataclass(frozen=True, eq=False)
class Samples:
    """Draws from a posterior.

    Attributes
    ----------
    names : tuple of str
        ``strength NAME`` for each part, then the free ones among ``shift_eV``, ``stretch``,
        ``width_fwhm_eV``, ``q_sqrt_amu_A`` and ``scale``.
    values : ndarray, shape (draws, parameters)
    """

    names: tuple[str, ...]
    values: Array

    def interval(self, name: str, level: float = 0.6827) -> tuple[float, float]:
        """Return the central interval of one parameter."""
        tail = 50 * (1 - level)
        low, high = np.percentile(self.values[:, self.names.index(name)], [tail, 100 - tail])
        return float(low), float(high)


@dataclass(frozen=True)
class _Parameter:
    """A nuisance parameter: where it is without data, best, and at most, and its prior's width."""

    middle: float
    best: float
    low: float
    high: float
    sigma: float

    def start(self, rng: np.random.Generator, walkers: int) -> Array:
        """Return values about the best one, within the limits."""
        values = self.best + (self.high - self.low) * 0.02 * rng.normal(size=walkers)
        # Reflected, not clipped: walkers on one value cannot leave it.
        values = self.low + np.abs(values - self.low)
        return np.minimum(self.high - np.abs(self.high - values), self.high)


def sample(problem: Problem, fit: ScenarioFit, intensity: Array, walkers: int = 32,
           steps: int = 3000, seed: int = 0) -> Samples:
    """Draw from the posterior of one of the problem's hypotheses about its fit.

    The first quarter of the steps is thrown away. Raises MissingExtraError without emcee, and
    ComputationError when the chains are shorter than 20 autocorrelation times, since their
    intervals would not be trustworthy.
    """
    with extra("emcee", "emcee"):
        import emcee
    template, priors, count = problem.grids[fit.name].template, problem.priors, len(fit.parts)
    data, largest = problem.white(intensity), template.largest
    scale = priors.scale_sigma
    shift = REACH_SHIFT * priors.shift_sigma_eV if template.reach_shift_eV else 0.0
    everything = {
        "shift_eV": _Parameter(0.0, fit.shift_eV, -shift, shift, priors.shift_sigma_eV),
        "stretch": _Parameter(0.0, fit.stretch, -template.reach_stretch, template.reach_stretch,
                              priors.stretch_sigma),
        "width_fwhm_eV": _Parameter(0.0, fit.width_fwhm_eV, 0.0, template.reach_width_eV,
                                    priors.width_sigma_eV),
        "q_sqrt_amu_A": _Parameter(largest, fit.q_sqrt_amu_A or largest,
                                   SMALLEST_AMPLITUDE * largest if template.sweep else largest,
                                   largest, np.inf),
        "scale": _Parameter(1.0, 1.0, 1 - 3 * scale, 1 + 3 * scale, scale)}
    free = {name: p for name, p in everything.items() if p.high > p.low}
    positive = np.array([part.kind != "shift" for part in fit.parts])

    def log_posterior(theta: Array) -> float:
        strengths, values = theta[:count], dict(zip(free, theta[count:], strict=True))
        if (strengths[positive] < 0).any() or any(
                not p.low <= values[name] <= p.high for name, p in free.items()):
            return -np.inf
        prior = sum(((values[name] - p.middle) / p.sigma) ** 2 for name, p in free.items())
        at = {name: values.get(name, p.middle) for name, p in everything.items()}
        # The curves count the shift at the middle of the transient.
        at["shift_eV"] += at["stretch"] * template.middle_eV
        columns = template.columns(*(np.array([at[n]]) for n in list(everything)[:4]))
        residual = data - white(columns, problem.whiten)[0] @ strengths * at["scale"]
        return float(-0.5 * (prior + problem.noise.lost(residual @ residual)))

    rng = np.random.default_rng(seed)
    spread = np.maximum((fit.intervals68[:, 1] - fit.intervals68[:, 0]) / 4, 1e-12)
    start = fit.strengths + spread * rng.normal(size=(walkers, count))
    start[:, positive] = np.abs(start[:, positive])
    start = np.column_stack([start, *(p.start(rng, walkers) for p in free.values())])
    sampler = emcee.EnsembleSampler(walkers, start.shape[1], log_posterior)
    state = np.random.RandomState(seed).get_state()
    sampler.run_mcmc(emcee.State(start, random_state=state), steps)
    longest = float(np.max(sampler.get_autocorr_time(discard=steps // 4, tol=0)))
    if not 20 * longest < 0.75 * steps:
        raise ComputationError(f"the sampling of {fit.name!r} has not converged: {steps} steps for "
                               f"an autocorrelation of {longest:.0f}; take more steps")
    names = (*(f"strength {part.name}" for part in fit.parts), *free)
    return Samples(names, sampler.get_chain(discard=steps // 4, flat=True))
