"""Convergence of the difference spectrum, which is what a study is about: how far it moves with each setting."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.errors import InputError
from perovskite_polaron.espresso.savefile import LanczosSave
from perovskite_polaron.units import RYDBERG_EV, parse_grid, parse_quantity
from perovskite_polaron.workflow.jobs import Job, plan, study_jobs
from perovskite_polaron.workflow.results import StudyResults, collect
from perovskite_polaron.workflow.spectra import StudySpectra, study_spectra
from perovskite_polaron.workflow.store import Store
from perovskite_polaron.workflow.study import Study

SETTINGS = ("cutoff", "kpoints", "spectrum-kpoints", "supercell", "absorber-sets")

_Grid = tuple[int, int, int]


@dataclass(frozen=True)
class Variant:
    """One value of one setting: its text, and the study that has it."""

    setting: str
    value: str
    study: Study


@dataclass(frozen=True)
class Movement:
    """How far one value is from the last (best) one of its setting.

    difference_percent: largest change of a difference spectrum, in % of the largest value of that
    difference at the best setting, the worst structure of the study. spectrum_percent: the same of
    the reference's own spectrum. shift_eV: change of its edge shifts, the worst site. None of them
    for the best value itself: they are 0.
    """

    setting: str
    value: str
    difference_percent: float
    spectrum_percent: float
    shift_eV: float
    core_hours: float | None


def variants(study: Study, setting: str, values: Sequence[str]) -> list[Variant]:
    """Return the studies to compare, from the coarsest to the best.

    setting: ``cutoff`` (values with a unit of energy; the density's cut-off keeps the study's
    ratio), ``kpoints`` (of the density), ``spectrum-kpoints`` (of xspectra.x), ``supercell`` (both
    grids are divided by it), values as 2x2x1; or ``absorber-sets`` (the absorber's pseudopotential
    files without and with the hole, as A.UPF:A-hole.UPF, such as sets with other second p
    projectors, whose choice a spectrum must not show). Raises InputError for less than two values,
    or values that cannot be read.
    """
    if len(values) < 2:
        raise InputError(f"--{setting} needs at least two values, from the coarsest to the best")
    change: dict[str, Callable[[Study, str], Study]] = {
        "cutoff": _with_cutoff,
        "kpoints": lambda s, v: replace(s, pw=replace(s.pw, kpoints=parse_grid(v))),
        "spectrum-kpoints": lambda s, v: replace(s, xspectra=replace(s.xspectra, kpoints=parse_grid(v))),
        "supercell": _with_supercell,
        "absorber-sets": _with_sets,
    }
    own = [n for n, s in study.structures.items() if s.kpoints is not None or s.kpoint_shift is not None]
    if own and setting not in ("cutoff", "absorber-sets"):
        raise InputError(
            f"[structures.{own[0]}] has k points of its own, so --{setting} would not reach it: remove them"
        )
    return [Variant(setting, value, change[setting](study, value)) for value in values]


def _with_cutoff(study: Study, value: str) -> Study:
    cutoff = round(parse_quantity(value, "energy") / RYDBERG_EV, 6)
    ratio = study.pw.ecutrho_Ry / study.pw.ecutwfc_Ry
    if not 5 <= cutoff <= 500:
        raise InputError(f"--cutoff {value} is outside 5 Ry to 500 Ry")
    return replace(study, pw=replace(study.pw, ecutwfc_Ry=cutoff, ecutrho_Ry=round(cutoff * ratio, 6)))


def _with_sets(study: Study, value: str) -> Study:
    ground, separator, hole = value.partition(":")
    if not (ground and separator and hole):
        raise InputError(f"--absorber-sets {value}: name two files, without and with the hole, as A.UPF:A-hole.UPF")
    named = {study.element: str(Path(ground).absolute()), f"{study.element}-hole": str(Path(hole).absolute())}
    return replace(study, pseudopotentials={**study.pseudopotentials, **named})


def _with_supercell(study: Study, value: str) -> Study:
    repeats = parse_grid(value)

    def divided(grid: _Grid) -> _Grid:
        a, b, c = (math.ceil(n / r) for n, r in zip(grid, repeats, strict=True))
        return a, b, c

    structures = {}
    for name, one in study.structures.items():
        a, b, c = (n * r for n, r in zip(one.supercell, repeats, strict=True))
        structures[name] = replace(one, supercell=(a, b, c))
    return replace(
        study,
        structures=structures,
        pw=replace(study.pw, kpoints=divided(study.pw.kpoints)),
        xspectra=replace(study.xspectra, kpoints=divided(study.xspectra.kpoints)),
    )


def truncated(results: StudyResults, steps: int) -> StudyResults:
    """Return the same results with every Lanczos chain cut after so many steps: convergence that
    costs no calculation.

    Raises InputError when no chain is that long: then the longest is not known to be converged
    against it.
    """
    longest = max(len(a) for save in results.chains.values() for a in save.a)
    if steps > longest:
        raise InputError(
            f"no chain has {steps} steps (the longest has {longest}): lower xspectra.relative_error and run"
        )

    def cut(save: LanczosSave) -> LanczosSave:
        return replace(save, a=tuple(a[:steps] for a in save.a), b=tuple(b[:steps] for b in save.b))

    return replace(results, chains={name: cut(save) for name, save in results.chains.items()})


def movements(
    setting: str, values: Sequence[str], results: Sequence[StudyResults], study: Study, costs: Sequence[float | None]
) -> tuple[list[Movement], list[StudySpectra]]:
    """Compare each value's spectra with those of the last one. Raises InputError when the study has no difference."""
    spectra = [study_spectra(one, study.spectra) for one in results]
    best = spectra[-1]
    if not any(np.any(d.intensity) for d in best.differences.values()):
        raise InputError(
            f"{study.path} has no structure beside its reference: add the one whose difference must converge"
        )
    rows = []
    for value, one, cost in zip(values, spectra, costs, strict=True):
        moved = max(
            _percent(one.differences[name].intensity, d.intensity)
            for name, d in best.differences.items()
            if np.any(d.intensity)
        )
        own = [s.structures[s.reference].average.intensity for s in (one, best)]
        rows.append(Movement(setting, value, moved, _percent(own[0], own[1]), _largest_shift(one, best), cost))
    return rows, spectra


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
        digits = {"difference_percent": 4, "spectrum_percent": 4, "shift_eV": 5, "core_hours": 5}
        names = ("setting", "value", *digits)
        cells = {name: [getattr(row, name) for row in self.rows] for name in names}
        return {name: [round(v, digits[name]) if isinstance(v, float) else v for v in values]
                for name, values in cells.items()}


