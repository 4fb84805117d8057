"""A wheel in an environment of its own: every verb that needs no Quantum ESPRESSO, away from the
source.

    python tests/smoke.py dist/*.whl                           # this Python, newest dependencies
    python tests/smoke.py dist/*.whl --constraints packaging/oldest.txt --python python3.13

Makes a temporary environment with the wheel and its extra ``feff``, writes small inputs, runs the
verbs in a folder outside the source tree, and says what failed. The inputs are written by the
environment's Python, too, from what the package itself computed.
"""

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

FEFF_STUDY = """
element = "Br"
reference = "cubic"
[engine]
kind = "feff"
[structures.cubic]
crystal = "cspbbr3-pm3m"
[structures.polar]
crystal = "cspbbr3-pm3m"
modes = ["{mode}"]
max_displacement_A = [0.05]
[feff]
cluster_radius_A = 4.5
scf_radius_A = 3.2
l_max = 2
energy_max_eV = 45
[spectra]
energy_max_eV = 40
"""
SAVE = """# save_file_version=       2
# save_file_kind   =xanes_dipole
# date=20261124
# number of lanczos stored=   1
#
#
 F 1
 1 1 500
 {n}
 0.0 0.0
 0.0 0.0 0.0
 0.0 0.0 1.0
 1.0
 {n}
 {a}
 {b}
"""
HEAT = ("heat", "--fluence", "8.8mJ/cm2", "--pump", "355nm", "--size", "10nm", "--concentration",
        "5.8mg/mL", "--jet", "200um")
#: Verb and its words, in an order in which later ones use the files of earlier ones. ``@`` is the
#: folder of the package's data.
CASES: tuple[tuple[str, ...], ...] = (
    ("--version",),
    ("doctor", "--json"),
    ("structure", "cspbbr3-pbnm", "--out", "ground.poscar"),
    ("distort", "cspbbr3-pbnm", "--mode", "lo-c", "--max-displacement", "0.05A,0.1A", "--out", "lo",
     "--csv", "lo.csv", "--figure", "lo.png"),
    ("bonds", "lo/001.cif", "cspbbr3-pbnm", "--figure", "bonds.png"),
    ("project", "lo/001.cif", "cspbbr3-pbnm", "--modes", "cspbbr3"),
    ("modes", "cspbbr3", "--direction", "c", "--out", "modes.json", "--figure", "modes.png"),
    ("pdos", "@/cspbbr3/pdos.npz", "--out", "pdos"),
    ("carriers", "--density", "1e19cm-3", "--out", "carriers"),
    ("lanczos", "br.sav", "--emin", "-10eV", "--emax", "60eV", "--points", "300", "--hwhm", "1.5eV",
     "--out", "br.dat"),
    ("spectra", "@/cspbbr3", "--out", "spectra"),
    ("treat", "br_100ps_1.csv", "br_100ps_2.csv", "br_100ps_3.csv", "--edge", "Br-K", "--out",
     "br_100ps.xdi"),
    ("match", "steady.csv", "--figure", "match.png", "--out", "match.toml"),
    ("plan", "--amplitude", "0.05A", "--fraction", "0.1", "--flux", "1e9ph/s", "--yield", "1e-4",
     "--figure", "plan.png"),
    ("plan", "--lifetimes", "120ps,900ps", "--fractions", "0.6,0.2", "--irf-sigma", "45ps",
     "--noise", "0.05", "--out", "delays.csv"),
    ("compare", "br_100ps.xdi", "--edge", "13465.45eV", "--electronic", "--figure", "compare.png",
     "--correlation", "correlation.png"),
    ("cparam", "br.h5", "--combine", "--edge", "Br-K", "--figure", "c.png"),
    ("kinetics", "trace.csv", "--irf-sigma", "45ps", "--figure", "kinetics.png"),
    (*HEAT, "--absorption", "100cm-1"),
    ("reproduce", "cannelli2021", "archive"),
    ("run", "study.toml", "--dry-run"),
    ("status", "study.toml"),
    ("run", "study.toml"),
    ("status", "study.toml", "--all"),
    ("spectra", "study.toml", "--out", "study-spectra"),
    ("converge", "study.toml", "--l-max", "1,2"),
    ("export", "study.toml", "--out", "study.h5"),
    ("gc", "study.toml"),
    ("report", "@/cspbbr3", "--out", "report"))
WRITTEN = ("lo.png", "spectra/difference.svg", "report/report.html", "study.h5", "br.dat",
           "pdos/pdos.png", "c.png")


