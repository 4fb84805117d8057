"""Simulated beamtimes at the settings that a plan recommends: do they scatter as it says?

A made-up calculation (a step with features, a mode of one amplitude, and the edge's shift beside
it) is measured again and again: Poisson counts with and without laser at each energy, axis and
width drawn from their priors, and the strength fitted as ``polaron compare`` does it. The same time
is spent on the best energies and on equally spaced ones. Usage: python tests/coverage_plan.py
[BEAMTIMES]
"""

import sys

import numpy as np

from perovskite_polaron.analysis.beamtime import Counting, SpectrumPlan, plan_spectrum
from perovskite_polaron.analysis.scenario_curves import Curves, Priors, Template
from perovskite_polaron.analysis.scenario_fit import Problem
from perovskite_polaron.analysis.scenarios import ScenarioSet, polaron, rigid_shift
from perovskite_polaron.arrays import Array
from perovskite_polaron.measured.scan import Scan
from perovskite_polaron.spectra.amplitude import AmplitudeSpectra

OWN = np.arange(-40.0, 80.0, 0.1)
OFFSET_EV = 13470.0
PRIORS = Priors(0.2, 0.3, 0.0, 0.01)
COUNTING = Counting(1e5, 0.3)
STRENGTH, SECONDS = 0.1, 40_000.0


def bump(height: float, place: float, width: float) -> Array:
    """Return a Gaussian on OWN."""
    return np.asarray(height * np.exp(-((OWN - place) ** 2) / 2 / width**2))


STEADY = (0.5 + np.arctan(OWN / 1.5) / np.pi + bump(0.4, 2, 1.5) + bump(0.1, 14, 3)
          - bump(0.08, 26, 3) + bump(0.07, 37, 4))
SHAPE = -bump(0.02, 14, 3) + bump(0.025, 26, 3) - bump(0.02, 37, 4)
MODE = polaron("mode", AmplitudeSpectra(OWN, [1.0], [SHAPE]))
THEORY = ScenarioSet(OWN, STEADY, (MODE,))
SHIFT = rigid_shift(THEORY)


def planned() -> SpectrumPlan:
    """Return the plan of the made-up measurement."""
    return plan_spectrum(THEORY, MODE, STRENGTH, COUNTING, OFFSET_EV, PRIORS, (13480.0, 13512.0),
                         0.5, beside=[SHIFT])


def measured(plan: SpectrumPlan, shares: Array, seed: int) -> Scan:
    """Return the transient of one beamtime."""
    rng = np.random.default_rng(seed)
    chosen = shares > 0
    energy, time = plan.design.points[chosen], shares[chosen] * SECONDS
    template = Template([Curves(MODE, energy, OFFSET_EV, PRIORS)])
    stretch = PRIORS.stretch_sigma * rng.normal()
    shift = PRIORS.shift_sigma_eV * rng.normal() + stretch * template.middle_eV
    width = abs(PRIORS.width_sigma_eV * rng.normal())
    truth = template.columns(*(np.array([x]) for x in (shift, stretch, width, 1.0)))[0, :, 0]
    off = plan.steady[chosen] + COUNTING.background
    counts = []
    for share, rate in ((COUNTING.laser_share, off + STRENGTH * truth / plan.step),
                        (1 - COUNTING.laser_share, off)):
        exposure = COUNTING.rate_per_s * share * time
        counts.append((rng.poisson(exposure * rate), exposure))
    (on, exposed), (rest, unexposed) = counts
    variance = on / exposed**2 + rest / unexposed**2
    return Scan(energy, plan.step * (on / exposed - rest / unexposed), plan.step**2 * variance)


def strengths(plan: SpectrumPlan, shares: Array, beamtimes: int) -> Array:
    """Return the strength that each beamtime finds."""
    problem, found = None, []
    for seed in range(beamtimes):
        scan = measured(plan, shares, seed)
        problem = Problem(scan, [(MODE, SHIFT)], PRIORS, OFFSET_EV)
        found.append(problem.fit(scan.intensity).fits[0].strength)
    return np.array(found)


def main(beamtimes: int) -> None:
    """Print predicted and found scatter and their ratio, of best and of equally spaced energies."""
    plan = planned()
    for name, shares in (("best", plan.design.best(SECONDS)), ("equally spaced",
                                                               plan.design.even())):
        found, expected = strengths(plan, shares, beamtimes), plan.error(shares, SECONDS)
        print(f"| {name} | {np.count_nonzero(shares)} | {expected:.4f} | {found.std(ddof=1):.4f} |"
              f" {found.std(ddof=1) / expected:.2f} | {found.mean():.4f} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
