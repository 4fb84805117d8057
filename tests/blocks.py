"""Fenced blocks of the README and the manual, and how they are run.

An HTML comment before a block, which no reader sees, says what the block cannot say itself:

    <!-- needs: espresso -->     it runs the real Quantum ESPRESSO; or another mark of pytest
    <!-- file: modes.toml -->    the block is a file of that name, for the blocks after it
    <!-- check: study -->        what the file must pass when it is read (see test_manual.py)

In a ``console`` block a line after ``$ `` is a command, and the lines below it are what it prints;
``...`` stands for anything, and the space between words does not count. A command without lines
below it may print what it likes.
"""

import doctest
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from conftest import environment

_FENCE = re.compile(r"(?P<notes>(?:^<!--[^>]*-->\n)*)"
                    r"^(?P<fence>```+)(?P<language>[^\n`]*)\n(?P<text>.*?)^(?P=fence)[ ]*$",
                    re.MULTILINE | re.DOTALL)
_LOOSE = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Block:
    """One fenced block of a page: its language, text, and the notes before it (name -> words)."""

    page: str
    line: int
    language: str
    text: str
    notes: dict[str, str]

    @property
    def needs(self) -> list[str]:
        """Marks of pytest that a run of this block needs."""
        return self.notes.get("needs", "").split()

    @property
    def where(self) -> str:
        """Page and line, for messages."""
        return f"{self.page}:{self.line}"


def read_blocks(path: Path) -> list[Block]:
    """Return the fenced blocks of a Markdown file in order."""
    text = path.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        notes = dict(re.findall(r"<!--\s*(\w+):\s*(.*?)\s*-->", match["notes"]))
        line = text.count("\n", 0, match.start("fence")) + 1
        found.append(Block(path.name, line, match["language"].strip(), match["text"], notes))
    return found


def commands(block: Block) -> list[tuple[str, str]]:
    """Return the commands of a block, each with the output that the page shows, if any.

    A ``sh`` block is one command a line, with comments; a ``console`` block has prompts and
    outputs.
    """
    text = block.text.replace("\\\n", " ")
    if block.language == "sh":
        return [(line, "") for raw in text.splitlines() if (line := raw.split("#")[0].strip())]
    pieces = re.split(r"^\$ ", text, flags=re.MULTILINE)
    assert not pieces[0].strip(), f"{block.where}: output without a command"
    parted = (piece.partition("\n") for piece in pieces[1:])
    return [(command, shown) for command, _, shown in parted]


def run_shell(command: str, folder: Path, shown: str = "") -> str:
    """Run a command in a folder as a user does; it must succeed and print what is shown.

    Returns what it printed.
    """
    here = environment()
    path = f"{Path(sys.executable).parent}{os.pathsep}{here['PATH']}"
    done = subprocess.run(["bash", "-c", command], cwd=folder, env=here | {"PATH": path},
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    assert "Traceback" not in done.stderr
    _check_shown(command, shown, done.stdout)
    return done.stdout


def run_python(code: str, folder: Path, shown: str = "") -> str:
    """Run Python code in a process of its own, in a folder; otherwise as run_shell."""
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment(),
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{code}\n{done.stderr}"
    _check_shown(code, shown, done.stdout)
    return done.stdout


def _check_shown(what: str, shown: str, printed: str) -> None:
    if shown.strip():
        right = doctest.OutputChecker().check_output(shown, printed, _LOOSE)
        assert right, f"{what}\nshown:\n{shown}\nprinted:\n{printed}"
