"""Displace CsPbBr3 along its longitudinal optical mode and write the structures."""

from pathlib import Path

from perovskite_polaron.lattice.files import read_crystal, write_crystal
from perovskite_polaron.phonons.distortion import distort
from perovskite_polaron.phonons.modes import read_modes

crystal, mode = read_crystal("cspbbr3-pbnm"), read_modes("lo-c")
for point in distort(crystal, mode, [0.05, 0.10], unit="max_A"):
    path = write_crystal(point.crystal, Path(f"lo_{point.max_displacement_A:.2f}A.cif"))
    print(path, point.symmetry.symbol, f"Q = {point.amplitude_sqrt_amu_A[0]:.3f} Å√amu")
