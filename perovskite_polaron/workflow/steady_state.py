"""The averaged ground state of a study as a calculation that ``polaron match`` fits, and back: the
study with the axis and the widths that a match found.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace

from perovskite_polaron.analysis.matched import Matched
from perovskite_polaron.analysis.scenarios import ScenarioSet
from perovskite_polaron.analysis.steady_curve import Curve, one_error_wider
from perovskite_polaron.spectra.projected import ProjectedStates
from perovskite_polaron.spectra.spectrum import Spectrum, average_structures
from perovskite_polaron.workflow.results import StudyResults
from perovskite_polaron.workflow.scenarios import study_scenarios
from perovskite_polaron.workflow.spectra import budget_key, computed_polarisations, site_spectra
from perovskite_polaron.workflow.study import SpectraSettings


def reference_curve(results: StudyResults, settings: SpectraSettings) -> Curve:
    """Return the powder average of the reference structure, from its chains, for any width."""
    study = results.study
    only = tuple(one for one in results.structures if one.name == study.reference)
    reference = replace(results, structures=only)

    def curve(model: str, core_hole_hwhm_eV: float, parameters: Mapping[str, float]) -> Spectrum:
        widths = replace(settings, width_model=model, core_hole_hwhm_eV=core_hole_hwhm_eV,
                         width=dict(parameters), resolution_fwhm_eV=0.0, stretch=0.0)
        _, records = site_spectra(reference, widths)
        return average_structures(records, computed_polarisations(study))[study.reference].average

    return curve


def reference_id(results: StudyResults, settings: SpectraSettings) -> str:
    """Return what tells the calculation of a reference from others, whatever its widths."""
    plain = SpectraSettings()
    others = replace(settings, width_model=plain.width_model, width={}, core_hole_hwhm_eV=0.0,
                     resolution_fwhm_eV=0.0, stretch=0.0)
    text = json.dumps(budget_key(results.study, others, ()), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def matched_settings(results: StudyResults, settings: SpectraSettings, matched: Matched,
                     source: str) -> SpectraSettings:
    """Return the settings with the stretch and the widths of a match.

    Raises
    ------
    InputError
        When the match was made with another calculation.
    """
    matched.for_calculation(reference_id(results, settings), source)
    width = matched.width
    return replace(settings, stretch=matched.axis.stretch, width_model=width.model,
                   core_hole_hwhm_eV=width.core_hole_hwhm_eV, width=dict(width.parameters),
                   resolution_fwhm_eV=width.resolution_fwhm_eV)


def matched_scenarios(results: StudyResults, settings: SpectraSettings, matched: Matched,
                      edges: ProjectedStates | None = None) -> ScenarioSet:
    """Return the scenarios of a study with ``matched_settings``, and what the errors of the matched
    widths do to them; edges: as ``study_scenarios``.
    """
    found = study_scenarios(results, settings, edges)
    wider, step_eV = one_error_wider(matched, reference_curve(results, settings))
    if not step_eV:
        return found
    there = replace(settings, core_hole_hwhm_eV=wider.core_hole_hwhm_eV,
                    width=dict(wider.parameters), resolution_fwhm_eV=wider.resolution_fwhm_eV)
    return replace(found, wider=(study_scenarios(results, there, edges), step_eV))
