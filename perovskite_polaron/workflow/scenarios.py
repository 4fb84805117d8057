"""A computed study as scenarios: what a measured transient is compared with."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from perovskite_polaron.analysis.scenarios import (
    SNAPSHOTS, THERMAL, Scenario, ScenarioSet, calculated_heat, polaron)
from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import require
from perovskite_polaron.spectra.amplitude import AmplitudeSpectra
from perovskite_polaron.spectra.projected import ProjectedStates
from perovskite_polaron.spectra.spectrum import Spectrum, norm
from perovskite_polaron.workflow.carriers import filling
from perovskite_polaron.workflow.results import StructureResult, StudyResults
from perovskite_polaron.workflow.spectra import StudySpectra, powder_spectra
from perovskite_polaron.workflow.study import SpectraSettings

# The computed CsPbBr3 sets that come with the package: Br K with XSpectra, Pb L3 with FEFF10.
BUILT_IN = Path(__file__).resolve().parent.parent / "data" / "cspbbr3"
BUILT_IN_PB_L3 = BUILT_IN.with_name("cspbbr3-pb-l3")
# The same changes as the first with the other engine.
BUILT_IN_BR_FEFF = BUILT_IN.with_name("cspbbr3-br-feff")
# Their crystal between 25 and 140 °C at the same edges, with FEFF10.
BUILT_IN_HOT = {BUILT_IN: BUILT_IN.with_name("cspbbr3-hot-br"),
                BUILT_IN_PB_L3: BUILT_IN.with_name("cspbbr3-hot-pb")}
# The first of its snapshots at Br K, with XSpectra.
BUILT_IN_HOT_XSPECTRA = BUILT_IN.with_name("cspbbr3-hot-xspectra")


def study_scenarios(results: StudyResults, settings: SpectraSettings,
                    edges: ProjectedStates | None = None) -> ScenarioSet:
    """Return the scenarios of a study, on its own axis, before the offset to the experiment.

    Every structure but the reference is one, except that the amplitudes of one mode sweep make one
    polaron together (``polaron NAME``). Where +Q and −Q of a sweep differ, each sign is one of its
    own (``polaron NAME`` and ``polaron NAME (−Q)``), whose difference begins linear in Q. Where a
    study of an earlier version does not say whether they do, its points stand alone. Steady state
    and differences share the study's normalisation, and so does what the settings may still change,
    of a sweep for its largest amplitude.

    Ensembles at several temperatures above that of the one they are subtracted from make one heated
    lattice, whose amplitude is the temperature. Means over snapshots bring their standard errors;
    a displaced crystal brings what thermal motion makes of its difference, where the study has it.

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
    for name, error in spectra.errors.items():
        own = {f"{SNAPSHOTS} {i + 1}": row / abs(size) for i, row in enumerate(error.rows)}
        errors[name] = errors.get(name, {}) | own
    for name, row in _thermal(results, spectra).items():
        errors[name] = errors.get(name, {}) | {THERMAL: row}
    entries: dict[str, list[StructureResult]] = {}
    for one in results.structures:
        if one.name in spectra.differences and spectra.differences[one.name].intensity.any():
            entries.setdefault(one.name.split("@")[0], []).append(one)
    scenarios: list[Scenario] = []
    heated = heated_series(results, spectra)
    for cold, series in heated.items():
        scenarios.append(_heat(results, spectra, cold, series, errors))
    done = {name for series in heated.values() for name in series.values()}
    for entry, points in entries.items():
        if entry in done:
            continue
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


def temperature_K(one: StructureResult) -> float | None:
    """Return the temperature of an ensemble that is not displaced along a mode; else None."""
    if one.ensemble is None or one.amplitude_sqrt_amu_A:
        return None
    return one.ensemble.get("temperature_K")


def heated_series(results: StudyResults, spectra: StudySpectra) -> dict[str, dict[float, str]]:
    """Return colder ensemble -> ΔT (K) -> hotter ensemble whose difference is taken from it.

    Raises
    ------
    InputError
        For two of one temperature.
    """
    known = {one.name: t for one in results.structures if (t := temperature_K(one)) is not None}
    found: dict[str, dict[float, str]] = {}
    for name, hot in known.items():
        base = spectra.base_of(name)
        if name in spectra.differences and base in known and hot > known[base]:
            series = found.setdefault(base, {})
            require(hot - known[base] not in series, f"{name} has the temperature of another"
                    f" ensemble, {hot:g} K: keep one of them")
            series[hot - known[base]] = name
    return found


def _heat(results: StudyResults, spectra: StudySpectra, base: str, series: Mapping[float, str],
          errors: Mapping[str, Mapping[str, Array]]) -> Scenario:
    """Return the heated lattice of all ensembles above one."""
    steps = sorted(series)
    curves = np.array([spectra.differences[series[t]].intensity for t in steps])
    energy = spectra.differences[series[steps[0]]].energy_eV
    cold = next(t for one in results.structures if one.name == base
                and (t := temperature_K(one)) is not None)
    sweep = AmplitudeSpectra(energy, np.array(steps), curves, even=False, of_temperature=True)
    return calculated_heat(sweep, cold, errors.get(series[steps[-1]]))


def _thermal(results: StudyResults, spectra: StudySpectra) -> dict[str, Array]:
    """Return structure -> what its difference changes when it lies on top of thermal motion."""
    return {still: spectra.differences[hot].intensity - spectra.differences[still].intensity
            for still, hot in on_top(results, spectra).items()}


def on_top(results: StudyResults, spectra: StudySpectra) -> dict[str, str]:
    """Return displaced crystal at rest -> the ensemble that is displaced by the same amplitude of
    the same modes, and subtracted from the ensemble that is not, where the study has both.
    """
    def key(one: StructureResult) -> tuple[object, ...]:
        entry = results.study.structures.get(one.name.split("@")[0])
        return entry and entry.modes, round(one.amplitude_sqrt_amu_A or 0.0, 6)

    displaced = [one for one in results.structures
                 if one.amplitude_sqrt_amu_A and one.name in spectra.differences]
    hot = {key(one): one.name for one in displaced if one.ensemble is not None
           and spectra.base_of(one.name) != spectra.reference}
    return {one.name: hot[key(one)] for one in displaced
            if one.ensemble is None and key(one) in hot}


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
