"""A study: one TOML file that says which structures, how computed and how compared. Read and validated whole."""

import dataclasses
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perovskite_polaron.errors import InputError
from perovskite_polaron.espresso.pw import PwSettings
from perovskite_polaron.espresso.xspectra import POLARISATIONS, XspectraSettings
from perovskite_polaron.files import beside, read_toml
from perovskite_polaron.settings import fill, option

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,39}\Z")
# key in the study -> unit name of distortion.distort
AMPLITUDES = {
    "max_displacement_A": "max_A",
    "amplitude_sqrt_amu_A": "sqrt_amu_A",
    "amplitude_zero_point": "zero_point",
}


@dataclass(frozen=True)
class StructureSettings:
    """One structure, or one sweep: a crystal, and optionally the modes and amplitudes it is displaced along.

    crystal: a file or a built-in name. modes: mode files or built-in names, combined with equal weight unless
    mode_weights is given. Exactly one amplitude key goes with modes. kpoints, kpoint_shift: for a cell of another size.
    """

    crystal: str
    supercell: tuple[int, int, int] = option((1, 1, 1), low=1, high=20)
    modes: tuple[str, ...] = ()
    max_displacement_A: tuple[float, ...] | None = option(None, low=-2, high=2)
    amplitude_sqrt_amu_A: tuple[float, ...] | None = None
    amplitude_zero_point: tuple[float, ...] | None = None
    kpoints: tuple[int, int, int] | None = option(None, low=1, high=99)
    kpoint_shift: tuple[int, int, int] | None = option(None, low=0, high=1)


@dataclass(frozen=True)
class CoreHoleSettings:
    """The state of the absorbing atom.

    kind: ``full`` (1s emptied, cell charged +1), ``half`` (half a hole, charge +1/2), ``excited-electron`` (1s emptied,
    its electron in the lowest empty state, cell neutral) or ``none``. min_image_distance_A: a hole closer than this to
    its periodic image brings a warning; 8 Å is a common lower bound, not a guarantee of convergence.
    """

    kind: str = option("full", choices=("full", "half", "excited-electron", "none"))
    min_image_distance_A: float = option(8.0, low=0, high=100)


@dataclass(frozen=True)
class SpectraSettings:
    """How chains become spectra. Energies are relative to the reference structure's mean edge (see docs).

    cut_above_eV: how far above the highest occupied level the cut between occupied and empty states lies where the occupations
    are fixed (with smearing it is at the Fermi energy). Anywhere in the gap gives the same difference; at the level itself it does not,
    because one level of a few k points then decides what is taken away. taper: share of each chain that goes over smoothly into
    its terminator.
    """

    alignment: str = option("delta-scf", choices=("delta-scf", "fermi"))
    normalisation: str = option("last-point", choices=("last-point", "edge-step", "area", "absolute-area"))
    width_model: str = option("constant", choices=("constant", "linear", "arctangent", "table"))
    core_hole_hwhm_eV: float = option(1.26, low=0.01, high=50)
    resolution_fwhm_eV: float = option(0.7, low=0, high=50)
    energy_min_eV: float = option(-10.0, low=-1000, high=5000)
    energy_max_eV: float = option(60.0, low=-1000, high=5000)
    points: int = option(1401, low=10, high=1_000_000)
    cut_occupied: bool = True
    cut_smooth_eV: float = option(0.1, low=1e-4, high=10)
    cut_above_eV: float = option(0.3, low=0, high=10)
    terminator: bool = True
    taper: float = option(0.1, low=0, high=1)
    width: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RunSettings:
    """Where the results are kept and how the programs are started. None of it changes a result beyond its tolerance.

    store: folder of the results, relative to the study file (default: its name + ``-results``). ranks: MPI processes of
    one job (0: all cores). jobs_at_once: 0 means as many as the cores allow. start: where self-consistent cycles begin,
    from the superposed densities of free ``atoms``, or from the density of a ``neighbour`` computed before, moved with
    the atoms. time_reversal: leave out one of each two k points k and -k of xspectra.x, whose chains are equal.
    """

    store: str = ""
    start: str = option("atoms", choices=("atoms", "neighbour"))
    time_reversal: bool = True
    ranks: int = option(0, low=0, high=4096)
    jobs_at_once: int = option(0, low=0, high=4096)


@dataclass(frozen=True)
class Study:
    """A validated study. pseudopotentials maps an element, or ``element-hole`` for the absorber, to a UPF file."""

    path: Path
    element: str
    reference: str
    structures: Mapping[str, StructureSettings]
    polarisations: tuple[str, ...]
    core_hole: CoreHoleSettings
    pw: PwSettings
    xspectra: XspectraSettings
    spectra: SpectraSettings
    run: RunSettings
    pseudopotentials: Mapping[str, str]

    @property
    def store_folder(self) -> Path:
        """Folder of the results."""
        return self.path.parent / (self.run.store or f"{self.path.stem}-results")

    def file(self, name: str) -> str:
        """Return a file named in the study as a path: relative names are relative to the study file."""
        return beside(self.path.parent, name)


