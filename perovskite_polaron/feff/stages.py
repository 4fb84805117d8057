"""Runs stages of FEFF10 in the output folder of a job: ``python -m`` this, with its input on stdin.

FEFF's stages are processes of their own; this one stays between them and the runner, so that a
failure is one line and an end from outside ends them all.
"""

import argparse
import os
import shutil
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType

from perovskite_polaron.programs import HANDED_ON

XMU = "xmu.dat"
INPUT = "feff.inp"
#: What the stages of a spectrum read of what those of its potentials wrote: a third of the files,
#: a quarter of the bytes. Every spectrum begins with a copy of them.
READ_ON = frozenset((
    INPUT, ".dimensions.dat", "eels.inp", "ff2x.inp", "fms.inp", "genfmt.inp", "geom.dat",
    "global.inp", "hubbard.inp", "paths.inp", "phase.bin", "pot.bin", "reciprocal.inp",
    "xsect.dat"))


def main() -> int:
    """Run the stages named on the command line; say ``JOB DONE``, or which of them failed."""
    parser = argparse.ArgumentParser(description="run stages of FEFF10")
    parser.add_argument("stages", nargs="+")
    parser.add_argument("--timeout", type=float, default=3600.0)
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, _end_all)
    folder = Path(HANDED_ON)
    folder.mkdir(parents=True, exist_ok=True)
    if args.stages[0] == "rdinp":
        (folder / INPUT).write_text(sys.stdin.read())
    # In a thread, for a signal is only heard between two steps of Python in this one.
    with ThreadPoolExecutor(1) as pool:
        failure = pool.submit(_run, folder, args.stages, args.timeout).result()
    if failure:
        print(f" Error in routine {failure[0]}:\n {failure[1]}\n", flush=True)
        return 1
    if (folder / XMU).exists():
        shutil.copyfile(folder / XMU, XMU)
    else:
        for path in folder.iterdir():
            if path.name not in READ_ON:
                path.unlink()
    print("JOB DONE", flush=True)
    return 0


def _run(folder: Path, names: list[str], timeout: float) -> tuple[str, str] | None:
    """Run the stages, and return which failed and why."""
    import feff10

    for name in names:
        (folder / ".feff.error").unlink(missing_ok=True)
        try:
            stage = feff10.Stage.from_name(name)
            config = feff10.FeffConfig.from_file(str(folder), str(folder / INPUT), [stage], timeout)
            feff10.FeffPipeline(config).run()
        except feff10.FeffError as error:
            return name, " ".join(str(error).split())
    return None


def _end_all(number: int, frame: FrameType | None) -> None:
    # The runner gave this process a group of its own, in which FEFF's stages are.
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    raise SystemExit(main())
