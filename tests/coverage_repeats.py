"""Coverage through the documented route, from files of n repeats by ``polaron treat`` to ``polaron
compare`` and ``polaron cparam``; an hour for all, so no part of the suite.

``python tests/coverage_repeats.py [COUNT [N ...]]``; docs/validation.md records a run. The truth is
LO(c) of the built-in CsPbBr3 set at half its largest amplitude in 40 % of the crystal, moved,
stretched and broadened by draws from the priors. Scans have a point every 0.5 eV and independent
errors that follow counting (the square root of the absorption); the largest change is a hundred
times the mean error of their mean, so that amplitude and fraction can be told apart. Noise without
a change goes the same way: what is claimed from it is counted. C is that of a made-up transient
with windows at the edge, at four delays, from scans with and without the laser, the latter common
to all.
"""

import contextlib
import io
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from perovskite_polaron.analysis.scenario_curves import Curves, Priors
from perovskite_polaron.cli.main import main as polaron
from perovskite_polaron.workflow.scenarios import BUILT_IN, study_scenarios
from perovskite_polaron.workflow.spectra import load_results

REPEATS = (3, 4, 6, 10, 30)
PRIORS = Priors(0.2, 0.3, 0.0, 0.02)
FRACTION = 0.4
ENERGY = np.arange(13464.0, 13512, 0.5)


