"""Crystals without octahedra that share corners, and cubic ones whatever their mode goes along."""

from pathlib import Path

import numpy as np
import pytest

from perovskite_polaron.cli.main import main
from perovskite_polaron.lattice.crystal import Crystal, supercell
from perovskite_polaron.lattice.files import read_crystal, write_crystal
from perovskite_polaron.lattice.octahedra import bond_report, compare, find_framework, framework_of
from perovskite_polaron.lattice.shells import find_shells

FILES = Path(__file__).parent / "data"
FAULTS = Path(__file__).parent / "data" / "faults"
CUBIC = Crystal(3.905 * np.eye(3), ("Ti", "Sr", "O", "O", "O"), np.array(
    [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]]), "SrTiO3")


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_axial_bonds_of_a_cubic_crystal_are_those_along_its_mode(axis: int) -> None:
    moved = np.zeros((5, 3))
    moved[0, axis], moved[2:, axis] = 0.08, -0.04
    other = CUBIC.with_positions(CUBIC.positions + moved / 3.905)
    found = compare(other, CUBIC)
    framework = framework_of(CUBIC, moved)
    assert framework is not None
    assert np.abs(framework.axes[2]).argmax() == axis
    assert framework.axial_x.tolist() == [2 + axis]
    assert find_framework(CUBIC).axial_x.tolist() == [4], "nothing moves: c"
    report = bond_report(other, find_framework(other).toward(framework.axes[2]))
    assert np.ptp(report.octahedra.lengths_A[0, 0, 4:]) == pytest.approx(0.24)
    assert np.ptp(report.octahedra.lengths_A[0, 0, :4]) == pytest.approx(0, abs=1e-9)
    assert found.classes_A["axial_X"] == pytest.approx(found.classes_A["equatorial_X"])


def test_a_tilt_singles_out_the_axis_it_turns_about_and_a_diagonal_motion_none() -> None:
    cell = supercell(CUBIC, (2, 2, 2))
    for axis in range(3):
        centre = cell.cartesian_A[np.array(cell.species) == "Ti"]
        moved = np.zeros((len(cell), 3))
        turn = 0.02 * np.cross(np.eye(3)[axis], np.eye(3))
        for atom in np.flatnonzero(np.array(cell.species) == "O"):
            apart = cell.cartesian_A[atom] - centre
            apart -= 7.81 * np.rint(apart / 7.81)
            near = np.linalg.norm(apart, axis=1).argmin()
            sign = (-1) ** np.rint(centre[near] / 3.905).sum()
            moved[atom] = sign * apart[near] @ turn
        framework = framework_of(cell, moved)
        assert framework is not None
        assert np.abs(framework.axes[2]).argmax() == axis
    diagonal = np.tile([0.05, 0.05, 0.05], (5, 1)) * (np.array(CUBIC.species) == "Ti")[:, None]
    framework = framework_of(CUBIC, diagonal)
    assert framework is not None
    assert framework.axial_x.tolist() == [4]


def test_an_orthorhombic_crystal_keeps_its_axis_whatever_moves() -> None:
    crystal = read_crystal("cspbbr3-pbnm")
    moved = np.zeros((20, 3))
    moved[0, 0] = 0.1
    framework = find_framework(crystal)
    assert framework.by_motion(moved) is framework


def test_the_shells_of_anatase_are_those_of_its_bond_lengths() -> None:
    # By hand: a²/4 + (z − 1/4)² c², and z c.
    shells = find_shells(read_crystal(FILES / "crystals" / "anatase.cif"))
    assert [s.name for s in shells[:2]] == ["Ti1 (4a): 6 O", "O5 (8e): 3 Ti"]
    a, c, z = 3.7842, 9.5146, 0.2081
    lengths = np.sort(shells[0].lengths_A().reshape(4, 6), axis=1)
    np.testing.assert_allclose(lengths[:, :4], np.hypot(a / 2, (z - 0.25) * c), atol=1e-6)
    np.testing.assert_allclose(lengths[:, 4:], z * c, atol=1e-6)
    # Each Ti-O pair is found from both ends.
    assert len(shells[0].centres) == len(shells[1].centres) == 24
    moved = np.zeros((12, 3))
    moved[0, 2] = 0.05
    after = shells[0].lengths_A(moved)[shells[0].centres == 0]
    np.testing.assert_allclose(np.sort(after)[[0, -1]], [
        np.hypot(a / 2, (z - 0.25) * c + 0.05), z * c + 0.05], atol=1e-6)


def test_a_shell_does_not_depend_on_the_cell_and_counts_every_neighbour() -> None:
    salt = Crystal(4.18 * (np.ones((3, 3)) - np.eye(3)) / 2, ("Ni", "O"),
                   np.array([[0, 0, 0], [0.5, 0.5, 0.5]]), "NiO")
    for cell in (salt, supercell(salt, (2, 1, 1))):
        found = {(s.element, s.neighbour): s for s in find_shells(cell)}
        assert found["Ni", "O"].count == 6
        assert found["Ni", "O"].lengths_A() == pytest.approx(2.09)
        assert found["Ni", "Ni"].count == 12


def test_bonds_measures_a_displaced_crystal_without_octahedra(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    crystal = read_crystal(FILES / "crystals" / "anatase.cif")
    moved = np.zeros((12, 3))
    moved[np.array(crystal.species) == "Ti", 2] = 0.1
    write_crystal(crystal.with_positions(crystal.positions + moved / 9.5146), tmp_path / "up.cif")
    rest = str(FILES / "crystals" / "anatase.cif")
    assert main(["bonds", str(tmp_path / "up.cif"), rest, "--csv", str(tmp_path / "b.csv"),
                 "--figure", str(tmp_path / "b.png")]) == 0
    said = capsys.readouterr().out
    assert "no axial and equatorial bonds" in said
    assert "1.9491 (1.9336–1.9800)" in said
    assert (tmp_path / "b.png").stat().st_size > 5000
    # Ti moved by the masses' share less than 0.1 Å, O by the rest.
    ti, o = 4 * 47.867, 8 * 15.999
    lines = {line.split()[0]: line.split()[-1] for line in said.splitlines() if line.strip()}
    assert float(lines["Ti"]) == pytest.approx(0.1 * o / (ti + o), abs=1e-5)
    assert float(lines["O"]) == pytest.approx(0.1 * ti / (ti + o), abs=1e-5)


def test_bonds_of_two_metals_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bonds", str(FAULTS / "dp1.cif")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Bi–Br axial, Å 2.8423" in said
    assert "Ag–Br axial, Å 2.7595" in said
