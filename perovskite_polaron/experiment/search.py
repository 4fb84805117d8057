"""The search for a fit's best nuisance parameters: a grid over all of them, narrowed until it resolves the posterior."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.errors import ComputationError, InputError
from perovskite_polaron.experiment.template import SMALLEST_AMPLITUDE, Priors, Template

Array = NDArray[np.float64]
Interval = tuple[float, float]
Axes = tuple[Array, Array, Array]


def white(columns: Array, whiten: Array) -> Array:
    """Columns (p, m, c) in units of independent errors; whiten is (m,) inverse errors or a whitening matrix (m, m)."""
    return columns * whiten[:, None] if whiten.ndim == 1 else np.asarray(whiten @ columns)


@dataclass(frozen=True, eq=False)
class Grid:
    """Shift, width and amplitude axes; at each of the p combinations (points, (p, 3)) the white columns (p, m, parts).

    inverse: (p, parts, parts), the covariance of the strengths. prior: (p,), the priors' terms of χ².
    """

    axes: Axes
    points: Array
    columns: Array
    inverse: Array
    prior: Array


def make_grid(template: Template, whiten: Array, priors: Priors, axes: Axes | None = None) -> Grid:
    """Evaluate a template on the axes (default: everything that the priors and the computed amplitudes allow)."""
    if axes is None:
        full = template.sweep is None
        reach, wide = template.reach_shift_eV, template.reach_width_eV
        shifts = np.linspace(-reach, reach, 41 if full else 31) if reach else np.zeros(1)
        widths = wide * np.linspace(0, 1, 13 if full else 11) if wide else np.zeros(1)
        largest = template.parts[0].amplitude_sqrt_amu_A or 1.0
        axes = (shifts, widths, np.array([largest]) if full else largest * np.linspace(SMALLEST_AMPLITUDE, 1, 31))
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    columns = white(template.columns(*axes), whiten)
    normal = np.swapaxes(columns, 1, 2) @ columns
    size = np.sqrt(np.einsum("pcc->pc", normal))
    if not (size > 0).all():
        raise InputError(
            f"the scenario {template.parts[0].name!r} is zero over the transient's energies; widen the window"
        )
    # Scaled to unit columns, so that the ridge that keeps two equal shapes solvable has one meaning.
    scaled = normal / (size[:, :, None] * size[:, None, :]) + 1e-12 * np.eye(columns.shape[2])
    inverse = np.linalg.inv(scaled) / (size[:, :, None] * size[:, None, :])
    prior = np.zeros(len(points))
    for column, sigma in ((0, priors.shift_sigma_eV), (1, priors.width_sigma_eV)):
        if sigma:
            prior += (points[:, column] / sigma) ** 2
    return Grid(axes, points, columns, inverse, prior)


def solve(grid: Grid, data: Array) -> tuple[Array, Array]:
    """Best strengths (p, parts) and χ² (p,) at every grid point."""
    along = np.einsum("pmc,m->pc", grid.columns, data)
    strengths = np.einsum("pcd,pd->pc", grid.inverse, along)
    return strengths, data @ data - np.einsum("pc,pc->p", strengths, along) + grid.prior


@dataclass(frozen=True, eq=False)
class Found:
    """The narrowed grid with, at each of its points, the best strengths (p, parts), their variances alike, and the rise of χ² (p,).

    best: index of the lowest χ², chi2 its value with the priors' terms. bounds: what the axes could be at most.
    """

    grid: Grid
    strengths: Array
    variance: Array
    room: Array
    best: int
    chi2: float
    bounds: tuple[Interval, ...]


def search(name: str, template: Template, grid: Grid, whiten: Array, data: Array, priors: Priors) -> Found:
    """Narrow the grid about the best parameters for white data (m,). ComputationError when that does not end."""
    bounds = tuple((float(a[0]), float(a[-1])) for a in grid.axes)
    strengths, chi2 = solve(grid, data)
    for _ in range(60):
        axes = _narrowed(grid, chi2, bounds)
        if axes is None:
            break
        grid = make_grid(template, whiten, priors, axes)
        strengths, chi2 = solve(grid, data)
    else:
        raise ComputationError(f"the fit of {name!r} did not converge; give the edge, or narrower priors")
    best = int(np.argmin(chi2))
    # To first order an uncertain scale adds its share to the variance of every strength.
    variance = np.einsum("pcc->pc", grid.inverse) + (priors.scale_sigma * strengths) ** 2
    return Found(grid, strengths, variance, chi2 - chi2[best], best, float(chi2[best]), bounds)


def _narrowed(grid: Grid, chi2: Array, bounds: tuple[Interval, ...]) -> Axes | None:
    """Axes closer about the region within 9 of the lowest χ², or None when each already resolves it."""
    cube = chi2.reshape([len(a) for a in grid.axes])
    best = np.unravel_index(int(np.argmin(cube)), cube.shape)
    inside = cube <= cube[best] + 9
    axes, changed = [], False
    for k, axis in enumerate(grid.axes):
        if len(axis) == 1:
            axes.append(axis)
            continue
        low, high = bounds[k]
        where = np.flatnonzero(inside.any(axis=tuple(j for j in range(cube.ndim) if j != k)))
        edge = (best[k] == 0 and axis[0] > low) or (best[k] == len(axis) - 1 and axis[-1] < high)
        cell = axis[1] - axis[0]
        if edge:
            span = axis[-1] - axis[0]
            start, end = axis[best[k]] - span / 2, axis[best[k]] + span / 2
        elif where[-1] - where[0] < 0.45 * (len(axis) - 1) and cell > 1e-6 * (high - low):
            start, end = axis[where[0]] - 2 * cell, axis[where[-1]] + 2 * cell
            # A window of its own size again would never end.
            if max(start, low) <= axis[0] and min(end, high) >= axis[-1]:
                axes.append(axis)
                continue
        else:
            axes.append(axis)
            continue
        changed = True
        axes.append(np.linspace(max(start, low), min(end, high), len(axis)))
    return (axes[0], axes[1], axes[2]) if changed else None


def profile_interval(room: Array, values: Array, variance: Array, rise: float) -> Array:
    """Profile intervals (c, 2): at each grid point the values within the rise are an interval; the profile's is their union."""
    inside = room <= rise
    half = np.sqrt((rise - room[inside])[:, None] * variance[inside])
    middle = values[inside]
    return np.stack([(middle - half).min(axis=0), (middle + half).max(axis=0)], axis=-1)
