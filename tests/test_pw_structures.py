"""Structures in inputs and outputs of pw.x: what pw.x itself makes of them, or a refusal."""

import numpy as np
import pytest
from conftest import polaron

from perovskite_polaron.errors import InputError
from perovskite_polaron.lattice.files import read_crystal
from perovskite_polaron.lattice.pw_files import bravais_lattice
from perovskite_polaron.units import BOHR_ANGSTROM

# ibrav: celldm; the axes that pw.x 6.7MaX prints for it, in units of alat.
PRINTED = {
    1: ((9,), "1 0 0 0 1 0 0 0 1"), 2: ((9,), "-.5 0 .5 0 .5 .5 -.5 .5 0"),
    3: ((9,), ".5 .5 .5 -.5 .5 .5 -.5 -.5 .5"), -3: ((9,), "-.5 .5 .5 .5 -.5 .5 .5 .5 -.5"),
    4: ((9, 0, 1.3), "1 0 0 -.5 .866025 0 0 0 1.3"),
    5: ((9, 0, 0, 0.3), ".591608 -.341565 .730297 0 .683130 .730297 -.591608 -.341565 .730297"),
    -5: ((9, 0, 0, 0.3), "-.136136 .700524 .700524 .700524 -.136136 .700524 .700524 .700524"
         " -.136136"),
    6: ((9, 0, 1.3), "1 0 0 0 1 0 0 0 1.3"), 7: ((9, 0, 1.3), ".5 -.5 .65 .5 .5 .65 -.5 -.5 .65"),
    8: ((9, 1.1, 1.3), "1 0 0 0 1.1 0 0 0 1.3"),
    9: ((9, 1.1, 1.3), ".5 .55 0 -.5 .55 0 0 0 1.3"),
    -9: ((9, 1.1, 1.3), ".5 -.55 0 .5 .55 0 0 0 1.3"),
    91: ((9, 1.1, 1.3), "1 0 0 0 .55 -.65 0 .55 .65"),
    10: ((9, 1.1, 1.3), ".5 0 .65 .5 .55 0 0 .55 .65"),
    11: ((9, 1.1, 1.3), ".5 .55 .65 -.5 .55 .65 -.5 -.55 .65"),
    12: ((9, 1.1, 1.3, 0.2), "1 0 0 .22 1.077775 0 0 0 1.3"),
    -12: ((9, 1.1, 1.3, 0, -0.2), "1 0 0 0 1.1 0 -.26 0 1.273735"),
    13: ((9, 1.1, 1.3, 0.2), ".5 0 -.65 .22 1.077775 0 .5 0 .65"),
    -13: ((9, 1.1, 1.3, 0, -0.2), ".5 .55 0 -.5 .55 0 -.26 0 1.273735"),
    14: ((9, 1.1, 1.3, 0.1, 0.2, 0.3), "1 0 0 .33 1.049333 0 .26 .054511 1.272568")}
SPECIES = "ATOMIC_SPECIES\nBr1 79.904 Br.UPF\n"


def pw_input(tmp_path, system, cards, name="x.in"):
    path = tmp_path / name
    path.write_text(f"&control\n pseudo_dir = \"./a/b\" ! / no end\n/\n&SYSTEM\n{system}\n/\n"
                    f"&electrons\n/\n{cards}\n")
    return path


@pytest.mark.parametrize("ibrav", PRINTED)
def test_the_cell_of_every_ibrav_is_the_one_that_pw_prints(tmp_path, ibrav):
    celldm, printed = PRINTED[ibrav]
    lattice_A = np.array(printed.split(), float).reshape(3, 3) * 9 * BOHR_ANGSTROM
    said = "\n".join(f" celldm({i}) = {v}d0, ! comment" for i, v in enumerate(celldm, 1) if v)
    system = f" ibrav= {ibrav}, nat=1, ntyp=1, occupations='smearing'\n{said}"
    atoms = SPECIES + "ATOMIC_POSITIONS {crystal} # comment\nBr1 1/4 .1D0 0.2 0 0 1\nK_POINTS gamma"
    crystal = read_crystal(pw_input(tmp_path, system, atoms))
    np.testing.assert_allclose(crystal.lattice_A, lattice_A, atol=1e-5)
    np.testing.assert_allclose(crystal.positions, [[0.25, 0.1, 0.2]], atol=1e-12)
    assert (crystal.species, crystal.isotopes_amu) == (("Br",), None)
    # The same in Å and cosines.
    _, b, c, first, second, third = (*celldm, *6 * [0])[:6]
    a = 9 * BOHR_ANGSTROM
    cosines = {14: (third, second, first), -12: (0, second, 0), -13: (0, second, 0)}
    ab, ac, bc = cosines.get(ibrav, (first, 0, 0))
    system = (f"ibrav={ibrav} nat=1 ntyp=1 A={a:.9f} B={a * b:.9f} C={a * c:.9f} cosAB={ab}"
              f" cosAC={ac} cosBC={bc}")
    np.testing.assert_allclose(read_crystal(pw_input(tmp_path, system, atoms)).lattice_A,
                               lattice_A, atol=1e-5)


