"""What a sweep of ten thousand jobs costs beside the computing: planning, status, the runner,
memory.

    python benchmarks/sweep_scale.py                 # ten minutes; needs Quantum ESPRESSO for the
    recording python benchmarks/sweep_scale.py --figure-only   # draws docs/sweep-scale.png from
    docs/sweep-scale.csv

A real run of the five-atom cell is recorded, and then played for every job (tests/replay.py), so
that all but the computing is real: folders, locks, decks, copies of densities, parsing, results.
The overhead of a job is the time of the whole command, planning included, less the time in the
programs.
"""

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

SIZES = (104, 302, 1004, 3002, 10004)
DATA, FIGURE = ROOT / "docs" / "sweep-scale.csv", ROOT / "docs" / "sweep-scale.png"


def write_study(folder: Path, jobs: int) -> Path:
    """Write a study of about so many jobs: five of the reference, nine of each amplitude."""
    from conftest import write_tiny_study

    count = max(1, (jobs - 5) // 9)
    amplitudes = [round(0.001 + 0.199 * i / count, 6) for i in range(count)]
    path = folder / "sweep.toml"
    path.write_text(write_tiny_study(folder).read_text().replace("[0.10, -0.10]", str(amplitudes)))
    return path


def command(*words: str, **environment: str) -> float:
    """Run ``polaron`` and return its wall time in seconds."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "perovskite_polaron.cli.main", *words], check=True,
                   env=os.environ | environment, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def run_one(path: Path) -> None:
    """Plan and run a study in this process; print what it took as JSON."""
    from perovskite_polaron.cli.main import main
    from perovskite_polaron.workflow import attempt
    from perovskite_polaron.workflow.jobs import plan, study_jobs
    from perovskite_polaron.workflow.study import read_study

    start = time.perf_counter()
    jobs = len(study_jobs(plan(read_study(path))))
    planning = time.perf_counter() - start
    in_programs = 0.0
    real = attempt.run_program

    def timed(*args: object, **keywords: object) -> float:
        nonlocal in_programs
        seconds = real(*args, **keywords)  # type: ignore[arg-type]
        in_programs += seconds
        return seconds

    attempt.run_program = timed  # type: ignore[assignment]
    start = time.perf_counter()
    status = main(["run", str(path), "--ranks", "1", "--jobs", "1"])
    wall = time.perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    overhead = 1e3 * (wall - in_programs) / jobs
    print(json.dumps({"jobs": jobs, "planning_s": planning, "overhead_ms": overhead,
                      "memory_MiB": memory, "status": status}))


def measure(tape: Path, player: Path, jobs: int) -> dict[str, float]:
    """Measure one size."""
    with tempfile.TemporaryDirectory(prefix="polaron-sweep-") as name:
        path = write_study(Path(name), jobs)
        environment = {"POLARON_ESPRESSO_BIN": str(player), "POLARON_TAPE_KEY": "kind"}
        done = subprocess.run(
            [sys.executable, __file__, "--one", str(path)],
            check=True, env=os.environ | environment, capture_output=True, text=True,
        )
        row = json.loads(done.stdout.splitlines()[-1])
        assert row.pop("status") == 0, done.stderr[-500:]
        row["status_s"] = command("status", str(path), "--json", **environment)
    return {key: round(value, 3) for key, value in row.items()}


def draw() -> None:
    """Draw the four quantities against the number of jobs, with the limits they must keep."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with open(DATA) as handle:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(handle)]
    n = [row["jobs"] for row in rows]
    panels = (
        ("planning (s)", 5.0, {"plan": "planning_s"}),
        ("polaron status (s)", 1.0, {"status": "status_s"}),
        ("runner, per job (ms)", 20.0, {"overhead": "overhead_ms"}),
        ("memory of the runner (MiB)", 300.0, {"peak": "memory_MiB"}),
    )
    figure, axes = plt.subplots(1, 4, figsize=(12, 3.0), layout="constrained")
    for axis, (title, limit, curves) in zip(axes, panels, strict=True):
        for label, key in curves.items():
            axis.plot(n, [row[key] for row in rows], "o-", label=label)
        axis.axhline(limit, color="0.5", linestyle="--", linewidth=1)
        axis.text(0.03, limit, "limit", color="0.4", va="bottom",
                  transform=axis.get_yaxis_transform())
        axis.set(title=title, xlabel="jobs", ylim=(0, 1.15 * limit), xlim=(0, 10_600))
        if len(curves) > 1:
            axis.legend(frameon=False, loc="upper left", bbox_to_anchor=(0, 0.87))
    figure.savefig(FIGURE, dpi=150)


def main() -> None:
    """Record, measure every size, write the table and the figure."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figure-only", action="store_true")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        run_one(args.one)
        return
    if not args.figure_only:
        import replay

        from perovskite_polaron.espresso.program import program_version

        with tempfile.TemporaryDirectory(prefix="polaron-tape-") as name:
            work = Path(name)
            tape = work / "tape"
            study = write_study(work, 14)
            command("run", str(study), "--ranks", "1",
                    POLARON_ESPRESSO_BIN=str(replay.recorder(work / "bin", tape)))
            replay.generalise(tape)
            player = replay.player(work / "player", tape, program_version("pw.x"))
            rows = [measure(tape, player, jobs) for jobs in SIZES]
        with open(DATA, "w", newline="") as handle:
            writer = csv.DictWriter(handle, rows[0].keys(), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        print(DATA.read_text())
    draw()


if __name__ == "__main__":
    main()
