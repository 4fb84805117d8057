"""How the LO modes of Quantum ESPRESSO move with k points, cut-off, cell and functional.

    python tools/mode_convergence.py C.json A.json B.json --store FOLDER --out TABLE --figure FIGURE

Each file is of `polaron modes --forces qe --settings`, one direction of q → 0, the mode in question
first; the first file gets every setting, the others the k grid alone. The crystal is displaced
along the mode, one run for each setting. Its forces F(Q) give Φe = −F/Q on the fly, and the change
ΔΦe between two settings gives, to first order, the new energy ω'² = ω² + e·ΔΦe and the new pattern
e' = e + Σ_i e_i (e_i·ΔΦe)/(ω² − ω_i²), e and e_i being the modes of the file, Σ m|e|² = 1
(perturbation of a symmetric eigenvalue problem). The relaxed atoms and the charges are those of the
file: what they change is not in the table. By symmetry the forces of the undisplaced crystal have
no part along a polar mode of a centrosymmetric crystal; they are computed on the denser grid as
well, and printed: how far from rest the atoms are there.
"""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from perovskite_polaron.errors import InputError, PolaronError
from perovskite_polaron.figures import style
from perovskite_polaron.files import csv_text, write_atomically
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.octahedra import class_ratios, find_framework, rms_by_class
from perovskite_polaron.phonons.distortion import distort, sign_equivalent
from perovskite_polaron.phonons.modes import Modes, read_modes
from perovskite_polaron.units import HBAR2_PER_AMU_A2_EV
from perovskite_polaron.workflow.execute import Event, run_jobs
from perovskite_polaron.workflow.forces import ForcePwSettings, ForceSettings
from perovskite_polaron.workflow.jobs import Job, pw_job
from perovskite_polaron.workflow.store import Store

DISPLACEMENT_A = 0.02


DENSER = "k points 4×4×4"


def variations() -> dict[str, tuple[ForceSettings, float]]:
    """Return name -> settings and factor of the lattice vectors; the first is that of the modes."""
    base = ForceSettings(pw=ForcePwSettings(kpoints=(2, 2, 2), kpoint_shift=(1, 1, 1)))

    def other(factor: float = 1.0, **pw: object) -> tuple[ForceSettings, float]:
        changed = dataclasses.replace(base.pw, **pw)  # type: ignore[arg-type]
        return dataclasses.replace(base, pw=changed), factor

    return {
        "35/280 Ry, 2×2×2, PBE": other(),
        DENSER: other(kpoints=(4, 4, 4)),
        "46/368 Ry": other(ecutwfc_Ry=46.0, ecutrho_Ry=368.0),
        "PBEsol": other(system={"input_dft": "pbesol"}),
        "cell −1 %": other(0.99),
        "cell +1 %": other(1.01),
    }


def job(name: str, crystal: Crystal, settings: ForceSettings) -> Job:
    """Return the job of one displaced crystal."""
    return pw_job("force", name, crystal, settings.pseudos(crystal), settings.pw)


def perturbed(modes: Modes, change: np.ndarray) -> tuple[float, np.ndarray]:
    """Return energy, meV, and pattern of the first mode to first order.

    change is its ΔΦe (n, 3), eV/Å² /sqrt(amu).
    """
    squares = (modes.energies_meV * 1e-3) ** 2 / HBAR2_PER_AMU_A2_EV
    patterns = modes.patterns.real
    coupling = np.einsum("mka,ka->m", patterns, change)
    gaps = np.where(np.arange(len(squares)) == 0, np.inf, squares[0] - squares)
    # Modes of another symmetry have no coupling, whatever their distance.
    weights = np.where(np.abs(coupling) < 1e-9, 0.0,
                       coupling / np.where(np.abs(gaps) < 1e-12, np.inf, gaps))
    energy = np.sqrt((squares[0] + coupling[0]) * HBAR2_PER_AMU_A2_EV) * 1e3
    return float(energy), patterns[0] + np.einsum("m,mka->ka", weights, patterns)