@pytest.mark.parametrize(("cell", "scale"), [
    ("CELL_PARAMETERS bohr", BOHR_ANGSTROM), ("CELL_PARAMETERS (angstrom)", 1),
    ("CELL_PARAMETERS", BOHR_ANGSTROM), ("celldm(1)=2,|cell_parameters {alat}", 2 * BOHR_ANGSTROM),
    ("A=3|CELL_PARAMETERS", 3)])
@pytest.mark.parametrize("unit", ["crystal", "bohr", "angstrom", "(alat)", ""])
def test_units_of_cells_and_positions(tmp_path, cell, scale, unit):
    *system, card = cell.split("|")
    lattice_A = scale * np.array([[4, 0, 0], [0, 5, 0], [0, 1, 6]])
    alat_A = scale if system else 4 * scale
    size = {"bohr": BOHR_ANGSTROM, "angstrom": 1.0}.get(unit, alat_A)
    at = [1, 2, 3] if unit == "crystal" else np.array([1, 2, 3]) @ lattice_A / size
    path = pw_input(
        tmp_path, f"ibrav=0 nat=1 ntyp=1 {' '.join(system)}", f"{card}\n4 0 0\n\n0 .5d1 0\n0 1 6\n"
        f"{SPECIES}ATOMIC_POSITIONS {unit}\n! no\nBr1 {at[0]:.12f} {at[1]:.12f} {at[2]:.12f}")
    crystal = read_crystal(path)
    np.testing.assert_allclose(crystal.lattice_A, lattice_A, atol=1e-12)
    np.testing.assert_allclose(crystal.positions, [[1, 2, 3]], atol=1e-9)


@pytest.mark.parametrize(("words", "numbers"), [
    ("1/3 1/2*3^(-1/2) 0", (1 / 3, 0.28867513459481287, 0)), ("1-1 0/2 (1+1)*0", (0, 0, 0)),
    ("1/4 2*(1/8) 1/(2/(1/2))", (0.25, 0.25, 0.25)), ("1.d0/3.d0 -.25+1 0.5", (1 / 3, 0.75, 0.5)),
    ("1-2-3 8/4/2 2.5d-1*2", (-4, 1, 0.5)), ("2^3^2 0 0", None), ("-2^2 0 0", None),
    ("sqrt(3) 0 0", None), ("__import__('os') 0 0", None), ("9^9^9^9 0 0", None),
    ("9^999 0 0", None), ("1/0 0 0", None), ("(((1 0 0", None)])
def test_coordinates_may_be_expressions(tmp_path, words, numbers):
    """As pw.x takes them; its own example and test are among these."""
    path = tmp_path / "x.in"
    path.write_text("&system\nibrav=1 celldm(1)=10 nat=1 ntyp=1\n/\nATOMIC_SPECIES\nBr 80 Br.upf\n"
                    f"ATOMIC_POSITIONS crystal\nBr {words}\n")
    if numbers is None:
        with pytest.raises(InputError):
            read_crystal(path)
    else:
        np.testing.assert_allclose(read_crystal(path).positions, [numbers], atol=1e-15)


@pytest.mark.parametrize(("kind", "symbol", "mass"), [
    ("nh 14.007 nh.UPF", "N", 14.007), ("Nh 14.007 Nh.UPF", "N", 14.007),
    ("Bh 10.81 x.UPF", "B", 10.81), ("Brh 79.904 Brh.UPF", "Br", 79.904),
    ("Hf1 1.008 H.upf", "H", 1.008), ("Hg 1.0 Hg.UPF", "Hg", 200.592), ("FE_u 55.8 F.UPF", "Fe",
                                                                      55.845),
    ("Cs 1d0 Cs.UPF", "Cs", 132.905), ("H 2.014 H.UPF", "H", 2.014), ("D 2.014 H.UPF", "H", 2.014),
    ("Cl 36.966 Cl.UPF", "Cl", 36.966), ("C1 12.0 C.UPF", "C", 12.011)])
