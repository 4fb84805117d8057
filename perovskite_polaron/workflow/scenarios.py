"""A computed study as scenarios: what a measured transient is compared with."""

from pathlib import Path

import numpy as np

from perovskite_polaron.analysis.scenarios import Scenario, ScenarioSet, polaron
from perovskite_polaron.errors import require
from perovskite_polaron.spectra.amplitude import AmplitudeSpectra
from perovskite_polaron.spectra.spectrum import Spectrum, norm
from perovskite_polaron.workflow.results import StudyResults
from perovskite_polaron.workflow.spectra import powder_spectra
from perovskite_polaron.workflow.study import SpectraSettings

# The computed CsPbBr3 set that comes with the package.
BUILT_IN = Path(__file__).parent.parent / "data" / "cspbbr3"


def study_scenarios(results: StudyResults, settings: SpectraSettings) -> ScenarioSet:
    """Return the scenarios of a study, on its own axis, before the offset to the experiment.

    Every structure but the reference is one, except that the amplitudes of one mode sweep make one
    polaron together (``polaron NAME``). Where +Q and −Q of a sweep differ, the mode is not an odd
    one: its points then stand alone, and no f·Q² is derived. Steady state and differences share the
    study's normalisation.

    Raises
    ------
    InputError
        When no structure differs from the reference, or the spectra are not powder averages.
    """
    spectra = powder_spectra(results, settings)
    amplitudes = {s.name: s.amplitude_sqrt_amu_A for s in results.structures}
    steady = spectra.structures[spectra.reference].average
    base = steady * (1 / norm(steady, settings.normalisation))
    entries: dict[str, dict[str, Spectrum]] = {}
    for name, difference in spectra.differences.items():
        if difference.intensity.any():
            entries.setdefault(name.split("@")[0], {})[name] = difference
    scenarios: list[Scenario] = []
    for entry, points in entries.items():
        sweep = _sweep(points, {name: amplitudes[name] for name in points})
        if sweep is not None:
            scenarios.append(polaron(f"polaron {entry}", sweep))
        else:
            scenarios += [Scenario(name, d.energy_eV, d.intensity) for name, d in points.items()]
    require(scenarios, "the study has no structure beside its reference: add a distortion or"
            " another phase to compare")
    return ScenarioSet(base.energy_eV, base.intensity, tuple(scenarios), settings.normalisation)


def _sweep(points: dict[str, Spectrum],
           amplitudes: dict[str, float | None]) -> AmplitudeSpectra | None:
    """The points of one entry as an even sweep, or None when they are none."""
    by_size: dict[float, list[Spectrum]] = {}
    for name, difference in points.items():
        size = amplitudes[name]
        if not size:
            return None
        # The two signs of one amplitude agree to the rounding of their displacement.
        key = next((k for k in by_size if abs(k - abs(size)) < 1e-6 * k), abs(size))
        by_size.setdefault(key, []).append(difference)
    for same in by_size.values():
        top = max(float(np.abs(d.intensity).max()) for d in same)
        # A computed +Q and its image -Q differ by the convergence of two calculations.
        if any(np.abs(d.intensity - same[0].intensity).max() > 0.05 * top for d in same):
            return None
    sizes = sorted(by_size)
    stack = [np.mean([d.intensity for d in by_size[s]], axis=0) for s in sizes]
    return AmplitudeSpectra(next(iter(points.values())).energy_eV, np.array(sizes), np.array(stack))
