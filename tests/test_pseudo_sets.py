"""Sets of the user's own: a folder of a library, what is missing, and what does not go together.

The files are those that come with Quantum ESPRESSO.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import polaron

from perovskite_polaron.errors import InputError
from perovskite_polaron.espresso.program import find_program
from perovskite_polaron.espresso.pseudo_sets import (
    check_together, files_of, functional_of, need_keys, need_sets, pseudo_for)
from perovskite_polaron.espresso.upf import read_upf
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.files import write_crystal
from perovskite_polaron.workflow.jobs import plan
from perovskite_polaron.workflow.study import read_study

LIBRARY = Path("/usr/share/espresso/pseudo")
pytestmark = [pytest.mark.espresso, pytest.mark.skipif(
    not LIBRARY.is_dir(), reason="Debian's files of Quantum ESPRESSO are not here")]

STUDY = """element = "Cl"
reference = "rest"
[structures.rest]
crystal = "cucl.cif"
[pw]
ecutwfc_Ry = 25
ecutrho_Ry = 200
kpoints = [1, 1, 1]
[xspectra]
kpoints = [1, 1, 1]
relative_error = 0.05
"""


def folder_of(tmp_path: Path, *names: str) -> Path:
    """A library with a few of the files."""
    folder = tmp_path / "library"
    folder.mkdir()
    for name in names:
        shutil.copy(LIBRARY / name, folder / name)
    return folder


def study_file(tmp_path: Path, sets: str) -> Path:
    """The study of CuCl, zinc blende."""
    cell = Crystal(2.71 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]), ("Cu", "Cl"),
                   [[0, 0, 0], [.25, .25, .25]], "CuCl")
    write_crystal(cell, tmp_path / "cucl.cif")
    path = tmp_path / "cucl.toml"
    path.write_text(STUDY + f"[pseudopotentials]\n{sets}\n")
    return path


@pytest.mark.parametrize(("name", "functional", "spin_orbit"), [
    ("As.pz-bhs.UPF", "PZ", False), ("Cu.pbe-kjpaw.UPF", "PBE", False),
    ("O.pbe-rrkjus.UPF", "PBE", False), ("Ni.pbe-spn-kjpaw_psl.1.0.0.UPF", "PBE", False),
    ("Li.pbesol-s-rrkjus_psl.0.2.1.UPF", "PBESOL", False), ("H.blyp-vbc.UPF", "BLYP", False),
    ("Si.rel-pbe-rrkj.UPF", "PBE", True), ("Fe.rel-pbe-spn-rrkjus_psl.0.2.1.UPF", "PBE", True)])
def test_functional_and_relativity_are_read(name: str, functional: str, spin_orbit: bool) -> None:
    pseudo = read_upf(LIBRARY / name)
    assert functional_of(pseudo) == functional
    assert pseudo.spin_orbit == spin_orbit


def test_a_folder_serves_by_element(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "Cu.pbe-kjpaw.UPF", "C.pbe-rrkjus.UPF", "Co.pbesol-spn-rrkjus_psl"
                       ".0.3.1.UPF")
    (folder / "README.upf.txt").write_text("no set")
    named = {"folder": str(folder)}
    assert pseudo_for("Cu", named, str).path.name == "Cu.pbe-kjpaw.UPF"
    assert pseudo_for("C", named, str).element == "C"
    assert len(files_of(named, str)) == 3
    # A file of its own comes first, and a hole is never looked for there.
    own = named | {"C": str(LIBRARY / "C.pz-rrkjus.UPF")}
    assert functional_of(pseudo_for("C", own, str)) == "PZ"
    with pytest.raises(InputError, match=r"no pseudopotential for Cu-hole, Zn \(.* has no file"):
        need_sets(named, str, [("Cu", "none"), ("Cu", "full"), ("Zn", "none")])
    shutil.copy(LIBRARY / "C.pz-rrkjus.UPF", folder)
    with pytest.raises(InputError, match=r"has 2 files for C \(C.pbe-.*\): name one, C = "):
        pseudo_for("C", named, str)
    with pytest.raises(InputError, match="is no folder"):
        pseudo_for("O", {"folder": str(tmp_path / "nowhere")}, str)


def test_keys_that_nothing_uses_are_refused() -> None:
    with pytest.raises(InputError, match=r"Br-Hole, Sn is not used: give folder, Br, Br-hole, Cs"):
        need_keys({"Br-Hole": "a", "Sn": "b", "folder": "c"}, ["Br", "Cs"], "Br")


def test_sets_that_do_not_go_together_are_refused() -> None:
    read = {name: read_upf(LIBRARY / name) for name in (
        "Cu.pbe-kjpaw.UPF", "O.pz-rrkjus.UPF", "Ni.rel-pbe-nd-rrkjus.UPF", "O.pbe-rrkjus.UPF")}
    copper, lda, relativistic, oxygen = read.values()
    check_together([copper, oxygen])
    with pytest.raises(InputError, match=r"Cu.pbe-kjpaw.UPF PBE and O.pz-rrkjus.UPF PZ"):
        check_together([copper, lda])
    check_together([copper, lda], functional="PBE")
    with pytest.raises(InputError, match="fully relativistic"):
        check_together([relativistic, oxygen], functional="PBE")


def test_a_study_names_all_that_is_missing_before_anything_runs(tmp_path: Path) -> None:
    path = study_file(tmp_path, 'Cl-hole = "nowhere.UPF"\nCL = "x"')
    with pytest.raises(InputError, match="CL is not used"):
        plan(read_study(path))
    with pytest.raises(InputError, match="no pseudopotential for Cu: name UPF files"):
        plan(read_study(study_file(tmp_path, "")))


def test_a_study_runs_with_a_library_and_the_recipe_of_its_absorber(tmp_path: Path) -> None:
    find_program("pw.x")
    folder_of(tmp_path, "Cu.pbe-kjpaw.UPF", "O.pbe-rrkjus.UPF")
    path = study_file(tmp_path, 'folder = "library"')
    done = polaron("run", path.name, "--ranks", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = polaron("status", path.name, cwd=tmp_path)
    assert "5 done" in done.stdout
    done = polaron("spectra", path.name, "--out", "s", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    table = np.genfromtxt(tmp_path / "s" / "spectra.csv", delimiter=",", names=True)
    assert table[table.dtype.names[1]].max() > 0
