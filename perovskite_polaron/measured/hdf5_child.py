"""The program that opens an HDF5 file for ``hdf5``.

It is run by path and imports nothing of this package. The HDF5 library can crash, hang or ask for
any amount of memory on a damaged file. Here it may: what it read goes to stdout as one line of JSON
followed by the raw columns, and the caller sets the limits.
"""

import contextlib
import json
import sys
from typing import Any

# More than any scan, and less than a detector's image stack read by mistake; then all of a file.
LARGEST, LARGEST_TOTAL = 10_000_000, 50_000_000
#: Exit status when the library says that it cannot read the file.
FAILED = 3


def limit(seconds: int, memory_bytes: int) -> None:
    """Limit processor time and address space from here on, where the system can be told so."""
    try:
        import resource
    except ImportError:  # Windows: the caller's clock remains
        return
    limits = {"RLIMIT_CPU": seconds, "RLIMIT_CORE": 0, "RLIMIT_AS": memory_bytes}
    for name, most in limits.items():
        # A stricter limit of the system's own, or one it does not know, stays as it is.
        with contextlib.suppress(AttributeError, ValueError, OSError):
            resource.setrlimit(getattr(resource, name), (most, most))


def groups(path: str, matrix: str = "") -> tuple[list[dict[str, Any]], list[Any]]:
    """Return the groups that hold one-dimensional numeric datasets, and the columns of them all;
    the dataset called matrix may have two dimensions.
    """
    import h5py
    import numpy as np

    def is_column(item: Any) -> bool:
        # What other files hold, by a virtual dataset or external storage, is not followed.
        return (isinstance(item, h5py.Dataset) and item.dtype.kind in "iuf"
                and (item.ndim == 1 or (item.ndim == 2 and item.name == matrix))
                and 0 < item.size <= LARGEST and not item.is_virtual and not item.external)

    def said(group: Any, path: str) -> str:
        """Return a text that NeXus keeps in a dataset near a group, or ""."""
        item: Any = group.get(path) if path.split("/")[0] in group else None
        is_text = isinstance(item, h5py.Dataset) and item.size == 1 and item.dtype.kind in "OSU"
        return text(np.ravel(item[()])[0])[:200] if is_text else ""

    found: list[dict[str, Any]] = []
    columns: list[Any] = []
    seen, total = list[set[int]](), 0
    with h5py.File(path, "r") as file:
        all_groups: list[Any] = [file]
        file.visititems(
            lambda _, item: all_groups.append(item) if isinstance(item, h5py.Group) else None)
        # Groups that NeXus marks as plots go first; what is linked from another counts once.
        for group in sorted(all_groups, key=lambda group: "signal" not in group.attrs):
            items = {key: item for key in group
                     if not isinstance(group.get(key, getlink=True), h5py.ExternalLink)
                     and is_column(item := group.get(key)) and item.file == file}
            objects = {h5py.h5o.get_info(item.id).addr for item in items.values()}
            if not items or any(objects <= one or one <= objects for one in seen):
                continue
            seen.append(objects)
            for item in items.values():
                total += item.size
                if total > LARGEST_TOTAL:
                    raise ValueError(f"it holds more than {LARGEST_TOTAL} numbers in columns")
                columns.append(np.asarray(item[()], dtype="<f8"))
            metadata = {k: text(np.ravel(v)[0]) for k, v in group.attrs.items() if np.size(v) == 1}
            # An entry of NeXus names sample and edge; what is below it in the path tells apart
            # its detectors.
            above, sample = group, group.name
            while True:
                for key, path in (("element", "element/symbol"), ("edge", "edge/name")):
                    if value := said(above, path):
                        metadata.setdefault(key, value)
                if text(above.attrs.get("NX_class", "")) == "NXentry" or above == above.parent:
                    if value := said(above, "sample/name"):
                        sample = value + group.name[len(above.name):]
                    break
                above = above.parent
            found.append({"name": group.name, "names": list(items), "metadata": metadata,
                          "sample": sample,
                          "units": [text(i.attrs.get("units", "")) for i in items.values()],
                          "titles": [text(i.attrs.get("long_name", "")) for i in items.values()],
                          "lengths": [i.size for i in items.values()],
                          "shapes": [i.shape for i in items.values()]})
    return found, columns


def text(value: Any) -> str:
    """Return an attribute as text."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def main(path: str, seconds: str, memory_bytes: str, matrix: str = "") -> int:
    """Write one JSON line and the columns; if that fails, one line of reason on stderr."""
    limit(int(seconds), int(memory_bytes))
    try:
        found, columns = groups(path, matrix)
        head = json.dumps(found, ensure_ascii=True).encode()
    # For a damaged file h5py raises OSError, KeyError, RuntimeError, ValueError, MemoryError.
    except Exception as error:
        print(" ".join(str(error).split()) or type(error).__name__, file=sys.stderr)
        return FAILED
    sys.stdout.buffer.write(head + b"\n")
    for column in columns:
        sys.stdout.buffer.write(column.tobytes())
    sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
