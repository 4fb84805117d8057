"""Measure the paragraphs of the README and the manual: none may be longer than 90 words.

    python tools/check_prose.py README.md CONTRIBUTING.md CHANGELOG.md docs

An item of a list is a paragraph; tables and code are none.
"""

import re
import sys
from pathlib import Path

MOST_WORDS = 90
_BLOCKS = re.compile(r"^(`{3,})[^\n]*\n.*?^\1[ ]*$|<!--.*?-->", re.MULTILINE | re.DOTALL)
_NEW = re.compile(r"\s*(?:[-*] |\d+\. |#|>|: |\|)")


def paragraphs(text: str) -> list[tuple[int, str]]:
    """Return the paragraphs of a Markdown text, each with the line on which it begins."""
    text = _BLOCKS.sub(lambda match: "\n" * match[0].count("\n"), text)
    found: list[tuple[int, list[str]]] = []
    fresh = True
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.startswith("|"):
            if fresh or _NEW.match(line):
                found.append((number, []))
            found[-1][1].append(line.strip())
        fresh = not line.strip() or line.startswith("|")
    return [(number, " ".join(lines)) for number, lines in found]


def problems(path: Path) -> list[str]:
    """Return one line for each paragraph of a file that is too long."""
    counted = ((n, len(p.split())) for n, p in paragraphs(path.read_text(encoding="utf-8")))
    return [f"{path}:{n}: {words} words in one paragraph, more than {MOST_WORDS}: part it"
            for n, words in counted if words > MOST_WORDS]


def main() -> int:
    """Check the files and folders on the command line; 1 if a paragraph is too long."""
    given = [Path(word) for word in sys.argv[1:]]
    pages = [p for one in given for p in (sorted(one.rglob("*.md")) if one.is_dir() else [one])]
    found = [line for page in pages for line in problems(page)]
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
