"""From the Lanczos chains of a study to aligned, averaged spectra and their differences."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from perovskite_polaron.errors import InputError, require
from perovskite_polaron.espresso.lanczos import evaluate
from perovskite_polaron.files import write_csv
from perovskite_polaron.spectra.alignment import Shift, SiteEnergies, shifts
from perovskite_polaron.spectra.broadening import half_width, resolve
from perovskite_polaron.spectra.spectrum import (
    POLARISATIONS, SiteSpectrum, Spectrum, StructureSpectra, average_structures, differences, norm)
from perovskite_polaron.workflow.jobs import plan
from perovskite_polaron.workflow.results import (
    SiteResult, StructureResult, StudyResults, collect, read_results)
from perovskite_polaron.workflow.store import Store
from perovskite_polaron.workflow.study import SpectraSettings, read_study


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
    """

    settings: SpectraSettings
    reference: str
    structures: Mapping[str, StructureSpectra]
    differences: Mapping[str, Spectrum]
    shifts: tuple[Shift, ...]
    records: tuple[SiteSpectrum, ...]

    @property
    def part(self) -> str:
        """Empty for powder averages; else the polarisations that alone are there: ``z only``."""
        there = [axis for axis in POLARISATIONS if axis in {r.polarisation for r in self.records}]
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
    require(settings.energy_min_eV < settings.energy_max_eV,
            "[spectra]: energy_min_eV is not below energy_max_eV: swap them")
    study = results.study
    grid = np.linspace(settings.energy_min_eV, settings.energy_max_eV, settings.points)
    table = shifts(_site_energies(results), study.reference, settings.alignment)
    shift_of = {(s.structure, s.absorber): s.shift_eV for s in table}
    # Of the common axis: the same energy has the same width in whatever cell it was computed.
    width = half_width(settings.width_model, grid, settings.core_hole_hwhm_eV, settings.width)
    records = []
    for structure, site in _sites(results):
        shift, cut_above = shift_of[structure.name, site.label], _cut_above_eV(site, settings)
        for axis, name in site.chains.items():
            curve = evaluate(
                results.chains[name], grid - shift, width, cut_occupied=settings.cut_occupied,
                cut_smooth_eV=settings.cut_smooth_eV, cut_above_eV=cut_above,
                terminator=study.xspectra.check_every if settings.terminator else None,
                taper=settings.taper if settings.terminator else 0.0).total
            seen = resolve(Spectrum(grid, curve, name), settings.resolution_fwhm_eV)
            records.append(
                SiteSpectrum(structure.name, site.label, site.multiplicity, axis, seen, shift))
    averages = average_structures(records, study.polarisations)
    found = differences(averages, study.reference, settings.normalisation)
    del found[study.reference]
    return StudySpectra(settings, study.reference, averages, found, tuple(table), tuple(records))


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
    changes = {f"{name}{part} ({scale})": change for name, change in spectra.differences.items()}
    for name, change in spectra.differences.items():
        area = norm(change, "absolute-area") if change.intensity.any() else 1.0
        changes[f"{name}{part} over its absolute area"] = change * (1 / area)
    files = {"spectra.csv": averages, "sites.csv": sites, "differences.csv": changes}
    energy = {"energy_eV": spectra.structures[spectra.reference].average.energy_eV}
    written = [write_csv(folder / file, energy | {name: s.intensity for name, s in columns.items()})
               for file, columns in files.items()]
    rows = {name: [getattr(s, name) for s in spectra.shifts] for name in Shift.__dataclass_fields__}
    rows["shift_eV"] = [round(value, 6) for value in rows["shift_eV"]]
    return [*written, write_csv(folder / "shifts.csv", rows)]


def largest_percent(spectra: StudySpectra, base: StudySpectra) -> dict[str, float]:
    """Return structure -> largest change from its reference, in % of base's reference maximum."""
    reference = spectra.structures[spectra.reference].average
    top = float(base.structures[base.reference].average.intensity.max())
    changes = {name: (spectra.structures[name].average - reference).intensity
               for name in spectra.differences}
    return {name: 100 * float(np.abs(change).max()) / top for name, change in changes.items()}


def _sites(results: StudyResults) -> list[tuple[StructureResult, SiteResult]]:
    return [(structure, site) for structure in results.structures for site in structure.sites]


def _cut_above_eV(site: SiteResult, settings: SpectraSettings) -> float:
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
    # The level that holds an excited electron is the highest (partly) occupied one of that cell.
    return [SiteEnergies(
        structure.name, site.label, site.multiplicity, results.study.core_hole.kind,
        structure.ground["total_energy_eV"], site.hole["total_energy_eV"],
        results.chains[next(iter(site.chains.values()))].fermi_energy_eV, structure.lattice_A,
        site.hole["lowest_empty_eV"]) for structure, site in _sites(results)]
