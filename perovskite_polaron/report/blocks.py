"""What a section of a report is made of; the template draws each kind of block in its own way."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from perovskite_polaron.figures.style import Chart
from perovskite_polaron.report.claims import Claim


@dataclass(frozen=True)
class Text:
    """A paragraph. kind: ``plain``, or ``meaning`` for the sentence that says what the numbers below it mean."""

    text: str
    kind: str = "plain"


@dataclass(frozen=True)
class Table:
    """Words in rows. title stands above; the first column heads its row; cells may be a verdict of ``judge``."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Claims:
    """Published statements with our numbers and verdicts."""

    title: str
    claims: Sequence[Claim]


# Head and rows of a table.
Rows = tuple[Sequence[str], Sequence[Sequence[str]]]
Block = Text | Table | Claims | Chart


@dataclass
class Section:
    """key: its anchor in the page."""

    key: str
    title: str
    blocks: list[Block] = field(default_factory=list)


def meaning(text: str) -> Text:
    """A paragraph that explains numbers to somebody who has never seen their kind."""
    return Text(text, "meaning")


def listed(words: Sequence[str]) -> str:
    """Return words as an enumeration: ``a, b and c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
