"""Errors of a study's differences that another study of the edge tells: what thermal motion makes
of them, and what another engine says of the same displacement.

Each becomes one row of the error of a scenario, taken over from the other study's scenario of the
same change of the same crystal, and counted from the first maximum of each one's steady state:
engines have no common zero.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from perovskite_polaron.analysis.scenarios import ENGINE, THERMAL, Scenario, ScenarioSet
from perovskite_polaron.arrays import Array
from perovskite_polaron.workflow.results import StudyResults
from perovskite_polaron.workflow.scenarios import BUILT_IN, BUILT_IN_BR_FEFF, BUILT_IN_HOT
from perovskite_polaron.workflow.study import SpectraSettings, StructureSettings

#: Row -> built-in set -> the study that it is taken over from.
BUILT_IN_ROWS: Mapping[str, Mapping[Path, Path]] = {
    THERMAL: BUILT_IN_HOT, ENGINE: {BUILT_IN: BUILT_IN_BR_FEFF}}
#: Brings a curve of the other study (n,) to the own energies (m,), and to zero beyond its own.
_Onto = Callable[[Array], Array]


def looked_at(row: str, results: StudyResults) -> StudyResults:
    """Return the part of another study that a row is made of: crystals at rest for another engine,
    and what is displaced with what it is subtracted from for thermal motion.
    """
    study = results.study
    carried = {one.minus for one in study.structures.values() if one.modes and one.ensemble}
    wanted = (study.reference, *carried)
    return replace(results, structures=tuple(
        one for one in results.structures
        if (one.ensemble is None if row == ENGINE
            else one.amplitude_sqrt_amu_A or one.name in wanted)))


def settings_alike(own: SpectraSettings, others: StudyResults) -> SpectraSettings:
    """Return how another engine's study is evaluated beside one's own: with its normalisation and
    widths, but none narrower than what is in its curves.
    """
    inside_eV = max((curve.inside_hwhm_eV for curve in others.curves.values()), default=0.0)
    return replace(
        others.study.spectra, normalisation=own.normalisation, width_model=own.width_model,
        width=own.width, core_hole_hwhm_eV=max(own.core_hole_hwhm_eV, inside_eV),
        resolution_fwhm_eV=own.resolution_fwhm_eV)


def with_row(row: str, results: StudyResults, found: ScenarioSet, others: StudyResults,
             theirs: ScenarioSet) -> ScenarioSet:
    """Return scenarios that bring a row of another study of the edge; those that have it already,
    and those whose change is not in the other study, stay as they are.

    ``THERMAL``: what thermal motion changes of the other's difference at rest, in parts of that
    difference (their rms over the common energies), so the other study may be of another engine,
    whose differences are larger or smaller, and of another amplitude.

    ``ENGINE``: the other's difference minus the own one, each over the norm of its own steady
    state, for what sets f·Q² is the size of a difference in that unit; at the largest amplitude
    that both have, and from there to the largest with its square. Nothing of one's own engine.
    """
    edges = [(one.study.element, one.study.edge) for one in (results, others)]
    same_engine = results.study.engine.kind == others.study.engine.kind
    if edges[0] != edges[1] or (row == ENGINE and same_engine):
        return found
    known = {_change(row, others, one): one for one in theirs.scenarios
             if row == ENGINE or THERMAL in one.errors}
    offset, there = (one.energy_eV - one.first_maximum_eV for one in (found, theirs))
    inside = (offset >= there[0]) & (offset <= there[-1])

    def onto(curve: Array) -> Array:
        return np.interp(offset, there, curve, 0.0, 0.0)

    changed = []
    for mine in found.scenarios:
        its = known.get(_change(row, results, mine))
        if its is not None and row not in mine.errors:
            make = _of_engines if row == ENGINE else _of_motion
            error = np.where(inside, make(mine, its, onto, inside), 0.0)
            mine = replace(mine, errors={**mine.errors, row: error})
        changed.append(mine)
    return replace(found, scenarios=tuple(changed))


def _of_motion(mine: Scenario, its: Scenario, onto: _Onto, inside: Array) -> Array:
    size = np.linalg.norm(mine.difference[inside]) / np.linalg.norm(onto(its.difference))
    return np.asarray(size * onto(its.errors[THERMAL]))


def _of_engines(mine: Scenario, its: Scenario, onto: _Onto, inside: Array) -> Array:
    if mine.sweep is None or its.sweep is None:
        return onto(its.difference) - mine.difference
    largest = float(mine.sweep.amplitudes_sqrt_amu_A[-1])
    both = min(largest, float(its.sweep.amplitudes_sqrt_amu_A[-1]))
    return np.asarray((onto(its.sweep.at(both)) - mine.sweep.at(both))
                      * (largest / both) ** mine.power)


def _change(row: str, results: StudyResults, scenario: Scenario) -> tuple[object, ...] | None:
    """Return what a scenario changes: crystal and modes before and after; None for ensembles and
    for what is no structure of the study. Amplitudes are compared for another engine: they are
    summed over the cell, so that is a part of it.
    """
    study = results.study
    entry = study.structures.get(scenario.name.removeprefix("polaron "))
    if entry is None or entry.ensemble is not None:
        return None
    cell = (entry.primitive, entry.supercell) if row == ENGINE and entry.modes else ()
    return _what(study.structures[entry.minus or study.reference]), _what(entry), cell


def _what(entry: StructureSettings) -> tuple[object, ...]:
    return entry.crystal, entry.ensemble, entry.modes, entry.select
