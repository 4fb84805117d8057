"""Ten thousand amplitudes of a 20-atom mode to a bond report, against phonopy and the neighbour
list of ASE.
"""

import numpy as np
import pytest

from perovskite_polaron.lattice.files import read_crystal
from perovskite_polaron.lattice.octahedra import find_framework, sweep_bonds
from perovskite_polaron.phonons.distortion import real_patterns
from perovskite_polaron.phonons.modes import read_modes

CRYSTAL, MODE = read_crystal("cspbbr3-pbnm"), read_modes("lo-c")
Q = np.linspace(0.1, 3.0, 10_000)[:, None]
GROUP = "bond report of 10 000 amplitudes"


def prepared():
    return find_framework(CRYSTAL), real_patterns(CRYSTAL, MODE)


@pytest.mark.parametrize("side", ["polaron", "polaron, two threads"])
@pytest.mark.benchmark(group=GROUP)
def test_sweep(benchmark, monkeypatch, side):
    framework, patterns = prepared()
    benchmark.extra_info["side"] = side
    monkeypatch.setenv("POLARON_THREADS", "2" if "two" in side else "1")
    result = benchmark(sweep_bonds, framework, patterns, Q)
    assert result.lengths_A.shape == (10_000, 4, 6)


def phonopy_phonon():
    """A phonopy object whose force constants have the mode as an eigenvector, so that its
    modulation follows it.
    """
    phonopy = pytest.importorskip("phonopy")
    from phonopy.structure.atoms import PhonopyAtoms

    cell = PhonopyAtoms(symbols=CRYSTAL.species, scaled_positions=CRYSTAL.positions,
                        cell=CRYSTAL.lattice_A)
    phonon = phonopy.Phonopy(cell, np.eye(3, dtype=int), primitive_matrix=np.eye(3))
    eigenvector = (np.sqrt(CRYSTAL.masses_amu)[:, None] * real_patterns(CRYSTAL, MODE)[0]).ravel()
    eigenvector /= np.linalg.norm(eigenvector)
    weights = np.repeat(np.sqrt(phonon.primitive.masses), 3)
    dynamical = 25.0 * np.outer(eigenvector, eigenvector) + np.eye(60) * 0.01
    constants = (dynamical * np.outer(weights, weights)).reshape(20, 3, 20, 3).transpose(0, 2, 1, 3)
    phonon.force_constants = np.ascontiguousarray(constants)
    return phonon


@pytest.mark.benchmark(group=GROUP)
def test_phonopy_and_ase(benchmark):
    benchmark.extra_info.update(side="phonopy and ASE, one structure × 10 000", calls=len(Q),
                                required=1000)
    phonon = phonopy_phonon()
    from ase import Atoms
    from ase.neighborlist import neighbor_list

    def one_structure():
        cell = phonon.run_modulations([1, 1, 1],
                                      [[[0, 0, 0], 59, 1.0, 0.0]]).modulated_supercells[0]
        atoms = Atoms(cell.symbols, scaled_positions=cell.scaled_positions, cell=cell.cell,
                      pbc=True)
        return cell, neighbor_list("d", atoms, {("Pb", "Br"): 3.6})

    cell, distances = benchmark(one_structure)
    # The same structure through the kernel: take the amplitude phonopy's phase and normalisation
    # gave, and compare.
    framework, patterns = prepared()
    moved = cell.scaled_positions - CRYSTAL.positions
    moved = (moved - np.rint(moved)) @ CRYSTAL.lattice_A
    q = float((CRYSTAL.masses_amu[:, None] * patterns[0] * moved).sum())
    ours = np.sort(sweep_bonds(framework, patterns, [[q]]).lengths_A.ravel())
    np.testing.assert_allclose(np.sort(distances)[::2], ours, rtol=0, atol=1e-12)
    benchmark.extra_info["deviation"] = float(np.abs(np.sort(distances)[::2] / ours - 1).max())
    assert abs(q) > 0.01
