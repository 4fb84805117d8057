"""The study file: everything wrong is reported at once, defaults are written out, hostile names
never leave the store.
"""

import itertools
import json
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import write_tiny_study

from perovskite_polaron.errors import InputError
from perovskite_polaron.files import csv_text, write_sealed
from perovskite_polaron.lattice.files import read_crystal
from perovskite_polaron.phonons.modes import Modes, read_modes, write_modes
from perovskite_polaron.workflow.converge import SETTINGS
from perovskite_polaron.workflow.escalate import next_value, value_of
from perovskite_polaron.workflow.jobs import on_own_grid
from perovskite_polaron.workflow.needed import coarser
from perovskite_polaron.workflow.results import read_results, write_results
from perovskite_polaron.workflow.scenarios import BUILT_IN
from perovskite_polaron.workflow.structures import neighbours, study_structures
from perovskite_polaron.workflow.study import read_study, resolved_toml

GOOD = """
element = "Br"
reference = "ground"
[structures.ground]
crystal = "cspbbr3-pbnm"
[structures.lo]
crystal = "cspbbr3-pbnm"
modes = ["lo-c"]
max_displacement_A = [0.05, 0.10]
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "study.toml"
    path.write_text(text)
    return path


def test_every_problem_is_reported_at_once_with_its_table(tmp_path: Path) -> None:
    bad = GOOD.replace('reference = "ground"', 'reference = "nothing"\ncolour = 3')
    bad += ('[pw]\necutwfc = 35\nconv_thr_Ry = "small"\nkpoints = [0, 1, 1]\n[core_hole]\n'
            'kind = "maybe"\n[run]\nranks = -1\n')
    with pytest.raises(InputError) as error:
        read_study(write(tmp_path, bad))
    for part in (
        "unknown key 'colour'",
        "reference = 'nothing'",
        "[pw]: unknown key 'ecutwfc'; did you mean 'ecutwfc_Ry'",
        "[pw]: conv_thr_Ry = 'small' is not a number",
        "[pw]: kpoints = [0, 1, 1] is outside",
        "[core_hole]: kind = 'maybe' is not one of full, half, excited-electron, none",
        "[run]: ranks = -1 is outside",
    ):
        assert part in str(error.value)


@pytest.mark.parametrize(("change", "message"),
                         [(("max_displacement_A = [0.05, 0.10]", ""), "modes need exactly one of"),
                          (('modes = ["lo-c"]', ""), 'needs modes = ["..."]'),
                          (("[0.05, 0.10]", "[]"), "empty list"),
                          (("[structures.lo]", '[structures."../lo"]'), "letters, digits"),
                          (("[structures.lo]", '[structures."$(touch x)"]'), "letters, digits"),
                          (('element = "Br"', ""), "element is missing"),
                          (('element = "Br"', 'element = "Br"\npolarisations = ["x", "q"]'),
                           "polarisations is a list of x, y, z"),
                          (('reference = "ground"', 'reference = "lo"'),
                           "is a distorted structure")])
def test_what_cannot_be_computed_is_refused(tmp_path: Path, change: tuple[str, str],
                                            message: str) -> None:
    with pytest.raises(InputError, match=r"study\.toml") as error:
        read_study(write(tmp_path, GOOD.replace(*change)))
    assert message in str(error.value)


@pytest.mark.parametrize(("text", "message"), [("", "is empty"), ("a = [", "is not valid TOML")])
def test_a_file_that_is_no_study_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_study(write(tmp_path, text))
    with pytest.raises(InputError, match="does not exist"):
        read_study(tmp_path / "missing.toml")


def test_of_a_file_with_several_modes_a_study_takes_the_first(tmp_path: Path) -> None:
    lo = read_modes("lo-c")
    still = np.zeros_like(lo.patterns[0])
    still[0, 0] = 1
    two = Modes(lo.crystal, lo.masses_amu, np.repeat(lo.energies_meV, 2), [lo.patterns[0], still])
    write_modes(two, tmp_path / "two.json")
    study = read_study(write(tmp_path, GOOD.replace('["lo-c"]', '["two.json"]')))
    of_file = study_structures(study)
    built_in = study_structures(read_study(write(tmp_path, GOOD)))
    for one, other in zip(of_file, built_in, strict=True):
        np.testing.assert_allclose(one.crystal.positions, other.crystal.positions, atol=1e-12)


def test_the_resolved_study_is_itself_a_study_with_the_same_content(tmp_path: Path) -> None:
    study = read_study(write(tmp_path,
                             GOOD + '[pw]\nsystem = { input_dft = "pbesol", nbnd = 100 }\n'))
    text = resolved_toml(study)
    assert tomllib.loads(text)["pw"]["ecutrho_Ry"] == 280.0
    again = read_study(write(tmp_path, text))
    assert again.structures == study.structures
    assert again.pw == study.pw
    assert again.spectra == study.spectra
    assert resolved_toml(again) == text


def test_a_table_quotes_what_it_must_and_leaves_empty_what_is_not_known() -> None:
    text = csv_text({"energy_eV": np.array([1.0, 1 / 3]), "note": ["a, b", "c"],
                     "shift_eV": [None, float("nan")]})
    assert text == 'energy_eV,note,shift_eV\n1,"a, b",\n0.3333333333,c,\n'
    with pytest.raises(ValueError, match="shorter"):
        csv_text({"energy_eV": [1.0, 2.0], "note": ["one"]})


def test_results_come_back_as_they_were_written_with_their_settings_as_data(tmp_path: Path) -> None:
    results = read_results(BUILT_IN)
    write_results(results, tmp_path)
    again = read_results(tmp_path)
    assert again.structures == results.structures
    assert replace(again.study, path=results.study.path) == results.study
    assert isinstance(json.loads((tmp_path / "results.json").read_text())["study"], dict)
    assert list(again.chains) == list(results.chains)


@pytest.mark.parametrize(("change", "message"),
                         [({"format": "perovskite_polaron results 3"},
                           "is of format 'perovskite_polaron results 3'"),
                          ({"structures": [{"name": 3}]}, "structures: name = 3 is not a text .*"
                           " structures: space_group is missing"),
                          ({"study": {"element": "Br"}}, "reference is missing"),
                          ({"study": None}, "is not the results of a study"),
                          ({"chains_sha256": "0"}, "does not belong to")])
def test_damaged_results_are_refused(tmp_path: Path, change: dict[str, object],
                                     message: str) -> None:
    write_results(read_results(BUILT_IN), tmp_path)
    path = tmp_path / "results.json"
    write_sealed(path, json.loads(path.read_text()) | change)
    with pytest.raises(InputError, match=message):
        read_results(tmp_path)


def sweep(folder: Path, amplitudes: str) -> Path:
    """Write the tiny study with other amplitudes."""
    path = write_tiny_study(folder)
    path.write_text(path.read_text().replace("[0.10, -0.10]", amplitudes))
    return path


def test_a_sweep_is_a_chain_from_rest_to_the_largest_amplitude(tmp_path: Path) -> None:
    structures = study_structures(read_study(sweep(tmp_path, "[0.15, 0.05, 0.10]")))
    names = [one.name for one in structures]
    found = {names[k]: names[near] if near is not None else None
             for k, near in neighbours(structures)}
    assert found == {"cubic": None, "polar@0.05": "cubic", "polar@0.1": "polar@0.05",
                     "polar@0.15": "polar@0.1"}
    order = [k for k, _ in neighbours(structures)]
    assert all(near is None or order.index(near) < order.index(k)
               for k, near in neighbours(structures))


def test_every_cell_has_an_equally_dense_grid(tmp_path: Path) -> None:
    """Half of the length wants twice the points; a grid stays what it is, for the whole study or
    for one structure.
    """
    dense = "[pw]\nkpoint_spacing_1_A = 0.5\n[xspectra]\nkpoint_spacing_1_A = 0.25\n"
    cells = GOOD + '[structures.cell]\ncrystal = "cspbbr3-pm3m"\nsupercell = [1, 1, 2]\n'

    def grids(text: str) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
        study = read_study(write(tmp_path, text))
        return {one.name: tuple(on_own_grid(settings, one).kpoints for settings in
                                (study.pw, study.xspectra)) for one in study_structures(study)}

    assert grids(cells + dense)["cell"] == ((3, 3, 2), (5, 5, 3))
    # Of the 20-atom cell, by default: 0.77, 0.76 and 0.54 1/Å over 0.4 and 0.2.
    assert grids(cells)["ground"] == ((2, 2, 2), (4, 4, 3))
    assert grids(cells)["cell"] == ((3, 3, 2), (6, 6, 3))
    own = grids(cells + "kpoints = [1, 2, 3]\n" + "[pw]\nkpoints = [2, 2, 1]\n")
    assert own["cell"] == ((1, 2, 3), (1, 2, 3))
    assert own["ground"] == ((2, 2, 1), (4, 4, 3))
    with pytest.raises(InputError, match=r"\[pw\]: kpoints and kpoint_spacing_1_A both say"):
        read_study(write(tmp_path, cells + dense.replace("[xsp", "kpoints = [1, 1, 1]\n[xsp")))


def test_a_spacing_is_recorded_and_made_finer_until_the_grid_changes(tmp_path: Path) -> None:
    study = read_study(write(tmp_path, GOOD))
    again = read_study(write(tmp_path, resolved_toml(study)))
    assert (again.pw, again.xspectra) == (study.pw, study.xspectra)
    assert value_of(study, "spectrum-kpoints") == "0.2/A"
    seen = [(2, 2, 2)]
    lattice = read_crystal("cspbbr3-pbnm").lattice_A
    for _ in range(4):
        study = SETTINGS["kpoints"](study, next_value(study, "kpoints"))
        seen.append(study.pw.grid(lattice))
    assert all(a != b and all(np.less_equal(a, b)) for a, b in itertools.pairwise(seen))
    with pytest.raises(InputError, match="no spacing of k points"):
        SETTINGS["kpoints"](study, "much/A")


def test_k_points_further_apart_than_was_needed_are_said_once(tmp_path: Path) -> None:
    lattice = read_crystal("cspbbr3-pbnm").lattice_A
    found = {}
    for grid in ("[2, 2, 1]", "[4, 4, 2]", "[6, 6, 4]"):
        study = read_study(write(tmp_path, f"{GOOD}[xspectra]\nkpoints = {grid}\n"))
        found[grid] = coarser(study, {"ground": lattice, "lo@0.1": lattice})
    assert [len(lines) for lines in found.values()] == [1, 1, 0]
    assert "0.54 1/Å apart (ground); 0.135 was found necessary" in found["[2, 2, 1]"][0]


def test_other_cells_and_k_points_are_no_neighbours(tmp_path: Path) -> None:
    path = sweep(tmp_path, "[0.05]")
    path.write_text(path.read_text().replace("max_displacement_A",
                                             "kpoints = [1, 1, 1]\nmax_displacement_A"))
    assert [near for _, near in neighbours(study_structures(read_study(path)))] == [None, None]


@pytest.mark.parametrize(("element", "hwhm_eV"), [("Br", 1.26), ("Cl", 0.32), ("I", 5.3)])
def test_the_width_of_the_core_level_is_that_of_the_element(tmp_path, element, hwhm_eV):
    """Krause and Oliver 1979; once every element had that of bromine."""
    text = f'element = "{element}"\nreference = "g"\n[structures.g]\ncrystal = "x.cif"\n'
    (tmp_path / "study.toml").write_text(text)
    assert read_study(tmp_path / "study.toml").spectra.core_hole_hwhm_eV == pytest.approx(hwhm_eV)
    (tmp_path / "study.toml").write_text(text + "[spectra]\ncore_hole_hwhm_eV = 0.7\n")
    assert read_study(tmp_path / "study.toml").spectra.core_hole_hwhm_eV == 0.7


def test_an_element_without_a_tabulated_width_is_refused(tmp_path):
    text = 'element = "Zz"\nreference = "g"\n[structures.g]\ncrystal = "x.cif"\n'
    (tmp_path / "study.toml").write_text(text)
    with pytest.raises(InputError, match="not tabulated: give core_hole_hwhm_eV"):
        read_study(tmp_path / "study.toml")
