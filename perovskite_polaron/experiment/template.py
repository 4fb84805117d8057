"""The curves of a hypothesis on a transient's energies, for many shifts, widths and amplitudes at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, sqrt

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.errors import InputError
from perovskite_polaron.experiment.scenario import Scenario
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
