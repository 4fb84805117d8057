"""The shapes of several scenarios at once, with their derivatives by what is not known of the axis.

They are those of ``scenario_curves``, as cubic splines over energy and over the square of the width
(lines over the width of a match), so that their derivatives are exact and continuous.
"""

from collections.abc import Sequence
from math import sqrt

import numpy as np

from perovskite_polaron.analysis.scenario_curves import Curves, Priors, Template
from perovskite_polaron.analysis.scenarios import Scenario
from perovskite_polaron.arrays import Array


class PartShapes:
    """Curves of several scenarios at a transient's energies.

    Parameters
    ----------
    parts
        The scenarios.
    energy_eV, offset_eV, priors
        As ``Curves`` has them.
    q_sqrt_amu_A
        The amplitude at which the first part, where it is a sweep, has its shape; all others have
        that of their largest. Its strength stays f·Q²/Qmax².

    Attributes
    ----------
    power : int
        2 where the point has the square of the width, in which broadening is smooth at zero; 1
        where it has the width, as with a match, whose widths have an error to either side.
    names : tuple of str
        What the coordinates of a point are called.
    lower, upper : ndarray, shape (3,)
        Bounds of a point: shift (eV, at the middle of the energies), stretch, and width (eV, FWHM)
        or its square; alike where one is held.
    """

    def __init__(self, parts: Sequence[Scenario], energy_eV: Array, offset_eV: float,
                 priors: Priors, q_sqrt_amu_A: float | None = None) -> None:
        from scipy.interpolate import RectBivariateSpline

        self.parts, self.priors, self.energy_eV = tuple(parts), priors, energy_eV
        template = Template([Curves(part, energy_eV, offset_eV, priors) for part in parts])
        self._curves, self.middle_eV = template.curves, template.middle_eV
        self.power = min(curves.power for curves in template.curves)
        self.names = ("place of the axis", "stretch",
                      "width" if self.power == 1 else "square of the width")
        most = np.array([template.reach_shift_eV, template.reach_stretch,
                         template.reach_width_eV**self.power])
        self.upper, self.lower = most, np.array([-most[0], -most[1],
                                                 min(template.least_width_eV, 0.0)])
        own = [q_sqrt_amu_A, *(None for _ in parts[1:])]
        self._splines = []
        for curves, q in zip(template.curves, own, strict=True):
            largest = curves.scenario.amplitude_sqrt_amu_A or 1.0
            rows = curves.weights(np.array([largest if q is None else q]))[0] @ curves.table
            nodes = curves.nodes if len(curves.nodes) > 1 else np.array([-1.0, 1.0])
            table = np.broadcast_to(rows, (len(nodes), rows.shape[1]))
            self._splines.append(RectBivariateSpline(nodes, curves.grid_eV, table, s=0,
                                                     kx=min(3, len(nodes) - 1)))

    def at(self, point: Array) -> tuple[Array, Array]:
        """Return the curves (m, parts), and their derivatives (3, m, parts) by the point (3,)."""
        shift, stretch, wide = point
        values = np.empty((len(self.energy_eV), len(self.parts)))
        slopes = np.zeros((3, *values.shape))
        for i, (curves, spline) in enumerate(zip(self._curves, self._splines, strict=True)):
            moved, longer = (shift if curves.reach_shift_eV else 0.0,
                             stretch if curves.reach_stretch else 0.0)
            away = self.energy_eV - curves.zero_eV - moved + longer * self.middle_eV
            grid, place = curves.grid_eV, away / (1 + longer) + curves.zero_eV
            inside = (place >= grid[0]) & (place <= grid[-1])
            place = np.clip(place, grid[0], grid[-1])
            power = curves.power // self.power
            node = np.array([wide**power if curves.reach_width_eV else 0.0])
            values[:, i] = spline(node, place)[0]
            along = spline(node, place, dy=1)[0] * inside
            if curves.reach_shift_eV:
                slopes[0, :, i] = -along / (1 + longer)
            if curves.reach_stretch:
                slopes[1, :, i] = along * (self.middle_eV - away / (1 + longer)) / (1 + longer)
            if curves.reach_width_eV:
                slopes[2, :, i] = spline(node, place, dx=1)[0] * power * wide ** (power - 1)
        return values, slopes

    def width_fwhm_eV(self, point: Array) -> float:
        """Return the width of a point."""
        return float(point[2]) if self.power == 1 else float(np.sqrt(max(point[2], 0.0)))

    def point(self, shift_eV: float, stretch: float, width_fwhm_eV: float) -> Array:
        """Return the point of a shift at the middle of the energies, a stretch and a width."""
        return np.array([shift_eV, stretch, width_fwhm_eV**self.power])

    def prior(self, point: Array) -> tuple[Array, Array]:
        """Return the priors' residuals (3,) of unit variance, and their Jacobian (3, 3).

        That of a square of the width is normal about zero and has the second moment, 3 σ⁴, which
        the square of a half-normal width of standard deviation σ has.
        """
        priors = self.priors
        width = priors.width_sigma_eV if self.power == 1 else sqrt(3) * priors.width_sigma_eV**2
        sigma = np.array([priors.shift_sigma_eV, priors.stretch_sigma, width])
        rows = np.diag(np.where(self.upper > 0, 1.0, 0.0))
        # The prior of the place is that at the pivot.
        rows[0, 1] = (priors.pivot_eV - self.middle_eV) * (rows[0, 0] * rows[1, 1])
        rows /= np.where(sigma > 0, sigma, np.inf)[:, None]
        return rows @ point, rows
