"""A transient at several delays on one set of energies, with the errors of its points."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import InputError, require
from perovskite_polaron.measured.scan import Scan

#: So many products of a curve over energy and one over delay are taken for signal where the errors
#: of a map are found from its own scatter.
PRODUCTS = 6


@dataclass(frozen=True, eq=False)
class DelayMap:
    """Difference spectra at t rising delays, each of the same m energies and with errors.

    Attributes
    ----------
    scans : tuple of Scan
    scatter : float or None
        The error of every point where it was found from the scatter of the map itself.
    """

    scans: tuple[Scan, ...]
    scatter: float | None = None

    @property
    def energy_eV(self) -> Array:
        """Energies (m,)."""
        return self.scans[0].energy_eV

    @property
    def delay_ps(self) -> Array:
        """Delays (t,)."""
        return np.array([scan.delay_ps for scan in self.scans], dtype=float)

    @property
    def signal(self) -> Array:
        """Intensities (t, m)."""
        return np.array([scan.intensity for scan in self.scans])

    def mean(self, after_ps: float) -> Scan:
        """Return the mean of the delays beyond one, all weighed alike, with its errors.

        Raises
        ------
        InputError
            When no delay lies beyond.
        """
        kept = [s for s in self.scans if s.delay_ps is not None and s.delay_ps > after_ps]
        require(kept, f"no delay of the map is beyond {after_ps:g} ps, where the pump has come:"
                " give the place of time zero (--t0), or the right unit of the delays")
        errors = [s.variance for s in kept if s.variance is not None]
        if any(v.ndim == 2 for v in errors):
            errors = [v if v.ndim == 2 else np.diag(v) for v in errors]
        return replace(kept[0], intensity=np.mean([s.intensity for s in kept], axis=0),
                       variance=np.sum(errors, axis=0) / len(kept) ** 2,
                       label=f"mean of {len(kept)} delays", delay_ps=None,
                       dof=min(s.dof for s in kept))


def delay_map(scans: Sequence[Scan]) -> DelayMap:
    """Return the map of spectra that each say their delay, in the order of the delays.

    Where none has errors, that of every point is found from the map: what is left of it beside its
    ``PRODUCTS`` largest products of a curve over energy and one over delay (singular value
    decomposition), over the degrees of freedom that are left. It is right for noise of one size
    that does not know of other points.

    Raises
    ------
    InputError
        When a delay is missing or occurs twice, the energies differ, some scans have errors and
        some have none, or the map is too small to find its errors from it.
    """
    missing = next((s.name for s in scans if s.delay_ps is None), None)
    require(missing is None, f"{missing}: its delay is not known; say it in the header, the name of"
            " the column or of the file, as 100ps")
    ordered = sorted(scans, key=lambda s: s.delay_ps or 0.0)
    delays = [s.delay_ps for s in ordered]
    require(len(scans) > 2 and len({*delays}) == len(delays), f"a map needs three delays or more,"
            f" each once, and not {len(scans)} spectra at {len({*delays})} delays: average repeats"
            " first (polaron treat)")
    first = ordered[0]
    for scan in ordered:
        require(np.array_equal(scan.energy_eV, first.energy_eV), f"{scan.name} has other energies"
                f" than {first.name}: bring them to one grid (polaron treat --rebin)")
    known = sum(s.variance is not None for s in ordered)
    if known == len(ordered):
        return DelayMap(tuple(ordered))
    if known:
        raise InputError(f"{known} of {len(ordered)} spectra of the map have errors: give them to"
                         " all, or to none")
    shape = len(ordered), len(first.energy_eV)
    require(min(shape) >= 2 * PRODUCTS, f"the map has no errors, and {shape[0]} delays of"
            f" {shape[1]} energies are too few to find them from its scatter: give error columns")
    values = np.linalg.svd(np.array([s.intensity for s in ordered]), compute_uv=False)
    freedom = (shape[0] - PRODUCTS) * (shape[1] - PRODUCTS)
    error = float(np.sqrt((values[PRODUCTS:] ** 2).sum() / freedom))
    require(error > 0, "the map has no errors and no scatter: it is no measurement; give errors")
    return DelayMap(tuple(replace(s, variance=np.full(shape[1], error**2)) for s in ordered), error)
