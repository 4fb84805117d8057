"""The curves of a hypothesis on a transient's energies, for many shifts, widths and amplitudes.

The search for a fit's best nuisance parameters: a grid over all of them, narrowed until it resolves
the posterior.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, sqrt

import numpy as np

from perovskite_polaron.analysis.scenarios import Scenario
from perovskite_polaron.arrays import Array, Interval
from perovskite_polaron.errors import ComputationError, require
from perovskite_polaron.kernels.convolution import broaden_gaussian

Axes = tuple[Array, Array, Array]
FWHM_PER_SIGMA = sqrt(8 * log(2))
#: Nuisance parameters are searched up to so many standard deviations of their priors.
REACH_SHIFT, REACH_WIDTH = 5.0, 4.0
#: A sweep is searched from this share of its largest amplitude: below, only f·Q² remains.
SMALLEST_AMPLITUDE = 0.02


@dataclass(frozen=True)
class Priors:
    """What is known of the nuisance parameters; zero holds a parameter at its mean.

    Attributes
    ----------
    shift_sigma_eV
        Place of the calculated axis, Gaussian about 0.
    width_sigma_eV
        Broadening beyond the calculation's: full width at half maximum of a Gaussian, half-normal.
    scale_sigma
        Relative error of the factor between the two normalisations, Gaussian about 1, taken to
        first order.
    """

    shift_sigma_eV: float = 0.2
    width_sigma_eV: float = 0.3
    scale_sigma: float = 0.0

    def __post_init__(self) -> None:
        for name, value, most in (("shift", self.shift_sigma_eV, 20.0),
                                  ("width", self.width_sigma_eV, 20.0),
                                  ("scale", self.scale_sigma, 0.5)):
            require(0 <= value <= most, f"the prior width of the {name}, {value:g}, must lie "
                    f"between 0 (held fixed) and {most:g}")


class Curves:
    """One scenario on the experiment's axis: its curves at several amplitudes and broadenings.

    A calculated scenario is moved by the shift and broadened by the width; a measured one stays.
    Raises InputError when it does not span the transient's energies, shifts included.
    """

    def __init__(self, scenario: Scenario, energy_eV: Array, offset_eV: float,
                 priors: Priors) -> None:
        self.scenario, self.energy_eV = scenario, energy_eV
        moves = scenario.kind != "measured"
        self.reach_shift_eV = REACH_SHIFT * priors.shift_sigma_eV if moves else 0.0
        self.reach_width_eV = REACH_WIDTH * priors.width_sigma_eV if moves else 0.0
        self.sweep = scenario.sweep if scenario.is_swept else None
        own = scenario.energy_eV + (offset_eV if moves else 0.0)
        low, high = energy_eV[0] - self.reach_shift_eV, energy_eV[-1] + self.reach_shift_eV
        require(own[0] - 1e-9 <= low and high <= own[-1] + 1e-9, f"the scenario {scenario.name!r} "
                f"spans {own[0]:.1f} to {own[-1]:.1f} eV and not the transient with its shifts, "
                f"{low:.1f} to {high:.1f} eV; cut the transient with a window, or place the edge")
        cells = int(np.clip(np.ceil((own[-1] - own[0]) / np.diff(own).min() - 1e-6), 1, 20_000))
        even = np.linspace(own[0], own[-1], cells + 1)
        curves = scenario.difference[None] if self.sweep is None else self.sweep.differences
        rows = np.array([np.interp(even, own, y) for y in curves])
        within = slice(max(np.searchsorted(even, low) - 2, 0), np.searchsorted(even, high) + 2)
        self.grid_eV = even[within]
        # Broadening is smooth in the square of the width, so lines between squares are close.
        self.squares = np.linspace(0, self.reach_width_eV**2, 9 if self.reach_width_eV else 1)
        sigmas = np.sqrt(self.squares[1:]) / FWHM_PER_SIGMA
        wider = (broaden_gaussian(even, rows, self.grid_eV, sigma) for sigma in sigmas)
        self.table = np.array([rows[:, within], *wider])

    def at(self, shift_eV: Array, width_fwhm_eV: Array, amplitude_sqrt_amu_A: Array) -> Array:
        """Return (shifts, widths, amplitudes, m): curves at the m energies of the transient."""
        moved = shift_eV if self.reach_shift_eV else np.zeros(len(shift_eV))
        step_eV = self.grid_eV[1] - self.grid_eV[0]
        place = (self.energy_eV - moved[:, None] - self.grid_eV[0]) / step_eV
        left = np.clip(place.astype(np.intp), 0, len(self.grid_eV) - 2)
        rest = place - left
        found = self.table[:, :, left] * (1 - rest) + self.table[:, :, left + 1] * rest
        blend = np.array([np.interp(width_fwhm_eV**2, self.squares, row)
                          for row in np.eye(len(self.squares))]).T
        if self.sweep is None:
            weights = np.ones((len(amplitude_sqrt_amu_A), 1))
        else:
            largest, power = self.sweep.amplitudes_sqrt_amu_A[-1], self.sweep.power
            factor = (largest / amplitude_sqrt_amu_A[:, None]) ** power
            weights = self.sweep.weights(amplitude_sqrt_amu_A) * factor
        wide = np.tensordot(blend, found, 1)
        return np.asarray(np.moveaxis(np.tensordot(weights, wide, (1, 1)), (2, 1, 0), (0, 1, 2)))


class Template:
    """Curves of one hypothesis: a column for each of its parts.

    The first part may have several computed amplitudes: its column is then that of the difference
    at Q times (Qmax/Q)², so that its strength, f·Q²/Qmax², stays finite where f and Q cannot be
    told apart (without the square where +Q and −Q differ: ``Scenario.power``). A further part that
    has several keeps the shape of its largest.
    """

    def __init__(self, curves: Sequence[Curves]) -> None:
        self.curves = tuple(curves)
        self.parts = tuple(c.scenario for c in curves)
        self.sweep = curves[0].sweep
        self.largest = self.parts[0].amplitude_sqrt_amu_A or 1.0
        self.reach_shift_eV = max(c.reach_shift_eV for c in curves)
        self.reach_width_eV = max(c.reach_width_eV for c in curves)

    def columns(self, shift_eV: Array, width_fwhm_eV: Array, amplitude_sqrt_amu_A: Array) -> Array:
        """Return (p, m, parts) at the p combinations, the last argument running fastest."""
        m = len(self.curves[0].energy_eV)
        shape = (len(shift_eV), len(width_fwhm_eV), len(amplitude_sqrt_amu_A), m)
        own = [np.array([part.amplitude_sqrt_amu_A or 1.0]) for part in self.parts[1:]]
        columns = [np.broadcast_to(c.at(shift_eV, width_fwhm_eV, q), shape)
                   for c, q in zip(self.curves, [amplitude_sqrt_amu_A, *own], strict=True)]
        return np.stack([c.reshape(-1, m) for c in columns], axis=-1)


def white(columns: Array, whiten: Array) -> Array:
    """Return columns (p, m, c) in units of independent errors.

    whiten: (m,) inverse errors or a whitening matrix (m, m).
    """
    return columns * whiten[:, None] if whiten.ndim == 1 else np.asarray(whiten @ columns)


class Grid:
    """A template evaluated on axes of shift, width and amplitude.

    Attributes
    ----------
    axes : tuple of ndarray
        By default everything that the priors and the computed amplitudes allow.
    points : ndarray, shape (p, 3)
        Their combinations.
    columns : ndarray, shape (p, m, parts)
        White columns.
    inverse : ndarray, shape (p, parts, parts)
        Covariance of the strengths.
    prior : ndarray, shape (p,)
        The priors' terms of χ².
    """

    def __init__(self, template: Template, whiten: Array, priors: Priors,
                 axes: Axes | None = None) -> None:
        self.template, self.whiten, self.priors = template, whiten, priors
        if axes is None:
            is_swept = template.sweep is not None
            reach, wide = template.reach_shift_eV, template.reach_width_eV
            shifts = np.linspace(-reach, reach, 31 if is_swept else 41) if reach else np.zeros(1)
            widths = np.linspace(0, wide, 11 if is_swept else 13) if wide else np.zeros(1)
            shares = np.linspace(SMALLEST_AMPLITUDE, 1, 31) if is_swept else np.ones(1)
            axes = (shifts, widths, template.largest * shares)
        self.axes = axes
        self.points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        self.columns = white(template.columns(*axes), whiten)
        normal = np.swapaxes(self.columns, 1, 2) @ self.columns
        size = np.sqrt(np.einsum("pcc->pc", normal))
        require((size > 0).all(), f"the scenario {template.parts[0].name!r} is zero over the "
                "transient's energies; widen the window")
        # Scaled to unit columns, so that the ridge that keeps two equal shapes solvable has one
        # meaning.
        outer = size[:, :, None] * size[:, None, :]
        self.inverse = np.linalg.inv(normal / outer + 1e-12 * np.eye(size.shape[1])) / outer
        sigmas = np.array([priors.shift_sigma_eV, priors.width_sigma_eV])
        self.prior = ((self.points[:, :2] / np.where(sigmas > 0, sigmas, np.inf)) ** 2).sum(axis=1)

    def solve(self, data: Array) -> tuple[Array, Array]:
        """Return the best strengths (p, parts) and χ² (p,) at every point, for white data (m,)."""
        along = np.einsum("pmc,m->pc", self.columns, data)
        strengths = np.einsum("pcd,pd->pc", self.inverse, along)
        return strengths, data @ data - np.einsum("pc,pc->p", strengths, along) + self.prior

    def minimise(self, name: str, data: Array) -> "Found":
        """Narrow the grid about the best parameters; ComputationError when that does not end."""
        bounds = tuple((float(a[0]), float(a[-1])) for a in self.axes)
        grid, (strengths, chi2) = self, self.solve(data)
        for _ in range(60):
            axes = grid._narrowed(chi2, bounds)
            if axes is None:
                break
            grid = Grid(self.template, self.whiten, self.priors, axes)
            strengths, chi2 = grid.solve(data)
        else:
            raise ComputationError(f"the fit of {name!r} did not converge; give the edge, or "
                                   "narrower priors")
        best = int(np.argmin(chi2))
        # To first order an uncertain scale adds its share to the variance of every strength.
        scale = (self.priors.scale_sigma * strengths) ** 2
        variance = np.einsum("pcc->pc", grid.inverse) + scale
        return Found(grid, strengths, variance, chi2 - chi2[best], best, float(chi2[best]), bounds)

    def _narrowed(self, chi2: Array, bounds: tuple[Interval, ...]) -> Axes | None:
        """Return axes closer about where χ² is within 9 of its lowest; None: it is resolved."""
        cube = chi2.reshape([len(a) for a in self.axes])
        best = np.unravel_index(int(np.argmin(cube)), cube.shape)
        inside = cube <= cube[best] + 9
        axes = list(self.axes)
        for k, (axis, (low, high)) in enumerate(zip(self.axes, bounds, strict=True)):
            if len(axis) == 1:
                continue
            others = tuple(j for j in range(cube.ndim) if j != k)
            where = np.flatnonzero(inside.any(axis=others))
            cell = axis[1] - axis[0]
            last = len(axis) - 1
            if (best[k] == 0 and axis[0] > low) or (best[k] == last and axis[-1] < high):
                half = (axis[-1] - axis[0]) / 2
                start, end = axis[best[k]] - half, axis[best[k]] + half
            elif where[-1] - where[0] < 0.45 * last and cell > 1e-6 * (high - low):
                start, end = axis[where[0]] - 2 * cell, axis[where[-1]] + 2 * cell
                # A window of its own size again would never end.
                if max(start, low) <= axis[0] and min(end, high) >= axis[-1]:
                    continue
            else:
                continue
            axes[k] = np.linspace(max(start, low), min(end, high), len(axis))
        is_same = all(a is b for a, b in zip(axes, self.axes, strict=True))
        return None if is_same else (axes[0], axes[1], axes[2])


@dataclass(frozen=True, eq=False)
class Found:
    """What a search ended with.

    Attributes
    ----------
    grid : Grid
        The narrowed one.
    strengths, variance : ndarray, shape (p, parts)
        The best strengths at each of its points, and their variances.
    rise : ndarray, shape (p,)
        Δχ² from the lowest.
    best : int
        Index of the lowest χ².
    chi2 : float
        Its value with the priors' terms.
    bounds : tuple
        What the axes could be at most.
    """

    grid: Grid
    strengths: Array
    variance: Array
    rise: Array
    best: int
    chi2: float
    bounds: tuple[Interval, ...]

    def interval(self, values: Array, variance: Array, rise: float) -> Array:
        """Return profile intervals (c, 2) of values (p, c) with their variances.

        At each grid point the values within the rise are an interval; the profile's is their union.
        """
        inside = self.rise <= rise
        half = np.sqrt((rise - self.rise[inside])[:, None] * variance[inside])
        middle = values[inside]
        return np.stack([(middle - half).min(axis=0), (middle + half).max(axis=0)], axis=-1)
