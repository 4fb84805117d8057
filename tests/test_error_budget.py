"""The error budget: what a better setting changes, kept with the results it was made for."""

import json
import shutil
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from scipy.interpolate import CubicSpline

from perovskite_polaron.cli.main import main
from perovskite_polaron.errors import InputError
from perovskite_polaron.espresso.savefile import read_save
from perovskite_polaron.spectra.budget import (
    BUDGET_FILE, ErrorBudget, Source, merged, read_budget, sigma, write_budget)
from perovskite_polaron.workflow.converge import SETTINGS
from perovskite_polaron.workflow.escalate import ESCALATED, escalate, next_value, value_of
from perovskite_polaron.workflow.jobs import plan, study_jobs
from perovskite_polaron.workflow.results import collect, read_results
from perovskite_polaron.workflow.scenarios import BUILT_IN
from perovskite_polaron.workflow.spectra import budget_key, load_results, study_spectra
from perovskite_polaron.workflow.store import Store
from perovskite_polaron.workflow.study import read_study

ENERGY = np.linspace(-10, 60, 141)
ROWS = np.array([np.sin(ENERGY / 3), 0.5 * np.cos(ENERGY / 5)])


def budget(*sources, rows=ROWS, made_for=None):
    return ErrorBudget(ENERGY, sources, rows[: len(sources)], made_for or {})


def grid(structure, q=None):
    return Source("spectrum-kpoints", "4x4x2", "6x6x4", structure, q)


def cut(structure, q=None):
    return Source("cutoff", "35Ry", "45Ry", structure, q)


def test_independent_sources_add_in_square():
    found = budget(grid("lo@0.1", 2.0), cut("lo@0.1", 2.0)).of("lo@0.1", 2.0, 2)
    np.testing.assert_allclose(sigma(found) ** 2, ROWS[0] ** 2 + ROWS[1] ** 2, rtol=1e-12)
    assert not budget(grid("lo@0.1", 2.0)).of("cubic", None, 2)


@pytest.mark.parametrize("power", [1, 2])
def test_another_amplitude_takes_the_rows_as_its_difference_grows(power):
    found = budget(grid("lo@0.1", 2.0), grid("lo@0.2", 4.0))
    for name, q, row in (("lo@0.05", 1.0, ROWS[0] / 2**power), ("lo@0.1", 2.0, ROWS[0]),
                         ("lo@0.15", 3.1, ROWS[1] * (3.1 / 4) ** power)):
        ((setting, own),) = found.of(name, q, power).items()
        assert setting == "spectrum-kpoints"
        np.testing.assert_allclose(own, row)
    assert not found.of("la@0.05", 1.0, power)


def test_it_is_kept_whole_and_a_setting_is_replaced_by_its_newer_row(tmp_path):
    old = budget(grid("lo"), cut("lo"), made_for={"pw": {"kpoints": [2, 2, 1]}})
    write_budget(old, tmp_path)
    again = read_budget(tmp_path)
    assert (again.sources, again.made_for) == (old.sources, old.made_for)
    np.testing.assert_array_equal(again.changes_percent, ROWS)
    newer = budget(cut("lo"), rows=3 * ROWS, made_for=old.made_for)
    both = merged(again, newer)
    assert both.sources == (grid("lo"), cut("lo"))
    np.testing.assert_array_equal(both.changes_percent, [ROWS[0], 3 * ROWS[0]])
    elsewhere = replace(newer, made_for={"pw": {"kpoints": [4, 4, 2]}})
    assert merged(again, elsewhere) is elsewhere
    assert read_budget(tmp_path / "nowhere") is None
    (tmp_path / BUDGET_FILE).write_bytes(b"PK")
    with pytest.raises(InputError, match="run polaron converge again"):
        read_budget(tmp_path)


@pytest.fixture
def bundled(tmp_path):
    """The bundled results with a budget for one amplitude of the sweep."""
    folder = tmp_path / "set"
    shutil.copytree(BUILT_IN, folder, ignore=shutil.ignore_patterns("jobs.tar.xz"))
    results = read_results(folder)
    q = next(s.amplitude_sqrt_amu_A for s in results.structures if s.name == "lo@0.1")
    key = budget_key(results.study, results.study.spectra, ["lo"])
    write_budget(budget(grid("lo@0.1", q), cut("lo@0.1", q), made_for=key), folder)
    return folder


def test_spectra_print_and_write_what_the_settings_may_still_change(bundled, tmp_path, capsys):
    main(["spectra", str(bundled), "--out", str(tmp_path / "out"), "--json"])
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["differences"]}
    largest = float(sigma({"grid": ROWS[0], "cut": ROWS[1]}).max())
    assert rows["lo@0.1"]["calculation_error_percent"] == pytest.approx(largest, rel=0.01)
    assert rows["lo@0.05"]["calculation_error_percent"] == pytest.approx(largest / 4, rel=0.01)
    assert rows["cubic"]["calculation_error_percent"] is None
    header = (tmp_path / "out" / "calculation_error.csv").read_text().splitlines()[0]
    assert header.count("calculation error (% of the maximum of ground)") == 5
    main(["spectra", str(bundled), "--out", str(tmp_path / "out")])
    said = capsys.readouterr().out
    assert f"±{largest:.2f}" in said
    assert "not estimated" in said


