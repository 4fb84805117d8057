"""Spin and Hubbard's U by element and atom: what is written, and an antiferromagnet for real."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import polaron

from perovskite_polaron.errors import InputError
from perovskite_polaron.espresso.pw import PwSettings, labels_of
from perovskite_polaron.espresso.savefile import read_save
from perovskite_polaron.espresso.xspectra import SAVE_FILE
from perovskite_polaron.lattice.crystal import Crystal, supercell
from perovskite_polaron.lattice.files import write_crystal
from perovskite_polaron.lattice.symmetry import absorbers, find_symmetry, primitive
from perovskite_polaron.workflow.jobs import plan, study_jobs
from perovskite_polaron.workflow.pdos import plan_pdos, subject_of_study
from perovskite_polaron.workflow.store import Store
from perovskite_polaron.workflow.study import read_study

LIBRARY = Path("/usr/share/espresso/pseudo")
#: NiO in its magnetic cell of type II: planes of Ni across [111] point up and down.
OXIDE = Crystal(4.177 * np.array([[1, .5, .5], [.5, 1, .5], [.5, .5, 1]]), ("Ni", "Ni", "O", "O"),
                [[0, 0, 0], [.5] * 3, [.25] * 3, [.75] * 3], "NiO", moments_muB=(2, -2, 0, 0))
OXYGEN = """[O]
description = "norm-conserving Troullier-Martins, 2s 2p, 3d local; low cut-off, for tests"
core = "1s2"
valence = "2s2 2p4 3d-1 3s-1 3p-1"
inputp = { pseudotype = 1, tm = true, lloc = 2, nlcc = true, rcore = 0.7 }
channels = [["2S", 1, 0, 2.0, 0.0, 1.35, 1.35], ["2P", 2, 1, 4.0, 0.0, 1.35, 1.35],
            ["3D", 3, 2, -1.0, 0.1, 1.35, 1.35]]
gipaw = [["2S", 1, 0, 2.0, 0.0, 1.35, 1.35], ["3S", 2, 0, -1.0, 0.05, 1.35, 1.35],
         ["2P", 2, 1, 4.0, 0.0, 1.35, 1.35], ["3P", 3, 1, -1.0, 0.2, 1.35, 1.35]]
