"""Projected densities of states through the jobs of the real programs: chains, settings, what is
done again.
"""

import csv
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import polaron

from perovskite_polaron.cli.main import main
from perovskite_polaron.errors import ComputationError, InputError, OutOfTimeError
from perovskite_polaron.espresso.projwfc import load_projections, write_projections
from perovskite_polaron.espresso.pseudo_sets import pseudo_for
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.files import write_crystal
from perovskite_polaron.workflow.attempt import attempt
from perovskite_polaron.workflow.execute import run_jobs
from perovskite_polaron.workflow.jobs import plan
from perovskite_polaron.workflow.pdos import (
    collect_pdos, plan_pdos, read_pdos_settings, subject_of_crystal, subject_of_study)
from perovskite_polaron.workflow.store import Store
from perovskite_polaron.workflow.study import read_study

CSBR = Crystal(4.286 * np.eye(3), ("Cs", "Br"), [[0, 0, 0], [0.5, 0.5, 0.5]], "CsBr")
STUDY = """
element = "Br"
reference = "rest"

[structures.rest]
crystal = "csbr.cif"

[pw]
ecutwfc_Ry = 25
ecutrho_Ry = 150
kpoints = [2, 2, 2]
"""


def write_study(folder: Path, more: str = "") -> Path:
    write_crystal(CSBR, folder / "csbr.cif")
    (folder / "csbr.toml").write_text(STUDY + more)
    return folder / "csbr.toml"


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which ``polaron pdos`` was run with the real programs on the smallest ionic
    crystal.
    """
    folder = tmp_path_factory.mktemp("csbr")
    write_study(folder)
    done = polaron("pdos", "csbr.toml", "--ranks", "1", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    (folder / "stdout.json").write_text(done.stdout)
    return folder


@pytest.mark.espresso
def test_from_a_study_to_its_band_edges(computed: Path) -> None:
    found = json.loads((computed / "stdout.json").read_text())
    valence, conduction = found["edges"]
    assert valence["share_percent"]["Br 4p"] > 90
    assert found["gap_eV"] == conduction["energy_eV"] > 3
    assert found["direct"]
    assert conduction["kpoint_name"] == "Γ"
    assert 0 < found["spilling"] < 0.02
    assert found["spilling"] == pytest.approx(found["provenance"]["printed_spilling"], abs=6e-5)
    assert found["spin_orbit"] is False
    assert found["provenance"]["projected_onto"] == {"Cs": "5s 6s 5p", "Br": "4s 4p"}
    assert [job["kind"] for job in found["provenance"]["jobs"]] == ["ground", "bands", "pdos"]
    assert all((computed / f).stat().st_size > 0 for f in found["files"])
    assert {Path(f).name for f in found["files"]} == {"pdos.npz", "pdos.csv", "pdos.png",
                                                      "pdos.svg", "pdos.json"}
    with open(computed / "csbr-results" / "pdos" / "rest" / "pdos.csv") as handle:
        rows = list(csv.DictReader(handle))
    energy, total, br = (np.array([float(r[k]) for r in rows])
                         for k in ("energy_eV", "total (1/eV)", "Br 4p (1/eV)"))
    inside = (energy > -4) & (energy < found["gap_eV"] / 2)
    # The upper valence band: three bands of Br 4p, two electrons each.
    assert np.trapezoid(total[inside], energy[inside]) == pytest.approx(6, abs=0.01)
    assert np.trapezoid(br[inside], energy[inside]) > 5.5
    assert not list((computed / "csbr-results"
                     / "jobs").glob("*/outdir")), "wave functions that nothing needs go"


@pytest.mark.espresso
def test_the_ground_state_is_the_study_s_own(computed: Path) -> None:
    study = read_study(computed / "csbr.toml")
    ground = plan(study)[0].ground
    assert subject_of_study(study, None).ground.digest == ground.digest
    assert Store(study.store_folder).result(ground) is not None
    done = polaron("run", "csbr.toml", "--dry-run", cwd=computed)
    assert done.stdout.split()[:3] == ["done", "ground", "rest"]
    again = polaron("pdos", "csbr.toml", "--ranks", "1", cwd=computed)
    assert again.stderr.splitlines()[0].startswith("3 jobs, 3 done")
    assert len(again.stderr.splitlines()) == 2, "nothing was started"
    assert "spin-orbit coupling is not included" in again.stdout
    with pytest.raises(InputError, match="it has rest"):
        subject_of_study(study, "other")


@pytest.mark.espresso
def test_what_is_drawn_anew_is_not_computed(computed: Path, tmp_path: Path) -> None:
    shutil.copy(computed / "csbr-results" / "pdos" / "rest" / "pdos.npz", tmp_path)
    here = {"PATH": os.environ["PATH"], "POLARON_ESPRESSO_BIN": str(tmp_path)}
    done = polaron("pdos", "pdos.npz", "--sigma", "0.3eV", "--emin", "-20eV", "--by-site",
                   cwd=tmp_path, env=here)
    assert done.returncode == 0, done.stderr
    assert "Br2-1b" in done.stdout
    assert sorted(os.listdir(tmp_path)) == ["pdos.csv", "pdos.json", "pdos.npz", "pdos.png",
                                            "pdos.svg"]
    refused = polaron("pdos", "pdos.npz", "--kpoints", "4x4x4", cwd=tmp_path, env=here)
    assert refused.returncode == 2
    assert "--kpoints" in refused.stderr
    beyond = polaron("pdos", "pdos.npz", "--emax", "50eV", cwd=tmp_path, env=here)
    assert "bands are missing" in beyond.stderr


@pytest.mark.espresso
def test_lost_projections_are_made_again_along_the_chain(computed: Path, tmp_path: Path) -> None:
    """Density and wave functions were dropped, so that two finished jobs run again for the third.
    """
    shutil.copytree(computed, tmp_path / "copy")
    study = read_study(tmp_path / "copy" / "csbr.toml")
    store, subject = Store(study.store_folder), subject_of_study(study, None)
    jobs = plan_pdos(subject)
    before, _ = collect_pdos(subject, jobs, store)
    shutil.rmtree(store.folder(jobs.pdos))
    started: list[str] = []
    run_jobs(
        jobs.all(), Store(study.store_folder), ranks=1, jobs_at_once=2,
        report=lambda e: started.append(e.job.kind) if e.what == "started" else None,
    )  # fmt: skip
    assert started == ["ground", "bands", "pdos"]
    after, _ = collect_pdos(subject, jobs, Store(study.store_folder))
    np.testing.assert_allclose(after.energies_eV[:, :10], before.energies_eV[:, :10], atol=1e-3)
    assert after.spilling() == pytest.approx(before.spilling(), abs=1e-5)
    assert not list(store.jobs_root.glob("*/outdir"))
    # Not the file that the job wrote: noticed, not used.
    path = store.folder(jobs.pdos) / "projections.npz"
    write_projections(path, replace(load_projections(path), printed_spilling=0.5))
    with pytest.raises(ComputationError, match="has no projections"), \
            pytest.warns(UserWarning, match="it is not the file that this job wrote"):
        collect_pdos(subject, jobs, store)


@pytest.mark.espresso
def test_bands_out_of_time_go_on_from_their_checkpoint(tmp_path: Path) -> None:
    subject = subject_of_study(read_study(write_study(tmp_path)), None)
    jobs, store = plan_pdos(subject, (12, 12, 12)), Store(tmp_path / "store")
    assert attempt(jobs.ground, [jobs.bands, jobs.pdos], store, 1).what == "finished"
    with pytest.raises(OutOfTimeError):
        attempt(jobs.bands, [jobs.pdos], store, 1, max_seconds=1)
    assert store.result(jobs.bands) is None
    assert attempt(jobs.bands, [jobs.pdos], store, 1).what == "finished"
    assert store.has_density(jobs.bands), "projwfc.x still needs the wave functions"
    assert attempt(jobs.pdos, [], store, 1).what == "finished"
    states, _ = collect_pdos(subject, jobs, store)
    assert states.energies_eV.shape[0] == 84
    assert states.merged()["Br 4p"][:, 7].mean() > 0.5, "the topmost filled band"


SETTINGS = {
    "bare.toml": '[pseudopotentials]\nBr = "bare.UPF"\n',
    "spin.toml": "[pw]\nsystem = { nspin = 2 }\n",
    "soc.toml": "[pw]\nsystem = { lspinorb = true, noncolin = true }\n",
    "both.toml": "[pw]\nsystem = { nspin = 2, noncolin = true }\n",
    "moments.toml": "[crystal]\nmoments_muB = [1, 2, 3]\n",
    "u.toml": "[pw]\nhubbard_U_eV = { Ni = 6 }\n",
    "unknown.toml": "[pw]\necutwfc_Ry = 25\n[relax]\n",
    "number.toml": "pw = 3\n",
}


@pytest.mark.espresso
@pytest.mark.parametrize(("words", "word"),
                         [("csbr.cif --settings bare.toml", "no atomic wave function"),
                          ("csbr.cif --settings spin.toml", "says nothing of the moments"),
                          ("csbr.cif --settings soc.toml", "noncolin is not supported"),
                          ("csbr.cif --settings both.toml", "noncolin is not supported"),
                          ("csbr.cif --settings moments.toml", "give 2 moments"),
                          ("csbr.cif --settings u.toml", "names Ni, which is in no structure"),
                          ("csbr.cif --settings unknown.toml", "'relax' is not one of the tables"),
                          ("csbr.cif --settings number.toml", "'pw' is not one of the tables"),
                          ("odd.cif", "electrons: band edges need an insulator"),
                          ("csbr.cif --structure rest", "--structure"),
                          ("csbr.toml --store here", "--store"),
                          ("csbr.toml --structure other", "it has rest"),
                          ("csbr.cif --kpoints 4x4", "not a grid"),
                          ("csbr.cif --empty-bands 0", "0 empty bands"),
                          ("csbr.cif --sigma 0.1", "unit"), ("csbr.cif --sigma 0eV", "--sigma"),
                          ("csbr.cif --sigma 0.002eV --emin -900eV", "too narrow"),
                          ("csbr.cif --emin 3eV --emax 1eV", "--emin 3eV"),
                          ("csbr.cif --emin 1eV", "--emin 1eV"), ("csbr.cif --ranks 0", "--ranks")])
def test_nothing_is_begun_with_what_cannot_end_well(words: str, word: str, tmp_path: Path,
                                                    monkeypatch: pytest.MonkeyPatch,
                                                    capsys: pytest.CaptureFixture[str]) -> None:
    write_study(tmp_path)
    write_crystal(Crystal(CSBR.lattice_A, ("Pb", "Br"), CSBR.positions, "PbBr"),
                  tmp_path / "odd.cif")
    br = pseudo_for("Br", {}, str).path.read_text()
    bare = re.sub(r"<PP_PSWFC>.*?</PP_PSWFC>", "<PP_PSWFC></PP_PSWFC>", br, flags=re.DOTALL)
    for name, text in (SETTINGS | {"bare.UPF": bare}).items():
        (tmp_path / name).write_text(text)
    before = sorted(os.listdir(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert main(["pdos", *words.split()]) == 2
    said = capsys.readouterr()
    assert (said.err.count("\n"), said.out) == (1, "")
    assert word in said.err
    assert sorted(os.listdir(tmp_path)) == before, "nothing was begun"


@pytest.mark.espresso
def test_a_missing_projwfc_is_told_before_the_work(tmp_path: Path) -> None:
    write_study(tmp_path)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("pw.x", "ld1.x"):
        os.symlink(shutil.which(name) or name, programs / name)
    done = polaron("pdos", "csbr.cif", cwd=tmp_path,
                   env=os.environ | {"POLARON_ESPRESSO_BIN": str(programs)})
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (1, 1, "")
    assert "projwfc.x was not found" in done.stderr
    assert "install Quantum ESPRESSO" in done.stderr
    assert not list(tmp_path.glob("*results"))


@pytest.mark.espresso
def test_settings_of_a_crystal_reach_its_jobs(tmp_path: Path) -> None:
    write_study(tmp_path)
    (tmp_path / "s.toml").write_text("[pw]\necutwfc_Ry = 25\necutrho_Ry = 150\n"
                                     "kpoints = [2, 2, 2]\n")
    of_crystal = subject_of_crystal(str(tmp_path / "csbr.cif"),
                                    read_pdos_settings(tmp_path / "s.toml"))
    of_study = subject_of_study(read_study(tmp_path / "csbr.toml"), "rest")
    assert plan_pdos(of_crystal).pdos.digest == plan_pdos(of_study).pdos.digest
    more = plan_pdos(of_crystal, (3, 3, 3), 9)
    assert "nbnd = 17" in more.bands.deck
    assert "3 3 3 0 0 0" in more.bands.deck
    assert more.ground.digest == of_study.ground.digest
    assert len({j.digest for j in (*more.all(), *plan_pdos(of_study).all())}) == 5
