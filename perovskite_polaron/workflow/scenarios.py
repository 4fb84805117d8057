"""A computed study as scenarios: what a measured transient is compared with."""

from perovskite_polaron.errors import InputError
from perovskite_polaron.experiment.scenario import Scenario, ScenarioSet
from perovskite_polaron.workflow.results import StudyResults
from perovskite_polaron.workflow.spectra import study_spectra
from perovskite_polaron.workflow.study import SpectraSettings


def study_scenarios(results: StudyResults, settings: SpectraSettings) -> ScenarioSet:
    """Return one scenario for each structure but the reference; energies are the study's, before the offset.

    Steady state and differences share the study's normalisation. An amplitude is taken to be that of an odd mode, as the
    polar modes that couple to carriers are. InputError when the study has no other structure.
    """
    from perovskite_polaron.spectra.difference import normalise

    spectra = study_spectra(results, settings)
    amplitudes = {s.name: s.amplitude_sqrt_amu_A for s in results.structures}
    base = normalise(spectra.structures[spectra.reference].average, settings.normalisation.replace("-", " "))
    scenarios = tuple(
        Scenario(name, d.energy_eV, d.intensity, abs(amplitudes[name] or 0) or None)
        for name, d in spectra.differences.items()
        if d.intensity.any()
    )
    if not scenarios:
        raise InputError(
            "the study has no structure beside its reference: add a distortion or another phase to compare"
        )
    return ScenarioSet(base.energy_eV, base.intensity, scenarios)
