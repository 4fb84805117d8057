"""Writing files so that nobody ever sees half of one, and reading those that users name."""

import csv
import io
import math
import os
import re
import tempfile
import tomllib
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.errors import ComputationError, InputError, PolaronError, require


def write_atomically(path: str | os.PathLike[str], content: str | bytes, *,
                     durable: bool = True) -> Path:
    """Write content to path through a temporary file in the same folder, then rename it to path.

    The data are flushed to the disk before the rename, so after a crash the path holds either the
    old content or the whole new one; durable=False leaves that out, for what is compared or made
    again after a crash. Errors as in replace_atomically.
    """

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as handle:
            handle.write(content.encode() if isinstance(content, str) else content)
            if durable:
                handle.flush()
                os.fsync(handle.fileno())

    return replace_atomically(path, write)


def replace_atomically(path: str | os.PathLike[str], write: Callable[[Path], object]) -> Path:
    """Let ``write(temporary_path)`` make a file, which keeps the extension, then rename it to path.

    For writers that take a file name (matplotlib, ASE, h5py).

    Raises
    ------
    InputError
        If the folder is missing, or the path is one.
    ComputationError
        If the disk refuses (full, read-only); the temporary file is gone and an older file is
        untouched.
    """
    path = Path(path)
    require(path.parent.is_dir(), f"{path} cannot be written: the folder {path.parent} does not"
            " exist; create it first")
    require(not path.is_dir(), f"{path} cannot be written: it is a folder; give the name of a file")
    temporary = None
    try:
        handle, name = tempfile.mkstemp(prefix=".tmp-", suffix=path.suffix, dir=path.parent)
        temporary = Path(name)
        os.close(handle)
        write(temporary)
        # mkstemp's files are the owner's alone; this one is as open as any other.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except OSError as error:
        raise ComputationError(f"{path} was not written: {error.strerror or error}; free the disk"
                               " or choose another folder") from None
    finally:
        # Where nothing can be written nothing can be removed either; the error above is to be told.
        with suppress(OSError):
            if temporary is not None:
                temporary.unlink(missing_ok=True)
    return path


def write_npz(path: str | os.PathLike[str], arrays: Mapping[str, Any]) -> Path:
    """Write arrays to a small .npz through a temporary file; equal input gives equal bytes."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return write_atomically(path, buffer.getvalue())


@contextmanager
def open_npz(path: str | os.PathLike[str], what: str, remedy: str = "write it again",
             error: type[PolaronError] = InputError) -> Iterator[dict[str, NDArray[Any]]]:
    """Give a with block the arrays of an .npz.

    Whatever is wrong with the file, or with the arrays as the block takes them apart, becomes one
    error that says what the file should hold.
    """
    try:
        with open(path, "rb") as handle, np.load(handle, allow_pickle=False) as file:
            yield dict(file)
    except FileNotFoundError:
        raise error(f"{path} does not exist: give {what} (.npz)") from None
    except (InputError, OSError, EOFError, ValueError, KeyError, TypeError, RuntimeError,
            zipfile.BadZipFile, zlib.error) as why:
        raise error(f"{path} does not hold {what} ({why}): {remedy}") from None


# Numbers or words; an array is one too.
Column = Iterable[float | str | None]


def csv_text(columns: Mapping[str, Column]) -> str:
    """Return columns of one length as CSV, the only table format this package writes.

    Parameters
    ----------
    columns
        Header -> values. A header names its unit (``energy_eV``, ``Br 4p (1/eV)``). Numbers are
        written with ten digits; a value that is not known (None, NaN) is an empty field, because
        readers disagree about "nan".
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


