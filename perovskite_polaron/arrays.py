"""Checks of arrays and numbers that come from outside, before anything is calculated with them."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from perovskite_polaron.errors import InputError, require

Array = NDArray[np.float64]
Interval = tuple[float, float]
Shape = tuple[int | None, ...]


def real(value: ArrayLike, name: str, shape: Shape | None = None) -> Array:
    """Return value as a C-contiguous float64 array, with whatever shape it has.

    Parameters
    ----------
    value
        Numbers in any layout; they are copied only when needed.
    name
        What the error message calls the value.
    shape
        The shape that the message asks for.

    Raises
    ------
    InputError
        If the value is not an array of real numbers.
    """
    try:
        given = np.asarray(value)
        if given.dtype.kind == "c":
            raise TypeError
        # Not ascontiguousarray, which would make a number into an array of one.
        return np.asarray(given, dtype=np.float64, order="C")
    except (TypeError, ValueError):
        wanted = "" if shape is None else f" of shape {_describe(shape)}"
        raise InputError(f"{name} is not an array of real numbers: pass numbers{wanted}") from None


def floats(value: ArrayLike, name: str, shape: Shape) -> Array:
    """Return value as a C-contiguous float64 array of finite numbers with the given shape.

    Parameters
    ----------
    value
        Numbers in any layout: read-only, strided and integer arrays are copied when needed.
    name
        What the error message calls the value.
    shape
        Length along each axis; None allows any length.

    Raises
    ------
    InputError
        If the shape is wrong, a number is not finite, the value is not real numbers, or is empty.
    """
    array = real(value, name, shape)
    fits = array.ndim == len(shape) and all(map(_allows, shape, array.shape))
    require(fits, f"{name} has shape {array.shape}: pass an array of shape {_describe(shape)}")
    require(array.size, f"{name} is empty: pass at least one value")
    require(np.isfinite(array).all(), f"{name} contains NaN or infinity: remove those values first")
    return array


def number(value: float, name: str) -> float:
    """Return value as one finite number, or raise InputError naming the argument."""
    try:
        result = float(value)
    except (TypeError, ValueError):
        raise InputError(f"{name} is not a number: pass one real number") from None
    require(math.isfinite(result), f"{name} is NaN or infinite: pass a finite number")
    return result


def freeze(record: object, **arrays: NDArray[np.float64]) -> None:
    """Give a frozen dataclass read-only copies of arrays as the fields of their names."""
    for name, array in arrays.items():
        own = array.copy()
        own.flags.writeable = False
        object.__setattr__(record, name, own)


def _allows(wanted: int | None, size: int) -> bool:
    return wanted in (None, size)


def _describe(shape: Shape) -> str:
    sizes = ["n" if n is None else str(n) for n in shape]
    return f"({sizes[0]},)" if len(sizes) == 1 else f"({', '.join(sizes)})"