@dataclasses.dataclass(frozen=True)
class Checked:
    """One mode, its jobs by setting, and the amplitude (Å√amu) of the displacement."""

    modes: Modes
    axis: str
    jobs: dict[str, Job]
    amplitude: float

    def rows(self, store: Store) -> list[tuple[str, str, float, float, float, float]]:
        """Return of each setting axis, name, energy (meV), and ratios of axial to equatorial X, of
        axial X to B, and of A to axial X.
        """
        stiffness = {name: -forces(store, one) / self.amplitude for name, one in self.jobs.items()}
        framework, first = find_framework(self.modes.crystal), next(iter(stiffness.values()))
        rows = []
        for name, found in stiffness.items():
            energy, pattern = perturbed(self.modes, found - first)
            classes = rms_by_class(framework, (pattern**2).sum(axis=1))
            ratio = class_ratios(classes)
            rows.append((self.axis, name, energy, ratio["axial_to_equatorial"],
                         ratio["axial_to_B"], classes["A"] / classes["axial_X"]))
        return rows


def checked(path: str, names: Sequence[str]) -> Checked:
    """Return what is computed of the first mode of a file."""
    modes = read_modes(path)
    (point,) = distort(modes.crystal, modes[0], [DISPLACEMENT_A], "max_A")
    if modes.direction is None or not sign_equivalent(modes.crystal, point.displacement_A):
        raise InputError(f"{path}: only a polar mode with a direction, of which −Q is the image of"
                         " +Q, can be checked so")
    axis = "abc"[int(np.abs(modes.direction).argmax())]
    jobs = {}
    for name in names:
        settings, factor = variations()[name]
        moved = dataclasses.replace(point.crystal, lattice_A=factor * point.crystal.lattice_A)
        jobs[name] = job(f"{axis}-{name}".replace(" ", "-"), moved, settings)
    return Checked(modes, axis, jobs, float(point.amplitude_sqrt_amu_A[0]))


def forces(store: Store, one: Job) -> np.ndarray:
    """Return the forces (n, 3), eV/Å, of a job that is done."""
    record = store.result(one)
    assert record is not None
    return np.array(record["forces_eV_A"])


def draw(rows: Sequence[tuple[Any, ...]]) -> Any:
    """Draw the energy of every setting and direction; grey: the published energy."""
    names = list(dict.fromkeys(row[1] for row in rows))
    figure, (axes,) = style.panels(1, 1, (7.0, 3.0))
    axes.axvspan(17.5, 18.5, color="0.9")
    for colour, axis in zip(style.PALETTE, dict.fromkeys(row[0] for row in rows), strict=False):
        own = [row for row in rows if row[0] == axis]
        axes.plot([row[2] for row in own], [names.index(row[1]) for row in own], "o",
                  color=colour, label=f"LO along {axis}")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("energy of the LO mode (meV); grey: 18 meV, as published")
    style.legend(axes, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=8)
    return figure


def main() -> None:
    """Run the calculations; write table and figure."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modes", nargs="+")
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--figure", type=Path, required=True)
    args = parser.parse_args()
    every = list(variations())
    found = [checked(path, every if k == 0 else every[:2]) for k, path in enumerate(args.modes)]
    rest = job("rest", found[0].modes.crystal, variations()[DENSER][0])
    store = Store(args.store)
    run_jobs([job for one in found for job in one.jobs.values()] + [rest], store, ranks=1,
             jobs_at_once=1, report=say)
    rows = [row for one in found for row in one.rows(store)]
    names = ("axis", "setting", "energy_meV", "axial_to_equatorial", "axial_to_B", "A_to_axial")
    columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    text = csv_text({name: list(column) if name in names[:2] else np.round(column, 3)
                     for name, column in columns.items()})
    write_atomically(args.out, text)
    style.save(draw(rows), args.figure)
    print(text)
    size = np.linalg.norm(forces(store, rest), axis=1).max()
    print(f"largest force on the atoms of the modes, {DENSER}: {size:.4f} eV/Å")


def say(event: Event) -> None:
    """Print what begins and ends."""
    if event.what != "running":
        print(event.what, event.job.label, event.detail, flush=True)


if __name__ == "__main__":
    try:
        main()
    except PolaronError as error:
        sys.exit(f"error: {error}")
