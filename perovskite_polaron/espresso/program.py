"""The programs of Quantum ESPRESSO: where they are, in which version, and their command lines."""

import functools
import math
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perovskite_polaron.errors import (
    ComputationError, InputError, InterruptedRunError, MissingProgramError, require)
from perovskite_polaron.programs import Calculation, environment
from perovskite_polaron.systems import ENDED_FROM_OUTSIDE

PROGRAMS = ("pw.x", "xspectra.x", "ld1.x", "ph.x", "projwfc.x")
INSTALL_HINT = ("install Quantum ESPRESSO (Debian, Ubuntu: apt install quantum-espresso)"
                " or set POLARON_ESPRESSO_BIN to its folder")
_KEY = re.compile(r"[A-Za-z]\w{0,62}(\(\d+(,\d+)*\))?", re.ASCII)


def namelist(name: str, values: Mapping[str, Any]) -> str:
    """Return a Fortran namelist as text.

    Raises
    ------
    InputError
        For what is no key or value of a namelist.
    """
    for key in values:
        require(_KEY.fullmatch(key), f"{key[:80]!r} is no key of a Fortran namelist: correct it")
    return "\n".join([f"&{name}", *(f"  {key} = {fortran(value)}" for key, value in values.items()),
                      "/"])


def fortran(value: object) -> str:
    """Return a value in the notation of a Fortran namelist.

    Raises
    ------
    InputError
        For text that would end its quotes, or what is no finite number, text or truth value.
    """
    if isinstance(value, bool):
        return ".true." if value else ".false."
    if isinstance(value, str):
        require("'" not in value and value.isprintable(), f"{value[:80]!r} cannot stand in a"
                " Fortran namelist: remove the quote or line break")
        return f"'{value}'"
    if isinstance(value, float | int) and math.isfinite(value):
        return f"{value:.12g}" if isinstance(value, float) else str(value)
    raise InputError(f"{value!r:.80} cannot stand in a Fortran namelist: give a number, a string or"
                     " true/false")


def find_program(name: str) -> Path:
    """Return the path of a program, from the folder POLARON_ESPRESSO_BIN if it is set, else from
    PATH.

    Raises
    ------
    MissingProgramError
        With the way to install it.
    """
    folder = os.environ.get("POLARON_ESPRESSO_BIN")
    found = shutil.which(name, path=folder) if folder else shutil.which(name)
    if found is None:
        raise MissingProgramError(f"{name} was not found in {folder or 'PATH'}: {INSTALL_HINT}")
    return Path(found)


# A program of MPI now and then fails at its start, where others are starting or ending.
_ASKED = 3


@functools.cache
def program_version(name: str) -> str:
    """Return the version a program prints of itself, such as ``6.7MaX``.

    The version is part of the name of every job, so none is made up for a program that tells none.

    Raises
    ------
    InterruptedRunError
        When the program was ended by a signal or did not answer within a minute: a lost node ends
        this question with everything else on it, which is no reason to give the job up.
    ComputationError
        When it tells no version each time it is asked.
    """
    program = find_program(name)
    for _ in range(_ASKED):
        asked = _ask(program)
        match = re.search(r"v\.\s*(\S+)\s+starts", asked.stdout)
        if match is not None:
            return match[1]
        if asked.returncode in ENDED_FROM_OUTSIDE:
            raise InterruptedRunError(f"{program} was ended by signal {-asked.returncode} before it"
                                      " told its version; run again")
    said = (asked.stderr.split("\n") + asked.stdout.split("\n"))
    words = next((line.strip() for line in said if line.strip()), "no output")
    raise ComputationError(f"{program} tells no version (exit status {asked.returncode}:"
                           f" {words[:120]}): start it by hand, and mend what it complains of")


def _ask(program: Path) -> "subprocess.CompletedProcess[str]":
    # Given no input the programs print name and version, complain, and leave files where they are.
    with tempfile.TemporaryDirectory(prefix="polaron-version-") as folder:
        try:
            return subprocess.run([program], stdin=subprocess.DEVNULL, capture_output=True,
                                  text=True, timeout=60, env=environment(), cwd=folder,
                                  check=False)
        except subprocess.TimeoutExpired:
            raise InterruptedRunError(f"{program} did not tell its version within a minute;"
                                      " run again, or see why it hangs") from None


def reference_blas(name: str) -> Path | None:
    """Return the reference BLAS that a program is linked to; None if it has another, or ldd shows
    none.

    That library of Debian (``libblas3``) is correct and slow: with OpenBLAS, which installs beside
    it, the cycles of CsPbBr3 (20 atoms) took 1.6 times less, their diagonalisations 2.1 times.
    """
    ldd = shutil.which("ldd")
    if ldd is None:
        return None
    words = [ldd, str(find_program(name))]
    listed = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False).stdout
    match = re.search(r"libblas\.so\S* => (\S+)", listed)
    library = Path(match[1]).resolve() if match else None
    return library if library is not None and library.parent.name == "blas" else None


def mpi_command(name: str, ranks: int, pools: int = 1) -> list[str]:
    """Return the command line of a program on ``ranks`` MPI processes in ``pools`` groups of k
    points.
    """
    program = str(find_program(name))
    if ranks == 1:
        return [program]
    launcher = shutil.which("mpirun")
    if launcher is None:
        raise MissingProgramError("mpirun was not found in PATH: install Open MPI (apt install"
                                  " openmpi-bin) or set ranks = 1")
    return [launcher, "-np", str(ranks), program, "-nk", str(pools)]


class EspressoCalculation(Calculation):
    """One run of a program of Quantum ESPRESSO."""

    @classmethod
    def version(cls) -> str:
        """Return what the program prints of itself; errors as ``program_version``."""
        return program_version(cls.program)

    def command(self, ranks: int, pools: int) -> list[str]:
        """Return the command line, with MPI for more than one process."""
        return mpi_command(self.program, ranks, pools)
