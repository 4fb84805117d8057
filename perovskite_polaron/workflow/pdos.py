"""The projected density of states of one crystal: its jobs, in a store, and from their results to states and names."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from perovskite_polaron.errors import ComputationError, InputError
from perovskite_polaron.espresso.program import program_version
from perovskite_polaron.espresso.projwfc import PROJECTIONS, Projections, load_projections, projwfc_deck, summed
from perovskite_polaron.espresso.pw import PwSettings
from perovskite_polaron.espresso.upf import Pseudopotential, check_for_projection
from perovskite_polaron.files import beside
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.files import read_crystal
from perovskite_polaron.lattice.symmetry import Symmetry, find_symmetry, grid_for, kpoint_names
from perovskite_polaron.settings import read_tables
from perovskite_polaron.spectra.projected import ProjectedStates, Shell
from perovskite_polaron.workflow.jobs import Job, digest_of, plan, pseudo_for, pw_job
from perovskite_polaron.workflow.store import Store
from perovskite_polaron.workflow.study import Study

# Keys of pw.x that give the wave functions two spins or two components, and their values that do not.
_SPIN = {"nspin": 1, "noncolin": False, "lspinorb": False}
_SPILLING_MATCH = 1e-3


@dataclass(frozen=True)
class PdosSettings:
    """How a crystal that is in no study is computed: the tables ``[pw]`` and ``[pseudopotentials]`` of a TOML file.

    own_grid: the file names kpoints; else they follow from the size of the cell.
    """

    pw: PwSettings = field(default_factory=PwSettings)
    own_grid: bool = False
    pseudopotentials: Mapping[str, str] = field(default_factory=dict)
    folder: Path = Path()

    def file(self, name: str) -> str:
        """Return a file named in the settings as a path: relative names are relative to the settings file."""
        return beside(self.folder, name)


def read_pdos_settings(path: str | Path) -> PdosSettings:
    """Read the settings from a TOML file. Raises InputError with every problem at once."""
    settings, given = read_tables(path, {"pw": PwSettings, "pseudopotentials": dict})
    return PdosSettings(**settings, own_grid="kpoints" in given["pw"], folder=Path(path).parent)


@dataclass(frozen=True)
class Subject:
    """What is computed: a crystal, the settings of its density, and the job that computes it."""

    name: str
    crystal: Crystal
    symmetry: Symmetry
    pw: PwSettings
    ground: Job


def subject_of_crystal(source: str, settings: PdosSettings) -> Subject:
    """Return a crystal, a file or built-in, as a subject. Raises InputError as read_crystal and pseudo_for do."""
    crystal = read_crystal(source)
    symmetry = find_symmetry(crystal)
    name = re.sub(r"[^A-Za-z0-9_.+-]", "-", Path(source).stem).lstrip(".-")[:40] or "crystal"
    species = {s: pseudo_for(s, settings.pseudopotentials, settings.file) for s in dict.fromkeys(crystal.species)}
    electrons = sum(species[s].z_valence for s in crystal.species)
    pw = settings.pw if settings.own_grid else replace(settings.pw, kpoints=grid_for(crystal))
    _check(pw, electrons, crystal)
    ground = pw_job("ground", name, crystal, species, pw, electrons, symmetry=symmetry)
    return Subject(name, crystal, symmetry, pw, ground)


def subject_of_study(study: Study, name: str | None) -> Subject:
    """Return a structure of a study (default: its reference), with the study's own job of its ground state.

    Raises InputError as plan does, or when the study has no such structure.
    """
    structures = {one.structure.name: one for one in plan(study)}
    chosen = structures.get(name or study.reference)
    if chosen is None:
        raise InputError(f"{study.path} has no structure {name!r}: it has {', '.join(structures)}")
    structure = chosen.structure
    grid = {k: v for k in ("kpoints", "kpoint_shift") if (v := getattr(structure.settings, k)) is not None}
    pw = replace(study.pw, **grid)
    _check(pw, _electrons(structure.crystal, chosen.ground), structure.crystal)
    return Subject(structure.name, structure.crystal, structure.symmetry, pw, chosen.ground)


def _electrons(crystal: Crystal, ground: Job) -> float:
    sets = _sets(ground)
    return sum(sets[s].z_valence for s in crystal.species)


def _sets(ground: Job) -> dict[str, Pseudopotential]:
    return {label: pseudo for label, pseudo in ground.pseudos if isinstance(pseudo, Pseudopotential)}


def _check(pw: PwSettings, electrons: float, crystal: Crystal) -> None:
    if round(electrons) % 2 or abs(electrons - round(electrons)) > 1e-6:
        raise InputError(
            f"{crystal.label} has {electrons:g} electrons: band edges need an insulator, with an even number"
        )
    given = {key.lower(): value for key, value in pw.system.items()}
    for key, none in _SPIN.items():
        if given.get(key, none) != none:
            raise InputError(
                f"pw.system.{key} is not supported by the projected density of states: leave it out, or use a copy"
                " of the settings without it"
            )


@dataclass(frozen=True)
class PdosJobs:
    """The jobs of one subject, each after the one it starts from, and the grid and number of the bands."""

    ground: Job
    bands: Job
    pdos: Job
    kpoints: tuple[int, int, int]
    count: int

    def all(self) -> list[Job]:
        """Every job, each after the one it starts from."""
        return [self.ground, self.bands, self.pdos]


def plan_pdos(
    subject: Subject, kpoints: tuple[int, int, int] | None = None, empty_bands: int | None = None
) -> PdosJobs:
    """Return the jobs of a projected density of states.

    kpoints: grid of the bands, from Γ; default twice that of the density in each direction, which holds the density's
    points, Γ and the points on the faces of the zone. empty_bands: default a quarter of the filled ones, at least six.
    Raises InputError for a pseudopotential without atomic wave functions, MissingProgramError without projwfc.x.
    """
    crystal, sets = subject.crystal, _sets(subject.ground)
    for pseudo in sets.values():
        check_for_projection(pseudo)
    version = program_version("projwfc.x")
    electrons = _electrons(crystal, subject.ground)
    filled = round(electrons / 2)
    if empty_bands is not None and empty_bands < 1:
        raise InputError(f"{empty_bands} empty bands show no conduction band: give 1 or more")
    count = filled + (empty_bands or max(6, -(-filled // 4)))
    a, b, c = subject.pw.kpoints
    grid = kpoints or (2 * a, 2 * b, 2 * c)
    pw = replace(subject.pw, kpoints=grid, kpoint_shift=(0, 0, 0))
    bands = pw_job(
        "bands", subject.name, crystal, sets, pw, electrons,
        parent=subject.ground, symmetry=subject.symmetry, version=subject.ground.version, bands=count,
    )  # fmt: skip
    deck = projwfc_deck()
    digest = digest_of("projwfc.x", deck, [bands.digest], version)
    pdos = Job("pdos", subject.name, deck, digest, 0.1 * bands.cost, bands.kpoints, parent=bands, version=version)
    return PdosJobs(subject.ground, bands, pdos, grid, count)


def collect_pdos(subject: Subject, jobs: PdosJobs, store: Store) -> tuple[ProjectedStates, dict[str, Any]]:
    """Return the states of finished jobs, and the record of how they were made (see projected_file).

    Raises ComputationError when a job has no result yet, or what was read does not add up to what projwfc.x printed.
    """
    records = [store.result(job) for job in jobs.all()]
    ground, bands, pdos = (r or {} for r in records)
    if not all(records):
        raise ComputationError(f"{jobs.pdos.label} has no projections in {store.root} yet: run it first")
    path = store.folder(jobs.pdos) / PROJECTIONS
    raw = load_projections(path)
    if hashlib.sha256(path.read_bytes()).hexdigest() != pdos["projections_sha256"]:
        raise ComputationError(f"{path} is not what this job wrote: delete that job's folder and run again")
    sets = _sets(jobs.ground)
    labels = {e: {s.index: s.label.lower() for s in pseudo.atomic_shells} for e, pseudo in sets.items()}
    states = projected_states(subject.crystal, subject.symmetry, raw, labels)
    if abs(states.spilling() - raw.printed_spilling) > _SPILLING_MATCH:
        raise ComputationError(
            f"the projections in {path} leave out {states.spilling():.4f} of the electrons, projwfc.x printed"
            f" {raw.printed_spilling:.4f}: delete that job's folder and run again"
        )
    pw = subject.pw
    return states, {
        "name": subject.name,
        "crystal": subject.crystal.name,
        "space_group": f"{subject.symmetry.symbol} ({subject.symmetry.number})",
        "settings": f"{pw.ecutwfc_Ry:g}/{pw.ecutrho_Ry:g} Ry, density on {_times(pw.kpoints)} k points,"
        f" {jobs.count} bands on {_times(jobs.kpoints)} from Γ",
        "pw": asdict(pw),
        "bands_kpoints": list(jobs.kpoints),
        "bands": jobs.count,
        "printed_spilling": raw.printed_spilling,
        "total_energy_eV": ground["total_energy_eV"],
        "projected_onto": {
            element: " ".join(s.label.lower() for s in pseudo.atomic_shells if s.occupation >= 0)
            for element, pseudo in sets.items()
        },
        "pseudopotentials": {element: pseudo.digest for element, pseudo in sets.items()},
        "jobs": [
            {k: r.get(k) for k in ("kind", "digest", "program", "program_version", "polaron_version",
                                   "polaron_revision", "finished", "wall_seconds", "ranks")}
            for r in (ground, bands, pdos)
        ],
    }  # fmt: skip


def _times(grid: tuple[int, int, int]) -> str:
    return "×".join(map(str, grid))


def projected_states(
    crystal: Crystal, symmetry: Symmetry, raw: Projections, labels: Mapping[str, Mapping[int, str]]
) -> ProjectedStates:
    """Return the states with the projections summed over equivalent atoms.

    labels: element -> place of the wave function in its UPF file, from 1 -> shell (``4p``).
    Raises ComputationError when the projections are onto other atoms or wave functions than these.
    """
    found: dict[Shell, int] = {}
    columns = []
    for a, place in zip(raw.atom.tolist(), raw.shell.tolist(), strict=True):
        label = labels.get(crystal.species[a], {}).get(place) if a < len(crystal) else None
        if label is None:
            raise ComputationError(
                f"projwfc.x saw wave function {place} of atom {a + 1}, which {crystal.label} and its pseudopotentials"
                " do not have: delete that job's folder and run again"
            )
        first = int(symmetry.equivalent_atoms[a])
        site = f"{crystal.species[first]}{first + 1}-{symmetry.wyckoff[first]}"
        shell = Shell(crystal.species[a], label, site, int((symmetry.equivalent_atoms == first).sum()))
        columns.append(found.setdefault(shell, len(found)))
    return ProjectedStates(
        raw.energies_eV,
        raw.kpoints,
        kpoint_names(crystal, symmetry, raw.kpoints),
        raw.weights,
        summed(raw.shares, np.array(columns, dtype=np.int64), len(found)),
        tuple(found),
        raw.electrons,
    )