cutoffs_Ry = [50, 200]
"""
STUDY = """element = "O"
reference = "rest"
polarisations = ["z"]
[structures.rest]
crystal = "nio.cif"
moments_muB = [2, -2, 0, 0]
[pw]
ecutwfc_Ry = 30
ecutrho_Ry = 240
kpoints = [2, 2, 2]
conv_thr_Ry = 1e-6
hubbard_U_eV = { Ni = 6 }
mixing_beta = 0.3
[xspectra]
kpoints = [1, 1, 1]
relative_error = 0.1
[pseudopotentials]
Ni = "/usr/share/espresso/pseudo/Ni.pbe-nd-rrkjus.UPF"
O = "O.UPF"
O-hole = "O.1s.UPF"
"""


def test_moments_are_labels_of_the_symmetry() -> None:
    assert find_symmetry(replace(OXIDE, moments_muB=None)).number == 225
    assert find_symmetry(OXIDE).number == 166
    assert len(absorbers(OXIDE, "Ni")) == 2
    assert len(absorbers(OXIDE, "O")) == 1
    # The chemical cell has half the atoms, the magnetic one is primitive.
    assert len(primitive(replace(OXIDE, moments_muB=None))) == 2
    assert len(primitive(OXIDE)) == 4
    assert supercell(OXIDE, (1, 1, 2)).moments_muB == OXIDE.moments_muB * 2


def test_species_have_names_by_element_and_moment() -> None:
    assert labels_of(OXIDE, None) == ["Ni1", "Ni2", "O", "O"]
    assert labels_of(OXIDE, 1) == ["Ni1", "Nih", "O", "O"]
    ferromagnet = replace(OXIDE, moments_muB=(2, 2, 0, 0))
    assert labels_of(ferromagnet, 3) == ["Ni", "Ni", "O", "Oh"]
    with pytest.raises(InputError, match="give 4 moments in µB, none above 10"):
        replace(OXIDE, moments_muB=(2, 2))


def test_u_that_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match="give more than 0 to 20 eV"):
        PwSettings(hubbard_U_eV={"Ni": -1.0})
    with pytest.raises(InputError, match="give \\[pw\\] hubbard_U_eV by element"):
        PwSettings(system={"Hubbard_U(1)": 6}).given()


@pytest.fixture(scope="module")
def oxide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study of NiO, its oxygen made here."""
    folder = tmp_path_factory.mktemp("oxide")
    write_crystal(OXIDE, folder / "nio.cif")
    (folder / "O.toml").write_text(OXYGEN)
    (folder / "nio.toml").write_text(STUDY)
    for hole, name in (((), "O.UPF"), (("--core-hole", "1s"), "O.1s.UPF")):
        done = polaron("pseudo", "O", "--recipe", "O.toml", *hole, "--no-box", "--out", name,
                       cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.espresso
@pytest.mark.skipif(not LIBRARY.is_dir(), reason="Debian's files of Quantum ESPRESSO are not here")
def test_u_and_moments_reach_their_element_with_the_hole_too(oxide: Path) -> None:
    for job in study_jobs(plan(read_study(oxide / "nio.toml"))):
        if job.kind == "xas":
            continue
        species = re.findall(r"^(\w+) [\d.]+ \w+\.UPF$", job.deck, re.M)
        u = dict(re.findall(r"Hubbard_U\((\d)\) = (\S+)", job.deck))
        start = dict(re.findall(r"starting_magnetization\((\d)\) = (\S+)", job.deck))
        assert {species[int(i) - 1]: float(v) for i, v in u.items()} == {"Ni1": 6.0, "Ni2": 6.0}
        assert {species[int(i) - 1]: float(v) for i, v in start.items()} == {
            "Ni1": 0.2, "Ni2": -0.2}
        for line in ("nspin = 2", "lda_plus_u = .true.", "tot_magnetization = 0"):
            assert line in job.deck
    text = (oxide / "nio.toml").read_text()
    (oxide / "odd.toml").write_text(text.replace("{ Ni = 6 }", "{ Fe = 6 }"))
    with pytest.raises(InputError, match="names Fe, which is in no structure"):
        plan(read_study(oxide / "odd.toml"))


@pytest.mark.espresso
@pytest.mark.skipif(not LIBRARY.is_dir(), reason="Debian's files of Quantum ESPRESSO are not here")
def test_the_bands_of_a_study_s_antiferromagnet_begin_from_its_own_density(oxide: Path) -> None:
    study = read_study(oxide / "nio.toml")
    jobs = plan_pdos(subject_of_study(study, None))
    assert jobs.ground.digest == plan(study)[0].ground.digest
    # 16 filled bands of each spin, six empty ones.
    for line in ("calculation = 'nscf'", "nbnd = 22", "nspin = 2", "tot_magnetization = 0",
                 "starting_magnetization(2) = -0.2", "Hubbard_U(2) = 6"):
        assert line in jobs.bands.deck


@pytest.mark.espresso
@pytest.mark.skipif(not LIBRARY.is_dir(), reason="Debian's files of Quantum ESPRESSO are not here")
def test_an_antiferromagnet_runs_and_its_gap_is_that_of_pw(oxide: Path) -> None:
    done = polaron("run", "nio.toml", "--ranks", "1", cwd=oxide)
    assert done.returncode == 0, done.stderr
    study = read_study(oxide / "nio.toml")
    store = Store(study.store_folder)
    jobs = {job.kind: job for job in study_jobs(plan(study))}
    for kind in ("ground", "hole"):
        record = store.result(jobs[kind])
        output = (store.folder(jobs[kind]) / "pw.out").read_text()
        homo, lumo = map(float, re.findall(
            r"highest occupied, lowest unoccupied level \(ev\):\s*(\S+)\s+(\S+)", output)[-1])
        # pw.x prints both spins together, with four decimals.
        assert record["highest_occupied_eV"] == pytest.approx(homo, abs=1e-3)
        assert record["lowest_empty_eV"] == pytest.approx(lumo, abs=1e-3)
        assert lumo - homo > 1.5
        total, absolute = (float(re.findall(rf"{word} magnetization\s*=\s*(\S+)", output)[-1])
                           for word in ("total", "absolute"))
        assert abs(total) < 0.01
        assert 2.5 < absolute < 4.5
    # Inversion about the oxygen with the hole takes the Ni above to the one below, whose moment is
    # opposite: at a k point that is its own image both spins have one chain.
    save = read_save(store.folder(jobs["xas"]) / SAVE_FILE)
    assert save.spin_polarised
    (up, down), steps = save.norms.ravel(), 20
    assert up == pytest.approx(down, rel=1e-3)
    np.testing.assert_allclose(save.a[0][:steps], save.a[1][:steps], atol=5e-3)
    np.testing.assert_allclose(save.b[0][:steps], save.b[1][:steps], atol=5e-3)
    done = polaron("spectra", "nio.toml", "--out", "s", cwd=oxide)
    assert done.returncode == 0, done.stderr
