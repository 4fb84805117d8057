"""A sweep along one mode: one diagonalisation and then copies, against phonopy's modulation, which
diagonalises each time.

Both start from force constants of the 20-atom cell and end with displaced structures.
"""

from pathlib import Path

import numpy as np
import pytest

from perovskite_polaron.kernels.displacement import displace
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.files import read_crystal
from perovskite_polaron.phonons.distortion import real_patterns
from perovskite_polaron.phonons.forces import ForceConstants
from perovskite_polaron.phonons.response import phonon_modes

DATA = Path(__file__).parents[1] / "tests" / "data" / "phonons" / "cspbbr3-pbnm-sevennet0.npz"
POINTS = [1, 21, 1001]


@pytest.fixture(scope="module")
def constants() -> ForceConstants:
    record = np.load(DATA)
    crystal = Crystal(record["lattice_A"], read_crystal("cspbbr3-pbnm").species,
                      record["positions"], "pbnm")
    matrix = np.zeros((60, 60))
    matrix[np.triu_indices(60)] = record["upper_eV_A2"]
    values = (matrix + np.triu(matrix, 1).T).reshape(20, 3, 20, 3).transpose(0, 2, 1, 3)
    return ForceConstants(crystal, values, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("points", POINTS)
@pytest.mark.benchmark(group="sweep along a mode, from force constants")
def test_polaron(benchmark, constants, points):
    amplitudes = np.linspace(0.1, 2.0, points)

    def sweep():
        modes = phonon_modes(constants)
        patterns = real_patterns(modes.crystal, modes[-1])
        return displace(modes.crystal.cartesian_A, patterns, amplitudes[:, None])

    assert benchmark(sweep).shape == (points, 20, 3)


@pytest.mark.parametrize("points", POINTS[:2])
@pytest.mark.benchmark(group="sweep along a mode, from force constants")
def test_phonopy(benchmark, constants, points):
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms

    crystal = constants.crystal
    cell = PhonopyAtoms(symbols=list(crystal.species), cell=crystal.lattice_A,
                        scaled_positions=crystal.positions)
    phonon = Phonopy(cell, np.eye(3), primitive_matrix=np.eye(3), log_level=0)
    phonon.force_constants = constants.values_eV_A2

    def sweep():
        found = []
        for amplitude in np.linspace(0.1, 2.0, points):
            phonon.run_modulations([1, 1, 1], [[[0, 0, 0], 59, float(amplitude), 0.0]])
            found.append(phonon.modulation.modulated_supercells[0].scaled_positions)
        return found

    assert len(benchmark(sweep)) == points
