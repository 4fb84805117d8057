"""Phonons of one material through Quantum ESPRESSO's and phonopy's files, all of them real
(tests/data/phonons)."""

import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from perovskite_polaron.errors import InputError
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.phonons.canonical import canonical_modes
from perovskite_polaron.phonons.distortion import distort
from perovskite_polaron.phonons.matdyn_files import read_dynamical_matrices
from perovskite_polaron.phonons.modes import Modes
from perovskite_polaron.phonons.readers import from_file, read_phonons
from perovskite_polaron.units import MEV_PER_THZ

DATA = Path(__file__).parent / "data" / "phonons"
DYN = DATA / "alas-333.dyn1"
PHONOPY = DATA / "phonopy.yaml"
# Quantum ESPRESSO 6.7 and phonopy take their constants from different CODATA years: 1.2e-7 of 46
# meV.
CONSTANTS_MEV = 1e-5


def waves(modes: Modes) -> NDArray[np.complex128]:
    """Eigenvectors (m, 3n) that do not depend on the lattice point at which an atom is listed."""
    phase = np.exp(-2j * np.pi * modes.crystal.positions @ modes.q[0])
    return (modes.weighted.reshape(len(modes), -1, 3) * phase[:, None]).reshape(len(modes), -1)


def assert_same(a: Modes, b: Modes, energy_meV: float, digits: float) -> None:
    """The same energies, and the same modes one by one: degenerate ones too, as their basis is
    canonical."""
    np.testing.assert_allclose(a.q, b.q, atol=1e-7)
    np.testing.assert_allclose(a.energies_meV, b.energies_meV, atol=energy_meV, rtol=0)
    overlap = np.einsum("mi,mi->m", waves(a).conj(), waves(b))
    np.testing.assert_allclose(waves(b), waves(a) * (overlap / np.abs(overlap))[:, None],
                               atol=digits, rtol=0)


@pytest.fixture(scope="module")
def oracle() -> Callable[..., Modes]:
    """phonopy's own modes at a wave vector, in the convention of docs/conventions.md."""
    phonopy = pytest.importorskip("phonopy")
    from phonopy.physical_units import get_physical_units

    ph = phonopy.load(PHONOPY, force_constants_filename=DATA / "FORCE_CONSTANTS", log_level=0)
    cell = ph.primitive
    crystal = Crystal(cell.cell * get_physical_units().Bohr, tuple(cell.symbols),
                      cell.scaled_positions)

    def modes(q: NDArray[np.float64]) -> Modes:
        ph.run_qpoints([q], with_eigenvectors=True)
        phase = np.exp(2j * np.pi * cell.scaled_positions @ np.array(q)) / np.sqrt(cell.masses)
        patterns = ph.qpoints.eigenvectors[0].T.reshape(6, 2, 3) * phase[:, None]
        return canonical_modes(crystal, cell.masses, ph.qpoints.frequencies[0] * MEV_PER_THZ,
                               patterns, q)

    return modes


