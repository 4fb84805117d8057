"""One amplitude from several edges of one sample.

The same atoms are displaced in the same share of the sample whichever element absorbs, so excited
fraction and amplitude are common to the edges, and everything else is an edge's own: place, stretch
and width of its axis, an edge shift, the carriers. So the likelihoods of the edges multiply:

    L(f·Qⁿ, Q) = Π_edges ∫ L_edge(f·Qⁿ, Q, own parameters) d(own parameters),

n = 2, or 1 where the two signs of a mode differ. At each point of an edge's own parameters its
strength has a normal (Student's) likelihood, whose error grows with the strength where the settings
of the calculation make it (``evidence.Posterior``); the product is integrated over Q, flat, and the
strength is positive. What the settings of one calculation may change is taken to be independent of
what those of the other may. Use it when the edges agree on their own: it cannot say that one of the
calculations is wrong, only that the two do not fit each other (``JointFit.p_agree``).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp
from scipy.stats import chi2 as chi2_law, t as student

from perovskite_polaron.analysis.evidence import Posterior, central
from perovskite_polaron.analysis.scenario_fit import Problem
from perovskite_polaron.analysis.scenario_found import ScenarioFit
from perovskite_polaron.analysis.verdict import Judgement
from perovskite_polaron.arrays import Array, Interval
from perovskite_polaron.errors import require

#: Points in the common strength, on ranges that narrow, and in the common amplitude.
_STRENGTHS, _AMPLITUDES = (81, 81, 241), 21
_REACH_SIGMA = 8.0
#: Two edges that would disagree by chance less often than this contradict each other.
CONTRADICT = 0.01


@dataclass(frozen=True, eq=False)
class OneEdge:
    """What one edge alone says of a scenario.

    Attributes
    ----------
    edge
        Such as ``Br-K``.
    fit
        Its most probable hypothesis that has the scenario.
    product, error
        f·Qⁿ, or f without a mode, of any sign, and its standard error with the calculation's.
    """

    edge: str
    fit: ScenarioFit
    product: float
    error: float


@dataclass(frozen=True, eq=False)
class JointFit:
    """One scenario fitted to several edges.

    Attributes
    ----------
    name
        Of the scenario.
    power
        n of f·Qⁿ; 0 for a scenario without a mode, whose fraction alone is fitted.
    edges
        What each says alone.
    product, error, error_calculation
        The median of f·Qⁿ; half of its 68 % interval by the noise; and what the settings add to it
        in square, None where an edge has no error budget.
    interval68, interval95
        Of f·Qⁿ, with both errors.
    p_agree
        How often edges that agree would differ by more.
    """

    name: str
    power: int
    edges: tuple[OneEdge, ...]
    product: float
    error: float
    error_calculation: float | None
    interval68: Interval
    interval95: Interval
    p_agree: float


def joint_fits(judged: dict[str, Judgement]) -> tuple[JointFit, ...]:
    """Return the fits of every calculated structure that all edges have, best determined first.

    Parameters
    ----------
    judged
        Edge -> what its transient says alone, at least two.

    Raises
    ------
    InputError
        When the edges have no scenario in common, or one amplitude in one of them is another power.
    """
    names = [s.name for s in next(iter(judged.values())).theory.scenarios
             if s.kind == "structure"]
    common = [n for n in names if all(any(s.name == n for s in j.theory.scenarios)
                                      for j in judged.values())]
    require(common, "the studies have no displaced structure or phase of one name: give studies of"
            " the same structures at different edges")
    return tuple(sorted((_joint(name, judged) for name in common),
                        key=lambda fit: fit.error / max(fit.product, 1e-300)))


def _joint(name: str, judged: dict[str, Judgement]) -> JointFit:
    fits = [_of_scenario(name, one) for one in judged.values()]
    powers = {fit.parts[0].power if fit.per_strength is not None else 0 for fit in fits}
    require(len(powers) == 1, f"{name} grows with another power of its amplitude in one of the"
            " studies: give studies of the same crystal and mode")
    units = [fit.per_strength or 1.0 for fit in fits]
    both = [_posteriors(fit, one) for fit, one in zip(fits, judged.values(), strict=True)]
    exact, whole = zip(*both, strict=True)
    alone = []
    for edge, fit, found, unit in zip(judged, fits, whole, units, strict=True):
        mean, error = _moments(found)
        alone.append(OneEdge(edge, fit, unit * mean, unit * error))
    (interval68, interval95), median = _central(whole, units, alone)
    statistical = (interval68, interval95)
    if any(one is not other for one, other in both):
        statistical, _ = _central(exact, units, alone)
    error = float(np.diff(statistical[0])[0]) / 2
    total = (interval68[1] - interval68[0]) / 2
    known = all(fit.errors_calculation[0] is not None for fit in fits)
    weights = np.array([1 / one.error**2 for one in alone])
    products = np.array([one.product for one in alone])
    apart = float(weights @ (products - weights @ products / weights.sum()) ** 2)
    return JointFit(
        name, powers.pop(), tuple(alone), median, error,
        float(np.sqrt(max(total**2 - error**2, 0.0))) if known else None, interval68, interval95,
        float(chi2_law.sf(apart, len(alone) - 1)))


def _of_scenario(name: str, judged: Judgement) -> ScenarioFit:
    """Return the most probable fit that the scenario leads, whose other parts are physical."""
    fits = [fit for fit in judged.found.fits if fit.parts[0].name == name and all(
        strength > 0 or part.kind == "shift"
        for part, strength in zip(fit.parts[1:], fit.strengths[1:], strict=True))]
    return max(fits, key=lambda fit: fit.ln_evidence)


def _posteriors(fit: ScenarioFit, judged: Judgement) -> tuple[Posterior, Posterior]:
    """Return what one edge leaves of the hypothesis, by its noise alone and with both errors."""
    problem = Problem(judged.transient, [fit.parts], judged.priors, judged.place.offset_eV)
    _, _, exact, whole = problem.posteriors(fit.parts, judged.transient.intensity)
    return exact, whole


def _moments(found: Posterior) -> tuple[float, float]:
    """Return mean and standard error of the strength by its 68 % interval."""
    (low, high), _ = found.intervals(0)
    return (low + high) / 2, (high - low) / 2


def _central(found: Sequence[Posterior], units: Sequence[float],
             alone: Sequence[OneEdge]) -> tuple[tuple[Interval, Interval], float]:
    """Return the central intervals of the common product, and its median."""
    tables = [_Table(one, unit) for one, unit in zip(found, units, strict=True)]
    swept = [table.amplitudes for table in tables if table.amplitudes is not None]
    amplitudes = np.zeros(1)
    if swept:
        amplitudes = np.linspace(max(a[0] for a in swept), min(a[-1] for a in swept), _AMPLITUDES)
    low = max(0.0, min(one.product - _REACH_SIGMA * one.error for one in alone))
    high = max(one.product + _REACH_SIGMA * one.error for one in alone)
    high = max(high, low + _REACH_SIGMA * min(one.error for one in alone))
    for points in _STRENGTHS:
        # First over all that either edge allows, then over what both do.
        products = np.linspace(low, high, points)
        ln = np.sum([table.ln_likelihood(products, amplitudes) for table in tables], axis=0)
        ln = logsumexp(ln, axis=1)
        inside = np.flatnonzero(ln > ln.max() - _REACH_SIGMA**2 / 2)
        low, high = products[max(inside[0] - 1, 0)], products[min(inside[-1] + 1, len(ln) - 1)]
    interval68, interval95 = central(products, ln)
    density = np.exp(ln - ln.max())
    below = np.append(0.0, np.cumsum(density[1:] + density[:-1]))
    return (interval68, interval95), float(np.interp(0.5, below / below[-1], products))


class _Table:
    """The likelihood of one edge in the common product and amplitude."""

    def __init__(self, found: Posterior, unit: float) -> None:
        self.freedom, self.unit = found.freedom, unit
        self.amplitudes: Array | None = None
        self.rows = found.at_points()
        if len(found.grid.axes[3]) > 1:
            self.amplitudes, *rows = found.along_amplitude()
            self.rows = (rows[0], rows[1], rows[2], rows[3])

    def ln_likelihood(self, products: Array, amplitudes: Array) -> Array:
        """Return (products, amplitudes): ln of the likelihood, integrated over the edge's own."""
        strengths = products / self.unit
        found = np.empty((len(products), len(amplitudes)))
        for k, amplitude in enumerate(amplitudes):
            ln, middle, fixed, relative = (self._at(row, amplitude)[:, None] for row in self.rows)
            spread = np.hypot(fixed, relative * strengths)
            away = (middle - strengths) / spread
            law = -(away**2) / 2 if np.isinf(self.freedom) else student.logpdf(away, self.freedom)
            found[:, k] = logsumexp(ln + law - np.log(spread), axis=0)
        return found

    def _at(self, row: Array, amplitude: float) -> Array:
        if self.amplitudes is None:
            return row
        place = np.interp(amplitude, self.amplitudes, np.arange(len(self.amplitudes)))
        left = min(int(place), len(self.amplitudes) - 2)
        rest = place - left
        return np.asarray(row[:, left] * (1 - rest) + row[:, left + 1] * rest)


