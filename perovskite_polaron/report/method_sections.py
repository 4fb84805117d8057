"""Sections 5 and 6 of a report: heating, how all was calculated, what would change the answer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from perovskite_polaron.analysis.heating import RELATIVE_SIGMA, Heating
from perovskite_polaron.espresso.pw import absorber_label
from perovskite_polaron.published import PumpProbe
from perovskite_polaron.report.blocks import (
    WORDS, Block, Rows, Section, Table, Text, listed, meaning, plain)
from perovskite_polaron.report.study_charts import alignment_chart, heating_chart
from perovskite_polaron.report.subject import Subject
from perovskite_polaron.workflow.records import recorded_inputs
from perovskite_polaron.workflow.spectra import StudySpectra, study_spectra
from perovskite_polaron.workflow.structures import image_distance_A

# Column of the table of calculations, key of a result, format.
_SCF = (("total energy (eV)", "total_energy_eV", ".4f"), ("Fermi energy (eV)", "fermi_eV", ".3f"),
        ("iterations", "iterations", "d"), ("error left (Ry)", "scf_error_Ry", ".1e"),
        ("electrons", "electrons", ".0f"), ("time (s)", "wall_seconds", ".0f"))


def heating_section(pump: PumpProbe, heats: Mapping[str, Heating]) -> Section:
    """Return the estimate with its inputs, what dominates it, and the phase it ends in."""
    heat, *_ = heats.values()
    e = heat.exposure
    sigma = {name: f"{100 * value:g} %" for name, value in RELATIVE_SIGMA.items()}
    capacity = f"{e.capacity.at_J_mol_K(e.start_C):.1f} J/mol/K"
    rows = [
        ("pump fluence", f"{e.fluence_mJ_cm2:g} mJ/cm²", "published", sigma["fluence"]),
        ("photon energy", f"{e.photon_energy_eV:.2f} eV ({pump.wavelength_nm:g} nm)", "published",
         "–"),
        ("band gap", f"{e.material.gap_eV:g} eV", "published", "–"),
        ("edge of a nanocrystal", f"{e.size_A / 10:g} nm", "published", sigma["size"]),
        ("concentration", f"{e.concentration_mg_mL:g} mg/mL", "published", sigma["concentration"]),
        ("thickness of the jet", f"{e.jet_A * 1e-4:g} µm", "assumed; not published", sigma["jet"]),
        ("absorption", "whole pulse", "assumed", "–"),
        ("heat capacity", capacity, e.capacity.words, sigma["heat_capacity"]),
        ("temperature before", f"{e.start_C:g} °C", "assumed", "–")]
    return Section("heating", "Heating and phases", [
        meaning("heating"),
        Table("Inputs", ("input", "value", "from", "relative uncertainty (1σ)"), rows),
        Text(f"Rise right after the pulse, the mean over the jet: {heat.delta_T_K:.0f} K (68 % "
             f"range {heat.delta_T_low_K:.0f} to {heat.delta_T_high_K:.0f} K), to "
             f"{heat.final_C:.0f} °C; the phase there is {heat.phase}. One crystal absorbs "
             f"{heat.photons_per_nc:.0f} photons, of whose {heat.total_energy_eV:.0f} eV "
             f"{heat.heat_eV:.0f} eV become heat at once; if all did, and nothing cooled, it would "
             f"be {heat.delta_T_all_K:.0f} K. Dominated by: "
             f"{heat.tornado[0][0].replace('_', ' ')}."),
        heating_chart(pump, heats),
        Text(f"The published {pump.delta_T_K:g} K also follow from each of these single changes, "
             f"so agreement identifies none of the inputs: {'; '.join(heat.equivalent)}.")])


def method_section(subject: Subject) -> Section:
    """Return programs, settings, convergence, alignment, and the variations of the answer."""
    shifts = [(s.structure, s.absorber, f"{s.shift_eV:+.3f}", s.caveat or "–")
              for s in subject.spectra.shifts]
    engine = _feff if subject.study.engine.kind == "feff" else _xspectra
    blocks: list[Block] = [
        *engine(subject), meaning("alignment"),
        Table("Alignment", ("structure", "absorber", "shift (eV)", "caveat"), shifts)]
    if subject.names:
        varied = _variations(subject)
        explained = ["variations", "features-varied"] if subject.structural else ["variations"]
        blocks += [alignment_chart(subject), meaning(*explained),
                   Table("What would change the answer", *_variation_rows(subject, varied)),
                   Text(_turned(varied)), plain("not-varied")]
    return Section("method", "How it was calculated, and what would change the answer", blocks)


def _xspectra(subject: Subject) -> list[Block]:
    """What there is to say of a calculation with XSpectra."""
    return [
        meaning("calculation"), Table("Settings", ("", "value"), list(_settings(subject))),
        _cell_words(subject), Table("Self-consistent calculations", *_scf(subject)),
        meaning("convergence", steps=subject.study.xspectra.check_every),
        Table("Lanczos chains", *_chains(subject)),
        Table("Pseudopotentials (SHA-256 of each file)", ("species", "hash"),
              _pseudopotentials(subject))]


def _feff(subject: Subject) -> list[Block]:
    """What there is to say of one with FEFF."""
    study, curves = subject.study, subject.results.curves
    version = recorded_inputs(subject.folder).versions.get("feff", "version not in these results")
    rows = [("FEFF10", version), ("edge", f"{study.element} {study.edge}"),
            ("core hole", study.core_hole.kind),
            *((key, _value(value)) for key, value in asdict(study.feff).items())]
    sites = [(name, f"{curve.edge_eV:.3f}", f"{curve.inside_hwhm_eV:.3f}")
             for name, curve in sorted(curves.items())]
    return [meaning("feff"), Table("Settings", ("", "value"), rows),
            Table("Curves of FEFF", ("site", "photon energy of the Fermi level (eV)",
                                     "half width inside (eV)"), sites)]


def _records(subject: Subject) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Return what and the stored result of every self-consistent calculation."""
    for structure in subject.results.structures:
        yield f"{structure.name}, no hole", structure.ground
        for site in structure.sites:
            yield f"{structure.name}, hole on {site.label}", site.hole