def test_labels_are_elements_and_masses_isotopes(tmp_path, kind, symbol, mass):
    crystal = read_crystal(pw_input(
        tmp_path, "ibrav=1 nat=1 ntyp=1 celldm(1)=9", f"ATOMIC_SPECIES\n{kind}\nATOMIC_POSITIONS"
        f" crystal\n{kind.split()[0]} 0 0 0"))
    assert crystal.species == (symbol,)
    assert crystal.masses_amu[0] == pytest.approx(mass, abs=1e-3)


ONE = SPECIES + "ATOMIC_POSITIONS crystal\nBr1 0 0 0\n"


@pytest.mark.parametrize(("system", "cards", "message"), [
    ("ibrav=8 nat=1 ntyp=1 celldm(1)=9", ONE, "make no cell with ibrav = 8"),
    ("ibrav=15 nat=1 ntyp=1 celldm(1)=9", ONE, "ibrav = 15 is no lattice of pw.x"),
    ("ibrav=14 nat=1 ntyp=1 A=5 B=5 C=5 cosAB=.9 cosAC=-.9 cosBC=.9", ONE, "make no cell"),
    ("ibrav=1 nat=1 ntyp=1 celldm(1)=9 A=5", ONE, "must say its cell once"),
    ("nat=1 ntyp=1 A=5", ONE, "must say its cell once"),
    ("ibrav=0 nat=1 ntyp=1", ONE, "must say its cell once"),
    ("ibrav=0 nat=1 ntyp=1 A=5", ONE + "CELL_PARAMETERS bohr\n5 0 0\n0 5 0\n0 0 5", "cell once"),
    ("ibrav=1 nat=1 ntyp=1 A=5 space_group=221", ONE, "give the output of pw.x"),
    ("ibrav=1 nat=2 ntyp=1 A=5", ONE, "says nat = 2, but 1 atoms follow"),
    ("ibrav=1 nat=1 ntyp=1 A=5", ONE + ONE, "has ATOMIC_SPECIES twice"),
    ("ibrav=1 nat=1 ntyp=1 A=5", ONE.replace("Br1 0", "Cs 0"), "holds Cs, which is not among"),
    ("ibrav=1 nat=1 ntyp=1 A=5", ONE.replace("Br1", "Q1"), "the label 'Q1' begins with no element"),
    ("ibrav=1 nat=1 ntyp=1 A=5", ONE.replace("crystal", "parsec"), "positions or a cell in parsec"),
    ("ibrav=1 nat=1 ntyp=1 A=5", ONE.replace("0 0 0", "0 sqrt(4) 0"), "no number and no algebra"),
    ("ibrav=4 nat=1 ntyp=1 celldm(1)=9, 0, 1.3", ONE, "Value 0 is not assigned"),
    ("ibrav=1 nat=1 ntyp=1 A=5", "K_POINTS gamma", "is no input of pw.x")])
def test_inputs_that_do_not_say_one_cell_are_refused(tmp_path, system, cards, message):
    with pytest.raises(InputError, match=message) as error:
        read_crystal(pw_input(tmp_path, system, cards))
    assert "\n" not in str(error.value)


def test_namelists_of_older_programs_and_engines(tmp_path, capsys):
    cell = "&system ibrav=1 nat=1 ntyp=1 A=5"
    for text in (f"{cell} /&end\n{ONE}", f"{cell}\n/\n&electrons\n /&end\n{ONE}",
                 f" {cell.upper()} /\n{ONE}", f"BEGIN\nBEGIN_PIMD_INPUT\n&dynamics\n/\n"
                 f"END_PIMD_INPUT\nBEGIN_ENGINE_INPUT\n&control\n/\n{cell}\n/\n"
                 f"{ONE}END_POSITIONS\nK_POINTS gamma\nEND_ENGINE_INPUT\n"):
        (tmp_path / "x.in").write_text(text)
        assert read_crystal(tmp_path / "x.in").volume_A3 == pytest.approx(125)
    # A library prints where it cannot go on; nothing of that may reach the output.
    (tmp_path / "x.in").write_text("&system\n x='" + 99 * '"' + "\n" + ONE)
    with pytest.raises(InputError, match="cannot be read as espresso-in"):
        read_crystal(tmp_path / "x.in")
    assert capsys.readouterr().out == ""


