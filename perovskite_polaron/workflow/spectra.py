"""From the chains of a study, or FEFF's curves, to aligned, averaged spectra and their differences.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import InputError, require
from perovskite_polaron.espresso.lanczos import evaluate
from perovskite_polaron.files import write_csv
from perovskite_polaron.lattice.matching import POSITION_TOLERANCE_A
from perovskite_polaron.spectra.alignment import Shift, SiteEnergies, shifts
from perovskite_polaron.spectra.broadening import half_width, resolve
from perovskite_polaron.spectra.budget import sigma
from perovskite_polaron.spectra.sampling import SampledError
from perovskite_polaron.spectra.spectrum import (
    POLARISATIONS, SiteSpectrum, Spectrum, StructureSpectra, average_structures, differences, norm)
from perovskite_polaron.workflow.feff_jobs import POWDER
from perovskite_polaron.workflow.jobs import plan
from perovskite_polaron.workflow.results import (
    SiteResult, StructureResult, StudyResults, collect, read_results)
from perovskite_polaron.workflow.sampled import (
    by_class, difference_errors, mean_errors, shifts_by_class, snapshot_spectra)
from perovskite_polaron.workflow.store import Store
from perovskite_polaron.workflow.study import SpectraSettings, Study, read_study, resolved


@dataclass(frozen=True)
class StudySpectra:
    """Everything ``polaron spectra`` shows.

    Attributes
    ----------
    settings, reference
        How the spectra were made, and the structure that differences are taken from.
    structures
        Averages and sites of each structure.
    differences
        Average minus the reference's, over the norm of the reference.
    shifts
        What was added to the energies of each site.
    records
        Every polarisation of every site, not averaged.
    budget
        Of each difference what each setting may still change, (n,) in % of the reference's maximum
        (``spectra.budget``); a difference for which that was not estimated is missing.
    engine
        What computed them.
    bases
        Structure -> what its difference is taken from, where that is not the reference.
    mean_errors, errors
        Of ensembles, and of differences in which there is one: standard error of the mean over
        snapshots; missing where there are too few. In the unit of the spectra.
    """

    settings: SpectraSettings
    reference: str
    structures: Mapping[str, StructureSpectra]
    differences: Mapping[str, Spectrum]
    shifts: tuple[Shift, ...]
    records: tuple[SiteSpectrum, ...]
    budget: Mapping[str, Mapping[str, Array]] = field(default_factory=dict)
    engine: str = "xspectra"
    bases: Mapping[str, str] = field(default_factory=dict)
    mean_errors: Mapping[str, SampledError] = field(default_factory=dict)
    errors: Mapping[str, SampledError] = field(default_factory=dict)

    def base_of(self, name: str) -> str:
        """Return the structure that a difference is taken from."""
        return self.bases.get(name, self.reference)

    def percent(self, name: str) -> Array:
        """Return the difference (n,) of a structure in % of the reference's maximum."""
        change = (self.structures[name].average - self.structures[self.base_of(name)].average)
        return np.asarray(change.intensity * self._percent)

    def error_percent(self, name: str) -> Array | None:
        """Return the standard error (n,) of that; None without snapshots, or with too few."""
        error = self.errors.get(name)
        return None if error is None else np.asarray(error.sigma * self._percent)

    @property
    def _percent(self) -> float:
        return 100 / float(self.structures[self.reference].average.intensity.max())

    @property
    def part(self) -> str:
        """Empty for powder averages; else the polarisations that alone are there: ``z only``."""
        found = {r.polarisation for r in self.records}
        there = [axis for axis in POLARISATIONS if axis in found or POWDER in found]
        return "" if len(there) == len(POLARISATIONS) else f"{', '.join(there)} only"


def load_results(source: Path) -> tuple[StudyResults, SpectraSettings, Path]:
    """Return results, [spectra] settings and the folder they are in.

    Parameters
    ----------
    source
        A folder with results.json, or a study file: then the results are gathered from its store.

    Raises
    ------
    InputError
        When there is no such file or folder.
    ComputationError
        When jobs of the study have no result yet.
    """
    if source.is_dir():
        results = read_results(source)
        return results, results.study.spectra, source
    require(source.exists(),
            f"{source} does not exist: give a study file, or a folder with results.json")
    study = read_study(source)
    results = collect(study, plan(study), Store(study.store_folder))
    return results, study.spectra, study.store_folder


