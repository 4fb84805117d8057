"""How often the errors of a match hold the truth: synthetic pairs of spectra, law by law.

A step with five features is the calculation, broadened by the compiled kernel. Zero, stretch (1 %),
resolution, background, scale and the widths are drawn for each pair; the start is up to 10 eV off,
the noise 0.4 % of the edge. Then transients on the axis of such a match, of three times that noise:
how often the strength of ``compare`` holds the truth, with the errors of the match propagated and
with axis and widths taken for known. Usage: python tests/coverage_match.py [PAIRS]
"""

import sys
from dataclasses import replace

import numpy as np

from perovskite_polaron.analysis.matched import Axis, Width
from perovskite_polaron.analysis.scenario_curves import Priors
from perovskite_polaron.analysis.scenario_fit import Problem
from perovskite_polaron.analysis.scenarios import ScenarioSet, computed, polaron
from perovskite_polaron.analysis.steady_curve import LAWS, SteadyCurve, broadened, one_error_wider
from perovskite_polaron.analysis.steady_state import Match, match
from perovskite_polaron.analysis.verdict import matched_priors
from perovskite_polaron.measured.scan import Scan
from perovskite_polaron.spectra.amplitude import AmplitudeSpectra
from perovskite_polaron.spectra.broadening import resolve
from perovskite_polaron.spectra.spectrum import Spectrum

OWN = np.arange(-20, 90, 0.2)
BUMPS = ((1.0, 2, 0.6), (0.3, 9, 1), (-0.2, 18, 3), (0.15, 33, 5), (-0.1, 50, 6))
CALCULATED = broadened(Spectrum(OWN, 0.5 + np.arctan(OWN / 0.3) / np.pi
                                + sum(a * np.exp(-(OWN - c)**2 / 2 / w**2) for a, c, w in BUMPS)))
CHANGED = broadened(Spectrum(OWN, sum(a * np.exp(-(OWN - c)**2 / 2 / w**2) for a, c, w in (
    (-0.10, 20, 1.5), (0.12, 28, 2), (-0.08, 41, 3)))))
STRENGTH = 0.1
E = np.concatenate([np.arange(8930, 8970, 4.0), np.arange(8970, 9050, 0.5)])
NOISE = 0.004
#: Law -> what each of its parameters is drawn from, evenly.
DRAWN = {"constant": {"core_hole_hwhm_eV": (0.8, 1.6)}, "linear": {"slope": (0.02, 0.08)},
         "arctangent": {"Gamma_max": (6.0, 16.0), "E_cent": (15.0, 35.0)}}
CORE_HOLE_EV = 1.2


def pair(law: str, seed: int) -> tuple[dict[str, float], Scan, float]:
    """Return the true parameters, a measured spectrum, and a rough place of the zero."""
    rng = np.random.default_rng([seed, list(LAWS).index(law)])
    truth = {name: start for name, (start, *_) in LAWS[law].items()}
    truth |= {"core_hole_hwhm_eV": CORE_HOLE_EV, "e0_eV": 8980 + rng.uniform(-5, 5),
              "stretch": 0.01 * rng.normal(), "resolution_fwhm_eV": rng.uniform(0.7, 1.5)}
    truth |= {name: rng.uniform(*ends) for name, ends in DRAWN[law].items()}
    scale, offset, tilt = rng.uniform(0.5, 2), rng.uniform(0, 0.5), 0.002 * rng.normal()
    curve = SteadyCurve.of(CALCULATED, law, truth).at(E) + offset + tilt * (E - 9000)
    error = np.full(len(E), NOISE * scale)
    noisy = scale * curve + error * rng.normal(size=len(E))
    return truth | {"scale": scale}, Scan(E, noisy, error**2, "pair"), float(rng.uniform(-10, 10))


def fitted(law: str, measured: Scan, edge_eV: float) -> Match:
    """Return the match of one pair."""
    return match(measured, CALCULATED, ("made up", "-"), law=law, core_hole_hwhm_eV=CORE_HOLE_EV,
                 edge_eV=edge_eV)


