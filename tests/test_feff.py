"""FEFF10 itself: laws that its small differences keep, and what becomes of a failure.

Clusters are as small as the laws allow, so that a site takes seconds.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import POLARON, polaron, processes_in

from perovskite_polaron.analysis.matched import Axis, Matched, MatchFit, Width, write_matched
from perovskite_polaron.analysis.scenarios import ScenarioSet
from perovskite_polaron.lattice.crystal import Crystal, supercell
from perovskite_polaron.lattice.symmetry import absorbers, find_symmetry
from perovskite_polaron.phonons.distortion import distort
from perovskite_polaron.phonons.modes import read_modes
from perovskite_polaron.report.subject import Subject
from perovskite_polaron.workflow.escalate import next_value
from perovskite_polaron.workflow.execute import run_jobs
from perovskite_polaron.workflow.feff_jobs import POWDER, feff_jobs
from perovskite_polaron.workflow.job import StructureJobs
from perovskite_polaron.workflow.jobs import study_jobs
from perovskite_polaron.workflow.results import collect, read_results, write_results
from perovskite_polaron.workflow.scenarios import BUILT_IN
from perovskite_polaron.workflow.spectra import load_results, study_spectra
from perovskite_polaron.workflow.steady_state import reference_id
from perovskite_polaron.workflow.store import Store
from perovskite_polaron.workflow.structures import StudyStructure, study_structures
from perovskite_polaron.workflow.study import Study, read_study

feff10 = pytest.importorskip("feff10", reason="feff10-rs is not installed (extra feff)")
pytestmark = pytest.mark.feff

LAWS = """
element = "{element}"
edge = "{edge}"
reference = "ground"
[engine]
kind = "feff"
[structures.ground]
crystal = "cspbbr3-pbnm"
[structures.lo]
crystal = "cspbbr3-pbnm"
modes = ["lo-c"]
max_displacement_A = {amplitudes}
[feff]
cluster_radius_A = {radius}
scf_radius_A = 3.2
l_max = 3
energy_max_eV = 50
[spectra]
energy_max_eV = 46
"""
CUBIC = """
element = "Br"
reference = "cubic"
[engine]
kind = "feff"
[structures.cubic]
crystal = "cspbbr3-pm3m"
[structures.polar]
crystal = "cspbbr3-pm3m"
modes = ["{mode}"]
max_displacement_A = [0.05]
[feff]
cluster_radius_A = 4.5
scf_radius_A = 3.2
l_max = 3
energy_max_eV = 45
{more}
[spectra]
energy_max_eV = 40
"""
MODE = Path(__file__).parent.parent / "examples" / "modes" / "cubic_polar.json"
Curves = dict[str, np.ndarray]


def computed(path: Path, more: Sequence[StudyStructure] = ()) -> tuple[list[StructureJobs], Store]:
    """Run a study, with further structures in the same potentials."""
    study = read_study(path)
    planned = list(feff_jobs(study, [*study_structures(study), *more]))
    store = Store(study.store_folder)
    run_jobs(study_jobs(planned), store, ranks=1, jobs_at_once=2)
    return planned, store


def like(one: StudyStructure, name: str, crystal: Crystal) -> StudyStructure:
    """Return a structure with this crystal, as if it had been read from a file."""
    symmetry = find_symmetry(crystal)
    sites = absorbers(crystal, "Br", symmetry)
    return StudyStructure(name, one.settings, crystal, symmetry, sites)


@pytest.fixture(scope="module")
def laws(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Curves]]:
    """Orthorhombic CsPbBr3, LO(c), and the same crystal described in other ways: label -> curve.

    The study's own jobs go through Parsl, the further ones through the pool here.
    """
    path = tmp_path_factory.mktemp("laws") / "laws.toml"
    path.write_text(LAWS.format(element="Br", edge="K", amplitudes=[0.02, 0.05, 0.10], radius=4.6))
    (path.parent / "here.toml").write_text('provider = "local"\ncores = 2\n'
                                           'worker_address = "127.0.0.1"\n')
    done = polaron("run", path.name, "--executor", "here.toml", cwd=path.parent)
    assert done.returncode == 0, done.stderr
    study = read_study(path)
    ground = study_structures(study)[0]
    crystal, axis = ground.crystal, np.array([1.0, 2.0, -0.5]) / np.sqrt(5.25)
    cross = np.cross(np.eye(3), axis)
    turn = np.eye(3) + np.sin(0.7) * cross + (1 - np.cos(0.7)) * cross @ cross
    minus = distort(crystal, [read_modes("lo-c")[0]], [-0.05], unit="max_A")[0].crystal
    others = tuple(replace(one, index=one.indices[-1]) for one in ground.absorbers)
    more = (like(ground, "minus", minus), replace(ground, name="images", absorbers=others),
            like(ground, "turned", replace(crystal, lattice_A=crystal.lattice_A @ turn)),
            like(ground, "doubled", supercell(crystal, (1, 1, 2))))
    planned, store = computed(path, more)
    results = collect(study, planned, store)
    found = {s.name: {site.label: results.curves[site.chains[POWDER]].cross_section_A2
                      for site in s.sites} for s in results.structures}
    weights = {s.name: [site.multiplicity for site in s.sites] for s in results.structures}
    for name, curves in found.items():
        curves["mean"] = np.average(list(curves.values()), axis=0, weights=weights[name])
    return path, found


def test_the_difference_grows_with_the_square_of_the_amplitude(
        laws: tuple[Path, dict[str, Curves]]) -> None:
    _, found = laws
    small, large = (found[f"lo@{a}"]["mean"] - found["ground"]["mean"] for a in (0.02, 0.05))
    assert np.abs(small).max() > 1e-4 * found["ground"]["mean"].max()
    grown = (large @ small) / (small @ small)
    assert grown == pytest.approx(6.25, rel=0.02)
    assert np.corrcoef(small, large)[0, 1] > 0.999


def test_plus_and_minus_are_equal(laws: tuple[Path, dict[str, Curves]]) -> None:
    _, found = laws
    change = np.abs(found["lo@0.05"]["mean"] - found["ground"]["mean"]).max()
    assert np.abs(found["minus"]["mean"] - found["lo@0.05"]["mean"]).max() < 2e-3 * change


@pytest.mark.parametrize("name", ["images", "turned", "doubled"])
def test_equivalent_sites_and_turned_crystals_have_the_same_curve(
        name: str, laws: tuple[Path, dict[str, Curves]]) -> None:
    _, found = laws
    # FEFF inverts in single precision.
    for mine, other in zip(found["ground"].values(), found[name].values(), strict=True):
        assert np.abs(mine - other).max() < 3e-6 * mine.max()


def signs(path: Path, at_eV: Sequence[float], *, from_maximum: bool) -> list[float]:
    """Return the signs of the largest amplitude's difference, from the first maximum of the ground
    or from half the height above its edge.
    """
    results, settings, _ = load_results(path)
    spectra = study_spectra(results, settings)
    ground = spectra.structures["ground"].average
    rising = ground.intensity > 0.5 * ground.intensity[ground.energy_eV > 30].mean()
    zero = (ScenarioSet(ground.energy_eV, ground.intensity, ()).first_maximum_eV if from_maximum
            else ground.energy_eV[rising.argmax()])
    change = list(spectra.differences.values())[-1]
    return [float(np.sign(np.interp(zero + e, change.energy_eV, change.intensity))) for e in at_eV]


def test_the_published_signs_at_the_bromine_k_edge(laws: tuple[Path, dict[str, Curves]]) -> None:
    assert signs(laws[0], (13, 25, 36), from_maximum=True) == [-1, 1, -1]


def test_the_published_sequence_at_the_lead_l3_edge(tmp_path: Path) -> None:
    # XSpectra was not used for it: + where the edge rises, - at its top, + some 20 eV above it.
    path = tmp_path / "lead.toml"
    path.write_text(LAWS.format(element="Pb", edge="L3", amplitudes=[0.10], radius=6.0))
    computed(path)
    assert signs(path, (-9, -6, 6, 8, 16, 20), from_maximum=False) == [1, 1, -1, -1, 1, 1]


def test_what_is_stored_gives_any_width_axis_and_alignment(
        laws: tuple[Path, dict[str, Curves]], tmp_path: Path) -> None:
    path, _ = laws
    done = polaron("spectra", path.name, "--json", "--hwhm", "2eV", "--out", "wide",
                   cwd=path.parent)
    assert done.returncode == 0, done.stderr
    found = {d["name"]: d["largest_percent"] for d in json.loads(done.stdout)["differences"]}
    assert 5.9 < found["lo@0.05"] / found["lo@0.02"] < 6.3
    results = read_results(path.parent / "wide")
    for width, alignment in ((0.63, "fermi"), (1.26, "delta-scf"), (3.0, "delta-scf")):
        settings = replace(results.study.spectra, core_hole_hwhm_eV=width, alignment=alignment)
        spectra = study_spectra(results, settings)
        assert not spectra.part
        assert len({round(s.shift_eV, 6) for s in spectra.shifts if s.absorber == "Br9-4c"}) == 1
    again = write_results(results, tmp_path)
    for one in again:
        assert one.read_bytes() == (path.parent / "wide" / one.name).read_bytes()


def test_both_engines_agree_beyond_the_edge(laws: tuple[Path, dict[str, Curves]]) -> None:
    path, _ = laws
    done = polaron("spectra", path.name, "--engines", str(BUILT_IN), "--out", "both", "--json",
                   cwd=path.parent)
    assert done.returncode == 0, done.stderr
    assert (path.parent / "both" / "engines.png").stat().st_size > 0
    found = {one["name"]: one for one in json.loads(done.stdout)["engines"]}
    assert set(found) == {"lo@0.02", "lo@0.05", "lo@0.1"}
    for one in found.values():
        assert one["correlation"] > 0.6
        assert one["same_sign_percent"] > 80


def test_the_other_verbs_take_a_study_with_feff(laws: tuple[Path, dict[str, Curves]]) -> None:
    path, _ = laws
    status = json.loads(polaron("status", path.name, "--json", cwd=path.parent).stdout)
    assert (status["done"], status["todo"], status["failed"]) == (13, 0, 0)
    for words in (("report", path.name, "--out", "page"),
                  ("export", path.name, "--out", "laws.h5", "--archive", "laws.tar.gz")):
        done = polaron(*words, cwd=path.parent)
        assert done.returncode == 0, done.stderr
    table = (path.parent / "laws-spectra" / "differences.csv")
    assert polaron("spectra", path.name, cwd=path.parent).returncode == 0
    energy, _, change = np.loadtxt(table, delimiter=",", skiprows=1, usecols=(0, 1, 2)).T
    transient = np.array([energy + 13480, 0.2 * change, np.full(len(energy), 1e-5)]).T
    np.savetxt(path.parent / "t.csv", transient[(energy > -4) & (energy < 40)][::8],
               delimiter=",", header="energy_eV,signal,error", comments="")
    done = polaron("compare", "t.csv", "--study", path.name, "--edge", "13480eV", "--json",
                   cwd=path.parent)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["best"] == "polaron lo"
    done = polaron("prepare", path.name, cwd=path.parent)
    assert done.returncode == 2
    assert "is for studies with XSpectra" in done.stderr


def matched_to(study: Study) -> Matched:
    """Return a match of a study: another zero, stretch and resolution."""
    results, settings, _ = load_results(study.path)
    errors = {"e0_eV": 0.05, "stretch": 0.002, "resolution_fwhm_eV": 0.1, "scale": 1.0}
    identity = tuple(map(tuple, np.eye(4).tolist()))
    fit = MatchFit("steady.xdi", study.reference, reference_id(results, settings),
                   (13458.0, 13520.0), 100, 95.0, 1.0, True, 3.0, (0.1, 0.01), tuple(errors),
                   tuple(errors.values()), identity)
    width = Width("constant", settings.core_hole_hwhm_eV, 1.0, {})
    return Matched(Axis(13465.5, 0.01), width, fit, np.diag(np.square(list(errors.values()))))


def test_settings_are_made_better_until_the_difference_is_stable(tmp_path: Path) -> None:
    path = tmp_path / "cubic.toml"
    path.write_text(CUBIC.format(mode=MODE, more=""))
    assert next_value(read_study(path), "cluster-radius") == "6.2A", "at 5.6 Å no atom is added"
    done = polaron("converge", path.name, "--tolerance", "45", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["converged"]
    steps = {one["setting"]: one for one in found["steps"]}
    assert {setting: one["better"] for setting, one in steps.items()} == {
        "cluster-radius": "6.2A", "scf-radius": "4.4A", "l-max": "4"}
    results = polaron("spectra", path.name, "--json", cwd=tmp_path)
    row = json.loads(results.stdout)["differences"][0]
    assert row["calculation_error_percent"] > 0
    # With the widths of a match the budget is made again, from what is computed already.
    matched = tmp_path / "match.toml"
    write_matched(matched_to(read_study(path)), matched)
    assert not Subject.read(path, matched).scenarios.scenarios[0].errors
    done = polaron("converge", path.name, "--tolerance", "45", "--match", "match.toml", "--json",
                   cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert set(Subject.read(path, matched).scenarios.scenarios[0].errors) == set(steps)
    assert "0 done" not in done.stderr
    for words, said in ((("--cutoff", "20Ry,30Ry"), "not of the engine feff"),
                        (("--lanczos", "20,30"), "makes no Lanczos chains"),
                        (("--l-max", "3,9"), "is outside 1 to 8"),
                        (("--exchange", "dirac-hara,best"), "is not one of")):
        refused = polaron("converge", path.name, *words, cwd=tmp_path)
        assert refused.returncode == 2, refused.stderr
        assert said in refused.stderr
    done = polaron("converge", path.name, "--l-max", "3,4", "--json", cwd=tmp_path)
    first, last = json.loads(done.stdout)["rows"]
    assert first["difference_percent"] > 0 == last["difference_percent"]


def test_a_hung_or_crashed_stage_is_one_line_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "cubic.toml"
    path.write_text(CUBIC.format(mode=MODE, more="stage_timeout_s = 1"))
    hung = polaron("run", path.name, cwd=tmp_path)
    assert hung.returncode == 1
    assert "feff failed: error in its routine pot" in hung.stderr.splitlines()[-1]
    assert "Traceback" not in hung.stderr
    path.write_text(CUBIC.format(mode=MODE, more=""))
    runner = subprocess.Popen([*POLARON, "run", path.name], cwd=tmp_path, text=True,
                              stderr=subprocess.PIPE)
    _end_a_stage(tmp_path / "cubic-results" / "jobs")
    said = runner.communicate(timeout=600)[1]
    assert runner.returncode == 1, said
    assert "feff failed: error in its routine" in said.splitlines()[-1]
    assert "Traceback" not in said
    assert json.loads(polaron("status", path.name, "--json", cwd=tmp_path).stdout)["failed"] == 1
    done = polaron("run", path.name, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert processes_in(tmp_path) == []
    # The same feff.inp, given to FEFF as a whole.
    study = read_study(path)
    planned, store = computed(path)
    site = planned[0].absorbers[0]
    text = (store.folder(site.hole) / "feff.inp").read_text()
    feff10.run(text, str(tmp_path / "direct"))
    own = np.array(feff10.FeffTable.from_file(str(tmp_path / "direct" / "xmu.dat")).columns)
    kept = feff10.FeffTable.from_file(str(store.folder(site.xas[POWDER]) / "xmu.dat")).columns
    assert np.abs(own[3] - kept[3]).max() < 1e-6 * own[3].max()
    np.testing.assert_array_equal(own[0], kept[0])
    assert study_spectra(collect(study, planned, store), study.spectra).differences


def _end_a_stage(jobs: Path) -> None:
    """Kill a process of FEFF's, as soon as one computes potentials."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        for process in processes_in(jobs):
            words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
            if b"feff10._worker" in words and any(jobs.rglob("apot.bin")):
                os.kill(process, signal.SIGKILL)
                return
        time.sleep(0.1)
    raise AssertionError("no stage of FEFF was seen")
