"""What every kind of files needs."""

from pathlib import Path


def text(path: Path) -> str:
    """Return a text in whatever encoding."""
    return path.read_bytes().decode("utf-8-sig", "replace")


def head_of(path: Path) -> str:
    """Return the first lines of a file."""
    with open(path, "rb") as handle:
        return handle.read(20000).decode("utf-8", "replace")
