"""What a section of a report is made of; the template draws each kind of block in its own way."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perovskite_polaron.figures.style import Chart
from perovskite_polaron.report.claims import Finding


@dataclass(frozen=True)
class Text:
    """A paragraph.

    Attributes
    ----------
    text
        What it says.
    kind
        ``plain``, or ``meaning`` for the sentences that say what the numbers below them mean to
        somebody who has never seen their kind.
    """

    text: str
    kind: str = "plain"


@dataclass(frozen=True)
class Table:
    """Words in rows.

    Attributes
    ----------
    title
        Stands above.
    head, rows
        The first column heads its row; a cell may be a verdict of ``claims``.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Claims:
    """Published statements with our numbers and verdicts."""

    title: str
    claims: Sequence[Finding]


#: Head and rows of a table.
Rows = tuple[Sequence[str], Sequence[Sequence[str]]]
Block = Text | Table | Claims | Chart


@dataclass
class Section:
    """A part of the page; ``key`` is its anchor."""

    key: str
    title: str
    blocks: list[Block] = field(default_factory=list)


# The page's fixed sentences: data, so that they can be read and changed without the code.
WORDS = tomllib.loads(Path(__file__).with_name("words.toml").read_text(encoding="utf-8"))


def meaning(*names: str, **values: Any) -> Text:
    """Return sentences of ``words.toml`` that explain the numbers below them."""
    return Text(" ".join(WORDS["meaning"][name] for name in names).format(**values), "meaning")


def plain(name: str, **values: Any) -> Text:
    """Return a sentence of ``words.toml`` as a paragraph like any other."""
    return Text(WORDS["plain"][name].format(**values))


def listed(words: Sequence[str]) -> str:
    """Return words as an enumeration: ``a, b and c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
