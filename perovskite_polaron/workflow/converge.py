"""Convergence of the difference spectrum, which is what a study is about.

How far it moves with each setting, from calculations with several values of it. Each engine has its
own settings.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import InputError, require
from perovskite_polaron.espresso.pw import PwSettings
from perovskite_polaron.espresso.savefile import LanczosSave
from perovskite_polaron.espresso.xspectra import XspectraSettings
from perovskite_polaron.feff.deck import FeffSettings
from perovskite_polaron.settings import fill
from perovskite_polaron.units import RYDBERG_EV, parse_grid, parse_quantity
from perovskite_polaron.workflow.jobs import Job, plan, study_jobs
from perovskite_polaron.workflow.results import StudyResults, collect
from perovskite_polaron.workflow.spectra import StudySpectra, study_spectra
from perovskite_polaron.workflow.store import Store
from perovskite_polaron.workflow.study import Study

_Grid = tuple[int, int, int]
_Gridded = TypeVar("_Gridded", PwSettings, XspectraSettings)


@dataclass(frozen=True)
class Movement:
    """How far one value is from the last (best) one of its setting.

    Attributes
    ----------
    setting, value
        Which value of what.
    difference_percent
        Largest change of a difference spectrum, in % of the largest value of that difference at the
        best setting, the worst structure of the study.
    spectrum_percent
        The same of the reference's own spectrum.
    shift_eV
        Change of its edge shifts, the worst structure.
    core_hours
        What it cost; None where nothing was computed for it.
    """

    setting: str
    value: str
    difference_percent: float
    spectrum_percent: float
    shift_eV: float
    core_hours: float | None


def _with_cutoff(study: Study, value: str) -> Study:
    cutoff = round(parse_quantity(value, "energy") / RYDBERG_EV, 6)
    require(5 <= cutoff <= 500, f"--cutoff {value} is outside 5 Ry to 500 Ry")
    dense = round(cutoff * study.pw.ecutrho_Ry / study.pw.ecutwfc_Ry, 6)
    return replace(study, pw=replace(study.pw, ecutwfc_Ry=cutoff, ecutrho_Ry=dense))


def _as_dense(settings: _Gridded, value: str) -> _Gridded:
    """Return settings with a grid, 4x4x2, or with a spacing, 0.2/A."""
    if not value.endswith("/A"):
        return settings.on_grid(parse_grid(value))
    try:
        spacing = float(value.removesuffix("/A"))
    except ValueError:
        spacing = 0.0
    require(0.01 <= spacing <= 5, f"{value} is no spacing of k points from 0.01/A to 5/A")
    return replace(settings, kpoints=None, kpoint_spacing_1_A=spacing)


def _with_kpoints(study: Study, value: str) -> Study:
    return replace(study, pw=_as_dense(study.pw, value))


def _with_spectrum_kpoints(study: Study, value: str) -> Study:
    return replace(study, xspectra=_as_dense(study.xspectra, value))


def _with_supercell(study: Study, value: str) -> Study:
    repeats = np.array(parse_grid(value))

    def grid(numbers: Any) -> _Grid:
        a, b, c = (math.ceil(n) for n in numbers)
        return a, b, c

    def on_smaller(settings: _Gridded) -> _Gridded:
        # A spacing does so itself.
        return (settings if settings.kpoints is None
                else settings.on_grid(grid(settings.kpoints / repeats)))

    larger = {name: replace(one, supercell=grid(one.supercell * repeats))
              for name, one in study.structures.items()}
    return replace(study, structures=larger, pw=on_smaller(study.pw),
                   xspectra=on_smaller(study.xspectra))


def _with_sets(study: Study, value: str) -> Study:
    ground, _, hole = value.partition(":")
    require(ground and hole, f"--absorber-sets {value}: name two files, without and with the hole,"
            " as A.UPF:A-hole.UPF")
    named = {study.element: str(Path(ground).absolute()),
             f"{study.element}-hole": str(Path(hole).absolute())}
    return replace(study, pseudopotentials={**study.pseudopotentials, **named})


def _with_relative_error(study: Study, value: str) -> Study:
    try:
        error = float(value)
    except ValueError:
        error = 0.0
    require(1e-8 <= error <= 0.5, f"--relative-error {value} is not a number from 1e-8 to 0.5")
    return replace(study, xspectra=replace(study.xspectra, relative_error=error))


def _with_r_paw(study: Study, value: str) -> Study:
    try:
        radius = float(value)
    except ValueError:
        radius = 0.0
    require(1 <= radius <= 3, f"--r-paw {value} is not a number from 1 to 3 (matching radii)")
    return replace(study, xspectra=replace(study.xspectra, r_paw_over_rc=radius))


def _with_cut_above(study: Study, value: str) -> Study:
    above = parse_quantity(value, "energy")
    require(0 <= above <= 10, f"--cut-above {value} is outside 0 eV to 10 eV")
    return replace(study, spectra=replace(study.spectra, cut_above_eV=round(above, 6)))


def _with_feff(key: str, read: Callable[[str], Any]) -> Callable[[Study, str], Study]:
    """Return what gives a study another value of a key of [feff]."""
    def changed(study: Study, value: str) -> Study:
        problems: list[str] = []
        table = asdict(study.feff) | {key: read(value)}
        settings = fill(FeffSettings, table, f"--{key.removesuffix('_A').replace('_', '-')}",
                        problems)
        if settings is None:
            raise InputError(" | ".join(problems))
        return replace(study, feff=settings)

    return changed


def _radius_A(value: str) -> float:
    return round(parse_quantity(value, "length"), 6)


def _whole(value: str) -> int | str:
    return int(value) if value.isdigit() else value


# Setting -> the study with another value of it. Cut-offs have a unit of energy, and the density's
# keeps the study's ratio; grids and repeats are written 2x2x1, spacings of k points 0.2/A, and a
# supercell divides both grids; a chain ends at the relative error; sets are the absorber's
# pseudopotential files without and with the hole (such as sets with other second p projectors,
# whose choice a spectrum must not show); r-paw is the radius of XSpectra's spheres in matching
# radii, and cut-above the energy above the last occupied state at which occupied states end.
_OF_XSPECTRA: dict[str, Callable[[Study, str], Study]] = {
    "cutoff": _with_cutoff, "kpoints": _with_kpoints, "spectrum-kpoints": _with_spectrum_kpoints,
    "relative-error": _with_relative_error, "supercell": _with_supercell,
    "absorber-sets": _with_sets, "r-paw": _with_r_paw, "cut-above": _with_cut_above}
# Radii have a unit of length.
_OF_FEFF = {
    "cluster-radius": _with_feff("cluster_radius_A", _radius_A),
    "scf-radius": _with_feff("scf_radius_A", _radius_A), "l-max": _with_feff("l_max", _whole),
    "exchange": _with_feff("exchange", str)}
SETTINGS = _OF_XSPECTRA | _OF_FEFF
#: Engine -> its settings.
SETTINGS_OF = {"xspectra": tuple(_OF_XSPECTRA), "feff": tuple(_OF_FEFF)}


def need_settings(study: Study, asked: Iterable[str]) -> None:
    """Refuse, with InputError, settings that the engine of a study does not have."""
    kind = study.engine.kind
    unknown = [name for name in asked if name not in SETTINGS_OF[kind]]
    require(not unknown, f"--{', --'.join(unknown)}: not of the engine {kind} that {study.path}"
            f" has, which knows --{', --'.join(SETTINGS_OF[kind])}")


def variants(study: Study, setting: str, values: Sequence[str]) -> list[Study]:
    """Return the studies to compare, from the coarsest to the best value of a key of SETTINGS.

    Raises
    ------
    InputError
        For less than two values, or values that cannot be read.
    """
    need_settings(study, [setting])
    require(len(values) > 1,
            f"--{setting} needs at least two values, from the coarsest to the best")
    own = [name for name, s in study.structures.items() if s.kpoints or s.kpoint_shift]
    of_cells = ("cutoff", "relative-error", "absorber-sets", "r-paw", "cut-above")
    require(not own or setting in of_cells, f"[structures.{', '.join(own)}] has"
            f" k points of its own, so --{setting} would not reach it: remove them")
    return [SETTINGS[setting](study, value) for value in values]


def truncated(results: StudyResults, steps: int) -> StudyResults:
    """Return the same results with every Lanczos chain cut after so many steps.

    This convergence costs no calculation.

    Raises
    ------
    InputError
        When no chain is that long: then the longest is not known to be converged against it.
    """
    require(results.chains, f"{results.study.path}: its engine makes no Lanczos chains")
    longest = max(len(a) for save in results.chains.values() for a in save.a)
    require(steps <= longest, f"no chain has {steps} steps (the longest has {longest}): lower"
            " xspectra.relative_error and run")

    def cut(save: LanczosSave) -> LanczosSave:
        return replace(save, a=tuple(a[:steps] for a in save.a), b=tuple(b[:steps] for b in save.b))

    return replace(results, chains={name: cut(save) for name, save in results.chains.items()})


def movements(setting: str, values: Sequence[str], results: Sequence[StudyResults],
              costs: Sequence[float | None]) -> tuple[list[Movement], list[StudySpectra]]:
    """Compare each value's spectra, evaluated as its study says, with those of the last one.

    Raises
    ------
    InputError
        When the study has no difference.
    """
    spectra = [study_spectra(one, one.study.spectra) for one in results]
    best = spectra[-1]
    changes = {name: d.intensity for name, d in best.differences.items() if d.intensity.any()}
    require(changes, f"{results[-1].study.path} has no structure beside its reference: add the one"
            " whose difference must converge")
    shifts, rows = _mean_shifts(best), []
    for value, one, cost in zip(values, spectra, costs, strict=True):
        moved = max(_percent(one.differences[name].intensity, change)
                    for name, change in changes.items())
        ours, theirs = (s.structures[s.reference].average.intensity for s in (one, best))
        shift = max(abs(own - shifts[name]) for name, own in _mean_shifts(one).items())
        rows.append(Movement(setting, value, moved, _percent(ours, theirs), shift, cost))
    return rows, spectra


def _percent(values: Array, best: Array) -> float:
    return 100 * float(np.abs(values - best).max() / np.abs(best).max())


def _mean_shifts(spectra: StudySpectra) -> dict[str, float]:
    # Sites may have other labels in a larger cell; the mean of a structure is what the difference
    # feels.
    return {name: float(np.mean([s.shift_eV for s in spectra.shifts if s.structure == name]))
            for name in spectra.structures}


@dataclass(frozen=True, eq=False)
class Convergence:
    """How the spectra of a study move with its settings.

    Attributes
    ----------
    found
        Setting -> movement and spectra of each of its values, the best last.
    """

    found: Mapping[str, tuple[list[Movement], list[StudySpectra]]]

    @property
    def rows(self) -> list[Movement]:
        """The movements of all settings."""
        return [row for group, _ in self.found.values() for row in group]

    def recommendations(self, tolerance_percent: float) -> list[str]:
        """Return one sentence for each setting (see ``recommendation``)."""
        return [recommendation(group, tolerance_percent) for group, _ in self.found.values()]

    def table(self) -> dict[str, list[Any]]:
        """Return the rows as columns for ``write_csv``."""
        names = [field.name for field in fields(Movement)]
        return {name: [getattr(row, name) for row in self.rows] for name in names}


def converge(study: Study, asked: Mapping[str, Sequence[str]], steps: Sequence[int], store: Store,
             execute: Callable[[Sequence[Job]], None]) -> Convergence:
    """Compute the study with each value of each setting, and compare.

    Parameters
    ----------
    study
        The study, with a reference and a distorted structure.
    asked
        Setting -> values, as ``variants``.
    steps
        Numbers of Lanczos steps at which the study's own chains are cut.
    store
        Where the results are.
    execute
        Runs jobs that have no result yet.

    Raises
    ------
    InputError
        When there is nothing to vary, or values cannot be used.
    """
    require(asked or steps,
            "nothing to vary: give --lanczos or at least one of"
            f" --{', --'.join(SETTINGS_OF[study.engine.kind])}")
    require(not steps or (len(steps) > 1 and min(steps) > 1),
            "--lanczos needs at least two numbers of steps, each two or more, the best last")
    planned = {setting: [(varied, plan(varied)) for varied in variants(study, setting, values)]
               for setting, values in asked.items()}
    own = plan(study) if steps else ()
    every = [one for group in planned.values() for _, structures in group for one in structures]
    execute(study_jobs([*every, *own]))
    found = {}
    for setting, group in planned.items():
        results = [collect(varied, structures, store) for varied, structures in group]
        costs = [_core_hours(study_jobs(structures), store) for _, structures in group]
        found[setting] = movements(setting, asked[setting], results, costs)
    if steps:
        results = [truncated(collect(study, own, store), n) for n in steps]
        values = [str(n) for n in steps]
        found["lanczos"] = movements("lanczos", values, results, [None] * len(steps))
    return Convergence(found)


def _core_hours(jobs: Sequence[Job], store: Store) -> float:
    records = [store.result(job) or {} for job in jobs]
    return float(sum(r.get("wall_seconds", 0.0) * r.get("ranks", 1) for r in records) / 3600)


def recommendation(rows: Sequence[Movement], tolerance_percent: float) -> str:
    """Return one sentence: the cheapest value from which on the difference keeps the tolerance."""
    setting, best = rows[0].setting, rows[-1].value
    within = len(rows) - 1
    while within > 0 and rows[within - 1].difference_percent <= tolerance_percent:
        within -= 1
    if within == len(rows) - 1:
        return (f"{setting}: not converged. {rows[-2].value} still differs by"
                f" {rows[-2].difference_percent:.1f} % from {best}; add better values")
    return (f"{setting}: {rows[within].value} is enough: the difference moves by"
            f" {rows[within].difference_percent:.1f} % (allowed {tolerance_percent:g} %) up to"
            f" {best}")
