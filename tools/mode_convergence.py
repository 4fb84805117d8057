"""How a mode of Quantum ESPRESSO moves with cut-off, k points and cell: one run for each.

    python tools/mode_convergence.py MODES.json --store FOLDER --out TABLE.csv

The crystal is displaced along the first mode of the file. Its forces F(Q) give Φe = −F/Q on the
fly, and the change ΔΦe between two settings gives, to first order, the new energy ω'² = ω² + e·ΔΦe
and the new pattern e' = e + Σ_i e_i (e_i·ΔΦe)/(ω² − ω_i²), e and e_i being the modes of the file, Σ
m|e|² = 1 (perturbation of a symmetric eigenvalue problem). The relaxed atoms and the charges are
those of the file: what they change is not in the table. By symmetry the forces of the undisplaced
crystal have no part along a polar mode of a centrosymmetric crystal.
"""

import argparse
import dataclasses
import sys
from pathlib import Path

import numpy as np

from perovskite_polaron.errors import InputError, PolaronError
from perovskite_polaron.files import csv_text, write_atomically
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.octahedra import class_ratios, find_framework, rms_by_class
from perovskite_polaron.phonons.distortion import distort, sign_equivalent
from perovskite_polaron.phonons.modes import Modes, read_modes
from perovskite_polaron.units import HBAR2_PER_AMU_A2_EV
from perovskite_polaron.workflow.execute import run_jobs
from perovskite_polaron.workflow.forces import ForceSettings
from perovskite_polaron.workflow.jobs import Job, pw_job
from perovskite_polaron.workflow.store import Store

DISPLACEMENT_A = 0.02


def variations() -> dict[str, tuple[ForceSettings, float]]:
    """Return name -> settings and factor of the lattice vectors; the first is that of the modes."""
    base = ForceSettings()

    def other(factor: float = 1.0, **pw: object) -> tuple[ForceSettings, float]:
        changed = dataclasses.replace(base.pw, **pw)  # type: ignore[arg-type]
        return dataclasses.replace(base, pw=changed), factor

    return {
        "35/280 Ry, 2×2×1": other(),
        "45/360 Ry": other(ecutwfc_Ry=45.0, ecutrho_Ry=360.0),
        "k points 2×2×2": other(kpoints=(2, 2, 2)),
        "k points 3×3×2": other(kpoints=(3, 3, 2)),
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


def main() -> None:
    """Run the calculations and write the table."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modes",
                        help="mode file of `polaron modes --forces qe`, the mode in question first")
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    modes = read_modes(args.modes)
    crystal = modes.crystal
    (point,) = distort(crystal, modes[0], [DISPLACEMENT_A], "max_A")
    if not sign_equivalent(crystal, point.displacement_A):
        raise InputError(f"{args.modes}: −Q of the first mode is no image of +Q: only a polar mode"
                         " can be checked so")
    jobs: dict[str, Job] = {}
    for name, (settings, factor) in variations().items():
        moved = point.crystal
        jobs[name] = job(f"vary-{len(jobs)}",
                         dataclasses.replace(moved, lattice_A=factor * moved.lattice_A), settings)
    store = Store(args.store)
    run_jobs(list(jobs.values()), store, ranks=1, jobs_at_once=2,
             report=lambda e: print(e.what, e.job.label, e.detail))
    stiffness = {}
    for name, one in jobs.items():
        record = store.result(one)
        assert record is not None
        stiffness[name] = -np.array(record["forces_eV_A"]) / point.amplitude_sqrt_amu_A[0]
    framework = find_framework(crystal)
    rows = []
    first = next(iter(stiffness.values()))
    for found in stiffness.values():
        energy, pattern = perturbed(modes, found - first)
        classes = rms_by_class(framework, (pattern**2).sum(axis=1))
        ratio = class_ratios(classes)
        rows.append((energy, ratio["axial_to_equatorial"], ratio["axial_to_B"],
                     classes["A"] / classes["axial_X"]))
    names = ("energy_meV", "axial_to_equatorial", "axial_to_B", "A_to_axial")
    text = csv_text({"setting": list(stiffness),
                     **dict(zip(names, np.array(rows, dtype=np.float64).round(3).T, strict=True))})
    write_atomically(args.out, text)
    print(text)


if __name__ == "__main__":
    try:
        main()
    except PolaronError as error:
        sys.exit(f"error: {error}")
