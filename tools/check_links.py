"""Check the links of a built manual: inside all exist, addresses outside are well formed.

usage: python tools/check_links.py build/docs
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_POINTERS = {("href", "a"), ("href", "link"), ("src", "img"), ("src", "script")}


class _Page(HTMLParser):
    """Collects the anchors of a page, and what it points to."""

    def __init__(self) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            if value and (name, tag) in _POINTERS:
                self.targets.append(value)


def _read(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def problems(root: Path) -> list[str]:
    """Return one line for each link of the pages below a folder that leads nowhere."""
    pages = {path.resolve(): _read(path) for path in root.rglob("*.html")}
    found = []
    for path, page in pages.items():
        for target in page.targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                if parts.scheme not in ("https", "http", "mailto", "data") or " " in target or (
                    parts.scheme.startswith("http") and "." not in parts.netloc
                ):
                    found.append(f"{path.name}: {target} is no address")
                continue
            file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not file.exists():
                found.append(f"{path.name}: {target} does not exist")
            elif (parts.fragment and file in pages
                  and unquote(parts.fragment) not in pages[file].anchors):
                found.append(f"{path.name}: {target}: no such anchor")
    return found


def main() -> int:
    """Check the folder on the command line; 1 if a link is broken."""
    if len(sys.argv) != 2 or not list(Path(sys.argv[1]).rglob("*.html")):
        print("give the folder of a built manual: python tools/check_links.py build/docs",
              file=sys.stderr)
        return 2
    found = problems(Path(sys.argv[1]))
    print("\n".join(found) if found else "every link leads somewhere")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
