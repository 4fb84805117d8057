"""What a section of a report is made of; the template draws each kind of block in its own way."""

from collections.abc import Sequence
from dataclasses import dataclass, field

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


Rows = tuple[Sequence[str], Sequence[Sequence[str]]]
"""Head and rows of a table."""
Block = Text | Table | Claims | Chart


@dataclass
class Section:
    """A part of the page; ``key`` is its anchor."""

    key: str
    title: str
    blocks: list[Block] = field(default_factory=list)


def meaning(text: str) -> Text:
    """Return a paragraph that explains the numbers below it."""
    return Text(text, "meaning")


def listed(words: Sequence[str]) -> str:
    """Return words as an enumeration: ``a, b and c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
