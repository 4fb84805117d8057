"""The two ways a command can fail, and the exit status each one carries.

Every message is one line that says what went wrong, why, and the remedy; the command line prints it
on stderr after the program's name and never shows a traceback for either class.
"""

from collections.abc import Iterator
from contextlib import contextmanager


class PolaronError(Exception):
    """Base of every error this package raises on purpose."""

    exit_status = 1


class InputError(PolaronError):
    """What the user gave cannot be used; nothing was started (exit status 2)."""

    exit_status = 2


class ComputationError(PolaronError):
    """A calculation failed, or its result is not one to be trusted (exit status 1)."""


class InterruptedRunError(ComputationError):
    """A program was ended from outside (signal, wall time, lost node): try the same job again."""


class OutOfTimeError(InterruptedRunError):
    """A program stopped by itself before its allocation ended, and left a checkpoint to go on."""


class DamagedError(ComputationError):
    """A file that this package wrote is not what it wrote."""


class MissingProgramError(ComputationError):
    """A program this step needs is not installed (exit status 1)."""


def install_hint(extra: str) -> str:
    """Say how to install an extra: the package is on no index, so from the checkout or its wheel.
    """
    return (f"run pip install '.[{extra}]' in the folder of its source, or pip install"
            f" 'FILE.whl[{extra}]' with the wheel")


class MissingExtraError(ComputationError):
    """An optional Python dependency is not installed (exit status 1)."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed: this step needs it;"
                         f" {install_hint(extra)}")


@contextmanager
def extra(package: str, name: str) -> Iterator[None]:
    """Say in the error which extra to install, when an import in the with block fails."""
    try:
        yield
    except ImportError:
        raise MissingExtraError(package, name) from None


def require(condition: object, message: str, error: type[Exception] = InputError) -> None:
    """Raise the error, with the message, unless the condition holds."""
    if not condition:
        raise error(message)
