"""The projected density of states of one crystal: its jobs, and from their results to states and
names.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from perovskite_polaron.errors import ComputationError, InputError, require
from perovskite_polaron.espresso.projwfc import (
    PROJECTIONS, Projections, ProjwfcCalculation, load_projections, summed)
from perovskite_polaron.espresso.pw import PwSettings, labels_of
from perovskite_polaron.espresso.upf import Pseudopotential, check_for_projection
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.files import read_crystal
from perovskite_polaron.lattice.symmetry import Symmetry, find_symmetry, grid_for, kpoint_names
from perovskite_polaron.settings import option, read_tables
from perovskite_polaron.spectra.projected import ProjectedStates, Shell
from perovskite_polaron.workflow.jobs import CrystalSettings, Job, own_pw, plan, pw_job
from perovskite_polaron.workflow.store import Store
from perovskite_polaron.workflow.study import Study, need_xspectra

_SPILLING_MATCH = 1e-3
# Smeared occupations of an insulator differ from whole electrons of a spin by less.
_WHOLE = 1e-3
_JOB_KEYS = ("kind", "digest", "program", "program_version", "polaron_version", "polaron_revision",
             "finished", "wall_seconds", "ranks")


@dataclass(frozen=True)
class MomentSettings:
    """What a crystal's file does not say: the magnetic moment of each atom to begin with."""

    moments_muB: tuple[float, ...] | None = option(None, low=-10, high=10)


@dataclass(frozen=True)
class PdosSettings(CrystalSettings):
    """How a crystal that is in no study is computed: the tables ``[pw]``, ``[pseudopotentials]``
    and ``[crystal]``.

    Attributes
    ----------
    own_grid
        Whether the file names kpoints or their spacing; else they follow from the size of the cell.
    """

    crystal: MomentSettings = MomentSettings()
    own_grid: bool = False


def read_pdos_settings(path: str | Path) -> PdosSettings:
    """Read the settings from a TOML file.

    Raises
    ------
    InputError
        With every problem at once.
    """
    settings, given = read_tables(path, {"pw": PwSettings, "pseudopotentials": dict,
                                         "crystal": MomentSettings})
    own_grid = not {"kpoints", "kpoint_spacing_1_A"}.isdisjoint(given["pw"])
    return PdosSettings(**settings, own_grid=own_grid, folder=Path(path).parent)


@dataclass(frozen=True)
class Subject:
    """What is computed: a crystal, the settings of its density, and the job that computes it."""

    name: str
    crystal: Crystal
    symmetry: Symmetry
    pw: PwSettings
    ground: Job

    @property
    def species(self) -> dict[str, Pseudopotential]:
        """The pseudopotential of each species: an element, or its atoms of one moment."""
        return {label: p for label, p in self.ground.pseudos if isinstance(p, Pseudopotential)}

    @property
    def sets(self) -> dict[str, Pseudopotential]:
        """The pseudopotential of each element."""
        return {p.element: p for p in self.species.values()}

    @property
    def electrons(self) -> float:
        """Number of valence electrons of the cell."""
        return sum(self.sets[s].z_valence for s in self.crystal.species)

    @property
    def polarised(self) -> bool:
        """Whether its two spins are computed apart."""
        return self.crystal.moments_muB is not None or bool(self.pw.spin_key)

    @property
    def filled(self) -> int:
        """Number of filled bands, of the spin that has more of them, as far as it is known before.
        """
        moment = float(self.pw.given().get("tot_magnetization",
                                           sum(self.crystal.moments_muB or ())))
        return math.ceil((self.electrons + abs(moment)) / 2 - 1e-9)


def subject_of_crystal(source: str, settings: PdosSettings) -> Subject:
    """Return a crystal, a file or built-in, as a subject.

    Raises
    ------
    InputError
        When it cannot be an insulator, or its spins are not collinear; others as ``read_crystal``
        and ``pseudo_for``.
    """
    crystal = read_crystal(source)
    if settings.crystal.moments_muB is not None:
        crystal = replace(crystal, moments_muB=settings.crystal.moments_muB)
    symmetry = find_symmetry(crystal)
    name = re.sub(r"[^A-Za-z0-9_.+-]", "-", Path(source).stem).lstrip(".-")[:40] or "crystal"
    lattice = crystal.lattice_A
    pw = settings.pw.on_grid(settings.pw.grid(lattice) if settings.own_grid else grid_for(lattice))
    sets = settings.pseudos(crystal)
    species = {label: sets[element] for label, element in zip(labels_of(crystal, None),
                                                              crystal.species, strict=True)}
    ground = pw_job("ground", name, crystal, species, pw, symmetry=symmetry)
    return _insulating(Subject(name, crystal, symmetry, pw, ground))


