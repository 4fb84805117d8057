"""Projection of displacements onto modes: what was put in comes out, and nothing else."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import polaron
from hypothesis import given, settings, strategies as st

from perovskite_polaron.errors import InputError
from perovskite_polaron.lattice.crystal import Crystal, supercell
from perovskite_polaron.lattice.files import read_crystal, write_crystal
from perovskite_polaron.lattice.matching import displacement
from perovskite_polaron.phonons.canonical import diagonalise
from perovskite_polaron.phonons.distortion import distort, real_patterns
from perovskite_polaron.phonons.modes import Modes, read_modes, write_modes
from perovskite_polaron.phonons.projection import project
from perovskite_polaron.phonons.readers import read_phonons

DATA = Path(__file__).parent / "data" / "phonons"


@pytest.fixture(scope="module")
def wurtzite() -> Modes:
    return read_phonons(DATA / "alas-wz.dyn")[0]


def full_basis() -> Modes:
    """The LO(c) mode of CsPbBr3 and 56 more, so that together with the translations they span every
    displacement."""
    lo = read_modes("lo-c")
    n = len(lo.crystal)
    root = np.sqrt(lo.masses_amu)
    fixed = [(lo.patterns[0].real * root[:, None]).ravel()]
    fixed += [np.repeat(root, 3) * np.tile(np.eye(3)[x], n) / np.sqrt(lo.masses_amu.sum())
              for x in range(3)]
    rng = np.random.default_rng(7)
    q, _ = np.linalg.qr(np.vstack([*fixed, rng.normal(size=(3 * n - 4, 3 * n))]).T)
    rest = q.T[4:].reshape(-1, n, 3) / root[:, None]
    energies = [lo.energies_meV[0], *(5.0 + np.arange(len(rest)))]
    names = [lo.names[0], *(f"m{i}" for i in range(len(rest)))]
    return Modes(lo.crystal, lo.masses_amu, energies, [lo.patterns[0], *rest], names=names)


FULL = full_basis()
GROUND = read_crystal("cspbbr3-pbnm")
PATTERNS = real_patterns(GROUND, FULL)


def test_the_lo_distorted_structure_gives_back_the_amplitude_put_in_and_nothing_elsewhere() -> None:
    for amplitude in (2.0, -0.7):
        (point,) = distort(GROUND, FULL[0], [amplitude])
        found = project(displacement(point.crystal, GROUND), GROUND, FULL)
        assert found.Q_sqrt_amu_A[0] == pytest.approx(amplitude, abs=1e-10)
        assert np.abs(found.Q_sqrt_amu_A[1:]).max() < 1e-10
        assert found.share[0] == pytest.approx(1, abs=1e-10)
        assert found.remainder < 1e-20
        assert found.norm_sqrt_amu_A == pytest.approx(abs(amplitude), abs=1e-10)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.floats(-0.3, 0.3), min_size=57, max_size=57).filter(
           lambda q: np.abs(q).max() > 1e-3
       ),
       st.lists(st.floats(-0.1, 0.1), min_size=3, max_size=3))
def test_a_superposition_comes_apart_again(amplitudes: list[float], shift: list[float]) -> None:
    u = np.einsum("m,mkx->kx", amplitudes, PATTERNS)
    found = project(u + shift, GROUND, FULL)
    np.testing.assert_allclose(found.Q_sqrt_amu_A, amplitudes, atol=1e-10)
    np.testing.assert_allclose(found.translation_A, shift, atol=1e-10)
    assert found.share.sum() + found.remainder == pytest.approx(1, abs=1e-10)
    assert found.remainder < 1e-12


def test_what_the_modes_do_not_hold_is_the_remainder() -> None:
    u = 0.6 * PATTERNS[0] + 0.8 * PATTERNS[9]
    found = project(u, GROUND, FULL[:3])
    assert found.share[0] == pytest.approx(0.36, abs=1e-10)
    assert found.remainder == pytest.approx(0.64, abs=1e-10)
    np.testing.assert_allclose(found.remainder_A, 0.8 * PATTERNS[9], atol=1e-10)


def test_order_wrapping_and_setting_of_the_structures_do_not_matter() -> None:
    (point,) = distort(GROUND, FULL[0], [1.5])
    order = np.random.default_rng(1).permutation(len(GROUND))
    moved = Crystal(GROUND.lattice_A, tuple(np.array(GROUND.species)[order]),
                    (point.crystal.positions[order] + 1e-9) % 1.0 - 1e-9)
    found = project(displacement(moved, GROUND), GROUND, FULL)
    assert found.Q_sqrt_amu_A[0] == pytest.approx(1.5, abs=1e-10)
    # Pnma: the axes a', b', c' of the same crystal are b, c, a.
    axes = [1, 2, 0]
    lattice = GROUND.lattice_A[axes][:, axes]
    turned = Crystal(lattice, GROUND.species, point.crystal.positions[:, axes])
    rest = Crystal(lattice, GROUND.species, GROUND.positions[:, axes])
    for reference in (rest, GROUND):
        found = project(displacement(turned, reference), reference, FULL[:1])
        assert abs(found.Q_sqrt_amu_A[0]) == pytest.approx(1.5, abs=1e-10)
        assert found.remainder < 1e-20


@pytest.mark.parametrize(("q", "repeats"), [((0, 0, 0.5), (1, 1, 2)), ((1 / 3, 0, 0), (3, 1, 1))])
def test_waves_in_a_supercell(q: tuple[float, float, float], repeats: tuple[int, int, int]) -> None:
    n = len(GROUND)
    rng = np.random.default_rng(5)
    phi = rng.normal(size=(3 * n, 3 * n)) + (1j * rng.normal(size=(3 * n, 3 * n)) if 0.5 not in q
                                             else 0)
    modes = diagonalise(GROUND, GROUND.masses_amu, phi @ phi.conj().T / 2, q)
    big = supercell(GROUND, repeats)
    (point,) = distort(big, modes[4], [0.9], phases_rad=0.4 if 0.5 not in q else 0.0)
    found = project(displacement(point.crystal, big), big, modes)
    assert found.Q_sqrt_amu_A[4] == pytest.approx(0.9, abs=1e-10)
    assert np.abs(np.delete(found.Q_sqrt_amu_A, 4)).max() < 1e-10
    assert found.phase_rad[4] == pytest.approx(0.4 if 0.5 not in q else 0.0, abs=1e-9)
    assert found.remainder < 1e-18


def test_the_modes_of_a_file(wurtzite: Modes) -> None:
    modes = wurtzite.stable()
    assert len(modes) == 9
    (point,) = distort(wurtzite.crystal, modes[3:5], [[0.3, -0.2]])
    # AlAs atoms are matched with the masses of the calculation.
    found = project(displacement(point.crystal, wurtzite.crystal), wurtzite.crystal, wurtzite)
    np.testing.assert_allclose(found.Q_sqrt_amu_A, [0, 0, 0, 0.3, -0.2, 0, 0, 0, 0], atol=1e-8)


def test_what_cannot_be_projected_is_refused(wurtzite: Modes) -> None:
    u = PATTERNS[0]
    with pytest.raises(InputError, match="different elements"):
        project(u, GROUND, wurtzite)
    with pytest.raises(InputError, match="shape"):
        project(u[:3], GROUND, FULL)
    with pytest.raises(InputError, match="nothing to project"):
        project(np.full_like(u, 0.1), GROUND, FULL)
    with pytest.raises(InputError, match="finite"):
        project(np.full_like(u, np.nan), GROUND, FULL)
    with pytest.raises(InputError, match="not independent"):
        project(u, GROUND, FULL[[0, 0]])
    with pytest.raises(InputError, match="40 atoms"):
        displacement(supercell(GROUND, (1, 1, 2)), GROUND)


def test_the_verb(tmp_path: Path) -> None:
    (point,) = distort(GROUND, FULL[0], [2.0])
    write_crystal(point.crystal, tmp_path / "lo.cif")
    write_modes(FULL[:5], tmp_path / "modes.json")
    done = polaron("project", "lo.cif", "cspbbr3-pbnm", "--modes", "modes.json", "--json",
                   cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["modes"][0]["Q_sqrt_amu_A"] == pytest.approx(2.0, abs=1e-9)
    assert record["remainder_share"] < 1e-12
    table = polaron("project", "lo.cif", "cspbbr3-pbnm", "--modes", "lo-c", cwd=tmp_path)
    assert "this distortion is 100.0 % B1u LO" in table.stdout
    refused = polaron("project", "lo.cif", "cspbbr3-pbnm", "--modes", str(DATA / "alas-wz.dyn"),
                      cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "elements" in refused.stderr
