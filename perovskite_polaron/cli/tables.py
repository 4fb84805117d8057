"""Results for people: tables that fit 80 columns, and sentences folded at words on a terminal.

A notebook gets the same tables and sentences as HTML.
"""

import copy
import html
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

WIDTH = 80
_GAP = 2
#: Where a table is too wide, a name longer than the second of these has a line of its own, and its
#: column is no narrower than the first.
_LEAST_NAME = 16
_MOST_NAME = 40
#: A text is folded to no less than this.
_LONG_WORD = 24


@dataclass
class _Column:
    """A column being laid out: its title and the cells below it, each a list of lines."""

    title: str
    least: int
    left: bool
    cells: list[str]
    before: int = 0
    after: int = 0
    width: int = field(init=False)

    def __post_init__(self) -> None:
        self.width = max(1, self.held, len(self.title), self.least - self.before - self.after)

    @property
    def held(self) -> int:
        """The longest cell."""
        return max(map(len, self.cells), default=1)

    @property
    def total(self) -> int:
        return self.before + self.width + self.after

    def put(self, text: str) -> str:
        padded = f"{text:<{self.width}}" if self.left else f"{text:>{self.width}}"
        return " " * self.before + padded + " " * self.after


class Table:
    """A table: its titles, then its rows. It yields its lines for a terminal, or gives HTML.

    Lines have at most 80 characters, or as many as the terminal is wide.

    A table that would be wider is narrowed to what its columns hold, with titles on several lines;
    then its texts are folded; then its columns of numbers stand in blocks below each other, each
    with the first column. A name that is longer than the first column has a line of its own, and a
    text with a word longer than its column, such as a path, stands below its row; they are not cut.
    Titles that are all empty have no line, and a column without a title or a word is left out.

    Parameters
    ----------
    columns
        Title -> format, such as ``12.3f`` or ``20s``, with the least width; words stand to the left
        unless it begins with ``>``. A cell that is None is ``-``, and one that is a word already is
        only aligned.
    rows
        The cells of each row.
    """

    def __init__(self, columns: Mapping[str, str], rows: Iterable[Sequence[Any]]) -> None:
        shown = [[_shown(*pair) for pair in zip(row, columns.values(), strict=True)]
                 for row in rows]
        self._columns: list[_Column] = []
        for i, (title, spec) in enumerate(columns.items()):
            cells = [row[i] for row in shown]
            if not title.strip() and not any(cells):
                continue
            left = spec[-1] == "s" and spec[0] != ">"
            found = self._columns
            touches = found and (not left or not found[-1].left)
            number = re.search(r"\d+", spec.partition(".")[0])
            if found and left and found[-1].left:
                found[-1].after = _GAP
            found.append(_Column(title.strip(), int(number[0]) if number else 0, left,
                                 cells, _GAP if touches else 0))

    def __iter__(self) -> Iterator[str]:
        terminal = shutil.get_terminal_size((WIDTH, 24)).columns if sys.stdout.isatty() else WIDTH
        width = max(WIDTH, terminal)
        for k, block in enumerate(_blocks([copy.copy(c) for c in self._columns], width)):
            if k:
                yield ""
            yield from _block(block)

    def html(self) -> str:
        """Return the table as an element of a page; the first column heads its row."""
        sides = ["left" if column.left else "right" for column in self._columns]

        def row(cells: Iterable[str], *tags: str) -> str:
            places = zip(cells, sides, [*tags, *["td"] * len(sides)], strict=False)
            return "<tr>" + "".join(
                f'<{tag} style="text-align: {side}; padding: 0 0.5em">{html.escape(cell)}</{tag}>'
                for cell, side, tag in places) + "</tr>"

        titles = [column.title for column in self._columns]
        head = f"<thead>{row(titles, *['th'] * len(titles))}</thead>" if any(titles) else ""
        rows = zip(*(column.cells for column in self._columns), strict=True)
        return f"<table>{head}<tbody>{''.join(row(cells, 'th') for cells in rows)}</tbody></table>"


#: What a verb says: sentences, of which one may have several lines, and tables.
Said = str | Table