def read_text(path: str | os.PathLike[str], what: str) -> str:
    """Return the text of a file that the user named; ``what`` names the kind of file in the error.

    Raises
    ------
    InputError
        When it is missing, a folder, unreadable, empty or not text.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: give the path of a {what}") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder: give the path of a {what}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not text: give a {what}") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; check the path and its"
                         " permissions") from None
    require(text.strip(), f"{path} is empty: give a {what}")
    return text


_NUMBER = re.compile(
    r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[EeDd][-+]?\d+)?|[-+]?(?:nan|inf(?:inity)?)|\*+", re.IGNORECASE)


class LineReader:
    """The lines of a text file in order, or its words; errors name the file and the line read last.

    Parameters
    ----------
    path : str or path
        The file, as messages name it.
    what : str
        What kind of file it is, for the errors of read_text.
    text : str, optional
        Its text, where it has been read already.
    comment : str
        Lines that begin with this are passed over, like blank ones.
    remedy : str
        What to do about a truncated or damaged file.

    Attributes
    ----------
    lines : list of str
        All lines.
    at : int
        Number of the line read last, from 1.
    """

    def __init__(self, path: str | os.PathLike[str], what: str = "", text: str | None = None,
                 comment: str = "", remedy: str = "write it again") -> None:
        self.path, self.comment, self.remedy = str(path), comment, remedy
        self.lines = (read_text(path, what) if text is None else text).splitlines()
        self.at = 0
        self._words: Iterator[str] = iter(())

    def error(self, why: str) -> InputError:
        """Return the error to raise about the line read last."""
        return InputError(f"{self.path}:{max(self.at, 1)}: {why}")

    def require(self, condition: object, why: str) -> None:
        """Raise the error about the line read last unless the condition holds."""
        if not condition:
            raise self.error(why)

    def ended(self, where: str) -> InputError:
        """Return the error for a file that ends too early; where: "before the norms", say."""
        self.at = len(self.lines)
        return self.error(f"the file ends {where}: it is truncated; {self.remedy}")

    def __iter__(self) -> Iterator[str]:
        """Walk through the lines after the one read last, blank ones included."""
        for number in range(self.at + 1, len(self.lines) + 1):
            self.at = number
            yield self.lines[number - 1]

    def next(self, expected: str) -> str:
        """Return the next line that is neither blank nor a comment."""
        for line in self:
            if line.strip() and not (self.comment and line.startswith(self.comment)):
                return line
        raise self.ended(f"where {expected} belongs")

    def find(self, *marks: str, expected: str = "") -> str:
        """Return the next line that holds one of the marks.

        If there is none: "" and no line is used up, or an error where one is expected.
        """
        before = self.at
        for line in self:
            if any(mark in line for mark in marks):
                return line
        if expected:
            raise self.ended(f"where {expected} belongs")
        self.at = before
        return ""

    def word(self, expected: str) -> str:
        """Return the next word: Fortran may break its records over lines anywhere."""
        while (word := next(self._words, None)) is None:
            self._words = iter(self.next(expected).split())
        return word

    def row(self, count: int) -> list[float]:
        """Return the first numbers of the next line."""
        return self.numbers(self.next(f"a row of {count} numbers"), count)

    def numbers(self, text: str, count: int) -> list[float]:
        """Return the first numbers of a text.

        They may touch, as in fixed columns, and have Fortran's exponent D.
        """
        found = _NUMBER.findall(text)
        if len(found) < count:
            raise self.error(f"{count} numbers belong here, {len(found)} are found")
        return [self.number(word) for word in found[:count]]

    def number(self, word: str, name: str = "a number here") -> float:
        """Return the finite number in a word; name says in the error what it is."""
        try:
            value = float(word.lower().replace("d", "e"))
        except ValueError:
            value = math.nan
            if not word.startswith("*"):
                raise self.error(f"{word[:40]!r} is not a number ({name}): {self.remedy}") from None
        if not math.isfinite(value):
            raise self.error(f"{name} is not finite, or too wide for its column; compute the file"
                             " again")
        return value


def read_toml(path: str | os.PathLike[str], what: str) -> dict[str, Any]:
    """Return the table of a TOML file; errors as read_text, and InputError when it is not TOML."""
    try:
        return tomllib.loads(read_text(path, what))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path} is not valid TOML: {error}; correct that line") from None


def beside(folder: Path, name: str) -> str:
    """Return the path of a file named in a settings file.

    It is relative to that file's folder if it is there, else as it stands.
    """
    candidate = folder / name
    return str(candidate) if candidate.exists() else name
