import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import neighbor_list
from scipy.spatial.transform import Rotation
from test_distortion import LO, settings, shuffled

from perovskite_polaron.cli.main import main
from perovskite_polaron.errors import InputError
from perovskite_polaron.lattice.crystal import Crystal, supercell
from perovskite_polaron.lattice.files import read_crystal, write_crystal
from perovskite_polaron.lattice.octahedra import bond_report, compare, find_framework, sweep_bonds
from perovskite_polaron.phonons.distortion import distort, real_patterns


def rotated(crystal):
    turn = Rotation.from_rotvec([0.3, -0.8, 0.5]).as_matrix()
    return Crystal(crystal.lattice_A @ turn.T, crystal.species, crystal.positions, "rotated")


@pytest.mark.parametrize("turn", [False, True])
@pytest.mark.parametrize("name", settings())
def test_published_bonds_and_angles_whatever_the_description(name, turn):
    crystal = settings()[name]
    report = bond_report(rotated(crystal) if turn else crystal)
    assert report.axial_A == pytest.approx(2.958, abs=1e-3)
    assert report.equatorial_A == pytest.approx(2.964, abs=1e-3)
    assert report.axial_angle_deg == pytest.approx(165.46, abs=0.01)
    assert report.equatorial_angle_deg == pytest.approx(157.42, abs=0.01)
    assert report.octahedra.offcentring_A.max() < 1e-12  # Pb is on an inversion centre


def test_cubic_octahedra_are_ideal_and_the_axial_direction_can_be_given():
    for repeats in ((1, 1, 1), (2, 2, 1), (1, 1, 3)):
        crystal = supercell(read_crystal("cspbbr3-pm3m"), repeats)
        for axial in (None, "a", "b", "c"):
            framework = find_framework(crystal, axial=axial)
            np.testing.assert_allclose(framework.axes[2], np.eye(3)["abc".index(axial or "c")],
                                       atol=1e-12)
        report = bond_report(crystal)
        assert (report.axial_A, report.equatorial_A) == (pytest.approx(2.9355),
                                                         pytest.approx(2.9355))
        assert report.octahedra.elongation == pytest.approx(1.0)
        assert report.octahedra.tilts_deg.max() < 1e-6


def test_tetragonal_model_is_what_it_says():
    report = bond_report(read_crystal("cspbbr3-p4mbm"))
    assert (report.axial_A, report.equatorial_A) == (pytest.approx(6.0171 / 2),
                                                     pytest.approx(2.964))
    assert report.axial_angle_deg == pytest.approx(180)


def test_lengths_are_those_of_another_neighbour_list():
    crystal = distort(read_crystal("cspbbr3-pbnm"), LO, [0.1], "max_A")[0].crystal
    atoms = Atoms(crystal.species, scaled_positions=crystal.positions, cell=crystal.lattice_A,
                  pbc=True)
    expected = np.sort(neighbor_list("d", atoms, {("Pb", "Br"): 3.6}))[::2]
    np.testing.assert_allclose(np.sort(bond_report(crystal).octahedra.lengths_A.ravel()), expected,
                               atol=1e-12)


@pytest.mark.parametrize("name", settings())
def test_displacements_and_ratios_whatever_order_wrapping_and_origin(name):
    crystal = settings()[name]
    point = distort(crystal, LO, [0.1], "max_A")[0]
    other = shuffled(point.crystal, seed=4)
    other = other.with_positions(other.positions + np.array([0.13, 0.27, -0.4]))
    moved = compare(other, crystal)
    assert moved.classes_A["axial_X"] == pytest.approx(0.1, abs=1e-5)
    assert moved.ratio["axial_to_equatorial"] == pytest.approx(6.82, abs=0.01)
    assert moved.ratio["axial_to_B"] == pytest.approx(2.61, abs=0.01)
    assert (crystal.masses_amu[:, None] * moved.displacement_A).sum(axis=0) == pytest.approx(
        np.zeros(3), abs=1e-9
    )


@pytest.mark.parametrize("seed", range(8))
def test_any_displacements_come_back_from_a_structure_in_disorder(seed):
    rng = np.random.default_rng(seed)
    crystal = read_crystal("cspbbr3-pbnm")
    u = rng.normal(scale=0.25, size=(20, 3))
    moved = crystal.positions + u @ np.linalg.inv(crystal.lattice_A) + rng.uniform(-1, 1, 3)
    found = compare(shuffled(crystal.with_positions(moved), seed), crystal)
    expected = u - crystal.masses_amu @ u / crystal.masses_amu.sum()
    np.testing.assert_allclose(found.displacement_A, expected, atol=1e-9)


