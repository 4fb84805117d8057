"""The atom of a pseudopotential in a periodic box, computed with pw.x, against the all-electron
atom: at one cut-off, or at several.

A ghost state shows as a level where none should be. So does, at first sight, a cut-off that is too
low: the two are told apart by a higher one, which helps the second and not the first.
"""

import math
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from perovskite_polaron.errors import ComputationError
from perovskite_polaron.espresso.program import find_program
from perovskite_polaron.espresso.pseudo import Level
from perovskite_polaron.espresso.pw import PwCalculation, PwSettings, read_levels_eV
from perovskite_polaron.espresso.upf import Pseudopotential
from perovskite_polaron.files import write_atomically
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.programs import OUTDIR, run_program
from perovskite_polaron.units import RYDBERG_EV

_BOX_A = 12.0
_EMPTY = 4
# What levels may be off in the box covers images and cut-off, not physics.
ALLOWED_EV = 0.1
# The cut-off that is tried when one does not suffice, over that one. Levels that move by more than
# what is allowed, and than this share of the error, while the cut-off rises so far say nothing
# about the set yet. (A ghost 158 eV too low moved by 0.75 eV, oxygen at a low cut-off by half its
# error.)
_HIGHER = 1.6
_SHARE = 0.2


@dataclass(frozen=True)
class BoxLevel:
    """A level of the isolated atom, all-electron and as pw.x finds it, in eV from the highest
    occupied one; and how far its shell is split.
    """

    label: str
    all_electron_eV: float
    plane_wave_eV: float
    split_eV: float = 0.0

    @property
    def error_eV(self) -> float:
        """How far it is off, or split."""
        return max(abs(self.plane_wave_eV - self.all_electron_eV), self.split_eV)


@dataclass(frozen=True)
class BoxCheck:
    """The levels of an atom in the box at one pair of cut-offs."""

    ecutwfc_Ry: float
    ecutrho_Ry: float
    levels: tuple[BoxLevel, ...]

    @property
    def worst(self) -> BoxLevel:
        """The level that is off most."""
        return max(self.levels, key=lambda level: level.error_eV)

    @property
    def agrees(self) -> bool:
        """Whether every level is where it should be."""
        return self.worst.error_eV <= ALLOWED_EV


def levels_in_box(pseudo: Pseudopotential, levels: tuple[Level, ...],
                  cutoffs_Ry: tuple[float, float]) -> BoxCheck:
    """Compute the atom in a periodic box with pw.x. Each level has its electrons, spread over its
    shell, as in the spherical atom.

    Parameters
    ----------
    pseudo
        The set.
    levels
        What ld1.x printed for it.
    cutoffs_Ry
        Of wave functions and density.

    Raises
    ------
    MissingProgramError, ComputationError
        When pw.x is missing or fails.
    """
    occupied = sorted((v for v in levels if v.occupation > 0), key=lambda v: v.all_electron_Ry)
    widths = [2 * "SPDF".index(v.label[1]) + 1 for v in occupied]
    electrons, count = sum(v.occupation for v in occupied), sum(widths)
    filling = [v.occupation / width for v, width in zip(occupied, widths, strict=True)
               for _ in range(width)] + [0.0] * _EMPTY
    atom = Crystal(np.eye(3) * _BOX_A, (pseudo.element,), np.zeros((1, 3)),
                   f"{pseudo.element} in a box")
    settings = PwSettings(*cutoffs_Ry, kpoints=(1, 1, 1), kpoint_shift=(0, 0, 0), conv_thr_Ry=1e-6,
                          occupations="smearing", system={"nbnd": count + _EMPTY})
    calculation = PwCalculation(atom, (pseudo.element,), settings, electrons,
                                charge=pseudo.z_valence - electrons)
    with tempfile.TemporaryDirectory(prefix="polaron-atom-") as name:
        folder = Path(name)
        (folder / "pseudo").mkdir()
        write_atomically(folder / "pseudo" / f"{pseudo.element}.UPF", pseudo.path.read_bytes())
        write_atomically(folder / "pw.in", _with_occupations(calculation.deck(), filling))
        run_program([str(find_program("pw.x"))], folder / "pw.in", folder / "pw.out")
        found = np.sort(read_levels_eV(folder / OUTDIR).ravel())[:count]
    shells = np.split(found, np.cumsum(widths)[:-1])
    top = occupied[-1].all_electron_Ry
    return BoxCheck(*cutoffs_Ry, tuple(
        BoxLevel(level.label, (level.all_electron_Ry - top) * RYDBERG_EV,
                 float(shell.mean() - shells[-1].mean()), float(np.ptp(shell)))
        for level, shell in zip(occupied, shells, strict=True)))


