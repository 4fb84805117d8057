"""How far which atoms moved between two structures."""

from perovskite_polaron.lattice.files import read_crystal
from perovskite_polaron.lattice.octahedra import bond_report, compare
from perovskite_polaron.phonons.distortion import distort
from perovskite_polaron.phonons.modes import read_modes

ground = read_crystal("cspbbr3-pbnm")
distorted = distort(ground, read_modes("lo-c"), [0.10], unit="max_A")[0].crystal
before, after, moved = bond_report(ground), bond_report(distorted), compare(distorted, ground)
print(f"axial {before.axial_A:.3f} → {after.axial_A:.3f} Å")
print(f"equatorial {before.equatorial_A:.3f} → {after.equatorial_A:.3f} Å")
print(", ".join(f"{name} {value:.4f} Å" for name, value in moved.classes_A.items()))
known = {name: value for name, value in moved.ratio.items() if value is not None}
print(", ".join(f"{name} = {value:.2f}" for name, value in known.items()))
