"""The program that opens an HDF5 file for ``hdf5``: run by path in a process of its own, it imports nothing of this package.

The HDF5 library can crash, hang or ask for any amount of memory on a damaged file. Here it may: what it read goes to
stdout as one line of JSON followed by the raw columns, and the caller sets the limits.
"""

import contextlib
import json
import sys
from typing import Any

# More than any scan, and less than a detector's image stack read by mistake; then all of a file together.
LARGEST, LARGEST_TOTAL = 10_000_000, 50_000_000


def limit(seconds: int, memory_bytes: int) -> None:
    """Take at most so much processor time and so much more address space, where the system can be told so."""
    try:
        import resource
    except ImportError:  # Windows: the caller's clock remains
        return
    for what, most in (("RLIMIT_CPU", seconds), ("RLIMIT_CORE", 0), ("RLIMIT_AS", memory_bytes)):
        # A stricter limit of the system's own, or one it does not know, stays as it is.
        with contextlib.suppress(AttributeError, ValueError, OSError):
            resource.setrlimit(getattr(resource, what), (most, most))


def groups(path: str) -> tuple[list[dict[str, Any]], list[Any]]:
    """Return the groups that hold numeric datasets of one dimension, and their columns (float64) in the same order."""
    import h5py
    import numpy as np

    found: list[dict[str, Any]] = []
    columns: list[Any] = []
    total = 0
    with h5py.File(path, "r") as file:
        all_groups: list[Any] = [file]
        file.visititems(lambda _, item: all_groups.append(item) if isinstance(item, h5py.Group) else None)
        for group in all_groups:
            names, units, lengths = [], [], []
            for key in group:
                item = group.get(key)
                if not (
                    isinstance(item, h5py.Dataset)
                    and item.ndim == 1
                    and item.dtype.kind in "iuf"
                    and 0 < item.size <= LARGEST
                ):
                    continue
                total += item.size
                if total > LARGEST_TOTAL:
                    raise ValueError(f"it holds more than {LARGEST_TOTAL} numbers in columns")
                names.append(key)
                units.append(text(item.attrs["units"]) if "units" in item.attrs else "")
                column = np.asarray(item[()], dtype="<f8")
                lengths.append(len(column))
                columns.append(column)
            metadata = {key: text(value) for key, value in group.attrs.items() if np.ndim(value) == 0}
            if names:
                found.append(
                    {"name": group.name, "names": names, "units": units, "lengths": lengths, "metadata": metadata}
                )
    return found, columns


def text(value: Any) -> str:
    """Return an attribute as text."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def main(path: str, seconds: str, memory_bytes: str) -> int:
    """Read, and write one JSON line and the columns; on failure one line of reason on stderr and status 3."""
    limit(int(seconds), int(memory_bytes))
    try:
        found, columns = groups(path)
        head = json.dumps(found, ensure_ascii=True).encode()
    except (
        Exception
    ) as error:  # h5py raises OSError, KeyError, RuntimeError, ValueError, MemoryError for a damaged file
        print(" ".join(str(error).split()) or type(error).__name__, file=sys.stderr)
        return 3
    sys.stdout.buffer.write(head + b"\n")
    for column in columns:
        sys.stdout.buffer.write(column.tobytes())
    sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
