"""Bond geometry along ten thousand amplitudes of a mode, without building the structures."""

import numpy as np

from perovskite_polaron.lattice.files import read_crystal
from perovskite_polaron.lattice.octahedra import find_framework, sweep_bonds
from perovskite_polaron.phonons.distortion import real_patterns
from perovskite_polaron.phonons.modes import read_modes

crystal, modes = read_crystal("cspbbr3-pbnm"), read_modes("lo-c")
q = np.linspace(0, 10 * modes.zero_point_sqrt_amu_A[0], 10_000)
sweep = sweep_bonds(find_framework(crystal), real_patterns(crystal, modes), q[:, None])
for k in (0, 5_000, 9_999):
    print(f"Q = {q[k]:.3f} Å√amu: Pb off-centring {sweep.offcentring_A[k].mean():.4f} Å")
