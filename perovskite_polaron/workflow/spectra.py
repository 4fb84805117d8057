"""From the Lanczos chains of a study to aligned, averaged spectra and their differences."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from perovskite_polaron.errors import InputError
from perovskite_polaron.espresso.lanczos import evaluate
from perovskite_polaron.files import write_csv
from perovskite_polaron.spectra.alignment import Shift, SiteEnergies, shifts
from perovskite_polaron.spectra.broadening import half_width, resolve
from perovskite_polaron.spectra.spectrum import (
    SiteSpectrum,
    Spectrum,
    StructureSpectra,
    average_structures,
    differences,
    normalise,
)
from perovskite_polaron.workflow.jobs import plan
from perovskite_polaron.workflow.results import SiteResult, StudyResults, collect, read_results, write_results
from perovskite_polaron.workflow.store import Store
from perovskite_polaron.workflow.study import SpectraSettings, read_study

# kind of core hole in a study -> its name in the alignment
_HOLES = {"full": "full", "half": "half", "excited-electron": "excited", "none": "none"}


@dataclass(frozen=True)
class StudySpectra:
    """Everything ``polaron spectra`` shows.

    structures: averages and sites of each structure. differences: average minus the reference's, over the norm of the
    reference. scaled: each difference over its own absolute area, for comparing shapes with a measured transient.
    shifts: what was added to the energies of each site. records: every polarisation of every site, not averaged.
    """

    settings: SpectraSettings
    reference: str
    structures: Mapping[str, StructureSpectra]
    differences: Mapping[str, Spectrum]
    scaled: Mapping[str, Spectrum]
    shifts: tuple[Shift, ...]
    records: tuple[SiteSpectrum, ...]


def load_results(source: Path) -> tuple[StudyResults, SpectraSettings, Path]:
    """Return results, [spectra] settings and the folder they are in, from a study file or a folder with results.json.

    From a study file the results are gathered from its store and written beside it as results.json and chains.npz.
    Raises InputError when there is no such file or folder, ComputationError when jobs of the study have no result yet.
    """
    if source.is_dir():
        results = read_results(source)
        return results, results.study.spectra, source
    if not source.exists():
        raise InputError(f"{source} does not exist: give a study file, or a folder with results.json")
    study = read_study(source)
    results = collect(study, plan(study), Store(study.store_folder))
    write_results(results, study.store_folder)
    return results, study.spectra, study.store_folder


def study_spectra(results: StudyResults, settings: SpectraSettings) -> StudySpectra:
    """Evaluate, align, broaden, average and subtract.

    Each chain is evaluated exactly where the common grid asks for it, at grid - shift, so alignment needs no
    interpolation. The terminator averages what xspectra.x watched for its convergence (``xspectra.check_every``).
    Raises InputError when the grid is unusable.
    """
    if settings.energy_min_eV >= settings.energy_max_eV:
        raise InputError("[spectra]: energy_min_eV is not below energy_max_eV: swap them")
    grid = np.linspace(settings.energy_min_eV, settings.energy_max_eV, settings.points)
    terminator = results.study.xspectra.check_every if settings.terminator else None
    energies = _site_energies(results)
    table = shifts(energies, results.study.reference, settings.alignment)
    shift_of = {(s.structure, s.absorber): s.shift_eV for s in table}
    records = []
    for structure in results.structures:
        for site in structure.sites:
            shift = shift_of[structure.name, site.label]
            own = grid - shift
            cut_above = _cut_above_eV(site, settings)
            width = half_width(settings.width_model, own, settings.core_hole_hwhm_eV, settings.width)
            for axis, name in site.chains.items():
                curve = evaluate(
                    results.chains[name],
                    own,
                    width,
                    cut_occupied=settings.cut_occupied,
                    cut_smooth_eV=settings.cut_smooth_eV,
                    cut_above_eV=cut_above,
                    terminator=terminator,
                    taper=settings.taper if settings.terminator else 0.0,
                ).total
                spectrum = resolve(Spectrum(grid, curve, name), settings.resolution_fwhm_eV)
                records.append(SiteSpectrum(structure.name, site.label, site.multiplicity, axis, spectrum, shift))
    averages = average_structures(records)
    found = differences(averages, results.study.reference, settings.normalisation)
    found = {name: d for name, d in found.items() if name != results.study.reference}
    scaled = {name: normalise(d, "absolute-area") if np.any(d.intensity) else d for name, d in found.items()}
    return StudySpectra(settings, results.study.reference, averages, found, scaled, tuple(table), tuple(records))


def other_alignment(results: StudyResults, settings: SpectraSettings) -> StudySpectra:
    """Return the same spectra with the alignment switched on or off, to show what it does."""
    switched = "fermi" if settings.alignment == "delta-scf" else "delta-scf"
    return study_spectra(results, replace(settings, alignment=switched))


def write_tables(spectra: StudySpectra, folder: Path) -> list[Path]:
    """Write spectra.csv, sites.csv, differences.csv and shifts.csv; return their paths."""
    energy = {"energy_eV": spectra.structures[spectra.reference].average.energy_eV}
    kind = spectra.settings.normalisation.replace("-", " ")
    # The differences are in units of this; spectra.csv and sites.csv are not.
    scale = "" if kind == "none" else f" (over the {kind} of {spectra.reference})"
    sites = {f"{name}/{site}": x for name, s in spectra.structures.items()
             for site, x in s.sites.items()}
    differences = {f"{name}{scale}": s for name, s in spectra.differences.items()}
    differences |= {f"{name} over its absolute area": s for name, s in spectra.scaled.items()}
    tables: dict[str, Mapping[str, Spectrum]] = {
        "spectra.csv": {name: s.average for name, s in spectra.structures.items()},
        "sites.csv": sites,
        "differences.csv": differences,
    }
    written = [write_csv(folder / file, energy | {name: s.intensity for name, s in columns.items()})
               for file, columns in tables.items()]
    shifts = {name: [getattr(s, name) for s in spectra.shifts]
              for name in ("structure", "absorber", "shift_eV", "caveat")}
    shifts["shift_eV"] = [round(v, 6) for v in shifts["shift_eV"]]
    return [*written, write_csv(folder / "shifts.csv", shifts)]


def largest_percent(spectra: StudySpectra, base: StudySpectra) -> dict[str, float]:
    """Return structure -> largest change from its reference, in % of base's reference maximum."""
    reference = spectra.structures[spectra.reference].average
    top = float(base.structures[base.reference].average.intensity.max())
    changes = {name: (spectra.structures[name].average - reference).intensity
               for name in spectra.differences}
    return {name: 100 * float(np.abs(change).max()) / top for name, change in changes.items()}


