"""Coverage on the built-in CsPbBr3 set with every nuisance parameter drawn from its prior; minutes,
so no part of the suite.

``python tests/coverage_scenarios.py [COUNT]``; docs/validation.md records a run with 500.
The noise of the article is not known here, so it is a choice and not the paper's value: transients
every 0.5 eV, independent errors that follow counting (the square root of the absorption), and 20 or
10 as the ratio of the largest change to the mean error. Truth and fit share one calculation: this
tests the statistics, not the calculation. Errors are known here; ``coverage_repeats.py`` takes them
from repeats, through files.
"""

import sys

import numpy as np

from perovskite_polaron.analysis.scenario_curves import Curves, Priors
from perovskite_polaron.analysis.scenario_fit import Problem
from perovskite_polaron.analysis.scenarios import mixtures, rigid_shift
from perovskite_polaron.measured.scan import Scan
from perovskite_polaron.workflow.scenarios import BUILT_IN, study_scenarios
from perovskite_polaron.workflow.spectra import load_results

FRACTION = 0.1


def main(count: int) -> None:
    results, settings, _ = load_results(BUILT_IN)
    theory = study_scenarios(results, settings)
    offset = 13472 - theory.first_maximum_eV
    truth, priors = theory.scenarios[0], Priors(0.2, 0.3, 0.0, 0.02)
    half = np.full(1, truth.amplitude_sqrt_amu_A / 2)
    hypotheses = mixtures([*theory.scenarios, rigid_shift(theory)])
    for window, first in (("all", 13464.0), ("above the edge", 13480.0)):
        energy = np.arange(first, 13512, 0.5)
        curves = Curves(truth, energy, offset, priors)
        clean = FRACTION * curves.at(*np.zeros((3, 1)), half)[0, 0, 0, 0]
        counting = np.sqrt(np.interp(energy - offset, theory.energy_eV, theory.steady_state))
        for ratio in (20, 10):
            error = np.abs(clean).max() / ratio * counting / counting.mean()
            problem = Problem(Scan(energy, clean, error**2), hypotheses, priors, offset)
            inside = {"68": 0, "95": 0}
            won = claimed = 0
            for seed in range(count):
                rng = np.random.default_rng([seed, 11])
                shift, width = 0.2 * rng.normal(size=1), np.abs(0.3 * rng.normal(size=1))
                stretch = np.clip(0.02 * rng.normal(size=1), -0.06, 0.06)
                middle = np.clip(shift, -1, 1) + stretch * curves.middle_eV
                moved = FRACTION * curves.at(middle, stretch, np.minimum(width, 1.2),
                                             half)[0, 0, 0, 0]
                found = problem.fit(moved + error * rng.normal(size=len(energy)))
                own = next(f for f in found.fits if f.parts == (truth,))
                inside["68"] += own.interval68[0] <= FRACTION <= own.interval68[1]
                inside["95"] += own.interval95[0] <= FRACTION <= own.interval95[1]
                won += found.best is own
                claimed += problem.fit(error * rng.normal(size=len(energy))).best is not None
            print(f"{window}, S/N {ratio}: 68 % interval covers {100 * inside['68'] / count:.1f}"
                  f" %, 95 % {100 * inside['95'] / count:.1f} %; "
                  f"true scenario wins {100 * won / count:.1f} %; noise claimed {claimed} of"
                  f" {count}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500)
