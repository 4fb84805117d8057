"""Coverage with a calculation that is not the right one: how often the 95 % interval of f·Q² holds
the truth when the transient comes from another k grid, cut-off or cell; minutes, so no part of the
suite (``test_calculation_error.py`` has a quick part on synthetic spectra).

``python tests/coverage_calculation.py REFERENCE TRUTH [TRUTH ...] [--count N]``: study files or
folders of results. REFERENCE has an error budget (``polaron converge``); the TRUTHs were computed
otherwise, and may have another cell. Each displaced structure of a TRUTH, of an entry that
REFERENCE also has and of an amplitude within its own, makes N transients, a tenth of the sample
excited, with counting noise as in ``coverage_scenarios.py``. Both axes are placed by their first
maximum, with the prior that ``polaron compare`` then takes. Printed is the coverage with the budget
and without; a fit that ``compare`` would refuse does not cover.
"""

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np

from perovskite_polaron.analysis.scenario_curves import Priors
from perovskite_polaron.analysis.scenario_fit import Problem
from perovskite_polaron.analysis.scenarios import ScenarioSet
from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import ComputationError, require
from perovskite_polaron.measured.scan import Scan
from perovskite_polaron.workflow.scenarios import study_scenarios
from perovskite_polaron.workflow.spectra import load_results, powder_spectra

FRACTION = 0.1
MAXIMUM_EV = 13472.0
#: Energies of the transients, by the name of the window.
WINDOWS = {"all": (13464.0, 13512.0), "above the edge": (13480.0, 13512.0)}
PRIORS = Priors(0.5, 0.3, 0.0, 0.02)


def coverage(fitted: ScenarioSet, name: str, truth: ScenarioSet, difference: Array,
             amplitude_sqrt_amu_A: float, window: tuple[float, float], ratio: float, count: int,
             seed: int = 0, priors: Priors = PRIORS) -> Mapping[str, float]:
    """Return the share of transients whose f·Q² is within its 95 % interval, in %.

    ``with`` the errors of the fitted scenario of that name and ``without``; difference: that of the
    truth, on its axis; ratio: the largest change over the mean error of the transient.
    """
    energy = np.arange(*window, 0.5)
    own = energy - MAXIMUM_EV + truth.first_maximum_eV
    change = FRACTION * np.interp(own, truth.energy_eV, difference)
    counting = np.sqrt(np.interp(own, truth.energy_eV, truth.steady_state))
    error = np.abs(change).max() / ratio * counting / counting.mean()
    offset = MAXIMUM_EV - fitted.first_maximum_eV
    scenario = next(s for s in fitted.scenarios if s.name == name)
    wanted, inside = FRACTION * amplitude_sqrt_amu_A**scenario.power, {}
    for case, one in (("with", scenario), ("without", replace(scenario, errors={}))):
        problem = Problem(Scan(energy, change, error**2), [one], priors, offset)
        inside[case] = 100 * np.mean([_covers(problem, noisy, wanted)
                                      for noisy in _noisy(change, error, count, seed)])
    return inside


def _noisy(change: Array, error: Array, count: int, seed: int) -> Iterator[Array]:
    for k in range(count):
        yield change + error * np.random.default_rng([seed, k]).normal(size=len(change))


def _covers(problem: Problem, transient: Array, wanted: float) -> bool:
    try:
        (fit,) = problem.fit(transient).fits
    except ComputationError:
        # What compare refuses, with a parameter on its bound, is no statement that holds.
        return False
    low, high = (end * fit.per_strength for end in fit.interval95)
    return low <= wanted <= high


def main() -> None:
    parser = argparse.ArgumentParser(description="coverage with a wrong calculation")
    parser.add_argument("reference", type=Path)
    parser.add_argument("truths", type=Path, nargs="+")
    parser.add_argument("--count", type=int, default=100)
    args = parser.parse_args()
    fitted = study_scenarios(*load_results(args.reference)[:2])
    polarons = {s.name: s for s in fitted.scenarios if s.sweep is not None}
    require(any(s.errors for s in polarons.values()),
            f"{args.reference} has no error budget of a polaron: run polaron converge on it")
    tried = covered = 0
    for path in args.truths:
        results, settings, _ = load_results(path)
        truth, spectra = study_scenarios(results, settings), powder_spectra(results, settings)
        for one in results.structures:
            q, name = one.amplitude_sqrt_amu_A or 0.0, f"polaron {one.name.split('@')[0]}"
            if name not in polarons or not 0 < q <= polarons[name].amplitude_sqrt_amu_A * 1.000001:
                continue
            difference = spectra.differences[one.name].intensity
            for (window, ends), ratio in product(WINDOWS.items(), (20, 10)):
                found = coverage(fitted, name, truth, difference, q, ends, ratio, args.count)
                print(f"{path.name}, {one.name}, {window}, S/N {ratio}: covers"
                      f" {found['with']:.0f} % with the budget, {found['without']:.0f} % without",
                      flush=True)
                tried += 1
                covered += found["with"] >= 90
    require(tried, "no polaron of these results is one of the reference's")
    print(f"at least 90 % with the budget in {covered} of {tried} settings")


if __name__ == "__main__":
    main()
