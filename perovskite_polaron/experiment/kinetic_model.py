"""The model of pump-probe traces: exponential decays and an offset, begun at t0 and seen through a Gaussian response."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.errors import InputError
from perovskite_polaron.experiment.scan import Trace
from perovskite_polaron.kernels.convolution import exponential_gaussian

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class KineticModel:
    """What is fitted: the number of decays, a flat offset or none, and which of σ and t0 are free (start values given).

    The searched vector theta holds the logarithms of the lifetimes, then that of σ and t0 where they are free (all in ps).
    """

    components: int
    sigma_ps: float
    offset: bool = True
    sigma_free: bool = False
    t0_ps: float = 0.0
    t0_free: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.components <= 6:
            raise InputError(f"{self.components} components: give from 1 to 6")
        if not (0 < self.sigma_ps < np.inf and np.isfinite(self.t0_ps)):
            raise InputError(f"the instrument response's sigma, {self.sigma_ps:g} ps, must be positive")

    @property
    def searched(self) -> int:
        """How many parameters are searched for."""
        return self.components + self.sigma_free + self.t0_free

    def unpack(self, theta: Array) -> tuple[Array, float, float]:
        """Return lifetimes (ps), σ (ps) and t0 (ps) of the searched vector."""
        k = self.components
        sigma = float(np.exp(theta[k])) if self.sigma_free else self.sigma_ps
        return np.exp(theta[:k]), sigma, float(theta[-1]) if self.t0_free else self.t0_ps

    def bounds(self, traces: Sequence[Trace]) -> tuple[Array, Array]:
        """Bounds of the searched vector, each (searched,).

        A lifetime shorter than a hundredth of σ, or flat over a hundred spans of the delays, is beyond what the data can
        say; σ stays within a factor e⁴, time zero within the delays.
        """
        k, span = self.components, max(float(np.ptp(t.delay_ps)) for t in traces)
        lower = np.full(self.searched, np.log(self.sigma_ps / 100))
        upper = np.full(self.searched, np.log(100 * span))
        if self.sigma_free:
            lower[k], upper[k] = np.log(self.sigma_ps) - 4, np.log(self.sigma_ps) + 4
        if self.t0_free:
            lower[-1] = min(self.t0_ps, *(float(t.delay_ps.min()) for t in traces))
            upper[-1] = max(self.t0_ps, *(float(t.delay_ps.max()) for t in traces))
        return lower, upper

    def columns(self, theta: Array, delay_ps: Array) -> Array:
        """Return the response of each decay and of the offset, (m, k[+1])."""
        lifetimes, sigma, t0 = self.unpack(theta)
        return np.asarray(exponential_gaussian(delay_ps, self._constants(lifetimes), sigma, t0))

    def columns_and_slopes(
        self, theta: Array, delay_ps: Array
    ) -> tuple[Array, list[tuple[NDArray[np.intp], Array]]]:
        """Return the columns, and for each searched parameter (which columns it moves, their derivative)."""
        lifetimes, sigma, t0 = self.unpack(theta)
        constants = self._constants(lifetimes)
        columns, by_lifetime, by_sigma, by_t0 = exponential_gaussian(delay_ps, constants, sigma, t0, gradient=True)
        every = np.arange(len(constants))
        slopes = [(every[j : j + 1], by_lifetime[:, j : j + 1] * lifetimes[j]) for j in range(self.components)]
        if self.sigma_free:
            slopes.append((every, by_sigma * sigma))
        if self.t0_free:
            slopes.append((every, by_t0))
        return np.asarray(columns), slopes

    def _constants(self, lifetimes: Array) -> Array:
        return np.append(lifetimes, np.inf) if self.offset else lifetimes
