"""What a section of a report is made of; the template draws each kind of block in its own way."""

import tomllib
from collections.abc import Iterator, Sequence
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


@dataclass(frozen=True)
class Fold:
    """Blocks that a reader opens: what stands behind an answer, not the answer."""

    title: str
    folded: Sequence["Block"]


#: Head and rows of a table.
Rows = tuple[Sequence[str], Sequence[Sequence[str]]]
Block = Text | Table | Claims | Chart | Fold


@dataclass
class Section:
    """A part of the page; ``key`` is its anchor."""

    key: str
    title: str
    blocks: list[Block] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Answer:
    """What the first screen says.

    Attributes
    ----------
    title
        Material, mode, edge: what the page is about.
    lead
        The answer in a sentence with its errors, or what the calculation shows.
    unknown
        What is not known, sentences.
    chart, structure
        The main figure and the drawing of the structure, where there are any.
    moves
        How far which atoms move.
    changes
        What would change the answer most, in that order.
    claims
        Published statements, disagreements first.
    counted
        How many of them disagree, are open, agree.
    """

    title: str
    lead: str
    unknown: Sequence[str] = ()
    chart: Chart | None = None
    structure: Chart | None = None
    moves: Table | None = None
    changes: Sequence[str] = ()
    claims: Claims | None = None
    counted: str = ""

    @property
    def charts(self) -> list[Chart]:
        """The figures of the first screen."""
        return [chart for chart in (self.chart, self.structure) if chart is not None]


def unfolded(blocks: Sequence[Block]) -> Iterator[Block]:
    """Yield blocks, and in place of a fold what is in it."""
    for block in blocks:
        if isinstance(block, Fold):
            yield from unfolded(block.folded)
        else:
            yield block


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
