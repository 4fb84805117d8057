"""The only way to the compiled core: each module checks, allocates, and calls its kernels."""

import importlib
from functools import cache
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.errors import ComputationError, InputError


@cache
def load(name: str) -> ModuleType:
    """Return the compiled module of a kernel family.

    Raises
    ------
    ComputationError
        If it was not built: never a silent slow path.
    """
    try:
        return importlib.import_module(f"perovskite_polaron._ext.{name}")
    except ImportError as error:
        raise ComputationError(
            f"the compiled core {name!r} cannot be loaded ({error}): "
            "build it with pip install . in the project's folder"
        ) from None


def output(out: NDArray[np.float64] | None, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return out, or a new array where it is None."""
    if out is None:
        return np.empty(shape)
    if (
        out.shape != shape or out.dtype != np.float64
        or not out.flags.c_contiguous or not out.flags.writeable
    ):
        raise InputError(f"out must be a writable C-contiguous float64 array of shape {shape}")
    return out


def check_threads(threads: int) -> int:
    """Return threads, or raise InputError when there is not at least one."""
    if threads < 1:
        raise InputError(f"threads is {threads}: give 1 or more")
    return threads
