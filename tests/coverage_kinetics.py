"""Coverage of every interval of the kinetic fit, on pairs of traces with the published parameters;
minutes for all cases.

``python tests/coverage_kinetics.py [COUNT]``; docs/validation.md records a run with 500, and the
suite repeats its first case, and a few repeats. The noise is 3 % of each trace's step, as read from
the published figure; few repeats are files whose error column is their scatter, of noise that is
the same at all delays, or twice as large beyond 600 ps. A profile interval holds the truth where χ²
at the truth, all else refitted, has not risen beyond the critical value: one refit for each
parameter tells.
"""

import sys
from collections import defaultdict
from functools import partial

import numpy as np

from perovskite_polaron.analysis.kinetic_intervals import fraction_profile, searched_profile
from perovskite_polaron.analysis.kinetics import KineticModel, fit_kinetics
from perovskite_polaron.errors import ComputationError
from perovskite_polaron.kernels.convolution import exponential_gaussian
from perovskite_polaron.measured.scan import Trace

DELAY = np.r_[np.arange(-300, 600, 20.0), np.geomspace(600, 100e3, 30)]
MODEL = KineticModel(2, 45.0)
LIFETIMES, FRACTIONS = np.array([120.0, 900.0]), np.array([0.6, 0.21, 0.19])
LEVELS = {0.6827: 0.05, 0.95: 0.025}
CASES = {
    "published": (MODEL, True),
    "sigma and time zero free": (KineticModel(2, 45.0, sigma_free=True, t0_free=True), True),
    "errors from the scatter": (MODEL, False),
}
REPEATS = (3, 4, 6, 10, 30)


def traces(seed, noise=0.03, errors=True):
    """A pair of traces of unlike size and sign, with or without an error column."""
    rng = np.random.default_rng(seed)
    clean = exponential_gaussian(DELAY, [*LIFETIMES, np.inf], 45.0) @ FRACTIONS
    column = np.full(len(DELAY), noise) if errors else None
    return [Trace(DELAY, s * clean + noise * rng.normal(size=len(DELAY)), column)
            for s in (1, -0.8)]


def repeated(seed, repeats, late=1.0):
    """The same pair as means of repeats, with the standard error of each point from their scatter
    alone, as in a file; noise ``late`` times as large beyond 600 ps.
    """
    rng = np.random.default_rng(seed)
    clean = exponential_gaussian(DELAY, [*LIFETIMES, np.inf], 45.0) @ FRACTIONS
    noise = 0.03 * np.sqrt(repeats) * np.where(DELAY > 600, late, 1.0)
    stacks = [s * clean + noise * rng.normal(size=(repeats, len(DELAY))) for s in (1, -0.8)]
    return [Trace(DELAY, stack.mean(axis=0), stack.std(axis=0, ddof=1) / np.sqrt(repeats),
                  repeats=repeats) for stack in stacks]


def coverage(model, count, data=traces, parts=True):
    """Return for each reported parameter the share of intervals that hold the truth, {name: {level:
    share}} (without ``parts`` of the lifetimes only), and how many pairs the fit refused: those
    have no intervals, and count neither way.
    """
    searched = {"lifetime 1": np.log(LIFETIMES[0]), "lifetime 2": np.log(LIFETIMES[1])}
    searched |= {"sigma": np.log(45.0)} if model.sigma_free else {}
    searched |= {"time zero": 0.0} if model.t0_free else {}
    inside = defaultdict(lambda: dict.fromkeys(LEVELS, 0))
    refused = 0
    for seed in range(count):
        try:
            fit = fit_kinetics(data(seed), model, start_ps=[100, 1000])
        except ComputationError:
            refused += 1
            continue
        profiles = {name: (searched_profile(fit, i), truth)
                    for i, (name, truth) in enumerate(searched.items())}
        for i in range(2 * parts):
            for j, part in enumerate(("decay 1", "decay 2", "offset")):
                profiles[f"{part} of trace {i + 1}"] = fraction_profile(fit, i, j), FRACTIONS[j]
        for name, (profile, truth) in profiles.items():
            rise = profile.rise(truth)[0]
            for level in LEVELS:
                inside[name][level] += rise <= profile.critical(level)
    return {name: {level: n / (count - refused) for level, n in found.items()}
            for name, found in inside.items()}, refused


def report(case, count, found, refused):
    print(f"{case}: share of {count - refused} pairs whose 68 % and 95 % intervals hold the truth;"
          f" {refused} refused")
    for name, shares in found.items():
        print(f"  {name:20s}" + "".join(f"{100 * share:8.1f} %" for share in shares.values()),
              flush=True)


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    for case, (model, errors) in CASES.items():
        report(case, count, *coverage(model, count, partial(traces, errors=errors)))
    for n in REPEATS:
        for late in (1.0, 2.0):
            report(f"{n} repeats, late noise times {late:g}", count,
                   *coverage(MODEL, count, partial(repeated, repeats=n, late=late)))