def test_a_crystal_has_not_moved_against_itself():
    crystal = read_crystal("cspbbr3-pbnm")
    moved = compare(crystal, crystal)
    assert max(moved.classes_A.values()) < 1e-12
    assert moved.ratio == {"axial_to_equatorial": None, "axial_to_B": None}


def test_a_sweep_equals_the_structures_it_does_not_build():
    crystal = read_crystal("cspbbr3-pnma")
    framework, points = find_framework(crystal), distort(crystal, LO, [0.02, 0.05, 0.1], "max_A")
    sweep = sweep_bonds(framework, real_patterns(crystal, LO),
                        [p.amplitude_sqrt_amu_A for p in points])
    for k, point in enumerate(points):
        built = bond_report(point.crystal)
        np.testing.assert_allclose(sweep.lengths_A[k], built.octahedra.lengths_A[0], atol=1e-12)
        np.testing.assert_allclose(sweep.offcentring_A[k], built.octahedra.offcentring_A[0],
                                   atol=1e-12)


def test_moving_everything_changes_no_bond_and_a_supercell_repeats_its_cell():
    crystal = read_crystal("cspbbr3-pbnm")
    drift = np.ones((1, len(crystal.species), 3)) * [0.3, -0.2, 0.7]
    q, small = [[0.0, 0.0], [1.0, 2.0], [-3.0, 0.5]], find_framework(crystal)
    patterns = np.concatenate([real_patterns(crystal, LO), drift])
    still = sweep_bonds(small, patterns, q)
    np.testing.assert_allclose(sweep_bonds(small, patterns[:1], [row[:1] for row in q]).lengths_A,
                               still.lengths_A, atol=1e-12)
    large = supercell(crystal, (2, 1, 2))
    repeated = sweep_bonds(find_framework(large), real_patterns(large, LO), [row[:1] for row in q])
    for name in ("lengths_A", "offcentring_A", "elongation", "angle_variance_deg2", "tilts_deg",
                 "angles_deg"):
        one, many = getattr(still, name), getattr(repeated, name)
        for k in range(len(q)):
            np.testing.assert_allclose(np.sort(many[k].ravel()),
                                       np.repeat(np.sort(one[k].ravel()), 4), atol=2e-6,
                                       err_msg=name)


def test_structures_that_cannot_be_compared_or_measured_are_refused():
    pbnm, pnma = read_crystal("cspbbr3-pbnm"), read_crystal("cspbbr3-pnma")
    with pytest.raises(InputError, match="different lattices"):
        compare(pbnm, pnma)
    with pytest.raises(InputError, match="differ in composition"):
        compare(pbnm, supercell(pbnm, (2, 1, 1)))
    with pytest.raises(InputError, match="I is not in cspbbr3-pbnm"):
        find_framework(pbnm, x="I")
    with pytest.raises(InputError, match="Cs is not in an octahedron of Br"):
        find_framework(pbnm, b="Cs")
    with pytest.raises(InputError, match="near no pseudo-cubic axis"):
        find_framework(pbnm, axial="a")
    with pytest.raises(InputError, match="no anion"):
        find_framework(Crystal(4 * np.eye(3), ("Cu",), np.zeros((1, 3)), "copper"))

FAULTS = Path(__file__).parent / "data/faults"
PARTS = ("axial_A", "equatorial_A", "axial_angle_deg", "equatorial_angle_deg")
CUBE = [[0.5, 0.5, 0.5], [0, 0, 0], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]]


