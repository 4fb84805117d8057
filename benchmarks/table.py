"""Writes the table of benchmarks/README.md from pytest-benchmark's JSON.

``pytest benchmarks --benchmark-enable --benchmark-json=run.json && python benchmarks/table.py run.json benchmarks/README.md``
Within a group the first benchmark named ``polaron`` is the unit: the other rows say how many times longer they took.
"""

import json
import sys
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path

PACKAGES = ("perovskite-polaron", "numpy", "scipy", "Euphonic", "xraylarch", "TRXASprefitpack", "pyglotaran", "phonopy")


def installed(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"{package} not installed"


def table(run: dict) -> str:
    machine = run["machine_info"]
    lines = [
        "# Benchmarks", "",
        "Medians; both sides of a group ran in one session. Made by `make bench`.", "",
        f"- Date: {run['datetime'][:10]}",
        f"- Machine: {machine['cpu'].get('brand_raw', machine['machine'])}, {machine['cpu'].get('count', '?')} cores, "
        f"{machine['system']}, Python {machine['python_version']}",
        f"- Versions: {', '.join(map(installed, PACKAGES))}", "",
        "| job | side | median | times polaron | deviation |", "|---|---|---|---|---|",
    ]
    for group, members in groupby(sorted(run["benchmarks"], key=lambda b: b["group"] or ""), key=lambda b: b["group"]):
        rows = list(members)
        unit = next((r["stats"]["median"] for r in rows if r["extra_info"].get("side") == "polaron"), None)
        for row in rows:
            median = row["stats"]["median"]
            ratio = f"{median / unit:.3g}" if unit else ""
            deviation = row["extra_info"].get("deviation", "")
            lines.append(
                f"| {group} | {row['extra_info'].get('side', row['name'])} | {median * 1e3:.4g} ms | {ratio} | "
                f"{deviation if isinstance(deviation, str) else f'{deviation:.1e}'} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    from perovskite_polaron.files import write_atomically

    write_atomically(Path(sys.argv[2]), table(json.loads(Path(sys.argv[1]).read_text())))
