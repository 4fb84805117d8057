"""Thermal ensembles: harmonic samples against phonopy and the laws of statistics, folders."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from phonon_cases import DATA, stored

from perovskite_polaron.cli.main import main
from perovskite_polaron.errors import InputError
from perovskite_polaron.lattice.crystal import Crystal, supercell
from perovskite_polaron.lattice.ensemble import (
    RECORD, Ensemble, Origin, correlation_time, read_ensemble, write_ensemble)
from perovskite_polaron.lattice.matching import commensurate
from perovskite_polaron.phonons.canonical import diagonalise
from perovskite_polaron.phonons.modes import joined
from perovskite_polaron.phonons.readers import read_all_modes
from perovskite_polaron.phonons.sampling import (
    NormalModes, harmonic_displacements_A, harmonic_ensemble, normal_modes, special_displacement_A)
from perovskite_polaron.units import BOLTZMANN_MEV_K

ALAS = DATA / "phonopy.yaml"


def cspbbr3() -> tuple[NormalModes, NDArray[np.float64]]:
    """The modes of the stored force constants of CsPbBr3, and these as (3n, 3n), eV/Å²."""
    crystal, phi = stored()
    matrix = phi.transpose(0, 2, 1, 3).reshape(60, 60)
    return normal_modes(crystal, [diagonalise(crystal, crystal.masses_amu, matrix)]), matrix


def alas() -> NormalModes:
    """Aluminium arsenide, 3×3×3 primitive cells: most wave vectors are inside the zone."""
    sets = read_all_modes(ALAS)
    return normal_modes(supercell(sets[0].crystal, (3, 3, 3)), sets)


def of_phonopy(case: str, temperature_K: float) -> NDArray[np.float64]:
    """⟨u u⟩ (n, 3, 3), Å², by phonopy on the grid of the supercell."""
    phonopy = pytest.importorskip("phonopy")
    from phonopy.structure.atoms import PhonopyAtoms

    if case == "alas":
        phonon = phonopy.load(ALAS, force_constants_filename=DATA / "FORCE_CONSTANTS",
                              is_nac=False, log_level=0, primitive_matrix="P")
        mesh = [3, 3, 3]
    else:
        crystal, phi = stored()
        unit = PhonopyAtoms(symbols=list(crystal.species), cell=crystal.lattice_A,
                            scaled_positions=crystal.positions)
        phonon = phonopy.Phonopy(unit, np.eye(3), primitive_matrix=np.eye(3), log_level=0)
        phonon.force_constants, mesh = phi, [1, 1, 1]
    phonon.run_mesh(mesh, with_eigenvectors=True, is_mesh_symmetry=False, is_gamma_center=True)
    phonon.run_thermal_displacement_matrices(temperatures=[temperature_K], freq_min=0.05)
    return np.array(phonon.thermal_displacement_matrices.thermal_displacement_matrices[0])


@pytest.mark.parametrize("case", ["cspbbr3", "alas"])
@pytest.mark.parametrize("temperature_K", [0.0, 100.0, 300.0])
def test_mean_squares_are_those_of_phonopy(case: str, temperature_K: float) -> None:
    pytest.importorskip("phonopy")
    modes = alas() if case == "alas" else cspbbr3()[0]
    theirs = of_phonopy(case, temperature_K)
    theirs = np.tile(theirs, (len(modes.crystal) // len(theirs), 1, 1))
    exact = modes.mean_squares_A2(temperature_K)
    assert np.abs(exact - theirs).max() < 2e-4 * theirs.max()
    # The samples: pairs have the same squares, so half of them count.
    samples = 2000
    u = harmonic_displacements_A(modes, temperature_K, samples, seed=11)
    found = (u**2).mean(axis=0)
    wanted = np.einsum("kaa->ka", theirs)
    chi = (found - wanted) / (wanted * np.sqrt(2 / (samples / 2)))
    assert np.abs(chi).max() < 4.5
    # Atoms of one crystal are correlated, so the mean of chi² is known less well than 1/√(3n).
    assert 0.5 < (chi**2).mean() < 1.7


def test_means_vanish_and_pairs_cancel_exactly() -> None:
    modes, _ = cspbbr3()
    paired = harmonic_displacements_A(modes, 300.0, 6, seed=3)
    assert np.array_equal(paired[::2], -paired[1::2])
    alone = harmonic_displacements_A(modes, 300.0, 3000, seed=3, antithetic=False)
    error = np.sqrt(np.einsum("kaa->ka", modes.mean_squares_A2(300.0)) / 3000)
    assert np.abs(alone.mean(axis=0) / error).max() < 4.5
    drift = modes.crystal.masses_amu @ alone.reshape(3000, 20, 3).transpose(1, 0, 2).reshape(20, -1)
    assert np.abs(drift).max() < 1e-9


@pytest.mark.parametrize("temperature_K", [0.0, 80.0, 3000.0])
def test_energies_are_those_of_quantum_oscillators_and_at_last_equipartition(
        temperature_K: float) -> None:
    modes, matrix = cspbbr3()
    u = harmonic_displacements_A(modes, temperature_K, 2000, seed=5, antithetic=False)
    flat = u.reshape(2000, 60)
    potential_meV = 500 * np.einsum("si,ij,sj->s", flat, matrix, flat)
    x = modes.energies_meV
    t = max(temperature_K, 1e-3)
    each = x / 4 / np.tanh(np.minimum(x / (2 * BOLTZMANN_MEV_K * t), 300))
    error = potential_meV.std() / np.sqrt(2000)
    assert abs(potential_meV.mean() - each.sum()) < 4 * error
    if temperature_K == 3000:
        assert potential_meV.mean() == pytest.approx(57 * BOLTZMANN_MEV_K * t / 2, rel=0.02)


def test_a_sample_depends_on_neither_the_number_nor_the_order_nor_the_temperature() -> None:
    modes, _ = cspbbr3()
    few = harmonic_displacements_A(modes, 300.0, 4, seed=9)
    many = harmonic_displacements_A(modes, 300.0, 40, seed=9)
    assert np.array_equal(few, many[:4])
    assert not np.array_equal(few, harmonic_displacements_A(modes, 300.0, 4, seed=10))
    # Common random numbers: at another temperature each mode moves in proportion.
    hot = harmonic_displacements_A(modes, 400.0, 4, seed=9)
    masses = np.sqrt(modes.crystal.masses_amu)[:, None]
    weighted = (modes.patterns * masses).reshape(57, -1)
    ratio = (weighted @ (hot[0] * masses).ravel()) / (weighted @ (few[0] * masses).ravel())
    expected = modes.widths_sqrt_amu_A(400.0) / modes.widths_sqrt_amu_A(300.0)
    assert np.allclose(ratio, expected, rtol=1e-6)


def test_the_special_displacement_has_the_thermal_squares_of_each_class() -> None:
    for modes in (cspbbr3()[0], alas()):
        u = special_displacement_A(modes, 300.0)
        assert np.array_equal(u, special_displacement_A(modes, 300.0))
        species = np.array(modes.crystal.species)
        exact = np.trace(modes.mean_squares_A2(300.0), axis1=1, axis2=2)
        for s in set(modes.crystal.species):
            found = (u[species == s] ** 2).sum(axis=1).mean()
            assert found == pytest.approx(exact[species == s].mean(), rel=0.05)


@pytest.mark.parametrize("repeats", [
    np.diag([2, 1, 3]), np.array([[1, 1, 0], [-1, 1, 0], [0, 0, 2]]),
    np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])])
def test_commensurate_wave_vectors_are_periodic_in_the_supercell(
        repeats: NDArray[np.int64]) -> None:
    q = commensurate(repeats)
    assert len(q) == abs(round(np.linalg.det(repeats)))
    turns = q @ repeats.T
    assert np.abs(turns - np.rint(turns)).max() < 1e-6
    assert ((q >= 0) & (q < 1)).all()


def test_imaginary_modes_are_refused_or_replaced_by_a_stated_rule() -> None:
    crystal, phi = stored()
    matrix = phi.transpose(0, 2, 1, 3).reshape(60, 60).copy()
    modes = diagonalise(crystal, crystal.masses_amu, matrix)
    soft = modes.weighted.real[5]
    weight = np.repeat(np.sqrt(crystal.masses_amu), 3)
    energy = modes.energies_meV[5]
    matrix -= 2 * (energy / 1e3) ** 2 / 4.180159e-3 * np.outer(soft * weight, soft * weight)
    sets = [diagonalise(crystal, crystal.masses_amu, matrix)]
    with pytest.raises(InputError, match=r"1 of 57 modes .* imaginary"):
        normal_modes(crystal, sets)
    turned = normal_modes(crystal, sets, "absolute")
    assert len(turned.energies_meV) == 57
    assert "1 imaginary ones: the energy without its sign" in turned.rule
    lowest = np.sort(modes.energies_meV)[3:9]
    assert np.sort(turned.energies_meV)[:6] == pytest.approx(lowest, rel=1e-3)
    assert len(normal_modes(crystal, sets, "leave-out").energies_meV) == 56


def test_wave_vectors_and_modes_that_are_missing_are_refused() -> None:
    sets = read_all_modes("cspbbr3")
    with pytest.raises(InputError, match="needs the modes at the wave vector"):
        normal_modes(supercell(sets[0].crystal, (2, 1, 1)), sets)
    with pytest.raises(InputError, match=r"50 modes .* where 57 are needed"):
        normal_modes(sets[0].crystal, [sets[0][:53]])


def test_modes_of_several_wave_vectors_may_come_in_one_file(tmp_path: Path) -> None:
    from perovskite_polaron.phonons.modes import write_modes

    sets = read_all_modes(ALAS)
    path = write_modes(joined(sets), tmp_path / "all.json")
    crystal = supercell(sets[0].crystal, (3, 3, 3))
    again = normal_modes(crystal, read_all_modes(path))
    assert np.allclose(again.mean_squares_A2(300.0), alas().mean_squares_A2(300.0), rtol=1e-6)


def test_a_crystal_that_is_too_hot_is_refused() -> None:
    with pytest.raises(InputError, match="too soft for the harmonic approximation"):
        harmonic_ensemble(cspbbr3()[0], 9000.0, 8, 1)


def test_a_folder_is_read_back_to_its_last_digit_and_damage_is_told(tmp_path: Path) -> None:
    found = harmonic_ensemble(cspbbr3()[0], 300.0, 4, 1)
    paths = write_ensemble(found, tmp_path / "hot")
    assert [p.name for p in paths] == [f"{k:05d}.extxyz" for k in range(4)]
    again = read_ensemble(tmp_path / "hot")
    assert again.origin == found.origin
    assert np.allclose(again.displacements_A, found.displacements_A, atol=1e-11)
    assert len(again.first(2)) == 2
    with pytest.raises(InputError, match="even number"):
        again.first(3)
    with pytest.raises(InputError, match="exists already"):
        write_ensemble(found, tmp_path / "hot")
    write_ensemble(found.first(2), tmp_path / "hot", overwrite=True)
    assert len(read_ensemble(tmp_path / "hot")) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["hot"]
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match="is no ensemble, so it is not replaced"):
        write_ensemble(found, tmp_path / "other", overwrite=True)
    text = paths[1].read_text()
    paths[1].write_text(text.replace("Br", "Cl", 1))
    with pytest.raises(InputError, match="not what its ensemble was made with"):
        read_ensemble(tmp_path / "hot")
    paths[1].unlink()
    with pytest.raises(InputError, match="missing"):
        read_ensemble(tmp_path / "hot")
    (tmp_path / "hot" / RECORD).unlink()
    with pytest.raises(InputError, match=r"is no ensemble: give a folder with ensemble\.json"):
        read_ensemble(tmp_path / "hot")


def test_an_ensemble_holds_one_order_of_atoms() -> None:
    crystal, _ = stored()
    swapped = Crystal(crystal.lattice_A, crystal.species[::-1], crystal.positions[::-1])
    origin = Origin("harmonic", "", "", 300.0, 0, "single", "")
    with pytest.raises(InputError, match="another order of atoms"):
        Ensemble(origin, crystal, (swapped,))


def test_the_autocorrelation_time_of_a_known_process_is_found() -> None:
    rng = np.random.default_rng(2)
    for share in (0.0, 0.5, 0.8):
        noise = rng.standard_normal((2000, 12))
        series = np.empty_like(noise)
        series[0] = noise[0] / np.sqrt(1 - share**2)
        for k in range(1, len(noise)):
            series[k] = share * series[k - 1] + noise[k]
        assert correlation_time(series) == pytest.approx((1 + share) / (1 - share) / 2, rel=0.1)
    assert correlation_time(np.ones((50, 3))) == 0.5


def test_the_command_makes_a_folder_for_each_temperature(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["ensemble", "cspbbr3-pbnm", "--temperature", "25C,100K", "--samples", "4", "--seed",
             "7", "--out", str(tmp_path / "hot"), "--json"]
    assert main(words) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["seed"] == 7
    assert [s["temperature_K"] for s in record["snapshots"]] == [298.15] * 4 + [100.0] * 4
    assert all(Path(s["path"]).is_file() for s in record["snapshots"])
    cold, hot = (read_ensemble(tmp_path / "hot" / t) for t in ("100K", "25C"))
    assert cold.origin.draws == hot.origin.draws
    assert main(words) == 2
    assert "exists already" in capsys.readouterr().err
    assert main([*words[:5], "3", *words[6:-1], "--overwrite"]) == 2
    assert "pairs" in capsys.readouterr().err
    assert len(read_ensemble(tmp_path / "hot" / "25C")) == 4
