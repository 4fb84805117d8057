"""FEFF's ``xmu.dat``: an absorption curve with little broadening inside, and the rest added later.

Inside are the half width that the job was given (``CHWIDTH``), the losses of the photoelectron (the
imaginary part of the self-energy) and the cut at the Fermi level. A Lorentzian of a half width upon
one of another is one of their sum [Lorentzians are a convolution semigroup], so any wider final
state follows from the stored curve without a run.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from perovskite_polaron.arrays import Array, floats, freeze
from perovskite_polaron.errors import ComputationError, require
from perovskite_polaron.files import open_npz, read_text, write_npz
from perovskite_polaron.kernels.convolution import broaden_lorentzian

# ħ²/2m in eV Å²: the square of a wave number to an energy (CODATA 2018).
_EV_A2 = 3.809982112
_GAMMA = re.compile(r"Gam_ch=\s*(\S+)")
_STEP = re.compile(r"used to normalize mu\s+(\S+)")
# Energies between two computed ones, for the straight lines of the broadening.
_FINER = 8


@dataclass(frozen=True, eq=False)
class Absorption:
    """One absorption curve, averaged over polarisations.

    Attributes
    ----------
    energy_eV, cross_section_A2
        float64 (n,): photon energies that increase, and Å² for an atom.
    edge_eV
        Photon energy of the Fermi level.
    inside_hwhm_eV
        Half width of the final state that the curve holds.
    """

    energy_eV: Array
    cross_section_A2: Array
    edge_eV: float
    inside_hwhm_eV: float

    def __post_init__(self) -> None:
        energy = floats(self.energy_eV, "energy_eV", (None,))
        freeze(self, energy_eV=energy, cross_section_A2=floats(
            self.cross_section_A2, "cross_section_A2", energy.shape))

    def broadened(self, energy_eV: Array, hwhm_eV: ArrayLike, label: str) -> Array:
        """Return the curve with final states of these half widths: float64 (m,), Å².

        Parameters
        ----------
        energy_eV
            (m,) from the edge.
        hwhm_eV
            Whole half width of the final state: one number, or (m,).
        label
            Of the curve, for messages.

        Raises
        ------
        InputError
            For energies above those computed, or a width below that inside.
        """
        from scipy.interpolate import CubicSpline

        last = self.energy_eV[-1] - self.edge_eV
        require(energy_eV[-1] <= last, f"{label} was computed up to {last:.1f} eV above its edge,"
                f" not to {energy_eV[-1]:.1f} eV: lower [spectra] energy_max_eV, or raise [feff]"
                " energy_max_eV and run")
        more = np.asarray(hwhm_eV, dtype=np.float64) - self.inside_hwhm_eV
        require((more > -1e-9).all(), f"{label} has a half width of {self.inside_hwhm_eV:g} eV"
                f" inside, more than the {np.min(hwhm_eV):g} eV asked for: lower [feff]"
                " inside_hwhm_eV and run")
        steps = np.arange(_FINER) / _FINER
        fine = (self.energy_eV[:-1, None] + np.diff(self.energy_eV)[:, None] * steps).ravel()
        fine = np.append(fine, self.energy_eV[-1])
        curve = CubicSpline(self.energy_eV, self.cross_section_A2)(fine)
        return broaden_lorentzian(fine - self.edge_eV, curve, energy_eV, np.maximum(more, 1e-6))


def read_xmu(path: str | os.PathLike[str]) -> Absorption:
    """Read FEFF's ``xmu.dat``.

    Raises
    ------
    InputError
        When it cannot be read.
    ComputationError
        When it is not a whole curve of finite numbers with its header.
    """
    text = read_text(path, "xmu.dat of FEFF")
    head = "\n".join(line for line in text.splitlines() if line.startswith("#"))
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    gamma, step = _GAMMA.search(head), _STEP.search(head)
    try:
        table = np.array([line.split() for line in lines], dtype=np.float64)
        width, scale = float(gamma[1]) / 2, float(step[1])  # type: ignore[index]
        omega, energy, wave, mu = table.T[:4]
        sound = np.isfinite(table).all() and (np.diff(omega) > 0).all() and len(omega) > 9
    except (ValueError, TypeError):
        sound = False
    require(sound, f"{path} is not a whole xmu.dat of FEFF: run its job again", ComputationError)
    nearest = int(np.abs(wave).argmin())
    fermi = energy[nearest] - np.sign(wave[nearest]) * _EV_A2 * wave[nearest] ** 2
    edge = float(omega[nearest] - energy[nearest] + fermi)
    return Absorption(omega, mu * scale, edge, width)


def write_absorption(path: str | os.PathLike[str], curves: Mapping[str, Absorption]) -> Path:
    """Write named curves to one .npz, without loss; the same input gives the same bytes."""
    arrays: dict[str, Any] = {}
    meta = []
    for i, (name, curve) in enumerate(sorted(curves.items())):
        meta.append({"name": name, "edge_eV": curve.edge_eV,
                     "inside_hwhm_eV": curve.inside_hwhm_eV})
        arrays[f"curve_{i}"] = np.array([curve.energy_eV, curve.cross_section_A2])
    return write_npz(path, {"meta": np.frombuffer(json.dumps(meta).encode(), np.uint8)} | arrays)


def read_absorption(path: str | os.PathLike[str]) -> dict[str, Absorption]:
    """Read what ``write_absorption`` wrote.

    Raises
    ------
    InputError
        When the file is missing or not of that form.
    """
    with open_npz(path, "the absorption curves of a study") as file:
        found = {}
        for i, m in enumerate(json.loads(file["meta"].tobytes())):
            energy, curve = file[f"curve_{i}"]
            found[m["name"]] = Absorption(energy, curve, m["edge_eV"], m["inside_hwhm_eV"])
    return found