def _shown(value: Any, spec: str) -> str:
    text = "-" if value is None else value if isinstance(value, str) else f"{value:{spec}}"
    return text.strip()


def _blocks(found: list[_Column], width: int) -> Iterator[list[_Column]]:
    """Narrow the columns until they fit beside each other; what does not goes to further blocks."""
    if _over(found, width) > 0:
        for column in found:
            column.width = max(column.held, len(column.title))
    name = found[0]
    if _over(found, width) > 0 and name.left:
        short = [len(cell) for cell in name.cells if len(cell) <= _MOST_NAME]
        name.width = min(name.width, max(_LEAST_NAME, len(name.title), *short))
    _narrow(found, width, {id(c): min(c.width, max(_LONG_WORD, len(c.title)))
                                  for c in found[1:] if c.left})
    _narrow(found, width, {id(c): max(c.held, _longest(c.title)) for c in found if not c.left})
    block = [name]
    for column in found[1:]:
        if len(block) > 1 and _over([*block, column], width) > 0:
            yield block
            block = [name]
        block.append(column)
    yield block


def _narrow(found: list[_Column], width: int, least: Mapping[int, int]) -> None:
    """Take from the columns what is too much, of the one with most to give first."""
    while _over(found, width) > 0:
        spare, column = max(((c.width - least.get(id(c), c.width), c) for c in found),
                            key=lambda one: one[0])
        if spare <= 0:
            return
        column.width -= 1


def _over(found: Sequence[_Column], width: int) -> int:
    return sum(c.total for c in found) - width


def _block(found: Sequence[_Column]) -> Iterator[str]:
    titles = [_folded(c.title, c.width) for c in found]
    tall = max(map(len, titles))
    yield from _lines(found, [[""] * (tall - len(t)) + t for t in titles])
    name = found[0]
    for k, said in enumerate(name.cells):
        cells, alone = [[said]], []
        if len(said) > name.width:
            yield said
            cells = [[]]
        for column in found[1:]:
            lines = _folded(column.cells[k], column.width)
            whole = all(len(line) <= column.width for line in lines)
            cells.append(lines if whole else [])
            alone += [] if whole else _folded(column.cells[k], WIDTH - 4)
        yield from _lines(found, cells)
        yield from (f"    {line}" for line in alone)


def _longest(text: str) -> int:
    """The longest word that is no path."""
    return max((len(w) for w in text.split() if len(w) <= _LONG_WORD), default=1)


def _folded(text: str, width: int, indent: str = "") -> list[str]:
    return textwrap.wrap(text, width, subsequent_indent=indent, break_long_words=False,
                         break_on_hyphens=False)


def _lines(found: Sequence[_Column], cells: Sequence[Sequence[str]]) -> Iterator[str]:
    for i in range(max(map(len, cells), default=0)):
        parts = (c.put(lines[i] if i < len(lines) else "")
                 for c, lines in zip(found, cells, strict=True))
        yield "".join(parts).rstrip()


def lines_of(said: Iterable[Said]) -> list[str]:
    """Return every line of sentences and tables."""
    texts = (line for one in said for line in ([one] if isinstance(one, str) else one))
    return "\n".join(texts).split("\n")


def print_lines(said: Iterable[Said]) -> None:
    """Print lines; on a terminal those over 80 columns are folded at words, with their indent.

    Elsewhere a sentence stays one line, so that it can be searched for.
    """
    for line in lines_of(said):
        if sys.stdout.isatty() and len(line) > WIDTH:
            indent = line[: len(line) - len(line.lstrip())]
            print("\n".join(_folded(line, WIDTH, indent + "  " * bool(indent))))
        else:
            print(line)


def html_of(said: Iterable[Said]) -> str:
    """Return the same as HTML: a paragraph for each line of a sentence, and tables."""
    parts = [[one.html()] if isinstance(one, Table) else
             [f"<p>{html.escape(line)}</p>" for line in one.split("\n") if line.strip()]
             for one in said]
    # A page narrower than a table scrolls it.
    inner = "".join(part for group in parts for part in group)
    return f'<div style="overflow-x: auto">{inner}</div>'
