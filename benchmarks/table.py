"""Writes benchmarks/README.md and benchmarks/scaling.png from pytest-benchmark's JSON.

``python benchmarks/table.py run.json benchmarks``, after ``pytest benchmarks
--benchmark-json=run.json …``: `make bench` does both. A benchmark says in ``extra_info`` which
``side`` it is, how far its result lies from the other's (``deviation``), how many calls make up the
job (``calls``, else 1), and how many times longer than polaron it is ``required`` to take. Within a
group the side ``polaron`` is the unit.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from math import log
from pathlib import Path

PACKAGES = ("numpy", "scipy", "ase", "phonopy", "xraylarch", "TRXASprefitpack",
            "pyglotaran")
OURS, OURS_ON_TWO = "polaron", "polaron, two threads"
NOTES = Path(__file__).with_name("notes.md")


def installed(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"{package} not installed"


def xspectra() -> str:
    if shutil.which("xspectra.x") is None:
        return "xspectra.x not installed"
    # Without input it says its version, then fails and leaves a file behind.
    with tempfile.TemporaryDirectory() as folder:
        said = subprocess.run(["xspectra.x"], input="", capture_output=True, text=True, check=False,
                              cwd=folder).stdout
    found = re.search(r"XSpectra v\.?([\w.]+)", said, re.IGNORECASE)
    return f"xspectra.x {found[1]}" if found else "xspectra.x of unknown version"


def seconds(value: float) -> str:
    unit, size = next(((u, f) for u, f in (("s", 1.0), ("ms", 1e-3)) if value >= f), ("µs", 1e-6))
    return f"{value / size:.3g} {unit}"


def duration(row: dict) -> float:
    return row["stats"]["median"] * row["extra_info"].get("calls", 1)


def verdict(row: dict, units: dict[str, float]) -> str:
    required = row["extra_info"].get("required")
    if required is None:
        return ""
    if duration(row) / units[OURS] >= required:
        return f"{required:g}: reached"
    on_two = duration(row) / units.get(OURS_ON_TWO, float("inf"))
    return (f"{required:g}: reached on two threads only ({on_two:.3g})" if on_two >= required
            else f"{required:g}: **not reached**")


def comparison(benchmarks: list[dict]) -> list[str]:
    lines = ["| job | side | median | times polaron | required | deviation |",
             "|---|---|---|---|---|---|"]
    chosen = sorted((b for b in benchmarks if "side" in b["extra_info"]), key=lambda b: b["group"])
    for group, members in groupby(chosen, key=lambda b: b["group"]):
        rows = sorted(members,
                      key=lambda row: (not row["extra_info"]["side"].startswith(OURS),
                                       row["extra_info"]["side"]))
        units = {row["extra_info"]["side"]: duration(row) for row in rows}
        for row in rows:
            info = row["extra_info"]
            ratio = f"{duration(row) / units[OURS]:.3g}" if OURS in units else ""
            deviation = f"{info['deviation']:.1e}" if "deviation" in info else ""
            lines.append(f"| {group} | {info['side']} | {seconds(duration(row))} | {ratio} |"
                         f" {verdict(row, units)} | {deviation} |")
    return lines


def scaling(benchmarks: list[dict]) -> dict[str, list[dict]]:
    """For each kernel what was measured at its sizes, the smallest first.

    ``measured`` holds the medians of a call on one and on two threads and of their ratio.
    """
    kernels: dict[str, list[dict]] = {}
    for info in (b["extra_info"] for b in benchmarks):
        if "kernel" in info:
            kernels.setdefault(info["kernel"], []).append(info)
    return {name: sorted(sizes, key=lambda info: info["size"]) for name, sizes in kernels.items()}


def thread_table(kernels: dict[str, list[dict]]) -> list[str]:
    lines = ["| kernel | size | one thread | two threads | times faster | growth |",
             "|---|---|---|---|---|---|"]
    for name, sizes in kernels.items():
        before, largest = sizes[-2:]
        growth = (log(largest["measured"][0] / before["measured"][0])
                  / log(largest["size"] / before["size"]))
        for info in sizes:
            one, two, ratio = info["measured"]
            lines.append(f"| {name} | {info['size']} {info['unit']} | {seconds(one)} |"
                         f" {seconds(two)} | {ratio:.2f} |"
                         f" {f'n^{growth:.2f}' if info is largest else ''} |")
    return lines


def figure(kernels: dict[str, list[dict]], path: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import NullFormatter

    columns = 5
    fig, axes = plt.subplots(-(-len(kernels) // columns), columns,
                             figsize=(14, 2.7 * -(-len(kernels) // columns)), layout="constrained",
                             squeeze=False)
    for axis, (name, sizes) in zip(axes.flat, kernels.items(), strict=False):
        n = [info["size"] for info in sizes]
        one, two = ([1e3 * info["measured"][k] for info in sizes] for k in (0, 1))
        axis.loglog(n, one, "o-", label="one thread", color="C0")
        axis.loglog(n, two, "s--", label="two threads", color="C1")
        # labels that would touch are left out
        apart = [k for k, before in zip(n, [0, *n], strict=False) if k > 2.2 * before]
        axis.set(title=name, xlabel=sizes[0]["unit"], ylabel="median / ms", xticks=apart)
        axis.set_xticklabels([f"{k // 10**6}M" if k >= 10**6 else f"{k // 1000}k" if k >= 1000
                              else str(k) for k in apart])
        axis.title.set_fontsize(9)
        axis.grid(alpha=0.3)
        for side in (axis.xaxis, axis.yaxis):
            side.set_minor_formatter(NullFormatter())
    for axis in axes.flat[len(kernels):]:
        axis.axis("off")
    fig.legend(*axes.flat[0].get_legend_handles_labels(), loc="lower right", frameon=False)
    fig.savefig(path, dpi=90)


def page(run: dict) -> str:
    machine, kernels = run["machine_info"], scaling(run["benchmarks"])
    return "\n".join(["# Benchmarks", "", "Written by `make bench`: medians of one"
                      " pytest-benchmark run with both sides of each job.", "",
                      f"- Date: {run['datetime'][:10]}",
                      f"- Machine: {machine['cpu'].get('brand_raw', machine['machine'])},"
                      f" {machine['cpu'].get('count', '?')} cores, "
                      f"{machine['system']}, Python {machine['python_version']}",
                      f"- Versions: {', '.join([*map(installed, PACKAGES), xspectra()])}", "",
                      *comparison(run["benchmarks"]), "", "## Size and threads", "",
                      "One thread and two took turns; times faster is the median of their"
                      " ratios: near 1 where a call is too small to be shared. Growth is the"
                      " exponent between the two largest sizes.", "", *thread_table(kernels), "",
                      "![Cost against size of each kernel](scaling.png)", "",
                      NOTES.read_text(encoding="utf-8")])


if __name__ == "__main__":
    from perovskite_polaron.files import write_atomically

    measured, folder = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    figure(scaling(measured["benchmarks"]), folder / "scaling.png")
    write_atomically(folder / "README.md", page(measured))
