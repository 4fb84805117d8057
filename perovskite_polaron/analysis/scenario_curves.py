"""The curves of a hypothesis on a transient's energies, for many shifts, widths and amplitudes at once.

The search for a fit's best nuisance parameters: a grid over all of them, narrowed until it resolves the posterior.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, sqrt

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.analysis.scenarios import Scenario
from perovskite_polaron.errors import ComputationError, InputError
from perovskite_polaron.kernels.convolution import broaden_gaussian

Array = NDArray[np.float64]
FWHM_PER_SIGMA = sqrt(8 * log(2))
# Nuisance parameters are searched for up to so many standard deviations of their priors.
REACH_SHIFT, REACH_WIDTH = 5.0, 4.0
# A sweep is searched from this share of its largest amplitude: below, only f·Q² remains.
SMALLEST_AMPLITUDE = 0.02


@dataclass(frozen=True)
class Priors:
    """What is known of the nuisance parameters; zero holds a parameter at its mean.

    shift_sigma_eV: the place of the calculated axis, Gaussian about 0. width_sigma_eV: broadening beyond the
    calculation's, full width at half maximum of a Gaussian, half-normal (only broader). scale_sigma: relative error of
    the factor between the two normalisations, Gaussian about 1, taken to first order.
    """

    shift_sigma_eV: float = 0.2
    width_sigma_eV: float = 0.3
    scale_sigma: float = 0.0

    def __post_init__(self) -> None:
        for name, value, most in (
            ("shift", self.shift_sigma_eV, 20.0),
            ("width", self.width_sigma_eV, 20.0),
            ("scale", self.scale_sigma, 0.5),
        ):
            if not 0 <= value <= most:
                raise InputError(
                    f"the prior width of the {name}, {value:g}, must lie between 0 (held fixed) and {most:g}"
                )


class Curves:
    """One scenario on the experiment's axis: its amplitudes' curves at several broadenings, on an even grid of energies.

    A calculated scenario is moved by the shift and broadened by the width; a measured one stays. Raises InputError when
    it does not span the transient's energies, shifts included.
    """

    def __init__(self, scenario: Scenario, energy_eV: Array, offset_eV: float, priors: Priors) -> None:
        self.scenario, self.energy_eV = scenario, energy_eV
        moves = scenario.kind != "measured"
        self.reach_shift_eV = REACH_SHIFT * priors.shift_sigma_eV if moves else 0.0
        self.reach_width_eV = REACH_WIDTH * priors.width_sigma_eV if moves else 0.0
        sweep = scenario.sweep
        self.sweep = sweep if sweep is not None and len(sweep.amplitudes_sqrt_amu_A) > 1 else None
        own = scenario.energy_eV + (offset_eV if moves else 0.0)
        low, high = energy_eV[0] - self.reach_shift_eV, energy_eV[-1] + self.reach_shift_eV
        if low < own[0] - 1e-9 or high > own[-1] + 1e-9:
            raise InputError(
                f"the scenario {scenario.name!r} spans {own[0]:.1f} to {own[-1]:.1f} eV and not the transient with its "
                f"shifts, {low:.1f} to {high:.1f} eV; cut the transient with a window, or place the edge"
            )
        cells = int(np.clip(np.ceil((own[-1] - own[0]) / np.diff(own).min() - 1e-6), 1, 20_000))
        even = np.linspace(own[0], own[-1], cells + 1)
        curves = scenario.difference[None] if self.sweep is None else self.sweep.differences
        rows = np.array([np.interp(even, own, y) for y in curves])
        within = slice(max(np.searchsorted(even, low) - 2, 0), np.searchsorted(even, high) + 2)
        self.grid_eV = even[within]
        # Broadening is smooth in the square of the width, so lines between squares are close.
        self.squares = np.linspace(0, self.reach_width_eV**2, 9 if self.reach_width_eV else 1)
        widths = np.sqrt(self.squares[1:]) / FWHM_PER_SIGMA
        self.table = np.array([rows[:, within], *(broaden_gaussian(even, rows, self.grid_eV, w) for w in widths)])

    def at(self, shift_eV: Array, width_fwhm_eV: Array, amplitude_sqrt_amu_A: Array) -> Array:
        """Return (shifts, widths, amplitudes, m): curves at the m energies of the transient."""
        moved = shift_eV if self.reach_shift_eV else np.zeros(len(shift_eV))
        place = (self.energy_eV - moved[:, None] - self.grid_eV[0]) / (self.grid_eV[1] - self.grid_eV[0])
        left = np.clip(place.astype(np.intp), 0, len(self.grid_eV) - 2)
        rest = place - left
        found = self.table[:, :, left] * (1 - rest) + self.table[:, :, left + 1] * rest
        blend = np.array([np.interp(width_fwhm_eV**2, self.squares, e) for e in np.eye(len(self.squares))]).T
        if self.sweep is None:
            weights = np.ones((len(amplitude_sqrt_amu_A), 1))
        else:
            largest = self.sweep.amplitudes_sqrt_amu_A[-1]
            weights = self.sweep.weights(amplitude_sqrt_amu_A) * (largest / amplitude_sqrt_amu_A[:, None]) ** 2
        wide = np.tensordot(blend, found, 1)
        return np.asarray(np.moveaxis(np.tensordot(weights, wide, (1, 1)), (2, 1, 0), (0, 1, 2)))


class Template:
    """Curves of one hypothesis: a column for each of its parts.

    The first part may have several computed amplitudes: its column is then that of the difference at Q times (Qmax/Q)²,
    so that its strength, f·Q²/Qmax², stays finite where f and Q cannot be told apart. A further part that has several
    keeps the shape of its largest.
    """

    def __init__(self, curves: Sequence[Curves]) -> None:
        self.curves = tuple(curves)
        self.parts = tuple(c.scenario for c in curves)
        self.sweep = curves[0].sweep
        self.largest = [np.array([p.amplitude_sqrt_amu_A or 1.0]) for p in self.parts[1:]]
        self.reach_shift_eV = max(c.reach_shift_eV for c in curves)
        self.reach_width_eV = max(c.reach_width_eV for c in curves)

    def columns(self, shift_eV: Array, width_fwhm_eV: Array, amplitude_sqrt_amu_A: Array) -> Array:
        """Return (p, m, parts) at the p combinations of the shifts, widths and amplitudes, the last running fastest."""
        shape = (len(shift_eV), len(width_fwhm_eV), len(amplitude_sqrt_amu_A), len(self.curves[0].energy_eV))
        columns = [
            np.broadcast_to(c.at(shift_eV, width_fwhm_eV, q), shape)
            for c, q in zip(self.curves, [amplitude_sqrt_amu_A, *self.largest], strict=True)
        ]
        return np.stack([c.reshape(-1, shape[-1]) for c in columns], axis=-1)



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