@dataclass(frozen=True)
class _Top:
    element: str
    reference: str
    polarisations: tuple[str, ...] = ("x", "y", "z")


_SECTIONS = {
    "core_hole": CoreHoleSettings,
    "pw": PwSettings,
    "xspectra": XspectraSettings,
    "spectra": SpectraSettings,
    "run": RunSettings,
}


def read_study(path: str | os.PathLike[str]) -> Study:
    """Read and validate a study file.

    Raises InputError with every unknown key, wrong type and out-of-range value at once, each with its table.
    """
    return study_of(read_toml(path, "study file (TOML)"), Path(path))


def study_of(table: dict[str, Any], path: Path) -> Study:
    """Validate the table of a study file, which is used up; path: where its file names start from. Errors as read_study."""
    problems: list[str] = []
    structures_table = table.pop("structures", {})
    pseudopotentials = table.pop("pseudopotentials", {})
    sections = {
        name: fill(cls, _table(table, name, problems), f"[{name}]", problems) for name, cls in _SECTIONS.items()
    }
    fill(_Top, table, "study", problems)
    # The checks below need what is right among the top keys, even where another of them is wrong.
    top = fill(_Top, {k: v for k, v in table.items() if k in _Top.__dataclass_fields__}, "study", [])
    structures: dict[str, StructureSettings] = {}
    if not isinstance(structures_table, dict) or not structures_table:
        problems.append('study: no structures; add a table such as [structures.ground] with crystal = "..."')
        structures_table = {}
    for name, entry in structures_table.items():
        where = f"[structures.{name}]"
        if not _NAME.match(name):
            problems.append(f"{where}: a structure's name is 1 to 40 letters, digits and _ . + -")
        if not isinstance(entry, dict):
            problems.append(f"{where}: is not a table")
            continue
        filled = fill(StructureSettings, entry, where, problems)
        if filled is not None:
            problems += _amplitude_problems(filled, where)
            structures[name] = filled
    if not isinstance(pseudopotentials, dict) or not all(isinstance(v, str) for v in pseudopotentials.values()):
        problems.append("[pseudopotentials]: every value is the path of a UPF file")
    if top is not None:
        if structures and top.reference not in structures:
            problems.append(
                f"study: reference = {top.reference!r} is not one of its structures ({', '.join(structures)})"
            )
        elif structures and structures[top.reference].modes:
            problems.append(f"study: reference = {top.reference!r} is a distorted structure; name an undistorted one")
        unknown = [p for p in top.polarisations if p not in POLARISATIONS]
        if unknown or not top.polarisations or len(set(top.polarisations)) < len(top.polarisations):
            problems.append("study: polarisations is a list of x, y, z without repetition")
    if problems:
        raise InputError(f"{path}: " + " | ".join(problems))
    assert top is not None
    return Study(
        path=path,
        element=top.element,
        reference=top.reference,
        structures=structures,
        polarisations=top.polarisations,
        pseudopotentials=pseudopotentials,
        **sections,  # type: ignore[arg-type]
    )


def _table(table: dict[str, Any], name: str, problems: list[str]) -> dict[str, Any]:
    value = table.pop(name, {})
    if isinstance(value, dict):
        return value
    problems.append(f"[{name}]: is not a table")
    return {}


def _amplitude_problems(structure: StructureSettings, where: str) -> list[str]:
    given = [key for key in AMPLITUDES if getattr(structure, key) is not None]
    if structure.modes and len(given) != 1:
        return [f"{where}: modes need exactly one of {', '.join(AMPLITUDES)}"]
    if given and not structure.modes:
        return [f'{where}: {given[0]} needs modes = ["..."]']
    if given and not getattr(structure, given[0]):
        return [f"{where}: {given[0]} is an empty list"]
    return []


def resolved_toml(study: Study) -> str:
    """Return the study with every default written out, as TOML: what was really computed, for the record."""
    lines = [
        f"element = {_toml(study.element)}",
        f"reference = {_toml(study.reference)}",
        f"polarisations = {_toml(study.polarisations)}",
    ]
    for name in _SECTIONS:
        lines += _toml_table(name, dataclasses.asdict(getattr(study, name)))
    for name, structure in study.structures.items():
        lines += _toml_table(f'structures."{name}"', dataclasses.asdict(structure))
    lines += _toml_table("pseudopotentials", dict(study.pseudopotentials))
    return "\n".join(lines) + "\n"


def _toml_table(name: str, values: Mapping[str, Any]) -> list[str]:
    return ["", f"[{name}]", *(f"{_key(k)} = {_toml(v)}" for k, v in values.items() if v is not None)]


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _toml(key)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in value)
        return f'"{escaped}"'
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(k)} = {_toml(v)}" for k, v in value.items()) + "}"
    return repr(value)
