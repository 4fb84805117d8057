"""What the verbs do is a function on plain records, and what they print has one form."""

import argparse
import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from perovskite_polaron.analysis.scenarios import ScenarioSet
from perovskite_polaron.analysis.verdict import judge
from perovskite_polaron.cli import tables
from perovskite_polaron.cli.main import VERBS, build_parser, load, main
from perovskite_polaron.cli.options import emit, make_folder, plain
from perovskite_polaron.errors import InputError
from perovskite_polaron.espresso.ph import FieldResponse
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.measured.recipe import Recipe
from perovskite_polaron.measured.scan import Scan, Step
from perovskite_polaron.measured.text import Table
from perovskite_polaron.measured.treated import build_recipe, gather, treat
from perovskite_polaron.workflow import converge as converge_room, forces as forces_room
from perovskite_polaron.workflow.converge import converge
from perovskite_polaron.workflow.forces import ForceSettings, espresso_modes
from perovskite_polaron.workflow.results import StudyResults
from perovskite_polaron.workflow.scenarios import BUILT_IN, study_scenarios
from perovskite_polaron.workflow.spectra import (
    largest_percent, load_results, study_spectra, write_tables)
from perovskite_polaron.workflow.store import Store

ENERGY = np.arange(13440.0, 13520.0)


@pytest.fixture(scope="module")
def results() -> StudyResults:
    return load_results(BUILT_IN)[0]


@pytest.fixture(scope="module")
def theory(results: StudyResults) -> ScenarioSet:
    return study_scenarios(results, results.study.spectra)


def scan(height: float, source: str, fields: dict[str, str] | None = None) -> Scan:
    intensity = height * np.exp(-(((ENERGY - 13472) / 3) ** 2))
    table = Table(("energy", "signal"), ("eV", ""), np.array([ENERGY, intensity]), source,
                  metadata=fields or {}, comments=("mine",), is_xdi=fields is not None)
    return Scan(ENERGY, intensity, label=Path(source).stem, source=source, table=table)


def test_treat_averages_subtracts_and_keeps_the_header_of_the_first_file() -> None:
    fields = {"Element.symbol": "Br", "Element.edge": "K", "GSE.EXTRA": "kept"}
    scans = [scan(3, "a_1.xdi", fields), scan(5, "a_2.xdi"), scan(1, "dark.xdi")]
    recipe = build_recipe(combine=True, reference="dark", factor=2.0)
    measured = gather(scans, scans[2:], recipe)
    (found,) = treat(measured)
    np.testing.assert_allclose(found.scan.intensity, scan(6, "b").intensity)
    assert (len(found.group), found.record.get("GSE.EXTRA"), found.record.comments) == (
        2, "kept", ("mine",))
    assert found.record.get("Polaron.reference") == "dark.xdi"
    assert treat(measured, edge="Bi-L3")[0].record.get("Element.edge") == "L3"
    with pytest.raises(InputError, match="not energies of the Pb-L3 edge"):
        treat(measured, edge="Pb-L3")
    with pytest.raises(InputError, match="does not say which edge"):
        treat(gather(scans[1:], scans[2:], recipe))


def test_judge_finds_the_scenario_that_made_the_transient_and_its_place(
        theory: ScenarioSet) -> None:
    cubic = theory.scenarios[1]
    offset_eV = 13472 - theory.first_maximum_eV
    energy = np.arange(13465.0, 13500.0)
    signal = 0.1 * np.interp(energy - offset_eV, cubic.energy_eV, cubic.difference)
    error = 1e-3 * np.abs(signal).max()
    transient = Scan(energy, signal, np.full(len(energy), error**2))
    found = judge(transient, theory, 13472.0, shifted=False)
    assert found.found.best is not None
    assert found.found.best.name == cubic.name
    assert found.found.best.strength == pytest.approx(0.1, rel=0.05)
    assert found.place.offset_eV == pytest.approx(offset_eV)
    assert "was put on the published one" in found.words[0]
    above = judge(transient, theory, 13472.0, shifted=False, window="above-edge")
    assert above.transient.energy_eV[0] >= 13472 + 8
    with pytest.raises(InputError, match="different axes"):
        judge(transient, theory)