def _cut_above_eV(site: SiteResult, settings: SpectraSettings) -> float:
    # pw.x reports the highest occupied level for the Fermi energy when the occupations are fixed.
    if site.hole["fermi_eV"] != site.hole["highest_occupied_eV"]:
        return 0.0
    empty = site.hole["lowest_empty_eV"]
    if settings.cut_occupied and empty is not None and empty - site.hole["highest_occupied_eV"] <= settings.cut_above_eV:
        raise InputError(
            f"the gap with a hole on {site.label} is {empty - site.hole['highest_occupied_eV']:.2f} eV, so cut_above_eV = "
            f"{settings.cut_above_eV:g} would take empty states away: set [spectra] cut_above_eV to half of the gap"
        )
    return settings.cut_above_eV


def _site_energies(results: StudyResults) -> list[SiteEnergies]:
    rows = []
    for structure in results.structures:
        a, b, c = ((r[0], r[1], r[2]) for r in structure.lattice_A)
        for site in structure.sites:
            fermi = results.chains[next(iter(site.chains.values()))].fermi_energy_eV
            # The level that holds the excited electron is the highest (partly) occupied one of that neutral cell.
            lumo = site.hole["lowest_empty_eV"] if results.study.core_hole.kind == "excited-electron" else None
            rows.append(
                SiteEnergies(
                    structure.name,
                    site.label,
                    site.multiplicity,
                    _HOLES[results.study.core_hole.kind],
                    structure.ground["total_energy_eV"],
                    site.hole["total_energy_eV"],
                    fermi,
                    (a, b, c),
                    lumo,
                )
            )
    return rows
