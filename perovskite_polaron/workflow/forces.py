"""Relaxation, forces of displaced cells and the electric-field response, as resumable jobs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import ComputationError, require
from perovskite_polaron.espresso.ph import FieldResponse, PhCalculation, PhSettings
from perovskite_polaron.espresso.pw import PwSettings
from perovskite_polaron.espresso.upf import Pseudopotential
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.phonons.forces import displaced_cells, relax
from perovskite_polaron.phonons.readers import (
    Calculation, Charges, Direction, charges_of, from_forces)
from perovskite_polaron.phonons.response import (
    NEUTRALITY_E_PER_ATOM, Response, crystal_direction, neutral_response)
from perovskite_polaron.settings import option, read_tables
from perovskite_polaron.workflow.jobs import CrystalSettings, Job, pw_job
from perovskite_polaron.workflow.store import Store


@dataclass(frozen=True)
class ForcePwSettings(PwSettings):
    """Those of a study, but with tighter cycles, for differences of forces are small, and no empty
    bands.
    """

    empty_bands: int = option(0, low=0, high=10_000)
    conv_thr_Ry: float = option(1e-10, low=1e-14, high=1e-3)


@dataclass(frozen=True)
class ResponseSettings(PhSettings):
    """Settings of the electric-field response; the charges need a denser k grid than the density.

    Attributes
    ----------
    neutrality_e_per_atom
        How far the charges may miss neutrality, as ``neutral_response`` has it.
    """

    kpoints: tuple[int, int, int] = option((4, 4, 4), low=1, high=99)
    kpoint_shift: tuple[int, int, int] = option((1, 1, 1), low=0, high=1)
    neutrality_e_per_atom: float = option(NEUTRALITY_E_PER_ATOM, low=0, high=1)


@dataclass(frozen=True)
class RelaxSettings:
    """When a structure counts as relaxed: no force above max_force_eV_A, within max_steps steps."""

    max_force_eV_A: float = option(0.002, low=1e-5, high=0.1)
    max_steps: int = option(50, low=1, high=1000)


@dataclass(frozen=True)
class ForceSettings(CrystalSettings):
    """How forces and charges are computed: the tables ``[pw]``, ``[relax]``, ``[response]`` and
    ``[pseudopotentials]`` of a TOML file.
    """

    pw: PwSettings = field(default_factory=ForcePwSettings)
    relax: RelaxSettings = field(default_factory=RelaxSettings)
    response: ResponseSettings = field(default_factory=ResponseSettings)


def read_force_settings(path: str | Path) -> ForceSettings:
    """Read the settings from a TOML file.

    Raises
    ------
    InputError
        With every problem at once.
    """
    classes = {"pw": ForcePwSettings, "relax": RelaxSettings, "response": ResponseSettings,
               "pseudopotentials": dict}
    return ForceSettings(**read_tables(path, classes)[0], folder=Path(path).parent)


@dataclass(frozen=True)
class ForceJobs:
    """The jobs of one crystal's lattice dynamics.

    Attributes
    ----------
    rest
        The undisplaced cell for the forces.
    displaced
        The displaced cells.
    dense
        The undisplaced cell for the response, on its k grid.
    response
        The electric-field response.
    """

    rest: Job
    displaced: tuple[Job, ...]
    dense: Job
    response: Job

    def all(self) -> list[Job]:
        """Every job, each after the one it starts from."""
        return [self.rest, *self.displaced, self.dense, self.response]


def espresso_modes(crystal: Crystal, settings: ForceSettings, store: Store,
                   execute: Callable[[Sequence[Job]], None], *, direction: Direction | None = None,
                   relaxation: str = "positions", distance_A: float = 0.01,
                   charges: Charges | None = None, log: Any = None) -> Calculation:
    """Relax a crystal, and compute its Γ modes with the charges, all with Quantum ESPRESSO.

    Parameters
    ----------
    crystal
        The crystal to begin from.
    settings, store
        How forces and charges are computed, and where their jobs are kept.
    execute
        Runs the jobs that have no result yet.
    direction
        Of q → 0 for the macroscopic field; None for the transverse modes alone.
    relaxation
        What is relaxed before, as ``relax``.
    distance_A
        Displacement of the atoms.
    charges
        Known charges and ε∞, of this or of a like structure, instead of the hours of ph.x.
    log
        Stream for the steps of the relaxation.

    Raises
    ------
    InputError
        For a direction or distance that cannot be used, before hours of work, or a metal.
    """
    if direction is not None:
        crystal_direction(crystal, direction)
    # One grid for all, whatever a relaxation makes of the cell.
    settings = replace(settings, pw=settings.pw.on_grid(settings.pw.grid(crystal.lattice_A)))
    cells, _ = displaced_cells(crystal, distance_A)
    if relaxation != "none":
        calculator = espresso_calculator(
            crystal, settings, store, lambda job: execute([job]), stress=relaxation == "cell")
        crystal = relax(crystal, calculator, relaxation, settings.relax.max_force_eV_A,
                        settings.relax.max_steps, log)
        cells, _ = displaced_cells(crystal, distance_A)
    given = None if charges is None else charges_of(charges, crystal)
    jobs = plan_forces(crystal, cells, settings)
    execute(jobs.all() if given is None else [jobs.rest, *jobs.displaced])
    forces = collect_forces(jobs, store)
    response = given or _neutral(crystal, collect_response(jobs, store), settings)
    pw, grid = settings.pw, "×".join(map(str, settings.pw.grid(crystal.lattice_A)))
    provenance = (
        f"Quantum ESPRESSO, PBE, {pw.ecutwfc_Ry:g}/{pw.ecutrho_Ry:g} Ry, k points {grid};"
        f" relaxed: {relaxation}; displacement {distance_A:g}A")
    return from_forces(crystal, lambda _: forces, direction, response, distance_A, provenance)


def espresso_calculator(crystal: Crystal, settings: ForceSettings, store: Store,
                        run: Callable[[Job], None], stress: bool) -> Any:
    """Return pw.x as a calculator of ASE, each of whose calls is a job: what was done is not done
    again.

    Parameters
    ----------
    crystal
        Its elements and masses; the cell and positions are those of the calls.
    settings, store
        How the forces are computed, and where their jobs are kept.
    run
        Does a job that has no result. The calculator raises what it raises.
    stress
        Whether the stress is computed too.

    Raises
    ------
    InputError
        As ``plan_forces``.
    """
    from ase.calculators.calculator import Calculator, all_changes

    pseudos = _insulating(crystal, settings)

    class Espresso(Calculator):
        implemented_properties: Any = ["energy", "forces", "stress"][: 3 if stress else 2]
        calls = 0

        def calculate(self, atoms: Any = None, properties: Any = None,
                      system_changes: list[str] = all_changes) -> None:
            super().calculate(atoms, properties, system_changes)
            self.calls += 1
            moved = replace(crystal, lattice_A=atoms.cell.array,
                            positions=atoms.get_scaled_positions(wrap=False))
            job = pw_job("force", f"relax-{self.calls:02d}", moved, pseudos, settings.pw,
                         stress=stress)
            if store.result(job) is None:
                run(job)
            record = _record(store, job)
            self.results = {"energy": record["total_energy_eV"],
                            "forces": np.array(record["forces_eV_A"])}
            if stress:
                # Voigt's order.
                tensor = np.array(record["stress_eV_A3"])
                self.results["stress"] = tensor.ravel()[[0, 4, 8, 5, 2, 1]]

    return Espresso()


def plan_forces(crystal: Crystal, displaced: Sequence[Crystal],
                settings: ForceSettings) -> ForceJobs:
    """Return the jobs of the forces of the displaced cells, and of ε∞ and Born charges of the
    crystal.

    Raises
    ------
    InputError
        For an element without a pseudopotential, or a metal (an odd number of electrons).
    """
    pseudos, pw, grid = _insulating(crystal, settings), settings.pw, settings.response
    rest = pw_job("force", "rest", crystal, pseudos, pw)
    moved = tuple(pw_job("force", f"displaced-{k:02d}", cell, pseudos, pw, parent=rest)
                  for k, cell in enumerate(displaced, 1))
    dense = pw_job("ground", "rest-dense", crystal, pseudos,
                   replace(pw.on_grid(grid.kpoints), kpoint_shift=grid.kpoint_shift))
    # Three field directions of about ten iterations, each like one of the cycle, with its own
    # potential.
    response = Job.of("response", "electric-field", PhCalculation(settings.response),
                      15 * dense.cost, dense.kpoints, parent=dense)
    return ForceJobs(rest, moved, dense, response)


def collect_forces(jobs: ForceJobs, store: Store) -> list[Array]:
    """Return the forces (n, 3), eV/Å, of each displaced cell; ComputationError when a job has no
    result yet.
    """
    return [np.array(_record(store, job)["forces_eV_A"]) for job in jobs.displaced]


def collect_response(jobs: ForceJobs, store: Store) -> FieldResponse:
    """Return ε∞ and the Born charges as ph.x found them; errors as ``collect_forces``."""
    record = _record(store, jobs.response)
    return FieldResponse(np.array(record["epsilon_inf"]), np.array(record["born_e"]))


def _neutral(crystal: Crystal, found: FieldResponse, settings: ForceSettings) -> Response:
    return neutral_response(crystal, found.epsilon_inf, found.born_e, response_source(settings),
                            settings.response.neutrality_e_per_atom)


def response_source(settings: ForceSettings) -> str:
    """Return in a few words how ε∞ and the charges are computed, for reports."""
    return "ph.x, k points " + "×".join(map(str, settings.response.kpoints))


def _insulating(crystal: Crystal, settings: ForceSettings) -> dict[str, Pseudopotential]:
    """Return the pseudopotentials of the crystal's elements; refuse a metal."""
    pseudos = settings.pseudos(crystal)
    electrons = sum(pseudos[s].z_valence for s in crystal.species)
    require(settings.pw.occupations != "auto" or round(electrons) % 2 == 0, f"{crystal.label} has"
            f" an odd number of electrons ({electrons:g}): charges need an insulator")
    return pseudos


def _record(store: Store, job: Job) -> dict[str, Any]:
    record = store.result(job)
    if record is None:
        raise ComputationError(f"{job.label} has no result in {store.root} yet: run it first")
    return record
