"""Broadening of spectra, and exponential decays seen through a Gaussian pulse.

A spectrum is the straight-line interpolation of its points, on any increasing grid, and each
broadening is the exact integral of the profile over every segment, not a sum over points: spacing
does not matter, and area is conserved. Outside its grid a spectrum is either zero
(``ends="zero"``) or goes on with its first and last value (``ends="constant"``), which is what an
absorption step needs.
"""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from perovskite_polaron.arrays import Array, floats, number, real
from perovskite_polaron.errors import require
from perovskite_polaron.kernels import share

Ends = Literal["zero", "constant"]

# Fourth powers of widths and energies must neither vanish nor overflow.
BEYOND = 1e70


def broaden_lorentzian(x_in: ArrayLike, y_in: ArrayLike, x_out: ArrayLike, hwhm: ArrayLike, *,
                       ends: Ends = "constant") -> Array:
    """Return f(E) = ∫ y(x) L(E − x; Γ(E)) dx, a spectrum broadened by a Lorentzian.

    With a width that varies this is one Green function evaluated at E + iΓ(E), as
    continued-fraction codes do it: a constant stays constant, area is conserved for one width only.

    Parameters
    ----------
    x_in
        (n,) energies that increase strictly.
    y_in
        (…, n) one spectrum or several.
    x_out
        (m,) energies E of the result, in any order.
    hwhm
        Half width at half maximum Γ in the unit of x, positive: one number, or (m,).
    ends
        What the spectrum is outside its grid.

    Returns
    -------
    numpy.ndarray
        (…, m), float64.

    Raises
    ------
    InputError
        For wrong shapes, NaN, a grid that does not increase, a width that is not positive, or
        numbers beyond 1e70 (widths below 1e-70), whose fourth powers overflow.
    """
    return _broaden("lorentzian", x_in, y_in, x_out, hwhm, "hwhm", ends, np.inf)


def broaden_gaussian(x_in: ArrayLike, y_in: ArrayLike, x_out: ArrayLike, sigma: ArrayLike, *,
                     ends: Ends = "constant") -> Array:
    """Return a spectrum broadened by a Gaussian.

    What lies beyond 10 standard deviations (1e-23 of the area) is left out.

    Parameters
    ----------
    x_in, y_in, x_out, ends
        As in broaden_lorentzian.
    sigma
        Standard deviation in the unit of x, positive: one number, or one per output point (m,).

    Returns
    -------
    numpy.ndarray
        As broaden_lorentzian.

    Raises
    ------
    InputError
        As broaden_lorentzian.
    """
    return _broaden("gaussian", x_in, y_in, x_out, sigma, "sigma", ends, 10.0)


def exponential_gaussian(delay: ArrayLike, lifetime: ArrayLike, sigma: float, t0: float = 0.0, *,
                         gradient: bool = False) -> Array | tuple[Array, Array, Array, Array]:
    """Return exp(−t/τ)·θ(t), t = delay − t0, convolved with a normalised Gaussian.

    Parameters
    ----------
    delay
        (m,) in any order; all times share one unit.
    lifetime
        τ, positive: one number or k of them. Infinity gives the step ½ erfc(−t/√2σ).
    sigma
        Standard deviation of the pulse.
    t0
        Delay at which pump and probe coincide.
    gradient
        Whether the derivatives are wanted too.

    Returns
    -------
    numpy.ndarray or tuple
        Response (m,), or (m, k) with a column for each of k lifetimes; with gradient the tuple
        (response, d/dlifetime, d/dsigma, d/dt0), all of one shape. Columns are contiguous, as
        least squares wants them. The relative error of the response stays below 1e-13 wherever it
        does not underflow; nothing overflows for any τ, σ or delay.

    Raises
    ------
    InputError
        For wrong shapes, NaN, or a time constant that is not positive.
    """
    times, constants = floats(delay, "delay", (None,)), np.atleast_1d(real(lifetime, "lifetime"))
    require(constants.ndim == 1 and constants.size and np.all(constants > 0),
            "lifetime must be positive (infinity allowed): give one number or a list of them")
    width, start = _width(number(sigma, "sigma"), "sigma"), number(t0, "t0")
    require(constants.min() >= 1e-100 * width,
            "lifetime is below 1e-100 sigma: such a component has no response; leave it out")
    out = np.empty((4 if gradient else 1, len(constants), len(times)))
    given = times, constants, width, start, gradient, out
    share("convolution", "exponential_gaussian", given, len(times), 10.0 * len(constants), 64)
    columns = [part.T if np.ndim(lifetime) else part[0] for part in out]
    return (columns[0], columns[1], columns[2], columns[3]) if gradient else columns[0]


def _broaden(kernel: str, x_in: ArrayLike, y_in: ArrayLike, x_out: ArrayLike, width: ArrayLike,
             name: str, ends: str, reach: float) -> Array:
    """Check and call a kernel whose work extends over reach widths to either side."""
    x = floats(x_in, "x_in", (None,))
    require(len(x) > 1, "x_in has one point: a spectrum needs at least two")
    require(np.all(np.diff(x) > 0),
            "x_in does not increase strictly: sort it and merge equal points")
    y = floats(y_in, "y_in", (None,) * (np.ndim(y_in) - 1) + (len(x),))
    require(ends in ("zero", "constant"), f"ends is {ends!r}: give 'zero' or 'constant'")
    out_x = floats(x_out, "x_out", (None,))
    require(max(-x[0], x[-1], -out_x.min(), out_x.max()) <= BEYOND,
            f"x_in and x_out may reach from -{BEYOND:g} to {BEYOND:g}: choose another unit")
    of_each = np.full(len(out_x), width) if np.ndim(width) == 0 else width
    widths = floats(of_each, name, (len(out_x),))
    for extreme in (widths.min(), widths.max()):
        _width(extreme, name)
    rows = y.reshape(-1, len(x))
    out = np.empty((len(rows), len(out_x)))
    given = x, rows, np.diff(rows) / np.diff(x), out_x, widths, ends == "constant", out
    part = min(1.0, 2 * reach * float(widths.mean()) / (x[-1] - x[0]))
    share("convolution", kernel, given, out.size, 5.0 * len(x) * part)
    return out.reshape(*y.shape[:-1], len(out_x))


def _width(width: float, name: str) -> float:
    require(1 / BEYOND < width < BEYOND,
            f"{name} must be positive (and below {BEYOND:g}), not {width:g}")
    return width
