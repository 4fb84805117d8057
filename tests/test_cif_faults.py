"""What CIFs of others say badly: read rightly, with a warning, or refused."""

import warnings

import numpy as np
import pytest
from conftest import polaron

from perovskite_polaron.errors import InputError
from perovskite_polaron.lattice.crystal import supercell
from perovskite_polaron.lattice.files import read_crystal, write_crystal
from perovskite_polaron.lattice.symmetry import find_symmetry

PBNM = "Pb1 Pb 0 0 0\nCs1 Cs .00702 .531 .25\nBr1 Br .9545 .9963 .25\nBr2 Br .20607 .29347 .02389\n"
CUBIC = "Pb1 Pb 0 0 0\nCs1 Cs .5 .5 .5\nBr1 Br .5 0 0\n"
P1_CUBIC = CUBIC + "Br2 Br 0 .5 0\nBr3 Br 0 0 .5\n"
HEXAGONAL = "Cs1 Cs {0} {1} .75\nNi1 Ni 0 0 0\nBr1 Br .158 .316 .25\n"
P21N = ("La1 La .509 .535 .25\nMg1 Mg .5 0 0\nTi1 Ti 0 .5 0\nO1 O .221 .205 .961\n"
        "O2 O .295 .718 .960\nO3 O .421 .984 .256\n")
# All atoms of the cell but the centring, in origin 1, while symbol and operations say origin 2.
SCHEELITE = ("Na1 Na 0 0 .5\nNa2 Na .5 0 .25\nRe1 Re 0 0 0\nRe2 Re 0 .5 .25\nO1 O .25 .11 .07\n"
             "O2 O -.25 -.11 .07\nO3 O .25 .61 .18\nO4 O -.25 .39 .18\nO5 O -.11 .25 -.07\n"
             "O6 O .11 -.25 -.07\nO7 O -.11 .75 .32\nO8 O .11 .25 .32\n")
ORTHORHOMBIC, HEX = (8.1982, 8.244, 11.7351, 90, 90, 90), (7.34, 7.34, 6.27, 90, 90, 120)
CUBE, SQUARE = (5.87, 5.87, 5.87, 90, 90, 90), (5.362, 5.362, 11.718, 90, 90, 90)
PM3M = "_symmetry_space_group_name_H-M 'P m -3 m'\n"


def cif(tmp_path, cell, said, atoms, columns="label type_symbol fract_x fract_y fract_z"):
    names = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    text = "data_x\n" + "".join(f"_cell_{n} {v}\n" for n, v in zip(names, cell, strict=True)) + said
    text += "loop_\n" + "".join(f"_atom_site_{c}\n" for c in columns.split()) + atoms
    path = tmp_path / "x.cif"
    path.write_bytes(text.encode("latin-1"))
    return path


@pytest.mark.parametrize("said", [
    "_space_group_name_Hall '-P 2c 2ab'\n",
    "_symmetry_space_group_name_H-M 'P b n m'\n_symmetry_Int_Tables_number 62\n",
    "_symmetry_space_group_name_H-M Pbnm\n", "_space_group_name_H-M_alt 'P b n m'\n"])
def test_a_setting_is_the_one_that_symbols_say(tmp_path, said):
    crystal = read_crystal(cif(tmp_path, ORTHORHOMBIC, said, PBNM))
    built_in = read_crystal("cspbbr3-pbnm")
    assert len(crystal) == 20
    assert find_symmetry(crystal).setting == "Pbnm"
    for s, x in zip(crystal.species, crystal.positions, strict=True):
        apart = crystal.distances_A(built_in.positions - x)
        assert apart.min() < 1e-9
        assert built_in.species[apart.argmin()] == s


def test_a_monoclinic_cell_is_that_of_its_symbol(tmp_path):
    crystal = read_crystal(cif(tmp_path, (5.555, 5.577, 7.860, 90, 90.02, 90),
                               "_symmetry_space_group_name_H-M 'P 1 21/n 1'\n"
                               "_symmetry_Int_Tables_number 14\n", P21N))
    assert (crystal.formula, crystal.formula_units) == ("La2MgTiO6", 2)
    assert find_symmetry(crystal).number == 14


