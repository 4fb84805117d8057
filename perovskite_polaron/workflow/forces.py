"""Relaxation, forces of displaced cells and the response to an electric field, computed with Quantum ESPRESSO as resumable jobs."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.crystal import Crystal
from perovskite_polaron.errors import ComputationError, InputError
from perovskite_polaron.espresso.ph import FieldResponse, PhSettings, ph_deck
from perovskite_polaron.espresso.programs import program_version
from perovskite_polaron.espresso.pw import PwSettings, RelaxSettings
from perovskite_polaron.espresso.upf import Pseudopotential
from perovskite_polaron.files import beside, read_toml
from perovskite_polaron.options import fill, option
from perovskite_polaron.workflow.jobs import Job, digest_of, pseudo_for, pw_job
from perovskite_polaron.workflow.store import Store

_TABLES = ("pw", "relax", "response", "pseudopotentials")


@dataclass(frozen=True)
class ResponseSettings(PhSettings):
    """Settings of the electric-field response; its k grid is denser than the density's, for the charges need it."""

    kpoints: tuple[int, int, int] = option((2, 2, 4), low=1, high=99)
    kpoint_shift: tuple[int, int, int] = option((1, 1, 1), low=0, high=1)


@dataclass(frozen=True)
class ForceSettings:
    """How forces and charges are computed: the tables ``[pw]``, ``[relax]``, ``[response]`` and ``[pseudopotentials]`` of
    a TOML file.

    pw differs from a study's in one default: conv_thr_Ry = 1e-10, for the differences of forces are small.
    """

    pw: PwSettings = field(default_factory=lambda: PwSettings(conv_thr_Ry=1e-10))
    relax: RelaxSettings = field(default_factory=RelaxSettings)
    response: ResponseSettings = field(default_factory=ResponseSettings)
    pseudopotentials: Mapping[str, str] = field(default_factory=dict)
    folder: Path = Path()

    def file(self, name: str) -> str:
        """Return a file named in the settings as a path: relative names are relative to the settings file."""
        return beside(self.folder, name)


def read_force_settings(path: str | Path) -> ForceSettings:
    """Read the settings from a TOML file. Raises InputError with every problem at once."""
    table = read_toml(path, "settings file (TOML)")
    problems = [
        f"{name!r} is not one of the tables {', '.join(_TABLES)}"
        for name in table
        if name not in _TABLES or not isinstance(table[name], dict)
    ]
    default = ForceSettings(folder=Path(path).parent)
    pw = fill(PwSettings, {"conv_thr_Ry": default.pw.conv_thr_Ry} | table.get("pw", {}), "[pw]", problems)
    relax = fill(RelaxSettings, table.get("relax", {}), "[relax]", problems)
    response = fill(ResponseSettings, table.get("response", {}), "[response]", problems)
    if problems or pw is None or relax is None or response is None:
        raise InputError(f"{path}: " + " | ".join(problems))
    named = table.get("pseudopotentials", {})
    return dataclasses.replace(default, pw=pw, relax=relax, response=response, pseudopotentials=named)


@dataclass(frozen=True)
class ForceJobs:
    """The jobs of one crystal's lattice dynamics. ``rest`` and ``dense`` are the cell at rest, on either k grid."""

    rest: Job
    displaced: tuple[Job, ...]
    dense: Job
    response: Job

    def all(self) -> list[Job]:
        """Every job, each after the one it starts from."""
        return [self.rest, *self.displaced, self.dense, self.response]


def plan_relaxation(crystal: Crystal, settings: ForceSettings, free_cell: bool) -> Job:
    """Return the job that brings the crystal to rest, its space group kept, in a fixed or a free cell.

    Raises InputError as plan_forces does.
    """
    species, electrons = _valence(crystal, settings)
    relax = {"relax": settings.relax, "free_cell": free_cell}
    return pw_job("relax", "rest", crystal, species, settings.pw, electrons, **relax)  # type: ignore[arg-type]


def relaxed_crystal(crystal: Crystal, job: Job, store: Store) -> Crystal:
    """Return the crystal at rest, in the order of the atoms given, from the result of its relaxation.

    Raises ComputationError when the job has no result yet.
    """
    record = _record(store, job)
    return dataclasses.replace(
        crystal, lattice_A=np.array(record["lattice_A"]), positions=np.array(record["positions"])
    )


def plan_forces(crystal: Crystal, displaced: Sequence[Crystal], settings: ForceSettings) -> ForceJobs:
    """Return the jobs that give the forces of the displaced cells, and ε∞ and the Born charges of the cell at rest.

    Raises InputError for an element without a pseudopotential, or a metal (an odd number of electrons).
    """
    species, electrons = _valence(crystal, settings)
    rest = pw_job("force", "rest", crystal, species, settings.pw, electrons)
    moved = tuple(
        pw_job("force", f"displaced-{k + 1:02d}", cell, species, settings.pw, electrons, parent=rest)
        for k, cell in enumerate(displaced)
    )
    grid = dataclasses.replace(
        settings.pw, kpoints=settings.response.kpoints, kpoint_shift=settings.response.kpoint_shift
    )
    dense = pw_job("ground", "rest-dense", crystal, species, grid, electrons)
    deck, version = ph_deck(settings.response), program_version("ph.x")
    # Three field directions of about ten iterations, each like one of the band calculation with its own potential.
    response = Job(
        "response",
        "electric-field",
        deck,
        digest_of("ph.x", deck, [dense.digest], version),
        15 * dense.cost,
        dense.kpoints,
        parent=dense,
        version=version,
    )
    return ForceJobs(rest, moved, dense, response)


def collect_forces(jobs: ForceJobs, store: Store) -> tuple[list[NDArray[np.float64]], FieldResponse]:
    """Return the forces (n, 3), eV/Å, of each displaced cell, and the field response, from the results in the store.

    Raises ComputationError when a job has no result yet.
    """
    forces = [np.array(_record(store, job)["forces_eV_A"]) for job in jobs.displaced]
    record = _record(store, jobs.response)
    return forces, FieldResponse(np.array(record["epsilon_inf"]), np.array(record["born_e"]))


def _valence(crystal: Crystal, settings: ForceSettings) -> tuple[dict[str, Pseudopotential], float]:
    """Return the pseudopotentials of the crystal's elements and the number of electrons they leave; refuse a metal."""
    species = {
        element: pseudo_for(element, settings.pseudopotentials, settings.file)
        for element in dict.fromkeys(crystal.species)
    }
    electrons = sum(species[s].z_valence for s in crystal.species)
    if settings.pw.occupations == "auto" and round(electrons) % 2:
        raise InputError(f"{crystal._label} has an odd number of electrons ({electrons:g}): charges need an insulator")
    return species, electrons


def _record(store: Store, job: Job) -> dict[str, list[list[float]]]:
    record = store.result(job)
    if record is None:
        raise ComputationError(f"{job.label} has no result in {store.root} yet: run it first")
    return record
