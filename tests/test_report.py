"""The offline demonstration needs no Quantum ESPRESSO and writes what it announces."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_make_demo_works_without_quantum_espresso(tmp_path: Path) -> None:
    rule = re.search(r"^demo: .*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert rule
    (tmp_path / "perovskite_polaron").symlink_to(ROOT / "perovskite_polaron")
    script = rule[1].replace("\t@", "\t").replace("$(BIN)",
                                                  str(Path(sys.executable).parent)).replace(
                                                      "$(DEMO)", "out")
    # What FEFF10 computes takes its time, and is tested by itself.
    steps = script.replace("\\\n", "").splitlines()
    script = "\n".join(step for step in steps if "feff" not in step)
    assert "polaron run" not in script
    # An empty PATH: no program of Quantum ESPRESSO can be started, wherever it is installed.
    environment = {**os.environ, "PATH": str(tmp_path)}
    done = subprocess.run(["/bin/sh", "-e", "-c", script], cwd=tmp_path, env=environment,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # What the last two lines announce, not what the verbs before them print.
    said = "\n".join(done.stdout.splitlines()[-2:])
    announced = re.findall(r"out/\S+\.(?:png|html)", said)
    assert len(announced) == 3
    assert all((tmp_path / name).stat().st_size > 1000 for name in announced)
