"""Coverage of all strengths of structure, filling, screening and edge shift together, on the
built-in CsPbBr3 set; an hour, so no part of the suite.

``python tests/coverage_electronic.py [COUNT [CASE...]]``, cases from 0; docs/validation.md records
runs with 500. Transients every 1 eV hold a tenth of the crystal displaced by half of the largest
amplitude, filling of 8e19 pairs per cm³, a shift of 2 meV and, in half of the cases, screening of
4 meV, so that all have their say, with counting noise, the largest change 20 times the mean error.
All nuisance parameters are drawn from their priors. Where the window holds the rise of the edge
alone, the shapes are one: it must be flagged. Truth and fit share one calculation: this tests the
statistics, not the calculation.
"""

import sys

import numpy as np

from perovskite_polaron.analysis.scenario_curves import Curves, Priors
from perovskite_polaron.analysis.scenario_fit import Problem
from perovskite_polaron.analysis.scenarios import rigid_shift
from perovskite_polaron.analysis.screening import Screening
from perovskite_polaron.errors import ComputationError
from perovskite_polaron.measured.scan import Scan
from perovskite_polaron.workflow.carriers import read_edges
from perovskite_polaron.workflow.scenarios import BUILT_IN, study_scenarios
from perovskite_polaron.workflow.spectra import load_results

RATIO = 20
# Words, energies, and what is known of the axis: by itself, or by a match.
WINDOWS = (("all", np.arange(13462.0, 13511.0), Priors(0.2, 0.3, 0.0, 0.02)),
           ("rise of the edge alone", np.arange(13461.0, 13467.1, 0.25),
            Priors(0.02, 0.05, 0.0, 0.0)))
# With the strengths of structure, filling and shift, and of screening as well.
CASES = tuple((*window, strengths)
              for strengths in (np.array([0.1, 8.0, 0.002]), np.array([0.1, 8.0, 0.004, 0.002]))
              for window in WINDOWS)


def main(count: int, chosen: list[int]) -> None:
    results, settings, folder = load_results(BUILT_IN)
    edges = read_edges(results, folder)
    theory = study_scenarios(results, settings, edges)
    offset = 13472 - theory.first_maximum_eV
    mode, filling = theory.scenarios[0], theory.scenarios[-1]
    largest = mode.amplitude_sqrt_amu_A or 1.0
    for words, energy, priors, strengths in (CASES[n] for n in chosen or range(len(CASES))):
        screened = [Screening()(theory)] if len(strengths) == 4 else []
        parts = (mode, filling, *screened, rigid_shift(theory))
        words += f"; {', '.join(part.name for part in parts)}"
        amplitudes = [np.full(1, largest / 2), *[np.ones(1)] * len(parts[1:])]
        curves = [Curves(part, energy, offset, priors) for part in parts]

        def transient(*place, curves=curves, amplitudes=amplitudes, strengths=strengths):
            rows = [c.at(*place, q)[0, 0, 0, 0] for c, q in zip(curves, amplitudes, strict=True)]
            return strengths @ rows

        clean = transient(*np.zeros((3, 1)))
        counting = np.sqrt(np.interp(energy - offset, theory.energy_eV, theory.steady_state))
        error = np.abs(clean).max() / RATIO * counting / counting.mean()
        problem = Problem(Scan(energy, clean, error**2), [parts], priors, offset)
        inside, flagged, refused = np.zeros((2, len(parts))), 0, 0
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
                    row += (ends[:, 0] <= strengths) & (ends[:, 1] >= strengths)
                flagged += bool(found.collinear())
            if (seed + 1) % 100 == 0 or seed + 1 == count:
                of = 100 / (seed + 1 - refused)
                covered = [", ".join(f"{x:.1f}" for x in row * of) for row in inside]
                print(f"{words}, {seed + 1} transients, {refused} refused:"
                      f" 68 % covers {covered[0]} %, 95 % covers {covered[1]} %; flagged as"
                      f" collinear {flagged * of:.1f} %", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500, [int(n) for n in sys.argv[2:]])
