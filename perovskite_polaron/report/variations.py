"""The same calculation evaluated otherwise: what each choice does to a difference."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from perovskite_polaron.report.blocks import Rows
from perovskite_polaron.report.subject import Subject
from perovskite_polaron.workflow.spectra import StudySpectra, study_spectra


@dataclass(frozen=True)
class Variation:
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
    kind
        What the choice is about, such as ``alignment``.
    """

    words: str
    structure: str
    largest: float
    similarity: float
    values: tuple[float, ...]
    kind: str = ""

    def effect(self, base: "Variation") -> float:
        """Return how much this changes: of the shape, or of the largest value at a feature."""
        moved = np.abs(np.subtract(self.values, base.values)).max(initial=0.0)
        most = np.abs(base.values).max(initial=0.0)
        return max(1 - self.similarity, float(moved / most) if most else 0.0)

    def turns(self, base: "Variation") -> bool:
        """Return whether this turns a sign at a published feature."""
        return bool((np.multiply(self.values, base.values) < 0).any())

    def sentence(self, base: "Variation", energies_eV: Sequence[float]) -> str:
        """Return what this does to the base, in a sentence."""
        said = f"{self.words[0].upper()}{self.words[1:]}: "
        if self.turns(base):
            said += "turns a sign; "
        if self.values:
            most = int(np.abs(np.subtract(self.values, base.values)).argmax())
            said += (f"{base.values[most]:+.2f} becomes {self.values[most]:+.2f} % at "
                     f"{energies_eV[most] / 1000:.3f} keV")
        else:
            said += f"the largest change {base.largest:.2f} becomes {self.largest:.2f} %"
        return f"{said}; shape kept to {self.similarity:.2f} (cosine)."


def variations(subject: Subject) -> list[Variation]:
    """Return every variation of every principal structure, the first as reported."""
    offsets = [feature.offset_eV for feature in subject.structural]
    found = []
    for kind, words, spectra, moved_eV in _varied(subject):
        # As in the experiment, energies count from the anchor, wherever it now lies.
        place = subject.origin_in(spectra) - moved_eV
        for name in subject.principal:
            base, curve = subject.percent(name), subject.percent(name, spectra)
            cosine = float(base @ curve / np.linalg.norm(base) / np.linalg.norm(curve))
            values = tuple(float(np.interp(place + o, subject.energy_eV, curve)) for o in offsets)
            found.append(Variation(words, name, float(np.abs(curve).max()), cosine, values, kind))
    return found


def variation_rows(subject: Subject, found: Sequence[Variation]) -> Rows:
    """Return the variations as a table."""
    energies = [f"{feature.energy_eV / 1000:.3f} keV" for feature in subject.structural]
    rows = [(v.words, v.structure, f"{v.largest:.2f}", f"{v.similarity:.3f}",
             *(f"{x:+.2f}" for x in v.values)) for v in found]
    head = ("variation", "structure", "largest difference (%)", "cosine similarity", *energies)
    return head, rows


def turned(found: Sequence[Variation]) -> str:
    """Return which variations turn a feature's sign, or change the shape most."""
    reported = {v.structure: v for v in found if v.words == found[0].words}
    those = [f"{v.words} ({v.structure})" for v in found if v.turns(reported[v.structure])]
    least = min(found, key=lambda v: v.similarity)
    shape = (f"The shape changes most with: {least.words} ({least.structure}, cosine similarity "
             f"{least.similarity:.2f}).")
    if not found[0].values:
        return shape
    if not those:
        return f"None of these turns the sign at a published feature. {shape}"
    return f"The sign at a published feature is turned by: {'; '.join(those)}. {shape}"


def _varied(subject: Subject) -> Iterator[tuple[str, str, StudySpectra, float]]:
    """Return each variation: kind, words, its spectra, and how far it moves the edge (eV)."""
    s = subject.settings

    def changed(**values: Any) -> StudySpectra:
        return study_spectra(subject.results, replace(s, **values))

    yield "", "as reported", subject.spectra, 0.0
    words = ("each site at its own Fermi energy" if s.alignment == "delta-scf"
             else "sites aligned by their core-hole energies")
    yield "alignment", words, subject.unaligned, 0.0
    inside = max((c.inside_hwhm_eV for c in subject.results.curves.values()), default=0.0)
    for factor in (0.8, 1.25):
        width = s.core_hole_hwhm_eV * factor
        if s.width_model != "table" and width >= inside:
            yield ("width", f"core-hole half width {width:.2f} eV",
                   changed(core_hole_hwhm_eV=width), 0.0)
    resolution = s.resolution_fwhm_eV + 1.0
    yield ("width", f"resolution {resolution:.1f} eV", changed(resolution_fwhm_eV=resolution), 0.0)
    if subject.results.chains:
        steps = subject.study.xspectra.check_every
        yield "chains", f"chains without their last {steps} steps", subject.shortened, 0.0
    for moved in (-1.0, 1.0):
        yield "edge", f"edge moved by {moved:+g} eV", subject.spectra, moved