def run(*words):
    """Return what a command prints as JSON."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        status = polaron([*words, "--json"])
    return json.loads(out.getvalue()) if status == 0 else None


def write(folder, name, energy, scans):
    """Write one file a scan; return their paths."""
    paths = [str(folder / f"{name}_{k}.csv") for k in range(len(scans))]
    for path, scan in zip(paths, scans, strict=True):
        np.savetxt(path, np.column_stack([energy, scan]), "%.10g", ",", header="energy_eV,signal",
                   comments="")
    return paths


class Built:
    """The built-in set as a scenario file, and transients of its LO mode."""

    def __init__(self, folder):
        results, settings, _ = load_results(BUILT_IN)
        theory = study_scenarios(results, settings)
        self.offset, self.truth = 13472 - theory.first_maximum_eV, theory.scenarios[0]
        self.file, sweep = folder / "set.json", self.truth.sweep
        rows = [{"name": s.name, "difference": s.difference.tolist()} if s.sweep is None else
                {"name": s.name, "amplitudes_sqrt_amu_A": sweep.amplitudes_sqrt_amu_A.tolist(),
                 "differences": sweep.differences.tolist()} for s in theory.scenarios]
        self.file.write_text(json.dumps({
            "energy_eV": theory.energy_eV.tolist(), "steady_state": theory.steady_state.tolist(),
            "scenarios": rows}))
        self.curves = Curves(self.truth, ENERGY, self.offset, PRIORS)
        counting = np.sqrt(np.interp(ENERGY - self.offset, theory.energy_eV, theory.steady_state))
        self.shape = counting / counting.mean()

    def transient(self, rng):
        """Return a moved, stretched and broadened change."""
        shift, stretch, width = rng.normal(size=3) * (PRIORS.shift_sigma_eV, PRIORS.stretch_sigma,
                                                      PRIORS.width_sigma_eV)
        stretch = np.clip(stretch, -0.06, 0.06)
        middle = np.clip(shift, -1, 1) + stretch * self.curves.middle_eV
        q = self.truth.amplitude_sqrt_amu_A / 2
        moved = self.curves.at(*(np.array([v]) for v in (middle, stretch, min(abs(width), 1.2), q)))
        return FRACTION / 4 * moved[0, 0, 0, 0]

    def compared(self, folder, clean, noise, repeats, rng):
        """Return what ``compare`` says of the mean of repeats."""
        scans = clean + noise * np.sqrt(repeats) * self.shape * rng.normal(
            size=(repeats, len(ENERGY)))
        files = write(folder, "br_100ps", ENERGY, scans)
        treated = str(folder / "br.xdi")
        run("treat", *files, "--edge", "Br-K", "--out", treated)
        return run("compare", treated, "--study", str(self.file), "--edge",
                   f"{self.offset}eV", "--no-mixtures")


def scenarios(folder, repeats, count):
    """Return the shares of intervals that hold the truth, and how often noise was claimed."""
    built = Built(folder)
    true = {"strength": FRACTION / 4, "amplitude": built.truth.amplitude_sqrt_amu_A / 2,
            "fraction": FRACTION}
    inside, tried, claimed = {}, {}, 0
    for seed in range(count):
        rng = np.random.default_rng([seed, repeats, 21])
        clean = built.transient(rng)
        said = built.compared(folder, clean, np.abs(clean).max() / 100, repeats, rng)
        row = next((r for r in (said or {"scenarios": []})["scenarios"]
                    if r["name"] == built.truth.name), None)
        found = {} if row is None else {
            "strength": (row["strength_interval68"], row["strength_interval95"])}
        if row is not None and row["fraction"] is not None:
            found |= {name: (row[key]["interval68"], row[key]["interval95"]) for name, key in
                      (("amplitude", "amplitude_sqrt_amu_A"), ("fraction", "fraction"))}
        for name, ends in found.items():
            tried[name] = tried.get(name, 0) + 1
            inside[name] = inside.get(name, np.zeros(2)) + [
                low <= true[name] <= high for low, high in ends]
        said = built.compared(folder, 0 * clean, 0.001, repeats, rng)
        claimed += said is None or said["best"] is not None
    return {name: inside[name] / tried[name] for name in inside}, tried, claimed


def shape_ratios(folder, repeats, count, drift=0.0, conditions=4):
    """Return the shares of intervals of C that hold the truth, of series called not constant at 1
    %, and of those where the covariance of the common reference is left out.
    """
    from scipy.stats import chi2, norm

    energy = np.arange(13460.0, 13480.01, 0.5)
    steady = 0.3 + 1 / (1 + np.exp(-(energy - 13470) / 1.5))
    above = (energy > 13470.9) & (energy < 13472.1)
    change = [0.1 * (1 + 0.3 * (energy - 13470) + drift * k / (conditions - 1) * 4.35 / 3 * above)
              for k in range(conditions)]
    inside, changing, alone = np.zeros(2), 0, 0
    for seed in range(count):
        rng = np.random.default_rng([seed, repeats, 22])
        noise = 0.004 * np.sqrt(repeats) * np.sqrt(steady) * rng.normal(
            size=(conditions + 1, repeats, len(energy)))
        dark = write(folder, "dark", energy, steady + noise[0])
        files = [f for k in range(conditions) for f in write(
            folder, f"br_{100 * (k + 1)}ps", energy, steady + change[k] + noise[k + 1])]
        said = run("cparam", *files, "--combine", "--reference", *dark, "--edge", "Br-K")
        for point in said["points"]:
            off = abs(point["value"] - 4.35 / 1.65) / point["err"]
            inside += [off <= norm.isf(share / 2) for share in (0.3173, 0.05)]
        changing += not said["constant"]
        values, weights = (np.array([f(p) for p in said["points"]])
                           for f in (lambda p: p["value"], lambda p: p["err"] ** -2))
        mean = weights @ values / weights.sum()
        alone += chi2.sf(weights @ (values - mean) ** 2, conditions - 1) < 0.01
    return inside / count / conditions, changing / count, alone / count


def main(count=200, *numbers):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for repeats in numbers or REPEATS:
            shares, tried, claimed = scenarios(folder, repeats, count)
            shares["C"], constant, _ = shape_ratios(folder, repeats, count)
            _, found, alone = shape_ratios(folder, repeats, count, drift=0.12)
            print(f"{repeats} repeats: " + "; ".join(
                f"{k} {100 * a:.1f} and {100 * b:.1f} % of {tried.get(k, 4 * count)}"
                for k, (a, b) in shares.items())
                + f"; noise claimed {claimed} of {count}; constant C called changing"
                f" {100 * constant:.1f} %, with a drift of 12 % {100 * found:.1f} % (errors taken"
                f" as independent {100 * alone:.1f} %)", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
