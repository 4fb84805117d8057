"""Door to the convolution kernels: broadening of spectra, and exponential decays seen through a Gaussian pulse.

A spectrum is the straight-line interpolation of its points, on any increasing grid, and each broadening is the exact
integral of the profile over every segment, not a sum over points: spacing does not matter, and area is conserved.
Outside its grid a spectrum is either zero (``ends="zero"``) or goes on with its first and last value
(``ends="constant"``), which is what an absorption step needs.
"""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from perovskite_polaron.arrays import floats, number
from perovskite_polaron.errors import InputError
from perovskite_polaron.kernels import check_threads, load

Ends = Literal["zero", "constant"]
WidthAt = Literal["source", "output"]
Array = NDArray[np.float64]

# Segments per leaf of the tree: below this the direct sum is faster than a multipole sum.
LEAF = 48
# Fourth powers of widths and energies must neither vanish nor overflow.
BEYOND = 1e70


def broaden_lorentzian(
    x_in: ArrayLike, y_in: ArrayLike, x_out: ArrayLike, hwhm: ArrayLike, *,
    width_at: WidthAt = "output", ends: Ends = "constant", fast: bool = False, threads: int = 1,
) -> Array:
    """Return y_in (…, n) on x_in (n,) broadened by a Lorentzian, at x_out (m,): shape (…, m).

    hwhm, the half width at half maximum, has the unit of x, is positive, and is one number or one per point:

    - ``width_at="output"``, (m,): f(E) = ∫ y(x) L(E − x; Γ(E)) dx, one Green function evaluated at E + iΓ(E), as
      continued-fraction codes do with an energy-dependent width. A constant stays constant; area is not conserved.
    - ``width_at="source"``, (n,): f(E) = ∫ y(x) L(E − x; Γ(x)) dx with Γ linear between points: each final state at x
      carries its own lifetime width. Area is conserved on the whole line; a constant does not stay constant.

    With one number both are the same. ``fast`` sums distant segments by multipoles: time grows as n + m log n, the
    error stays below 1e-8 of the largest broadened |y| (for widths of any size). Bitwise independent of threads.
    Raises InputError for wrong shapes, NaN, a grid that does not increase, a width that is not positive, or numbers beyond
    1e70 (widths below 1e-70), whose fourth powers overflow.
    """
    x, y, out_x = _spectrum(x_in, y_in, x_out, ends, threads)
    if width_at not in ("source", "output"):
        raise InputError(f"width_at is {width_at!r}: give 'source' or 'output'")
    # One width for all is the output convention, whose integrals are cheaper.
    at_source = width_at == "source" and np.ndim(hwhm) > 0
    widths = _widths(hwhm, "hwhm", len(x) if at_source else len(out_x))
    rows = y.reshape(-1, len(x))
    out = np.empty((len(rows), len(out_x)))
    kernel = load("convolution")
    if fast:
        levels = max(0, int(np.ceil(np.log2((len(x) - 1) / LEAF))))
        nodes = np.empty(kernel.NODE_DOUBLES * (2 ** (levels + 1) - 1))
        # Neighbouring outputs share their way through the tree.
        order = None if np.all(out_x[1:] >= out_x[:-1]) else np.argsort(out_x, kind="stable")
        if order is not None:
            out_x, widths = out_x[order], widths if at_source else widths[order]
        for row, result in zip(rows, out, strict=True):
            kernel.lorentzian_fast(x, row, out_x, widths, at_source, ends == "constant", levels, nodes, result, threads)
        if order is not None:
            out[:, order] = out.copy()
    else:
        kernel.lorentzian(x, rows, out_x, widths, at_source, ends == "constant", out, threads)
    return out.reshape(*y.shape[:-1], len(out_x))


def broaden_gaussian(
    x_in: ArrayLike, y_in: ArrayLike, x_out: ArrayLike, sigma: ArrayLike, *, ends: Ends = "constant", threads: int = 1
) -> Array:
    """Return y_in (…, n) on x_in (n,) broadened by a Gaussian of standard deviation sigma, at x_out (m,): (…, m).

    sigma has the unit of x, is positive, and is one number or one per output point (m,). What lies beyond 10 sigma
    (1e-23 of the area) is left out. Bitwise independent of threads. Raises InputError as broaden_lorentzian does.
    """
    x, y, out_x = _spectrum(x_in, y_in, x_out, ends, threads)
    widths = _widths(sigma, "sigma", len(out_x))
    rows = y.reshape(-1, len(x))
    out = np.empty((len(rows), len(out_x)))
    load("convolution").gaussian(x, rows, out_x, widths, ends == "constant", out, threads)
    return out.reshape(*y.shape[:-1], len(out_x))


