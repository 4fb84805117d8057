"""What lies in a folder, or a packed archive, of measured files: what each is, and what it may be.

Nothing here decides anything: ``look`` reads every file as it would be read without options, and
says of each table what its columns could be. What it takes for the role of a file is a guess for a
person to confirm.
"""

import errno
import hashlib
import lzma
import os
import re
import shutil
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np

from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import InputError, require
from perovskite_polaron.measured.columns import candidates, energy_column, written
from perovskite_polaron.measured.edges import FARTHEST, edge_energy
from perovskite_polaron.measured.readers import read_tables
from perovskite_polaron.measured.text import Table

#: Archives that hold more than this are no measured curves, or were made to fill a disk.
MOST_FILES, MOST_BYTES = 20_000, 4 * 2**30
# A larger file is no table of a measured curve, and takes long to read.
_MOST_READ_BYTES = 8 * 2**20
_PACKED = re.compile(r"\.(zip|tar|tgz|tar\.(gz|bz2|xz))\Z", re.IGNORECASE)
# Endings of what holds no columns that are read here, and what to do about it.
_OTHER = {
    "a figure or a document": (".png", ".jpg", ".jpeg", ".svg", ".pdf", ".eps", ".tif", ".tiff",
                               ".doc", ".docx", ".ppt", ".pptx", ".tex", ".agr"),
    "a program": (".py", ".m", ".ipynb", ".sh", ".c", ".f90", ".r"),
    "of a program that is not read here: export its columns as text": (
        ".opj", ".opju", ".xls", ".xlsx", ".ods", ".mat", ".npy", ".npz", ".pkl", ".pxp", ".ibw",
        ".mda"),
    "a structure, or of a calculation": (".cif", ".xsf", ".upf", ".cube", ".save", ".wfc")}
# Role -> what it is called in names of files and folders; the first that fits is guessed.
_ROLE_NAMES = {
    "calculation": r"calc|simul|theor|dft|xspectra|pdos|dos(?![a-z])|espresso",
    "kinetics": r"kinetic|trace|decay|time.?scan|delay.?scan",
    "thermal": r"therm|temperature|heat|\btemp|(?<![a-z0-9])\d+ ?(?:deg)?c(?![a-z])",
    "transient": r"transient|pump|laser|diff|delta|\dps(?![a-z])|\dns(?![a-z])",
    "steady": r"steady|static|ground|unpump|xanes"}


@dataclass(frozen=True)
class Found:
    """A file, and what it could be.

    Attributes
    ----------
    path
        From the folder that was looked at, with slashes.
    words
        One line: its columns and their range, or why nothing could be read.
    columns, signals
        Names of its columns, empty where it is no table, and of those that can be the spectrum.
    edge
        The edge that a column of it holds, "" where none does.
    energy, unit
        Number of that column, from 1, and the unit its numbers fit; each "" where the file says it.
    delays
        Whether its first column can be delays.
    role, because
        What it is guessed to be, and why; "" for no guess.
    """

    path: str
    words: str
    columns: tuple[str, ...] = ()
    signals: tuple[str, ...] = ()
    edge: str = ""
    energy: str = ""
    unit: str = ""
    delays: bool = False
    role: str = ""
    because: str = ""


def unpacked(archive: Path, into: Path) -> Path:
    """Return the folder of an archive: itself, or what a .zip or .tar holds, unpacked once.

    Plain files only are unpacked, to ``into``, which keeps the checksum of the archive that it is
    of. A folder inside that is the only entry is returned in its place.

    Raises
    ------
    InputError
        When the archive is missing, is none, is damaged, names places outside of itself or holds
        too much; when ``into`` is of another archive.
    """
    if archive.is_dir():
        return archive
    require(archive.exists(), f"{archive} does not exist: give the folder, .zip or .tar of the"
            " archive")
    require(zipfile.is_zipfile(archive) or _is_tar(archive), f"{archive} is neither a"
            " folder nor a .zip or .tar: give the archive as it was fetched")
    checksum, stamp = md5_of(archive), into.with_name(f"{into.name}.md5")
    if not into.exists():
        into.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".tmp-", dir=into.parent))
        try:
            _unpack(archive, temporary)
            os.chmod(temporary, 0o755)
            stamp.write_text(f"{checksum}\n")
            os.replace(temporary, into)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    said = stamp.read_text().strip() if stamp.exists() else ""
    require(said == checksum, f"{into} was unpacked from another archive than {archive}: remove it,"
            " or choose another --out")
    inside = list(into.iterdir())
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else into