def study_spectra(results: StudyResults, settings: SpectraSettings) -> StudySpectra:
    """Evaluate, align, broaden, average and subtract.

    Each chain is evaluated exactly where the common grid asks for it, at grid - shift, so alignment
    needs no interpolation. The terminator averages what xspectra.x watched for its convergence
    (``xspectra.check_every``).

    Raises
    ------
    InputError
        When the grid is unusable.
    """
    study, (table, records) = results.study, site_spectra(results, settings)
    averages = average_structures(records, computed_polarisations(study))
    own = {one.name: study.structures[entry].minus for one in results.structures
           if (entry := one.name.split("@")[0]) in study.structures}
    bases = {name: _named(averages, minus) for name, minus in own.items() if minus}
    found = differences(averages, study.reference, settings.normalisation, bases)
    del found[study.reference]
    snapshots = snapshot_spectra(results, records)
    every = {name: bases.get(name, study.reference) for name in found}
    return StudySpectra(settings, study.reference, by_class(results, averages), found,
                        shifts_by_class(results, table), records,
                        _budget_rows(results, settings, records[0].spectrum.energy_eV),
                        study.engine.kind, bases, mean_errors(results, snapshots),
                        difference_errors(results, snapshots, every))


def _named(averages: Mapping[str, StructureSpectra], minus: str) -> str:
    require(minus in averages, f"minus = {minus!r} was not computed: name one of"
            f" {', '.join(averages)}")
    return minus


def computed_polarisations(study: Study) -> tuple[str, ...]:
    """Return the polarisations of a study's spectra; FEFF averages over them itself."""
    return (POWDER,) if study.engine.kind == "feff" else study.polarisations


def site_spectra(results: StudyResults, settings: SpectraSettings
                 ) -> tuple[tuple[Shift, ...], tuple[SiteSpectrum, ...]]:
    """Return the shifts of the sites, and every polarisation of each on the common grid.

    Raises
    ------
    InputError
        As ``study_spectra``.
    """
    study, axis = results.study, common_axis(results, settings)
    records = []
    for structure, site in _sites(results):
        shift = axis.shift_eV(structure.name, site.label)
        for polarisation, name in site.chains.items():
            if name in results.curves:
                curve = results.curves[name].broadened(axis.own_eV - shift, axis.hwhm_eV, name)
            else:
                curve = evaluate(
                    results.chains[name], axis.own_eV - shift, axis.hwhm_eV,
                    cut_occupied=settings.cut_occupied, cut_smooth_eV=settings.cut_smooth_eV,
                    cut_above_eV=cut_above_eV(site, settings), **chain_ends(study, settings)).total
            seen = resolve(Spectrum(axis.grid_eV, curve, name), settings.resolution_fwhm_eV)
            records.append(SiteSpectrum(structure.name, site.label, site.multiplicity,
                                        polarisation, seen, shift))
    return axis.shifts, tuple(records)


@dataclass(frozen=True, eq=False)
class CommonAxis:
    """The axis of all spectra of a study.

    Attributes
    ----------
    grid_eV, own_eV
        (n,) energies, and where they lie before the study's stretch.
    hwhm_eV
        (n,) half widths of the final states there.
    shifts
        Of every site.
    """

    grid_eV: Array
    own_eV: Array
    hwhm_eV: Array
    shifts: tuple[Shift, ...]

    def shift_eV(self, structure: str, absorber: str) -> float:
        """Return what is added to the energies of one site."""
        return next(s.shift_eV for s in self.shifts
                    if (s.structure, s.absorber) == (structure, absorber))


def common_axis(results: StudyResults, settings: SpectraSettings) -> CommonAxis:
    """Return the axis of a study; InputError as ``study_spectra``."""
    require(settings.energy_min_eV < settings.energy_max_eV,
            "[spectra]: energy_min_eV is not below energy_max_eV: swap them")
    grid = np.linspace(settings.energy_min_eV, settings.energy_max_eV, settings.points)
    # Widths are those of the common axis: the same energy has the same width in whatever cell it
    # was computed. A stretched axis is that of the measurement, but for its zero.
    own = grid / (1 + settings.stretch)
    width = half_width(settings.width_model, own, settings.core_hole_hwhm_eV, settings.width)
    table = shifts(_site_energies(results), results.study.reference, settings.alignment)
    return CommonAxis(grid, own, width, tuple(table))


