"""Which settings of a study must be better: one step of one setting at a time, the cheapest first.

Each setting has a next better value (``next_value``). A step of it is computed, and the change of
the difference is judged over the energies that ``compare`` uses. Within the tolerance the setting
is settled, and what the step changed is its row of the error budget; otherwise the step is taken,
and the next one is judged. Settings are taken one at a time, so that what two of them do together
is not seen: the whole study has to be computed at the settings that were found.

Other settings have no next value, such as the cell or the pseudopotentials of the absorber: a step
of one is given with its value, judged at the settings that were found, and a row in any case.

The zero of energies is each calculation's own, and moves with the settings: with denser k points of
the density by 0.2 eV in CsPbBr3, where nothing else changes. A measurement has an axis of its own,
which every comparison fits, so that a step's common shift is taken off before it is judged.

Steps are computed for a part of the study only: the sites and polarisations that make most of its
difference, found in the study as it is. A part whose projection on the whole is s stands for it,
its changes divided by s.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.linalg import norm

from perovskite_polaron.analysis.scenarios import ScenarioSet
from perovskite_polaron.analysis.verdict import ABOVE_EDGE_EV
from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import require
from perovskite_polaron.feff.cluster import atoms_within
from perovskite_polaron.lattice.symmetry import grid_for, spacings_1_A
from perovskite_polaron.spectra.alignment import Shift
from perovskite_polaron.spectra.budget import ErrorBudget, Source
from perovskite_polaron.spectra.spectrum import SiteSpectrum
from perovskite_polaron.workflow.converge import SETTINGS, need_settings
from perovskite_polaron.workflow.jobs import (
    AbsorberJobs, Job, StructureJobs, by_digest, plan, study_jobs)
from perovskite_polaron.workflow.results import StudyResults, collect
from perovskite_polaron.workflow.spectra import budget_key, site_spectra, study_spectra
from perovskite_polaron.workflow.store import Store
from perovskite_polaron.workflow.structures import study_structures
from perovskite_polaron.workflow.study import Study

#: Engine -> those of its settings that have a next better value.
ESCALATED = {"xspectra": ("spectrum-kpoints", "kpoints", "cutoff", "relative-error"),
             "feff": ("cluster-radius", "scf-radius", "l-max")}
# A grid's next step is so much finer; even numbers, of which k and -k spare half.
_FINER = 1.5
# Radii grow by so much: with it the atoms within double.
_WIDER = 1.25
# The zero of energies moves by less from one setting to the next.
_FARTHEST_EV = 3.0
# A job's cost of 1 is about a second on two cores.
_CORE_HOURS = 2 / 3600


@dataclass(frozen=True)
class Step:
    """One step of one setting.

    Attributes
    ----------
    setting, value, better
        The setting, and its values before and after.
    change_difference_percent
        Largest change above the edge, in % of the largest difference there.
    change_edge_percent
        The same over all energies.
    change_spectrum_percent
        Largest change of the part's spectrum of the reference, in % of its maximum.
    shift_eV
        What was added to the energies after the step to lay the spectra over each other; no part of
        the changes.
    core_hours
        What it cost, or where it has not run yet what it will.
    settled
        Whether the change is within the tolerance.
    """

    setting: str
    value: str
    better: str
    change_difference_percent: float
    change_edge_percent: float
    change_spectrum_percent: float
    shift_eV: float
    core_hours: float
    settled: bool


@dataclass(frozen=True)
class Part:
    """What of a study is computed, for it stands for the whole.

    Attributes
    ----------
    structures
        The reference, and the displaced crystals; all where none is displaced.
    sites
        Pairs of a site of the undistorted crystal and a polarisation; None for all.
    share
        Projection of what they make on the whole difference.
    """

    structures: frozenset[str]
    sites: frozenset[tuple[str, str]] | None = None
    share: float = 1.0

    def planned(self, study: Study) -> list[StructureJobs]:
        """Return the jobs of this part of a study."""
        return [replace(one, absorbers=tuple(self._absorbers(one))) for one in plan(study)
                if one.structure.name in self.structures]

    def _absorbers(self, one: StructureJobs) -> Iterator[AbsorberJobs]:
        for absorber in one.absorbers:
            site = absorber.absorber.parent or absorber.absorber.site
            xas = {axis: job for axis, job in absorber.xas.items()
                   if self.sites is None or (site, axis) in self.sites}
            if xas:
                yield replace(absorber, xas=xas)

    def words(self) -> str:
        """Return what is computed, in words."""
        if self.sites is None:
            return "all sites and polarisations"
        listed = ", ".join(f"{site} {axis}" for site, axis in sorted(self.sites))
        return f"{listed} ({100 * self.share:.0f} % of the difference)"


@dataclass(frozen=True, eq=False)
class Escalation:
    """What was found: the steps in the order in which they were computed, and the rest.

    Attributes
    ----------
    study
        The study with the settings that are needed.
    budget
        Its error budget.
    """

    steps: tuple[Step, ...]
    study: Study
    budget: ErrorBudget
    part: Part


def value_of(study: Study, setting: str) -> str:
    """Return the value of a setting as ``SETTINGS`` reads it."""
    feff = study.feff
    of_feff = {"cluster-radius": f"{feff.cluster_radius_A:g}A",
               "scf-radius": f"{feff.scf_radius_A:g}A", "l-max": f"{feff.l_max}"}
    if setting in of_feff:
        return of_feff[setting]
    if setting == "supercell":
        return "x".join(map(str, study.structures[study.reference].supercell))
    if setting == "absorber-sets":
        return ":".join(Path(study.pseudopotentials.get(key, "built in")).name
                        for key in (study.element, f"{study.element}-hole"))
    if setting == "r-paw":
        return f"{study.xspectra.r_paw_over_rc:g}"
    if setting == "cut-above":
        return f"{study.spectra.cut_above_eV:g}eV"
    if setting == "exchange":
        return feff.exchange
    if setting in ("kpoints", "spectrum-kpoints"):
        dense = study.pw if setting == "kpoints" else study.xspectra
        return ("x".join(map(str, dense.kpoints)) if dense.kpoints is not None
                else f"{dense.kpoint_spacing_1_A:g}/A")
    return (f"{study.pw.ecutwfc_Ry:g}Ry" if setting == "cutoff"
            else f"{study.xspectra.relative_error:g}")


def next_value(study: Study, setting: str, reached: float = math.inf) -> str:
    """Return the next better value of a setting of ``ESCALATED``.

    Grids and spacings become finer by half, cut-off and radii larger by a quarter, chains end at a
    third of the change, and waves have one more l. Chains are only looked at now and then, and end
    with less than what they were asked for: with what they reached given, the third is of that, or
    the same chains would be computed again.
    """
    if setting == "l-max":
        return f"{study.feff.l_max + 1}"
    if setting == "cutoff":
        return f"{5 * math.ceil(study.pw.ecutwfc_Ry / 4 - 1e-9):g}Ry"
    if setting == "relative-error":
        return f"{min(study.xspectra.relative_error, reached) / 3:.2g}"
    reference = next(s for s in study_structures(study) if s.name == study.reference)
    crystal = reference.crystal
    if setting in ESCALATED["feff"]:
        old = float(value_of(study, setting).removesuffix("A"))
        sites = ([a.index for a in reference.absorbers] if setting == "cluster-radius"
                 else range(len(crystal)))
        # A radius within which there are the same atoms would change nothing, and settle it.
        wider, here = _WIDER * old, atoms_within(crystal, sites, old)
        while atoms_within(crystal, sites, round(wider, 1)) == here:
            wider *= 1.1
        return f"{round(wider, 1):g}A"
    dense = study.pw if setting == "kpoints" else study.xspectra
    grid, per_A = dense.grid(crystal.lattice_A), dense.kpoint_spacing_1_A
    if per_A is not None:
        # A spacing that gives the reference the same grid would change nothing, and settle it.
        while grid_for(crystal.lattice_A, per_A) == grid:
            per_A = round(per_A / _FINER, 4)
        return f"{per_A:g}/A"
    lengths = spacings_1_A(crystal.lattice_A, (1, 1, 1))
    spacing = max(lengths / grid) / _FINER
    finer = [max(n, math.ceil(length / spacing - 1e-9))
             for n, length in zip(grid, lengths, strict=True)]
    return "x".join(str(n + n % 2 if n > 1 else n) for n in finer)


def escalate(study: Study, store: Store, execute: Callable[[Sequence[Job]], None], *,
             tolerance_percent: float = 3.0, share: float = 0.6,
             settings: Sequence[str] = (), given: Sequence[tuple[str, str]] = (),
             announce: Callable[[str], None] = lambda words: None) -> Escalation:
    """Make settings better until the difference keeps the tolerance; what is done is used.

    Parameters
    ----------
    study, store, execute
        As in ``converge``.
    tolerance_percent
        Allowed change of the difference above the edge by the next step of a setting.
    share
        The computed part must miss no more of the difference than the rest to one.
    settings
        Of ``ESCALATED``; by default all of the study's engine.
    given
        Steps that are computed besides: pairs of a setting of ``SETTINGS`` and its other value.
    announce
        Is told the cost of the steps before anything but the study itself is computed.

    Raises
    ------
    InputError
        For an unknown setting, or a study without a difference.
    """
    known = ESCALATED[study.engine.kind]
    settings = settings or known
    unknown = [name for name in settings if name not in known]
    require(not unknown,
            f"{', '.join(unknown)} cannot be escalated: choose from {', '.join(known)}")
    need_settings(study, [setting for setting, _ in given])
    for setting, value in given:
        SETTINGS[setting](study, value)  # what cannot be read is refused before hours of work
    planned = plan(study)
    execute(study_jobs(planned))
    base = collect(study, planned, store)
    shifts, records = site_spectra(base, study.spectra)
    part = _part(base, _sums(base, records), share)
    announce(f"steps are computed for {part.words()}")
    steps: list[Step] = []
    rows: list[tuple[Source, Array]] = []
    pending, current = list(settings), study
    while pending:
        reached = _reached(part, current, store)
        values = {s: next_value(current, s, reached) for s in pending}
        better = {s: SETTINGS[s](current, value) for s, value in values.items()}
        costs = {s: _core_hours(one, part, store) for s, one in better.items()}
        if not steps:
            listed = ", ".join(f"{s} {values[s]} {costs[s]:.2g}" for s in pending)
            announce(f"core-hours of a first step: {listed}; each goes on until it is settled")
        chosen = min(pending, key=lambda s: (costs[s], settings.index(s)))
        old, new = (_compute(one, part, store, execute) for one in (current, better[chosen]))
        new, shift_eV = _overlaid(new, old)
        step = _step(chosen, current, better[chosen], old, new, shift_eV, costs[chosen],
                     tolerance_percent)
        announce(f"{chosen} {step.value} → {step.better}: the difference moves by"
                 f" {step.change_difference_percent:.1f} %")
        steps.append(step)
        if step.settled:
            pending.remove(chosen)
            rows += [(Source(chosen, step.value, step.better, name, q), row)
                     for name, q, row in _rows(base, part, shifts, old, new)]
        else:
            current = better[chosen]
    for setting, value in given:
        other = SETTINGS[setting](current, value)
        cost = _core_hours(other, part, store)
        old, new = (_compute(one, part, store, execute) for one in (current, other))
        new, shift_eV = _overlaid(new, old)
        step = _step(setting, current, other, old, new, shift_eV, cost, tolerance_percent)
        announce(f"{setting} {step.value} → {step.better}: the difference moves by"
                 f" {step.change_difference_percent:.1f} %")
        steps.append(step)
        rows += [(Source(f"{setting} {value}", step.value, step.better, name, q), row)
                 for name, q, row in _rows(base, part, shifts, old, new)]
    entries = {source.structure.split("@")[0] for source, _ in rows}
    budget = ErrorBudget(old.energy_eV, tuple(source for source, _ in rows),
                         np.array([row for _, row in rows]),
                         budget_key(current, current.spectra, entries))
    return Escalation(tuple(steps), current, budget, part)


_Sums = Mapping[str, Mapping[tuple[str, str], Array]]


def _sums(results: StudyResults, records: Iterable[SiteSpectrum]) -> _Sums:
    """Return of each structure what each site and polarisation adds to its average.

    A site is named as in the undistorted crystal. The average is over the atoms that are in these
    results, summed over polarisations.
    """
    names = {(one.name, site.label): site.parent or site.site
             for one in results.structures for site in one.sites}
    atoms = {one.name: sum(site.multiplicity for site in one.sites) for one in results.structures}
    sums: dict[str, dict[tuple[str, str], Array]] = {}
    for record in records:
        own = sums.setdefault(record.structure, {})
        key = (names[record.structure, record.absorber], record.polarisation)
        weight = record.multiplicity / atoms[record.structure]
        own[key] = own.get(key, 0.0) + weight * record.spectrum.intensity
    return sums


def _part(results: StudyResults, sums: _Sums, share: float) -> Part:
    """Return few sites and polarisations whose sum is the whole but for a rest of 1 − share.

    Sizes are root mean squares over energy and the displaced structures. Each time the one is added
    that leaves the smallest rest.
    """
    reference = sums[results.study.reference]
    names = [one.name for one in results.structures if one.name != results.study.reference]
    displaced = [one.name for one in results.structures
                 if one.amplitude_sqrt_amu_A and set(sums[one.name]) == set(reference)]
    require(names, f"{results.study.path} has no structure beside its reference: add the one whose"
            " difference must converge")
    if not displaced:
        return Part(frozenset(sums))
    changes = {key: np.concatenate([sums[n][key] - reference[key] for n in displaced])
               for key in reference}
    whole = rest = np.sum(list(changes.values()), axis=0)
    chosen: list[tuple[str, str]] = []
    while len(chosen) < len(changes) and norm(rest) > (1 - share) * norm(whole):
        left = {key: norm(rest - changes[key]) for key in sorted(changes) if key not in chosen}
        chosen.append(min(left, key=lambda key: left[key]))
        rest = rest - changes[chosen[-1]]
    return Part(frozenset([*displaced, results.study.reference]), frozenset(chosen),
                float((whole - rest) @ whole / (whole @ whole)))


@dataclass(frozen=True, eq=False)
class _Computed:
    """The sums of the part: of the reference (n,), and structure -> difference (n,)."""

    energy_eV: Array
    reference: Array
    differences: Mapping[str, Array]


def _reached(part: Part, study: Study, store: Store) -> float:
    """Return the largest error with which the chains of a part that are there ended."""
    records = [store.result(job) for job in study_jobs(part.planned(study)) if job.kind == "xas"]
    return max((one["worst_error"] for one in records if one and "worst_error" in one),
               default=math.inf)


def _core_hours(study: Study, part: Part, store: Store) -> float:
    jobs = by_digest(study_jobs(part.planned(study))).values()
    return _CORE_HOURS * sum(job.cost for job in jobs if store.result(job) is None)


def _compute(study: Study, part: Part, store: Store,
             execute: Callable[[Sequence[Job]], None]) -> _Computed:
    planned = part.planned(study)
    if _core_hours(study, part, store):
        execute(study_jobs(planned))
    results = collect(study, planned, store)
    _, records = site_spectra(results, study.spectra)
    total = {name: np.sum(list(own.values()), axis=0)
             for name, own in _sums(results, records).items()}
    reference = total.pop(study.reference)
    return _Computed(records[0].spectrum.energy_eV, reference,
                     {name: one - reference for name, one in total.items()})


def _overlaid(one: _Computed, on: _Computed) -> tuple[_Computed, float]:
    """Return what was computed with its reference laid over another one, and the shift in eV.

    By least squares with a free factor, from −3 to 3 eV.
    """
    from scipy.interpolate import CubicSpline
    from scipy.optimize import minimize_scalar

    energy = one.energy_eV
    # Ends that one of both may lack say nothing.
    inside = (energy >= energy[0] + _FARTHEST_EV) & (energy <= energy[-1] - _FARTHEST_EV)
    spline = CubicSpline(energy, one.reference)

    def rest(shift_eV: float) -> float:
        # Without their sizes, which some settings change by per cent.
        moved = spline(energy[inside] - shift_eV)
        return -float(moved @ on.reference[inside] / norm(moved))

    coarse = min(np.linspace(-_FARTHEST_EV, _FARTHEST_EV, 61), key=rest)
    found = minimize_scalar(rest, bounds=(coarse - 0.1, coarse + 0.1), method="bounded",
                            options={"xatol": 1e-5})
    shift_eV = round(float(found.x), 4)

    known = (energy - shift_eV >= energy[0]) & (energy - shift_eV <= energy[-1])

    def laid(curve: Array, over: Array) -> Array:
        # At an end that is not known the change stays what it is beside it.
        change = CubicSpline(energy, curve)(energy[known] - shift_eV) - over[known]
        return over + np.interp(energy, energy[known], change)

    return _Computed(energy, laid(one.reference, on.reference), {
        name: laid(curve, on.differences[name])
        for name, curve in one.differences.items()}), shift_eV


def _step(setting: str, study: Study, better: Study, old: _Computed, new: _Computed,
          shift_eV: float, core_hours: float, tolerance_percent: float) -> Step:
    place = ScenarioSet(new.energy_eV, new.reference, ()).first_maximum_eV
    above = new.energy_eV >= place + ABOVE_EDGE_EV
    moved = [(np.abs(d - old.differences[n]), np.abs(d)) for n, d in new.differences.items()]
    change = max(100 * float(move[above].max() / size[above].max()) for move, size in moved)
    whole = max(100 * float(move.max() / size.max()) for move, size in moved)
    spectrum = 100 * float(np.abs(new.reference - old.reference).max() / new.reference.max())
    return Step(setting, value_of(study, setting), value_of(better, setting), change, whole,
                spectrum, shift_eV, core_hours, change <= tolerance_percent)


def _rows(base: StudyResults, part: Part, shifts: Sequence[Shift], old: _Computed,
          new: _Computed) -> Iterator[tuple[str, float | None, Array]]:
    """Yield of each structure its name, amplitude, and the change of its averaged difference.

    In % of the reference's maximum, on the axis of the whole study: that of the part begins at the
    mean edge of its own sites.
    """
    structures = {one.name: one for one in base.structures}
    sites = {site.label: site for site in structures[base.study.reference].sites}
    kept = [(s.shift_eV, sites[s.absorber].multiplicity) for s in shifts
            if s.structure == base.study.reference and (part.sites is None or any(
                sites[s.absorber].site == name for name, _ in part.sites))]
    offset = float(np.average([s for s, _ in kept], weights=[m for _, m in kept]))
    spectra = study_spectra(base, base.study.spectra)
    axes = {record.polarisation for record in spectra.records}
    top = len(axes) * float(spectra.structures[base.study.reference].average.intensity.max())
    weight = sum(m for _, m in kept) / sum(site.multiplicity for site in sites.values())
    for name, difference in new.differences.items():
        change = 100 * weight * (difference - old.differences[name]) / (part.share * top)
        moved = np.interp(new.energy_eV - offset, new.energy_eV, change)
        yield name, structures[name].amplitude_sqrt_amu_A, moved
