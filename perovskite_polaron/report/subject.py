"""What a report is about: one study's results with everything derived from them, computed once and when asked for."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.analysis.scenarios import ScenarioSet
from perovskite_polaron.errors import InputError
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.files import read_crystal
from perovskite_polaron.lattice.octahedra import BondReport, Comparison, bond_report, compare
from perovskite_polaron.lattice.symmetry import absorbers, find_symmetry
from perovskite_polaron.published_cspbbr3 import FORMULA, WHITE_LINE_EV
from perovskite_polaron.spectra.resolved import Orbits, Part, parts
from perovskite_polaron.spectra.spectrum import POLARISATIONS
from perovskite_polaron.workflow.results import StructureResult, StudyResults
from perovskite_polaron.workflow.scenarios import study_scenarios
from perovskite_polaron.workflow.spectra import StudySpectra, other_alignment, study_spectra
from perovskite_polaron.workflow.structures import StudyStructure, study_structures
from perovskite_polaron.workflow.study import SpectraSettings, Study

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Subject:
    """results and settings of a study, the folder they are in, and the folder its file names start from."""

    results: StudyResults
    settings: SpectraSettings
    folder: Path
    origin: Path

    @cached_property
    def study(self) -> Study:
        """The study that was computed, every default written out."""
        return replace(self.results.study, path=self.origin / "study.toml")

    @cached_property
    def spectra(self) -> StudySpectra:
        """The spectra as the study wants them."""
        return study_spectra(self.results, self.settings)

    @cached_property
    def unaligned(self) -> StudySpectra:
        """The same with the alignment switched."""
        return other_alignment(self.results, self.settings)

    @cached_property
    def shortened(self) -> StudySpectra:
        """The same from chains without their last ``check_every`` steps: what is left to converge in them shows."""
        step = int(self.study.xspectra.check_every)
        chains = {
            name: replace(
                save,
                a=tuple(x[: max(len(x) - step, step + 4)] for x in save.a),
                b=tuple(x[: max(len(x) - step, step + 4)] for x in save.b),
            )
            for name, save in self.results.chains.items()
        }
        return study_spectra(replace(self.results, chains=chains), self.settings)

    @cached_property
    def scenarios(self) -> ScenarioSet:
        """The study as scenarios; InputError when nothing differs from the reference."""
        return study_scenarios(self.results, self.settings)

    @property
    def reference(self) -> str:
        """Name of the structure that the others are compared with."""
        return self.results.study.reference

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the other structures that differ from it in their spectra."""
        return tuple(name for name, d in self.spectra.differences.items() if d.intensity.any())

    @property
    def principal(self) -> tuple[str, ...]:
        """Of each sweep the name with the largest amplitude, and all others."""
        largest: dict[str, str] = {}
        for name in self.names:
            key = name.split("@")[0] if self.result(name).amplitude_sqrt_amu_A else name
            other = largest.setdefault(key, name)
            if (self.result(name).amplitude_sqrt_amu_A or 0.0) > (self.result(other).amplitude_sqrt_amu_A or 0.0):
                largest[key] = name
        return tuple(largest.values())

    def result(self, name: str) -> StructureResult:
        """The stored result of a structure."""
        return next(s for s in self.results.structures if s.name == name)

    def percent(self, name: str, spectra: StudySpectra | None = None) -> Array:
        """Return the difference (n,) of a structure in % of the reference's maximum."""
        chosen = spectra or self.spectra
        base = chosen.structures[chosen.reference].average.intensity
        return np.asarray(100 * (chosen.structures[name].average.intensity - base) / base.max())

    @cached_property
    def energy_eV(self) -> Array:
        """The common energies, from the reference's mean edge."""
        return self.spectra.structures[self.reference].average.energy_eV

    @cached_property
    def white_line_eV(self) -> float:
        """Energy of the reference's first maximum on that axis."""
        return self.first_maximum_eV(self.spectra)

    def first_maximum_eV(self, spectra: StudySpectra) -> float:
        """Energy of the reference's first maximum in these spectra."""
        average = spectra.structures[self.reference].average
        return ScenarioSet(average.energy_eV, average.intensity, ()).first_maximum_eV

    @cached_property
    def is_published_case(self) -> bool:
        """Whether the publication's numbers are about this study: CsPbBr3 at the Br K edge."""
        found = self.structures.get(self.reference)
        return found is not None and found.crystal.formula == FORMULA and self.results.study.element == "Br"

    @property
    def edge_eV(self) -> float:
        """Photon energy of the calculated zero: the first maximum lies at the published one; 0 for other studies."""
        return WHITE_LINE_EV - self.white_line_eV if self.is_published_case else 0.0

    @cached_property
    def structures(self) -> Mapping[str, StudyStructure]:
        """The crystals, rebuilt from the study or read from structures/NAME.cif; those that cannot be had are missing."""
        found = {}
        for result in self.results.structures:
            structure = self._rebuilt(result.name) or self._stored(result)
            if structure is not None:
                found[result.name] = structure
        return found

    def _rebuilt(self, name: str) -> StudyStructure | None:
        entry = name.split("@")[0]
        settings = self.study.structures.get(name) or self.study.structures.get(entry)
        if settings is None:
            return None
        part = replace(self.study, structures={name if name in self.study.structures else entry: settings})
        try:
            return next((s for s in study_structures(part) if s.name == name), None)
        except InputError:
            # A file that the study names is not where its results are now.
            return None

    def _stored(self, result: StructureResult) -> StudyStructure | None:
        path = self.folder / "structures" / f"{result.name}.cif"
        settings = self.study.structures.get(result.name.split("@")[0])
        if not path.exists() or settings is None:
            return None
        crystal = read_crystal(path)
        wanted = [s.label for s in result.sites]
        # A small displacement is only seen with a tolerance below it.
        for tolerance_A in (1e-3, 1e-4, 1e-5):
            symmetry = find_symmetry(crystal, tolerance_A)
            sites = absorbers(crystal, self.results.study.element, symmetry)
            structure = StudyStructure(result.name, settings, crystal, symmetry, sites)
            if [structure.absorber_label(a) for a in sites] == wanted:
                return structure
        return None

    def bonds(self, name: str) -> BondReport | None:
        """The bond report of a structure, where its crystal is known and is a framework of octahedra."""
        if name not in self.structures:
            return None
        try:
            return bond_report(self.structures[name].crystal)
        except InputError:
            return None

    def moved(self, name: str) -> Comparison | None:
        """How far the atoms of a displaced structure moved, or None where it is not one of the reference's cell."""
        crystals = self._pair(name)
        if crystals is None:
            return None
        try:
            return compare(*crystals)
        except InputError:
            return None

    def _pair(self, name: str) -> tuple[Crystal, Crystal] | None:
        structure, reference = self.structures.get(name), self.structures.get(self.reference)
        if structure is None or reference is None or not structure.settings.modes:
            return None
        same = structure.settings.crystal == reference.settings.crystal
        return (structure.crystal, reference.crystal) if same else None

    def parts(self, name: str) -> tuple[Part, ...]:
        """The parts of a displaced structure's difference, in % of the reference's maximum; empty for another phase."""
        if self._pair(name) is None or not self._has_all_polarisations():
            return ()
        found = parts(self._orbits(name), self._orbits(self.reference))
        top = self.spectra.structures[self.reference].average.intensity.max()
        return tuple(replace(p, difference=100 * p.difference / top) for p in found)

    def _has_all_polarisations(self) -> bool:
        return all(set(site.chains) == set(POLARISATIONS) for s in self.results.structures for site in s.sites)

    def _orbits(self, name: str) -> Orbits:
        structure = self.structures[name]
        rows: dict[str, dict[str, Any]] = {}
        for record in self.spectra.records:
            if record.structure == name:
                rows.setdefault(record.absorber, {})[record.polarisation] = record.spectrum.intensity
        spectra = {
            a.index: np.array([rows[structure.absorber_label(a)][axis] for axis in POLARISATIONS])
            for a in structure.absorbers
        }
        return Orbits(structure.crystal, structure.symmetry, spectra)