def test_a_budget_that_was_made_for_other_settings_is_not_used(bundled):
    results, settings, _ = load_results(bundled)
    assert set(study_spectra(results, settings).budget) == {
        "lo@0.02", "lo@0.05", "lo@0.1", "lo@0.15", "lo@0.2"}
    finer = replace(results.study, xspectra=replace(results.study.xspectra, kpoints=(4, 4, 2)))
    for one, how in ((results, replace(settings, core_hole_hwhm_eV=1.0)),
                     (results, replace(settings, alignment="fermi")),
                     (results, replace(settings, energy_max_eV=61.0)),
                     (replace(results, study=finer), settings)):
        assert not study_spectra(one, how).budget
    # Curves over energy in per cent do not know these.
    assert study_spectra(results, replace(settings, points=500, normalisation="area")).budget


def test_the_next_grid_is_finer_in_every_direction_that_is_coarse(tmp_path):
    study = read_study(Path(__file__).parent.parent / "examples" / "cspbbr3-sweep.toml")
    found = []
    for _ in range(3):
        found.append(next_value(study, "spectrum-kpoints"))
        study = SETTINGS["spectrum-kpoints"](study, found[-1])
        assert value_of(study, "spectrum-kpoints") == found[-1]
    assert found == ["4x4x2", "6x6x4", "10x10x6"]
    assert next_value(study, "cutoff") == "45Ry"
    for setting in chain(*ESCALATED.values()):
        better = SETTINGS[setting](study, next_value(study, setting))
        assert value_of(better, setting) == next_value(study, setting) != value_of(study, setting)


@pytest.mark.espresso
def test_a_step_is_judged_and_becomes_a_row(tiny_study, tmp_path):
    """With every site and polarisation in the part, a row is the change of the averages."""
    from perovskite_polaron.workflow.execute import run_jobs

    study = replace(read_study(tiny_study), path=tiny_study)
    store, said = Store(study.store_folder), []
    found = escalate(study, store, lambda jobs: run_jobs(jobs, store, ranks=1, jobs_at_once=2),
                     tolerance_percent=1e4, share=1.0, settings=("relative-error",),
                     given=(("cut-above", "0.5eV"), ("r-paw", "1")), announce=said.append)
    step, cut_above, r_paw = found.steps
    assert (step.setting, step.settled, found.study) == ("relative-error", True, study)
    assert any("core-hours of a first step: relative-error" in words for words in said)
    better = SETTINGS["relative-error"](study, step.better)
    chains = [[job for job in study_jobs(plan(one)) if job.kind == "xas"]
              for one in (study, better)]
    reached = max(store.result(job)["worst_error"] for job in chains[0])
    assert float(step.better) == pytest.approx(
        min(study.xspectra.relative_error, reached) / 3, rel=0.02)
    steps = [sum(len(read_save(store.folder(job) / "chain.sav").a[0]) for job in jobs)
             for jobs in chains]
    assert steps[1] > steps[0], "the next value makes longer chains"
    old, new = (study_spectra(collect(one, plan(one), store), study.spectra)
                for one in (study, better))
    top = old.structures["cubic"].average.intensity.max()
    assert [(s.setting, s.value, s.better) for s in (cut_above, r_paw)] == [
        ("cut-above", "0.3eV", "0.5eV"), ("r-paw", "1.5", "1")]
    assert r_paw.change_difference_percent > 0
    assert cut_above.change_difference_percent < 1e-6, "nothing is in the gap"
    assert [source.setting for source in found.budget.sources] == [
        name for name in ("relative-error", "cut-above 0.5eV", "r-paw 1") for _ in range(2)]
    for source, row in zip(found.budget.sources[:2], found.budget.changes_percent, strict=False):
        change = [s.structures[source.structure].average.intensity
                  - s.structures["cubic"].average.intensity for s in (old, new)]
        energy = new.structures["cubic"].average.energy_eV
        change[1] = CubicSpline(energy, change[1])(energy - step.shift_eV)
        # A density that is gone is converged anew for the next chain, to its own last digits.
        np.testing.assert_allclose(row, 100 * (change[1] - change[0]) / top, rtol=0,
                                   atol=1e-3 * np.abs(row).max())
    assert {s.structure for s in found.budget.sources} == {"polar@0.1", "polar@-0.1"}
    with pytest.raises(InputError, match="'0x1x1' is not a grid"):
        escalate(study, store, list, given=(("supercell", "0x1x1"),))
    with pytest.raises(InputError, match="cannot be escalated"):
        escalate(study, store, list, settings=("pressure",))
