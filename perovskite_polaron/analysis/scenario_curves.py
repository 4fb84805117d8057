"""The curves of a hypothesis on a transient's energies, for many places of the calculated axis,
broadenings and amplitudes.

The search for what the data leave of these nuisance parameters: a grid over all of them, narrowed
until it resolves the posterior.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import hypot, inf, log, sqrt

import numpy as np

from perovskite_polaron.analysis.scenarios import Scenario
from perovskite_polaron.analysis.weights import Weights, white, with_shapes
from perovskite_polaron.arrays import Array, Interval
from perovskite_polaron.errors import require
from perovskite_polaron.kernels.convolution import broaden_gaussian

Axes = tuple[Array, ...]
FWHM_PER_SIGMA = sqrt(8 * log(2))
#: Nuisance parameters are searched up to so many standard deviations of their priors.
REACH_SHIFT, REACH_STRETCH, REACH_WIDTH = 5.0, 3.0, 4.0
#: A sweep is searched from this share of its largest amplitude: below, only f·Q² remains.
SMALLEST_AMPLITUDE = 0.02
#: Points of the first grid and of those that follow, along shift, stretch, width and amplitude.
COARSE, FINE = (15, 7, 7, 13), (19, 9, 9, 17)
#: What lies further below the most probable point than this in −2 ln p is not integrated.
LOW = 16.0


@dataclass(frozen=True)
class Priors:
    """What is known of the nuisance parameters; zero holds a parameter at its mean.

    Attributes
    ----------
    shift_sigma_eV
        Place of the calculated zero, Gaussian about 0.
    width_sigma_eV
        Broadening beyond the calculation's: full width at half maximum of a Gaussian, half-normal.
    scale_sigma
        Relative error of the factor between the two normalisations, Gaussian about 1, taken to
        first order.
    stretch_sigma
        Relative stretch of the calculated energies about their zero, Gaussian about 0.
    pivot_eV
        Calculated energy whose place the shift's prior is of: a match knows it without the stretch.
    has_match
        Whether the widths are those of a match: its error then goes to either side, along what a
        ``Scenario`` has ``per_width``.
    """

    shift_sigma_eV: float = 0.2
    width_sigma_eV: float = 0.3
    scale_sigma: float = 0.0
    stretch_sigma: float = 0.0
    pivot_eV: float = 0.0
    has_match: bool = False

    def __post_init__(self) -> None:
        for name, value, most in (("shift", self.shift_sigma_eV, 20.0),
                                  ("width", self.width_sigma_eV, 20.0),
                                  ("scale", self.scale_sigma, 0.5),
                                  ("stretch", self.stretch_sigma, 0.1)):
            require(0 <= value <= most, f"the prior width of the {name}, {value:g}, must lie "
                    f"between 0 (held fixed) and {most:g}")

    def last_eV(self, last_eV: float) -> float:
        """Return how far above its zero a calculation that ends at last_eV always reaches."""
        return (last_eV - REACH_STRETCH * self.stretch_sigma * abs(last_eV - self.pivot_eV)
                - REACH_SHIFT * self.shift_sigma_eV)


class Curves:
    """One scenario on the experiment's axis: its curves at several places and broadenings.

    A calculated scenario is moved, stretched and broadened; a measured one stays as it is. The
    shift is that at the middle of the transient, where the stretch is least correlated with it.
    Raises InputError when it does not span the transient's energies, shifts included.
    """

    def __init__(self, scenario: Scenario, energy_eV: Array, offset_eV: float,
                 priors: Priors) -> None:
        self.scenario, self.energy_eV = scenario, energy_eV
        moves = 1.0 if scenario.kind != "measured" else 0.0
        self.zero_eV = offset_eV * moves
        self.middle_eV = middle(energy_eV, offset_eV, priors)
        self.reach_stretch = moves * REACH_STRETCH * priors.stretch_sigma
        self.reach_width_eV = moves * REACH_WIDTH * priors.width_sigma_eV
        self.least_width_eV = -self.reach_width_eV if priors.has_match else 0.0
        self.reach_shift_eV = moves * REACH_SHIFT * hypot(
            priors.shift_sigma_eV, priors.stretch_sigma * (self.middle_eV - priors.pivot_eV))
        self.sweep = scenario.sweep if scenario.is_swept else None
        own, reach = scenario.energy_eV + self.zero_eV, moves * REACH_SHIFT * priors.shift_sigma_eV
        ends = np.array([energy_eV[0] - reach, energy_eV[-1] + reach]) - self.zero_eV
        longer = self.reach_stretch * np.array([-1, 1])
        wide = (ends[:, None] + longer * priors.pivot_eV) / (1 + longer)
        low, high = wide.min() + self.zero_eV, wide.max() + self.zero_eV
        require(own[0] - 1e-9 <= low and high <= own[-1] + 1e-9, f"the scenario {scenario.name!r} "
                f"spans {own[0]:.1f} to {own[-1]:.1f} eV and not the transient with its shifts, "
                f"{low:.1f} to {high:.1f} eV; cut the transient with a window, or place the edge")
        cells = int(np.clip(np.ceil((own[-1] - own[0]) / np.diff(own).min() - 1e-6), 1, 20_000))
        even = np.linspace(own[0], own[-1], cells + 1)
        curves = scenario.difference[None] if self.sweep is None else self.sweep.differences
        rows = np.array([np.interp(even, own, y) for y in curves])
        within = slice(max(np.searchsorted(even, low) - 2, 0), np.searchsorted(even, high) + 2)
        self.grid_eV = even[within]
        # What its settings may still change moves and broadens with the curve.
        self.errors = {setting: Curves(replace(scenario, difference=row, sweep=None, per_width=None,
                                               errors={}), energy_eV, offset_eV, priors)
                       for setting, row in scenario.errors.items()}
        if self.least_width_eV < 0 and scenario.per_width is not None:
            self.power = 1
            self.nodes = np.array([self.least_width_eV, self.reach_width_eV])
            slopes = np.array([np.interp(self.grid_eV, own, y) for y in scenario.per_width])
            self.table = np.array([rows[:, within] + width * slopes for width in self.nodes])
            return
        # Broadening is smooth in the square of the width, so lines between squares are close.
        self.power = 2
        self.nodes = np.linspace(0, self.reach_width_eV**2, 9 if self.reach_width_eV else 1)
        sigmas = np.sqrt(self.nodes[1:]) / FWHM_PER_SIGMA
        wider = (broaden_gaussian(even, rows, self.grid_eV, sigma) for sigma in sigmas)
        self.table = np.array([rows[:, within], *wider])

    def at(self, shift_eV: Array, stretch: Array, width_fwhm_eV: Array,
           amplitude_sqrt_amu_A: Array) -> Array:
        """Return (shifts, stretches, widths, amplitudes, m): curves at the transient's energies."""
        moved = shift_eV if self.reach_shift_eV else np.zeros(len(shift_eV))
        longer = stretch if self.reach_stretch else np.zeros(len(stretch))
        step_eV = self.grid_eV[1] - self.grid_eV[0]
        from_zero = (self.energy_eV - self.zero_eV - moved[:, None, None]
                     + longer[:, None] * self.middle_eV) / (1 + longer[:, None])
        # Where the prior forbids a pair of shift and stretch the curve may end: it is held there.
        place = np.clip((from_zero + self.zero_eV - self.grid_eV[0]) / step_eV, 0,
                        len(self.grid_eV) - 1)
        left = np.minimum(place.astype(np.intp), len(self.grid_eV) - 2)
        rest = place - left
        found = self.table[:, :, left] * (1 - rest) + self.table[:, :, left + 1] * rest
        blend = np.array([np.interp(width_fwhm_eV**self.power, self.nodes, row)
                          for row in np.eye(len(self.nodes))]).T
        wide = np.tensordot(blend, found, 1)
        by_amplitude = np.tensordot(self.weights(amplitude_sqrt_amu_A), wide, (1, 1))
        return np.moveaxis(by_amplitude, (0, 1), (3, 2))

    def weights(self, amplitude_sqrt_amu_A: Array) -> Array:
        """Return what the curves of each computed amplitude are worth, (amplitudes, rows)."""
        if self.sweep is None:
            return np.ones((len(amplitude_sqrt_amu_A), 1))
        largest, power = self.sweep.amplitudes_sqrt_amu_A[-1], self.sweep.power
        factor = (largest / amplitude_sqrt_amu_A[:, None]) ** power
        return np.asarray(self.sweep.weights(amplitude_sqrt_amu_A) * factor)


