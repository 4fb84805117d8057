"""One crystal in many descriptions has one set of modes: permuted, rotated, in another setting,
with another origin, as a supercell, with isotopes."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from numpy.typing import NDArray

from perovskite_polaron.errors import PolaronError
from perovskite_polaron.lattice.crystal import Crystal, supercell
from perovskite_polaron.lattice.files import read_crystal
from perovskite_polaron.phonons.canonical import diagonalise
from perovskite_polaron.phonons.distortion import distort, real_patterns
from perovskite_polaron.phonons.field import require_symmetry, with_field, without_field
from perovskite_polaron.phonons.modes import Modes
from perovskite_polaron.phonons.projection import project
from perovskite_polaron.phonons.readers import Calculation, from_forces
from perovskite_polaron.phonons.response import Response, neutral_response
from perovskite_polaron.phonons.selection import (
    direction_table, froehlich_eV_A, inverse_kappa, spherical_alpha)

pytest.importorskip("phonopy")
FEW = settings(max_examples=8, deadline=None, derandomize=True,
               suppress_health_check=[HealthCheck.function_scoped_fixture])
MASS = 0.17


@dataclass(frozen=True)
class Variant:
    """A description of the crystal: how it is made from the first."""

    crystal: Crystal
    rotation: NDArray[np.float64]
    axis: NDArray[np.float64]  # the c axis of the first, in the lattice vectors of this one


def tetragonal() -> Crystal:
    """A polar distortion of a perovskite, P4mm, so that no symmetry hides what a variant loses."""
    x = [[0, 0, 0.02], [0.5, 0.5, 0.5], [0.5, 0.5, 0.0], [0.5, 0, 0.52], [0, 0.5, 0.52]]
    return Crystal(np.diag([5.7, 5.7, 5.95]), ("Cs", "Pb", "Br", "Br", "Br"), np.array(x), "P4mm")


def charges(crystal: Crystal, rotation: NDArray[np.float64]) -> Response:
    """Charges by element and, for Br, by the direction of its nearest Pb."""
    born = []
    for k, species in enumerate(crystal.species):
        axis = np.zeros(3)
        if species == "Br":
            lead = [j for j, s in enumerate(crystal.species) if s == "Pb"]
            apart = crystal.positions[lead] - crystal.positions[k]
            images = np.array(np.meshgrid(*[(-3, -2, -1, 0, 1, 2, 3)] * 3)).reshape(3, -1).T
            apart = (apart - np.rint(apart) + images[:, None]).reshape(-1, 3) @ crystal.lattice_A
            nearest = apart[np.linalg.norm(apart, axis=1).argmin()] @ rotation.T
            axis = np.eye(3)[np.abs(nearest).argmax()] @ rotation
        base = {"Cs": 1.3, "Pb": 4.6, "Br": -0.8}[species]
        born.append(base * np.eye(3) - 3.4 * np.outer(axis, axis) * (species == "Br"))
    total = np.sum(born, axis=0) / len(crystal)
    epsilon = rotation.T @ np.diag([4.5, 4.5, 4.8]) @ rotation
    return neutral_response(crystal, epsilon, np.array(born) - total)


def springs(crystal: Crystal) -> NDArray[np.float64]:
    """Γ force constants (3n, 3n) of central springs to every image nearer than 4.3 Å."""
    n = len(crystal)
    phi = np.zeros((n, 3, n, 3))
    reach = 4.3
    inverse = np.linalg.inv(crystal.lattice_A)
    spans = np.ceil(reach * np.linalg.norm(inverse, axis=0)).astype(int) + 1
    shifts = np.array(np.meshgrid(*[np.arange(-s, s + 1) for s in spans])).reshape(3, -1).T
    strength = {"Cs": 1.0, "Pb": 1.6, "Br": 1.3}
    for i in range(n):
        for j in range(n):
            apart = crystal.positions[j] - crystal.positions[i]
            r = (apart - np.rint(apart) + shifts) @ crystal.lattice_A
            d = np.linalg.norm(r, axis=1)
            r, d = r[(d > 1e-6) & (d < reach)], d[(d > 1e-6) & (d < reach)]
            k = 2.0 * strength[crystal.species[i]] * strength[crystal.species[j]] / d**2
            block = np.einsum("s,sa,sb->ab", k / d**2, r, r) + 0.15 * k.sum() * np.eye(3)
            phi[i, :, j] -= block
            phi[i, :, i] += block
    return phi.reshape(3 * n, 3 * n)


def computed(crystal: Crystal, rotation: NDArray[np.float64],
             axis: NDArray[np.float64]) -> Calculation:
    phi = springs(crystal)

    def forces(cells: list[Crystal]) -> list[NDArray[np.float64]]:
        found = []
        for cell in cells:
            delta = cell.positions - crystal.positions
            u = (delta - np.rint(delta)) @ crystal.lattice_A
            found.append(-(phi @ u.ravel()).reshape(-1, 3))
        return found

    return from_forces(crystal, forces, axis.tolist(), charges(crystal, rotation))


FIRST = computed(tetragonal(), np.eye(3), np.array([0.0, 0.0, 1.0]))


def signature(found: Calculation) -> NDArray[np.float64]:
    """Energy, share of each element and 1/κ summed over each degenerate group (g, 5)."""
    modes, response = found.modes, found.response
    assert response is not None
    kappa = inverse_kappa(modes, response, froehlich_eV_A(modes, response))
    shares = np.abs(modes.weighted.reshape(len(modes), -1, 3)) ** 2
    species = np.array(modes.crystal.species)
    by_element = np.array([shares[:, species == s].sum(axis=(1, 2)) for s in ("Cs", "Pb", "Br")]).T
    rows, start = [], 0
    for stop in [*(np.flatnonzero(np.diff(modes.energies_meV) > 1e-3) + 1), len(modes)]:
        group = slice(start, stop)
        rows.append([modes.energies_meV[group].mean(), *by_element[group].sum(axis=0),
                     kappa[group].sum()])
        start = stop
    return np.array(rows)


def assert_same(found: Calculation, first: Calculation = FIRST) -> None:
    np.testing.assert_allclose(signature(found)[1:], signature(first)[1:], atol=3e-4)


order_of_atoms = st.permutations(range(5))
order_of_axes = st.permutations(range(3))
angles = st.tuples(*[st.floats(-3.0, 3.0)] * 3)
origins = st.tuples(*[st.sampled_from([0.0, 0.25, 1 / 3, -0.5, -1e-17, 1 - 1e-16, 7.1])] * 3)
cells_away = st.lists(st.tuples(*[st.integers(-2, 2)] * 3), min_size=5, max_size=5)


def turned(vector: tuple[float, float, float]) -> NDArray[np.float64]:
    from scipy.spatial.transform import Rotation

    return np.asarray(Rotation.from_rotvec(vector).as_matrix())


@FEW
@given(order_of_atoms, order_of_axes, angles, origins, cells_away)
def test_order_axes_orientation_origin_and_wrapping_change_nothing(
    atoms: list[int], axes: list[int], angle: tuple[float, float, float],
    origin: tuple[float, float, float], cells: list[tuple[int, int, int]]
) -> None:
    first, rotation = tetragonal(), turned(angle)
    lattice = (first.lattice_A @ rotation)[axes]
    positions = (first.positions + origin + np.array(cells, dtype=float))[atoms][:, axes]
    variant = Crystal(lattice, tuple(first.species[k] for k in atoms), positions, "variant")
    axis = np.array([0.0, 0.0, 1.0])[axes]
    found = computed(variant, rotation, axis)
    assert_same(found)
    rows = []
    for one, name in ((found, "abc"[axes.index(2)]), (FIRST, "c")):
        assert one.transverse is not None
        assert one.response is not None
        table = direction_table(one.transverse, one.response, MASS)
        rows += [row for row in table if row["direction"] == name]
    assert rows[0]["alpha"] == pytest.approx(rows[1]["alpha"], rel=1e-4)


@FEW
@given(st.sampled_from([[[1, 0, 0], [0, 1, 0], [1, 0, 1]], [[1, 1, 0], [0, 1, 0], [0, 0, 1]],
                        [[0, -1, 0], [1, 0, 0], [0, 0, 1]], [[1, 0, 0], [2, 1, 0], [0, -1, 1]]]))
def test_another_choice_of_lattice_vectors_changes_nothing(matrix: list[list[int]]) -> None:
    first, m = tetragonal(), np.array(matrix)
    inverse = np.linalg.inv(m)
    variant = Crystal(m @ first.lattice_A, first.species, first.positions @ inverse, "reset")
    found = computed(variant, np.eye(3), np.array([0.0, 0.0, 1.0]) @ inverse)
    assert_same(found)


@pytest.mark.parametrize("repeats", [(2, 1, 1), (1, 1, 2), (2, 2, 1)])
def test_a_supercell_has_the_modes_of_its_cell_among_its_own(repeats: tuple[int, int, int]) -> None:
    """Their parts of the screening, and so α, are the same; the waves folded back have none."""
    big = supercell(tetragonal(), repeats)
    found = computed(big, np.eye(3), np.array([0.0, 0.0, 1.0]))
    assert found.response is not None
    kappa = inverse_kappa(found.modes, found.response, froehlich_eV_A(found.modes, found.response))
    polar = kappa > 1e-6
    mine = np.sort(found.modes.energies_meV[polar])
    assert FIRST.response is not None
    first = inverse_kappa(FIRST.modes, FIRST.response, froehlich_eV_A(FIRST.modes, FIRST.response))
    np.testing.assert_allclose(mine, np.sort(FIRST.modes.energies_meV[first > 1e-6]), atol=1e-3)
    np.testing.assert_allclose(np.sort(kappa[polar]), np.sort(first[first > 1e-6]), atol=1e-5)
    for energy in FIRST.modes.energies_meV:
        assert np.abs(found.modes.energies_meV - energy).min() < 1e-3
    assert found.transverse is not None
    assert FIRST.transverse is not None
    assert spherical_alpha(found.transverse, found.response, MASS) == pytest.approx(
        spherical_alpha(FIRST.transverse, FIRST.response, MASS), rel=1e-4)


@FEW
@given(st.tuples(*[st.floats(0.85, 1.2)] * 5), order_of_atoms)
def test_isotopes_follow_their_atoms(factors: tuple[float, ...], atoms: list[int]) -> None:
    """The eigenvalues are those of a diagonalisation that knows nothing of symmetry; the order of
    atoms changes nothing, and a file of such modes is held to its own, lower symmetry."""
    first = tetragonal()
    masses = first.masses_amu * factors
    labelled = replace(first, isotopes_amu=masses)
    found = computed(labelled, np.eye(3), np.array([0.0, 0.0, 1.0]))
    root = np.repeat(1 / np.sqrt(masses), 3)
    squares = np.linalg.eigvalsh(springs(first) * np.outer(root, root))
    energies = np.sqrt(np.abs(squares[3:]) * 4.180159e-3) * 1e3
    assert found.transverse is not None
    np.testing.assert_allclose(found.transverse.energies_meV[3:], energies, rtol=1e-4)
    require_symmetry(found.transverse, "isotopes")
    shuffled = Crystal(first.lattice_A, tuple(first.species[k] for k in atoms),
                       first.positions[atoms], "shuffled", isotopes_amu=masses[atoms])
    assert_same(computed(shuffled, np.eye(3), np.array([0.0, 0.0, 1.0])), found)


@FEW
@given(order_of_atoms, order_of_axes, angles)
def test_a_displacement_is_the_same_in_every_description(
    atoms: list[int], axes: list[int], angle: tuple[float, float, float]
) -> None:
    first, rotation = tetragonal(), turned(angle)
    variant = Crystal((first.lattice_A @ rotation)[axes], tuple(first.species[k] for k in atoms),
                      first.positions[atoms][:, axes], "variant")
    mode = FIRST.modes[-1]
    (one,), (other,) = (distort(c, mode, [0.1], unit="max_A") for c in (first, variant))
    assert one.amplitude_sqrt_amu_A == pytest.approx(other.amplitude_sqrt_amu_A)
    assert one.symmetry.number == other.symmetry.number
    # Up to an operation of the crystal, which the order of axes leaves open.
    np.testing.assert_allclose(
        np.sort(np.linalg.norm(one.displacement_A[atoms], axis=1)),
        np.sort(np.linalg.norm(other.displacement_A, axis=1)), atol=1e-9)
    back = project(other.displacement_A, variant, FIRST.modes)
    assert back.share[-1] == pytest.approx(1, abs=1e-6)
    assert np.abs(real_patterns(variant, mode)).max() > 0


@FEW
@given(st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: np.linalg.norm(v) > 0.1))
def test_a_field_is_recognised_along_its_own_direction_and_taken_out(
    direction: tuple[float, float, float]
) -> None:
    transverse, response = FIRST.transverse, FIRST.response
    assert transverse is not None
    assert response is not None
    modes = with_field(transverse, response, np.array(direction))
    require_symmetry(modes, "file")
    back = without_field(modes, response, "file")
    np.testing.assert_allclose(back.energies_meV[3:], transverse.energies_meV[3:], atol=1e-4)
    # Charges four times as large would leave imaginary frequencies.
    with pytest.raises(PolaronError, match="is not in these modes"):
        without_field(modes, replace(response, born_e=4 * response.born_e), "file")


def test_a_set_of_modes_says_nothing_of_another_crystal() -> None:
    """Atoms in another order under the same modes: refused, not read."""
    modes = FIRST.transverse
    assert modes is not None
    swapped = [0, 1, 3, 2, 4]  # the apical Br and one of the equatorial ones
    crystal = replace(modes.crystal, positions=modes.crystal.positions[swapped])
    wrong = Modes(crystal, modes.masses_amu, modes.energies_meV, modes.patterns)
    with pytest.raises(PolaronError, match="symmetry"):
        require_symmetry(wrong, "file")


def test_the_crystal_of_the_modes_is_stable() -> None:
    assert not FIRST.modes.unstable.any()
    assert read_crystal("cspbbr3-pm3m").formula == FIRST.modes.crystal.formula
    phi = springs(tetragonal())
    np.testing.assert_allclose(
        diagonalise(tetragonal(), tetragonal().masses_amu, phi).energies_meV[3:],
        FIRST.transverse.energies_meV[3:], atol=1e-3)  # type: ignore[union-attr]
