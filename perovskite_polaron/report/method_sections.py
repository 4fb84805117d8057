"""Sections 5 and 6 of a report: heating, how all was calculated, what would change the answer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from perovskite_polaron.analysis.heating import RELATIVE_SIGMA, Heating
from perovskite_polaron.espresso.pw import absorber_label
from perovskite_polaron.published import PumpProbe
from perovskite_polaron.report.blocks import (
    WORDS, Block, Fold, Rows, Section, Table, Text, listed, meaning, plain)
from perovskite_polaron.report.study_charts import alignment_chart, heating_chart
from perovskite_polaron.report.subject import Subject
from perovskite_polaron.report.variations import Variation, turned, variation_rows
from perovskite_polaron.workflow.records import recorded_inputs
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
        Text(f"Rise right after the pulse, the mean over the jet: {heat.delta_T_K:.0f} K (68 % "
             f"range {heat.delta_T_low_K:.0f} to {heat.delta_T_high_K:.0f} K), to "
             f"{heat.final_C:.0f} °C; the phase there is {heat.phase}. One crystal absorbs "
             f"{heat.photons_per_nc:.0f} photons, of whose {heat.total_energy_eV:.0f} eV "
             f"{heat.heat_eV:.0f} eV become heat at once; if all did, and nothing cooled, it would "
             f"be {heat.delta_T_all_K:.0f} K. Dominated by: "
             f"{heat.tornado[0][0].replace('_', ' ')}."),
        heating_chart(pump, heats),
        Text(f"The published {pump.delta_T_K:g} K also follow from each of these single changes, "
             f"so agreement identifies none of the inputs: {'; '.join(heat.equivalent)}."),
        Fold("Inputs of the estimate", [Table(
            "Inputs", ("input", "value", "from", "relative uncertainty (1σ)"), rows)])])


def method_section(subject: Subject, varied: Sequence[Variation]) -> Section:
    """Return the variations of the answer and, folded, programs, settings, convergence."""
    blocks: list[Block] = []
    feff = subject.study.engine.kind == "feff"
    if subject.names:
        explained = ["variations", "features-varied"] if subject.structural else ["variations"]
        blocks += [Text(turned(varied)), plain("not-varied-feff" if feff else "not-varied"),
                   Fold("Every variation", [
                       meaning(*explained),
                       Table("What would change the answer", *variation_rows(subject, varied))])]
    shifts = [(s.structure, s.absorber, f"{s.shift_eV:+.3f}", s.caveat or "–")
              for s in subject.spectra.shifts]
    aligned: list[Block] = [
        meaning("alignment-feff" if feff else "alignment"),
        Table("Alignment", ("structure", "absorber", "shift (eV)", "caveat"), shifts)]
    if subject.names:
        aligned.append(alignment_chart(subject))
    engine = _feff if feff else _xspectra
    blocks += [*engine(subject), Fold("One zero of energies", aligned)]
    return Section("method", "How it was calculated, and what would change the answer", blocks)


def _xspectra(subject: Subject) -> list[Block]:
    """What there is to say of a calculation with XSpectra."""
    return [
        meaning("calculation"), _cell_words(subject),
        Fold("Settings", [
            Table("Settings", ("", "value"), list(_settings(subject))),
            Table("Pseudopotentials (SHA-256 of each file)", ("species", "hash"),
                  _pseudopotentials(subject))]),
        Fold("Self-consistent calculations and chains", [
            meaning("convergence", steps=subject.study.xspectra.check_every),
            Table("Self-consistent calculations", *_scf(subject)),
            Table("Lanczos chains", *_chains(subject))])]


def _feff(subject: Subject) -> list[Block]:
    """What there is to say of one with FEFF."""
    study, curves = subject.study, subject.results.curves
    version = recorded_inputs(subject.folder).versions.get("feff", "version not in these results")
    rows = [("FEFF10", version), ("edge", f"{study.element} {study.edge}"),
            ("core hole", study.core_hole.kind),
            *((key, _value(value)) for key, value in asdict(study.feff).items())]
    sites = [(name, f"{curve.edge_eV:.3f}", f"{curve.inside_hwhm_eV:.3f}")
             for name, curve in sorted(curves.items())]
    return [meaning("feff"), Fold("Settings and curves", [
        Table("Settings", ("", "value"), rows),
        Table("Curves of FEFF", ("site", "photon energy of the Fermi level (eV)",
                                 "half width inside (eV)"), sites)])]


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