def middle(energy_eV: Array, offset_eV: float, priors: Priors) -> float:
    """Return how far above the calculated zero the shift is counted.

    At the middle of the transient; at the zero itself where its place is held fixed, for a shift
    elsewhere would then be a function of the stretch.
    """
    if not priors.shift_sigma_eV or not priors.stretch_sigma:
        return 0.0
    return float((energy_eV[0] + energy_eV[-1]) / 2 - offset_eV)


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
        self.middle_eV = curves[0].middle_eV
        self.reach_shift_eV = max(c.reach_shift_eV for c in curves)
        self.reach_stretch = max(c.reach_stretch for c in curves)
        self.reach_width_eV = max(c.reach_width_eV for c in curves)
        self.least_width_eV = min(c.least_width_eV for c in curves)

    def axes(self) -> Axes:
        """Return axes of shift, stretch, width and amplitude: everything that is allowed."""
        smallest = SMALLEST_AMPLITUDE if self.sweep is not None else 1.0
        ends = ((-self.reach_shift_eV, self.reach_shift_eV),
                (-self.reach_stretch, self.reach_stretch),
                (self.least_width_eV, self.reach_width_eV),
                (smallest * self.largest, self.largest))
        return tuple(np.linspace(low, high, points) if high > low else np.full(1, high)
                     for (low, high), points in zip(ends, COARSE, strict=True))

    @property
    def settings(self) -> tuple[str, ...]:
        """Settings of the calculation that may still change a part."""
        return tuple(dict.fromkeys(name for c in self.curves for name in c.errors))

    def errors(self, point: Array) -> Array:
        """Return (k, m, parts): what the settings may change of each part, at a point (4,).

        At strength one, which for a sweep is that of its largest amplitude: the error grows with
        the amplitude as small differences do.
        """
        found = np.zeros((len(self.settings), len(self.curves[0].energy_eV), len(self.curves)))
        for i, curves in enumerate(self.curves):
            for name, row in curves.errors.items():
                found[self.settings.index(name), :, i] = row.at(*point[:, None])[0, 0, 0, 0]
        return with_shapes(found, self.curves[0].energy_eV)

    def columns(self, *axes: Array) -> Array:
        """Return (p, m, parts) at the p combinations of the axes, the last running fastest."""
        m = len(self.curves[0].energy_eV)
        shape = (*(len(axis) for axis in axes), m)
        own = [np.array([part.amplitude_sqrt_amu_A or 1.0]) for part in self.parts[1:]]
        columns = [np.broadcast_to(c.at(axes[0], axes[1], axes[2], q), shape)
                   for c, q in zip(self.curves, [axes[3], *own], strict=True)]
        return np.stack([c.reshape(-1, m) for c in columns], axis=-1)


