import numpy as np
import pytest
from ase import Atoms
from ase.io import write as ase_write

from perovskite_polaron.errors import InputError
from perovskite_polaron.lattice.crystal import Crystal, supercell
from perovskite_polaron.lattice.files import read_crystal, write_crystal
from perovskite_polaron.lattice.symmetry import absorbers, find_symmetry

# Published space groups, and the Br sites they give.
BUILTIN = {"cspbbr3-pbnm": (62, "Pbnm", 793.13, [("4c", 4), ("8d", 8)]),
           "cspbbr3-pnma": (62, "Pnma", 793.13, [("4c", 4), ("8d", 8)]),
           "cspbbr3-p4mbm": (127, "P4/mbm", 401.20, [("2b", 2), ("4g", 4)]),
           "cspbbr3-pm3m": (221, "Pm-3m", 202.37, [("3d", 3)])}


@pytest.mark.parametrize("name", BUILTIN)
def test_builtin_crystals_have_their_space_group_volume_and_sites(name):
    number, setting, volume, sites = BUILTIN[name]
    crystal = read_crystal(name)
    symmetry = find_symmetry(crystal)
    assert (symmetry.number, symmetry.setting) == (number, setting)
    assert crystal.volume_A3 == pytest.approx(volume, abs=0.01)
    assert [(a.site, a.multiplicity) for a in absorbers(crystal, "Br", symmetry)] == sites


@pytest.mark.parametrize("name", BUILTIN)
def test_a_supercell_keeps_the_sites_of_the_crystal(name):
    number, setting, _, sites = BUILTIN[name]
    symmetry = find_symmetry(big := supercell(read_crystal(name), (2, 2, 1)))
    assert (symmetry.number, symmetry.setting) == (number, setting)
    found = absorbers(big, "Br", symmetry)
    assert [(a.site, a.multiplicity) for a in found] == [(s, 4 * m) for s, m in sites]
    assert sorted(i for a in found for i in a.indices) == [
        i for i, s in enumerate(big.species) if s == "Br"
    ]