def test_converge_cuts_chains_without_a_calculation(
        results: StudyResults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(converge_room, "plan", lambda study: ())
    monkeypatch.setattr(converge_room, "collect", lambda *_: results)
    asked: list[int] = []
    longest = max(len(a) for save in results.chains.values() for a in save.a)
    found = converge(results.study, {}, [100, 200, longest], Store(tmp_path),
                     lambda jobs: asked.append(len(jobs)))
    assert asked == [0]
    moved = [row.difference_percent for row in found.rows]
    assert moved[0] > moved[1] > moved[2] == 0
    assert found.table()["core_hours"] == [None] * 3
    assert found.recommendations(1e9) == [
        f"lanczos: 100 is enough: the difference moves by {moved[0]:.1f} % (allowed 1e+09 %) up to"
        f" {longest}"]
    with pytest.raises(InputError, match="nothing to vary"):
        converge(results.study, {}, [], Store(tmp_path), asked.append)
    with pytest.raises(InputError, match="at least two numbers"):
        converge(results.study, {}, [20], Store(tmp_path), asked.append)


def test_tables_of_spectra_agree_with_each_other(results: StudyResults, tmp_path: Path) -> None:
    spectra = study_spectra(results, results.study.spectra)
    paths = write_tables(spectra, tmp_path)
    assert [p.name for p in paths] == ["spectra.csv", "sites.csv", "differences.csv", "shifts.csv"]
    with open(paths[0], newline="") as handle:
        rows = list(csv.DictReader(handle))
    column = {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}
    base = column[spectra.reference]
    for name, percent in largest_percent(spectra, spectra).items():
        assert percent == pytest.approx(100 * abs(column[name] - base).max() / base.max(), rel=1e-6)


def test_modes_with_espresso_are_planned_once_and_a_wrong_wish_is_refused_before(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crystal = Crystal(4.3 * np.eye(3), ("Cs", "Br"), [[0, 0, 0], [0.5, 0.5, 0.5]], "CsBr")
    k = 1.5  # eV/Å², of a spring that ties the two atoms in every direction

    def plan(rest: Crystal, cells: list[Crystal], settings: ForceSettings) -> SimpleNamespace:
        return SimpleNamespace(all=lambda: ["job"], cells=cells, rest=rest)

    def collect(jobs: SimpleNamespace, store: Store) -> list[np.ndarray]:
        moved = [(cell.positions - jobs.rest.positions) @ jobs.rest.lattice_A
                 for cell in jobs.cells]
        return [k * np.array([u[1] - u[0], u[0] - u[1]]) for u in moved]

    def respond(jobs: SimpleNamespace, store: Store) -> FieldResponse:
        return FieldResponse(4 * np.eye(3), np.array([np.eye(3), -np.eye(3)]))

    monkeypatch.setattr(forces_room, "plan_forces", plan)
    monkeypatch.setattr(forces_room, "collect_forces", collect)
    monkeypatch.setattr(forces_room, "collect_response", respond)
    ran: list[list[object]] = []
    found = espresso_modes(crystal, ForceSettings(), Store(tmp_path), ran.append, direction="c",
                           relaxation="none")
    assert ran == [["job"]]
    m = crystal.masses_amu
    # ħ sqrt(k/μ) in meV, with ħ²/(amu Å²) = 4.1801593 meV.
    expected = 1e3 * np.sqrt(4.1801593e-3 * k * (1 / m[0] + 1 / m[1]))
    assert found.transverse is not None
    np.testing.assert_allclose(found.transverse.energies_meV[3:], expected, rtol=1e-5)
    assert found.modes.energies_meV[-1] > 1.01 * expected
    assert "relaxed: none; displacement 0.01A" in found.modes.provenance
    for wrong in ({"direction": "x"}, {"distance_A": -1.0}):
        with pytest.raises(InputError):
            espresso_modes(crystal, ForceSettings(), Store(tmp_path), ran.append,
                           relaxation="none", **wrong)  # type: ignore[arg-type]
    assert len(ran) == 1


def test_what_is_not_a_number_is_null_and_records_are_plain(
        capsys: pytest.CaptureFixture[str]) -> None:
    record = {"a": np.array([1.0, np.nan]), "b": np.float64(np.inf), "c": Path("x"), "d": (1, None),
              "e": Recipe((Step("combine", {"k": 1}),))}
    emit(argparse.Namespace(json=True), record, ["unused"])
    assert json.loads(capsys.readouterr().out) == {
        "a": [1.0, None], "b": None, "c": "x", "d": [1, None],
        "e": {"steps": [{"name": "combine", "parameters": {"k": 1}}]}}
    assert plain(np.int64(3)) == 3
    emit(argparse.Namespace(json=False), record, ["for", "people"])
    assert capsys.readouterr().out == "for\npeople\n"


def test_a_table_aligns_words_numbers_and_gaps() -> None:
    lines = list(tables.Table({"name": "6s", "right": ">7s", "x": "+7.2f"},
                              [("a", "b", 1.234), ("c", None, None), ("d", "e", "word")]))
    assert lines == ["name    right      x", "a           b  +1.23", "c           -      -",
                     "d           e   word"]


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="choose another folder"):
        make_folder(tmp_path / "file" / "below")


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_is_explained(verb: str) -> None:
    parser = argparse.ArgumentParser()
    load(verb).add_arguments(parser)
    for action in parser._actions:
        assert action.help, action.option_strings
    assert build_parser(verb).parse_args([]).verb is None


def test_one_job_at_least_and_units_are_asked_for_before_any_work(
        capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "missing.toml", "--ranks", "0"]) == 2
    assert "--ranks 0 is not a positive number" in capsys.readouterr().err
    assert main(["lanczos", "missing.sav", "--emin", "-10"]) == 2
    assert "no unit" in capsys.readouterr().err
