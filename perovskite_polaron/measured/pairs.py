"""Scans that belong together: with laser and without, or a spectrum and that of its reference.

They are paired by what the wildcards of their patterns stand for (``run1_on_003`` and
``run1_off_003`` for ``*_on_*`` and ``*_off_*``) where that is the same for both; else in the order
in which they were measured, as where their numbers alternate. Who goes with whom is said.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import require
from perovskite_polaron.measured.raw import Raw, labelled
from perovskite_polaron.measured.scan import Scan
from perovskite_polaron.measured.treatment import interpolation, propagate

_Keyed = list[tuple[tuple[str, ...], Scan]]


def pair(scans: Sequence[Scan], raw: Raw) -> tuple[Scan, ...]:
    """Return the differences, or the scans with their companions, that raw asks for."""
    if not scans:
        return ()
    if raw.on is not None and raw.off is not None and raw.of_scans(raw.on):
        require(not raw.of_scans(raw.align_by), "--align-by scans: and --on scans: cannot stand "
                "together: the scans without laser are the reference")
        pumped, unpumped = _keyed(scans, raw.on), _keyed(scans, raw.off)
        both = {id(s) for _, s in pumped} & {id(s) for _, s in unpumped}
        neither = [s.name for s in scans if not any(s is t for _, t in (*pumped, *unpumped))]
        require(not both and not neither, f"{len(both)} scans fit --on and --off, and "
                f"{len(neither)} neither ({', '.join(neither[:5])}): each must fit one of them")
        return tuple(_difference(*two) for two in _matched(pumped, unpumped, raw.on, raw.off))
    if raw.align_by is not None and raw.of_scans(raw.align_by):
        references = _keyed(scans, raw.align_by)
        main: _Keyed = [((s.label.strip(),), s) for s in scans
                        if not any(s is t for _, t in references)]
        two = _matched(main, references, "the others", raw.align_by)
        return tuple(replace(a, companion=b, reading=f"{a.reading}; reference: {b.label.strip()}")
                     for a, b in two)
    return tuple(scans)


def _keyed(scans: Sequence[Scan], pattern: str) -> _Keyed:
    found = [(labelled(scan.label, pattern), scan) for scan in scans]
    kept = [(key, scan) for key, scan in found if key is not None]
    labels = ", ".join(scan.label.strip() for scan in scans[:10])
    require(kept, f"no scan fits {pattern!r}: their labels are {labels}")
    return kept


def _matched(first: _Keyed, second: _Keyed, one: str, two: str) -> list[tuple[Scan, Scan]]:
    by_key = dict(second)
    if len(by_key) == len(second) and {key for key, _ in first} == set(by_key):
        return [(scan, by_key[key]) for key, scan in first]
    require(len(first) == len(second), f"{len(first)} scans are {one}, {len(second)} are {two}: "
            "give as many of both, or names that differ in nothing else than what the patterns say")
    return [(a, b) for (_, a), (_, b) in zip(first, second, strict=True)]


def _difference(on: Scan, off: Scan) -> Scan:
    """Return on minus off on the energies of on; off is interpolated where its own differ."""
    same = on.energy_eV.shape == off.energy_eV.shape and np.allclose(
        on.energy_eV, off.energy_eV, rtol=0, atol=1e-6)
    e, r = on.energy_eV, off.energy_eV
    inside = np.full(len(e), True) if same else (e >= r[0]) & (e <= r[-1])
    lost = int((~inside).sum())
    require(inside.sum() > 1 and lost <= 0.05 * len(e) + 2, f"{on.name}: {off.name} spans "
            f"{r[0]:g} to {r[-1]:g} eV only, so {lost} of its {len(e)} points have no pair")
    values, variance = off.intensity, off.variance
    if not same:
        values = np.interp(e[inside], r, values)
        variance = propagate(variance, interpolation(e[inside], r))
    own = None if on.variance is None else _rows(on.variance, inside)
    both = None if own is None or variance is None else _sum(own, variance)
    lost_words = f"; {lost} points beyond its energies left out" * bool(lost)
    return replace(on, energy_eV=e[inside], intensity=on.intensity[inside] - values, variance=both,
                   companion=off,
                   reading=f"{on.reading}; minus {off.label.strip()}{lost_words}")


def _rows(variance: Array, inside: Array) -> Array:
    return variance[inside] if variance.ndim == 1 else variance[np.ix_(inside, inside)]


def _sum(one: Array, two: Array) -> Array:
    if one.ndim == two.ndim:
        return one + two
    return np.diag(one) + two if one.ndim == 1 else one + np.diag(two)

