"""Docstrings of this project are plain text, not reStructuredText: paragraphs, and columns that explain names.

Before autodoc parses one, its columns become literal blocks, and what would be markup elsewhere is protected. Signatures get
the names of NumPy's types back, which Python spells out.
"""

import re
from typing import Any

from sphinx.application import Sphinx

# A name, at least two spaces, an explanation: the columns in which fields and arguments are told.
_COLUMNS = re.compile(r"^\s*\S+(, \S+)*\s{2,}\S")

# What the types of NumPy look like once Python has resolved them, and the name that people know.
_ARRAY = re.compile(r"(?:~?numpy\.)?ndarray\[tuple\[(?:~?typing\.)?Any, \.\.\.\], (?:~?numpy\.)?dtype\[(?:~?numpy\.)?(\w+)\]\]")
_ARRAY_LIKE = re.compile(r"[\w.~]*_Buffer \|.*?_NestedSequence\[complex \| bytes \| str\]")


def _named(text: str | None) -> str | None:
    return text and _ARRAY_LIKE.sub("ArrayLike", _ARRAY.sub(r"NDArray[\1]", text))


def _protect(text: str) -> str:
    """Escape markup outside double backquotes, which mean code here as there."""
    parts = re.split(r"(``.+?``)", text)
    return "".join(p if p.startswith("``") else re.sub(r"([\\*|_`])", r"\\\1", p) for p in parts)


def plain(lines: list[str]) -> list[str]:
    """Return the lines of a docstring as reStructuredText that shows the same text."""
    shown: list[str] = []
    paragraphs = re.split(r"\n[ \t]*\n", "\n".join(lines).strip("\n"))
    for paragraph in paragraphs:
        rows = paragraph.splitlines()
        if any(_COLUMNS.match(row) for row in rows) or all(row.startswith("  ") for row in rows):
            shown += ["::", "", *("    " + row for row in rows), ""]
        else:
            shown += [_protect(" ".join(row.strip() for row in rows)), ""]
    return shown


def setup(app: Sphinx) -> dict[str, Any]:
    """Put every docstring through plain, and every signature through _named."""

    def process(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
        lines[:] = plain(lines)

    def sign(app: Sphinx, what: str, name: str, thing: Any, options: Any, signature: str | None, returned: str | None) -> Any:
        return _named(signature), _named(returned)

    app.connect("autodoc-process-docstring", process)
    app.connect("autodoc-process-signature", sign)
    return {"parallel_read_safe": True}