def subject_of_study(study: Study, name: str | None) -> Subject:
    """Return a structure of a study (default: its reference), with the study's own job of its
    density.

    Raises
    ------
    InputError
        When the study has no such structure, it cannot be an insulator, or its spins are not
        collinear; others as ``plan``.
    """
    need_xspectra(study, "polaron pdos")
    structures = {one.structure.name: one for one in plan(study)}
    chosen = structures.get(name or study.reference)
    if chosen is None or chosen.ground is None:
        raise InputError(f"{study.path} has no structure {name!r}: it has {', '.join(structures)}")
    one = chosen.structure
    return _insulating(Subject(one.name, one.crystal, one.symmetry, own_pw(study, one),
                               chosen.ground))


def _insulating(subject: Subject) -> Subject:
    electrons, pw = subject.electrons, subject.pw
    # Two collinear spins are known, and may hold an odd number of electrons together.
    collinear = {key: value for key, value in pw.system.items()
                 if (key.lower(), value) != ("nspin", 2)}
    if key := replace(pw, system=collinear).spin_key:
        raise InputError(f"pw.system.{key} is not supported by the projected density of states:"
                         " leave it out, or use a copy of the settings without it")
    known = subject.crystal.moments_muB is not None or "tot_magnetization" in pw.given()
    require(known or not pw.spin_key, "pw.system.nspin = 2 says nothing of the moments to begin"
            " with: give moments_muB, in a study's structure or in the table [crystal]")
    whole = abs(electrons - round(electrons)) < 1e-6
    if not whole or (round(electrons) % 2 and not subject.polarised):
        raise InputError(f"{subject.crystal.label} has {electrons:g} electrons: band edges need an"
                         " insulator, with an even number, or with magnetic moments")
    return subject


@dataclass(frozen=True)
class PdosJobs:
    """The jobs of one subject, each after the one it starts from, and the grid and number of the
    bands.
    """

    ground: Job
    bands: Job
    pdos: Job
    kpoints: tuple[int, int, int]
    count: int

    def all(self) -> list[Job]:
        """Every job, each after the one it starts from."""
        return [self.ground, self.bands, self.pdos]