def _settings(subject: Subject) -> Iterator[Sequence[str]]:
    records = [record for _, record in _records(subject)]
    versions = {str(r["program"]): str(r["program_version"]) for r in records if "program" in r}
    versions |= recorded_inputs(subject.folder).versions
    for program in ("pw.x", "xspectra.x"):
        yield program, versions.get(program, "version not in these results")
    own = {str(r["polaron_version"]) for r in records if "polaron_version" in r}
    yield "polaron", ", ".join(sorted(own)) or "not recorded"
    study = subject.study
    tables: dict[str, Any] = {"core hole": study.core_hole, "pw.x": study.pw,
                              "xspectra.x": study.xspectra, "spectra": subject.settings}
    labels = WORDS["settings"]
    for where, table in tables.items():
        for key, value in asdict(table).items():
            if key in labels:
                yield f"{where}: {labels[key]}", _value(value)
            elif isinstance(value, Mapping) and value:
                also = ", ".join(f"{name} = {_value(v)}" for name, v in value.items())
                yield f"{where}: also", also


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple | list):
        grid = all(isinstance(v, int) for v in value)
        return (" × " if grid else " to ").join(_value(v) for v in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _cell_words(subject: Subject) -> Text:
    known = {name: image_distance_A(s.crystal) for name, s in subject.structures.items()}
    if not known:
        return plain("no-crystals")
    nearest = min(known.values())
    small = " That is small: a larger cell would tell what it does." if nearest < 12 else ""
    return Text(f"A core hole is {nearest:.2f} Å from its nearest periodic image "
                f"({listed(sorted(known))}).{small}")


def _scf(subject: Subject) -> Rows:
    rows = []
    for what, record in _records(subject):
        values = ((record.get(key), form) for _, key, form in _SCF)
        rows.append((what, *("–" if v is None else format(v, form) for v, form in values)))
    return ("calculation", *(head for head, *_ in _SCF)), rows


def _chains(subject: Subject) -> Rows:
    rows = []
    for one, shorter in zip(subject.spectra.records, subject.shortened.records, strict=True):
        change = np.abs(one.spectrum.intensity - shorter.spectrum.intensity).max()
        steps = subject.results.chains[one.spectrum.label].iterations.ravel()
        rows.append((one.structure, one.absorber, one.polarisation,
                     ", ".join(map(str, steps.tolist())), f"{100 * change / subject.maximum:.2f}"))
    return ("structure", "absorber", "field along", "steps at each k point",
            "change without the last steps (%)"), rows


def _pseudopotentials(subject: Subject) -> Sequence[Sequence[str]]:
    # By the label the deck gives it: an element may end in h too (Th, Rh).
    hole = absorber_label(subject.study.element)
    named = {hole: f"{subject.study.element} with the core hole"}
    return sorted({(named.get(species, species), digest) for _, record in _records(subject)
                   for species, digest in record.get("pseudopotentials", {}).items()})


@dataclass(frozen=True)
class _Variation:
    """One structure in one variation.

    Attributes
    ----------
    words, structure
        What was varied, in which structure.
    largest
        The largest difference, % of the maximum.
    similarity
        Cosine between the difference as reported and as varied.
    values
        At the published structural features, % of the maximum.
    """

    words: str
    structure: str
    largest: float
    similarity: float
    values: tuple[float, ...]


def _variations(subject: Subject) -> list[_Variation]:
    offsets = [feature.offset_eV for feature in subject.structural]
    found = []
    for words, spectra, moved_eV in _varied(subject):
        # As in the experiment, energies count from the anchor, wherever it now lies.
        place = subject.anchor_in(spectra) - moved_eV
        for name in subject.principal:
            base, curve = subject.percent(name), subject.percent(name, spectra)
            cosine = float(base @ curve / np.linalg.norm(base) / np.linalg.norm(curve))
            values = tuple(float(np.interp(place + o, subject.energy_eV, curve)) for o in offsets)
            found.append(_Variation(words, name, float(np.abs(curve).max()), cosine, values))
    return found


def _variation_rows(subject: Subject, found: Sequence[_Variation]) -> Rows:
    energies = [f"{feature.energy_eV / 1000:.3f} keV" for feature in subject.structural]
    rows = [(v.words, v.structure, f"{v.largest:.2f}", f"{v.similarity:.3f}",
             *(f"{x:+.2f}" for x in v.values)) for v in found]
    head = ("variation", "structure", "largest difference (%)", "cosine similarity", *energies)
    return head, rows


def _turned(found: Sequence[_Variation]) -> str:
    """Return which variations turn a feature's sign, or change the shape most."""
    reported = {v.structure: v for v in found if v.words == found[0].words}
    turned = [f"{v.words} ({v.structure})" for v in found
              if any(np.multiply(v.values, reported[v.structure].values) < 0)]
    least = min(found, key=lambda v: v.similarity)
    shape = (f"The shape changes most with: {least.words} ({least.structure}, cosine similarity "
             f"{least.similarity:.2f}).")
    if not found[0].values:
        return shape
    if not turned:
        return f"None of these turns the sign at a published feature. {shape}"
    return f"The sign at a published feature is turned by: {'; '.join(turned)}. {shape}"


def _varied(subject: Subject) -> Iterator[tuple[str, StudySpectra, float]]:
    """Return each variation in words, its spectra, and how far it moves the edge (eV)."""
    s = subject.settings

    def changed(**values: Any) -> StudySpectra:
        return study_spectra(subject.results, replace(s, **values))

    yield "as reported", subject.spectra, 0.0
    yield f"alignment {subject.unaligned.settings.alignment}", subject.unaligned, 0.0
    inside = max((c.inside_hwhm_eV for c in subject.results.curves.values()), default=0.0)
    for factor in (0.8, 1.25):
        width = s.core_hole_hwhm_eV * factor
        if s.width_model != "table" and width >= inside:
            yield f"core-hole half width {width:.2f} eV", changed(core_hole_hwhm_eV=width), 0.0
    resolution = s.resolution_fwhm_eV + 1.0
    yield f"resolution {resolution:.1f} eV", changed(resolution_fwhm_eV=resolution), 0.0
    if subject.results.chains:
        steps = subject.study.xspectra.check_every
        yield f"chains without their last {steps} steps", subject.shortened, 0.0
    for moved in (-1.0, 1.0):
        yield f"edge moved by {moved:+g} eV", subject.spectra, moved
