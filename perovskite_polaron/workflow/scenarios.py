"""A computed study as scenarios: what a measured transient is compared with."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from perovskite_polaron.analysis.scenarios import Scenario, ScenarioSet, polaron
from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import require
from perovskite_polaron.spectra.amplitude import AmplitudeSpectra
from perovskite_polaron.spectra.projected import ProjectedStates
from perovskite_polaron.spectra.spectrum import Spectrum, norm
from perovskite_polaron.workflow.carriers import filling
from perovskite_polaron.workflow.results import StructureResult, StudyResults
from perovskite_polaron.workflow.spectra import powder_spectra
from perovskite_polaron.workflow.study import SpectraSettings

# The computed CsPbBr3 sets that come with the package: Br K with XSpectra, Pb L3 with FEFF10.
BUILT_IN = Path(__file__).parent.parent / "data" / "cspbbr3"
BUILT_IN_PB_L3 = BUILT_IN.with_name("cspbbr3-pb-l3")


def study_scenarios(results: StudyResults, settings: SpectraSettings,
                    edges: ProjectedStates | None = None) -> ScenarioSet:
    """Return the scenarios of a study, on its own axis, before the offset to the experiment.

    Every structure but the reference is one, except that the amplitudes of one mode sweep make one
    polaron together (``polaron NAME``). Where +Q and −Q of a sweep differ, each sign is one of its
    own (``polaron NAME`` and ``polaron NAME (−Q)``), whose difference begins linear in Q. Where a
    study of an earlier version does not say whether they do, its points stand alone. Steady state
    and differences share the study's normalisation, and so does what the settings may still change,
    of a sweep for its largest amplitude.

    With the band edges of the reference the carriers are a scenario too, ``filling``: the states
    that 1e19 pairs per cm³ block and open.

    Raises
    ------
    InputError
        When no structure differs from the reference, or the spectra are not powder averages.
    """
    spectra = powder_spectra(results, settings)
    steady = spectra.structures[spectra.reference].average
    size = norm(steady, settings.normalisation)
    base = steady * (1 / size)
    percent = float(base.intensity.max()) / 100
    errors = {name: {setting: percent * row for setting, row in rows.items()}
              for name, rows in spectra.budget.items()}
    entries: dict[str, list[StructureResult]] = {}
    for one in results.structures:
        if one.name in spectra.differences and spectra.differences[one.name].intensity.any():
            entries.setdefault(one.name.split("@")[0], []).append(one)
    scenarios: list[Scenario] = []
    for entry, points in entries.items():
        if all(p.amplitude_sqrt_amu_A and p.sign_equivalent is not None for p in points):
            scenarios += _polarons(entry, points, spectra.differences, errors)
        else:
            found = [(p.name, spectra.differences[p.name]) for p in points]
            scenarios += [Scenario(name, d.energy_eV, d.intensity, errors=errors.get(name, {}))
                          for name, d in found]
    require(scenarios, "the study has no structure beside its reference: add a distortion or"
            " another phase to compare")
    if edges is not None:
        change = filling(results, settings, edges)
        scenarios.append(Scenario("filling", change.energy_eV, change.difference / size,
                                  kind="carriers"))
    return ScenarioSet(base.energy_eV, base.intensity, tuple(scenarios), settings.normalisation,
                       size)


def _polarons(entry: str, points: Sequence[StructureResult],
              differences: Mapping[str, Spectrum],
              errors: Mapping[str, Mapping[str, Array]]) -> Iterator[Scenario]:
    """Yield the polaron of one entry, or of each sign of it."""
    even = bool(points[0].sign_equivalent)
    by_amplitude: dict[float, list[str]] = {}
    for point in points:
        signed = point.amplitude_sqrt_amu_A or 0.0
        q = abs(signed) if even else signed
        # The two signs of one amplitude agree to the rounding of their displacement; a computed +Q
        # and its image −Q differ by the convergence of two calculations.
        key = next((k for k in by_amplitude if abs(k - q) < 1e-6 * abs(k)), q)
        by_amplitude.setdefault(key, []).append(point.name)
    energy = differences[points[0].name].energy_eV
    for sign, name in ((1, f"polaron {entry}"), (-1, f"polaron {entry} (−Q)")):
        nodes = sorted(by_amplitude, key=lambda q: sign * q)
        if sign * nodes[-1] > 0:
            curves = np.array([np.mean([differences[n].intensity for n in by_amplitude[q]], axis=0)
                               for q in nodes])
            sweep = AmplitudeSpectra(energy, sign * np.array(nodes), curves, even)
            yield polaron(name, sweep, errors.get(by_amplitude[nodes[-1]][0]))
