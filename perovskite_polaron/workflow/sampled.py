"""Spectra of ensembles: classes of sites in place of single atoms, and standard errors."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from perovskite_polaron.arrays import Array
from perovskite_polaron.spectra.alignment import Shift
from perovskite_polaron.spectra.sampling import SampledError, combined, standard_error
from perovskite_polaron.spectra.spectrum import SiteSpectrum, Spectrum, StructureSpectra, mean
from perovskite_polaron.workflow.results import SiteResult, StructureResult, StudyResults


def snapshot_spectra(results: StudyResults, records: Sequence[SiteSpectrum]) -> dict[str, Array]:
    """Return the mean spectrum of every snapshot (s, n) of each ensemble, in their order."""
    hot = [one for one in results.structures if one.ensemble is not None]
    sites = {(one.name, s.label): s for one in hot for s in one.sites}
    sums: dict[str, dict[int, Array]] = {}
    weights: dict[tuple[str, int], float] = {}
    for r in records:
        site = sites.get((r.structure, r.absorber))
        if site is None or site.sample is None:
            continue
        curves, key = sums.setdefault(r.structure, {}), (r.structure, site.sample)
        curves[site.sample] = (curves.get(site.sample, 0.0)
                               + site.multiplicity * r.spectrum.intensity)
        weights[key] = weights.get(key, 0.0) + site.multiplicity
    return {name: np.array([curve / weights[name, k] for k, curve in curves.items()])
            for name, curves in sums.items()}


def by_class(results: StudyResults, averages: Mapping[str, StructureSpectra]
             ) -> dict[str, StructureSpectra]:
    """Return averages in which the sites of ensembles are classes: their mean over snapshots."""
    found = dict(averages)
    for one in results.structures:
        if one.ensemble is None:
            continue
        own, sites, counts = averages[one.name], dict[str, Spectrum](), {}
        for name, members in _classes(one).items():
            weights = [s.multiplicity for s in members]
            sites[name] = mean([own.sites[s.label] for s in members], f"{one.name} {name}", weights)
            counts[name] = round(sum(weights) / len(one.samples))
        found[one.name] = replace(own, sites=sites, multiplicities=dict(counts))
    return found


def shifts_by_class(results: StudyResults, shifts: Sequence[Shift]) -> tuple[Shift, ...]:
    """Return shifts in which each class of an ensemble has one, the mean of its atoms."""
    hot = {one.name: one for one in results.structures if one.ensemble}
    table = {(s.structure, s.absorber): s for s in shifts}
    found = [s for s in shifts if s.structure not in hot]
    for one in hot.values():
        for name, members in _classes(one).items():
            rows = [table[one.name, s.label] for s in members]
            value = np.average([r.shift_eV for r in rows],
                               weights=[s.multiplicity for s in members])
            found.append(Shift(one.name, name, float(value), rows[0].caveat))
    order = {one.name: k for k, one in enumerate(results.structures)}
    return tuple(sorted(found, key=lambda s: order[s.structure]))


def _classes(one: StructureResult) -> dict[str, list[SiteResult]]:
    found: dict[str, list[SiteResult]] = {}
    for site in one.sites:
        element = site.label.rstrip("~").split("-")[0].rstrip("0123456789")
        found.setdefault(f"{element}-{site.site}", []).append(site)
    return found


def mean_errors(results: StudyResults, snapshots: Mapping[str, Array]
                ) -> dict[str, SampledError]:
    """Return ensemble -> standard error of its mean spectrum, where there are enough snapshots."""
    orders = {one.name: str(one.ensemble["order"]) for one in results.structures if one.ensemble}
    found = {name: standard_error(curves, orders[name]) for name, curves in snapshots.items()}
    return {name: error for name, error in found.items() if error is not None}


def difference_errors(results: StudyResults, snapshots: Mapping[str, Array],
                      bases: Mapping[str, str]) -> dict[str, SampledError]:
    """Return structure -> standard error of its difference from its base.

    Snapshots that share their random numbers and absorbers are subtracted one by one, and the
    scatter of the differences counts; else both errors do.
    """
    by_name, alone = {one.name: one for one in results.structures}, mean_errors(results, snapshots)
    found: dict[str, SampledError] = {}
    for name, base in bases.items():
        one, other = by_name[name], by_name[base]
        known = [alone.get(n) for n in (name, base) if n in snapshots]
        if one.ensemble and other.ensemble and common_draws(one, other):
            change = standard_error(snapshots[name] - snapshots[base], str(one.ensemble["order"]),
                                    paired=True)
            known = [change]
        sure = [error for error in known if error is not None]
        if sure and len(sure) == len(known):
            found[name] = sure[0] if len(sure) == 1 else combined(*sure)
    return found


def common_draws(one: StructureResult, other: StructureResult) -> bool:
    """Whether two ensembles have the same random numbers, snapshots and absorbers."""
    def key(structure: StructureResult) -> tuple[object, ...]:
        origin = structure.ensemble or {}
        return origin.get("draws"), *((s.label, s.sample) for s in structure.sites)

    return key(one) == key(other)
