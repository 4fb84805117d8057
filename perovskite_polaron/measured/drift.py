"""The drift of the energies between scans, found on what was measured with each of them.

A monochromator drifts by tenths of an eV over a day, as much as a transient moves an edge. Each
scan of a difference has its own spectrum without laser, and other scans may have that of a
reference foil: what shifts these shifts the scan.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import InputError, require
from perovskite_polaron.measured.scan import Scan, Step

#: The largest drift that is looked for, as part of the interval.
FARTHEST = 0.25


def align(scans: Sequence[Scan], *, from_eV: float, to_eV: float) -> tuple[Scan, ...]:
    """Shift the energies of every scan so that their companions fall on that of the first scan.

    A companion is fitted by a + b times a cubic spline through the mean of all, itself shifted:
    offset and height of the beam do not count, its shape alone does. First the spline is that of
    the first companion, then that of the mean of all as aligned, so that the noise of one scan does
    not move the others. Intensities are not touched. Companions that scatter more than their edge
    is high have no shape; and the shape is taken to be the same in all.

    Parameters
    ----------
    scans
        Each with a companion, on energies within one step.
    from_eV, to_eV
        The interval where companions are compared: it must hold an edge or a peak.

    Raises
    ------
    InputError
        When a scan has no companion, the interval holds fewer than five of its points or no shape,
        or a shift is as large as a quarter of the interval.
    """
    require(from_eV < to_eV, f"--align {from_eV:g} to {to_eV:g} eV: give the low end first")
    grid = np.linspace(from_eV, to_eV, 201)
    curves = [_curve(scan, from_eV, to_eV) for scan in scans]
    mean = np.interp(grid, *curves[0])
    for _ in range(2):
        shifts = np.array([_shift(e, y, grid, mean, scan.name)
                           for (e, y), scan in zip(curves, scans, strict=True)])
        mean = np.mean([np.interp(grid, e + s, y)
                        for (e, y), s in zip(curves, shifts, strict=True)], axis=0)
    shifts -= shifts[0]
    done = Step("align", {"from_eV": from_eV, "to_eV": to_eV})
    return tuple(replace(scan, energy_eV=scan.energy_eV + s, drift_eV=float(s), companion=None,
                         history=(*scan.history, done))
                 for scan, s in zip(scans, shifts.tolist(), strict=True))


def _curve(scan: Scan, from_eV: float, to_eV: float) -> tuple[Array, Array]:
    """Return energies and intensities of a companion, which must span the interval."""
    one = scan.companion
    if one is None:
        raise InputError(f"{scan.name}: nothing was measured with it that tells its drift: give "
                         "--off, or --align-by COLUMN with the reference")
    e = one.energy_eV
    inside = np.count_nonzero((e >= from_eV) & (e <= to_eV))
    require(inside >= 5 and e[0] <= from_eV and to_eV <= e[-1], f"{scan.name}: --align compares "
            f"{from_eV:g} to {to_eV:g} eV, where its spectrum has {inside} points from {e[0]:g} to "
            f"{e[-1]:g} eV: give an interval inside with five or more")
    return e, one.intensity


def _shift(energy: Array, intensity: Array, grid: Array, mean: Array, name: str) -> float:
    """Return what to add to energies so that the intensities fall best on the mean."""
    from scipy.interpolate import CubicSpline
    from scipy.optimize import minimize_scalar

    width = grid[-1] - grid[0]
    most = FARTHEST * width
    spline = CubicSpline(grid, mean)
    inside = (energy >= grid[0] + most) & (energy <= grid[-1] - most)
    require(np.count_nonzero(inside) >= 3 and np.ptp(mean) > 0, f"{name}: --align finds fewer than "
            "three points in the inner half of the interval, or no edge: give a wider one")
    e, y = energy[inside], intensity[inside]

    def misfit(shift: float) -> float:
        basis = np.column_stack([np.ones(len(e)), spline(e + shift)])
        found, *_ = np.linalg.lstsq(basis, y, rcond=None)
        return float(np.sum((y - basis @ found) ** 2)) if found[1] > 0 else float(np.sum(y**2))

    tried = np.linspace(-most, most, 41)
    best = int(np.argmin([misfit(s) for s in tried]))
    require(0 < best < len(tried) - 1, f"{name}: its energies are off by {most:g} eV or more: give "
            "a wider interval to --align, or --shift them first")
    found = minimize_scalar(misfit, bounds=(tried[best - 1], tried[best + 1]), method="bounded",
                            options={"xatol": 1e-6})
    return float(found.x)
