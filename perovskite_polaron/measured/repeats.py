"""The mean of repeated scans, with the error of their scatter; points that miss the others."""

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import require
from perovskite_polaron.measured.scan import Scan, Step
from perovskite_polaron.measured.scatter import pool
from perovskite_polaron.measured.treatment import keep, outliers


def outliers_among(scans: Sequence[Scan], *,
                   threshold: float = 5.0) -> tuple[NDArray[np.bool_], ...]:
    """Flag points of repeated scans that miss the median scan.

    Three or more scans on one grid are compared with each other, so that no feature of the spectrum
    is taken for a spike: the miss is that from the median over the scans, less each scan's own
    median miss (its beam intensity). Otherwise each scan is judged alone, as by ``outliers``.

    Parameters
    ----------
    threshold : float
        In robust standard deviations: 1.4826 × the median absolute miss.
    """
    if len(scans) < 3 or len({s.energy_eV.tobytes() for s in scans}) > 1:
        return tuple(outliers(scan, threshold=threshold) for scan in scans)
    stack = np.array([s.intensity for s in scans])
    miss = stack - np.median(stack, axis=0)
    miss -= np.median(miss, axis=1, keepdims=True)
    # The median scan of a point misses it by nothing: what counts is how far the others are.
    others = np.sort(np.abs(miss), axis=0)[1:]
    return tuple(np.abs(miss) > threshold * 1.4826 * float(np.median(others)))


def _on_one_grid(scans: Sequence[Scan]) -> tuple[Array, Array]:
    """Return the energies, shape (n,), of repeats and their intensities there, (n_scans, n)."""
    grids = [scan.energy_eV for scan in scans]
    mean = np.mean(grids, axis=0) if len({len(e) for e in grids}) == 1 else grids[0]
    steps = np.diff(mean)
    nearest = np.minimum(np.r_[steps[:1], steps], np.r_[steps, steps[-1:]])
    require(all(e.shape == mean.shape and (np.abs(e - mean) <= 0.125 * nearest).all()
                for e in grids), "the scans to combine have different energies: bring them to one "
            "grid with --rebin WIDTH, wider than their steps and their shifts, or cut them with "
            "--crop")
    if np.ptp(grids, axis=0).max() <= 1e-6:
        return grids[0], np.array([scan.intensity for scan in scans])
    at = [np.clip(np.searchsorted(e, mean) - 1, 0, len(e) - 2) for e in grids]
    parts = [(mean - e[i]) / (e[i + 1] - e[i]) for e, i in zip(grids, at, strict=True)]
    return mean, np.array([(1 - w) * s.intensity[i] + w * s.intensity[i + 1]
                           for s, i, w in zip(scans, at, parts, strict=True)])


def _bins_of_all(scans: Sequence[Scan]) -> Sequence[Scan]:
    """Return binned scans without the bins that some of them lack, as drifting ones do at the ends;
    others as they are.
    """
    if not all(any(step.name == "rebin" for step in s.history) for s in scans):
        return scans
    common = functools.reduce(np.intersect1d, [s.energy_eV for s in scans])
    enough = len(common) >= 0.8 * max(len(s.energy_eV) for s in scans)
    return [keep(s, np.isin(s.energy_eV, common)) for s in scans] if enough else scans


def combine(scans: Sequence[Scan], label: str = "", robust_sigmas: float | None = None) -> Scan:
    """Return the mean of repeated scans on one grid, with the standard error from their scatter.

    With two or more scans the scatter about the mean gives the variance, which includes what the
    counting errors leave out. It is pooled over the points, by the law that ``scatter.pool`` finds:
    a few scans know the scatter of a single point badly. A single scan keeps its own errors.
    Energies may differ by a quarter of a step, as encoders read them: lines between the points
    bring the scans to the mean energies. Of binned scans those bins count that all of them have.

    Parameters
    ----------
    scans, label
        The repeats, and what to call their mean.
    robust_sigmas
        Leave points out of the mean that miss the other scans by so many robust standard
        deviations, as ``outliers_among`` finds them; it needs three scans.

    Returns
    -------
    Scan
        The step ``combine`` in its history says how many points were left out, and where all
        scans have errors of their own (of counting) the ratio of the scatter to these.

    Raises
    ------
    InputError
        When energies differ more (rebin first), when the files name different samples, edges or
        energy shifts, and when a robust mean lacks scans.
    """
    require(scans, "no scan to combine: give at least one")
    first = scans[0]
    # Once energies were aligned, shifts that the files would have added are of no concern.
    named = ("element", "edge", "sample", *(["energy shift"] if first.drift_eV is None else []))
    for what in named:
        said = sorted({s.table.identity[what] for s in scans if s.table is not None} - {""})
        require(len(said) < 2, f"{first.name}: the scans to average are of different {what}s "
                f"({', '.join(said[:20])}): give each alone, or choose those of one with --group "
                "LABEL")
    if len(scans) == 1:
        return first
    scans = _bins_of_all(scans)
    energy, stack = _on_one_grid(scans)
    kept = np.ones(stack.shape, dtype=bool)
    if robust_sigmas is not None:
        require(len(scans) > 2, f"{first.name}: a robust mean needs three scans or more, of which "
                "most agree: leave --robust out")
        on_grid = [Scan(energy, row) for row in stack]
        kept = ~np.array(outliers_among(on_grid, threshold=robust_sigmas))
    count = kept.sum(axis=0)
    require((count > 1).all(), f"{first.name}: at {energy[np.argmin(count)]:g} eV fewer than two "
            "scans agree: take a larger --robust, or cut the energies out with --deglitch")
    mean = np.where(kept, stack, 0).sum(axis=0) / count
    squares = np.where(kept, (stack - mean) ** 2, 0).sum(axis=0) / (count - 1)
    errors = [s.error for s in scans]
    # Counting: the variance follows the intensity, or the square of the errors that the files give.
    known = [e for e in errors if e is not None]
    shapes = [mean, *([np.mean(known, axis=0)] if len(known) == len(scans) else [])]
    variance, dof = pool(squares, len(scans) - 1, [s for s in shapes if (s > 0).all()])
    said_of: dict[str, float | int] = {"scans": len(scans)}
    if robust_sigmas is not None:
        said_of |= {"robust_sigmas": robust_sigmas, "left_out": int((~kept).sum())}
    if len(known) == len(scans) and (np.array(known) > 0).all():
        stated = np.mean(np.square(known), axis=0)
        said_of["scatter_over_stated"] = float(np.sqrt(np.mean(variance / stated)))
    return Scan(energy, mean, variance / count, label or first.label, first.delay_ps,
                first.temperature_C, ", ".join(dict.fromkeys(s.source for s in scans)),
                (*first.history, Step("combine", said_of)), first.table, dof=dof)