def _is_tar(archive: Path) -> bool:
    try:
        return tarfile.is_tarfile(archive)
    except (EOFError, OSError, ValueError, zlib.error, lzma.LZMAError):
        # Damaged; unpacking it says how.
        return True


def md5_of(path: Path) -> str:
    """Return the MD5 of a file, which is what archives publish of theirs."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _unpack(archive: Path, folder: Path) -> None:
    """Write the plain files of an archive."""
    files = written_bytes = 0
    with ExitStack() as last:
        for name, block in _blocks(archive):
            if block is None:
                last.close()
                files += 1
                target = last.enter_context(_new_file(archive, folder, name))
                continue
            written_bytes += len(block)
            require(files <= MOST_FILES and written_bytes <= MOST_BYTES, f"{archive} holds more"
                    f" than {MOST_FILES} files or {MOST_BYTES / 2**30:g} GiB: unpack it by hand,"
                    " and give the folder")
            target.write(block)


def _new_file(archive: Path, folder: Path, name: str) -> IO[bytes]:
    """Open the file that a name in an archive stands for; InputError for a name that cannot be."""
    place = PurePosixPath(name.replace("\\", "/"))
    require(not place.is_absolute() and ".." not in place.parts and ":" not in name[:2],
            f"{archive}: it would write outside of its folder, to {name[:80]!r}: it is no archive"
            " of data")
    path = folder.joinpath(*place.parts)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return open(path, "xb")
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EROFS, errno.EACCES):
            raise
        raise InputError(f"{archive}: {name[:80]!r} cannot be the name of a file, or stands twice:"
                         " unpack the archive by hand, and give the folder") from None


def _blocks(archive: Path) -> Iterator[tuple[str, bytes | None]]:
    """Yield each plain file of an archive: its name with None, then with its bytes, in blocks.

    InputError for whatever is wrong with the archive, not for what is done with the bytes.
    """
    try:
        with (zipfile.ZipFile(archive) if zipfile.is_zipfile(archive)
              else tarfile.open(archive)) as packed:
            for name, open_one in _members(packed):
                yield name, None
                with open_one() as source:
                    while block := source.read(2**20):
                        yield name, block
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError,
            NotImplementedError, RuntimeError, ValueError, LookupError, OverflowError,
            struct.error) as error:
        raise InputError(f"{archive} cannot be unpacked ({error}): fetch it again, or unpack it by"
                         " hand and give the folder") from None


def _members(packed: zipfile.ZipFile | tarfile.TarFile) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield the name of each plain file, and what opens it."""
    if isinstance(packed, zipfile.ZipFile):
        yield from ((one.filename, partial(packed.open, one)) for one in packed.infolist()
                    if not one.is_dir())
    else:
        yield from ((one.name, partial(packed.extractfile, one)) for one in packed if one.isfile())


def look(folder: Path, edges: Sequence[str]) -> tuple[Found, ...]:
    """Return what each file of a folder could be, in the order of their names.

    Parameters
    ----------
    folder
        With folders inside.
    edges
        As ``Br-K``: whose spectra are looked for.

    Raises
    ------
    InputError
        When the folder has no file, or more than MOST_FILES.
    """
    files = sorted(p for p in folder.rglob("*") if p.is_file()
                   and not any(part.startswith(".") for part in p.relative_to(folder).parts))
    require(files, f"{folder} has no files: give the folder that the archive was unpacked to")
    require(len(files) <= MOST_FILES, f"{folder} has more than {MOST_FILES} files: give the folder"
            " of the measured curves")
    return tuple(found for path in files
                 for found in _of_file(path, path.relative_to(folder).as_posix(), edges))