@pytest.mark.parametrize("name", BUILTIN)
def test_the_formula_is_that_of_every_cell_of_a_compound(name):
    crystal = supercell(read_crystal(name), (2, 1, 1))
    assert (crystal.formula, crystal.formula_units) == ("CsPbBr3", len(crystal) // 5)


def test_the_formula_tells_compounds_of_the_same_elements_apart():
    places = np.arange(22)[:, None] * [0.0, 0.0, 1 / 22]
    for species, formula in ((("Cs",) * 8 + ("Pb",) * 2 + ("Br",) * 12, "Cs4PbBr6"),
                             (("Cs",) * 2 + ("Pb",) * 4 + ("Br",) * 10, "CsPb2Br5")):
        assert Crystal(40 * np.eye(3), species, places[: len(species)]).formula == formula


def test_density_is_the_published_one():
    crystal = read_crystal("cspbbr3-pbnm")
    assert crystal.masses_amu.sum() / crystal.volume_A3 * 1.66053907 == pytest.approx(
        4.856, abs=0.002
    )


def awkward():
    """A crystal whose atoms are shuffled and lie outside the cell."""
    crystal = read_crystal("cspbbr3-pbnm")
    order = np.random.default_rng(3).permutation(len(crystal))
    sites = find_symmetry(crystal).wyckoff
    return Crystal(crystal.lattice_A, tuple(crystal.species[i] for i in order),
                   crystal.positions[order] + [2, -1, 0.3], "awkward",
                   tuple(sites[i] for i in order))


@pytest.mark.parametrize("name", ["a.cif", "a.vasp", "POSCAR", "a.extxyz", "a.xsf"])
def test_files_keep_order_wrapping_and_eleven_decimals(tmp_path, name):
    crystal = awkward()
    back = read_crystal(write_crystal(crystal, tmp_path / name, np.ones((20, 3))))
    assert back.species == crystal.species
    np.testing.assert_allclose(back.positions, crystal.positions, atol=2e-12)
    np.testing.assert_allclose(back.lattice_A, crystal.lattice_A, atol=1e-11)
    if name in ("a.cif", "a.extxyz"):
        assert back.parent_sites == crystal.parent_sites


def test_xsf_carries_the_displacement_as_arrows(tmp_path):
    arrows = np.random.default_rng(0).normal(size=(20, 3))
    path = write_crystal(awkward(), tmp_path / "a.xsf", arrows)
    rows = [line.split() for line in path.read_text().splitlines()[-20:]]
    np.testing.assert_allclose(np.array(rows)[:, 4:].astype(float), arrows, atol=1e-12)


def test_a_cif_with_symmetry_is_expanded(tmp_path):
    text = """data_x
_cell_length_a 5.871
_cell_length_b 5.871
_cell_length_c 5.871
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P m -3 m'
_symmetry_Int_Tables_number 221
loop_
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Pb1 0 0 0 1.0
Cs1 0.5 0.5 0.5 1.0
Br1 0.5 0 0 OCC
"""
    (tmp_path / "good.cif").write_text(text.replace("OCC", "1.0"))
    assert find_symmetry(read_crystal(tmp_path / "good.cif")).number == 221
    (tmp_path / "bad.cif").write_text(text.replace("OCC", "0.5"))
    with pytest.raises(InputError,
                       match=r"partial occupancy \(Br1: 0.5\): give an ordered structure"):
        read_crystal(tmp_path / "bad.cif")
    (tmp_path / "none.cif").write_text("data_x\n_cell_length_a 5\n")
    with pytest.raises(InputError, match="has no atoms"):
        read_crystal(tmp_path / "none.cif")


def test_a_pw_input_is_read_with_labels_turned_into_elements(tmp_path):
    crystal = read_crystal("cspbbr3-pm3m")
    atoms = Atoms(crystal.species, scaled_positions=crystal.positions, cell=crystal.lattice_A,
                  pbc=True)
    ase_write(tmp_path / "scf.in", atoms, format="espresso-in",
              pseudopotentials={s: f"{s}.UPF" for s in ("Pb", "Cs", "Br")})
    assert read_crystal(tmp_path / "scf.in").species == crystal.species


@pytest.mark.parametrize(("name", "text", "message"),
                         [("gone.cif", None, "does not exist: give the path of a structure file"),
                          ("empty.cif", "", "is empty"), ("odd.abc", "x", "unknown extension"),
                          ("bad.vasp", "not\na\nposcar\n", "cannot be read as vasp"),
                          ("molecule.xyz", "1\n\nBr 0 0 0\n", "zero volume or none")])
def test_files_that_hold_no_crystal_are_refused(tmp_path, name, text, message):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message) as error:
        read_crystal(tmp_path / name)
    assert "\n" not in " ".join(str(error.value).split())


@pytest.mark.parametrize(("lattice", "species", "positions", "message"),
                         [(np.eye(3) * 5, (), np.zeros((0, 3)), "no atoms"),
                          (np.eye(3) * 5, ("Br", "Br"), [[0, 0, 0], [0.99, 0, 0]],
                           "overlapping atoms: Br 1 and Br 2 are 0.050 Å apart"),
                          ([[5, 0, 0], [5, 0, 0], [0, 0, 5]], ("Br",), [[0, 0, 0]], "zero volume"),
                          (np.eye(3) * 5, ("Xx",), [[0, 0, 0]], "not a chemical element"),
                          (np.eye(3) * 5, ("Br",), [[np.nan, 0, 0]], "NaN"),
                          (np.eye(3) * 5, ("Br",), [[0, 0]], "shape")])
def test_impossible_crystals_are_refused(lattice, species, positions, message):
    with pytest.raises(InputError, match=message):
        Crystal(np.array(lattice), species, np.array(positions))


def test_an_element_that_is_not_there_is_named():
    with pytest.raises(InputError, match="I is not in cspbbr3-pbnm: its elements are Pb, Cs, Br"):
        absorbers(read_crystal("cspbbr3-pbnm"), "I")


def test_a_format_that_cannot_be_written_and_a_wrong_supercell_are_refused(tmp_path):
    with pytest.raises(InputError, match="no extension this program writes"):
        write_crystal(read_crystal("cspbbr3-pm3m"), tmp_path / "a.pdb")
    with pytest.raises(InputError, match="three positive integers"):
        supercell(read_crystal("cspbbr3-pm3m"), (0, 1, 1))
    assert list(tmp_path.iterdir()) == []


def test_arrays_are_read_only():
    with pytest.raises(ValueError, match="read-only"):
        read_crystal("cspbbr3-pm3m").positions[0, 0] = 1
