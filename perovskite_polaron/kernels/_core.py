"""What every kernel's door shares: loading the compiled module, and checking arrays before a kernel sees them."""

import importlib
import math
from functools import cache
from types import ModuleType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from perovskite_polaron.errors import ComputationError, InputError


@cache
def load(name: str) -> ModuleType:
    """Return the compiled module of a kernel family; its absence is an error, never a silent slow path."""
    try:
        return importlib.import_module(f"perovskite_polaron._ext.{name}")
    except ImportError as error:
        raise ComputationError(
            f"the compiled core {name!r} cannot be loaded ({error}): build it with pip install . in the project's folder"
        ) from None


def real(value: ArrayLike, name: str, shape: tuple[int | None, ...] | None = None) -> NDArray[np.float64]:
    """Return value as a C-contiguous float64 array of its own shape, or raise InputError if it is not real numbers.

    shape: what the message asks for.
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


def floats(value: ArrayLike, name: str, shape: tuple[int | None, ...], *, empty: bool = False) -> NDArray[np.float64]:
    """Return value as a C-contiguous float64 array of finite numbers with the given shape (None: any length).

    Read-only, strided and integer input is accepted (copied when needed). Raises InputError naming the argument when
    the shape is wrong, a number is not finite, the value is not real numbers, or it is empty while ``empty`` is False.
    """
    array = real(value, name, shape)
    sizes: tuple[int, ...] = array.shape
    if len(sizes) != len(shape) or any(n not in (None, size) for n, size in zip(shape, sizes, strict=True)):
        raise InputError(f"{name} has shape {array.shape}: pass an array of shape {_describe(shape)}")
    if array.size == 0 and not empty:
        raise InputError(f"{name} is empty: pass at least one value")
    if not np.isfinite(array).all():
        raise InputError(f"{name} contains NaN or infinity: remove those values first")
    return array


def output(out: NDArray[np.float64] | None, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return out, or a new array where it is None; raise InputError unless it is writable C-contiguous float64 of shape."""
    if out is None:
        return np.empty(shape)
    if out.shape != shape or out.dtype != np.float64 or not out.flags.c_contiguous or not out.flags.writeable:
        raise InputError(f"out must be a writable C-contiguous float64 array of shape {shape}")
    return out


def number(value: float, name: str) -> float:
    """Return value as one finite number, or raise InputError naming the argument."""
    try:
        result = float(value)
    except (TypeError, ValueError):
        raise InputError(f"{name} is not a number: pass one real number") from None
    if not math.isfinite(result):
        raise InputError(f"{name} is NaN or infinite: pass a finite number")
    return result


def check_threads(threads: int) -> int:
    """Return threads, or raise InputError when there is not at least one."""
    if threads < 1:
        raise InputError(f"threads is {threads}: give 1 or more")
    return threads


def _describe(shape: tuple[int | None, ...]) -> str:
    return "(" + ", ".join("n" if n is None else str(n) for n in shape) + ("," if len(shape) == 1 else "") + ")"