@pytest.fixture(scope="module")
def phonopy_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which phonopy wrote its tables of eigenvectors, and parameters with force
    constants inside."""
    phonopy = pytest.importorskip("phonopy")
    folder = tmp_path_factory.mktemp("phonopy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ph = phonopy.load(PHONOPY, force_constants_filename=DATA / "FORCE_CONSTANTS", log_level=0)
        q = [[0, 0, 0], [0.1, 0.2, -0.35]]
        ph.run_band_structure([q], with_eigenvectors=True)
        ph.write_yaml_band_structure(filename=folder / "band.yaml")
        ph.run_mesh([2, 1, 1], with_eigenvectors=True, is_mesh_symmetry=False, is_gamma_center=True)
        ph.mesh.write_yaml(folder / "mesh.yaml")
        ph.run_qpoints(q, with_eigenvectors=True)
        ph.qpoints.write_yaml(folder / "qpoints.yaml")
        ph.save(folder / "phonopy_params.yaml", settings={"force_constants": True})
    return folder


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_dynamical_matrices_and_phonopys_force_constants_give_the_same_modes(
    oracle: Callable[..., Modes], number: int
) -> None:
    for matrix in read_phonons(DATA / f"alas-333.dyn{number}"):
        assert_same(matrix, oracle(matrix.q[0]), CONSTANTS_MEV, 1e-7)


@pytest.mark.parametrize("kind", ["modes", "eig"])
def test_matdyn_and_phonopy_give_the_same_modes(oracle: Callable[..., Modes], kind: str) -> None:
    found = read_phonons(DATA / f"alas-333-matdyn.{kind}", DYN)
    assert len(found) == 6
    np.testing.assert_allclose(found[1].q[0], [1 / 3, 0, 0], atol=1e-15)  # printed as 0.3333
    for modes in found:
        assert_same(modes, oracle(modes.q[0]), CONSTANTS_MEV, 3e-6)


@pytest.mark.parametrize("kind", ["modes", "eig"])
def test_dynmat_and_the_dynamical_matrix_give_the_same_modes(kind: str) -> None:
    (matrix,) = read_phonons(DATA / "alas-wz.dyn")
    (dynmat,) = read_phonons(DATA / f"alas-wz-dynmat.{kind}", DATA / "alas-wz.dyn")
    assert_same(dynmat, matrix, CONSTANTS_MEV, 3e-6)
    assert [g.stop - g.start for g in matrix.degenerate_groups] == [1, 2, 2, 1, 1, 1, 2, 2]


@pytest.mark.parametrize("name", ["band.yaml", "mesh.yaml", "qpoints.yaml", "phonopy_params.yaml"])
def test_phonopys_files_give_what_phonopy_has(oracle: Callable[..., Modes], phonopy_files: Path,
                                              name: str) -> None:
    for modes in read_phonons(phonopy_files / name, DYN):
        assert_same(modes, oracle(modes.q[0]), 2e-6, 2e-7)


def test_force_sets_and_hdf5_give_what_force_constants_give(tmp_path: Path) -> None:
    phonopy = pytest.importorskip("phonopy")
    from ase import Atoms
    from ase.calculators.lj import LennardJones
    from phonopy.file_IO import write_force_constants_to_hdf5, write_FORCE_SETS
    from phonopy.structure.atoms import PhonopyAtoms

    lattice = 5.3 / 2 * (np.ones((3, 3)) - np.eye(3))
    cell = PhonopyAtoms(symbols=["Ar"], cell=lattice, scaled_positions=[[0, 0, 0]])
    ph = phonopy.Phonopy(cell, [2, 2, 2], primitive_matrix="P")
    ph.generate_displacements(distance=0.01)
    forces = []
    for moved in ph.supercells_with_displacements:
        atoms = Atoms(moved.symbols, cell=moved.cell, scaled_positions=moved.scaled_positions,
                      pbc=True)
        atoms.calc = LennardJones(sigma=3.4, epsilon=0.0104, rc=8.0, smooth=True)
        forces.append(atoms.get_forces())
    ph.forces = forces
    ph.produce_force_constants()
    plain = {"force_sets": False, "displacements": False, "force_constants": False}
    results = []
    for name in ("FORCE_SETS", "force_constants.hdf5"):
        folder = tmp_path / name.split(".")[0]
        folder.mkdir()
        ph.save(folder / "phonopy.yaml", settings=plain)
        if name == "FORCE_SETS":
            write_FORCE_SETS(ph.dataset, filename=folder / name)
        else:
            write_force_constants_to_hdf5(ph.force_constants, filename=folder / name)
        results.append(read_phonons(folder / "phonopy.yaml")[0])
    assert_same(results[0], results[1], 1e-4, 1e-4)


def test_the_longitudinal_mode_of_dynmat_is_phonopys(tmp_path: Path) -> None:
    """Born charges and ε∞ of the .dyn file put the LO mode where dynmat.x, with the same direction,
    puts it."""
    pytest.importorskip("phonopy")
    matrix = read_dynamical_matrices(DATA / "alas-gamma.dyn")[0]
    assert matrix.epsilon_inf is not None
    assert matrix.born_charges is not None
    neutral = matrix.born_charges - matrix.born_charges.mean(axis=0)
    for name in ("phonopy.yaml", "FORCE_CONSTANTS"):
        shutil.copy(DATA / name, tmp_path)
    rows = [" ".join(f"{v:.12f}" for v in m.ravel()) for m in (matrix.epsilon_inf, *neutral)]
    (tmp_path / "BORN").write_text("\n".join(["default", *rows]) + "\n")
    direction = (1.0, 1.0, -1.0)
    (dynmat,) = read_phonons(DATA / "alas-gamma-lo-dynmat.modes", DATA / "alas-gamma.dyn",
                             direction)
    phonopy = from_file(tmp_path / "phonopy.yaml", direction).modes
    np.testing.assert_allclose(dynmat.direction, [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(phonopy.direction, dynmat.direction, atol=1e-12)
    # dynmat.x had the acoustic sum rule imposed (6e-5 of the force constants), phonopy not.
    np.testing.assert_allclose(phonopy.energies_meV[3:], dynmat.energies_meV[3:], atol=2e-3)
    np.testing.assert_allclose(phonopy.patterns[3:], dynmat.patterns[3:], atol=1e-4)
    assert np.abs(dynmat.patterns[5, :, :2]).max() < 1e-6
    (transverse,) = read_phonons(PHONOPY)
    assert phonopy.energies_meV[5] - transverse.energies_meV[5] > 4
    with pytest.raises(InputError, match="Born charges, which"):
        from_file(PHONOPY, "c")
    with pytest.raises(InputError, match="a direction cannot be given"):
        read_phonons(DYN, direction="c")


@pytest.mark.parametrize(("q", "repeats"),
                         [((0, 0, 0), (1, 1, 1)), ((0.5, 0, 0), (2, 1, 1)),
                          ((1 / 3, 0, 0), (3, 1, 1)), ((0.25, 0.5, 0.75), (4, 2, 4))])
@pytest.mark.parametrize("argument_deg", [0.0, 70.0])
def test_displacements_are_phonopys_modulations(
    oracle: Callable[..., Modes], q: tuple[float, float, float], repeats: tuple[int, int, int],
    argument_deg: float
) -> None:
    """docs/conventions.md, "Amplitudes of phonopy": the formula there, and nothing else, maps one
    to the other."""
    phonopy = pytest.importorskip("phonopy")
    from phonopy.physical_units import get_physical_units

    bohr = get_physical_units().Bohr
    ph = phonopy.load(PHONOPY, force_constants_filename=DATA / "FORCE_CONSTANTS", log_level=0)
    amplitude = 1.7
    found = oracle(q)
    bands = [i for g in found.degenerate_groups if g.stop - g.start == 1
             for i in range(g.start, g.stop)]
    assert bands or q == (0, 0, 0)
    for band in bands or [5]:
        ph.run_modulations(repeats, [[q, band, amplitude, argument_deg]])
        u = ph.modulation.modulations[0]
        cell = ph.modulation.supercell
        crystal = Crystal(cell.cell * bohr, tuple(cell.symbols), cell.scaled_positions)
        pattern = found.patterns[band]
        if not bands:  # phonopy's own choice among degenerate modes
            pattern = ph.modulation.eigenvectors[0].reshape(-1, 3) / np.sqrt(
                found.masses_amu
            )[:, None]
        mode = Modes(found.crystal, found.masses_amu, [10.0], [pattern], q)
        standing = np.abs(2 * np.array(q) - np.rint(2 * np.array(q))).max() < 1e-9
        tau = found.crystal.positions
        within = crystal.positions * repeats
        atom = np.array([found.crystal.species.index(s) for s in crystal.species])
        wave = mode.patterns[0][atom] * np.exp(2j * np.pi * (within - tau[atom]) @ q)[:, None]
        largest = np.flatnonzero(np.abs(u) > np.abs(u).max() - 1e-9)
        # One of the largest components has the phase asked for; which of them is left to rounding.
        assert np.abs(np.exp(1j * np.angle(u.ravel()[largest]))
                      - np.exp(1j * np.deg2rad(argument_deg))).min() < 1e-9
        phase = np.angle(u.ravel()[largest[0]]) - np.angle(wave.ravel()[largest[0]])
        if standing:
            # phonopy displaces a standing wave by cos(phase): the argument only makes it smaller.
            amount = amplitude / np.sqrt(len(cell)) * np.cos(phase)
            (point,) = distort(crystal, mode, [amount], phases_rad=0.0)
        else:
            (point,) = distort(crystal, mode, [amplitude / np.sqrt(2 * len(cell))],
                               phases_rad=phase)
        assert np.abs(u.real).max() > 0.01
        np.testing.assert_allclose(point.displacement_A, u.real, atol=1e-10, rtol=0)


def test_the_basis_of_degenerate_modes_does_not_depend_on_who_diagonalised() -> None:
    (modes,) = read_phonons(DATA / "alas-wz.dyn")
    rng = np.random.default_rng(3)
    weighted = modes.weighted.copy()
    for group in modes.degenerate_groups:
        d = group.stop - group.start
        unitary, _ = np.linalg.qr(rng.normal(size=(d, d)) + 1j * rng.normal(size=(d, d)))
        weighted[group] = unitary @ weighted[group]
    patterns = 0.3 * weighted.reshape(modes.patterns.shape) / np.sqrt(modes.masses_amu)[:, None]
    shuffled = rng.permutation(len(modes))
    again = canonical_modes(modes.crystal, modes.masses_amu, modes.energies_meV[shuffled],
                            patterns[shuffled])
    np.testing.assert_allclose(again.patterns, modes.patterns, atol=1e-12)
    assert np.abs(modes.patterns.imag).max() == 0


def test_imaginary_modes_are_carried_and_left_out_of_what_can_be_displaced(tmp_path: Path) -> None:
    text = (DATA / "alas-wz-dynmat.modes").read_text()
    soft, count = re.subn(r"   (1\.634\d+ \[THz\])", r"  -\1", text)
    assert count == 2
    (tmp_path / "soft.modes").write_text(soft)
    (modes,) = read_phonons(tmp_path / "soft.modes", DATA / "alas-wz.dyn")
    assert np.count_nonzero(modes.unstable) == 2
    np.testing.assert_allclose(modes.energies_meV[:2], -1.6341 * MEV_PER_THZ, atol=1e-3)
    assert len(modes.stable()) == 7


def wrong(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_crystal_that_is_not_that_of_the_file_is_refused(tmp_path: Path) -> None:
    right = read_dynamical_matrices(DATA / "alas-wz.dyn")[0].crystal
    modes = DATA / "alas-wz-dynmat.modes"
    with pytest.raises(InputError, match="number of atoms than the 2 of the"):
        read_phonons(modes, DYN)
    with pytest.raises(InputError, match=r"more than the 2 atoms|another number of atoms"):
        read_phonons(DATA / "alas-wz-dynmat.eig", DYN)
    text = (DATA / "alas-wz.dyn").read_text()
    kinds = [float(line.split("'")[2]) for line in text.splitlines() if "'" in line]
    swapped = tmp_path / "swapped.dyn"
    swapped.write_text(re.sub(r"('\w+\s*'\s*)([\d.]+)",
                              lambda m: f"{m[1]}{kinds[float(m[2]) == kinds[0]]}", text))
    with pytest.warns(UserWarning, match="ph.x printed"), pytest.raises(InputError, match="masses"):
        read_phonons(modes, swapped)
    with pytest.raises(InputError, match="masses or order of atoms"):
        read_phonons(modes, Crystal(right.lattice_A, right.species[::-1], right.positions[::-1]))
    cyclic = [2, 0, 1]
    with pytest.raises(InputError, match="setting"):
        read_phonons(modes, Crystal(right.lattice_A[:, cyclic], right.species, right.positions))
    with pytest.raises(InputError, match="direction"):
        read_phonons(DATA / "alas-wz-lo-dynmat.modes", DATA / "alas-wz.dyn")
    with pytest.raises(InputError, match=r"alas-wz.dyn.*different composition|atoms|lattice"):
        read_phonons(DYN, right)
    with (pytest.warns(UserWarning, match="ph.x printed"),
          pytest.raises(InputError, match=r"mass of 26\.982 amu for Al 1")):
        read_phonons(DATA / "alas-wz.dyn", swapped)
    with pytest.raises(InputError, match=r"holds no crystal.*--crystal"):
        read_phonons(modes)
    with pytest.raises(InputError, match="2π/alat"):
        read_phonons(DATA / "alas-333-matdyn.modes", read_dynamical_matrices(DYN)[0].crystal)


def test_modes_of_matdyn_take_the_crystal_that_lies_beside_them(tmp_path: Path) -> None:
    for name in ("alas-wz-dynmat.modes", "alas-wz.dyn"):
        shutil.copy(DATA / name, tmp_path)
    modes = tmp_path / "alas-wz-dynmat.modes"
    (found,) = read_phonons(modes)
    (given,) = read_phonons(modes, DATA / "alas-wz.dyn")
    np.testing.assert_array_equal(found.patterns, given.patterns)
    np.testing.assert_array_equal(found.masses_amu, given.masses_amu)
    shutil.copy(DYN, tmp_path)
    with pytest.raises(InputError, match="2 of several crystals"):
        read_phonons(modes)
    for path in tmp_path.glob("*.dyn*"):
        path.unlink()
    with pytest.raises(InputError, match="none is beside it"):
        read_phonons(modes)


def _whole_blocks(text: str) -> bool:
    """Whether a file of modes was cut between two wave vectors, which nobody can tell: it does not
    say how many it has."""
    rules = sum("****" in line for line in text.splitlines())
    return rules > 0 and rules == 2 * text.count(" q = ")


@pytest.mark.parametrize(
    "name", ["alas-333.dyn2", "alas-wz.dyn", "alas-wz-dynmat.modes", "alas-333-matdyn.eig"]
)
def test_truncated_files_of_quantum_espresso_say_where(tmp_path: Path, name: str) -> None:
    crystal = DATA / "alas-wz.dyn" if "wz" in name else DYN
    lines = (DATA / name).read_text().splitlines(keepends=True)
    end = (next(i for i, line in enumerate(lines) if "Diagonalizing" in line)
           if "dyn" in Path(name).suffix else len(lines))
    for cut in range(0, end - 1, max(1, end // 40)):
        kept = "".join(lines[:cut])
        path = wrong(tmp_path / f"cut{Path(name).suffix}", kept)
        if "dyn" not in Path(name).suffix and _whole_blocks(kept):
            continue
        with pytest.raises(InputError, match=re.escape(str(path))) as error:
            read_phonons(path, None if "dyn" in Path(name).suffix else crystal)
        assert "\n" not in str(error.value)


def test_what_is_no_number_is_refused_with_its_line(tmp_path: Path) -> None:
    for name, old, new in (("alas-333.dyn1", "  0.20671412 ", "         NaN"),
                           ("alas-333.dyn1", "  0.20671412 ", "  **********"),
                           ("alas-wz-dynmat.modes", "0.499991", "     nan")):
        text = (DATA / name).read_text()
        assert old in text
        path = wrong(tmp_path / name, text.replace(old, new, 1))
        line = text[: text.index(old)].count("\n") + 1
        with pytest.raises(InputError, match=f"{name}:{line}: "):
            read_phonons(path, DATA / "alas-wz.dyn" if "modes" in name else None)


def test_damaged_files_of_phonopy_are_refused(tmp_path: Path, phonopy_files: Path) -> None:
    text = (phonopy_files / "band.yaml").read_text()
    number = next(line
                  for line in text.splitlines() if line.startswith(
                      "      - [  0."
                  ) or line.startswith("      - [ -0."))
    cases = {"empty": ("", "empty"), "cut": (text[: len(text) // 2], r"cut\.yaml"),
             "nan": (text.replace(number, "      - [ .nan, 0.0 ]", 1), "finite"),
             "few": (text.replace("natom: 2", "natom: 3"), "3 atoms"),
             "broken": ("phonon: [\n", r"broken\.yaml:2"), "other": ("a: 1\n", "no phonopy file")}
    for name, (content, message) in cases.items():
        path = wrong(tmp_path / f"{name}.yaml", content)
        with pytest.raises(InputError, match=message):
            read_phonons(path, DYN)
    with pytest.raises(InputError, match="no crystal"):
        read_phonons(phonopy_files / "qpoints.yaml")
    shutil.copy(PHONOPY, tmp_path)
    with pytest.raises(InputError, match="no forces"):
        read_phonons(tmp_path / "phonopy.yaml")
    numbers = (DATA / "FORCE_CONSTANTS").read_text()
    wrong(tmp_path / "FORCE_CONSTANTS", numbers[:5000])
    with pytest.raises(InputError, match=r"phonopy\.yaml"):
        read_phonons(tmp_path / "phonopy.yaml")
    first = numbers.split("\n")[2].split()[0]
    wrong(tmp_path / "FORCE_CONSTANTS", numbers.replace(first, "nan", 1))
    with pytest.raises(InputError, match=r"finite|phonopy\.yaml"):
        read_phonons(tmp_path / "phonopy.yaml")
