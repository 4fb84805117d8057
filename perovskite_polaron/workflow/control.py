"""Few snapshots of one engine and many of another as one estimate (``spectra.sampling``)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import InputError, require
from perovskite_polaron.files import write_csv
from perovskite_polaron.spectra.sampling import ControlledMean, control_variate
from perovskite_polaron.workflow.engines import common_energies
from perovskite_polaron.workflow.results import StructureResult, StudyResults
from perovskite_polaron.workflow.sampled import snapshot_spectra
from perovskite_polaron.workflow.spectra import StudySpectra, study_spectra


@dataclass(frozen=True, eq=False)
class Controlled:
    """One difference over snapshots, from both studies.

    Attributes
    ----------
    name, minus
        The structure, and what it is subtracted from.
    energy_eV
        (n,) from the first maximum of each reference.
    found
        The estimate, in % of the maximum of the expensive study's reference.
    snapshots, more
        How many have both results, and how many the cheap one alone.
    """

    name: str
    minus: str
    energy_eV: Array
    found: ControlledMean
    snapshots: int
    more: int


def controlled(fine: StudyResults, cheap: StudyResults) -> list[Controlled]:
    """Return every difference over snapshots that both studies have, with the cheap one as control
    variate of the other.

    Both studies name the same ensembles, absorbers and seed; the cheap one has more of the
    snapshots. Energies are counted from the first maximum of each reference.

    Raises
    ------
    InputError
        When they have no such difference, or as ``control_variate``.
    """
    first, second = (study_spectra(one, one.study.spectra) for one in (fine, cheap))
    curves = [snapshot_spectra(r, s.records) for r, s in ((fine, first), (cheap, second))]
    energy, zeros = common_energies(first, second)
    found, why = [], "no difference over snapshots has the same name in both"
    for name in [n for n in first.errors.keys() | curves[0].keys() if n in second.differences
                 and n in first.differences]:
        ours, theirs = (_result(r, name) for r in (fine, cheap))
        reason = _unlike(ours, theirs)
        if reason or first.base_of(name) != second.base_of(name):
            why = f"{name}: {reason or 'it is taken from different structures'}"
            continue
        high, low = (_changes(s, c, name, energy + z)
                     for s, c, z in zip((first, second), curves, zeros, strict=True))
        shared = len(high)
        assert ours.ensemble is not None
        mean = control_variate(high, low[:shared], low[shared:], str(ours.ensemble["order"]))
        found.append(Controlled(name, first.base_of(name), energy, mean, shared,
                                len(low) - shared))
    require(found, f"the studies share no snapshots ({why}): give both the same ensembles,"
            " absorbers and seed")
    return sorted(found, key=lambda one: list(first.differences).index(one.name))


def write_controlled(found: list[Controlled], folder: Path) -> Path:
    """Write control.csv: each difference with and without the control variate, with errors."""
    columns: dict[str, Array] = {"energy above the first maximum (eV)": found[0].energy_eV}
    for one in found:
        label, c = f"{one.name} minus {one.minus}", one.found
        columns |= {f"{label} (% of maximum)": c.mean, f"{label} standard error (%)": c.sigma,
                    f"{label} without control (%)": c.plain,
                    f"{label} standard error without control (%)": c.plain_sigma}
    return write_csv(folder / "control.csv", columns)


def _result(results: StudyResults, name: str) -> StructureResult:
    return next(one for one in results.structures if one.name == name)


def _unlike(ours: StructureResult, theirs: StructureResult) -> str:
    """Return why the snapshots of two studies are not the same; "" where they are."""
    if ours.ensemble is None or theirs.ensemble is None:
        return "it is no ensemble in both"
    if (ours.ensemble["draws"], ours.ensemble["temperature_K"]) != (
            theirs.ensemble["draws"], theirs.ensemble["temperature_K"]):
        return "its ensembles are not the same"
    if ours.samples != theirs.samples[:len(ours.samples)]:
        return "the cheap study lacks snapshots of the other"
    shared = set(ours.samples)
    atoms = [[s.label for s in one.sites if s.sample in shared] for one in (ours, theirs)]
    return "" if sorted(atoms[0]) == sorted(atoms[1]) else "its absorbers are not the same"


def _changes(spectra: StudySpectra, curves: dict[str, Array], name: str,
             energy_eV: Array) -> Array:
    """Return the difference (s, n) of every snapshot, in % of the reference's maximum."""
    base = spectra.base_of(name)
    own = curves[name]
    other = curves.get(base)
    if other is None:
        other = spectra.structures[base].average.intensity[None]
    elif len(other) != len(own):
        raise InputError(f"{name} and {base} have {len(own)} and {len(other)} snapshots: give both"
                         " as many")
    grid = spectra.structures[spectra.reference].average
    change = 100 * (own - other) / grid.intensity.max()
    return np.array([np.interp(energy_eV, grid.energy_eV, row) for row in change])