@pytest.mark.parametrize("operations", [True, False])
def test_an_origin_that_contradicts_the_formula_is_changed_with_a_warning(tmp_path, operations):
    import gemmi

    said = ("_symmetry_space_group_name_H-M 'I 41/a :2'\n_symmetry_Int_Tables_number 88\n"
            "_symmetry_space_group_name_Hall '-I 4ad'\n_chemical_formula_sum 'Na O4 Re'\n")
    if operations:
        said += "loop_\n_symmetry_equiv_pos_as_xyz\n" + "".join(
            f"{o.triplet()}\n" for o in gemmi.symops_from_hall("-I 4ad"))
    path = cif(tmp_path, SQUARE, said, SCHEELITE)
    with pytest.warns(UserWarning, match="has another formula with .*, I 41/a:1 is taken"):
        crystal = read_crystal(path)
    assert len(crystal) == 24
    assert crystal.formula == "NaReO4"
    assert find_symmetry(crystal).number == 88


def test_an_origin_that_is_not_said_is_named(tmp_path):
    path = cif(tmp_path, (5.43, 5.43, 5.43, 90, 90, 90),
               "_symmetry_space_group_name_H-M 'F d -3 m'\n", "Si1 Si 0 0 0\n")
    with pytest.warns(UserWarning, match="gives no origin: F d -3 m:1"):
        assert len(read_crystal(path)) == 8


def test_a_number_alone_is_taken_in_the_axes_of_the_cell(tmp_path):
    path = cif(tmp_path, (4.7, 4.7, 4.7, 57, 57, 57), "_symmetry_Int_Tables_number 166\n",
               "Bi1 Bi .23 .23 .23\n")
    with pytest.warns(UserWarning, match="a number and no symbol: R -3 m:R is taken"):
        assert len(read_crystal(path)) == 2


@pytest.mark.parametrize(("symbol", "remedy"), [
    ("Wat", "not an atom"), ("Va", "not an atom"), ("MA", "not an atom"), ("FA", "not an atom"),
    ("OH", "not a chemical element"), ("Xx", "not a chemical element")])
@pytest.mark.parametrize("labelled", [True, False])
def test_what_is_no_element_is_not_its_first_letter(tmp_path, symbol, remedy, labelled):
    """Water was tungsten, a vacancy vanadium, formamidinium fluorine."""
    atoms = CUBIC.replace("Cs1 Cs", f"X1 {symbol}" if labelled else f"{symbol}1")
    columns = "label type_symbol fract_x fract_y fract_z"
    if not labelled:
        atoms = atoms.replace(" Pb ", " ").replace(" Br ", " ")
        columns = columns.replace("type_symbol ", "")
    path = cif(tmp_path, CUBE, PM3M, atoms, columns)
    if symbol == "OH" and not labelled:  # the label of an oxygen
        assert read_crystal(path).formula == "PbBr3O"
        return
    with pytest.raises(InputError, match=remedy):
        read_crystal(path)


def test_groups_of_disorder_that_exclude_each_other_are_refused(tmp_path):
    columns = "label type_symbol fract_x fract_y fract_z disorder_group"
    rows = P1_CUBIC.splitlines()
    said = "_symmetry_space_group_name_H-M 'P 1'\n"
    for groups, fine in ((".....", True), ("..111", True), ("..112", False), ("..-1-1.", True)):
        marks = groups.replace("-1", "n")
        atoms = "".join(f"{row} {'-1' if mark == 'n' else mark}\n"
                        for row, mark in zip(rows, marks, strict=True))
        path = cif(tmp_path, CUBE, said, atoms, columns)
        if fine:
            assert len(read_crystal(path)) == 5
        else:
            with pytest.raises(InputError, match=r"disorder groups.*ordered structure"):
                read_crystal(path)


def test_halves_of_a_disordered_atom_are_refused(tmp_path):
    atoms = P1_CUBIC.replace("Br3 Br 0 0 .5", "Br3 Br .07 0 .5\nBr4 Br -.07 0 .5")
    path = cif(tmp_path, CUBE, "_symmetry_space_group_name_H-M 'P 1'\n", atoms)
    with pytest.raises(InputError, match=r"Br 5 and Br 6 are 0\.822 Å apart"):
        read_crystal(path)


