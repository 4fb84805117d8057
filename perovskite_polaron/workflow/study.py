"""A study: one TOML file that says which structures, how computed and how compared.

It is read and validated whole.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import permutations
from pathlib import Path
from typing import Any

import tomli_w

from perovskite_polaron.errors import require
from perovskite_polaron.espresso.pw import PwSettings
from perovskite_polaron.espresso.xspectra import XspectraSettings
from perovskite_polaron.feff.deck import EDGES, FeffSettings, energy_lines, inside_hwhm_eV
from perovskite_polaron.files import beside, read_toml
from perovskite_polaron.measured.scan import Scan
from perovskite_polaron.settings import fill, option, refuse
from perovskite_polaron.spectra.alignment import ALIGNMENTS
from perovskite_polaron.spectra.broadening import MODELS, lifetime_hwhm_eV
from perovskite_polaron.spectra.spectrum import NORMALISATIONS, POLARISATIONS

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,39}\Z")
# key in the study -> unit name of distortion.distort
AMPLITUDES = {"max_displacement_A": "max_A", "amplitude_sqrt_amu_A": "sqrt_amu_A",
              "amplitude_zero_point": "zero_point"}


@dataclass(frozen=True)
class StructureSettings:
    """One structure, or one sweep.

    Attributes
    ----------
    crystal
        A file or a built-in name; a mode file stands for the crystal that its modes are of.
    primitive
        Whether the primitive cell of the crystal is taken, before the supercell.
    ensemble
        In place of a crystal a folder that ``polaron ensemble`` wrote: the mean over its snapshots.
        With modes each of them is displaced.
    snapshots
        Only so many snapshots, from the first.
    absorbers, seed
        How many absorbing atoms of each snapshot are computed (default: all), drawn at random in
        proportion from each class of equivalent atoms, at least one; what names the draw.
    minus
        Which structure its difference is taken from (default: the study's reference).
    modes
        Mode files or built-in names along which it is displaced, combined with equal weight.
    select
        The number of a mode in each of these files (default: the mode that was chosen there).
    max_displacement_A, amplitude_sqrt_amu_A, amplitude_zero_point
        Exactly one of them goes with modes: each amplitude is a structure.
    moments_muB
        Magnetic moment that each atom of the crystal begins with, in its order, µB: the calculation
        is then spin-polarised. Those of an antiferromagnet add up to zero.
    kpoints, kpoint_shift
        For a cell of another size.
    """

    crystal: str | None = None
    primitive: bool = False
    ensemble: str | None = None
    snapshots: int | None = option(None, low=1, high=100_000)
    absorbers: int | None = option(None, low=1, high=100_000)
    seed: int | None = option(None, low=0, high=2**32)
    minus: str | None = None
    supercell: tuple[int, int, int] = option((1, 1, 1), low=1, high=20)
    modes: tuple[str, ...] = ()
    select: tuple[int, ...] | None = option(None, low=0, high=100_000)
    max_displacement_A: tuple[float, ...] | None = option(None, low=-2, high=2)
    amplitude_sqrt_amu_A: tuple[float, ...] | None = None
    amplitude_zero_point: tuple[float, ...] | None = None
    moments_muB: tuple[float, ...] | None = option(None, low=-10, high=10)
    kpoints: tuple[int, int, int] | None = option(None, low=1, high=99)
    kpoint_shift: tuple[int, int, int] | None = option(None, low=0, high=1)

    @property
    def numbered_modes(self) -> list[tuple[str, int | None]]:
        """Each file of modes, and the number of the mode in it; None for the chosen one."""
        return list(zip(self.modes, self.select or [None] * len(self.modes), strict=True))


@dataclass(frozen=True)
class EngineSettings:
    """Which program computes the spectra: ``xspectra`` (with pw.x) or ``feff``."""

    kind: str = option("xspectra", choices=("xspectra", "feff"))


@dataclass(frozen=True)
class CoreHoleSettings:
    """The state of the absorbing atom.

    Attributes
    ----------
    kind
        ``full`` (1s emptied, cell charged +1), ``half`` (half a hole, charge +1/2),
        ``excited-electron`` (1s emptied, its electron in the lowest empty state, cell neutral) or
        ``none``.
    min_image_distance_A
        A hole closer than this to its periodic image brings a warning; 8 Å is a common lower bound,
        not a guarantee of convergence.
    """

    kind: str = option("full", choices=("full", "half", "excited-electron", "none"))
    min_image_distance_A: float = option(8.0, low=0, high=100)


@dataclass(frozen=True)
class SpectraSettings:
    """How chains become spectra.

    Energies are relative to the reference structure's mean edge (docs/conventions.md).

    Attributes
    ----------
    cut_above_eV
        How far above the highest occupied level the cut between occupied and empty states lies
        where the occupations are fixed (with smearing it is at the Fermi energy). Anywhere in the
        gap gives the same difference; at the level itself it does not, because one level of a few k
        points then decides what is taken away.
    core_hole_hwhm_eV
        Half width of the final state by the lifetime of the core hole; 0 in a study file takes that
        of the tables for its element and edge (``broadening.lifetime_hwhm_eV``), with FEFF at least
        what is in its curves.
    taper
        Share of each chain that goes over smoothly into its terminator.
    stretch
        Relative stretch of the calculated energies about their zero (``polaron match`` finds it).
        Grid and resolution are those of the stretched axis, widths those at the calculated energy.
    """

    alignment: str = option("delta-scf", choices=ALIGNMENTS)
    normalisation: str = option("last-point", choices=NORMALISATIONS)
    width_model: str = option("constant", choices=tuple(MODELS))
    core_hole_hwhm_eV: float = option(0.0, low=0, high=50)
    resolution_fwhm_eV: float = option(0.7, low=0, high=50)
    energy_min_eV: float = option(-10.0, low=-1000, high=5000)
    energy_max_eV: float = option(60.0, low=-1000, high=5000)
    points: int = option(1401, low=10, high=1_000_000)
    cut_occupied: bool = True
    cut_smooth_eV: float = option(0.1, low=1e-4, high=10)
    cut_above_eV: float = option(0.3, low=0, high=10)
    terminator: bool = True
    taper: float = option(0.1, low=0, high=1)
    stretch: float = option(0.0, low=-0.1, high=0.1)
    width: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RunSettings:
    """Where the results are kept and how the programs are started.

    None of it changes a result beyond its tolerance.

    Attributes
    ----------
    store
        Folder of the results, relative to the study file (default: its name + ``-results``).
    time_reversal
        Leave out one of each two k points k and -k of xspectra.x, whose chains are equal.
    ranks
        MPI processes of one job (0: all cores).
    jobs_at_once
        0 means as many as the cores allow.
    """

    store: str = ""
    time_reversal: bool = True
    ranks: int = option(0, low=0, high=4096)
    jobs_at_once: int = option(0, low=0, high=4096)


@dataclass(frozen=True)
class Study:
    """A validated study.

    Attributes
    ----------
    path
        The file; the names of files in it start from its folder.
    element, edge
        The absorbing element, and its edge: K, L1, L2 or L3.
    reference
        The undistorted structure from which every difference is taken.
    structures
        Name -> structure or sweep.
    pseudopotentials
        An element, or ``element-hole`` for the absorber -> a UPF file.
    """

    path: Path
    element: str
    edge: str
    reference: str
    structures: Mapping[str, StructureSettings]
    polarisations: tuple[str, ...]
    engine: EngineSettings
    core_hole: CoreHoleSettings
    pw: PwSettings
    xspectra: XspectraSettings
    feff: FeffSettings
    spectra: SpectraSettings
    run: RunSettings
    pseudopotentials: Mapping[str, str]

    @property
    def store_folder(self) -> Path:
        """Folder of the results."""
        return self.path.parent / (self.run.store or f"{self.path.stem}-results")

    def file(self, name: str) -> str:
        """Return the path of a file named in the study, relative to the study file."""
        return beside(self.path.parent, name)


@dataclass(frozen=True)
class _Top:
    """The keys of a study outside its tables of settings."""

    element: str
    reference: str
    edge: str = option("K", choices=EDGES)
    polarisations: tuple[str, ...] = ("x", "y", "z")
    structures: Mapping[str, Any] = field(default_factory=dict)
    pseudopotentials: Mapping[str, str] = field(default_factory=dict)


_SECTIONS = {"engine": EngineSettings, "core_hole": CoreHoleSettings, "pw": PwSettings,
             "xspectra": XspectraSettings, "feff": FeffSettings, "spectra": SpectraSettings,
             "run": RunSettings}
# What a study may hold of each engine alone.
_OF_ENGINE = {"xspectra": ("pw", "xspectra", "pseudopotentials"), "feff": ("feff",)}


def read_study(path: str | os.PathLike[str]) -> Study:
    """Read and validate a study file.

    Raises
    ------
    InputError
        With every unknown key, wrong type, out-of-range value and contradiction at once, each with
        its table.
    """
    return study_of(read_toml(path, "study file (TOML)"), Path(path))


def study_of(table: Mapping[str, Any], path: Path) -> Study:
    """Validate the table of a study file; its file names start from path. Errors as read_study."""
    problems: list[str] = []
    sections = {name: fill(cls, table.get(name, {}), f"[{name}]", problems)
                for name, cls in _SECTIONS.items()}
    rest = {key: value for key, value in table.items() if key not in _SECTIONS}
    top = fill(_Top, rest, "study", problems)
    given = table.get("structures")
    structures = {name: fill(StructureSettings, one, f"[structures.{name}]", problems)
                  for name, one in (given if isinstance(given, dict) else {}).items()}
    refuse(path, [*problems, *_contradictions(table), *_of_engine(table)])
    keys: dict[str, Any] = vars(top) | sections | {"structures": structures}
    study = Study(path, **keys)
    inside = 0.0
    if study.engine.kind == "feff":
        inside = inside_hwhm_eV(study.feff, lifetime_hwhm_eV(study.element, study.edge))
        energy_lines(study.feff, inside)
    if study.spectra.core_hole_hwhm_eV:
        return study
    # Settled here, so that the record of a study says what was computed.
    width = max(lifetime_hwhm_eV(study.element, study.edge), inside)
    return replace(study, spectra=replace(study.spectra, core_hole_hwhm_eV=width))


def _contradictions(table: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with keys that each may be right, seen in the file as it is."""
    structures = table.get("structures")
    if not isinstance(structures, dict) or not structures:
        yield 'study: no structures; add a table such as [structures.ground] with crystal = "..."'
        return
    for name, one in structures.items():
        where = f"[structures.{name}]"
        if not _NAME.match(name):
            yield f"{where}: a structure's name is 1 to 40 letters, digits and _ . + -"
        if isinstance(one, dict):
            yield from _of_snapshots(where, name, one, structures)
        modes = isinstance(one, dict) and one.get("modes")
        given = [key for key in AMPLITUDES if isinstance(one, dict) and key in one]
        if modes and len(given) != 1:
            yield f"{where}: modes need exactly one of {', '.join(AMPLITUDES)}"
        if given and not modes:
            yield f'{where}: {given[0]} needs modes = ["..."]'
        yield from (f"{where}: {key} is an empty list" for key in given if one[key] == [])
        numbers = isinstance(one, dict) and one.get("select")
        if isinstance(numbers, list) and (not modes or len(numbers) != len(modes)):
            yield f"{where}: select needs one number for each file in modes"
    reference = table.get("reference")
    base = structures.get(reference) if isinstance(reference, str) else {}
    if base is None:
        yield (f"study: reference = {reference!r} is not one of its structures"
               f" ({', '.join(structures)})")
    elif isinstance(base, dict) and base.get("modes"):
        yield f"study: reference = {reference!r} is a distorted structure; name an undistorted one"
    orders = [list(axes) for count in (1, 2, 3) for axes in permutations(POLARISATIONS, count)]
    if table.get("polarisations", orders[-1]) not in orders:
        yield "study: polarisations is a list of x, y, z without repetition"


def _of_snapshots(where: str, name: str, one: Mapping[str, Any],
                  structures: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the keys that say which crystal, or which snapshots."""
    if "crystal" not in one and "ensemble" not in one:
        yield f"{where}: crystal is missing (or ensemble, for snapshots)"
    if "ensemble" in one:
        yield from (f"{where}: {key} does not go with ensemble, which has cells of its own: remove"
                    " it" for key in ("crystal", "primitive", "moments_muB", "supercell")
                    # The record of a study names every default.
                    if one.get(key, False) not in (False, [1, 1, 1]))
    else:
        yield from (f"{where}: {key} is for the snapshots of an ensemble: remove it"
                    for key in ("snapshots", "absorbers", "seed") if key in one)
    if "seed" in one and "absorbers" not in one:
        yield f"{where}: seed draws absorbers: say how many (absorbers = 4)"
    base = one.get("minus", "")
    if base and (base == name or base not in structures):
        yield f"{where}: minus = {base!r} is not another structure of the study"
    elif base and len(_amplitudes(structures[base])) > 1:
        yield f"{where}: minus = {base!r} is a sweep: name a single structure"


def _amplitudes(one: Any) -> list[Any]:
    given = [one[key] for key in AMPLITUDES if isinstance(one, dict) and key in one]
    return given[0] if given and isinstance(given[0], list) else []


def _of_engine(table: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the engine of a study cannot compute, or does not know."""
    def under(name: str, key: str, default: str) -> Any:
        one = table.get(name)
        return one.get(key, default) if isinstance(one, dict) else default

    kind = under("engine", "kind", "xspectra")
    for other, sections in _OF_ENGINE.items():
        there = [name for name in sections if table.get(name)]
        if there and kind in _OF_ENGINE and other != kind:
            yield (f"study: [{there[0]}] is of the engine {other}, this study's is {kind}: remove"
                   f' the table, or set [engine] kind = "{other}"')
    if kind == "xspectra" and table.get("edge", "K") in EDGES[1:]:
        yield (f'study: edge = "{table["edge"]}" is not computed with XSpectra here: set [engine]'
               ' kind = "feff"')
    if kind == "feff":
        hole = under("core_hole", "kind", "full")
        if hole in ("half", "excited-electron"):
            yield f'[core_hole]: FEFF has no hole of the kind {hole}: give "full" or "none"'
        axes = table.get("polarisations")
        if isinstance(axes, list) and len(axes) < len(POLARISATIONS):
            yield ("study: FEFF computes the average of all polarisations itself: remove"
                   " polarisations")
        grids = [f"[structures.{name}]" for name, one in dict(table.get("structures") or {}).items()
                 if isinstance(one, dict) and {"kpoints", "kpoint_shift"} & set(one)]
        yield from (f"{where}: FEFF has no k points: remove them" for where in grids)
        moments = [f"[structures.{name}]" for name, one in dict(table.get("structures") or
                   {}).items() if isinstance(one, dict) and "moments_muB" in one]
        yield from (f"{where}: moments_muB is not known to FEFF: remove it" for where in moments)


def need_xspectra(study: Study, verb: str) -> None:
    """Refuse a study of another engine, for a verb that works on pw.x's or XSpectra's results.

    Raises
    ------
    InputError
        Naming the verb.
    """
    require(study.engine.kind == "xspectra", f"{study.path}: {verb} is for studies with XSpectra,"
            f" this one's engine is {study.engine.kind}")


def need_single(study: Study, verb: str, remedy: str = "give a study without it") -> None:
    """Refuse, with InputError, a study of ensembles for a verb that works on single structures."""
    hot = next((name for name, one in study.structures.items() if one.ensemble), None)
    require(hot is None, f"{study.path}: {verb} is for single structures, and {hot} is an ensemble:"
            f" {remedy}")


def need_edge(study: Study, scan: Scan) -> None:
    """Refuse, with InputError, a measured spectrum whose file names another element or edge."""
    table, ours = scan.table, (study.element, study.edge)
    # Athena guesses them.
    if table is None or table.get("bkg_z"):
        return
    said = [table.identity[what] for what in ("element", "edge")]
    same = all(one in ("", own.lower()) for one, own in zip(said, ours, strict=True))
    require(same, f"{scan.name} is of the edge {' '.join(filter(None, said)).title()}, the study"
            f" of {' '.join(ours)}: give a study of that edge, or correct the file")


def resolved(study: Study) -> dict[str, Any]:
    """Return the table of a study with every default in it: what was really computed."""
    table = asdict(study)
    del table["path"]
    for kind, sections in _OF_ENGINE.items():
        for name in sections if kind != study.engine.kind else ():
            del table[name]
    # A key without a value cannot be written in TOML; absent it means the same.
    tables = [*table["structures"].values(), table.get("pw"), table.get("xspectra")]
    for one in filter(None, tables):
        for key in [key for key, value in one.items() if value is None]:
            del one[key]
    return table


def resolved_toml(study: Study) -> str:
    """Return the resolved study as TOML."""
    return tomli_w.dumps(resolved(study))
