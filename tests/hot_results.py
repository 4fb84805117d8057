"""Studies of ensembles, and results of them made of a rule: what a snapshot's atom has is known,
and so is what must come out.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.cli.main import main
from perovskite_polaron.feff.xmu import Absorption
from perovskite_polaron.lattice.ensemble import read_ensemble
from perovskite_polaron.lattice.files import read_crystal
from perovskite_polaron.workflow.feff_jobs import POWDER
from perovskite_polaron.workflow.results import SiteResult, StructureResult, StudyResults
from perovskite_polaron.workflow.study import read_study

HEAD = """
element = "Br"
reference = "ground"
[engine]
kind = "feff"
[spectra]
points = 141
[structures.ground]
crystal = "cspbbr3-pbnm"
"""
HOT = """
[structures.{name}]
ensemble = "{folder}"
absorbers = 3
seed = 4
"""
LO = 'modes = ["lo-c"]\nmax_displacement_A = [0.10]\n'


def ensembles(folder: Path) -> Path:
    """Make snapshots of three temperatures below a folder, and return it."""
    assert main(["ensemble", "cspbbr3-pbnm", "--temperature", "25C,80C,140C", "--samples", "8",
                 "--out", str(folder / "hot"), "--json"]) == 0
    return folder


def study_file(folder: Path, text: str) -> Path:
    path = folder / "study.toml"
    path.write_text(HEAD + text)
    return path


_ENERGY = np.linspace(-14.0, 70.0, 400)


def curve(shape: NDArray[np.float64]) -> Absorption:
    edge = 0.5 + np.arctan(_ENERGY / 1.5) / np.pi
    peak = 0.4 * np.exp(-(((_ENERGY - 4) / 3) ** 2))
    return Absorption(_ENERGY, edge * (1 + peak + shape), 0.0, 0.5)


def bump(place: float) -> NDArray[np.float64]:
    return np.asarray(np.exp(-(((_ENERGY - place) / 4) ** 2)))


def made(hot: Path, text: str, samples: int = 40, noise: float = 0.05, quality: float = 1.0,
         seed: int = 0) -> StudyResults:
    """Results in which snapshot k has a random feature common to all temperatures, another that
    grows with the temperature, and a polaron's; quality: of an engine that gets it so right."""
    study = read_study(study_file(hot, text))
    curves, rows = {}, []
    for name, settings in study.structures.items():
        rng = np.random.default_rng(seed)
        origin: Mapping[str, Any] | None = None
        heat, count = 0.0, 1
        if settings.ensemble:
            ensemble = read_ensemble(hot / settings.ensemble)
            heat, count = ((ensemble.origin.temperature_K or 0) - 200) / 1000, samples
            origin = {**vars(ensemble.origin), "snapshots": count}
        polaron = 0.02 if settings.modes else 0.0
        sites = []
        for k in range(count):
            common, own = rng.standard_normal(2) * (-1.0) ** k
            label = f"Br9-4c~{k:04d}" if origin else "Br9-4c"
            shape = (bump(20) * heat * (-1 + (noise * common + 0.3 * noise * own if origin else 0))
                     + polaron * bump(30) * (1 + (0.5 * common if origin else 0)))
            chain = f"{name}/{label}/{POWDER}"
            curves[chain] = curve(quality * shape)
            sites.append(SiteResult(label, "4c", None, 4, {"fermi_eV": 0.0}, {POWDER: chain},
                                    k if origin else None, {} if origin else None))
        rows.append(StructureResult(
            name, "Pbnm", 1.0 if settings.modes else None, 0.1 if settings.modes else None,
            tuple(map(tuple, read_crystal("cspbbr3-pbnm").lattice_A.tolist())), {}, tuple(sites),
            True if settings.modes else None, origin))
    return StudyResults(study, tuple(rows), curves=curves)


SERIES = (HOT.format(name="hot", folder="hot/25C")
          + HOT.format(name="hot_lo", folder="hot/25C") + LO + 'minus = "hot"\n'
          + HOT.format(name="warm", folder="hot/80C") + 'minus = "hot"\n'
          + HOT.format(name="hotter", folder="hot/140C") + 'minus = "hot"\n'
          + '[structures.lo]\ncrystal = "cspbbr3-pbnm"\n' + LO)
