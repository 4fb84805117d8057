"""Inputs and results of xspectra.x: one absorbing atom, one polarisation."""

import re
from dataclasses import dataclass
from typing import Any

from perovskite_polaron.errors import InputError
from perovskite_polaron.espresso.pw import OUTDIR, PREFIX, namelist
from perovskite_polaron.settings import option

SAVE_FILE = "chain.sav"
CORE_FILE = "core.wfc"
# Cartesian unit vectors; one third of the trace over the three is the powder spectrum for any site symmetry.
POLARISATIONS = {"x": (1.0, 0.0, 0.0), "y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0)}


@dataclass(frozen=True)
class XspectraSettings:
    """Settings of the Lanczos run; the broadening is not among them, it is chosen when the chain is evaluated.

    relative_error: the run stops when the area of the spectrum changes by less (``xerror``, a relative area).
    check_every: steps between two such checks (``xcheck_conv``). check_hwhm_eV and energy_range_eV: of the spectrum whose
    area is watched. r_paw_over_rc: radius of the spheres in which XSpectra rebuilds the all-electron waves (``r_paw(1)``), in
    matching radii of the absorber's p projectors; XSpectra's own default is 1.5 (docs/conventions.md says what it changes).
    """

    kpoints: tuple[int, int, int] = option((2, 2, 1), low=1, high=99)
    kpoint_shift: tuple[int, int, int] = option((1, 1, 1), low=0, high=1)
    max_iterations: int = option(2000, low=10, high=100_000)
    check_every: int = option(20, low=2, high=1000)
    relative_error: float = option(0.005, low=1e-8, high=0.5)
    check_hwhm_eV: float = option(1.0, low=0.05, high=20)
    energy_range_eV: tuple[float, float] = option((-10.0, 60.0), low=-1000, high=5000)
    r_paw_over_rc: float = option(1.5, low=1, high=3)


def xspectra_deck(settings: XspectraSettings, *, polarisation: str, absorber_species: int, cutoff_bohr: float) -> str:
    """Return the xspectra.x input of a dipole K-edge run.

    absorber_species: position (from 1) of the absorber's label in ATOMIC_SPECIES of the pw.x input (``xiabs``).
    cutoff_bohr: matching radius of the absorber's p projectors.
    ``xepsilon`` and ``xcoordcrys`` are always written: the documented defaults are not those of the program.
    """
    if polarisation not in POLARISATIONS:
        raise InputError(f"unknown polarisation {polarisation!r}: choose among {', '.join(POLARISATIONS)}")
    vector = POLARISATIONS[polarisation]
    low, high = settings.energy_range_eV
    inputs = {
        "calculation": "xanes_dipole",
        "prefix": PREFIX,
        "outdir": OUTDIR,
        "xonly_plot": False,
        "xniter": settings.max_iterations,
        "xcheck_conv": settings.check_every,
        "xerror": settings.relative_error,
        "xcoordcrys": False,
        "xepsilon(1)": vector[0],
        "xepsilon(2)": vector[1],
        "xepsilon(3)": vector[2],
        "xiabs": absorber_species,
        "x_save_file": SAVE_FILE,
    }
    plot = {
        "xnepoint": 701,
        "xgamma": settings.check_hwhm_eV,
        "xemin": low,
        "xemax": high,
        "terminator": True,
        "cut_occ_states": False,
    }
    spheres = {"filecore": CORE_FILE, "r_paw(1)": settings.r_paw_over_rc * cutoff_bohr}
    lists: dict[str, dict[str, Any]] = {"input_xspectra": inputs, "plot": plot, "pseudos": spheres, "cut_occ": {}}
    lines = [namelist(name, values) for name, values in lists.items()]
    return "\n".join([*lines, " ".join(map(str, (*settings.kpoints, *settings.kpoint_shift)))]) + "\n"


@dataclass(frozen=True)
class XspectraSummary:
    """How the Lanczos runs of the k points ended, as far as the first pool's output tells."""

    converged: int
    kpoints_seen: int
    worst_error: float


def read_summary(output: str) -> XspectraSummary:
    """Return the convergence of a finished run from its standard output."""
    errors = [float(e) for e in re.findall(r"CONVERGED at iter\s+\d+\s+with error=\s*(\S+)", output)]
    seen = output.count("Norm of the initial Lanczos vector")
    return XspectraSummary(len(errors), seen, max(errors, default=float("nan")))


def progress(output: str) -> str:
    """Return a few words on how far a running xspectra.x has come; empty if it says nothing yet."""
    points = re.findall(r"! k-point #\s*(\d+)", output)
    errors = re.findall(r"Estimated error at iter\s+(\d+)", output)
    if not points:
        return ""
    return f"k point {points[-1]}" + (f", step {errors[-1]}" if errors else "")
