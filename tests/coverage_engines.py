"""How often the interval of f·Q² holds the truth where that is the other engine's: ``python
tests/coverage_engines.py 100``.

The transient is the difference of LO(c) at 0.10 Å in a tenth of the sample, as one engine has it,
fitted with the set of the other, with and without the row ``engine`` of its error.
"""

import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from perovskite_polaron.analysis.scenarios import ENGINE, ScenarioSet
from perovskite_polaron.analysis.verdict import judge
from perovskite_polaron.errors import ComputationError
from perovskite_polaron.measured.scan import Scan
from perovskite_polaron.report.subject import Subject
from perovskite_polaron.workflow.scenarios import BUILT_IN, BUILT_IN_BR_FEFF

FRACTION, DISPLACED, NAME = 0.1, "lo@0.1", "polaron lo"
#: Energies from the first maximum.
WINDOWS = {"all": (-6.0, 45.0), "above the edge": (8.0, 45.0)}


def sets() -> dict[str, tuple[ScenarioSet, ScenarioSet]]:
    """Return engine -> its scenarios without and with what the other engine says."""
    subjects = {one.study.engine.kind: one for one in map(
        Subject.read, (BUILT_IN, BUILT_IN_BR_FEFF))}
    return {kind: (one.scenarios, one.carrying(ENGINE, other).scenarios)
            for kind, one in subjects.items() for their, other in subjects.items() if their != kind}


def transient(truth: ScenarioSet, q: float, window: tuple[float, float], noise: float,
              seed: int) -> Scan:
    """Return what a tenth of the sample does, counted from the first maximum; noise: of its
    largest change.
    """
    sweep = next(one.sweep for one in truth.scenarios if one.name == NAME)
    assert sweep is not None
    energy = np.arange(*window, 0.25)
    clean = FRACTION * np.interp(energy, sweep.energy_eV - truth.first_maximum_eV, sweep.at(q))
    error = noise * np.abs(clean).max()
    more = error * np.random.default_rng(seed).standard_normal(len(energy))
    return Scan(energy, clean + more, np.full(len(energy), error**2), "other engine")


def found(theory: ScenarioSet, data: Scan, q: float,
          **held: float) -> tuple[float, np.ndarray, np.ndarray, float]:
    """Return f·Q² over the true one, its 68 and 95 % intervals, and its calculation error; held:
    priors of ``judge``.
    """
    only = replace(theory, scenarios=tuple(s for s in theory.scenarios if s.name == NAME))
    fits = judge(data, only, edge_eV=-theory.first_maximum_eV, shifted=False,
                 **{"shift_sigma_eV": 0.5, **held}).found.fits
    fit = next(one for one in fits if one.name == NAME)
    assert fit.per_strength is not None
    unit = fit.per_strength / (FRACTION * q**2)
    return (unit * fit.strength, unit * np.array(fit.interval68), unit * np.array(fit.interval95),
            unit * (fit.strength_err_calculation or 0.0))


def runs(count: int) -> Iterator[str]:
    """Yield a line of the table for each case."""
    theories = sets()
    q = float(theories["feff"][0].scenarios[0].amplitude_sqrt_amu_A or 0)
    for data, fitted in (("feff", "xspectra"), ("xspectra", "feff"), ("xspectra", "xspectra")):
        for name, window in WINDOWS.items():
            for noise in (0.05, 0.2):
                for row in (0, 1):
                    values, inside, refused = [], np.zeros(2), 0
                    for seed in range(count):
                        scan = transient(theories[data][0], q, window, noise, seed)
                        try:
                            f, *ends, calc = found(theories[fitted][row], scan, q)
                        except ComputationError:
                            refused += 1
                            continue
                        values.append((f, calc))
                        inside += [low <= 1 <= high for low, high in ends]
                    f, calc = np.median(values, axis=0) if values else (np.nan, np.nan)
                    yield (f"{data} in {fitted}, {name}, noise {noise:g}, row {bool(row)}: {f:.2f}"
                           f" ± {calc:.2f} of the truth; 68 % hold it {inside[0]:g}, 95 %"
                           f" {inside[1]:g} of {len(values)}; refused {refused}")


if __name__ == "__main__":
    for line in runs(int(sys.argv[1])):
        print(line, flush=True)