def bonds_json(capsys, *arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert main(["bonds", "--json", *map(str, arguments)]) == 0
        found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
        assert main(["bonds", *map(str, arguments)]) == 0
    assert "nan" not in capsys.readouterr().out
    return found


def saved(tmp_path, lattice_A, species, positions):
    path = tmp_path / "crystal.cif"
    write_crystal(Crystal(np.asarray(lattice_A, float), tuple(species), np.array(positions)), path)
    return path


def test_mixed_halide_single_layer_has_no_axial_angle(capsys):
    found = bonds_json(capsys, FAULTS / "cs2pbi2cl2.cif")
    assert [found[k] for k in PARTS] == [pytest.approx(0.1679 * 18.879), pytest.approx(5.6385 / 2),
                                         None, pytest.approx(180)]
    for row in found["bonds"]:
        assert row["x"].startswith("I" if row["class"] == "axial" else "Cl")


def test_isolated_octahedra_have_no_angles(capsys, tmp_path):
    # K2PtCl6 in its primitive cell: every second octahedron of the cube is empty.
    x = 0.24
    ligands = [[a, -a, -a] for a in (x, -x)] + [[-a, a, -a] for a in (x, -x)] + [
        [-a, -a, a] for a in (x, -x)]
    path = saved(tmp_path, 4.9 * (1 - np.eye(3)), ["Pt", "K", "K"] + 6 * ["Cl"],
                 [[0, 0, 0], [0.25] * 3, [0.75] * 3, *ligands])
    found = bonds_json(capsys, path)
    assert found["axial_A"] == pytest.approx(2 * 4.9 * x)
    assert (found["axial_angle_deg"], found["equatorial_angle_deg"]) == (None, None)
    assert [row["b"] for row in found["octahedra"]] == ["Pt1"]


def test_mixed_halide_perovskite_whichever_way_x_is_named(capsys):
    for options in ((), ("--x", "I,Br"), ("--b", "Pb", "--x", "Br,I")):
        found = bonds_json(capsys, FAULTS / "cspbi2br.cif", *options)
        assert [found[k] for k in PARTS] == pytest.approx([2.975, 3.1, 180, 180])
    with pytest.raises(InputError, match=r"Pb is not in an octahedron of I in .* name B and X"):
        find_framework(read_crystal(FAULTS / "cspbi2br.cif"), b="Pb", x="I")


def test_anions_beyond_the_halogens_are_mixed_by_name(tmp_path):
    crystal = Crystal(4.1 * np.eye(3), ("Ba", "Ta", "O", "O", "N"), np.array(CUBE))
    assert bond_report(crystal, find_framework(crystal, x="O,N")).axial_A == pytest.approx(2.05)
    with pytest.raises(InputError, match="name B and X, such as"):
        find_framework(crystal)


def test_double_perovskite_has_both_b(capsys):
    found = bonds_json(capsys, FAULTS / "dp1.cif", FAULTS / "dp0.cif")
    # Bi moved by 0.10 Å: the centre of mass by 0.10·208.98/1062.08 = 0.0197 Å.
    assert found["displacement_A"]["B"] == pytest.approx(0.0585, abs=5e-5)
    for name in ("A", "axial_X", "equatorial_X"):
        assert found["displacement_A"][name] == pytest.approx(0.0197, abs=5e-5)
    rest = bonds_json(capsys, FAULTS / "dp0.cif")
    assert [row["b"] for row in rest["octahedra"]] == ["Bi1", "Ag2"]
    assert len(rest["bonds"]) == 12
    assert [rest[k] for k in PARTS[2:]] == [pytest.approx(180), pytest.approx(180)]
    assert [row["b"] for row in bonds_json(capsys, FAULTS / "dp0.cif", "--b", "Ag")["octahedra"]
            ] == ["Ag2"]


def test_an_octahedral_cation_between_the_octahedra_is_not_b():
    # LiNbO3: six O around Li too, but each O joins two Nb already.
    o = np.array([0.0492, 0.3446, 0.0647])
    turns = [o, [-o[1], o[0] - o[1], o[2]], [o[1] - o[0], -o[0], o[2]]]
    turns += [[-t[1], -t[0], t[2] + 0.5] for t in turns]
    shifts = np.array([[0, 0, 0], [2 / 3, 1 / 3, 1 / 3], [1 / 3, 2 / 3, 2 / 3]])
    atoms = [[0, 0, 0], [0, 0, 0.5], [0, 0, 0.2787], [0, 0, 0.7787], *turns]
    positions = (shifts[:, None] + np.array(atoms)).reshape(-1, 3)
    a, c = 5.148, 13.863
    lattice = [[a, 0, 0], [-a / 2, a * 3**0.5 / 2, 0], [0, 0, c]]
    species = 3 * (2 * ("Nb",) + 2 * ("Li",) + 6 * ("O",))
    crystal = Crystal(np.array(lattice), species, positions)
    framework = find_framework(crystal)
    assert framework.b == "Nb"
    assert len(framework.bridges) == 18


ROCK_SALT = [[0, 0, 0], [0.5, 0.5, 0.5]]


@pytest.mark.parametrize(("lattice_A", "species", "positions", "words"), [
    (3.0 * (1 - np.eye(3)), ["Ag", "Br"], ROCK_SALT, "edges shared around Ag"),
    (np.diag([4.59, 4.59, 2.96]), ["Ti", "Ti", "O", "O", "O", "O"],
     [[0, 0, 0], [0.5, 0.5, 0.5], [0.305, 0.305, 0], [0.695, 0.695, 0], [0.195, 0.805, 0.5],
      [0.805, 0.195, 0.5]], "edges shared around Ti"),
    ([[7.0, 0, 0], [-3.5, 3.5 * 3**0.5, 0], [0, 0, 5.9]], ["Ni", "Ni", *["Cl"] * 6],
     [[0, 0, 0], [0, 0, 0.5], *[[s * x, s * y, (1 + 2 * (s > 0)) / 4] for s in (1, -1)
                               for x, y in ((0.16, 0.32), (0.16, -0.16), (-0.32, -0.16))]],
     "faces shared around Ni")])
def test_octahedra_that_share_edges_or_faces_are_told_apart(lattice_A, species, positions, words):
    crystal = Crystal(np.array(lattice_A, float), tuple(species), np.array(positions, float), "it")
    for cell in (crystal, supercell(crystal, (2, 1, 2)), rotated(crystal)):
        with pytest.raises(InputError, match=rf"is not corner-sharing \({words}\).*name B and X"):
            find_framework(cell)


def test_the_yellow_phase_has_shells_and_asked_for_octahedra_one_line_of_refusal(capsys):
    found = bonds_json(capsys, FAULTS / "CsSnI3-Y.cif")
    assert "not corner-sharing (edges shared around Sn)" in found["no_octahedra"]
    assert (found["axial_A"], found["equatorial_A"]) == (None, None)
    tin = next(s for s in found["shells"] if s["atom"] == "Sn17")
    assert (tin["neighbour"], tin["count"]) == ("I", 6)
    assert main(["bonds", "--json", "--b", "Sn", str(FAULTS / "CsSnI3-Y.cif")]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "not corner-sharing (edges shared around Sn)" in err


def test_octahedra_beside_a_vacancy_are_set_aside_and_counted(capsys, tmp_path):
    big = supercell(read_crystal("cspbbr3-pm3m"), (2, 2, 2))
    lost = big.species.index("Br")
    keep = [i for i in range(len(big)) if i != lost]
    path = saved(tmp_path, big.lattice_A, [big.species[i] for i in keep], big.positions[keep])
    found = bonds_json(capsys, path)
    near = [f"Pb{i + 1}" for i, atom in enumerate(keep) if big.species[atom] == "Pb" and
            big.distances_A(big.positions[atom] - big.positions[lost]) < 3]
    assert found["set_aside"] == near
    assert (len(near), len(found["octahedra"]), len(found["bonds"])) == (2, 6, 36)
    assert [found[k] for k in PARTS] == pytest.approx([2.9355, 2.9355, 180, 180])
    main(["bonds", str(path)])
    assert re.search(r"Pb without an octahedron, set aside +2\n", capsys.readouterr().out)
    moved = big.with_positions(big.positions + 0.02 * (np.arange(len(big)) == lost + 1)[:, None])
    other = saved(tmp_path / "..", big.lattice_A, [big.species[i] for i in keep],
                  moved.positions[keep])
    assert bonds_json(capsys, other, path)["displacement_A"]["A"] < 0.01  # Pb set aside is no A
    few = [i for i in range(len(big)) if big.species[i] != "Br" or i % 2]
    with pytest.raises(InputError, match="is not in an octahedron of Br"):
        find_framework(Crystal(big.lattice_A, [big.species[i] for i in few], big.positions[few]))


def ammonium(*tails):
    """CsPbBr3 with a molecule in place of Cs: its atoms, and where they are in Å."""
    center = np.array([2.9355] * 3)
    parts = [("C", [0, 0, 0]), ("N", [1.48, 0, 0]), *tails]
    species = ["Pb", "Br", "Br", "Br", *(s for s, _ in parts)]
    positions = [*np.array([[0, 0, 0], *CUBE[2:]]) * 5.871, *(center + d for _, d in parts)]
    return Crystal(5.871 * np.eye(3), tuple(species), np.array(positions) / 5.871)


@pytest.mark.parametrize("tails", [
    [("H", [2.0, 0.8, 0]), ("H", [2.0, -0.8, 0])],
    [("N", [-0.7, 1.2, 0]), ("N", [-0.7, -1.2, 0]), ("N", [0, 0, 1.4]), ("N", [0, 0, -1.4])],
    [("F", [-1.35, 0, 0])], [("O", [-0.7, 1.1, 0]), ("O", [-0.7, -1.1, 0]), ("O", [0, 0, 1.3]),
                             ("O", [0, 0, -1.3])]])
def test_atoms_of_molecules_are_no_x(tails):
    framework = find_framework(ammonium(*tails))
    assert (framework.b, framework.x) == ("Pb", "Br")
    assert bond_report(framework.crystal, framework).axial_A == pytest.approx(2.9355)


def test_anions_of_several_atoms_are_no_x():
    # A framework of nitrate or perchlorate has no X, nor has one of triiodide; SeBr6 has.
    lattice = 8 * np.eye(3)
    nitrate = [("N", [4, 4, 4]), ("O", [5.25, 4, 4]), ("O", [3.4, 5.1, 4]), ("O", [3.4, 2.9, 4])]
    triiodide = [("I", [4, 4, 4]), ("I", [6.9, 4, 4]), ("I", [1.1, 4, 4])]
    for atoms in (nitrate, triiodide):
        crystal = Crystal(lattice, ("K", *(s for s, _ in atoms)),
                          np.array([[0, 0, 0], *(x for _, x in atoms)]) / 8)
        with pytest.raises(InputError, match=r"outside of molecules.*: name X"):
            find_framework(crystal)
    sebr6 = [("Br", [2.54 * s if k == i else 0 for k in range(3)]) for i in range(3)
             for s in (1, -1)]
    crystal = Crystal(lattice, ("Se", *(s for s, _ in sebr6)),
                      np.array([[0, 0, 0], *(x for _, x in sebr6)]) / 8)
    assert bond_report(crystal).axial_A == pytest.approx(2.54)


@pytest.mark.parametrize("layers", [1, 2])
def test_ruddlesden_popper_layers_keep_the_bridge_within_a_double_layer(layers):
    # (n = 1) A2BX4 and (n = 2) A3B2X7 in their conventional tetragonal cells.
    a, height = 5.8, 2.9
    c = 2 * (2 * height * layers + 3.5)
    b = [height * (2 * k - layers + 1) for k in range(layers)]
    x = [[0, 0, height * (2 * k - layers)] for k in range(layers + 1)]
    x += [[u * a, v * a, z] for z in b for u, v in ((0.5, 0), (0, 0.5))]
    cs = [[a / 2, a / 2, s * (height * layers + 0.4)] for s in (1, -1)]
    cs += [[a / 2, a / 2, height * (2 * k - layers + 2)] for k in range(layers - 1)]
    one = [*([0, 0, z] for z in b), *x, *cs]
    species = layers * ["Pb"] + len(x) * ["I"] + len(cs) * ["Cs"]
    positions = np.vstack([one, np.add(one, (a / 2, a / 2, c / 2))]) / [a, a, c]
    report = bond_report(Crystal(np.diag([a, a, c]), tuple(2 * species), positions))
    assert len(report.framework.centres) == 2 * layers
    assert (report.axial_A, report.equatorial_A) == pytest.approx((height, a / 2))
    assert report.equatorial_angle_deg == pytest.approx(180)
    assert report.axial_angle_deg == (None if layers == 1 else pytest.approx(180))


def test_axes_that_are_equally_near_to_c_are_told_apart_whatever_the_cell():
    # In the primitive cell of a double perovskite two axes are equally near to c.
    for name in ("dp0.cif", "dp1.cif"):
        crystal = read_crystal(FAULTS / name)
        np.testing.assert_allclose(find_framework(crystal).axes,
                                   find_framework(supercell(crystal, (1, 2, 2))).axes, atol=1e-9)
