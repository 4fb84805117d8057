"""Text of ``mda2ascii``, what the Advanced Photon Source makes of its scans: one table of columns.

A header names each column in a line of its own: its number, its kind in brackets, then the process
variable, a description, and for a motor how it is stepped and its unit, for a detector its unit. A
column is called ``7idb:userCalc12.VAL, BoxcarON (3s)``: by its variable and description.
"""

import re

from perovskite_polaron.errors import require
from perovskite_polaron.measured.text import Table, parse_text_table

_COLUMN = re.compile(r"#\s*(\d{1,4})\s+\[\s*(Index|\d-D (?:Positioner|Detector)\s+\d{1,4})\s*\]"
                     r"(?:  (.*))?\Z")
_EXTRA = re.compile(r"# Extra PV \d+: ([^,]*), ([^,]*), \"(.*)\"(?:, *(.*))?\Z")


def is_mda(text: str) -> bool:
    """Tell whether a text was written by mda2ascii."""
    return "mda2ascii" in text[:200] or bool(re.search(r"^#\s*Column Descriptions:", text[:200000],
                                                      re.MULTILINE))


def parse_mda(text: str, source: str) -> Table:
    """Return the table of a one-dimensional scan; InputError for any other.

    Process variables that were saved beside it are metadata by their descriptions.
    """
    found, metadata = list[re.Match[str]](), dict[str, str]()
    lines = text.splitlines()
    require(sum(line.startswith("# 1-D Scan Values") for line in lines) < 2,
            f"{source}: several scans stand in the text, as of a map: let mda2ascii write each "
            "into a file of its own (option -f)")
    for line in lines:
        if match := _COLUMN.match(line):
            found.append(match)
        elif match := _EXTRA.match(line):
            key = match[2].strip() or match[1].strip()
            metadata[key] = " ".join([match[3], match[4] or ""]).strip()
    numbers = [int(match[1]) for match in found]
    require(found and numbers == list(range(1, len(found) + 1)), f"{source}: the columns described "
            "in its header are not numbered 1, 2, 3: it is damaged, or no output of mda2ascii")
    body = "\n".join("" if line.startswith("#") else line for line in lines)
    table = parse_text_table(body, source)
    require(len(table.names) == len(found), f"{source}: the header describes {len(found)} columns, "
            f"the rows have {len(table.names)}: the file is damaged")
    names, units = zip(*map(_named, found), strict=True)
    return Table(names, units, table.columns, source, table.label, metadata, table.warnings)


def _named(match: re.Match[str]) -> tuple[str, str]:
    """Return name and unit of a column."""
    if match[2] == "Index":
        return "index", ""
    # The last comma may have lost its blank; descriptions may have commas of their own.
    fields = [field.strip() for field in re.split(r",\s|,\Z", match[3] or "")]
    behind = 5 if "Positioner" in match[2] and len(fields) > 6 else min(1, len(fields) - 2)
    unit = fields[-4] if behind == 5 else fields[-1] if behind == 1 else ""
    description = ", ".join(fields[1 : len(fields) - max(behind, 0)])
    name = ", ".join(part for part in (fields[0], description) if part)
    return name or match[2], unit