class Grid:
    """A template evaluated on axes of shift, stretch, width and amplitude.

    Attributes
    ----------
    axes : tuple of ndarray
        By default everything that the priors and the computed amplitudes allow.
    points : ndarray, shape (p, 4)
        Their combinations.
    columns : ndarray, shape (p, m, parts)
        White columns.
    normal, inverse, by_data : ndarray, shape (p, parts, parts)
        Their products; the covariance of the strengths, and that without the priors of strengths.
    prior : ndarray, shape (p,)
        The priors' terms of χ²; infinite where the zero moves further than is allowed.
    """

    def __init__(self, template: Template, weights: Weights, priors: Priors,
                 axes: Axes | None = None) -> None:
        self.template, self.weights, self.priors = template, weights, priors
        self.axes = axes = template.axes() if axes is None else axes
        self.points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 4)
        self.columns = white(template.columns(*axes), weights.whiten)
        self.normal = np.swapaxes(self.columns, 1, 2) @ self.columns
        size = np.sqrt(np.einsum("pcc->pc", self.normal))
        require((size > 0).all(), f"the scenario {template.parts[0].name!r} is zero over the "
                "transient's energies; widen the window")
        # Scaled to unit columns, so that the ridge that keeps two equal shapes solvable has one
        # meaning.
        outer = size[:, :, None] * size[:, None, :]
        ridge, known = 1e-12 * np.eye(size.shape[1]), [p.prior_sigma for p in template.parts]
        self.by_data = self.inverse = np.linalg.inv(self.normal / outer + ridge) / outer
        if any(known):
            prior = np.diag([0.0 if sigma is None else sigma**-2 for sigma in known])
            self.inverse = np.linalg.inv((self.normal + prior) / outer + ridge) / outer
        terms = np.column_stack([self.shift_eV(self.points, priors.pivot_eV), self.points[:, 1:3]])
        sigmas = np.array([priors.shift_sigma_eV, priors.stretch_sigma, priors.width_sigma_eV])
        relative = np.abs(terms) / np.where(sigmas > 0, sigmas, inf)
        self.prior = np.where(relative[:, 0] <= REACH_SHIFT + 1e-9, (relative**2).sum(axis=1), inf)

    def shift_eV(self, points: Array, at_eV: float = 0.0) -> Array:
        """Return the shift of a calculated energy at points (p, 4): theirs is of the middle."""
        return np.asarray(points[:, 0] - points[:, 1] * (self.template.middle_eV - at_eV))

    def solve(self, data: Array) -> tuple[Array, Array]:
        """Return the best strengths (p, parts) and their χ² (p,) at every point, for white data.

        With the terms of the priors of strengths.
        """
        along = np.einsum("pmc,m->pc", self.columns, data)
        strengths = np.einsum("pcd,pd->pc", self.inverse, along)
        return strengths, np.maximum(data @ data - np.einsum("pc,pc->p", strengths, along), 0)

    def finer(self, lost: Array, bounds: Sequence[Interval]) -> "Grid | None":
        """Return a grid that resolves where lost, −2 ln p (p,), is low; None: this one does."""
        cube = lost.reshape([len(a) for a in self.axes])
        best = np.unravel_index(int(np.argmin(cube)), cube.shape)
        # Of what is hopelessly wrong no more is asked than that it is: its ridges are too narrow.
        hopeless = max(1.0, cube[best] / (30 * self.columns.shape[1]))
        inside = cube <= cube[best] + LOW * hopeless
        axes = list(self.axes)
        for k, (axis, (low, high), points) in enumerate(zip(self.axes, bounds, FINE, strict=True)):
            if len(axis) == 1:
                continue
            others = tuple(j for j in range(cube.ndim) if j != k)
            where = np.flatnonzero(inside.any(axis=others))
            cell, last = axis[1] - axis[0], len(axis) - 1
            if (where[0] == 0 and axis[0] > low) or (where[-1] == last and axis[-1] < high):
                more = last / 2 * cell
                start, end = axis[where[0]] - more, axis[where[-1]] + more
            elif where[-1] - where[0] < 0.6 * last and cell > 1e-6 * (high - low):
                start, end = axis[where[0]] - cell, axis[where[-1]] + cell
            else:
                continue
            axes[k] = np.linspace(max(start, low), min(end, high), points)
        is_same = all(a is b for a, b in zip(axes, self.axes, strict=True))
        return None if is_same else Grid(self.template, self.weights, self.priors, tuple(axes))