def _with_occupations(deck: str, filling: Sequence[float]) -> str:
    """Return an input in which each band has its electrons.

    A smearing would move those of an open d shell beside an s level until the two are level, which
    is another configuration than that of the all-electron atom.
    """
    lines = [line for line in deck.splitlines() if not re.match(r"\s*(smearing|degauss) =", line)]
    text = "\n".join(lines).replace("occupations = 'smearing'", "occupations = 'from_input'")
    return f"{text}\nOCCUPATIONS\n" + "\n".join(f"{electrons:.10f}" for electrons in filling) + "\n"


def check_levels_in_box(pseudo: Pseudopotential, levels: tuple[Level, ...],
                        cutoffs_Ry: tuple[float, float]) -> BoxCheck:
    """Refuse a set whose levels in the box are not those of the all-electron atom; parameters as
    ``levels_in_box``.

    Before that is called a ghost, a cut-off higher by 1.6 is tried.

    Raises
    ------
    ComputationError
        When a level is off, or a shell is split: naming the cut-off that suffices, or that more of
        it does not help.
    """
    check = levels_in_box(pseudo, levels, cutoffs_Ry)
    if not check.agrees:
        wave, density = cutoffs_Ry
        higher = levels_in_box(pseudo, levels, (_HIGHER * wave, _HIGHER * density))
        raise ComputationError(why_off(pseudo.path.name, (check, higher)))
    return check


def scan_cutoffs(pseudo: Pseudopotential, levels: tuple[Level, ...], wanted_Ry: Sequence[float],
                 density_over_wave: float) -> tuple[BoxCheck, ...]:
    """Return the check at several cut-offs, rising.

    Parameters
    ----------
    pseudo, levels
        As in ``levels_in_box``.
    wanted_Ry
        Cut-offs of the wave functions.
    density_over_wave
        That of the density over each of them.
    """
    return tuple(levels_in_box(pseudo, levels, (wave, wave * density_over_wave))
                 for wave in sorted(set(wanted_Ry)))


def sufficient(checks: Sequence[BoxCheck]) -> BoxCheck | None:
    """Return the lowest cut-off from which on all agree; None when the highest does not."""
    found = None
    for check in reversed(checks):
        if not check.agrees:
            break
        found = check
    return found


def why_off(name: str, checks: Sequence[BoxCheck]) -> str:
    """Return what is wrong with a set whose levels are off at one of several cut-offs, rising: the
    cut-off, if a higher one helps or levels still move with it, else the set.

    Parameters
    ----------
    name
        Of the set's file.
    checks
        Of which the first or the last does not agree.
    """
    first, last, enough = checks[0], checks[-1], sufficient(checks)
    if enough is not None:
        return (f"{_said(name, first)}: the cut-off is too low; {enough.ecutwfc_Ry:g} /"
                f" {enough.ecutrho_Ry:g} Ry suffice (off by {enough.worst.error_eV:.2f} eV there)")
    if len(checks) < 2:
        return (f"{_said(name, last)}: one cut-off does not tell whether it is too low or the set"
                " wrong; give higher ones too")
    before = checks[-2]
    moved = _moved_eV(before, last)
    between = f"from {before.ecutwfc_Ry:g} to {last.ecutwfc_Ry:g} Ry"
    steps = math.log(last.ecutwfc_Ry / before.ecutwfc_Ry) / math.log(_HIGHER)
    if moved > steps * max(ALLOWED_EV, _SHARE * last.worst.error_eV):
        return (f"{_said(name, last)}, and levels still move by {moved:.2f} eV {between}: the"
                " cut-off is too low to judge the set; look for one that suffices with --cutoffs")
    return (f"{_said(name, last)}, and a higher cut-off does not help (levels move by"
            f" {moved:.2f} eV {between}): a ghost state, or radii too large; change the recipe")


def _moved_eV(one: BoxCheck, other: BoxCheck) -> float:
    """Return by how much a level or a splitting differs at most between two cut-offs."""
    return max(max(abs(a.plane_wave_eV - b.plane_wave_eV), abs(a.split_eV - b.split_eV))
               for a, b in zip(one.levels, other.levels, strict=True))


def _said(name: str, check: BoxCheck) -> str:
    worst = check.worst
    if worst.error_eV == worst.split_eV:
        return (f"level {worst.label} of {name} is split by {worst.split_eV:.2f} eV in a box at"
                f" {check.ecutwfc_Ry:g} Ry")
    return (f"level {worst.label} of {name} lies at {worst.plane_wave_eV:.2f} eV in a box at"
            f" {check.ecutwfc_Ry:g} Ry, {worst.all_electron_eV:.2f} eV in the all-electron atom")