def chain_ends(study: Study, settings: SpectraSettings) -> dict[str, Any]:
    """Return how the chains of a study end, as ``espresso.lanczos.evaluate`` takes it."""
    if not settings.terminator:
        return {"terminator": None, "taper": 0.0}
    return {"terminator": study.xspectra.check_every, "taper": settings.taper}


_LATER: tuple[tuple[str, str, Any], ...] = (
    ("spectra", "stretch", 0.0), ("structures", "primitive", False), ("pw", "hubbard_U_eV", {}),
    ("feff", "match_tolerance_A", POSITION_TOLERANCE_A), ("feff", "l_max_of", {}))


def budget_key(study: Study, settings: SpectraSettings, entries: Iterable[str]) -> dict[str, Any]:
    """Return how the differences of some entries are computed and evaluated, as JSON has it.

    Grid and normalisation are no part of it: rows of a budget are curves over energy in per cent.
    """
    table, grid = resolved(study), ("energy_min_eV", "energy_max_eV", "points", "normalisation")
    table["spectra"] = {k: v for k, v in asdict(settings).items() if k not in grid}
    wanted = {study.reference, *entries}
    table["structures"] = {k: v for k, v in table["structures"].items() if k in wanted}
    # Keys that came later: at their defaults the same spectra have the same name as before.
    tables = {"structures": table["structures"].values()}
    for name, key, default in _LATER:
        for one in tables.get(name, [table[name]] if name in table else []):
            if one.get(key) == default:
                del one[key]
    # Budgets of earlier versions are of XSpectra's K edges, and do not name them.
    for key in ("run", "engine", "edge") if study.engine.kind == "xspectra" else ("run",):
        del table[key]
    return dict(json.loads(json.dumps(table)))


def _budget_rows(results: StudyResults, settings: SpectraSettings,
                 grid: Array) -> dict[str, dict[str, Array]]:
    """Return the rows of each difference on this grid; none of a budget made for something else."""
    budget = results.budget
    if budget is None or not (budget.energy_eV[0] <= grid[0] and grid[-1] <= budget.energy_eV[-1]):
        return {}
    entries = {source.structure.split("@")[0] for source in budget.sources}
    if budget.made_for != budget_key(results.study, settings, entries):
        return {}
    found = {}
    for one in results.structures:
        rows = budget.of(one.name, one.amplitude_sqrt_amu_A, 2 if one.sign_equivalent else 1)
        if rows:
            found[one.name] = {setting: np.interp(grid, budget.energy_eV, row)
                               for setting, row in rows.items()}
    return found


def powder_spectra(results: StudyResults, settings: SpectraSettings) -> StudySpectra:
    """Return the spectra of a study, but InputError where they are not powder averages."""
    spectra = study_spectra(results, settings)
    require(not spectra.part, f"the study has spectra of {spectra.part}, which no powder shows: set"
            ' polarisations = ["x", "y", "z"]')
    return spectra


def other_alignment(results: StudyResults, settings: SpectraSettings) -> StudySpectra:
    """Return the same spectra with the alignment switched on or off, to show what it does."""
    switched = "fermi" if settings.alignment == "delta-scf" else "delta-scf"
    return study_spectra(results, replace(settings, alignment=switched))


