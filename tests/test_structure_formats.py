"""What POSCAR, extended XYZ and XSF of others leave open: read, said, or refused."""

import numpy as np
import pytest

from perovskite_polaron.errors import InputError
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.files import read_crystal, write_crystal

POSCAR = "{title}\n1.0\n5.87 0 0\n0 5.87 0\n0 0 5.87\n{symbols}1 1 3\nDirect\n" + (
    "0 0 0\n.5 .5 .5\n.5 0 0\n0 .5 0\n0 0 .5\n")


def poscar(tmp_path, title="perovskite", symbols="Pb Cs Br\n", encoding="utf-8"):
    path = tmp_path / "POSCAR"
    path.write_bytes(POSCAR.format(title=title, symbols=symbols).encode(encoding))
    return path


@pytest.mark.parametrize(("title", "symbols"), [
    ("anything", "Pb Cs Br\n"), ("I F N", "Pb_d Cs_sv Br\n"), ("", "Pb_d/1a2b Cs_sv/9 Br/3c\n"),
    ("Pb Cs Br", "")])
def test_elements_of_a_poscar(tmp_path, title, symbols):
    assert read_crystal(poscar(tmp_path, title, symbols)).species == ("Pb", "Cs", "Br", "Br", "Br")


@pytest.mark.parametrize("title", ["F I N D S Y M", "POSCAR", "CsPbBr3 in P 1", "Cs Pb", "",
                                   "Q R S"])
def test_a_title_is_no_list_of_elements(tmp_path, title):
    # Other programs take letters of the title, or H, He, Li, for the elements.
    with pytest.raises(InputError, match="names no elements: write their symbols above"):
        read_crystal(poscar(tmp_path, title, ""))


def test_other_characters_in_a_poscar_are_a_warning(tmp_path):
    with pytest.warns(UserWarning, match="is not UTF-8"):
        assert read_crystal(poscar(tmp_path, "Müller", encoding="latin-1")).formula == "CsPbBr3"
    for encoding in ("utf-16", "utf-8-sig"):
        assert read_crystal(poscar(tmp_path, "Müller", encoding=encoding)).formula == "CsPbBr3"


def test_of_several_frames_the_last_is_taken_and_said(tmp_path):
    frame = '1\nLattice="{0} 0 0 0 {0} 0 0 0 {0}" Properties=species:S:1:pos:R:3\nBr 0 0 0\n'
    path = tmp_path / "a.xyz"
    path.write_text("".join(frame.format(a) for a in (5, 6, 7)))
    with pytest.warns(UserWarning, match="holds several structures: the last is taken"):
        assert read_crystal(path).volume_A3 == pytest.approx(343)


def test_masses_of_extended_xyz_are_isotopes(tmp_path):
    path = tmp_path / "a.xyz"
    path.write_text('3\nLattice="9 0 0 0 9 0 0 0 9" Properties=species:S:1:pos:R:3:mass:R:1\n'
                    "H 0 0 0 2.014\nCl 2 0 0 36.966\nBr 5 5 5 79.9\n")
    masses = [2.014, 36.966, 79.904]
    for crystal in (first := read_crystal(path),
                    read_crystal(write_crystal(first, tmp_path / "b.extxyz"))):
        np.testing.assert_allclose(crystal.masses_amu, masses, atol=1e-3)
    for name in ("a.cif", "a.vasp", "a.xsf"):
        if name == "a.cif":
            first = Crystal(first.lattice_A, first.species, first.positions, "chlorine",
                            isotopes_amu=[np.nan, 36.966, np.nan])
        with pytest.warns(UserWarning, match="cannot hold isotopes"):
            write_crystal(first, tmp_path / name)


def test_many_atoms_are_read_in_time_that_grows_with_their_number(tmp_path):
    # 27 000 atoms, two of them in one place across the border of the cell.
    grid = np.stack(np.meshgrid(*3 * [np.arange(30)]), axis=-1).reshape(-1, 3) / 30
    crystal = Crystal(90 * np.eye(3), ("Br",) * len(grid), grid)
    path = write_crystal(crystal, tmp_path / "a.xsf")
    assert len(read_crystal(path)) == 27000
    grid[-1] = grid[0] + [1, 0, 0.004]
    with pytest.raises(InputError, match=r"Br 1 and Br 27000 are 0\.360 Å apart"):
        Crystal(90 * np.eye(3), ("Br",) * len(grid), grid)


LABELLED = ("CsPbBr3\n1.0\n5.87 0 0\n0 5.87 0\n0 0 5.87\nCs Pb Br\n1 1 3\nDirect\n0 0 0 Cs\n"
          ".5 .5 .5 Pb\n.5 .5 0 Br\n.5 0 .5 Br\n0 .5 .5 Br\n")


@pytest.mark.parametrize(("old", "new", "why"), [
    ("1 1 3", "1 2 2", "Br in the row of atom 3, Pb by its head"),
    ("Cs Pb Br\n", "Pb Cs Br\n", "Cs in the row of atom 1, Pb by its head"),
    ("1 1 3", "1 1 2", "more rows than the 4 atoms")])
def test_a_poscar_whose_head_contradicts_its_rows_is_refused(tmp_path, old, new, why):
    path = tmp_path / "POSCAR"
    bare = "".join(f"{line[:-3] if k > 7 else line}\n"
                   for k, line in enumerate(LABELLED.splitlines()))
    for text in (LABELLED, bare, LABELLED + "\n0 0 0\n" + 4 * "1e-3 0 0\n"):
        path.write_text(text)
        assert read_crystal(path).formula == "CsPbBr3"
    with_flags = LABELLED.replace("Direct", "Selective dynamics\nDirect")
    for symbol in ("Cs", "Pb", "Br"):
        with_flags = with_flags.replace(f" {symbol}\n", f" T T F {symbol}\n")
    with_flags = with_flags.replace("Cs Pb T T F Br", "Cs Pb Br")
    for text in (LABELLED, with_flags):
        path.write_text(text)
        assert len(read_crystal(path)) == 5
        path.write_text(text.replace(old, new, 1))
        with pytest.raises(InputError, match=why):
            read_crystal(path)


@pytest.mark.parametrize(("name", "text"), [
    ("x.extxyz", '1\nLattice="9 0 0 0 9 0 0 0 9" Properties=species:S:1:pos:R:3 pbc="{}"\n'
     "Pb 0 0 0\n"),
    ("x.xsf", "{}\nPRIMVEC\n9 0 0\n0 9 0\n0 0 9\nPRIMCOORD\n1 1\nPb 0 0 0\n")])
def test_slabs_and_molecules_in_a_box_are_no_crystals(tmp_path, name, text):
    words = ("T T T", "T T F", "F F F") if name.endswith("xyz") else ("CRYSTAL", "SLAB", "POLYMER")
    for word in words:
        (tmp_path / name).write_text(text.format(word))
        if word == words[0]:
            assert len(read_crystal(tmp_path / name)) == 1
        else:
            with pytest.raises(InputError, match="not periodic in every direction"):
                read_crystal(tmp_path / name)
