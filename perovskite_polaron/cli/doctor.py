"""``polaron doctor``: what is installed, in which version, and what is missing."""

import argparse
import importlib
import importlib.metadata
import json
import shutil
import sys

EXAMPLE = "  polaron doctor"

_PACKAGES = ("numpy", "scipy", "spglib", "ase", "matplotlib", "h5py")
# package -> extra that brings it, and what it is for
_OPTIONAL = {
    "phonopy": ("phonons", "polaron modes"),
    "sevenn": ("mlip", "polaron modes --forces mlip"),
    "emcee": ("emcee", "polaron compare --sample"),
    "parsl": ("cluster", "--executor"),
    "hypothesis": ("test", "make test"),
    "pytest-benchmark": ("test", "make bench"),
}
_KERNELS = ("displacement", "geometry", "convolution", "heating", "lanczos")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print one line per component; exit status 1 if one that the main job needs is missing."""
    from perovskite_polaron import __version__
    from perovskite_polaron.errors import MissingProgramError, PolaronError
    from perovskite_polaron.espresso.program import (
        INSTALL_HINT,
        PROGRAMS,
        find_program,
        program_version,
        reference_blas,
    )
    from perovskite_polaron.espresso.pseudo import cache_folder
    from perovskite_polaron.kernels import load

    rows: list[tuple[str, str, str, bool]] = [("perovskite_polaron", __version__, "", True)]
    rows.append(("python", sys.version.split()[0], sys.executable, True))
    for name in _KERNELS:
        try:
            rows.append((f"compiled core: {name}", "built", str(load(name).__file__), True))
        except PolaronError as error:
            rows.append((f"compiled core: {name}", "", str(error), False))
    for program in PROGRAMS:
        try:
            rows.append((program, program_version(program), str(find_program(program)), True))
        except MissingProgramError:
            rows.append((program, "", INSTALL_HINT, False))
            continue
        except PolaronError as error:
            rows.append((program, "", str(error), False))
            continue
        if program == "pw.x" and reference_blas(program):
            rows.append(("BLAS of pw.x", "reference", "slower than OpenBLAS: apt install libopenblas0-serial", True))
    launcher = shutil.which("mpirun")
    rows.append(
        (
            "mpirun",
            "found" if launcher else "",
            launcher or "install Open MPI (apt install openmpi-bin)",
            launcher is not None,
        )
    )
    for package in _PACKAGES:
        rows.append((package, *_package(package, f"pip install {package}"), True))
    for package, (extra, purpose) in _OPTIONAL.items():
        hint = f"for {purpose}: pip install 'perovskite-polaron[{extra}]'"
        rows.append((f"{package} (optional)", *_package(package, hint), True))
    rows.append(("pseudopotential cache", "", str(cache_folder()), True))
    missing = [name for name, _, _, fine in rows if not fine]
    if args.json:
        print(
            json.dumps(
                {
                    "components": {n: {"version": v, "where": w, "usable": ok} for n, v, w, ok in rows},
                    "missing": missing,
                }
            )
        )
    else:
        for name, version, where, fine in rows:
            print(f"{'ok' if fine else 'MISSING':8} {name:28} {version:12} {where}")
        print("everything the main job needs is here" if not missing else f"missing: {', '.join(missing)}")
    return 1 if missing else 0


def _package(name: str, hint: str) -> tuple[str, str]:
    try:
        return importlib.metadata.version(name), ""
    except importlib.metadata.PackageNotFoundError:
        return "-", hint