def write_tables(spectra: StudySpectra, folder: Path) -> list[Path]:
    """Write spectra.csv, sites.csv, differences.csv and shifts.csv; return their paths."""
    # The differences are in units of this; spectra.csv and sites.csv are not.
    scale = f"over the {spectra.settings.normalisation.replace('-', ' ')} of {spectra.reference}"
    part = f" ({spectra.part})" if spectra.part else ""
    averages = {name + part: one.average for name, one in spectra.structures.items()}
    sites = {f"{name}/{site}{part}": spectrum for name, one in spectra.structures.items()
             for site, spectrum in one.sites.items()}
    changes = {f"{name}{_from(spectra, name)}{part} ({scale})": change
               for name, change in spectra.differences.items()}
    for name, change in spectra.differences.items():
        area = norm(change, "absolute-area") if change.intensity.any() else 1.0
        changes[f"{name}{part} over its absolute area"] = change * (1 / area)
    base = spectra.structures[spectra.reference].average
    size = norm(base, spectra.settings.normalisation)
    for name, error in spectra.mean_errors.items():
        averages[f"{name}{part} standard error"] = replace(base, intensity=error.sigma)
    for name, error in spectra.errors.items():
        changes[f"{name}{part} standard error ({scale})"] = replace(
            base, intensity=error.sigma / abs(size))
    files = {"spectra.csv": averages, "sites.csv": sites, "differences.csv": changes}
    energy = {"energy_eV": spectra.structures[spectra.reference].average.energy_eV}
    written = [write_csv(folder / file, energy | {name: s.intensity for name, s in columns.items()})
               for file, columns in files.items()]
    if spectra.budget:
        bands = {f"{name} calculation error (% of the maximum of {spectra.reference})": sigma(rows)
                 for name, rows in spectra.budget.items()}
        written.append(write_csv(folder / "calculation_error.csv", energy | bands))
    rows = {name: [getattr(s, name) for s in spectra.shifts] for name in Shift.__dataclass_fields__}
    rows["shift_eV"] = [round(value, 6) for value in rows["shift_eV"]]
    return [*written, write_csv(folder / "shifts.csv", rows)]


def _from(spectra: StudySpectra, name: str) -> str:
    return f" minus {spectra.bases[name]}" if name in spectra.bases else ""


def calculation_error_percent(spectra: StudySpectra) -> dict[str, float | None]:
    """Return structure -> largest calculation error (1σ), in % of the reference's maximum.

    None where it was not estimated.
    """
    bands = {name: sigma(rows) for name, rows in spectra.budget.items()}
    return {name: None if (band := bands.get(name)) is None else float(band.max())
            for name in spectra.differences}


def largest_percent(spectra: StudySpectra, base: StudySpectra) -> dict[str, float]:
    """Return structure -> largest change from its reference, in % of base's reference maximum."""
    top = float(base.structures[base.reference].average.intensity.max())
    changes = {name: (spectra.structures[name].average
                      - spectra.structures[spectra.base_of(name)].average).intensity
               for name in spectra.differences}
    return {name: 100 * float(np.abs(change).max()) / top for name, change in changes.items()}


def _sites(results: StudyResults) -> list[tuple[StructureResult, SiteResult]]:
    return [(structure, site) for structure in results.structures for site in structure.sites]


def cut_above_eV(site: SiteResult, settings: SpectraSettings) -> float:
    """Return how far above the Fermi energy in the file occupied and empty states are parted."""
    top, empty = site.hole["highest_occupied_eV"], site.hole["lowest_empty_eV"]
    # pw.x reports the highest occupied level for the Fermi energy when the occupations are fixed.
    if site.hole["fermi_eV"] != top:
        return 0.0
    if settings.cut_occupied and empty is not None and empty - top <= settings.cut_above_eV:
        raise InputError(f"the gap with a hole on {site.label} is {empty - top:.2f} eV, so"
                         f" cut_above_eV = {settings.cut_above_eV:g} would take empty states away:"
                         " set [spectra] cut_above_eV to half of the gap")
    return settings.cut_above_eV


def _site_energies(results: StudyResults) -> list[SiteEnergies]:
    if results.study.engine.kind == "feff":
        return [SiteEnergies(structure.name, site.label, site.multiplicity, "cluster", 0.0,
                             results.curves[site.chains[POWDER]].edge_eV, 0.0, structure.lattice_A)
                for structure, site in _sites(results)]
    # The level that holds an excited electron is the highest (partly) occupied one of that cell.
    return [SiteEnergies(
        structure.name, site.label, site.multiplicity, results.study.core_hole.kind,
        (structure.ground if site.ground is None else site.ground)["total_energy_eV"],
        site.hole["total_energy_eV"],
        results.chains[next(iter(site.chains.values()))].fermi_energy_eV, structure.lattice_A,
        site.hole["lowest_empty_eV"]) for structure, site in _sites(results)]