def broaden_voigt(
    x_in: ArrayLike, y_in: ArrayLike, x_out: ArrayLike, hwhm: ArrayLike, sigma: ArrayLike, *,
    ends: Ends = "constant", threads: int = 1,
) -> Array:
    """Return y_in (…, n) on x_in (n,) broadened by a Voigt profile, at x_out (m,): shape (…, m).

    hwhm is the Lorentzian's half width, sigma the Gaussian's standard deviation, both positive, in the unit of x, one
    number or one per output point (m,). Beyond 20 sigma the Lorentzian is integrated exactly and its excess from the
    asymptotic series of the Faddeeva function; within, eight-point Gauss–Legendre pieces no longer than sigma: both
    are at the level of rounding. Bitwise independent of threads. Raises InputError as broaden_lorentzian does.
    """
    x, y, out_x = _spectrum(x_in, y_in, x_out, ends, threads)
    hwhms, sigmas = _widths(hwhm, "hwhm", len(out_x)), _widths(sigma, "sigma", len(out_x))
    rows = y.reshape(-1, len(x))
    out = np.empty((len(rows), len(out_x)))
    load("convolution").voigt(x, rows, out_x, hwhms, sigmas, ends == "constant", out, threads)
    return out.reshape(*y.shape[:-1], len(out_x))


def exponential_gaussian(
    delay: ArrayLike, lifetime: ArrayLike, sigma: float, t0: float = 0.0, *, gradient: bool = False, threads: int = 1
) -> Array | tuple[Array, Array, Array, Array]:
    """Return exp(−t/τ)·θ(t) convolved with a normalised Gaussian of standard deviation sigma, at t = delay − t0.

    delay (m,), any order; lifetime a positive number → (m,), or k of them → (m, k), one column each; infinity is
    allowed and gives the step ½ erfc(−t/√2σ). All times share one unit. With ``gradient`` the result is the tuple
    (response, d/dlifetime, d/dsigma, d/dt0), all of one shape. Columns are contiguous, as least squares wants them.
    Relative error of the response below 1e-13 wherever it does not underflow; nothing overflows for any τ, σ, delay.
    Raises InputError for wrong shapes, NaN, or a time constant that is not positive.
    """
    times = floats(delay, "delay", (None,))
    constants = np.asarray(lifetime)
    if constants.ndim > 1 or constants.size == 0 or constants.dtype.kind not in "fiu" or not np.all(constants > 0):
        raise InputError("lifetime must be positive (infinity allowed): give one number or a list of them")
    constants = np.ascontiguousarray(np.atleast_1d(constants), dtype=np.float64)
    width, start = _width(number(sigma, "sigma"), "sigma"), number(t0, "t0")
    if constants.min() < 1e-100 * width:
        raise InputError("lifetime is below 1e-100 sigma: such a component has no response; leave it out")
    check_threads(threads)
    out = np.empty((4 if gradient else 1, len(constants), len(times)))
    load("convolution").exponential_gaussian(times, constants, width, start, gradient, out, threads)
    columns = [part.T if np.ndim(lifetime) else part[0] for part in out]
    return (columns[0], columns[1], columns[2], columns[3]) if gradient else columns[0]


def _spectrum(
    x_in: ArrayLike, y_in: ArrayLike, x_out: ArrayLike, ends: str, threads: int
) -> tuple[Array, Array, Array]:
    x = floats(x_in, "x_in", (None,))
    if len(x) < 2:
        raise InputError("x_in has one point: a spectrum needs at least two")
    if not np.all(np.diff(x) > 0):
        raise InputError("x_in does not increase strictly: sort it and merge equal points")
    shape = np.shape(y_in)
    y = floats(y_in, "y_in", (None,) * max(1, len(shape) - 1) + (len(x),) if len(shape) > 1 else (len(x),))
    if ends not in ("zero", "constant"):
        raise InputError(f"ends is {ends!r}: give 'zero' or 'constant'")
    check_threads(threads)
    out_x = floats(x_out, "x_out", (None,))
    if max(-x[0], x[-1], -out_x.min(), out_x.max()) > BEYOND:
        raise InputError(f"x_in and x_out may reach from -{BEYOND:g} to {BEYOND:g}: choose another unit")
    return x, y, out_x


def _widths(value: ArrayLike, name: str, count: int) -> Array:
    """One positive width per point; a single number stands for all of them."""
    if np.ndim(value) == 0:
        return np.full(count, _width(number(value, name), name))  # type: ignore[arg-type]
    widths = floats(value, name, (count,))
    _width(widths.min(), name)
    _width(widths.max(), name)
    return widths


def _width(width: float, name: str) -> float:
    if not 1 / BEYOND < width < BEYOND:
        raise InputError(f"{name} must be positive (and below {BEYOND:g}), not {width:g}")
    return width