HEAD = """
     Program PWSCF v.6.7MaX starts on  1Jan2026 at  0: 0: 0
     bravais-lattice index     =            0
     lattice parameter (alat)  =       7.2558  a.u.
     number of atoms/cell      =            2
     celldm(1)=   7.255773  celldm(2)=   0.000000  celldm(3)=   0.000000

     crystal axes: (cart. coord. in units of alat)
               a(1) = (   0.000000   0.707107   0.707107 )
               a(2) = (   0.707107   0.000000   0.707107 )
               a(3) = (   0.707107   0.707107   0.000000 )

     atomic species   valence    mass     pseudopotential
        Sih            4.00    28.08600     Si( 1.00)

   Cartesian axes
     site n.     atom                  positions (alat units)
         1           Sih tau(   1) = (   0.0000000   0.0000000   0.0000000  )
         2           Sih tau(   2) = (   0.3535534   0.3535534   0.3535534  )

"""
BFGS = "     BFGS Geometry Optimization\n     number of scf cycles    =   1\n"
STEP = """
CELL_PARAMETERS ({unit})
   0.000000000   {edge}   {edge}
   {edge}   0.000000000   {edge}
   {edge}   {edge}   0.000000000

ATOMIC_POSITIONS (crystal)
Sih           0.0000000000       -0.0000000000        0.0000000000
Sih           0.2500000000        0.2500000000        0.2500000000

"""
DONE, CONVERGED = "   JOB DONE.\n", "     bfgs converged in   3 scf cycles\n"
# The primitive cell of edges (0, e, e) holds 2e³.
LAST, FIRST = 2 * 2.760656387**3, 2 * (7.255773 * 0.707107 * BOHR_ANGSTROM)**3


def outputs():
    # What a run has read from another one has its alat, but celldm is still that of the input.
    moved = HEAD.replace("(alat)  =       7.2558", "(alat)  =       8.0000")
    last = STEP.format(unit="angstrom", edge="2.760656387")
    before = STEP.format(unit="angstrom", edge="2.700000000")
    alat = STEP.format(unit="alat=  7.25577300", edge="0.700000000")
    unfinished = "did not end or not converge: its last structure is taken"
    return {
        "scf": (HEAD + DONE, FIRST, None), "aborted": (HEAD, FIRST, unfinished),
        "relaxed": (HEAD + before + BFGS + CONVERGED + last + DONE, LAST, None),
        "not converged": (HEAD + BFGS + before + last + DONE, LAST, unfinished),
        "cut": (HEAD + BFGS + before + last[:-90], 2 * 2.7**3, unfinished),
        "alat": (HEAD + BFGS + CONVERGED + alat + DONE, FIRST * (0.7 / 0.707107)**3, None),
        "from another run": (moved + DONE, FIRST * (8 / 7.255773)**3, None),
        "again": (HEAD + BFGS + CONVERGED + before + DONE + HEAD + DONE, FIRST, None)}


@pytest.mark.parametrize("name", outputs())
def test_the_last_structure_of_an_output(tmp_path, name):
    text, volume_A3, warning = outputs()[name]
    (tmp_path / "x.out").write_text(text)
    done = polaron("structure", "x.out", cwd=tmp_path)
    assert done.returncode == 0
    assert "x.out: Si, 2 atoms in " in done.stdout
    assert f" Å, {volume_A3:.3f} Å3" in done.stdout
    assert "Fd-3m" in done.stdout
    assert done.stderr.count("\n") == (warning is not None)
    assert (warning or "") in done.stderr


@pytest.mark.parametrize("text", ["     Program PWSCF v.6.7\n  Error in routine\n", "Dynmat\n",
                                  HEAD[:500]])
def test_an_output_without_a_structure_is_refused(tmp_path, text):
    (tmp_path / "x.out").write_text(text)
    with pytest.raises(InputError, match="holds no structure: it is no"):
        read_crystal(tmp_path / "x.out")


def test_lattices_hold_their_volume():
    # A primitive cell is that part of the conventional one that its centring says.
    parts = {2: 4, 3: 2, -3: 2, 7: 2, 9: 2, -9: 2, 91: 2, 10: 4, 11: 2, 13: 2, -13: 2}
    celldm = (1, 0.9, 1.2, 0.1, 0.1, 0.1)
    for ibrav, part in parts.items():
        whole = {13: 12, -13: -12}.get(ibrav, {2: 1, 3: 1, 7: 6}.get(abs(ibrav), 8))
        assert np.linalg.det(bravais_lattice(ibrav, celldm)) == pytest.approx(
            np.linalg.det(bravais_lattice(whole, celldm)) / part)