def _partial(fit: JointFit) -> str:
    """Return of which edges a part of the calculation's error alone is known."""
    found = [f"of {one.edge} {part.estimated}" for one in fit.edges
             if (part := one.fit.parts[0]).estimated != "estimated"]
    return ": " + ", ".join(found) if found else ""


def statements(fits: Sequence[JointFit]) -> list[str]:
    """Return sentences: the common amplitude of each scenario, and whether the edges agree."""
    words = []
    for fit in fits:
        unit = {0: "", 1: " Å·√amu", 2: " Å²·amu"}[fit.power]
        what = {0: "excited fraction", 1: "excited fraction × Q", 2: "excited fraction × Q²"}
        calculation = ("calculation error not estimated at every edge"
                       if fit.error_calculation is None
                       else f"± {fit.error_calculation:.2g} (calculation{_partial(fit)})")
        edges = " and ".join(one.edge for one in fit.edges)
        words.append(
            f"{fit.name} at {edges} together: {what[fit.power]} {fit.product:.4g} ± {fit.error:.2g}"
            f" (statistical), {calculation}{unit} (68 %: {fit.interval68[0]:.3g} to"
            f" {fit.interval68[1]:.3g}, 95 %: {fit.interval95[0]:.3g} to {fit.interval95[1]:.3g}).")
        alone = ", ".join(f"{one.edge} {one.product:.3g} ± {one.error:.2g}" for one in fit.edges)
        if fit.p_agree < CONTRADICT:
            words.append(f"The edges contradict each other on {fit.name} ({alone}; probability of"
                         f" so large a difference {fit.p_agree:.1g}): the common value is"
                         " none of one sample. Unit, carriers or a calculation differ.")
        else:
            words.append(f"The edges agree: alone {alone} (probability of a larger difference"
                         f" {fit.p_agree:.2g}).")
    return words
