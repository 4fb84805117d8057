"""What a job is: one run of one program, named by all that determines its result."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import tomli_w

from perovskite_polaron.espresso.ph import PhCalculation
from perovskite_polaron.espresso.projwfc import ProjwfcCalculation
from perovskite_polaron.espresso.pw import PwCalculation
from perovskite_polaron.espresso.upf import Pseudopotential
from perovskite_polaron.espresso.xspectra import XspectraCalculation
from perovskite_polaron.feff.calculations import AbsorptionCalculation, PotentialsCalculation
from perovskite_polaron.lattice.symmetry import Absorber
from perovskite_polaron.programs import Calculation
from perovskite_polaron.workflow.structures import StudyStructure

# Kind of job -> what runs it. pw.x: the ground state, the same with the absorber's core hole, a
# displaced cell for its forces, bands in the potential of a density; then spectra, the field
# response, projections. FEFF: the potentials of a site, and spectra in them.
KINDS: Mapping[str, type[Calculation]] = {
    "ground": PwCalculation, "hole": PwCalculation, "force": PwCalculation, "bands": PwCalculation,
    "xas": XspectraCalculation, "response": PhCalculation, "pdos": ProjwfcCalculation,
    "potentials": PotentialsCalculation, "absorption": AbsorptionCalculation}
# A symmetry operation in fractional coordinates: rows of the rotation, and the translation.
Operation = tuple[tuple[tuple[int, ...], ...], tuple[float, ...]]


class JobName:
    """What is enough to find a job in a store: its kind, label and digest."""

    kind: str
    label: str
    digest: str

    @property
    def runs(self) -> type[Calculation]:
        """What is known of the program that runs this job."""
        return KINDS[self.kind]

    @property
    def folder(self) -> str:
        """Name of this job's folder in the store."""
        return f"{self.kind}-{self.label}-{self.digest[:12]}"

    @property
    def input_name(self) -> str:
        """File name of the program's input."""
        return self.runs.program.removesuffix(".x") + self.runs.input_suffix

    @property
    def output_name(self) -> str:
        """File name of the program's standard output."""
        return self.runs.program.removesuffix(".x") + ".out"


@dataclass(frozen=True)
class PseudoName:
    """A pseudopotential by name only: its file is in the store."""

    element: str
    digest: str


@dataclass(frozen=True, eq=False)
class Job(JobName):
    """One run of one program.

    What changes the way to the result and not the result is no part of the digest: the initial
    density, and that one of two k points k and -k is spared.

    Attributes
    ----------
    kind
        A key of KINDS.
    calculation
        The input.
    digest
        SHA-256 over the program and its version, the input, the pseudopotentials and the job it
        works on: equal digest, equal result.
    cost
        Size of the work, for the estimate of the time left; 1 is about a second on two cores of
        2025.
    pseudos
        Species label -> pseudopotential.
    core
        The pseudopotential whose core orbital is excited.
    parent
        The job whose density this one works on; it is made again if it is gone.
    version
        Of the program the job was planned for; other machines must have it (empty: not checked).
    initial
        The job from whose density this one's cycle begins, if it is there then, and perhaps two
        more, whose difference says how the density moves with the atoms.
    operation
        Symmetry operation that brings the absorber of the first of these to this job's.
    """

    kind: str
    label: str
    calculation: Calculation
    digest: str
    cost: float
    kpoints: int
    pseudos: tuple[tuple[str, Pseudopotential | PseudoName], ...] = ()
    core: Pseudopotential | PseudoName | None = None
    parent: "Job | None" = None
    version: str = ""
    initial: "tuple[Job, ...]" = ()
    operation: Operation | None = None

    @classmethod
    def of(cls, kind: str, label: str, calculation: Calculation, cost: float, kpoints: int,
           pseudos: Mapping[str, Pseudopotential] | None = None,
           core: Pseudopotential | None = None, parent: "Job | None" = None,
           version: str | None = None) -> "Job":
        """Return a job with its digest; the version is by default that of the installed program."""
        version = version or calculation.version()
        pseudos = pseudos or {}
        parts = [one.digest for one in (*pseudos.values(), parent, core) if one is not None]
        record = json.dumps([calculation.program, version, calculation.deck(), parts])
        digest = hashlib.sha256(record.encode()).hexdigest()
        return cls(kind, label, calculation, digest, cost, kpoints, tuple(pseudos.items()), core,
                   parent, version)

    @cached_property
    def deck(self) -> str:
        """The input as it names the job."""
        return self.calculation.deck()

    @property
    def after(self) -> "tuple[Job, ...]":
        """The jobs after which this one runs: its parent, or those of its initial density."""
        return (self.parent,) if self.parent else self.initial

    def slim(self) -> "Job":
        """Return this job with its pseudopotentials by name only: small enough to be sent
        elsewhere.
        """
        pseudos = tuple((label, PseudoName(p.element, p.digest)) for label, p in self.pseudos)
        core = PseudoName(self.core.element, self.core.digest) if self.core else None
        parent = self.parent._alone() if self.parent else None
        return replace(self, pseudos=pseudos, core=core, parent=parent,
                       initial=tuple(one._alone() for one in self.initial))

    def _alone(self) -> "Job":
        return replace(self, pseudos=(), core=None, parent=None, initial=())

    def description(self) -> str:
        """Return what the job is, as TOML for a reader of its folder."""
        return tomli_w.dumps({
            "kind": self.kind, "label": self.label, "program": self.runs.program,
            "digest": self.digest, "kpoints": self.kpoints,
            "starts_from": self.after[0].folder if self.after else "",
            "pseudopotentials": {label: pseudo.digest for label, pseudo in self.pseudos}})


@dataclass(frozen=True)
class AbsorberJobs:
    """The jobs of one inequivalent absorber.

    Attributes
    ----------
    hole
        What its spectra are computed in: the density with the core hole, or FEFF's potentials.
    xas
        Polarisation, or ``powder``, -> its spectrum.
    """

    label: str
    absorber: Absorber
    hole: Job
    xas: dict[str, Job]


@dataclass(frozen=True)
class StructureJobs:
    """The jobs of one structure; FEFF knows no ground state."""

    structure: StudyStructure
    ground: Job | None
    absorbers: tuple[AbsorberJobs, ...]

    def all(self) -> list[Job]:
        """Every job of this structure, each after those it needs."""
        return [*([self.ground] if self.ground else []),
                *(job for one in self.absorbers for job in (one.hole, *one.xas.values()))]