def _of_file(path: Path, name: str, edges: Sequence[str]) -> list[Found]:
    suffix = path.suffix.lower()
    if _PACKED.search(path.name):
        return [Found(name, "packed: unpack it, or give it itself as ARCHIVE")]
    what = next((words for words, endings in _OTHER.items() if suffix in endings), None)
    if what is not None:
        return [Found(name, what)]
    if path.stat().st_size > _MOST_READ_BYTES:
        return [Found(name, f"{path.stat().st_size / 2**20:.0f} MiB: too large to be looked into")]
    try:
        tables = read_tables(path)
    except InputError as error:
        if path.name.lower().startswith("readme") and path.stat().st_size:
            return [Found(name, "words, of which the archive's authors say what is what: read it")]
        return [Found(name, str(error).replace(f"{path.parent}{os.sep}", ""))]
    # Tables of one file are treated together; the first says what they are.
    return [_of_table(tables[0], name, edges, len(tables))]


def _of_table(table: Table, name: str, edges: Sequence[str], tables: int) -> Found:
    columns = table.columns
    shown = ", ".join(f"{i} {column}{f' ({unit})' if unit else ''}" for i, (column, unit) in
                      enumerate(zip(table.names[:8], table.units[:8], strict=True), start=1))
    more = f", ... {len(columns)} in all" if len(columns) > 8 else ""
    words = f"{tables} tables; " * (tables > 1) + f"{columns.shape[1]} rows of {shown}{more}"
    x, edge, unit = _abscissa(table, edges)
    if edge:
        values = columns[x]
        words += f"; {edge}, {np.nanmin(values):g} to {np.nanmax(values):g}"
    first = columns[0][np.isfinite(columns[0])]
    delays = not edge and len(first) > 4 and _is_delay(table.names[0], first)
    if delays:
        words += f"; abscissa {first.min():g} to {first.max():g}"
    role, because = _role(name, bool(edge), delays, columns, x)
    says_unit = bool(edge and table.units[x])
    signals = tuple(table.names[i] for i in candidates(table, x)) if edge else ()
    energy = "" if not edge or _finds_energy(table, x) else f"{x + 1}"
    return Found(name, words, table.names, signals, edge, energy, "" if says_unit else unit, delays,
                 role, because)


def _finds_energy(table: Table, x: int) -> bool:
    """Whether a table is read with this column for its energies where nobody says which."""
    try:
        return energy_column(table) == x
    except InputError:
        return False


def _abscissa(table: Table, edges: Sequence[str]) -> tuple[int, str, str]:
    """Return the first column that holds the energies of an edge, the edge, and their unit."""
    for i, values in enumerate(table.columns):
        known = values[np.isfinite(values)]
        steps = np.sign(np.diff(known))
        # Energies may jitter, but go one way.
        if len(known) < 5 or max((steps > 0).mean(), (steps < 0).mean()) < 0.9:
            continue
        for unit, factor in (("eV", 1.0), ("keV", 1000.0)):
            low, high = factor * known.min(), factor * known.max()
            near = [(edge, place) for edge in edges if (place := edge_energy(edge))
                    and low <= place * (1 + FARTHEST / 4) and high >= place * (1 - FARTHEST / 4)]
            inside = [edge for edge, place in near if low <= place <= high]
            if high < 10 * low and (near or inside):
                return i, (inside or [edge for edge, _ in near])[0], unit
    return 0, "", ""


def _is_delay(name: str, values: Array) -> bool:
    """Whether a rising column is called a delay, or begins before zero and ends far after it."""
    named = re.match(r"delay|time|t\b", name.lower()) is not None
    spans = bool(values.min() < 0 < values.max()) and float(values.max()) > -float(values.min())
    return (named or spans) and bool((np.diff(values) > 0).all())


def _role(name: str, is_spectrum: bool, delays: bool, columns: Array, x: int) -> tuple[str, str]:
    """Return the role that a file may have, and why."""
    lower = name.lower().replace("_", " ").replace("-", " ")
    named = next(((role, match[0].strip()) for role, words in _ROLE_NAMES.items()
                  if (match := re.search(words, lower))), None)
    if named and named[0] == "calculation":
        return "calculation", f"its name says {named[1]!r}"
    if delays:
        return "kinetics", "its first column can be delays"
    if not is_spectrum:
        return "", ""
    if named and named[0] != "kinetics":
        return named[0], f"its name says {named[1]!r}"
    if written(name, "delay") is not None:
        return "transient", "its name has a delay"
    others = np.delete(columns, x, axis=0)
    signal = others[0] if len(others) else columns[x]
    changes = bool(np.nanmin(signal) < 0 < np.nanmax(signal))
    return ("transient", "its signal changes sign") if changes else (
        "steady", "its signal does not change sign")