def plan_pdos(subject: Subject, kpoints: tuple[int, int, int] | None = None,
              empty_bands: int | None = None) -> PdosJobs:
    """Return the jobs of a projected density of states.

    Parameters
    ----------
    subject
        What is computed.
    kpoints
        Grid of the bands, from Γ; default twice that of the density in each direction, which holds
        the density's points, Γ and the points on the faces of the zone.
    empty_bands
        Default a quarter of the filled ones, at least six.

    Raises
    ------
    InputError
        For a pseudopotential without atomic wave functions.
    MissingProgramError
        Without projwfc.x.
    """
    for pseudo in subject.sets.values():
        check_for_projection(pseudo)
    filled = subject.filled
    if empty_bands is not None and empty_bands < 1:
        raise InputError(f"{empty_bands} empty bands show no conduction band: give 1 or more")
    count = filled + (empty_bands or max(6, -(-filled // 4)))
    a, b, c = subject.pw.grid(subject.crystal.lattice_A)
    grid = kpoints or (2 * a, 2 * b, 2 * c)
    bands = pw_job("bands", subject.name, subject.crystal, subject.species,
                   replace(subject.pw.on_grid(grid), kpoint_shift=(0, 0, 0)), parent=subject.ground,
                   symmetry=subject.symmetry, version=subject.ground.version, bands=count)
    pdos = Job.of("pdos", subject.name, ProjwfcCalculation(), 0.1 * bands.cost, bands.kpoints,
                  parent=bands)
    return PdosJobs(subject.ground, bands, pdos, grid, count)


def collect_pdos(subject: Subject, jobs: PdosJobs,
                 store: Store) -> tuple[ProjectedStates, dict[str, Any]]:
    """Return the states of finished jobs, and the record of how they were made.

    Raises
    ------
    ComputationError
        When a job has no result yet, or what was read does not add up to what projwfc.x printed.
    """
    records = [store.result(job) for job in jobs.all()]
    ground, bands, pdos = (r or {} for r in records)
    require(all(records), f"{jobs.pdos.label} has no projections in {store.root} yet: run it"
            " first", ComputationError)
    path = store.folder(jobs.pdos) / PROJECTIONS
    raw = load_projections(path)
    sets = subject.sets
    labels = {element: {s.index: s.label.lower() for s in pseudo.atomic_shells}
              for element, pseudo in sets.items()}
    states = projected_states(subject.crystal, subject.symmetry, raw, labels)
    if abs(states.spilling() - raw.printed_spilling) > _SPILLING_MATCH:
        raise ComputationError(f"the projections in {path} leave out {states.spilling():.4f} of"
                               f" the electrons, projwfc.x printed {raw.printed_spilling:.4f}:"
                               " delete that job's folder and run again")
    pw, grid = subject.pw, subject.pw.grid(subject.crystal.lattice_A)
    return states, {
        "name": subject.name, "crystal": subject.crystal.name,
        "space_group": f"{subject.symmetry.symbol} ({subject.symmetry.number})",
        "settings": f"{pw.ecutwfc_Ry:g}/{pw.ecutrho_Ry:g} Ry, density on {_times(grid)} k"
                    f" points, {jobs.count} bands{' of each spin' if states.polarised else ''} on"
                    f" {_times(jobs.kpoints)} from Γ" + "".join(
                        f", U of {e} {u:g} eV" for e, u in pw.hubbard_U_eV.items()),
        "pw": asdict(pw), "bands_kpoints": list(jobs.kpoints), "bands": jobs.count,
        "printed_spilling": raw.printed_spilling, "total_energy_eV": ground["total_energy_eV"],
        "projected_onto": {element: " ".join(s.label.lower() for s in pseudo.atomic_shells
                                             if s.occupation >= 0)
                           for element, pseudo in sets.items()},
        "pseudopotentials": {element: pseudo.digest for element, pseudo in sets.items()},
        "jobs": [{k: r.get(k) for k in _JOB_KEYS} for r in (ground, bands, pdos)]}


def _times(grid: tuple[int, int, int]) -> str:
    return "×".join(map(str, grid))


def projected_states(crystal: Crystal, symmetry: Symmetry, raw: Projections,
                     labels: Mapping[str, Mapping[int, str]]) -> ProjectedStates:
    """Return the states with the projections summed over equivalent atoms.

    Parameters
    ----------
    crystal, symmetry
        What the projections are of.
    raw
        The projections.
    labels
        Element -> place of the wave function in its UPF file, from 1 -> shell (``4p``).

    Raises
    ------
    ComputationError
        When the projections are onto other atoms or wave functions than these, or the electrons of
        a spin are not a whole number.
    """
    moment = round(raw.moment_muB)
    odd = raw.spins.any() and (moment - round(raw.electrons)) % 2
    if odd or abs(raw.moment_muB - moment) > _WHOLE:
        raise ComputationError(f"{crystal.label} has a moment of {raw.moment_muB:.3f} µB, which"
                               " does not leave whole filled bands of each spin: it is a metal as"
                               " computed here; start from other moments or give hubbard_U_eV")
    found: dict[Shell, int] = {}
    columns = []
    for a, place in zip(raw.atom.tolist(), raw.shell.tolist(), strict=True):
        label = labels.get(crystal.species[a], {}).get(place) if a < len(crystal) else None
        if label is None:
            raise ComputationError(f"projwfc.x saw wave function {place} of atom {a + 1}, which"
                                   f" {crystal.label} and its pseudopotentials do not have: delete"
                                   " that job's folder and run again")
        first = int(symmetry.equivalent_atoms[a])
        site = f"{crystal.species[first]}{first + 1}-{symmetry.wyckoff[first]}"
        shell = Shell(crystal.species[a], label, site,
                      int((symmetry.equivalent_atoms == first).sum()))
        columns.append(found.setdefault(shell, len(found)))
    shares = summed(raw.shares, np.array(columns, dtype=np.int64), len(found))
    return ProjectedStates(raw.energies_eV, raw.kpoints,
                           kpoint_names(crystal, symmetry, raw.kpoints), raw.weights,
                           shares, tuple(found), raw.electrons, raw.spins, moment)
