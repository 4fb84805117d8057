"""What thermal motion makes of a difference at rest, as a part of the error of a fit: from the
study itself or from another one, and how it is told.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hot_results import HOT, LO, SERIES, ensembles, made

from perovskite_polaron.analysis.scenarios import THERMAL, Scenario, ScenarioSet
from perovskite_polaron.cli.main import main
from perovskite_polaron.report.subject import Subject
from perovskite_polaron.workflow.carried_errors import with_row
from perovskite_polaron.workflow.results import StudyResults, write_results
from perovskite_polaron.workflow.scenarios import (
    BUILT_IN, BUILT_IN_HOT, BUILT_IN_PB_L3, study_scenarios)

PLAIN = '[structures.wave]\ncrystal = "cspbbr3-pbnm"\n' + LO


@pytest.fixture(scope="module")
def hot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ensembles(tmp_path_factory.mktemp("hot"))


def both(results: StudyResults) -> tuple[StudyResults, ScenarioSet]:
    return results, study_scenarios(results, results.study.spectra)


def one(found: ScenarioSet, name: str) -> Scenario:
    return next(s for s in found.scenarios if s.name == name)


def test_what_thermal_motion_does_is_carried_over_by_mode_in_parts_of_the_difference(
        hot: Path) -> None:
    known = both(made(hot, SERIES))
    row = one(known[1], "polaron lo").errors[THERMAL]
    alone = made(hot, PLAIN)
    # Another engine, whose difference is 2.5 times as large.
    rest = alone.curves["ground/Br9-4c/powder"].cross_section_A2
    larger = replace(alone, curves={
        name: replace(its, cross_section_A2=rest + 2.5 * (its.cross_section_A2 - rest))
        for name, its in alone.curves.items()})
    plain = one(known[1], "polaron lo")
    for results, factor in ((alone, 1), (larger, 2.5)):
        found = with_row(THERMAL, *both(results), *known)
        mine = one(found, "polaron wave")
        size = np.linalg.norm(mine.difference) / np.linalg.norm(plain.difference)
        assert size == pytest.approx(factor, rel=1e-3)
        assert mine.errors[THERMAL] == pytest.approx(size * row, abs=1e-9)
        assert mine.estimated == "thermal average only"
    # Its own is not replaced, and a budget of settings makes the error whole.
    own = with_row(THERMAL, *known, *known)
    assert one(own, "polaron lo").errors[THERMAL] is one(known[1], "polaron lo").errors[THERMAL]
    settled = replace(mine, errors=mine.errors | {"cutoff": row})
    assert settled.estimated == "estimated"


def test_other_modes_crystals_and_edges_take_nothing(hot: Path) -> None:
    known = both(made(hot, SERIES))
    for text, said in ((PLAIN.replace("lo-c", "lo-a"), "not estimated"),
                       (PLAIN.replace("-pbnm", "-pm3m"), "not estimated"),
                       (PLAIN + "select = [1]\n", "not estimated"),
                       (HOT.format(name="wave", folder="hot/25C") + LO, "snapshots only")):
        found = with_row(THERMAL, *both(made(hot, text)), *known)
        assert one(found, "polaron wave").estimated == said
    results, scenarios = both(made(hot, PLAIN))
    other = replace(results, study=replace(results.study, element="Cs"))
    assert with_row(THERMAL, other, scenarios, *known) is scenarios


def test_compare_says_that_only_thermal_motion_is_in_its_error(
        hot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results, found = both(made(hot, PLAIN))
    for name, content in (("plain", results), ("hot", made(hot, SERIES))):
        (tmp_path / name).mkdir()
        write_results(content, tmp_path / name)
    wave, rng, sigma = one(found, "polaron wave"), np.random.default_rng(0), 1e-5
    energy = np.linspace(-5, 55, 150)
    signal = 0.5 * np.interp(energy, wave.energy_eV, wave.difference)
    signal += sigma * rng.standard_normal(150)
    rows = [f"{e:.4f},{y:.9f},{sigma}" for e, y in zip(energy, signal, strict=True)]
    table = tmp_path / "transient.csv"
    table.write_text("energy_eV,signal,error\n" + "\n".join(rows) + "\n")
    words = ["compare", str(table), "--edge", "0eV", "--no-mixtures", "--study"]
    told = {}
    for name, more in (("without", []), ("with", ["--thermal", str(tmp_path / "hot")])):
        assert main([*words, str(tmp_path / "plain"), *more, "--json"]) == 0
        told[name] = json.loads(capsys.readouterr().out)["scenarios"][0]
    assert told["without"]["calculation_error"] == "not estimated"
    assert told["with"]["calculation_error"] == "thermal average only"
    assert told["with"]["strength_err_calculation"] > 3 * told["with"]["strength_err"]
    width = {name: np.ptp(row["strength_interval95"]) for name, row in told.items()}
    assert width["with"] > 3 * width["without"]
    assert main([*words, str(tmp_path / "plain"), "--thermal", str(tmp_path / "hot")]) == 0
    assert "(calculation: thermal average only)" in capsys.readouterr().out
    assert main([*words, str(tmp_path / "plain"), "--thermal", str(tmp_path / "plain")]) == 2
    assert "has none of the displacements" in capsys.readouterr().err


@pytest.mark.parametrize("source", [BUILT_IN, BUILT_IN_PB_L3], ids=["Br-K", "Pb-L3"])
def test_the_bundled_sets_know_what_25_degrees_make_of_lo_c(source: Path) -> None:
    subject = Subject.read(source)
    plain = one(subject.scenarios, "polaron lo")
    hot = Subject.read(BUILT_IN_HOT[source])
    mine = one(subject.carrying(THERMAL, hot).scenarios, "polaron lo")
    # What is left out of the other study, hotter ensembles, changes nothing.
    again = one(replace(subject, carried={THERMAL: hot}).scenarios, "polaron lo")
    assert np.array_equal(again.errors[THERMAL], mine.errors[THERMAL])
    assert THERMAL in mine.errors
    assert THERMAL not in plain.errors
    # It takes from the strength, so beyond the edge it has the opposite sign of most of it.
    beyond = mine.energy_eV > 12
    assert mine.errors[THERMAL][beyond] @ mine.difference[beyond] < 0