def pulls(law: str, seed: int) -> dict[str, float]:
    """Return how far each parameter of one pair is off, in standard errors."""
    truth, measured, off_eV = pair(law, seed)
    found = fitted(law, measured, truth["e0_eV"] + off_eV).found
    values = {"e0_eV": found.axis.e0_eV, "stretch": found.axis.stretch, "scale": found.fit.scale,
              "resolution_fwhm_eV": found.width.resolution_fwhm_eV,
              "core_hole_hwhm_eV": found.width.core_hole_hwhm_eV, **found.width.parameters}
    return {name: (values[name] - truth[name]) / found.error(name)
            for name in found.fit.parameters}


def theory(axis: Axis, width: Width) -> ScenarioSet:
    """Return a made-up change of the calculation, on an axis and with widths."""
    steady, change = (
        resolve(curve(width.model, width.core_hole_hwhm_eV, width.parameters),
                width.resolution_fwhm_eV / (1 + axis.stretch)) for curve in (CALCULATED, CHANGED))
    energy = (1 + axis.stretch) * steady.energy_eV
    there = np.interp(steady.energy_eV, change.energy_eV, change.intensity)
    return ScenarioSet(energy, steady.intensity,
                       (polaron("mode", AmplitudeSpectra(energy, [1.0], [there])),))


def strength_held(seed: int) -> tuple[bool, bool]:
    """Return whether the 68 % interval of a strength holds the truth: propagated, and not."""
    truth, measured, off_eV = pair("constant", seed)
    rng = np.random.default_rng([seed, 99])
    error = 3 * measured.error
    measured = replace(measured, intensity=measured.intensity + error * rng.normal(size=len(E)),
                       variance=measured.variance + error**2)
    found = fitted("constant", measured, truth["e0_eV"] + off_eV).found
    real = theory(Axis(truth["e0_eV"], truth["stretch"]), Width(
        "constant", truth["core_hole_hwhm_eV"], truth["resolution_fwhm_eV"]))
    energy = np.arange(8992.0, 9036.0, 0.5)
    clean = STRENGTH * np.interp(energy - truth["e0_eV"], real.energy_eV,
                                 real.scenarios[0].difference)
    noise = np.full(len(energy), 0.03 * np.abs(clean).max())
    scan = Scan(energy, clean + noise * rng.normal(size=len(energy)), noise**2)
    mine = theory(found.axis, found.width)
    wider, step_eV = one_error_wider(found, CALCULATED)
    mine = replace(mine, wider=(theory(found.axis, wider), step_eV))
    held = []
    for priors in (matched_priors(found, mine), Priors(0.0, 0.0)):
        problem = Problem(scan, [computed(mine)[:1]], priors, found.axis.e0_eV)
        low, high = problem.fit(scan.intensity).fits[0].interval68
        held.append(low <= STRENGTH <= high)
    return held[0], held[1]


def main(pairs: int) -> None:
    """Print so many per cent of the 68 and 95 % intervals that hold the truth; laws in turn."""
    held = np.mean([strength_held(seed) for seed in range(pairs // 2)], axis=0)
    print(f"| strength of {pairs // 2} transients: propagated, not | "
          f"{100 * held[0]:.0f}, {100 * held[1]:.0f} |", flush=True)
    rows: dict[tuple[str, str], list[float]] = {}
    for seed in range(pairs):
        law = list(LAWS)[seed % len(LAWS)]
        for name, pull in pulls(law, seed).items():
            for of in (law, "all"):
                rows.setdefault((of, name), []).append(abs(pull))
    for (law, name), off in rows.items():
        one, two = (100 * np.mean(np.array(off) < z) for z in (1.0, 1.96))
        print(f"| {law} | {name} | {one:.0f}, {two:.0f} | {len(off)} |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
