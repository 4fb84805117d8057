"""The two kinds of FEFF's jobs: potentials of a site, and the spectrum of atoms in them."""

import importlib.metadata
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, ClassVar

from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import ComputationError, MissingExtraError, require
from perovskite_polaron.feff.cluster import Cluster
from perovskite_polaron.feff.deck import (
    FeffSettings, geometry, inside_hwhm_eV, potential_deck, with_all_atoms)
from perovskite_polaron.feff.stages import XMU
from perovskite_polaron.feff.xmu import read_xmu
from perovskite_polaron.files import sha256_of, write_atomically
from perovskite_polaron.programs import HANDED_ON, PLAIN, Calculation, Way

PACKAGE = "feff10-rs"
_FERMI = re.compile(r"New Fermi level:\s+mu=\s*(-?\d+\.\d+) eV")


@cache
def _version() -> str:
    # Every job asks twice, and each answer is read from a file.
    return importlib.metadata.version(PACKAGE)


class FeffCalculation(Calculation):
    """Some stages of FEFF10, in one process, in the output folder of the job."""

    program = "feff"
    input_suffix = ".inp"
    shares_kpoints = False
    one_process = True
    stages: ClassVar[tuple[str, ...]]
    timeout_s: float

    @classmethod
    def version(cls) -> str:
        """Return the version of the package that FEFF10 comes in.

        Raises
        ------
        MissingExtraError
            When it is not installed.
        """
        try:
            return f"{PACKAGE} {_version()}"
        except importlib.metadata.PackageNotFoundError:
            raise MissingExtraError(PACKAGE, "feff") from None

    def command(self, ranks: int, pools: int) -> list[str]:
        """Return the command line; FEFF runs on one core."""
        return [sys.executable, "-m", "perovskite_polaron.feff.stages", *self.stages,
                "--timeout", f"{self.timeout_s:g}"]


@dataclass(frozen=True, eq=False)
class PotentialsCalculation(FeffCalculation):
    """Self-consistent potentials around a site, its phase shifts and its atomic absorption.

    Attributes
    ----------
    cluster, positions_A
        The atoms, and where they are (n, 3), Å.
    edge, hole
        K, L1, L2 or L3; with its core hole or without.
    natural_hwhm_eV
        Half width of the core level.
    counts
        Element and number of its atoms in the crystal.
    """

    cluster: Cluster
    positions_A: Array
    edge: str
    hole: bool
    settings: FeffSettings
    natural_hwhm_eV: float
    counts: tuple[tuple[str, int], ...]

    stages = ("rdinp", "atomic", "pot", "screen", "xsph")

    @property
    def timeout_s(self) -> float:  # type: ignore[override]
        """How long a stage may take."""
        return self.settings.stage_timeout_s

    @property
    def inside_hwhm_eV(self) -> float:
        """Half width that the spectra in these potentials hold."""
        return inside_hwhm_eV(self.settings, self.natural_hwhm_eV)

    def deck(self, way: Way = PLAIN) -> str:
        """Return ``feff.inp``."""
        return potential_deck(self.cluster, self.positions_A, self.edge, self.hole, self.settings,
                              self.inside_hwhm_eV, self.counts)

    def read_result(self, folder: Path, output: str, parent: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``fermi_eV`` and what the spectra will hold.

        Raises
        ------
        ComputationError
            When the potentials are not self-consistent.
        """
        require("Convergence reached in" in output, "FEFF's potentials did not become"
                " self-consistent: change [feff] scf_radius_A", ComputationError)
        return {"fermi_eV": float(_FERMI.findall(output)[-1]),
                "inside_hwhm_eV": self.inside_hwhm_eV}

    @staticmethod
    def progress(output: str) -> str:
        """Return the last iteration of the potentials."""
        steps = re.findall(r"SCF ITERATION NUMBER\s+(\d+)", output)
        return f"iteration {steps[-1]}" if steps else ""

    @staticmethod
    def summary(record: Mapping[str, Any]) -> str:
        """Return the Fermi level."""
        return f"Fermi level {record['fermi_eV']:.3f} eV"


@dataclass(frozen=True, eq=False)
class AbsorptionCalculation(FeffCalculation):
    """The spectrum of a cluster of atoms, averaged over polarisations, in given potentials.

    Attributes
    ----------
    cluster, positions_A
        The atoms, and where they are (n, 3), Å.
    timeout_s
        How long a stage may take.
    """

    cluster: Cluster
    positions_A: Array
    timeout_s: float = 3600.0

    input_suffix = ".geom"
    stages = ("fms", "mkgtr", "path", "genfmt", "ff2x")
    leaves = (XMU,)
    kept = (XMU, "xmu_sha256")

    @cached_property
    def _geometry(self) -> str:
        return geometry(self.cluster, self.positions_A)

    def deck(self, way: Way = PLAIN) -> str:
        """Return ``geom.dat``, all that a spectrum needs beside its potentials."""
        return self._geometry

    def stage(self, folder: Path, parent: Mapping[str, Any], pools: int) -> Way:
        """Put the atoms into the copy of the potentials' folder, all of them within its radius."""
        work = folder / HANDED_ON
        radius = work / "fms.inp"
        write_atomically(work / "geom.dat", self.deck(), durable=False)
        write_atomically(radius, with_all_atoms(radius.read_text(), self.positions_A),
                         durable=False)
        return PLAIN

    def read_result(self, folder: Path, output: str, parent: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``edge_eV`` and the number of atoms; the curve itself is the file that is kept.

        Raises
        ------
        ComputationError
            When FEFF left out atoms, or its curve is not one.
        """
        found = re.search(r"FMS for a cluster of\s+(\d+) atoms", output)
        require(found and int(found[1]) == self.cluster.inner, "FEFF took"
                f" {found[1] if found else 'no'} atoms where {self.cluster.inner} were given: give"
                " another [feff] cluster_radius_A", ComputationError)
        curve = read_xmu(folder / XMU)
        return {"edge_eV": curve.edge_eV, "atoms": self.cluster.inner,
                "inside_hwhm_eV": curve.inside_hwhm_eV, "xmu_sha256": sha256_of(folder / XMU)}

    @staticmethod
    def progress(output: str) -> str:
        """Return how many energies are done."""
        steps = re.findall(r"Energy point\s+(\d+)/\s*(\d+)", output)
        return f"energy {steps[-1][0]} of {steps[-1][1]}" if steps else ""

    @staticmethod
    def summary(record: Mapping[str, Any]) -> str:
        """Return how many atoms scatter."""
        return f"{record['atoms']} atoms"
