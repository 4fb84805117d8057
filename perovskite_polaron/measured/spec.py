"""Files of the beamline program SPEC: a table for every scan, with the names that ``#L`` gives.

Lines ``#S`` begin a scan and say its command; names in ``#L`` are parted by two blanks. Lines
``@`` are detector images and are left out.
"""

import re
from dataclasses import replace

from perovskite_polaron.errors import require
from perovskite_polaron.measured.text import Table, parse_text_table

_SCAN = re.compile(r"#S\s{1,9}(\d{1,9})[^\S\n]*(.*)")


def is_spec(text: str) -> bool:
    """Tell whether a text has scans of SPEC."""
    return any(map(_SCAN.match, text.splitlines()))


def parse_spec(text: str, source: str) -> tuple[Table, ...]:
    """Return the scans that have points; InputError when there is none.

    A scan's label is its number, its sample its command: what was scanned otherwise is no repeat.
    """
    lines, tables = text.splitlines(), list[Table]()
    begins = [i for i, line in enumerate(lines) if _SCAN.match(line)]
    for begin, end in zip(begins, [*begins[1:], len(lines)], strict=True):
        scan, in_image = _SCAN.match(lines[begin]), False
        # The line of the scan's number counts as its first one in messages.
        kept = [""]
        for line in lines[begin + 1 : end]:
            is_image = in_image or line.startswith("@")
            in_image = is_image and line.endswith("\\")
            if line.startswith("#L"):
                kept.append("#" + re.sub(r"\s\s+", "\t", line[2:].strip()))
            else:
                kept.append("" if is_image or line.startswith("#") else line)
        if scan is not None and any(line.strip() and line[0] != "#" for line in kept):
            table = parse_text_table("\n".join(kept), f"{source}#S {scan[1]}")
            tables.append(replace(table, label=scan[1], sample=scan[2].strip()))
    require(tables, f"{source}: no scan of SPEC has points; give a file with at least one")
    return tuple(tables)
