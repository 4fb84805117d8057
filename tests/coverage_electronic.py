"""Coverage of all strengths of structure, filling and edge shift together, on the built-in CsPbBr3
set; half an hour, so no part of the suite.

``python tests/coverage_electronic.py [COUNT]``; docs/validation.md records a run with 500.
Transients every 1 eV hold a tenth of the crystal displaced by half of the largest amplitude,
filling of 8e19 pairs per cm³ and a shift of 2 meV, so that all three have their say, with counting
noise, the largest change 20 times the mean error. All nuisance parameters are drawn from their
priors. In the second case the window holds the rise of the edge alone, where the three shapes are
one: it must be flagged. Truth and fit share one calculation: this tests the statistics, not the
calculation.
"""

import sys

import numpy as np

from perovskite_polaron.analysis.scenario_curves import Curves, Priors
from perovskite_polaron.analysis.scenario_fit import Problem
from perovskite_polaron.analysis.scenarios import rigid_shift
from perovskite_polaron.errors import ComputationError
from perovskite_polaron.measured.scan import Scan
from perovskite_polaron.workflow.carriers import read_edges
from perovskite_polaron.workflow.scenarios import BUILT_IN, study_scenarios
from perovskite_polaron.workflow.spectra import load_results

STRENGTHS = np.array([0.1, 8.0, 0.002])
RATIO = 20
# Words, energies, and what is known of the axis: by itself, or by a match.
CASES = (("all", np.arange(13462.0, 13511.0), Priors(0.2, 0.3, 0.0, 0.02)),
         ("rise of the edge alone", np.arange(13461.0, 13467.1, 0.25),
          Priors(0.02, 0.05, 0.0, 0.0)))


def main(count: int) -> None:
    results, settings, folder = load_results(BUILT_IN)
    edges = read_edges(results, folder)
    theory = study_scenarios(results, settings, edges)
    offset = 13472 - theory.first_maximum_eV
    parts = (theory.scenarios[0], theory.scenarios[-1], rigid_shift(theory))
    amplitudes = [np.full(1, (parts[0].amplitude_sqrt_amu_A or 1.0) / 2), np.ones(1), np.ones(1)]
    for words, energy, priors in CASES:
        curves = [Curves(part, energy, offset, priors) for part in parts]

        def transient(*place, curves=curves):
            rows = [c.at(*place, q)[0, 0, 0, 0] for c, q in zip(curves, amplitudes, strict=True)]
            return STRENGTHS @ rows

        clean = transient(*np.zeros((3, 1)))
        counting = np.sqrt(np.interp(energy - offset, theory.energy_eV, theory.steady_state))
        error = np.abs(clean).max() / RATIO * counting / counting.mean()
        problem = Problem(Scan(energy, clean, error**2), [parts], priors, offset)
        inside, flagged, refused = np.zeros((2, 3)), 0, 0
        for seed in range(count):
            rng = np.random.default_rng([seed, 23])
            shift = np.clip(priors.shift_sigma_eV * rng.normal(size=1), -1, 1)
            width = np.minimum(np.abs(priors.width_sigma_eV * rng.normal(size=1)), 1.2)
            stretch = np.clip(priors.stretch_sigma * rng.normal(size=1), -0.06, 0.06)
            moved = transient(shift + stretch * curves[0].middle_eV, stretch, width)
            try:
                found = problem.fit(moved + error * rng.normal(size=len(energy)))
            except ComputationError:  # on the bound of a parameter: the user is told, no interval
                refused += 1
            else:
                (fit,) = found.fits
                for row, ends in zip(inside, (fit.intervals68, fit.intervals95), strict=True):
                    row += (ends[:, 0] <= STRENGTHS) & (ends[:, 1] >= STRENGTHS)
                flagged += bool(found.collinear())
            if (seed + 1) % 100 == 0 or seed + 1 == count:
                of = 100 / (seed + 1 - refused)
                covered = [", ".join(f"{x:.1f}" for x in row * of) for row in inside]
                print(f"{words}, {seed + 1} transients, {refused} refused; structure, filling,"
                      f" shift: 68 % covers {covered[0]} %, 95 % covers {covered[1]} %; flagged as"
                      f" collinear {flagged * of:.1f} %", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500)
