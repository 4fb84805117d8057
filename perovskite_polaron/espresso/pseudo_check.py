"""Is a pseudopotential fit for use? Levels of the atom in a box against the all-electron atom, and the partial waves."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from perovskite_polaron.crystal import Crystal
from perovskite_polaron.errors import ComputationError
from perovskite_polaron.espresso.programs import find_program, run_program
from perovskite_polaron.espresso.pseudo import Level
from perovskite_polaron.espresso.pw import OUTDIR, PwSettings, pw_deck, read_levels_eV
from perovskite_polaron.espresso.upf import Pseudopotential
from perovskite_polaron.files import write_atomically
from perovskite_polaron.units import RYDBERG_EV

_L = {"S": 0, "P": 1, "D": 2, "F": 3}


@dataclass(frozen=True)
class PartialWaveCheck:
    """One GIPAW projector: the pseudo wave over the all-electron one at the matching radius (1 is perfect), and the
    charge inside that radius, pseudo minus all-electron, in electrons."""

    label: str
    ratio_at_cutoff: float
    charge_difference: float


def check_partial_waves(
    pseudo: Pseudopotential, channel: int = 1, tolerance: float = 0.05
) -> tuple[PartialWaveCheck, ...]:
    """Compare the GIPAW partial waves with the all-electron ones; refuse a bad match in the absorbed channel.

    The matrix element of the absorption is taken with the all-electron wave scaled to the pseudo one, so a mismatch at
    the matching radius is a relative error of that projector's share. Raises ComputationError above the tolerance.
    """
    rows = []
    radius = pseudo.radius_bohr
    for wave in pseudo.partial_waves:
        n = int(np.searchsorted(radius, wave.cutoff_bohr))
        charge = np.trapezoid(wave.pseudo[: n + 1] ** 2 - wave.all_electron[: n + 1] ** 2, radius[: n + 1])
        rows.append(PartialWaveCheck(wave.label, float(wave.pseudo[n] / wave.all_electron[n]), float(charge)))
        if wave.l == channel and abs(rows[-1].ratio_at_cutoff - 1) > tolerance:
            raise ComputationError(
                f"the {wave.label} partial wave of {pseudo.path.name} is {rows[-1].ratio_at_cutoff:.3f} of the all-electron one at "
                f"{wave.cutoff_bohr:g} bohr (allowed 1 ± {tolerance:g}): change its reference energy or radius in the recipe"
            )
    return tuple(rows)


@dataclass(frozen=True)
class BoxLevel:
    """A level of the isolated atom: all-electron, and as pw.x finds it, both in eV relative to the highest occupied one."""

    label: str
    all_electron_eV: float
    plane_wave_eV: float


def check_levels_in_box(
    pseudo: Pseudopotential,
    levels: tuple[Level, ...],
    cutoffs_Ry: tuple[float, float],
    box_A: float = 12.0,
    tolerance_eV: float = 0.1,
) -> tuple[BoxLevel, ...]:
    """Compute the atom in a periodic box with pw.x and compare its levels with the all-electron atom.

    levels: what ld1.x printed for this set. A ghost state shows as a level where none should be, and shifts every one
    above it. Occupations are spread over each shell, as in the spherical atom. Raises ComputationError above the
    tolerance, which covers the box (images, cut-off), not physics.
    """
    occupied = sorted((v for v in levels if v.occupation > 0), key=lambda v: v.all_electron_Ry)
    count = sum(2 * _L[v.label[1]] + 1 for v in occupied)
    electrons = sum(v.occupation for v in occupied)
    atom = Crystal(np.eye(3) * box_A, (pseudo.element,), np.zeros((1, 3)), f"{pseudo.element} in a box")
    settings = PwSettings(
        ecutwfc_Ry=cutoffs_Ry[0],
        ecutrho_Ry=cutoffs_Ry[1],
        kpoints=(1, 1, 1),
        kpoint_shift=(0, 0, 0),
        conv_thr_Ry=1e-6,
        occupations="smearing",
        degauss_Ry=0.005,
        system={"nbnd": count + 4},
    )
    name = f"{pseudo.element}.UPF"
    deck = pw_deck(atom, {pseudo.element: name}, settings, electrons=electrons, charge=pseudo.z_valence - electrons)
    with tempfile.TemporaryDirectory(prefix="polaron-atom-") as folder:
        (Path(folder) / "pseudo").mkdir()
        write_atomically(Path(folder) / "pseudo" / name, pseudo.path.read_bytes())
        write_atomically(Path(folder) / "pw.in", deck)
        run_program([str(find_program("pw.x"))], Path(folder) / "pw.in", Path(folder) / "pw.out")
        found = np.sort(read_levels_eV(Path(folder) / OUTDIR).ravel())[:count]
    top = occupied[-1]
    width = 2 * _L[top.label[1]] + 1
    zero = found[-width:].mean()
    rows, start = [], 0
    for level in occupied:
        width = 2 * _L[level.label[1]] + 1
        value = float(found[start : start + width].mean() - zero)
        spread = float(np.ptp(found[start : start + width]))
        expected = (level.all_electron_Ry - top.all_electron_Ry) * RYDBERG_EV
        rows.append(BoxLevel(level.label, expected, value))
        if abs(value - expected) > tolerance_eV or spread > tolerance_eV:
            raise ComputationError(
                f"level {level.label} of {pseudo.path.name} lies at {value:.2f} eV in a box, {expected:.2f} eV in the all-electron atom: "
                "a ghost state, or radii too large; change the recipe"
            )
        start += width
    return tuple(rows)
