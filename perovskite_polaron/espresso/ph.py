"""Input and output of ph.x: the response to a uniform electric field, ε∞ and the Born charges."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.errors import ComputationError, require
from perovskite_polaron.espresso.program import EspressoCalculation, namelist
from perovskite_polaron.programs import OUTDIR, PLAIN, PREFIX, Way
from perovskite_polaron.settings import option

_NUMBER = r"\s+(-?\d+\.\d+)"


@dataclass(frozen=True)
class PhSettings:
    """Settings of ph.x for the electric-field response; what they mean is in its manual."""

    tr2_ph: float = option(1e-12, low=1e-20, high=1e-6)
    alpha_mix: float = option(0.7, low=0.01, high=1)


@dataclass(frozen=True, eq=False)
class FieldResponse:
    """What ph.x prints of the electronic response.

    Attributes
    ----------
    epsilon_inf
        Electronic dielectric tensor (3, 3), Cartesian.
    born_e
        Born charges (n, 3, 3) in units of e as printed, no sum rule applied: born_e[k, i, j] is the
        polarisation along i per displacement of atom k along j (ph.x: force along j per field
        along i).
    """

    epsilon_inf: NDArray[np.float64]
    born_e: NDArray[np.float64]


@dataclass(frozen=True)
class PhCalculation(EspressoCalculation):
    """The electric-field response at Γ, no phonons. Half of its work is the same for all k points,
    so
    that pools would each do all of it; it goes on from a checkpoint of its own.
    """

    settings: PhSettings

    program = "ph.x"
    shares_kpoints = False

    def deck(self, way: Way = PLAIN) -> str:
        """Return the input; it always allows ph.x to go on from its checkpoint."""
        values = {
            "prefix": PREFIX, "outdir": OUTDIR, "epsil": True, "zeu": True, "trans": False,
            "tr2_ph": self.settings.tr2_ph, "alpha_mix(1)": self.settings.alpha_mix,
            "recover": True}
        return "\n".join(["electric field response", namelist("inputph", values),
                          "0.0 0.0 0.0"]) + "\n"

    @staticmethod
    def can_go_on(folder: Path) -> bool:
        """Tell whether ph.x had begun, which it does on a whole copy of the density."""
        return (folder / OUTDIR / "_ph0").is_dir()

    def read_result(self, folder: Path, output: str, parent: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``epsilon_inf`` and ``born_e``, as in FieldResponse."""
        return {name: array.tolist() for name, array in vars(read_response(output)).items()}

    @staticmethod
    def progress(output: str) -> str:
        """Return the last iteration and its change."""
        steps = re.findall(r"iter #\s*(\d+).*?\n.*?\|ddv_scf\|\^2 =\s*(\S+)", output)
        return f"iteration {steps[-1][0]}, change {float(steps[-1][1]):.0e}" if steps else ""

    @staticmethod
    def summary(record: Mapping[str, Any]) -> str:
        """Return the diagonal of ε∞."""
        return "epsilon " + " ".join(f"{record['epsilon_inf'][k][k]:.2f}" for k in range(3))


def read_response(output: str) -> FieldResponse:
    """Return ε∞ and the Born charges from the output of ph.x.

    Raises
    ------
    ComputationError
        If they are not there, or the self-consistent response did not converge.
    """
    require("No convergence has been achieved" not in output, "the electric-field response of ph.x"
            " did not converge: lower response.alpha_mix, or use a denser k grid", ComputationError)
    dielectric = re.findall(
        r"Dielectric constant in cartesian axis\s*((?:\n\s*\(" + _NUMBER * 3 + r"\s*\)\s*){3})",
        output)
    charges = output.rpartition("without acoustic sum rule applied (asr)")[2]
    charges = charges.partition("Effective charges Sum")[0].partition("with asr applied")[0]
    rows = re.findall(r"E[xyz]\s+\(" + _NUMBER * 3 + r"\s*\)", charges)
    require(dielectric and rows and len(rows) % 3 == 0, "ph.x printed no dielectric tensor and Born"
            " charges: see its output, or run it again", ComputationError)
    epsilon = [float(x) for x in re.findall(r"-?\d+\.\d+", dielectric[-1][0])]
    return FieldResponse(np.reshape(epsilon, (3, 3)),
                         np.array(rows, dtype=np.float64).reshape(-1, 3, 3))
