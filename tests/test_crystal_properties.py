"""One crystal however it is written down: the same answer of structure, bonds and distort."""

import json
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import neighbor_list
from hypothesis import HealthCheck, given, settings, strategies as st
from scipy.spatial.transform import Rotation
from test_distortion import LO

from perovskite_polaron.cli.main import main
from perovskite_polaron.errors import InputError
from perovskite_polaron.lattice.crystal import Crystal, supercell
from perovskite_polaron.lattice.files import read_crystal, write_crystal
from perovskite_polaron.lattice.octahedra import bond_report, compare
from perovskite_polaron.lattice.symmetry import absorbers, find_symmetry
from perovskite_polaron.phonons.distortion import distort
from perovskite_polaron.phonons.forces import ase_forces
from perovskite_polaron.phonons.readers import from_forces

FAULTS = Path(__file__).parent / "data/faults"
SOURCES = ("cspbbr3-pbnm", "cspbbr3-p4mbm", "cspbbr3-pm3m", str(FAULTS / "dp0.cif"),
           str(FAULTS / "cs2pbi2cl2.cif"), str(FAULTS / "cspbi2br.cif"))
quick = settings(max_examples=20, deadline=None, database=None,
                 suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def descriptions(draw, sources=SOURCES):
    """A crystal and another description of it."""
    source = draw(st.sampled_from(sources))
    crystal = read_crystal(source)
    other = supercell(crystal, draw(st.sampled_from([(1, 1, 1), (2, 1, 1), (1, 2, 1), (1, 1, 2)])))
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    order = rng.permutation(len(other)) if draw(st.booleans()) else np.arange(len(other))
    positions = other.positions[order] + draw(st.sampled_from([0, 1])) * rng.uniform(-1, 1, 3)
    positions = positions + draw(st.sampled_from([0, 1])) * rng.integers(-2, 3, positions.shape)
    # Axes in another order, or other axes of the same lattice.
    base = np.array(draw(st.sampled_from([
        np.eye(3), [[0, 0, 1], [1, 0, 0], [0, 1, 0]], [[0, 1, 0], [1, 0, 0], [0, 0, -1]],
        [[1, 0, 0], [1, 1, 0], [0, 0, 1]], [[1, 0, 0], [0, 1, 0], [1, 0, -1]]])))
    turn = Rotation.from_rotvec(draw(st.sampled_from([0, 1])) * rng.normal(size=3)).as_matrix()
    isotopes = None
    if draw(st.booleans()):
        isotopes = np.where(np.array(other.species)[order] == "Br", 78.918, np.nan)
    return source, Crystal(base @ other.lattice_A @ turn, tuple(other.species[i] for i in order),
                           positions @ np.linalg.inv(base), "other", isotopes_amu=isotopes)


def said_of(crystal):
    """What structure and bonds say of a crystal, in numbers that no description may change."""
    symmetry, report = find_symmetry(crystal), bond_report(crystal)
    units = len(crystal) / len(read_crystal("cspbbr3-pm3m")) if crystal.formula == "CsPbBr3" else (
        crystal.formula_units)
    parts = [(e, round(a.multiplicity / units, 6)) for e in sorted(set(crystal.species))
             for a in absorbers(crystal, e, symmetry)]
    octahedra = report.octahedra
    numbers = [crystal.volume_A3 / units, report.axial_A, report.equatorial_A,
               report.axial_angle_deg or 0, report.equatorial_angle_deg or 0,
               octahedra.offcentring_A.mean(), octahedra.elongation.mean(),
               octahedra.angle_variance_deg2.mean(), *np.sort(octahedra.tilts_deg[0].mean(axis=0))]
    framework = report.framework
    kinds = {crystal.formula, symmetry.number, *framework.b.split("/"), *framework.x.split("/")}
    return kinds, sorted(parts), np.array(numbers, dtype=float)


@cache
def said_of_source(source):
    return said_of(read_crystal(source))


def same(crystal, source):
    for found, expected in zip(said_of(crystal), said_of_source(source), strict=True):
        if isinstance(found, np.ndarray):
            np.testing.assert_allclose(found, expected, atol=2e-5)
        else:
            assert found == expected


@quick
@given(descriptions())
def test_order_rotation_axes_origin_supercell_and_isotopes_change_no_answer(one):
    source, crystal = one
    same(crystal, source)


@pytest.mark.filterwarnings("ignore")  # other characters than those of UTF-8, isotopes
@quick
@given(descriptions(), st.sampled_from([".cif", ".vasp", ".extxyz", ".xsf", ".in"]),
       st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"]),
       st.sampled_from(["\n", "\r\n", "\r"]))
def test_format_encoding_and_line_ends_change_no_answer(tmp_path, one, suffix, encoding, ends):
    source, crystal = one
    path = tmp_path / f"x{suffix}"
    if suffix == ".in":
        kinds = dict.fromkeys(crystal.species)
        rows = ["&system", f"ibrav=0 nat={len(crystal)} ntyp={len(kinds)} ! é", "/",
                "ATOMIC_SPECIES", *(f"{s} 1.0 {s}.UPF" for s in kinds), "CELL_PARAMETERS angstrom",
                *(" ".join(f"{v:.12f}d0" for v in row) for row in crystal.lattice_A),
                "ATOMIC_POSITIONS crystal",
                *(f"{s} {x:.12f} {y:.12f} {z:.12f}" for s, (x, y, z) in zip(
                    crystal.species, crystal.positions, strict=True)), ""]
        text = "\n".join(rows)
    else:
        write_crystal(crystal, path)
        text = path.read_text(encoding="utf-8")
        if suffix == ".cif":
            text = "# é\n" + text
    path.write_bytes(text.replace("\n", ends).encode(encoding))
    same(read_crystal(path), source)


@quick
@given(descriptions(sources=("cspbbr3-pbnm",)))
def test_a_mode_moves_the_same_atoms_of_every_description(one):
    _, crystal = one
    expected = distort(read_crystal("cspbbr3-pbnm"), LO, [0.1], "max_A")[0]
    if crystal.isotopes_amu is not None:
        with suppress(InputError):  # masses that are not the mode's may be refused
            distort(crystal, LO, [0.1], "max_A")
        return
    point = distort(crystal, LO, [0.1], "max_A")[0]
    assert point.symmetry.number == 33
    np.testing.assert_allclose(point.amplitude_sqrt_amu_A, expected.amplitude_sqrt_amu_A, rtol=1e-6)
    before, after = (bond_report(c.crystal).octahedra.offcentring_A for c in (expected, point))
    assert after.mean() == pytest.approx(before.mean(), abs=1e-6)


REFERENCE = read_crystal("cspbbr3-pbnm")
DISPLACED = REFERENCE.with_positions(
    REFERENCE.positions + np.random.default_rng(3).normal(0, 2e-3, REFERENCE.positions.shape))


@quick
@given(st.integers(0, 2**31), st.booleans(), st.booleans(),
       st.sampled_from([(1, 1, 1), (2, 1, 1), (1, 1, 2)]), st.sampled_from([0.0, 0.13, -0.5]))
def test_a_displacement_is_the_same_from_every_description(seed, both, turned, cells, shift):
    """Of structure and reference in other orders, cells away, turned, as supercells, shifted."""
    rng = np.random.default_rng(seed)
    rotation = Rotation.from_rotvec(rng.normal(size=3) * turned).as_matrix()

    def described(crystal, anew, moved=0.0):
        many = supercell(crystal, cells)
        order = rng.permutation(len(many)) if anew else np.arange(len(many))
        away = rng.integers(-1, 2, (len(many), 3)) if anew else 0
        return Crystal(many.lattice_A @ rotation, tuple(many.species[i] for i in order),
                       many.positions[order] + away + moved, "other")

    expected = compare(DISPLACED, REFERENCE)
    found = compare(described(DISPLACED, True, shift), described(REFERENCE, both))
    assert found.classes_A == pytest.approx(expected.classes_A, abs=1e-6)
    # Of one of them alone, another cell or orientation is refused, not compared.
    if turned or cells != (1, 1, 1):
        with pytest.raises(InputError, match="one cell"):
            compare(described(DISPLACED, True), REFERENCE)


# New axes in the old ones, as the International Tables write them, for the settings of Pnma.
PNMA = {"P n m a": "abc", "P m n b": "ba-c", "P b n m": "cab", "P c m n": "-cba",
        "P m c n": "bca", "P n a m": "a-cb"}


def cif(tmp_path, cell, said, rows):
    names = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    path = tmp_path / "x.cif"
    path.write_text("data_x\n" + "".join(
        f"_cell_{n} {v}\n" for n, v in zip(names, cell, strict=True)) + said + "\nloop_\n"
        + "".join(f"_atom_site_{c}\n" for c in ("label", "type_symbol", "fract_x", "fract_y",
                                                "fract_z"))
        + "".join(f"{s}{i} {s} {x:.6f} {y:.6f} {z:.6f}\n" for i, (s, (x, y, z)) in enumerate(rows)))
    return path


@pytest.mark.parametrize("said", ["_symmetry_space_group_name_H-M '{0}'", "_space_group_name_Hall"
                                  " '{1}'", "_space_group_name_H-M_alt '{0}'\n"
                                  "_space_group_IT_number 62"])
@pytest.mark.parametrize("setting", PNMA)
def test_every_setting_of_pnma_is_one_crystal(tmp_path, setting, said):
    import gemmi

    pnma = read_crystal("cspbbr3-pnma")
    sites = [0, 4, 8, 12]  # one atom of each orbit
    signs, axes, sign = [], [], 1
    for letter in PNMA[setting]:
        if letter == "-":
            sign = -1
        else:
            signs.append(sign)
            axes.append("abc".index(letter))
            sign = 1
    lengths = np.linalg.norm(pnma.lattice_A, axis=1)[axes]
    rows = [(pnma.species[i], pnma.positions[i][axes] * signs) for i in sites]
    hall = gemmi.find_spacegroup_by_name(setting).hall
    crystal = read_crystal(cif(tmp_path, (*lengths, 90, 90, 90), said.format(setting, hall), rows))
    assert find_symmetry(crystal).setting == setting.replace(" ", "")
    same(crystal, "cspbbr3-pbnm")


@pytest.mark.parametrize(("cells", "number", "atoms_A3"), [
    ([((5.43, 5.43, 5.43, 90, 90, 90), "F d -3 m:1", (0, 0, 0)),
      ((5.43, 5.43, 5.43, 90, 90, 90), "F d -3 m:2", (0.125, 0.125, 0.125))], 227, 5.43**3 / 8),
    ([((4.546, 4.546, 11.862, 90, 90, 120), "R -3 m:H", (0, 0, 0.234)),
      ((4.546, 4.546, 11.862, 90, 90, 120), "R -3 m", (0, 0, 0.234)),
      ((4.74588, 4.74588, 4.74588, 57.2346, 57.2346, 57.2346), "R -3 m:R", (0.234,) * 3),
      ((4.74588, 4.74588, 4.74588, 57.2346, 57.2346, 57.2346), "R -3 m", (0.234,) * 3)], 166,
     4.546**2 * np.sqrt(0.75) * 11.862 / 6)])
def test_origins_and_axes_that_symbols_choose(tmp_path, cells, number, atoms_A3):
    nearest = set()
    for cell, symbol, position in cells:
        said = f"_symmetry_space_group_name_H-M '{symbol}'"
        crystal = read_crystal(cif(tmp_path, cell, said, [("Si", position)]))
        assert find_symmetry(crystal, 1e-2).number == number
        assert crystal.volume_A3 / len(crystal) == pytest.approx(atoms_A3, rel=1e-4)
        atoms = Atoms(crystal.species, crystal.cartesian_A, cell=crystal.lattice_A, pbc=True)
        nearest.add(round(float(neighbor_list("d", atoms, 4.0).min()), 2))
    assert len(nearest) == 1


def test_the_commands_say_the_same_of_two_descriptions(capsys, tmp_path):
    found = []
    for name in ("cspbbr3-pbnm", "cspbbr3-pnma"):
        write_crystal(supercell(read_crystal(name), (1, 2, 1)), tmp_path / "x.cif")
        for verb in ("structure", "bonds"):
            assert main([verb, str(tmp_path / "x.cif"), "--json"]) == 0
        first, second = capsys.readouterr().out.splitlines()
        structure, bonds = json.loads(first), json.loads(second)
        found.append([structure["space_group_number"], structure["atoms"],
                      *(round(bonds[k], 6) for k in ("axial_A", "equatorial_A", "axial_angle_deg",
                                                     "equatorial_angle_deg"))])
    assert found[0] == found[1]


def test_forces_are_those_of_the_crystal_wherever_its_atoms_are_written():
    from ase.calculators.lj import LennardJones

    forces = ase_forces(LennardJones(sigma=1.8, epsilon=0.1, rc=5, smooth=True))
    cubic = read_crystal("cspbbr3-pm3m")
    shifts = np.arange(15).reshape(5, 3) % 3 - 1
    energies = [from_forces(cubic.with_positions(cubic.positions + k * shifts),
                            forces).modes.energies_meV for k in (0, 1, -2)]
    np.testing.assert_allclose(energies[1:], [energies[0]] * 2, atol=1e-6)
