"""Writing files so that nobody ever sees half of one, and reading those that users name."""

import csv
import hashlib
import io
import json
import lzma
import math
import os
import re
import stat
import struct
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

from perovskite_polaron.errors import (
    ComputationError, DamagedError, InputError, PolaronError, require)

# Key of a record under which the SHA-256 of all the rest stands.
SEAL = "record_sha256"
# No text that is read here is longer: what is, is no input but a mistake.
_MOST_CHARACTERS = 10**9
_DEEPEST = 30


def write_atomically(path: str | os.PathLike[str], content: str | bytes, *,
                     durable: bool = True) -> Path:
    """Write content to path through a temporary file in the same folder, then rename it to path.

    The data are flushed to the disk before the rename, so after a crash the path holds either the
    old content or the whole new one; durable=False leaves that out, for what is compared or made
    again after a crash. Errors as in replace_atomically.
    """

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as handle:
            # A name of a file that is not UTF-8 may be part of a text.
            handle.write(content.encode(errors="backslashreplace") if isinstance(content, str)
                         else content)
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


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _seal(record: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a record's content, whatever its blanks and the order of its keys."""
    content = {key: value for key, value in record.items() if key != SEAL}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def write_sealed(path: str | os.PathLike[str], record: Mapping[str, Any]) -> Path:
    """Write a record as JSON that holds the SHA-256 of its content; errors as replace_atomically.
    """
    return write_atomically(path, json.dumps({**record, SEAL: _seal(record)}, indent=1) + "\n")


def read_sealed(path: str | os.PathLike[str], remedy: str) -> dict[str, Any]:
    """Return a record that ``write_sealed`` wrote, or an older one, which has no key SEAL.

    Raises
    ------
    DamagedError
        When it is not what was written, with what to do about it; FileNotFoundError and
        NotADirectoryError if it is not there.
    ComputationError
        When the disk refuses.
    """
    try:
        record = json.loads(Path(path).read_bytes())
        require(isinstance(record, dict), "it holds no record", ValueError)
        require(record.get(SEAL) in (None, _seal(record)), "its content is not what its SHA-256"
                " says", ValueError)
        # The name of the checksum can be damaged too; that of no other key is as long.
        last = next(reversed(record), "")
        require(last == SEAL or len(last) != len(SEAL), f"its last key is {last!r}", ValueError)
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise ComputationError(f"{path} cannot be read: {error.strerror}; correct its rights or the"
                               " disk") from None
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path} is damaged ({error}): {remedy}") from None
    return dict(record)


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
        with open(path, "rb") as handle:
            # What is damaged must not be unpacked: a wrong shape would ask for all the memory.
            with zipfile.ZipFile(handle) as archive:
                require(archive.testzip() is None, "a checksum is wrong", zipfile.BadZipFile)
            handle.seek(0)
            with np.load(handle, allow_pickle=False) as file:
                yield dict(file)
    except FileNotFoundError:
        raise error(f"{path} does not exist: give {what} (.npz)") from None
    except (InputError, OSError, EOFError, ValueError, LookupError, TypeError, RuntimeError,
            MemoryError, OverflowError, struct.error, zipfile.BadZipFile, zlib.error,
            lzma.LZMAError) as why:
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
        When it is missing, a folder, a device, unreadable, too long, empty or not text.
    """
    try:
        with open(path, encoding="utf-8") as handle:
            require(not stat.S_ISCHR(os.fstat(handle.fileno()).st_mode), f"{path} is a device,"
                    f" which need not end: give the path of a {what}")
            text = handle.read(_MOST_CHARACTERS + 1)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: give the path of a {what}") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder: give the path of a {what}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not text: give a {what}") from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{str(path)[:200]!r} cannot be read: {why}; check the path and its"
                         " permissions") from None
    require(len(text) <= _MOST_CHARACTERS, f"{path} has more than {_MOST_CHARACTERS:.0e}"
            f" characters: give a {what}")
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
        table = tomllib.loads(read_text(path, what))
        _check_values(table)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid TOML: {error}; correct that line") from None
    return table


def _check_values(value: object, depth: int = 0) -> None:
    """Refuse, in a table, what TOML allows and no setting needs: it would fail much later."""
    require(depth <= _DEEPEST, "its tables are nested too deeply", ValueError)
    require(not isinstance(value, int) or abs(value) < 2**63,
            "a whole number has more than 64 bits", ValueError)
    require(not isinstance(value, str) or "\0" not in value, "a text holds a NUL", ValueError)
    if isinstance(value, dict | list):
        for one in value if isinstance(value, list) else (*value, *value.values()):
            _check_values(one, depth + 1)


def beside(folder: Path, name: str) -> str:
    """Return the path of a file named in a settings file.

    It is relative to that file's folder if it is there, else as it stands.
    """
    candidate = folder / name
    return str(candidate) if candidate.exists() else name
