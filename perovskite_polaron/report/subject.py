"""What a report is about: one study's results with everything derived from them, computed once."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from perovskite_polaron.analysis.heating import Exposure, Heating, Recombination, heating
from perovskite_polaron.analysis.matched import Matched, read_matched
from perovskite_polaron.analysis.scenarios import ENGINE, ScenarioSet
from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import InputError
from perovskite_polaron.figures.spectra import axis_label, percent
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.files import read_crystal
from perovskite_polaron.lattice.octahedra import (
    BondReport, Displacements, Framework, bond_report, compare, find_framework, framework_of)
from perovskite_polaron.lattice.shells import Shell, find_shells
from perovskite_polaron.lattice.symmetry import absorbers, find_symmetry
from perovskite_polaron.published import FIRST_MAXIMUM, Article, Feature, PumpProbe
from perovskite_polaron.published_cspbbr3 import ARTICLES
from perovskite_polaron.spectra.amplitude import AmplitudeSpectra
from perovskite_polaron.spectra.projected import ProjectedStates
from perovskite_polaron.spectra.resolved import Orbits, Part, parts
from perovskite_polaron.spectra.spectrum import POLARISATIONS
from perovskite_polaron.units import HC_EV_A, ZERO_C_K
from perovskite_polaron.workflow.carried_errors import looked_at, settings_alike, with_row
from perovskite_polaron.workflow.carriers import read_edges
from perovskite_polaron.workflow.feff_jobs import POWDER
from perovskite_polaron.workflow.results import StructureResult, StudyResults
from perovskite_polaron.workflow.scenarios import heated_series, study_scenarios, temperature_K
from perovskite_polaron.workflow.spectra import (
    StudySpectra, load_results, other_alignment, powder_spectra, study_spectra)
from perovskite_polaron.workflow.steady_state import matched_scenarios, matched_settings
from perovskite_polaron.workflow.structures import StudyStructure, study_structures
from perovskite_polaron.workflow.study import SpectraSettings, Study

#: The arctangent law of widths with the default parameters of FDMNES.
PHOTOELECTRON_WIDTH = {"Gamma_max": 15.0, "E_cent": 30.0, "E_larg": 30.0}

@dataclass(frozen=True, eq=False)
class Subject:
    """A study as the report sees it.

    Attributes
    ----------
    results, settings
        What was computed, and how its spectra are evaluated.
    folder
        Where the results are.
    origin
        The folder that file names in the study start from.
    matched
        Where the axis and the widths are those of a match: what it found.
    given_edge_eV
        Photon energy of the calculated zero, where it was given.
    carried
        Row of the error of a fit -> the study of the same displacements that it is taken over from
        (``workflow.carried_errors``), evaluated as that wants it.
    """

    results: StudyResults
    settings: SpectraSettings
    folder: Path
    origin: Path
    matched: Matched | None = None
    given_edge_eV: float | None = None
    carried: Mapping[str, "Subject"] = field(default_factory=dict)

    @classmethod
    def read(cls, source: Path, match: Path | None = None,
             edge_eV: float | None = None) -> "Subject":
        """Return what ``workflow.spectra.load_results`` finds in a folder or a study file.

        With the file of a match its axis and widths replace those of the study.
        """
        results, settings, folder = load_results(source)
        matched = None if match is None else read_matched(match)
        if matched is not None:
            settings = matched_settings(results, settings, matched, str(match))
        origin = folder if source.is_dir() else source.parent
        return cls(results, settings, folder, origin, matched, edge_eV)

    def carrying(self, row: str, other: "Subject") -> "Subject":
        """Return the same whose scenarios also bring a row of the error from another study, if it
        has structures for it.
        """
        alike = settings_alike(self.settings, other.results) if row == ENGINE else other.settings
        part = replace(other, results=looked_at(row, other.results), settings=alike)
        if all(one.name == other.reference for one in part.results.structures):
            return self
        return replace(self, carried={**self.carried, row: part})

    @cached_property
    def study(self) -> Study:
        """The study that was computed, every default written out."""
        return replace(self.results.study, path=self.origin / "study.toml")

    @cached_property
    def spectra(self) -> StudySpectra:
        """The spectra as the study wants them."""
        return powder_spectra(self.results, self.settings)

    @cached_property
    def unaligned(self) -> StudySpectra:
        """The same with the alignment switched."""
        return other_alignment(self.results, self.settings)

    @cached_property
    def shortened(self) -> StudySpectra:
        """The same from chains without their last ``check_every`` steps.

        What is left to converge in the chains shows.
        """
        step = int(self.study.xspectra.check_every)

        def cut(chain: Array) -> Array:
            return chain[: max(len(chain) - step, step + 4)]

        chains = {name: replace(save, a=tuple(map(cut, save.a)), b=tuple(map(cut, save.b)))
                  for name, save in self.results.chains.items()}
        return study_spectra(replace(self.results, chains=chains), self.settings)

    @cached_property
    def lifetime_broadened(self) -> StudySpectra:
        """The same with final states that widen as the photoelectron's lifetime falls."""
        return study_spectra(self.results, replace(
            self.settings, width_model="arctangent", width=PHOTOELECTRON_WIDTH))

    @cached_property
    def scenarios(self) -> ScenarioSet:
        """The study as scenarios; InputError when nothing differs from the reference."""
        return self._scenarios(None)

    @cached_property
    def electronic_scenarios(self) -> ScenarioSet:
        """The same with the carriers at the band edges; InputError where these are not known."""
        return self._scenarios(read_edges(self.results, self.folder))

    def _scenarios(self, edges: ProjectedStates | None) -> ScenarioSet:
        found = (study_scenarios(self.results, self.settings, edges) if self.matched is None else
                 matched_scenarios(self.results, self.settings, self.matched, edges))
        for row, other in self.carried.items():
            found = with_row(row, self.results, found, other.results, other.scenarios)
        return found

    @cached_property
    def sweeps(self) -> Mapping[str, AmplitudeSpectra]:
        """The sweeps by the name of their entry, single amplitudes among them."""
        scenarios = self.scenarios.scenarios if self.names else ()
        return {s.name.removeprefix("polaron "): s.sweep for s in scenarios if s.sweep is not None}

    @property
    def edge(self) -> str:
        """Such as ``Br-K``."""
        return f"{self.study.element}-{self.study.edge}"

    @property
    def reference(self) -> str:
        """Name of the structure that the others are compared with."""
        return self.study.reference

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the other structures that differ from it in their spectra."""
        return tuple(n for n, d in self.spectra.differences.items() if d.intensity.any())

    @property
    def displaced(self) -> tuple[str, ...]:
        """Those of them that are displaced along modes."""
        return tuple(name for name in self.names if self.amplitude(name))

    @property
    def other_phases(self) -> tuple[str, ...]:
        """Those of them that are not."""
        return tuple(name for name in self.names if not self.amplitude(name))

    @property
    def principal(self) -> tuple[str, ...]:
        """Of each sweep the name with the largest amplitude, and all others."""
        largest: dict[str, str] = {}
        for name in self.names:
            key = name.split("@")[0] if self.amplitude(name) else name
            largest[key] = max(largest.get(key, name), name, key=self.amplitude)
        return tuple(largest.values())

    @cached_property
    def ensembles(self) -> Mapping[str, float]:
        """Ensembles that are not displaced along a mode, with their temperature (°C), rising."""
        found = {one.name: t - ZERO_C_K for one in self.results.structures
                 if (t := temperature_K(one)) is not None}
        return dict(sorted(found.items(), key=lambda item: item[1]))

    @property
    def heated(self) -> Mapping[str, float]:
        """Those of them whose difference is taken from a colder one, with their temperature."""
        series = heated_series(self.results, self.spectra).values()
        return {steps[t]: self.ensembles[steps[t]] for steps in series for t in sorted(steps)}

    @property
    def entries(self) -> dict[str, tuple[str, ...]]:
        """The displaced structures by the entry of the study they come from, amplitudes rising."""
        found: dict[str, tuple[str, ...]] = {}
        for name in sorted(self.displaced, key=self.amplitude):
            entry = name.split("@")[0]
            found[entry] = (*found.get(entry, ()), name)
        return found

    def result(self, name: str) -> StructureResult:
        """Return the stored result of a structure."""
        return next(s for s in self.results.structures if s.name == name)

    def amplitude(self, name: str) -> float:
        """Return the amplitude Q of a structure, Å√amu; 0 for one that is not displaced."""
        return abs(self.result(name).amplitude_sqrt_amu_A or 0.0)

    def percent(self, name: str, spectra: StudySpectra | None = None) -> Array:
        """Return the difference (n,) of a structure in % of the reference's maximum."""
        return percent(spectra or self.spectra, name)

    @cached_property
    def maximum(self) -> float:
        """The reference's maximum, in the unit of its spectrum."""
        return float(self.spectra.structures[self.reference].average.intensity.max())

    @property
    def steady_maximum(self) -> float:
        """The same over the norm of the spectrum, as scenarios have it."""
        return float(self.scenarios.steady_state.max())

    @cached_property
    def energy_eV(self) -> Array:
        """(n,) the common energies, from the reference's mean edge."""
        return self.spectra.structures[self.reference].average.energy_eV

    @cached_property
    def anchor_eV(self) -> float:
        """Energy, on that axis, of what the article knows the place of; else the first maximum."""
        return self.anchor_in(self.spectra)

    def anchor_in(self, spectra: StudySpectra) -> float:
        """Return the energy of the reference's anchor in these spectra."""
        average = spectra.structures[self.reference].average
        maximum_eV = ScenarioSet(average.energy_eV, average.intensity, ()).first_maximum_eV
        if self.article is None or self.article.anchor == FIRST_MAXIMUM:
            return maximum_eV
        below = average.energy_eV <= maximum_eV
        slope = np.gradient(average.intensity, average.energy_eV)
        return float(average.energy_eV[below][slope[below].argmax()])

    @cached_property
    def origin_eV(self) -> float:
        """Energy, on that axis, of the published anchor; without an article the anchor."""
        return self.origin_in(self.spectra)

    def origin_in(self, spectra: StudySpectra) -> float:
        """Return where the published anchor lies in these spectra.

        A given or matched edge says it, so that every figure and every number has one axis; else it
        is the anchor of the calculation.
        """
        placed = self.given_edge_eV if self.matched is None else self.matched.axis.e0_eV
        if placed is None or self.article is None:
            return self.anchor_in(spectra)
        return self.article.anchor_eV - placed

    # What was published. Without an article on the study there is nothing to judge, and energies
    # count from the calculated edge.

    @cached_property
    def article(self) -> Article | None:
        """The article that is about this compound, element and edge, if there is one.
        """
        found = self.structures.get(self.reference)
        case = found and (found.crystal.formula, self.study.element, self.study.edge)
        return next((a for a in ARTICLES if (a.formula, a.element, a.edge) == case), None)

    @property
    def published_maximum_eV(self) -> float | None:
        """Published photon energy of the reference's first maximum, if there is one."""
        known = self.article is not None and self.article.anchor == FIRST_MAXIMUM
        return self.article.anchor_eV if self.article is not None and known else None

    @property
    def features(self) -> tuple[Feature, ...]:
        """The published features."""
        return () if self.article is None else self.article.features

    @property
    def structural(self) -> tuple[Feature, ...]:
        """Those of them that displaced atoms are said to make."""
        return tuple(feature for feature in self.features if feature.structural)

    @cached_property
    def experiment(self) -> tuple[PumpProbe, Mapping[str, Heating]] | None:
        """The published experiment, and the heating estimate for its pump and sample by what is
        assumed of its pairs: first that none recombines, then, decay by decay of the published fit,
        that these do without light.
        """
        p = None if self.article is None else self.article.pump_probe
        if p is None:
            return None
        exposure = Exposure(p.fluence_mJ_cm2, HC_EV_A / (10 * p.wavelength_nm), p.size_A,
                            p.concentration_mg_mL, p.assumed_jet_A)
        channels = [Recombination(fraction, lifetime)
                    for fraction, (lifetime, _) in zip(p.fractions, p.lifetimes_ps, strict=True)]
        said = [f"{100 * r.fraction:.0f} % in {r.lifetime_ps:g} ps" for r in channels]
        assumed = {"no pair recombines": ()} | {
            f"pairs recombine without light, {' and '.join(said[:n])}": tuple(channels[:n])
            for n in range(1, len(channels) + 1)}
        return p, {words: heating(replace(exposure, recombination=which))
                   for words, which in assumed.items()}

    @cached_property
    def edge_eV(self) -> float | None:
        """Photon energy of the calculated zero: as given, as a match found it, or by the anchor,
        which lies at the published one.
        """
        if self.matched is not None:
            return self.matched.axis.e0_eV
        if self.given_edge_eV is not None:
            return self.given_edge_eV
        if self.article is None:
            return None
        return self.article.anchor_eV - self.anchor_eV

    @cached_property
    def axis_eV(self) -> Array:
        """(n,) the energies of the figures: photon energies where the edge is known."""
        return self.energy_eV + (self.edge_eV or 0.0)

    @property
    def axis_label(self) -> str:
        """What these energies are."""
        return axis_label(self.edge_eV)

    # The crystals

    @cached_property
    def structures(self) -> Mapping[str, StudyStructure]:
        """The crystals, rebuilt from the study or read from structures/NAME.cif.

        Those that cannot be had are missing, and so are snapshots.
        """
        rebuilt: dict[str, StudyStructure] = {}
        for entry, settings in self.study.structures.items():
            if settings.ensemble:
                continue
            # A file that the study names may not be where its results are now.
            with suppress(InputError):
                part = replace(self.study, structures={entry: settings})
                rebuilt |= {s.name: s for s in study_structures(part)}
        found = {s.name: rebuilt.get(s.name) or self._stored(s) for s in self.results.structures}
        return {name: structure for name, structure in found.items() if structure is not None}

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
            sites = absorbers(crystal, self.study.element, symmetry)
            structure = StudyStructure(result.name, settings, crystal, symmetry, sites)
            if [structure.absorber_label(a) for a in sites] == wanted:
                return structure
        return None

    @cached_property
    def framework(self) -> Framework | None:
        """The octahedra of the reference; in a cubic crystal the axial direction is the one that
        the largest displacement singles out. None without its crystal or without octahedra.
        """
        if self.reference not in self.structures:
            return None
        crystal = self.structures[self.reference].crystal
        moved = self.moved(max(self.displaced, key=self.amplitude, default=""))
        return framework_of(crystal, np.zeros((len(crystal), 3)) if moved is None
                            else moved.displacement_A)

    def bonds(self, name: str) -> BondReport | None:
        """Return the bonds of a structure; None without its crystal or without octahedra."""
        if name not in self.structures:
            return None
        crystal, own = self.structures[name].crystal, self.framework
        try:
            found = find_framework(crystal)
            return bond_report(crystal, found.toward(own.axes[2]) if own is not None
                               and found.is_cubic else found)
        except InputError:
            return None

    @cached_property
    def shells(self) -> tuple[Shell, ...]:
        """The coordination shells of a reference without octahedra."""
        found = self.structures.get(self.reference)
        if found is None or self.framework is not None:
            return ()
        return find_shells(found.crystal, found.symmetry)

    def moved(self, name: str) -> Displacements | None:
        """Return how far the atoms of a displaced structure moved; None in another cell."""
        crystals = self._pair(name)
        try:
            return None if crystals is None else compare(*crystals)
        except InputError:
            return None

    def _pair(self, name: str) -> tuple[Crystal, Crystal] | None:
        structure, reference = self.structures.get(name), self.structures.get(self.reference)
        if structure is None or reference is None or not structure.settings.modes:
            return None
        same = structure.settings.crystal == reference.settings.crystal
        return (structure.crystal, reference.crystal) if same else None

    def parts(self, name: str) -> tuple[Part, ...]:
        """Return the parts of a displaced structure's difference, in % of the maximum.

        Empty for another phase, and where not all polarisations were computed. Of an engine that
        averages over them itself each site has one part.
        """
        sites = [site for s in self.results.structures for site in s.sites]
        if self._pair(name) is None or any(
                set(s.chains) not in (set(POLARISATIONS), {POWDER}) for s in sites):
            return ()
        found = parts(self._orbits(name), self._orbits(self.reference))
        return tuple(replace(p, difference=100 * p.difference / self.maximum) for p in found)

    def _orbits(self, name: str) -> Orbits:
        structure = self.structures[name]
        rows = {(r.absorber, r.polarisation): r.spectrum.intensity
                for r in self.spectra.records if r.structure == name}
        apart = all(polarisation != POWDER for _, polarisation in rows)
        axes = POLARISATIONS if apart else (POWDER,) * 3
        spectra = {a.index: np.array([rows[structure.absorber_label(a), p] for p in axes])
                   for a in structure.absorbers}
        return Orbits(structure.crystal, structure.symmetry, spectra, apart)
