"""What another engine says of a difference, as a part of the error of a fit: f·Q² of one engine's
data fitted with the other's set.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from coverage_engines import DISPLACED, FRACTION, NAME, WINDOWS, found, sets, transient

from perovskite_polaron.analysis.scenarios import ENGINE, THERMAL, ScenarioSet
from perovskite_polaron.cli.main import main
from perovskite_polaron.errors import ComputationError
from perovskite_polaron.report.subject import Subject
from perovskite_polaron.workflow.carried_errors import settings_alike
from perovskite_polaron.workflow.engines import agreements
from perovskite_polaron.workflow.scenarios import BUILT_IN, BUILT_IN_BR_FEFF, BUILT_IN_PB_L3

ABOVE = WINDOWS["above the edge"]


@pytest.fixture(scope="module")
def theories() -> dict[str, tuple[ScenarioSet, ScenarioSet]]:
    return sets()


def lo(of: ScenarioSet):
    return next(s for s in of.scenarios if s.name == NAME)


def test_the_row_is_the_other_difference_minus_the_own_one_at_the_common_amplitude(
        theories: dict[str, tuple[ScenarioSet, ScenarioSet]]) -> None:
    own, other = theories["xspectra"][0], theories["feff"][0]
    mine, its = lo(theories["xspectra"][1]), lo(other)
    q = its.sweep.amplitudes_sqrt_amu_A[-1]
    offset = mine.energy_eV - own.first_maximum_eV
    there = its.energy_eV - other.first_maximum_eV
    inside = (offset >= there[0]) & (offset <= there[-1])
    # 0.20 Å is the largest here, 0.10 Å there.
    row = 4 * (np.interp(offset, there, its.difference) - mine.sweep.at(q))
    np.testing.assert_allclose(mine.errors[ENGINE][inside], row[inside], rtol=1e-5, atol=1e-9)
    assert not mine.errors[ENGINE][~inside].any()
    assert mine.estimated == "engine only"
    # The other way round the same curve with the other sign, for the amplitude is that of 0.10 Å.
    back = lo(theories["feff"][1]).errors[ENGINE]
    there_inside = (there > offset[0]) & (there < offset[-1])
    np.testing.assert_allclose(
        back[there_inside], -np.interp(there, offset, row / 4)[there_inside],
        atol=0.02 * np.abs(back).max())


def test_both_engines_agree_on_signs_beyond_the_edge() -> None:
    one, other = (Subject.read(path).results for path in (BUILT_IN_BR_FEFF, BUILT_IN))
    same = {agreed.name: agreed for agreed in agreements(one, other)}
    displaced = same["lo"]
    assert displaced.correlation == pytest.approx(0.79, abs=0.01)
    assert displaced.same_sign_percent > 90
    assert displaced.ratio == pytest.approx(0.50, abs=0.01)


@pytest.mark.parametrize(("data", "fitted", "without"), [("feff", "xspectra", 0.46),
                                                         ("xspectra", "feff", 1.6)])
def test_the_other_engines_amplitude_is_found_with_the_row_alone(
        theories: dict[str, tuple[ScenarioSet, ScenarioSet]], data: str, fitted: str,
        without: float) -> None:
    q = float(lo(theories["feff"][0]).amplitude_sqrt_amu_A or 0)
    scan = transient(theories[data][0], q, ABOVE, 0.05, 0)
    # With free widths and stretch a set alone runs to their bounds, and the fit is refused.
    with pytest.raises(ComputationError, match="sits on its bound"):
        found(theories[fitted][0], scan, q)
    plain = found(theories[fitted][0], scan, q, width_sigma_eV=0, stretch_sigma=0)
    rowed = found(theories[fitted][1], scan, q)
    assert plain[0] == pytest.approx(without, rel=0.1)
    assert not plain[2][0] <= 1 <= plain[2][1]
    assert rowed[2][0] <= 1 <= rowed[2][1]
    assert abs(rowed[0] - 1) < 0.3
    # A number in the error budget.
    assert 0.2 < rowed[3] < 0.4


def test_the_built_in_set_says_what_each_part_makes_of_f_q2(
        theories: dict[str, tuple[ScenarioSet, ScenarioSet]], tmp_path: Path,
        capsys: pytest.CaptureFixture[str]) -> None:
    q = float(lo(theories["feff"][0]).amplitude_sqrt_amu_A or 0)
    scan = transient(theories["xspectra"][0], q, ABOVE, 0.05, 0)
    table = tmp_path / "t.csv"
    np.savetxt(table, np.column_stack([scan.energy_eV, scan.intensity, scan.error]),
               delimiter=",", header="energy_eV,signal,error", comments="")
    edges = {kind: f"{-theory.first_maximum_eV:.3f}eV" for kind, (theory, _) in theories.items()}
    words = ["compare", str(table), "--no-mixtures", "--edge", edges["xspectra"]]
    assert main([*words, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    best = said["scenarios"][0]
    assert best["calculation_error"] == "engine and thermal average only"
    whole, parts = best["f_q2_err_calculation"], best["f_q2_err_calculation_parts"]
    assert set(parts) == {THERMAL, ENGINE}
    assert np.hypot(*parts.values()) == pytest.approx(whole, rel=1e-6)
    assert parts[ENGINE] > parts[THERMAL] > 0
    unit = best["f_q2_A2_amu"] / best["strength"]
    assert best["strength_err_calculation_parts"][ENGINE] == pytest.approx(parts[ENGINE] / unit)
    assert best["f_q2_A2_amu"] == pytest.approx(FRACTION * q**2, abs=2 * whole)
    (line,) = (one for one in said["statements"] if one.startswith("The calculation error"))
    assert f"engine {parts[ENGINE]:.2g}" in line
    # For one's own pair; the own engine and another edge say nothing.
    assert main([*words[:-1], edges["feff"], "--study", str(BUILT_IN_BR_FEFF), "--engine",
                 str(BUILT_IN), "--json"]) == 0
    best = json.loads(capsys.readouterr().out)["scenarios"][0]
    assert best["calculation_error"] == "engine only"
    for study, fault in ((BUILT_IN, "is of the engine xspectra, as"),
                         (BUILT_IN_PB_L3, "has none of the displacements of")):
        assert main([*words, "--engine", str(study)]) == 2
        assert fault in capsys.readouterr().err


def test_amplitudes_of_another_cell_are_not_compared() -> None:
    own, other = (Subject.read(path) for path in (BUILT_IN, BUILT_IN_BR_FEFF))
    study = other.results.study
    doubled = {name: replace(one, supercell=(2, 1, 1)) if one.modes else one
               for name, one in study.structures.items()}
    cell = replace(other, results=replace(other.results, study=replace(study, structures=doubled)))
    for one, there in ((other, True), (cell, False)):
        assert (ENGINE in lo(own.carrying(ENGINE, one).scenarios).errors) is there


def test_the_other_engine_is_evaluated_alike_but_no_narrower_than_it_is() -> None:
    own, other = (Subject.read(path) for path in (BUILT_IN, BUILT_IN_BR_FEFF))
    wide = replace(own.settings, resolution_fwhm_eV=2.0, core_hole_hwhm_eV=3.0,
                   normalisation="last-point")
    found = settings_alike(wide, other.results)
    assert (found.resolution_fwhm_eV, found.core_hole_hwhm_eV) == (2.0, 3.0)
    assert found.normalisation == "last-point"
    narrow = settings_alike(replace(wide, core_hole_hwhm_eV=0.2), other.results)
    assert narrow.core_hole_hwhm_eV == pytest.approx(0.63)
    assert DISPLACED in own.spectra.differences
