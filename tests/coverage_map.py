"""Coverage of what the fit of a delay × energy map reports, on the built-in CsPbBr3 set; minutes,
so no part of the suite.

``python tests/coverage_map.py [COUNT]``; docs/validation.md records a run with 200. Maps of 40
delays × 98 energies hold structure, filling and edge shift in the amounts of
``coverage_electronic.py``, with one time law or with own ones, of one decay and an offset. Place,
stretch and width of the axis are drawn from their priors, the noise is that of counting, the
largest change 20 times its mean. Truth and fit share one calculation.
"""

import sys
import time

import numpy as np
from coverage_electronic import STRENGTHS

from perovskite_polaron.analysis.kinetic_model import KineticModel
from perovskite_polaron.analysis.map_fit import follow
from perovskite_polaron.analysis.part_shapes import PartShapes
from perovskite_polaron.analysis.scenario_curves import Priors
from perovskite_polaron.analysis.scenarios import rigid_shift
from perovskite_polaron.errors import ComputationError
from perovskite_polaron.kernels.convolution import exponential_gaussian
from perovskite_polaron.measured.delay_map import delay_map
from perovskite_polaron.measured.scan import Scan
from perovskite_polaron.workflow.carriers import read_edges
from perovskite_polaron.workflow.scenarios import BUILT_IN, study_scenarios
from perovskite_polaron.workflow.spectra import load_results

ENERGY = np.arange(13462.0, 13511.0, 0.5)
DELAY = np.r_[np.arange(-200, 400, 30.0), np.geomspace(420, 20e3, 20)]
PRIORS, SIGMA_PS, OFFSET, RATIO = Priors(0.2, 0.3, 0.0, 0.02), 45.0, 0.1, 20
LIFETIMES = {"one law": (600.0, 600.0, 600.0), "own laws": (900.0, 500.0, 500.0)}


def main(count: int) -> None:
    results, settings, folder = load_results(BUILT_IN)
    theory = study_scenarios(results, settings, read_edges(results, folder))
    offset = 13472 - theory.first_maximum_eV
    parts = (theory.scenarios[0], theory.scenarios[-1], rigid_shift(theory))
    shapes = PartShapes(parts, ENERGY, offset, PRIORS, parts[0].amplitude_sqrt_amu_A / 2)
    counting = np.sqrt(np.interp(ENERGY - offset, theory.energy_eV, theory.steady_state))
    kinetics = KineticModel(1, SIGMA_PS)
    for case, lifetimes in LIFETIMES.items():
        laws = exponential_gaussian(DELAY, [*lifetimes, np.inf], SIGMA_PS)
        strengths = np.array([s * ((1 - OFFSET) * laws[:, i] + OFFSET * laws[:, -1])
                              for i, s in enumerate(STRENGTHS)])
        truth = {"lifetime": lifetimes, "decay": (1 - OFFSET) * STRENGTHS,
                 "offset": OFFSET * STRENGTHS}
        inside = {kind: np.zeros((2, 3)) for kind in (*truth, "one delay")}
        differ, refused, excluded, chosen, spent = np.zeros((2, 2)), 0, 0, 0, 0.0
        for seed in range(count):
            rng = np.random.default_rng([seed, 5])
            shift = np.clip(0.2 * rng.normal(), -1, 1)
            stretch = np.clip(0.02 * rng.normal(), -0.06, 0.06)
            width = min(abs(0.3 * rng.normal()), 1.2)
            curves, _ = shapes.at(shapes.point(shift + stretch * shapes.middle_eV, stretch, width))
            clean = strengths.T @ curves.T
            error = np.abs(clean).max() / RATIO * counting / counting.mean()
            rows = clean + error * rng.normal(size=clean.shape)
            data = delay_map([Scan(ENERGY, row, error**2, delay_ps=t)
                              for t, row in zip(DELAY, rows, strict=True)])
            begun = time.process_time()
            try:
                found = follow(data, shapes, kinetics, np.zeros(3))
            except ComputationError:
                found = None
            spent += time.process_time() - begun
            if found is None or found.own is None:
                refused += 1
                continue
            fit = found.together if case == "one law" else found.own
            for part in range(3):
                values, by = fit.decays(part)
                tau, tau_error = fit.lifetimes_ps(part)
                got = {"lifetime": (tau[0], tau_error[0]),
                       "decay": (values[0], fit.errors(by)[0]),
                       "offset": (values[1], fit.errors(by)[1])}
                law, law_error = (a[part] for a in fit.strengths(DELAY[15:16]))
                for kind, (value, err) in (got | {"one delay": (law[0], law_error[0])}).items():
                    right = strengths[part, 15] if kind == "one delay" else truth[kind][part]
                    for row, times in zip(inside[kind], (1.0, 1.96), strict=True):
                        row[part] += abs(value - right) <= times * err
            answer = found.answers[0]
            for row, times in zip(differ, (1.0, 1.96), strict=True):
                row += np.abs(answer.difference_ps - np.subtract(lifetimes[1:], lifetimes[0])
                              ) <= times * answer.difference_err_ps
            excluded += answer.p < 0.05
            chosen += answer.delta_bic < 0
        of = 100 / max(count - refused, 1)
        print(f"{case}: {count} maps, {refused} refused, {spent / count:.2f} s of one core each;"
              " structure, filling, shift")
        for kind, rows in (*inside.items(), ("difference of lifetimes", differ)):
            print(f"  {kind:24s} 68 % covers " + ", ".join(f"{of * x:.1f}" for x in rows[0])
                  + " %; 95 % covers " + ", ".join(f"{of * x:.1f}" for x in rows[1]) + " %")
        print(f"  one law has p < 0.05 in {of * excluded:.1f} %, the lower BIC in"
              f" {of * chosen:.1f} %", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
