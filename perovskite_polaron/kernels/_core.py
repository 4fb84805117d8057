"""What every kernel's door shares: loading the compiled module, and checking arrays before a kernel sees them."""

import importlib
from types import ModuleType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from perovskite_polaron.errors import ComputationError, InputError


def load(name: str) -> ModuleType:
    """Return the compiled module of a kernel family; its absence is an error, never a silent slow path."""
    try:
        return importlib.import_module(f"perovskite_polaron._ext.{name}")
    except ImportError as error:
        raise ComputationError(
            f"the compiled core {name!r} cannot be loaded ({error}): build it with pip install . in the project's folder"
        ) from None


def floats(value: ArrayLike, name: str, shape: tuple[int | None, ...], *, empty: bool = False) -> NDArray[np.float64]:
    """Return value as a C-contiguous float64 array of finite numbers with the given shape (None: any length).

    Read-only, strided and integer input is accepted (copied when needed). Raises InputError naming the argument when
    the shape is wrong, a number is not finite, the value is not real numbers, or it is empty while ``empty`` is False.
    """
    try:
        array = np.asarray(value)
        if array.dtype.kind == "c":
            raise TypeError
        array = np.ascontiguousarray(array, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name} is not an array of real numbers: pass numbers of shape {_describe(shape)}") from None
    array = array.reshape(np.shape(value))
    sizes: tuple[int, ...] = array.shape
    if len(sizes) != len(shape) or any(n not in (None, size) for n, size in zip(shape, sizes, strict=True)):
        raise InputError(f"{name} has shape {array.shape}: pass an array of shape {_describe(shape)}")
    if array.size == 0 and not empty:
        raise InputError(f"{name} is empty: pass at least one value")
    if not np.isfinite(array).all():
        raise InputError(f"{name} contains NaN or infinity: remove those values first")
    return array


def _describe(shape: tuple[int | None, ...]) -> str:
    return "(" + ", ".join("n" if n is None else str(n) for n in shape) + ("," if len(shape) == 1 else "") + ")"
