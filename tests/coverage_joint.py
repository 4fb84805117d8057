"""Coverage of the one amplitude from Br K and Pb L3 together, on the built-in CsPbBr3 sets with
place, stretch and width of both axes drawn from their priors; minutes, so no part of the suite.

``python tests/coverage_joint.py [COUNT [CASE...]]``, cases from 0; docs/validation.md records a run
with 200. Transients of both edges every 0.5 eV hold 0.4 of the crystal displaced by half of the
largest amplitude, the f·Q² of a tenth of it at the largest, with counting noise, the largest change
20 or 10 times the mean error. Truth and fit share one calculation: this tests the statistics, not
the calculation.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from perovskite_polaron.analysis.joint_fit import JointFit, joint_fits
from perovskite_polaron.analysis.scenario_curves import Curves, Priors
from perovskite_polaron.analysis.scenarios import ScenarioSet
from perovskite_polaron.analysis.verdict import judge
from perovskite_polaron.errors import ComputationError
from perovskite_polaron.measured.scan import Scan
from perovskite_polaron.workflow.scenarios import BUILT_IN, BUILT_IN_PB_L3, study_scenarios
from perovskite_polaron.workflow.spectra import load_results

#: f·Q², in squares of the largest amplitude, which is what the curves of ``Curves.at`` are worth.
STRENGTH = 0.1
PRIORS = Priors(0.2, 0.3, 0.0, 0.02)
ENERGY = np.arange(-7.0, 40.0, 0.5)
CASES = tuple((words, energy, ratio) for words, energy in (
    ("all", ENERGY), ("above the edge", ENERGY[ENERGY >= 8])) for ratio in (20, 10))


def built_in() -> dict[str, ScenarioSet]:
    """The polaron scenario at both edges, without what the settings may still change."""
    found = {}
    for edge, folder in (("Br-K", BUILT_IN), ("Pb-L3", BUILT_IN_PB_L3)):
        results, settings, _ = load_results(folder)
        theory = study_scenarios(results, settings)
        found[edge] = replace(theory, scenarios=(replace(theory.scenarios[0], errors={}),))
    return found


@dataclass
class Covered:
    """How often, of count, the intervals of 68 and 95 % hold the truth, and how often the edges
    differ by more than they would in 5 % of all cases; refused are those whose amplitude ends on
    the largest at an edge, where the user is told and gets no interval.
    """

    count: int = 0
    inside68: int = 0
    inside95: int = 0
    contradict: int = 0
    refused: int = 0

    def words(self) -> str:
        """Return the shares in %."""
        of = 100 / max(self.count, 1)
        return (f"68 % covers {self.inside68 * of:.1f} %, 95 % covers {self.inside95 * of:.1f} %;"
                f" p below 0.05 in {self.contradict * of:.1f} %, of {self.count};"
                f" {self.refused} refused")


def transient(theory: ScenarioSet, energy: np.ndarray, ratio: float,
              rng: np.random.Generator) -> Scan:
    """One measured change on an axis whose place, stretch and width are drawn."""
    lead = theory.scenarios[0]
    half = np.full(1, (lead.amplitude_sqrt_amu_A or 0.0) / 2)
    curves = Curves(lead, energy, 0.0, PRIORS)
    clean = STRENGTH * curves.at(*np.zeros((3, 1)), half)[0, 0, 0, 0]
    counting = np.sqrt(np.interp(energy, theory.energy_eV, theory.steady_state))
    error = np.abs(clean).max() / ratio * counting / counting.mean()
    shift = np.clip(PRIORS.shift_sigma_eV * rng.normal(size=1), -1, 1)
    width = np.minimum(np.abs(PRIORS.width_sigma_eV * rng.normal(size=1)), 1.2)
    stretch = np.clip(PRIORS.stretch_sigma * rng.normal(size=1), -0.06, 0.06)
    moved = curves.at(shift + stretch * curves.middle_eV, stretch, width, half)[0, 0, 0, 0]
    return Scan(energy, STRENGTH * moved + error * rng.normal(size=len(energy)), error**2)


def fitted(theories: Mapping[str, ScenarioSet], scans: Mapping[str, Scan]) -> JointFit:
    """The one scenario fitted to the transients of both edges, with what is known of their axes."""
    (found,) = joint_fits({edge: judge(
        scans[edge], theory, edge_eV=0.0, shifted=False, shift_sigma_eV=PRIORS.shift_sigma_eV,
        width_sigma_eV=PRIORS.width_sigma_eV, stretch_sigma=PRIORS.stretch_sigma)
        for edge, theory in theories.items()})
    return found


def coverage(theories: Mapping[str, ScenarioSet], energy: np.ndarray, ratio: float,
             count: int) -> Covered:
    """How often the truth is in the intervals, in count pairs of transients."""
    truth = STRENGTH * (theories["Br-K"].scenarios[0].amplitude_sqrt_amu_A or 0.0) ** 2
    found = Covered()
    for seed in range(count):
        rng = np.random.default_rng([seed, 41])
        scans = {edge: transient(theory, energy, ratio, rng) for edge, theory in theories.items()}
        try:
            fit = fitted(theories, scans)
        except ComputationError:
            found.refused += 1
            continue
        found.count += 1
        found.inside68 += fit.interval68[0] <= truth <= fit.interval68[1]
        found.inside95 += fit.interval95[0] <= truth <= fit.interval95[1]
        found.contradict += fit.p_agree < 0.05
    return found


def main(count: int, chosen: list[int]) -> None:
    theories = built_in()
    for words, energy, ratio in (CASES[n] for n in chosen or range(len(CASES))):
        covered = coverage(theories, energy, ratio, count)
        print(f"{words}, S/N {ratio}: {covered.words()}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200, [int(word) for word in sys.argv[2:]])
