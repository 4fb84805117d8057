import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import neighbor_list
from scipy.spatial.transform import Rotation
from test_distortion import LO, settings, shuffled

from perovskite_polaron.errors import InputError
from perovskite_polaron.lattice.crystal import Crystal, supercell
from perovskite_polaron.lattice.files import read_crystal
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
