"""The same difference from two engines: how far they disagree."""

from dataclasses import dataclass, field

import numpy as np

from perovskite_polaron.analysis.scenarios import ScenarioSet
from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import require
from perovskite_polaron.workflow.results import StudyResults
from perovskite_polaron.workflow.spectra import StudySpectra, study_spectra

#: Engine as a study names it -> its program.
ENGINES = {"xspectra": "XSpectra", "feff": "FEFF10"}
# From so far above the first maximum a transient has structural causes alone (docs/physics.md), and
# neither engine's potential or gap decides what is seen.
BEYOND_EV = 8.0
_STEP_EV = 0.1


@dataclass(frozen=True)
class Agreement:
    """How one difference from two engines agrees, over the energies above the edge.

    Attributes
    ----------
    name
        Of the structure.
    correlation
        Of the two curves.
    same_sign_percent
        Share of the energies at which they have one sign, in % of those where both exceed a tenth
        of their largest value.
    ratio
        Size of the first over that of the second, by least squares.
    from_eV, to_eV
        The energies, from the first maximum of each reference.
    energy_eV, mine, other
        (n,) all common energies from there, and the differences, % of the reference's maximum.
    """

    name: str
    correlation: float
    same_sign_percent: float
    ratio: float
    from_eV: float
    to_eV: float
    energy_eV: Array = field(repr=False)
    mine: Array = field(repr=False)
    other: Array = field(repr=False)


def agreements(mine: StudyResults, other: StudyResults) -> list[Agreement]:
    """Compare the differences of structures of one name and amplitude in two studies.

    Each is evaluated as its own study says, and counted from the first maximum of its own
    reference, for the engines have no common zero of energies.

    Raises
    ------
    InputError
        For another element or edge, or no structure in common.
    """
    edges = [f"{s.study.element} {s.study.edge}" for s in (mine, other)]
    require(edges[0] == edges[1], f"the one study is of {edges[0]}, the other of {edges[1]}: give"
            " two of one edge")
    first, second = (study_spectra(one, one.study.spectra) for one in (mine, other))
    theirs = {key: name for name, key in _keys(other, second).items()}
    pairs = [(n, theirs[key]) for n, key in _keys(mine, first).items() if key in theirs]
    require(pairs, f"the studies have no difference in common ({', '.join(first.differences)};"
            f" {', '.join(second.differences)}): give their structures the same names and"
            " amplitudes")
    energy, (zero, zero_other) = common_energies(first, second)
    above = energy >= BEYOND_EV
    require(above.any(), f"the studies have no energies in common {BEYOND_EV:g} eV above the first"
            " maximum: raise [spectra] energy_max_eV")
    found = []
    for name, its in pairs:
        x, y = (_difference(first, name, energy + zero),
                _difference(second, its, energy + zero_other))
        a, b = x[above], y[above]
        large = (np.abs(a) > 0.1 * np.abs(a).max()) & (np.abs(b) > 0.1 * np.abs(b).max())
        found.append(Agreement(
            name, float(np.corrcoef(a, b)[0, 1]),
            100 * float(np.mean((a * b > 0)[large])) if large.any() else 0.0,
            float(a @ b / (b @ b)), BEYOND_EV, float(energy[-1]), energy, x, y))
    return found


def common_energies(first: StudySpectra,
                    second: StudySpectra) -> tuple[Array, tuple[float, float]]:
    """Return the energies (n,) that both have from the first maximum of their own reference, and
    where that lies on each one's axis.
    """
    (zero, *ends), (zero_other, *ends_other) = _span(first), _span(second)
    low, high = max(ends[0], ends_other[0]), min(ends[1], ends_other[1])
    return np.arange(low, high, _STEP_EV), (zero, zero_other)


def _keys(results: StudyResults, spectra: StudySpectra) -> dict[str, tuple[str, float]]:
    """Return of each difference its entry in the study and its amplitude, 0 without."""
    return {s.name: (s.name.split("@")[0], round(s.amplitude_sqrt_amu_A or 0.0, 6))
            for s in results.structures
            if s.name in spectra.differences and spectra.differences[s.name].intensity.any()}


def _span(spectra: StudySpectra) -> tuple[float, float, float]:
    """Return the reference's first maximum, and the grid's ends from there."""
    average = spectra.structures[spectra.reference].average
    zero = ScenarioSet(average.energy_eV, average.intensity, ()).first_maximum_eV
    return zero, float(average.energy_eV[0] - zero), float(average.energy_eV[-1] - zero)


def _difference(spectra: StudySpectra, name: str, energy_eV: Array) -> Array:
    grid = spectra.structures[spectra.reference].average.energy_eV
    return np.interp(energy_eV, grid, spectra.percent(name))