@pytest.mark.parametrize("listed", [["x,y,z"], ["x,y,z", "-x,-y,-z"]])
def test_operations_that_are_only_some_of_those_declared(tmp_path, listed):
    """The asymmetric unit is not the cell, whatever operations were lost on the way."""
    said = ("_symmetry_space_group_name_H-M 'P b n m'\nloop_\n_symmetry_equiv_pos_as_xyz\n"
            + "".join(f"'{one}'\n" for one in listed))
    with pytest.raises(InputError, match=f"declares P b n m, but lists {len(listed)} of its"):
        read_crystal(cif(tmp_path, ORTHORHOMBIC, said, PBNM))
    # Writers that list all atoms may leave the symbol: the symmetry is there.
    whole = read_crystal("cspbbr3-pbnm")
    atoms = "".join(f"{s}{k} {s} {x:.6f} {y:.6f} {z:.6f}\n" for k, (s, (x, y, z)) in enumerate(
        zip(whole.species, whole.positions, strict=True)))
    said = said.split("loop_")[0] + "loop_\n_symmetry_equiv_pos_as_xyz\n'x,y,z'\n"
    cell = (*np.linalg.norm(whole.lattice_A, axis=1), 90, 90, 90)
    assert find_symmetry(read_crystal(cif(tmp_path, cell, said, atoms))).number == 62


@pytest.mark.parametrize("thirds", [("0.33", "0.67"), ("0.333", "0.667"), ("0.3333", "0.6667"),
                                    ("0.333333", "0.666667")])
def test_rounded_thirds_are_on_their_site(tmp_path, thirds):
    said = "_symmetry_space_group_name_H-M 'P 63/m m c'\n_symmetry_Int_Tables_number 194\n"
    crystal = read_crystal(cif(tmp_path, HEX, said, HEXAGONAL.format(*thirds)))
    symmetry = find_symmetry(crystal)
    assert (len(crystal), symmetry.number) == (10, 194)
    assert {w for s, w in zip(crystal.species, symmetry.wyckoff, strict=True) if s == "Br"} == {
        "6h"}


@pytest.mark.parametrize("names", [("PB", "CS", "BR"), ("pb", "cs", "br"), ("Pb2+", "Cs1+", "Br-")])
def test_elements_in_any_case_or_charge(tmp_path, names):
    atoms = CUBIC
    for name in names:
        atoms = atoms.replace(f" {name[:2].capitalize()} ", f" {name} ")
    assert read_crystal(cif(tmp_path, CUBE, PM3M, atoms)).formula == "CsPbBr3"


def test_a_label_that_may_be_two_elements_is_refused(tmp_path):
    atoms = "PB1 0 0 0\nCS1 .5 .5 .5\nBR1 .5 0 0\n"
    path = cif(tmp_path, CUBE, PM3M, atoms, "label fract_x fract_y fract_z")
    with pytest.raises(InputError, match="label PB1, Pb or P: add _atom_site_type_symbol"):
        read_crystal(path)


@pytest.mark.parametrize(("isotope", "mass"), [("D", 2.014), ("T", 3.016)])
def test_isotopes_keep_their_mass(tmp_path, isotope, mass):
    said = "_symmetry_space_group_name_H-M 'P m m m'\n_chemical_formula_sum 'D2 H1 Pb'\n"
    atoms = f"Pb1 Pb 0 0 0\nX1 {isotope} .3 0 0\nH1 H .5 .5 .5\n"
    path = cif(tmp_path, ORTHORHOMBIC, said.replace("D2", f"{isotope}2"), atoms)
    crystal = read_crystal(path)
    assert crystal.species == ("Pb", "H", "H", "H")
    np.testing.assert_allclose(crystal.masses_amu, [207.2, mass, mass, 1.008], atol=2e-3)
    double = supercell(crystal.with_positions(crystal.positions + 0.1), (1, 1, 2))
    np.testing.assert_array_equal(double.masses_amu, [*crystal.masses_amu] * 2)
    back = read_crystal(write_crystal(double, tmp_path / "back.cif"))
    assert back.species == double.species
    np.testing.assert_array_equal(back.masses_amu, double.masses_amu)
    with pytest.warns(UserWarning, match=r"cannot hold isotopes: go on from an \.extxyz"):
        write_crystal(double, tmp_path / "POSCAR")


