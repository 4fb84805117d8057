"""The expected error of a planned measurement: of f·Q² from spectra, of lifetimes from traces.

Counting: on an edge step of one the detector counts so many photons a second; a transient is the
difference of the spectra with and without laser, both over that step, so that in a time t the
variance of a point is (μ + b)(1/s + 1/(1 − s))/(R t): μ the steady state in edge steps, b the
background, R the rate and s the share of the pulses with laser. The change itself is small against
μ. Normalisation and drift are taken to be known better than that.

Nuisance parameters are those that ``polaron compare`` fits, with its priors: place, stretch and
width of the calculation, and the amplitude of a sweep, which is known to lie between zero and the
largest. The half-normal prior of a width w enters by its square, whose mean is σ² and whose
standard deviation √2 σ². So does, beside the place itself, its square: at an extremum, where the
best energies like to be, a shift acts by nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from perovskite_polaron.analysis.design import Design
from perovskite_polaron.analysis.scenario_curves import REACH_SHIFT, Curves, Priors, Template
from perovskite_polaron.analysis.scenarios import Scenario, ScenarioSet
from perovskite_polaron.arrays import Array, Interval
from perovskite_polaron.errors import require
from perovskite_polaron.kernels.convolution import exponential_gaussian
from perovskite_polaron.spectra.spectrum import Spectrum, norm

#: Steps of the derivatives: shift (eV), stretch, amplitude (of the largest).
_STEPS = (0.01, 1e-4, 0.01)


@dataclass(frozen=True)
class Counting:
    """Counts of the detector.

    Attributes
    ----------
    rate_per_s
        Detected photons per second on an edge step of one.
    background
        Counts under the spectrum, in edge steps.
    laser_share
        Share of the X-ray pulses with laser.
    """

    rate_per_s: float
    background: float = 0.0
    laser_share: float = 0.5

    def __post_init__(self) -> None:
        require(self.rate_per_s > 0, f"the rate is {self.rate_per_s:g} counts per second: flux and"
                " yield must be positive")
        require(self.background >= 0, f"the background is {self.background:g}: give zero or more")
        require(0 < self.laser_share < 1, f"the share of pulses with laser is {self.laser_share:g}:"
                " give a share between 0 and 1")

    def variance_s(self, steady: Array) -> Array:
        """Return the variance (m,) of a difference in one second, for a steady state (m,)."""
        pair = 1 / self.laser_share + 1 / (1 - self.laser_share)
        return np.maximum(steady + self.background, 0.0) * pair / self.rate_per_s


@dataclass(frozen=True, eq=False)
class SpectrumPlan:
    """A transient to be measured.

    Attributes
    ----------
    design
        Candidate energies and their information; times are seconds.
    scenario
        What is expected.
    strength
        Its expected strength, f·(Q/Qmax)² (or f·Q/Qmax).
    steady, curve
        (m,) the steady state there, and the difference of a strength of one, in edge steps.
    step
        The edge step in units of the theory.
    """

    design: Design
    scenario: Scenario
    strength: float
    steady: Array
    curve: Array
    step: float

    @property
    def per_strength(self) -> float:
        """f·Q² (Å²·amu), or f·Q (Å·√amu), of a strength of one; 1 for what has no amplitude."""
        return (self.scenario.amplitude_sqrt_amu_A or 1.0) ** self.scenario.power

    def error(self, shares: Array, seconds: float) -> float:
        """Return the expected standard error of the strength."""
        return sqrt(self.design.variance(shares, seconds))


def plan_spectrum(theory: ScenarioSet, scenario: Scenario, strength: float, counting: Counting,
                  offset_eV: float, priors: Priors, window: Interval, step_eV: float,
                  amplitude_sqrt_amu_A: float | None = None,
                  beside: Sequence[Scenario] = ()) -> SpectrumPlan:
    """Return the plan of a transient.

    Parameters
    ----------
    theory, scenario
        The calculation, and the one of its ``scenarios.computed`` that is expected.
    beside
        Further ones of them whose strengths are not known: those of a mixture, as the edge's shift.
    strength, amplitude_sqrt_amu_A
        Its expected strength, and Q where it is a sweep.
    counting
        The detector's counts.
    offset_eV, priors
        Photon energy of the calculated zero, and what is known of the nuisance parameters.
    window, step_eV
        Energies that can be measured, and their spacing.

    Raises
    ------
    InputError
        When the calculation does not reach the window, or the step leaves too few points.
    """
    require(step_eV > 0, f"the step is {step_eV:g} eV: give a positive one")
    energy = np.arange(window[0], window[1] + step_eV / 2, step_eV)
    require(4 < len(energy) < 5001, f"the window has {len(energy)} points of {step_eV:g} eV: give 5"
            " to 5000")
    template = Template([Curves(one, energy, offset_eV, priors) for one in (scenario, *beside)])
    q = template.largest if amplitude_sqrt_amu_A is None else amplitude_sqrt_amu_A
    slopes, prior = _nuisances(template, priors, q)
    slopes[1:6] *= strength
    free = [k for k, slope in enumerate(slopes) if slope.any()]
    own = np.interp(energy - offset_eV, theory.energy_eV, theory.steady_state)
    edge_step = norm(Spectrum(theory.energy_eV, theory.steady_state, "steady state"), "edge-step")
    deviation = edge_step * np.sqrt(counting.variance_s(own / edge_step))
    require((deviation > 0).all(), "the steady state is not positive in the window and there is no"
            " background: give --background, or a window above the edge")
    design = Design(energy, (slopes[free] / deviation).T, prior[np.ix_(free, free)],
                    np.eye(1, len(free)))
    return SpectrumPlan(design, scenario, strength, own / edge_step, slopes[0] / edge_step,
                        edge_step)


def _nuisances(template: Template, priors: Priors, q: float) -> tuple[Array, Array]:
    """Return derivatives (p, m) of a model of strength one, and the information (p, p) of priors.

    By its strength, shift, stretch, width, amplitude and squared shift (zero for what is held), and
    by the strengths of its further parts, of which nothing is expected.
    """
    (shift, stretch, part), width, largest = _STEPS, priors.width_sigma_eV, template.largest

    def parts(*point: float) -> Array:
        return template.columns(*(np.array([x]) for x in point))[0].T

    def at(*point: float) -> Array:
        return np.asarray(parts(*point)[0])

    here, *others = parts(0, 0, 0, q)
    slopes = np.array([here, *np.zeros((5, len(here))), *others])
    prior = np.zeros((len(slopes), len(slopes)))
    if priors.shift_sigma_eV and template.reach_shift_eV:
        slopes[1] = (at(shift, 0, 0, q) - at(-shift, 0, 0, q)) / (2 * shift)
        place = np.zeros(len(slopes))
        place[1:3] = 1, priors.pivot_eV - template.middle_eV
        prior += np.outer(place, place) / priors.shift_sigma_eV**2
        far = template.reach_shift_eV / REACH_SHIFT
        slopes[5] = (at(far, 0, 0, q) - 2 * here + at(-far, 0, 0, q)) / (2 * far**2)
        prior[5, 5] = 1 / (2 * far**4)
    if template.reach_stretch:
        slopes[2] = (at(0, stretch, 0, q) - at(0, -stretch, 0, q)) / (2 * stretch)
        prior[2, 2] += 1 / priors.stretch_sigma**2
    if template.least_width_eV < 0:
        slopes[3] = (at(0, 0, width, q) - at(0, 0, -width, q)) / (2 * width)
        prior[3, 3] = 1 / width**2
    elif template.reach_width_eV:
        slopes[3] = (at(0, 0, sqrt(2) * width, q) - here) / (2 * width**2)
        prior[3, 3] = 1 / (sqrt(2) * width**2) ** 2
    if template.sweep is not None:
        low, high = q - part * largest, min(q + part * largest, largest)
        slopes[4] = (at(0, 0, 0, high) - at(0, 0, 0, low)) / (high - low)
        prior[4, 4] = 12 / largest**2
    return slopes, prior


def plan_delays(delays_ps: Array, lifetimes_ps: Sequence[float], fractions: Sequence[float],
                sigma_ps: float, noise: float) -> Design:
    """Return the plan of a trace: what is wanted are the relative errors of its lifetimes.

    Amplitudes and a flat offset (what the fractions leave of one) are fitted beside them.

    Parameters
    ----------
    delays_ps
        (m,) delays that can be measured, rising.
    lifetimes_ps, fractions
        Expected decays, and their shares of the signal.
    sigma_ps
        Standard deviation of the response.
    noise
        Error of a point measured for one unit of time, over the sum of the amplitudes.

    Raises
    ------
    InputError
        For numbers that are not positive, or that do not belong together.
    """
    tau, share = np.array(lifetimes_ps, float), np.array(fractions, float)
    require(len(tau) == len(share) > 0, "give one fraction for each lifetime")
    require((tau > 0).all() and (share > 0).all() and share.sum() <= 1 + 1e-9,
            "lifetimes and fractions must be positive, the fractions no more than 1 together")
    require(noise > 0 and sigma_ps > 0, "noise and the width of the response must be positive")
    value, slope, *_ = exponential_gaussian(delays_ps, tau, sigma_ps, gradient=True)
    flat = exponential_gaussian(delays_ps, np.inf, sigma_ps)
    columns = np.column_stack([slope * share * tau, value, np.asarray(flat)])
    count = columns.shape[1]
    return Design(delays_ps, columns / noise, np.zeros((count, count)), np.eye(len(tau), count))