def converge(
    study: Study, asked: Mapping[str, Sequence[str]], steps: Sequence[int], store: Store,
    execute: Callable[[Sequence[Job]], None],
) -> Convergence:
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
    if not asked and not steps:
        raise InputError(
            f"nothing to vary: give --lanczos or at least one of --{', --'.join(SETTINGS)}")
    if steps and (len(steps) < 2 or min(steps) < 2):
        raise InputError(
            "--lanczos needs at least two numbers of steps, each two or more, the best last")
    planned = {setting: [(v.study, plan(v.study)) for v in variants(study, setting, values)]
               for setting, values in asked.items()}
    own = plan(study) if steps else ()
    execute(study_jobs([s for group in planned.values() for _, p in group for s in p] + list(own)))
    found = {}
    for setting, group in planned.items():
        results = [collect(varied, structures, store) for varied, structures in group]
        costs = [_core_hours(study_jobs(structures), store) for _, structures in group]
        found[setting] = movements(setting, asked[setting], results, study, costs)
    if steps:
        results = [truncated(collect(study, own, store), n) for n in steps]
        values = [str(n) for n in steps]
        found["lanczos"] = movements("lanczos", values, results, study, [None] * len(steps))
    return Convergence(found)


def _core_hours(jobs: Sequence[Job], store: Store) -> float:
    records = [store.result(job) or {} for job in jobs]
    return float(sum(r.get("wall_seconds", 0.0) * r.get("ranks", 1) for r in records) / 3600)


def _percent(values: NDArray[np.float64], best: NDArray[np.float64]) -> float:
    return 100 * float(np.abs(values - best).max() / np.abs(best).max())


def _largest_shift(one: StudySpectra, best: StudySpectra) -> float:
    def shifts(spectra: StudySpectra) -> dict[str, float]:
        total: dict[str, list[float]] = {}
        for shift in spectra.shifts:
            total.setdefault(shift.structure, []).append(shift.shift_eV)
        # Sites may have other labels in a larger cell; the mean of a structure is what the
        # difference feels.
        return {name: float(np.mean(values)) for name, values in total.items()}

    ours, theirs = shifts(one), shifts(best)
    return max(abs(ours[name] - theirs[name]) for name in theirs)


def recommendation(rows: Sequence[Movement], tolerance_percent: float) -> str:
    """Return one sentence: the cheapest value whose difference, and that of all better ones, stays within the tolerance."""
    setting = rows[0].setting
    within = len(rows) - 1
    while within > 0 and rows[within - 1].difference_percent <= tolerance_percent:
        within -= 1
    if within == len(rows) - 1:
        return (
            f"{setting}: not converged. {rows[-2].value} still differs by {rows[-2].difference_percent:.1f} % from "
            f"{rows[-1].value}; add better values"
        )
    return (
        f"{setting}: {rows[within].value} is enough: the difference moves by {rows[within].difference_percent:.1f} % "
        f"(allowed {tolerance_percent:g} %) up to {rows[-1].value}"
    )
