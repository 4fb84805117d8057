"""Writing files so that nobody ever sees half of one, and reading those that users name."""

import csv
import io
import os
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from perovskite_polaron.errors import ComputationError, InputError


def write_atomically(path: str | os.PathLike[str], content: str | bytes, *, durable: bool = True) -> Path:
    """Write content to path through a temporary file in the same folder, then rename it into place.

    The data are flushed to the disk before the rename, so after a crash the path holds either the old content or
    the whole new one; durable=False leaves that out, for what is compared or made again after a crash.
    Raises InputError if the folder is missing, ComputationError if the disk refuses (full,
    read-only); in both cases the temporary file is gone and an older file is untouched.
    """
    data = content.encode() if isinstance(content, str) else content

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as handle:
            handle.write(data)
            if durable:
                handle.flush()
                os.fsync(handle.fileno())

    return replace_atomically(path, write)


def replace_atomically(path: str | os.PathLike[str], write: Callable[[Path], object]) -> Path:
    """Let ``write(temporary_path)`` make a file, then rename it to path; the extension of path is kept.

    For writers that take a file name (matplotlib, ASE, h5py). Errors as in write_atomically.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise InputError(f"{path} cannot be written: the folder {path.parent} does not exist; create it first")
    if path.is_dir():
        raise InputError(f"{path} cannot be written: it is a folder; give the name of a file")
    try:
        handle, name = tempfile.mkstemp(prefix=".tmp-", suffix=path.suffix, dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise ComputationError(
            f"{path} cannot be written: {error.strerror}; free the disk or choose another folder"
        ) from None
    temporary = Path(name)
    try:
        write(temporary)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        raise ComputationError(
            f"{path} was not written: {error.strerror or error}; free the disk or choose another folder"
        ) from None
    finally:
        # Where nothing can be written nothing can be removed either, and the error above is the one to tell.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return path


# Numbers or words; an array is one too.
Column = Iterable[float | str | None]


def csv_text(columns: Mapping[str, Column]) -> str:
    """Return columns of one length as CSV, the only table format this package writes.

    Parameters
    ----------
    columns
        Header -> values. A header names its unit (``energy_eV``, ``Br 4p (1/eV)``). Numbers are written with ten
        digits; a value that is not known (None, NaN) is an empty field, because readers disagree about "nan".
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(map(_fields, zip(*columns.values(), strict=True)))
    return text.getvalue()


def _fields(row: tuple[float | str | None, ...]) -> list[str]:
    known = ["" if v is None or v != v else v for v in row]
    return [v if isinstance(v, str) else f"{v:.10g}" for v in known]


def write_csv(path: str | os.PathLike[str], columns: Mapping[str, Column]) -> Path:
    """Write columns as ``csv_text`` does, through a temporary file; returns the path."""
    return write_atomically(path, csv_text(columns))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def read_text(path: str | os.PathLike[str], what: str) -> str:
    """Return the text of a file that the user named; ``what`` names the kind of file in the error.

    Raises InputError when it is missing, a folder, unreadable, empty or not text.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: give the path of a {what}") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder: give the path of a {what}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not text: give a {what}") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; check the path and its permissions") from None
    if not text.strip():
        raise InputError(f"{path} is empty: give a {what}")
    return text


def read_toml(path: str | os.PathLike[str], what: str) -> dict[str, Any]:
    """Return the table of a TOML file that the user named; errors as read_text, and InputError when it is not TOML."""
    try:
        return tomllib.loads(read_text(path, what))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path} is not valid TOML: {error}; mend that line") from None


def beside(folder: Path, name: str) -> str:
    """Return a file named in a settings file as a path: relative to that file's folder if it is there, else as it stands."""
    candidate = folder / name
    return str(candidate) if candidate.exists() else name
