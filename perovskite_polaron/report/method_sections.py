"""Sections 5 and 6 of a report: the heating estimate, how everything was calculated, and what would change the answer."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from perovskite_polaron import published_cspbbr3 as published
from perovskite_polaron.analysis.heating import RELATIVE_SIGMA, Heating
from perovskite_polaron.published_cspbbr3 import FEATURES
from perovskite_polaron.report.blocks import Block, Rows, Section, Table, Text, listed, meaning
from perovskite_polaron.report.study_charts import alignment_chart, heating_chart
from perovskite_polaron.report.subject import Subject
from perovskite_polaron.workflow.jobs import INPUTS
from perovskite_polaron.workflow.spectra import StudySpectra, study_spectra
from perovskite_polaron.workflow.structures import image_distance_A

_WORDS = {
    "ecutwfc_Ry": "cut-off of the wave functions (Ry)",
    "ecutrho_Ry": "cut-off of the density (Ry)",
    "kpoints": "k grid",
    "kpoint_shift": "shift of the k grid (half steps)",
    "conv_thr_Ry": "convergence threshold (Ry)",
    "occupations": "occupations",
    "degauss_Ry": "smearing, if any (Ry)",
    "max_iterations": "Lanczos steps at most",
    "check_every": "convergence checked every (steps)",
    "relative_error": "relative error at which a chain stops",
    "check_hwhm_eV": "half width at which it is checked (eV)",
    "energy_range_eV": "energies for which it is checked (eV)",
    "alignment": "alignment",
    "normalisation": "normalisation of the study's tables",
    "width_model": "width of the final states",
    "core_hole_hwhm_eV": "core-hole half width, HWHM (eV)",
    "resolution_fwhm_eV": "resolution, Gaussian FWHM (eV)",
    "cut_occupied": "occupied states removed",
    "cut_above_eV": "up to so far above the highest occupied level (eV; 0 with smearing)",
    "terminator": "chains continued by their mean",
    "taper": "share of a chain that goes over into it",
    "kind": "core hole",
}


def heating_section(result: Heating) -> Section:
    """Return the estimate with its inputs, what dominates it, and the phase it ends in."""
    e = result.exposure
    sigma = {k: f"{100 * v:g} %" for k, v in RELATIVE_SIGMA.items()}
    rows = [
        ("pump fluence", f"{e.fluence_mJ_cm2:g} mJ/cm²", "published", sigma["fluence"]),
        ("photon energy", f"{e.photon_energy_eV:.2f} eV ({published.PUMP_NM:g} nm)", "published", "–"),
        ("band gap", f"{e.gap_eV:g} eV", "published", "–"),
        ("edge of a nanocrystal", f"{e.size_A / 10:g} nm", "published", sigma["size"]),
        ("concentration", f"{e.concentration_mg_mL:g} mg/mL", "published", sigma["concentration"]),
        ("thickness of the jet", f"{e.jet_A * 1e-4:g} µm", "assumed; not published", sigma["jet"]),
        ("absorption", "whole pulse", "assumed", "–"),
        ("heat capacity", f"{e.heat_capacity.at_J_mol_K(e.start_C):.1f} J/mol/K", e.heat_capacity.words, sigma["heat_capacity"]),
        ("temperature before", f"{e.start_C:g} °C", "assumed", "–"),
    ]  # fmt: skip
    return Section(
        "heating",
        "Heating and phases",
        [
            meaning(
                "A photon of the pump carries more energy than the gap; the excess becomes heat at once. The "
                "estimate keeps all of it in the crystal "
                "that absorbed the light, so it is an upper limit. The bars say by how much the result moves when "
                "one input is off by its uncertainty."
            ),
            Table("Inputs", ("input", "value", "from", "relative uncertainty (1σ)"), rows),
            Text(
                f"Upper limit of the rise: {result.delta_T_K:.0f} K (68 % range {result.delta_T_low_K:.0f} to "
                f"{result.delta_T_high_K:.0f} K), to "
                f"{result.final_C:.0f} °C; the phase there is {result.phase}. One crystal absorbs "
                f"{result.photons_per_nc:.0f} photons, of whose "
                f"{result.total_energy_eV:.0f} eV {result.heat_eV:.0f} eV become heat. Dominated by: "
                f"{result.tornado[0][0].replace('_', ' ')}."
            ),
            heating_chart(result),
            Text(
                f"The published {published.HEATING_K:g} K also follow from each of these single changes, so "
                f"agreement identifies none of the inputs: " + "; ".join(result.equivalent) + "."
            ),
        ],
    )


def method_section(subject: Subject) -> Section:
    """Return programs, settings, convergence, alignment, and the variations of the answer."""
    blocks: list[Block] = [
        meaning(
            "Each absorbing atom gets a core hole of its own in a cell of its own; pw.x relaxes the electrons around "
            "it, and xspectra.x builds a chain "
            "(Lanczos) whose continued fraction is the spectrum at any width. One chain is one atom and one "
            "direction of the electric field."
        ),
        Table("Settings", ("", "value"), list(_settings(subject))),
        Text(_cell_words(subject)),
        Table("Self-consistent calculations", *_scf(subject)),
        meaning(
            "The error left is pw.x's estimate of the energy that is still to be gained. For chains: the number of "
            "steps at each k point, and the largest change of the "
            f"spectrum, in % of the ground state's maximum, when the last {subject.study.xspectra.check_every} steps "
            f"are taken away."
        ),
        Table("Lanczos chains", *_chains(subject)),
        Table("Pseudopotentials (SHA-256 of each file)", ("species", "hash"), _pseudopotentials(subject)),
        meaning(
            "The calculated energies of different atoms and structures have no common zero; total-energy differences "
            "between the cells with and without the hole "
            "(ΔSCF) give one. A shift is what was added to the energies of a site, counted from the mean of the "
            "ground state."
        ),
        Table(
            "Alignment",
            ("structure", "absorber", "shift (eV)", "caveat"),
            [(s.structure, s.absorber, f"{s.shift_eV:+.3f}", s.caveat or "–") for s in subject.spectra.shifts],
        ),
    ]
    if subject.names:
        varied = _variations(subject)
        blocks += [
            alignment_chart(subject),
            meaning(
                "The same chains evaluated otherwise. Likeness is the cosine between the difference as reported and "
                "as varied: 1 is the same shape, 0 is none in common, "
                "negative is turned over."
                + (
                    " The last columns are the differences (% of the maximum) at the published features above the edge."
                    if subject.is_published_case
                    else ""
                )
            ),
            Table("What would change the answer", *_variation_rows(subject, varied)),
            Text(_turned(varied)),
            Text(
                "Not varied here, because it needs new calculations: cut-off, k grids and the size of the cell "
                "(polaron converge does the first three), the functional, the "
                "core hole's screening beyond this one, the geometry, and the carriers' own change of the spectrum "
                "near the edge."
            ),
        ]
    return Section("method", "How it was calculated, and what would change the answer", blocks)


def _settings(subject: Subject) -> Iterator[Sequence[str]]:
    study = subject.study
    grounds = [s.ground for s in subject.results.structures] + [
        h.hole for s in subject.results.structures for h in s.sites
    ]
    versions = {str(r["program"]): str(r["program_version"]) for r in grounds if "program" in r}
    inputs = subject.folder / INPUTS
    if inputs.exists():
        versions |= json.loads(inputs.read_text())["versions"]
    for program in ("pw.x", "xspectra.x"):
        yield program, versions.get(program, "version not in these results")
    yield (
        "polaron",
        ", ".join(sorted({str(r["polaron_version"]) for r in grounds if "polaron_version" in r})) or "not recorded",
    )
    tables: dict[str, Any] = {
        "core hole": study.core_hole,
        "pw.x": study.pw,
        "xspectra.x": study.xspectra,
        "spectra": subject.settings,
    }
    for where, values in ((where, asdict(table)) for where, table in tables.items()):
        for key, value in values.items():
            if key in _WORDS:
                yield f"{where}: {_WORDS[key]}", _value(value)
            elif isinstance(value, Mapping) and value:
                yield f"{where}: also", ", ".join(f"{k} = {_value(v)}" for k, v in value.items())


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple | list):
        return (
            " × ".join(_value(v) for v in value)
            if all(isinstance(v, int) for v in value)
            else " to ".join(_value(v) for v in value)
        )
    return f"{value:g}" if isinstance(value, float) else str(value)


def _cell_words(subject: Subject) -> str:
    known = {n: image_distance_A(s.crystal) for n, s in subject.structures.items()}
    if not known:
        return "The crystals are not beside the results, so the distance between a core hole and its images is not known here."
    nearest = min(known.values())
    small = " That is small: a larger cell would tell what it does." if nearest < 12 else ""
    return f"A core hole is {nearest:.2f} Å from its nearest periodic image ({listed(sorted(known))}).{small}"


def _scf(subject: Subject) -> Rows:
    rows = []
    for structure in subject.results.structures:
        for label, record in (
            (f"{structure.name}, no hole", structure.ground),
            *((f"{structure.name}, hole on {s.label}", s.hole) for s in structure.sites),
        ):
            rows.append(
                (
                    label,
                    f"{record['total_energy_eV']:.4f}",
                    _optional(record, "fermi_eV", ".3f"),
                    _optional(record, "iterations", "d"),
                    _optional(record, "scf_error_Ry", ".1e"),
                    _optional(record, "electrons", ".0f"),
                    _optional(record, "wall_seconds", ".0f"),
                )
            )
    return (
        "calculation",
        "total energy (eV)",
        "Fermi energy (eV)",
        "iterations",
        "error left (Ry)",
        "electrons",
        "time (s)",
    ), rows


def _optional(record: Mapping[str, Any], key: str, form: str) -> str:
    value = record.get(key)
    return "–" if value is None else format(value, form)


def _chains(subject: Subject) -> Rows:
    top = subject.spectra.structures[subject.reference].average.intensity.max()
    rows = []
    for one, shorter in zip(subject.spectra.records, subject.shortened.records, strict=True):
        save = subject.results.chains[one.spectrum.label]
        change = 100 * np.abs(one.spectrum.intensity - shorter.spectrum.intensity).max() / top
        rows.append(
            (
                one.structure,
                one.absorber,
                one.polarisation,
                ", ".join(map(str, save.iterations.ravel().tolist())),
                f"{change:.2f}",
            )
        )
    return ("structure", "absorber", "field along", "steps at each k point", "change without the last steps (%)"), rows


def _pseudopotentials(subject: Subject) -> Sequence[Sequence[str]]:
    found: dict[tuple[str, str], None] = {}
    for structure in subject.results.structures:
        for record in (structure.ground, *(s.hole for s in structure.sites)):
            for species, digest in record.get("pseudopotentials", {}).items():
                found[
                    (
                        f"{species[:-1]} with the core hole" if species.endswith("h") and species != "Rh" else species,
                        digest,
                    )
                ] = None
    return sorted(found)


@dataclass(frozen=True)
class _Variation:
    """One structure in one variation; values: at the published structural features, in % of the maximum."""

    words: str
    structure: str
    largest: float
    likeness: float
    values: tuple[float, ...]


def _variations(subject: Subject) -> list[_Variation]:
    features = [f for f in FEATURES if f.structural] if subject.is_published_case else []
    found = []
    for words, spectra, moved_eV in _varied(subject):
        # As in the experiment, energies count from the first maximum, wherever the variation puts it.
        place = subject.first_maximum_eV(spectra) - moved_eV
        for name in subject.principal:
            base, curve = subject.percent(name), subject.percent(name, spectra)
            likeness = float(base @ curve / np.linalg.norm(base) / np.linalg.norm(curve))
            values = tuple(float(np.interp(place + f.offset_eV, subject.energy_eV, curve)) for f in features)
            found.append(_Variation(words, name, float(np.abs(curve).max()), likeness, values))
    return found


def _variation_rows(subject: Subject, found: Sequence[_Variation]) -> Rows:
    energies = [f"{f.energy_eV / 1000:.3f} keV" for f in FEATURES if f.structural and subject.is_published_case]
    rows = [
        (v.words, v.structure, f"{v.largest:.2f}", f"{v.likeness:.3f}", *(f"{x:+.2f}" for x in v.values)) for v in found
    ]
    return ("variation", "structure", "largest difference (%)", "likeness", *energies), rows


def _turned(found: Sequence[_Variation]) -> str:
    """Which variations turn the sign of a feature, or change the shape most: the answer to the section's question."""
    reported = {v.structure: v for v in found if v.words == found[0].words}
    turned = [
        f"{v.words} ({v.structure})"
        for v in found
        if any(x * y < 0 for x, y in zip(v.values, reported[v.structure].values, strict=True))
    ]
    least = min(found, key=lambda v: v.likeness)
    shape = f"The shape changes most with: {least.words} ({least.structure}, likeness {least.likeness:.2f})."
    if not found[0].values:
        return shape
    return (
        f"The sign at a published feature is turned by: {'; '.join(turned)}. "
        if turned
        else "None of these turns the sign at a published feature. "
    ) + shape


def _varied(subject: Subject) -> Iterator[tuple[str, StudySpectra, float]]:
    s = subject.settings
    yield "as reported", subject.spectra, 0.0
    yield f"alignment {subject.unaligned.settings.alignment}", subject.unaligned, 0.0
    for factor in (0.8, 1.25):
        width = s.core_hole_hwhm_eV * factor
        if s.width_model != "table":
            yield (
                f"core-hole half width {width:.2f} eV",
                study_spectra(subject.results, replace(s, core_hole_hwhm_eV=width)),
                0.0,
            )
    resolution = s.resolution_fwhm_eV + 1.0
    yield (
        f"resolution {resolution:.1f} eV",
        study_spectra(subject.results, replace(s, resolution_fwhm_eV=resolution)),
        0.0,
    )
    yield f"chains without their last {subject.study.xspectra.check_every} steps", subject.shortened, 0.0
    for moved in (-1.0, 1.0):
        yield f"edge moved by {moved:+g} eV", subject.spectra, moved
