"""Real runs of pw.x and xspectra.x on a small cell: the laws that every correct calculation keeps,
and resuming.
"""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import polaron, two_at_a_time, write_tiny_study

from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.files import read_crystal, write_crystal
from perovskite_polaron.workflow.execute import run_jobs
from perovskite_polaron.workflow.jobs import plan, study_jobs
from perovskite_polaron.workflow.results import collect, read_results, write_results
from perovskite_polaron.workflow.spectra import study_spectra
from perovskite_polaron.workflow.store import Store
from perovskite_polaron.workflow.study import read_study

pytestmark = pytest.mark.espresso
# The folder of a study, and how its run ended.
Done = tuple[Path, subprocess.CompletedProcess[str]]
Begun = dict[str, Future[Any]]


def spectra_of(path: Path, **changes: object):  # type: ignore[no-untyped-def]
    study = read_study(path)
    results = collect(study, plan(study), Store(study.store_folder))
    return results, study_spectra(results, replace(study.spectra, **changes))


def variant(path: Path, tmp_path: Path, *changes: tuple[str, str]) -> Path:
    """A study that differs in a few words and shares the store, so that only what differs is
    computed.
    """
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    text += f'\n[run]\nstore = "{path.parent / "tiny-results"}"\n'
    # Each under its own name: a store keeps one plan for each name of a study.
    other = tmp_path / f"{tmp_path.name}.toml"
    other.write_text(text)
    done = polaron("run", other.name, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    return other


def run_minus(study: Path, folder: Path) -> Path:
    plus = read_crystal(study.parent / "tiny-results" / "structures" / "polar@0.1.cif")
    cubic = read_crystal("cspbbr3-pm3m")
    minus = Crystal(plus.lattice_A, plus.species, 2 * cubic.positions - plus.positions)
    return run_beside("minus", minus, study, folder)


def run_other(study: Path, folder: Path) -> Path:
    # The same crystal with its Br atoms listed in another order: another atom of the same orbit is
    # computed.
    cubic = read_crystal("cspbbr3-pm3m")
    order = [0, 1, 4, 3, 2]
    other = Crystal(cubic.lattice_A, tuple(cubic.species[i] for i in order),
                    cubic.positions[order])
    return run_beside("other", other, study, folder)


def run_beside(name: str, crystal: Crystal, study: Path, folder: Path) -> Path:
    """Run the small study with a crystal in the place of its displaced structures."""
    write_crystal(crystal, folder / f"{name}.cif")
    block = f'[structures.{name}]\ncrystal = "{folder / name}.cif"\n\n'
    return variant(study, folder, (displaced(study), block))


def run_without_hole(study: Path, folder: Path) -> Path:
    return variant(study, folder, (displaced(study), ""),
                   ("[pw]", '[core_hole]\nkind = "none"\n\n[pw]'))


def displaced(study: Path) -> str:
    """Return the table of the displaced structures in the text of the small study."""
    text = study.read_text()
    return text[text.index("[structures.polar]") : text.index("[pw]")]


def run_csbr(folder: Path) -> Done:
    # CsBr: bromine on a site of full cubic symmetry.
    write_crystal(Crystal(np.eye(3) * 4.286, ("Cs", "Br"), [[0, 0, 0], [0.5, 0.5, 0.5]]),
                  folder / "csbr.cif")
    (folder / "csbr.toml").write_text('element = "Br"\nreference = "csbr"\n[structures.csbr]\n'
                                      'crystal = "csbr.cif"\n[core_hole]\n'
                                      'min_image_distance_A = 4\n'
                                      "[pw]\necutwfc_Ry = 20\necutrho_Ry = 100\n"
                                      "kpoints = [2, 2, 2]\nsystem = { nbnd = 12 }\n"
                                      "[xspectra]\nkpoints = [2, 2, 2]\nrelative_error = 0.005\n")
    return folder, polaron("run", "csbr.toml", cwd=folder)


def run_hole(kind: str, folder: Path) -> Done:
    (folder / "s.toml").write_text('element = "Br"\nreference = "a"\n'
                                   'polarisations = ["z"]\n[structures.a]\n'
                                   'crystal = "cspbbr3-pm3m"\n'
                                   f'[core_hole]\nkind = "{kind}"\n'
                                   "[pw]\necutwfc_Ry = 16\necutrho_Ry = 100\n"
                                   "kpoints = [1, 1, 1]\nkpoint_shift = [0, 0, 0]\n"
                                   "degauss_Ry = 0.01\n"
                                   "[xspectra]\nkpoints = [1, 1, 1]\nkpoint_shift = [0, 0, 0]\n"
                                   "relative_error = 0.05\n")
    return folder, polaron("run", "s.toml", cwd=folder)


def run_prepared(folder: Path) -> tuple[subprocess.CompletedProcess[str], ...]:
    (folder / "s.toml").write_text('element = "Br"\nreference = "a"\n'
                                   'polarisations = ["x", "y", "z"]\n[structures.a]\n'
                                   'crystal = "cspbbr3-pm3m"\n'
                                   "[pw]\necutwfc_Ry = 16\necutrho_Ry = 100\n"
                                   "kpoints = [1, 1, 1]\nkpoint_shift = [0, 0, 0]\n"
                                   "system = { nbnd = 26 }\n"
                                   "[xspectra]\nkpoints = [1, 1, 1]\nkpoint_shift = [0, 0, 0]\n"
                                   "relative_error = 0.05\n")
    prepared = polaron("prepare", "s.toml", cwd=folder)
    by_hand = subprocess.run(["sh", "s-results/run-all.sh"], cwd=folder, capture_output=True,
                             text=True, check=False)
    return prepared, by_hand, polaron("run", "s.toml", cwd=folder)


def run_changed(old: str, new: str, folder: Path) -> Done:
    path = write_tiny_study(folder)
    path.write_text(path.read_text().replace(old, new))
    return folder, polaron("run", path.name, cwd=folder)


@pytest.fixture(scope="module")
def begun(tiny_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Begun]:
    """Real runs, two at a time: the jobs of one wait for each other."""
    work: dict[str, tuple[Any, ...]] = {
        "minus": (run_minus, tiny_study), "other": (run_other, tiny_study),
        "none": (run_without_hole, tiny_study), "csbr": (run_csbr,), "prepared": (run_prepared,),
        "half": (run_hole, "half"), "excited-electron": (run_hole, "excited-electron"),
        "unconverged": (run_changed, "[xspectra]",
                        "[pw.electrons]\nelectron_maxstep = 1\n\n[xspectra]"),
        "crash": (run_changed, "nbnd = 26", 'nbnd = 26, input_dft = "nonsense"')}
    with two_at_a_time() as pool:
        yield {name: pool.submit(*words, tmp_path_factory.mktemp(name))
               for name, words in work.items()}


def test_the_difference_of_a_structure_with_itself_is_zero_and_signs_agree(
    tiny_study: Path) -> None:
    _, spectra = spectra_of(tiny_study)
    assert set(spectra.differences) == {"polar@0.1", "polar@-0.1"}
    np.testing.assert_array_equal(
        spectra.differences["polar@0.1"].intensity, spectra.differences["polar@-0.1"].intensity
    )
    assert np.abs(spectra.differences["polar@0.1"].intensity).max() > 0
    jobs = study_jobs(plan(read_study(tiny_study)))
    assert len(jobs) == 14, "-Q is the image of +Q and must not be computed twice"


def test_minus_q_computed_in_full_gives_the_spectrum_of_plus_q(tiny_study: Path,
                                                               begun: Begun) -> None:
    _, spectra = spectra_of(tiny_study)
    _, full = spectra_of(begun["minus"].result())
    signal_size = np.abs(spectra.differences["polar@0.1"].intensity).max()
    error = np.abs(full.differences["minus"].intensity
                   - spectra.differences["polar@0.1"].intensity).max()
    assert error < 0.02 * signal_size


def test_equivalent_absorbers_give_the_same_spectrum(begun: Begun) -> None:
    results, spectra = spectra_of(begun["other"].result())
    sites = [s.sites[0] for s in results.structures]
    assert sites[0].hole["digest"] != sites[1].hole["digest"]
    one, two = (spectra.structures[name].average.intensity for name in ("cubic", "other"))
    np.testing.assert_allclose(two, one, atol=5e-3 * one.max())
    assert abs(spectra.shifts[1].shift_eV) < 2e-3


def test_a_core_hole_changes_the_spectrum(tiny_study: Path, begun: Begun) -> None:
    _, with_hole = spectra_of(tiny_study)
    _, without = spectra_of(begun["none"].result())
    a = with_hole.structures["cubic"].average.intensity
    b = without.structures["cubic"].average.intensity
    assert np.abs(a / a.max() - b / b.max()).max() > 0.05


def test_the_trace_of_a_cubic_site_is_three_equal_parts(begun: Begun) -> None:
    folder, done = begun["csbr"].result()
    assert done.returncode == 0, done.stderr
    study = read_study(folder / "csbr.toml")
    results = collect(study, plan(study), Store(study.store_folder))
    from perovskite_polaron.espresso.lanczos import evaluate

    grid = np.linspace(-5, 40, 400)
    x, y, z = (evaluate(results.chains[f"csbr/Br2-1b/{axis}"], grid, 1.26).total for axis in "xyz")
    np.testing.assert_allclose(y, x, atol=1e-2 * x.max())
    np.testing.assert_allclose(z, x, atol=1e-2 * x.max())


def test_results_travel_without_the_store(tiny_study: Path, tmp_path: Path) -> None:
    results, spectra = spectra_of(tiny_study)
    write_results(results, tmp_path)
    again = study_spectra(read_results(tmp_path), spectra.settings)
    for name, one in spectra.structures.items():
        np.testing.assert_array_equal(again.structures[name].average.intensity,
                                      one.average.intensity)


def test_the_spectra_command_writes_tables_and_figures(tiny_study: Path, tmp_path: Path) -> None:
    done = polaron("spectra", tiny_study.name, "--out", str(tmp_path / "out"), "--json",
                   cwd=tiny_study.parent)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert all(Path(f).stat().st_size > 0 for f in report["files"])
    assert {Path(f).name for f in report["files"]} >= {"difference.png", "difference.svg",
                                                       "alignment.png", "shifts.csv"}
    on = [s["shift_eV"] for s in report["shifts_eV"]]
    off = json.loads(polaron("spectra", tiny_study.name, "--alignment", "fermi", "--out",
                             str(tmp_path / "off"), "--json", cwd=tiny_study.parent).stdout)
    assert any(abs(shift) > 1e-3 for shift in on)
    assert all(s["shift_eV"] == 0 for s in off["shifts_eV"])


def test_a_killed_run_resumes_without_repeating_a_job(
        tiny_study: Path, player: Path, tmp_path: Path) -> None:
    path = write_tiny_study(tmp_path)
    played = os.environ | {"POLARON_ESPRESSO_BIN": str(player), "POLARON_TAPE_SECONDS": "0.2"}
    runner = subprocess.Popen([sys.executable, "-m", "perovskite_polaron.cli.main", "run",
                               path.name], cwd=tmp_path, env=played, stderr=subprocess.DEVNULL)
    results = tmp_path / "tiny-results" / "jobs"
    deadline = time.monotonic() + 300
    while len(list(results.glob("*/result.json"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.kill(runner.pid, signal.SIGKILL)
    runner.wait()
    first = {p: p.read_bytes() for p in results.glob("*/result.json")}
    assert 2 <= len(first) < 14
    done = polaron("run", path.name, "--jobs", "1", cwd=tmp_path, env=played, timeout=600)
    assert done.returncode == 0, done.stderr
    assert f"{len(first)} done" in done.stderr
    assert {p: p.read_bytes() for p in first} == first
    _, resumed = spectra_of(path)
    _, whole = spectra_of(tiny_study)
    for name, one in whole.structures.items():
        np.testing.assert_array_equal(resumed.structures[name].average.intensity,
                                      one.average.intensity)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_the_programs_and_keeps_what_is_done(tmp_path: Path,
                                                         how: signal.Signals) -> None:
    path = write_tiny_study(tmp_path)
    runner = subprocess.Popen([sys.executable, "-m", "perovskite_polaron.cli.main", "run",
                               path.name], cwd=tmp_path, stderr=subprocess.PIPE, text=True,
                              preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    jobs = tmp_path / "tiny-results" / "jobs"
    deadline = time.monotonic() + 120
    while not list(jobs.glob("*/pw.out")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(0.5)
    runner.send_signal(how)
    _, errors = runner.communicate(timeout=60)
    assert runner.returncode == 130
    assert errors.splitlines()[-1].startswith("polaron: interrupted; finished work is kept")
    assert "Traceback" not in errors
    ours = [p for p in Path("/proc").glob("[0-9]*/cwd") if _link(p).startswith(str(tmp_path))]
    assert ours == [], "a program outlived its runner"
    status = json.loads(polaron("status", path.name, "--json", cwd=tmp_path).stdout)
    assert status["running"] == 0


def _link(path: Path) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def test_two_runners_share_the_work(player: Path, tmp_path: Path) -> None:
    path, log = write_tiny_study(tmp_path), tmp_path / "log"
    played = os.environ | {"POLARON_ESPRESSO_BIN": str(player), "POLARON_TAPE_LOG": str(log),
                           "POLARON_TAPE_SECONDS": "0.1"}
    command = [sys.executable, "-m", "perovskite_polaron.cli.main", "run", path.name, "--ranks",
               "1", "--jobs", "2"]
    runners = [subprocess.Popen(command, cwd=tmp_path, env=played, stderr=subprocess.PIPE,
                                text=True) for _ in range(2)]
    said = [r.communicate(timeout=900)[1] for r in runners]
    assert [r.returncode for r in runners] == [0, 0], said
    finished = [line.split("] ")[1] for text in said for line in text.splitlines()
                if line.startswith("[") and "/" in line[:6]]
    assert len(finished) == 14
    assert len({line.split(":")[0] for line in finished}) == 14, "a job was computed twice"
    started = [line for line in log.read_text().splitlines() if line.startswith("start")]
    assert len(started) == len(set(started)) == 14
    study = read_study(path)
    store = Store(study.store_folder)
    assert not [job.label for job in study_jobs(plan(study)) if store.has_density(job)]


def test_prepared_decks_are_run_by_hand_and_taken_in(begun: Begun) -> None:
    prepared, by_hand, done = begun["prepared"].result()
    assert prepared.returncode == 0
    assert by_hand.returncode == 0, by_hand.stderr
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("found finished") == 5


@pytest.mark.parametrize(("kind", "electrons"), [("half", 44.0), ("excited-electron", 45.0)])
def test_other_core_holes_run_and_align(begun: Begun, kind: str, electrons: float) -> None:
    folder, done = begun[kind].result()
    assert done.returncode == 0, done.stderr
    results, spectra = spectra_of(folder / "s.toml")
    site = results.structures[0].sites[0]
    assert site.hole["electrons"] == electrons
    # With an empty band the level above the filled ones is known for every kind of hole.
    assert site.hole["lowest_empty_eV"] > site.hole["highest_occupied_eV"]
    assert abs(spectra.shifts[0].shift_eV) < 1e-12, "the only site is the reference"
    assert spectra.structures["a"].average.intensity.max() > 0


def test_a_cycle_that_does_not_converge_is_a_failure_with_a_remedy(begun: Begun) -> None:
    folder, done = begun["unconverged"].result()
    assert done.returncode == 1
    assert "did not converge" in done.stderr
    assert not list((folder / "tiny-results" / "jobs").glob("*/result.json"))


def test_a_crash_of_pw_is_reported_with_its_own_words(begun: Begun) -> None:
    _, done = begun["crash"].result()
    assert done.returncode == 1
    assert "pw.x failed: error in its routine" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_full_disk_leaves_nothing_half_written(tiny_study: Path, tmp_path: Path) -> None:
    results, _ = spectra_of(tiny_study)
    write_results(results, tmp_path)

    def small_files_only() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    done = polaron("spectra", str(tmp_path), "--out", "out", cwd=tmp_path,
                   preexec_fn=small_files_only)
    assert done.returncode == 1
    assert "was not written" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.rglob(".tmp-*"))
    assert not list((tmp_path / "out").iterdir())


def test_a_save_file_of_another_structure_is_refused(tiny_study: Path, begun: Begun,
                                                     tmp_path: Path) -> None:
    wait(begun.values())  # nobody works in the store while it is copied
    study = tmp_path / "study"
    shutil.copytree(tiny_study.parent, study)
    # Other tests may have left jobs of other studies in this store: those of the plan are meant.
    planned = read_study(study / tiny_study.name)
    folders = {job.label: Store(planned.store_folder).folder(job)
               for job in study_jobs(plan(planned)) if job.kind == "xas"}
    other = next(folder for label, folder in folders.items() if label.startswith("polar"))
    shutil.copy(other / "chain.sav", folders["cubic-Br3-3d-x"] / "chain.sav")
    done = polaron("spectra", tiny_study.name, cwd=study)
    assert done.returncode == 1
    complaint = "is not the save file of cubic-Br3-3d-x: it is not the file that this job wrote"
    assert complaint in done.stderr


def test_an_element_that_is_not_there_is_refused_before_any_work(tmp_path: Path) -> None:
    path = write_tiny_study(tmp_path)
    path.write_text(path.read_text().replace('element = "Br"', 'element = "Cl"'))
    done = polaron("run", path.name, cwd=tmp_path)
    assert done.returncode == 2
    assert "Cl" in done.stderr
    assert not (tmp_path / "tiny-results").exists()


def test_a_pseudopotential_without_gipaw_is_refused_before_any_work(tmp_path: Path) -> None:
    made = polaron("pseudo", "Pb", "--no-box", "--json", cwd=tmp_path)
    lead = Path(json.loads(made.stdout)["path"])
    (tmp_path / "Br.UPF").write_text(lead.read_text().replace('element="Pb"', 'element="Br"'))
    path = write_tiny_study(tmp_path)
    path.write_text(path.read_text() + '[pseudopotentials]\nBr = "Br.UPF"\n')
    done = polaron("run", path.name, cwd=tmp_path)
    assert done.returncode == 2
    assert "has no section PP_GIPAW" in done.stderr
    assert not (tmp_path / "tiny-results").exists()


def test_the_runner_reports_what_it_does(tiny_study: Path) -> None:
    study = read_study(tiny_study)
    store = Store(study.store_folder)
    events: list[str] = []
    run_jobs(study_jobs(plan(study)), store, ranks=1, jobs_at_once=1,
             report=lambda e: events.append(e.what))
    assert events == [], "a finished study starts nothing"
    status = json.loads(polaron("status", tiny_study.name, "--json", cwd=tiny_study.parent).stdout)
    assert (status["done"], status["todo"], status["failed"], status["running"]) == (14, 0, 0, 0)
    assert status["core_hours"] > 0