def test_other_encodings_are_read_with_a_warning_in_one_line(tmp_path):
    path = cif(tmp_path, CUBE, "_publ_author_name 'Müller'\n" + PM3M, CUBIC)
    with pytest.warns(UserWarning, match="not UTF-8"):
        assert read_crystal(path).formula == "CsPbBr3"
    done = polaron("structure", "x.cif", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stderr == (
        "polaron: warning: x.cif is not UTF-8, other characters are ignored: check the file\n")
    path.write_bytes(path.read_bytes().decode("latin-1").encode("utf-8-sig"))
    assert read_crystal(path).formula == "CsPbBr3"


@pytest.mark.parametrize(("said", "atoms", "message"), [
    (PM3M + "_chemical_formula_sum 'Cs Pb Br3'\n_cell_formula_units_Z 4\n", CUBIC,
     "declares Z = 4, its atoms are 1 CsPbBr3"),
    ("_symmetry_space_group_name_H-M 'P 4/m m m'\n", CUBIC + "Br2 Br 0 0 .5\n",
     "declares the space group P 4/m m m, its atoms have P m -3 m at 0.001 Å, P m -3 m at 0.01"),
    ("_symmetry_Int_Tables_number 221\nloop_\n_symmetry_equiv_pos_as_xyz\n'x,y,z'\n",
     P1_CUBIC.replace(".5 0 0\n", ".5 .0004 0\n"), "at 0.001 Å, P m -3 m at 0.01 Å"),
    (PM3M + "_symmetry_Int_Tables_number 225\n", CUBIC, "declares the space group P m -3 m")])
def test_what_is_declared_and_not_found_is_said(tmp_path, said, atoms, message):
    with pytest.warns(UserWarning, match=message):
        read_crystal(cif(tmp_path, CUBE, said, atoms))


@pytest.mark.parametrize(("said", "message"), [
    (PM3M + "_chemical_formula_sum 'Cs2 Pb Br6'\n", "declares Cs2 Pb Br6 but its atoms are"),
    ("_symmetry_space_group_name_H-M 'Q m'\n", "'Q m', which is not known: list its operations"),
    ("", "gives no space group, nor a formula and a Z .* state P 1 if"),
    ("_chemical_formula_sum 'Cs Pb Br'\n_cell_formula_units_Z 4\n", "gives no space group"),
    ("_cell_modulation_dimension 1\n" + PM3M, "is modulated")])
def test_what_contradicts_the_atoms_is_refused(tmp_path, said, message):
    with pytest.raises(InputError, match=message):
        read_crystal(cif(tmp_path, CUBE, said, CUBIC))


def test_a_cell_without_a_space_group_is_whole_where_formula_and_z_say_so(tmp_path):
    said = "_chemical_formula_sum 'Cs Pb Br3'\n_cell_formula_units_Z 1\n"
    assert len(read_crystal(cif(tmp_path, CUBE, said, P1_CUBIC))) == 5


def test_a_cif_without_a_cell_is_refused(tmp_path):
    path = cif(tmp_path, CUBE, PM3M, CUBIC)
    path.write_text(path.read_text().replace("_cell_length", "_length"))
    with pytest.raises(InputError, match="lacks a length or angle of its cell"):
        read_crystal(path)


@pytest.mark.parametrize("said", ["_chemical_formula_sum 'Br3 Cs Pb'\n_cell_formula_units_Z 1\n",
                                  "_chemical_formula_sum 'Cs4 Pb4 Br12'\n",
                                  "_chemical_formula_sum ?\n_cell_formula_units_Z ?\n"])
def test_what_agrees_is_read_without_a_word(tmp_path, said):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(read_crystal(cif(tmp_path, CUBE, PM3M + said, CUBIC))) == 5