def write_inputs(folder: Path) -> None:
    """Write measurements, a save file, a FEFF study and an archive for the verbs: the computed
    CsPbBr3 set, moved to the measured axis, with noise.
    """
    import h5py
    import numpy as np

    from perovskite_polaron.kernels.convolution import exponential_gaussian
    from perovskite_polaron.workflow.scenarios import BUILT_IN, study_scenarios
    from perovskite_polaron.workflow.spectra import load_results

    results, settings, _ = load_results(BUILT_IN)
    theory = study_scenarios(results, settings)
    axis = np.arange(13460.0, 13510.1, 0.5)
    x = theory.energy_eV + 13465.45
    steady = np.interp(axis, x, theory.steady_state)
    change = 0.12 * np.interp(axis, x, theory.scenarios[0].sweep.at(2.18))
    error = 0.02 * np.abs(change).max()
    random = np.random.default_rng(1)

    def write(path: str, header: str, *columns: np.ndarray) -> None:
        np.savetxt(folder / path, np.column_stack(columns), "%.8g", ",", header=header, comments="")

    with h5py.File(folder / "br.h5", "w") as file:
        for delay, size in ((100, 1.0), (1000, 0.6), (5000, 0.3)):
            for k in (1, 2, 3):
                noisy = size * change + error * random.normal(size=axis.size)
                group = file.create_group(f"scan_{len(file):02d}")
                group.attrs["delay_ps"] = delay
                group["energy"], group["signal"] = axis, noisy
                group["energy"].attrs["units"] = "eV"
                if delay == 100:
                    write(f"br_100ps_{k}.csv", "energy_eV,signal", axis, noisy)
    write("steady.csv", "energy_eV,mu,error", axis, steady + 2e-3 * random.normal(size=axis.size),
          np.full(axis.size, 2e-3))
    delay = np.r_[-200.0, -150, -100, np.geomspace(10, 8000, 40)]
    decay = sum(share * exponential_gaussian(delay, lifetime, 45.0)
                for share, lifetime in ((0.6, 150.0), (0.3, 1500.0), (0.1, 1e9)))
    write("trace.csv", "delay_ps,signal,error", delay,
          decay + 0.01 * random.normal(size=delay.size), np.full(delay.size, 0.01))
    folder.joinpath("archive").mkdir()
    for path in (*folder.glob("br_*.csv"), folder / "trace.csv"):
        shutil.copy(path, folder / "archive")
    n = 120
    a = [4 + 2 * math.exp(-k / 9) for k in range(n)]
    b = [2 + math.exp(-k / 7) for k in range(n)]
    folder.joinpath("br.sav").write_text(
        SAVE.format(n=n, a=" ".join(map(repr, a)), b=" ".join(map(repr, b))))
    mode = folder / "polar.json"
    shutil.copy(Path(__file__).parent.parent / "examples" / "modes" / "cubic_polar.json", mode)
    folder.joinpath("study.toml").write_text(FEFF_STUDY.format(mode=mode))


def failures(python: Path, folder: Path) -> Iterator[str]:
    """Run the verbs with the command beside a Python; yield what is wrong."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "POLARON"))}
    environment |= {"POLARON_CACHE": str(folder / "cache"), "MPLBACKEND": "Agg",
                    "POLARON_ESPRESSO_BIN": str(folder / "no-espresso")}

    def run(*words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True,
                              check=False)

    asked = run(str(python), "-c", "import perovskite_polaron as p; print(p.__path__[0])")
    package = Path(asked.stdout.strip())
    if asked.returncode or python.parent.parent not in package.parents:
        yield f"the package is not that of the wheel: {asked.stdout}{asked.stderr}"
        return
    made = run(str(python), __file__, "--inputs", ".")
    if made.returncode:
        yield f"inputs: {made.stderr}"
        return
    for case in CASES:
        words = [word.replace("@", str(package / "data")) for word in case]
        start = time.monotonic()
        done = run(str(python.parent / "polaron"), *words)
        print(f"{time.monotonic() - start:6.1f} s  polaron {' '.join(case)}", flush=True)
        # Without Quantum ESPRESSO the doctor says so, and that alone.
        missing = ["pw.x", "xspectra.x", "ld1.x", "ph.x", "projwfc.x", "mpirun"]
        if case[0] == "doctor" and set(json.loads(done.stdout)["missing"]) <= set(missing):
            continue
        if done.returncode or "Traceback" in done.stderr or not done.stdout + done.stderr:
            yield f"polaron {' '.join(case)}: status {done.returncode}\n{done.stderr}"
    yield from (f"{name} was not written" for name in WRITTEN if not (folder / name).exists())


def installed(wheel: Path, python: str, constraints: Path | None, folder: Path) -> Path:
    """Install a wheel into a new environment; return its Python."""
    subprocess.run([python, "-m", "venv", folder], check=True)
    path = folder / "bin" / "python"
    bound = [] if constraints is None else ["--constraint", constraints.resolve()]
    subprocess.run([path, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
                    "--only-binary", ":all:", *bound, f"{wheel.resolve()}[feff]"], check=True)
    return path


def main() -> int:
    """Install, run, and return 1 where something failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("wheel", type=Path, nargs="?")
    parser.add_argument("--python", default=sys.executable, help="for the environment")
    parser.add_argument("--constraints", type=Path, help="versions of the dependencies")
    parser.add_argument("--inputs", type=Path, help="only write the inputs into this folder")
    args = parser.parse_args()
    if args.inputs is not None:
        write_inputs(args.inputs.resolve())
        return 0
    if args.wheel is None:
        parser.error("give a wheel")
    with tempfile.TemporaryDirectory(prefix="polaron-smoke-") as folder:
        python = installed(args.wheel, args.python, args.constraints, Path(folder) / "venv")
        work = Path(folder) / "work"
        work.mkdir()
        wrong = list(failures(python, work))
    print("\n".join(wrong) or f"{len(CASES)} passed, 0 failed")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
