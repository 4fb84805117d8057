"""Writes benchmarks/README.md and benchmarks/scaling.png from pytest-benchmark's JSON.

``python benchmarks/table.py run.json benchmarks``, after ``pytest benchmarks --benchmark-json=run.json …``: `make bench`
does both. A benchmark says in ``extra_info`` which ``side`` it is, how far its result lies from the other's
(``deviation``), how many calls make up the job (``calls``, else 1), and how many times longer than polaron it is
``required`` to take. Within a group the side ``polaron`` is the unit.
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

PACKAGES = ("numpy", "scipy", "ase", "phonopy", "Euphonic", "xraylarch", "TRXASprefitpack", "pyglotaran")
OURS, OURS_ON_TWO = "polaron", "polaron, two threads"
ENOUGH = 1.7
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
        said = subprocess.run(["xspectra.x"], input="", capture_output=True, text=True, check=False, cwd=folder).stdout
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
    return f"{required:g}: reached on two threads only ({on_two:.3g})" if on_two >= required else f"{required:g}: **not reached**"


def comparison(benchmarks: list[dict]) -> list[str]:
    lines = ["| job | side | median | times polaron | required | deviation |", "|---|---|---|---|---|---|"]
    chosen = sorted((b for b in benchmarks if "side" in b["extra_info"]), key=lambda b: b["group"])
    for group, members in groupby(chosen, key=lambda b: b["group"]):
        rows = sorted(members, key=lambda row: (not row["extra_info"]["side"].startswith(OURS), row["extra_info"]["side"]))
        units = {row["extra_info"]["side"]: duration(row) for row in rows}
        for row in rows:
            info = row["extra_info"]
            ratio = f"{duration(row) / units[OURS]:.3g}" if OURS in units else ""
            deviation = f"{info['deviation']:.1e}" if "deviation" in info else ""
            lines.append(f"| {group} | {info['side']} | {seconds(duration(row))} | {ratio} | {verdict(row, units)} | {deviation} |")
    return lines


def scaling(benchmarks: list[dict]) -> dict[str, tuple[str, dict[int, tuple[float, float]]]]:
    """For each kernel what its size counts, and the medians on one and on two threads of each size."""
    kernels: dict[str, tuple[str, dict[int, dict[int, float]]]] = {}
    for b in benchmarks:
        info = b["extra_info"]
        if "kernel" in info:
            sizes = kernels.setdefault(info["kernel"], (info["unit"], {}))[1]
            sizes.setdefault(info["size"], {})[info["threads"]] = b["stats"]["median"]
    return {name: (unit, {n: (t[1], t[2]) for n, t in sorted(sizes.items())}) for name, (unit, sizes) in kernels.items()}


def thread_table(kernels: dict[str, tuple[str, dict[int, tuple[float, float]]]]) -> list[str]:
    lines = ["| kernel | largest size | one thread | two threads | times faster | growth | two threads pay from |",
             "|---|---|---|---|---|---|---|"]
    for name, (unit, sizes) in kernels.items():
        (n0, (before, _)), (n, (one, two)) = list(sizes.items())[-2:]
        enough = [(size, t1) for size, (t1, t2) in sizes.items() if t1 / t2 >= ENOUGH]
        start = f"{enough[0][0]} {unit} ({seconds(enough[0][1])})" if enough else f"**not reached** ({ENOUGH:g})"
        lines.append(f"| {name} | {n} {unit} | {seconds(one)} | {seconds(two)} | {one / two:.2f} | "
                     f"n^{log(one / before) / log(n / n0):.2f} | {start} |")
    return lines


def figure(kernels: dict[str, tuple[str, dict[int, tuple[float, float]]]], path: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import NullFormatter

    columns = 5
    fig, axes = plt.subplots(-(-len(kernels) // columns), columns, figsize=(14, 2.7 * -(-len(kernels) // columns)),
                             layout="constrained", squeeze=False)
    for axis, (name, (unit, sizes)) in zip(axes.flat, kernels.items(), strict=False):
        n = list(sizes)
        axis.loglog(n, [1e3 * t for t, _ in sizes.values()], "o-", label="one thread", color="C0")
        axis.loglog(n, [1e3 * t for _, t in sizes.values()], "s--", label="two threads", color="C1")
        if name.endswith("fast"):
            scale = 1e3 * sizes[n[-1]][0] / (n[-1] * log(n[-1]))
            axis.loglog(n, [scale * k * log(k) for k in n], ":", color="black", label="n log n")
            axis.legend(handles=axis.lines[-1:], frameon=False, fontsize=8)
        axis.set(title=name, xlabel=unit, ylabel="median / ms", xticks=n)
        axis.set_xticklabels([f"{k // 1000}k" if k >= 1000 else str(k) for k in n])
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
    return "\n".join([
        "# Benchmarks", "",
        "Written by `make bench`: medians of one pytest-benchmark run in which both sides of each job took part.", "",
        f"- Date: {run['datetime'][:10]}",
        f"- Machine: {machine['cpu'].get('brand_raw', machine['machine'])}, {machine['cpu'].get('count', '?')} cores, "
        f"{machine['system']}, Python {machine['python_version']}",
        f"- Versions: {', '.join([*map(installed, PACKAGES), xspectra()])}", "",
        *comparison(run["benchmarks"]), "",
        "## Size and threads", "",
        "Growth is the exponent between the two largest sizes. Two threads pay from the size where they are at least "
        f"{ENOUGH:g} times faster.", "",
        *thread_table(kernels), "", "![Cost against size of each kernel](scaling.png)", "",
        NOTES.read_text(encoding="utf-8")])


if __name__ == "__main__":
    from perovskite_polaron.files import write_atomically

    measured, folder = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    figure(scaling(measured["benchmarks"]), folder / "scaling.png")
    write_atomically(folder / "README.md", page(measured))
