"""Inputs and outputs of ph.x: the response to a uniform electric field, that is ε∞ and the Born effective charges."""

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.errors import ComputationError
from perovskite_polaron.espresso.pw import OUTDIR, PREFIX, namelist
from perovskite_polaron.settings import option

_NUMBER = r"\s+(-?\d+\.\d+)"


@dataclass(frozen=True)
class PhSettings:
    """Numerical settings of ph.x for the electric-field response; what they mean is in its manual."""

    tr2_ph: float = option(1e-12, low=1e-20, high=1e-6)
    alpha_mix: float = option(0.7, low=0.01, high=1)


@dataclass(frozen=True, eq=False)
class FieldResponse:
    """What ph.x prints of the electronic response.

    epsilon_inf (3, 3) float64, electronic dielectric tensor, Cartesian; born_e (n, 3, 3) float64, Born charges in
    units of e as printed, no sum rule applied: born_e[k, i, j] is the polarisation along i per displacement of atom k
    along j (ph.x: force along j per field along i).
    """

    epsilon_inf: NDArray[np.float64]
    born_e: NDArray[np.float64]


def ph_deck(settings: PhSettings) -> str:
    """Return the ph.x input of the electric-field response at Γ, no phonons; it goes on from its own checkpoint."""
    values = {
        "prefix": PREFIX,
        "outdir": OUTDIR,
        "epsil": True,
        "zeu": True,
        "trans": False,
        "tr2_ph": settings.tr2_ph,
        "alpha_mix(1)": settings.alpha_mix,
        "recover": True,
    }
    return "\n".join(["electric field response", namelist("inputph", values), "0.0 0.0 0.0"]) + "\n"


def read_response(output: str) -> FieldResponse:
    """Return ε∞ and the Born charges from the output of ph.x.

    Raises ComputationError if they are not there, or the self-consistent response did not converge.
    """
    if "No convergence has been achieved" in output:
        raise ComputationError(
            "the electric-field response of ph.x did not converge: lower response.alpha_mix, or use a denser k grid"
        )
    dielectric = re.findall(
        r"Dielectric constant in cartesian axis\s*((?:\n\s*\(" + _NUMBER * 3 + r"\s*\)\s*){3})", output
    )
    charges = output.rpartition("without acoustic sum rule applied (asr)")[2].partition("Effective charges Sum")[0]
    charges = charges.partition("with asr applied")[0]
    rows = re.findall(r"E[xyz]\s+\(" + _NUMBER * 3 + r"\s*\)", charges)
    if not dielectric or not rows or len(rows) % 3:
        raise ComputationError("ph.x printed no dielectric tensor and Born charges: see its output, or run it again")
    epsilon = [float(x) for x in re.findall(r"-?\d+\.\d+", dielectric[-1][0])]
    return FieldResponse(np.reshape(epsilon, (3, 3)), np.array(rows, dtype=np.float64).reshape(-1, 3, 3))


def progress(output: str) -> str:
    """Return a few words on how far a running ph.x has come; empty if it says nothing yet."""
    steps = re.findall(r"iter #\s*(\d+).*?\n.*?\|ddv_scf\|\^2 =\s*(\S+)", output)
    return f"iteration {steps[-1][0]}, change {float(steps[-1][1]):.0e}" if steps else ""
