"""Input and output of projwfc.x: the Kohn-Sham states projected onto the atomic wave functions.

What is read is ``atomic_proj.xml``, the projections of every state in full precision, and not the
``pdos_atm`` files: those are curves, broadened already and on a grid of their own, from which
neither another width nor the character of a single band edge can be had. Its projections are not
symmetrised, so a sum over equivalent atoms is meaningful, a single atom of them is not. What each
projection is onto is only in the printed output, and how many electrons have which spin only in
pw.x's own file beside it.
"""

import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.errors import ComputationError
from perovskite_polaron.espresso.program import EspressoCalculation, namelist
from perovskite_polaron.espresso.pw import child, read_moment_muB
from perovskite_polaron.files import open_npz, sha256_of, write_npz
from perovskite_polaron.programs import OUTDIR, PLAIN, PREFIX, Way
from perovskite_polaron.units import RYDBERG_EV

PROJECTIONS = "projections.npz"
_STATE = re.compile(
    r"^\s*state #\s*(\d+): atom\s+(\d+) \(\S+\s*\), wfc\s+(\d+) \(l=\s*(\d+) m=\s*(\d+)\)",
    re.MULTILINE)
# Löwdin's orthogonal orbitals cannot hold more than the whole of a state; what is above this is not
# rounding.
_ROUNDING = 1e-3


@dataclass(frozen=True)
class ProjwfcCalculation(EspressoCalculation):
    """The projections of the states in the output folder; there is nothing to choose."""

    program = "projwfc.x"
    leaves = (PROJECTIONS,)
    kept = (PROJECTIONS, "projections_sha256")

    def deck(self, way: Way = PLAIN) -> str:
        """Return the input; its curves, which are not used, go away with the wave functions."""
        values = {"prefix": PREFIX, "outdir": OUTDIR, "filpdos": f"{OUTDIR}/pdos"}
        return namelist("projwfc", values) + "\n"

    def read_result(self, folder: Path, output: str, parent: Mapping[str, Any]) -> dict[str, Any]:
        """Keep the projections in PROJECTIONS, and return their digest and the spilling."""
        projections = read_projections(folder, output)
        path = write_projections(folder / PROJECTIONS, projections)
        return {"projections_sha256": sha256_of(path),
                "spilling": projections.printed_spilling}

    @staticmethod
    def summary(record: Mapping[str, Any]) -> str:
        """Return the spilling."""
        return f"spilling {record['spilling']:.4f}"


@dataclass(frozen=True, eq=False)
class Projections:
    """The states of a crystal and what of them lies on each shell of each atom.

    Where the spins are apart, the rows of spin up are followed by those of spin down.

    Attributes
    ----------
    energies_eV
        (k, bands), as pw.x counts them.
    kpoints
        (k, 3), in the reciprocal vectors of the cell.
    weights
        (k,); their sum is 1.
    shares
        (k, bands, shells): Σ_m |⟨φ_m|ψ⟩|², 0 to 1, not symmetrised; φ are the atomic wave functions
        made orthonormal (Löwdin).
    atom, shell
        (shells,): the atom, from 0, and the place of the wave function in its UPF file, from 1.
    electrons
        Of the cell.
    printed_spilling
        The spilling parameter that projwfc.x prints.
    spins
        (k,): 1 (up), −1 (down), or 0 where a row holds for both.
    moment_muB
        Electrons up less electrons down, as the occupations say.
    """

    energies_eV: NDArray[np.float64]
    kpoints: NDArray[np.float64]
    weights: NDArray[np.float64]
    shares: NDArray[np.float64]
    atom: NDArray[np.int64]
    shell: NDArray[np.int64]
    electrons: float
    printed_spilling: float
    spins: NDArray[np.float64]
    moment_muB: float


def read_projections(folder: str | os.PathLike[str], output: str) -> Projections:
    """Return what a finished projwfc.x left under a job's folder, with what it printed.

    Raises
    ------
    ComputationError
        When a file is missing or damaged, a number is not finite, or the two do not fit together.
    """
    outdir = Path(folder) / OUTDIR
    save = outdir / f"{PREFIX}.save"
    path = save / "atomic_proj.xml"
    try:
        atom, shell = _states(output)
        spilling = re.search(r"Spilling Parameter:\s*(-?\d+\.\d+)", output)
        if spilling is None:
            raise ValueError("no spilling parameter was printed")
        reciprocal = _cell(save / "data-file-schema.xml")
        energies, kpoints, weights, squares, electrons, spins = _parse(path, len(atom))
        moment = read_moment_muB(outdir) if spins.any() else 0.0
    except (OSError, ET.ParseError, ValueError, LookupError, TypeError) as why:
        raise ComputationError(f"projwfc.x left no readable projections in {path} ({why}):"
                               " run this job again") from None
    unique, place = np.unique(np.stack([atom, shell]), axis=1, return_inverse=True)
    shares = summed(squares, place.ravel(), unique.shape[1])
    return Projections(energies, kpoints @ reciprocal, weights, shares, unique[0] - 1, unique[1],
                       electrons, float(spilling[1]), spins, moment)


def summed(values: NDArray[np.float64], group: NDArray[np.int64],
           count: int) -> NDArray[np.float64]:
    """Return values (…, n) summed over the last axis into count groups; group (n,) says which."""
    return values @ (group[:, None] == np.arange(count)).astype(np.float64)


def _states(output: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return atom and wave function, from 1, of every projection, from the printed output."""
    rows = np.array(_STATE.findall(output), dtype=np.int64).reshape(-1, 5)
    if len(rows) == 0 or not np.array_equal(rows[:, 0], np.arange(1, len(rows) + 1)):
        raise ValueError("the printed list of atomic states is missing or not whole")
    return rows[:, 1], rows[:, 2]


def _cell(path: Path) -> NDArray[np.float64]:
    """Return the matrix that turns Cartesian k (2π/alat) into fractions, from the right."""
    structure = ET.parse(path).getroot().find("output/atomic_structure")
    if structure is None:
        raise LookupError(f"{path} holds no cell")
    vectors = [_numbers(child(structure, f"cell/a{i}"), 3) for i in (1, 2, 3)]
    return np.array(vectors).T / float(structure.attrib["alat"])


def _parse(path: Path, states: int) -> tuple[Any, ...]:
    """Return energies (eV), Cartesian k points (2π/alat), weights, squares, electrons and spins.

    The squares of the projections have the shape (k, bands, states).
    """
    root = ET.parse(path).getroot()
    head = child(root, "HEADER")
    bands, count = int(head.attrib["NUMBER_OF_BANDS"]), int(head.attrib["NUMBER_OF_K-POINTS"])
    # The k points are counted once, and are there once for each spin, all of spin up first.
    components = int(head.attrib["NUMBER_OF_SPIN_COMPONENTS"])
    if components not in (1, 2):
        raise ValueError("its spins are not collinear, which is not supported")
    spin = np.repeat(np.arange(1, components + 1), count)
    if int(head.attrib["NUMBER_OF_ATOMIC_WFC"]) != states:
        raise ValueError(f"{head.attrib['NUMBER_OF_ATOMIC_WFC']} atomic states, but {states} were"
                         " printed")
    body = root.find("EIGENSTATES")
    k_nodes, e_nodes, p_nodes = ([] if body is None else body.findall(tag)
                                 for tag in ("K-POINT", "E", "PROJS"))
    if not len(k_nodes) == len(e_nodes) == len(p_nodes) == len(spin) > 0:
        raise ValueError(f"{len(p_nodes)} of {len(spin)} k points are there")
    squares = np.empty((len(spin), bands, states))
    for k, node in enumerate(p_nodes):
        waves = node.findall("ATOMIC_WFC")
        if len(waves) != states:
            raise ValueError(f"{len(waves)} of {states} atomic states at k point {k + 1}")
        if any(int(wave.attrib["spin"]) != spin[k] for wave in waves):
            raise ValueError(f"the spin at k point {k + 1} is another than its place says")
        for n, wave in enumerate(waves):
            squares[k, :, n] = (_numbers(wave, 2 * bands).reshape(-1, 2) ** 2).sum(axis=1)
    if squares.sum(axis=2).max() > 1 + _ROUNDING:
        raise ValueError("the projections of a state add up to more than the state")
    weights = np.array([float(node.attrib["Weight"]) for node in k_nodes])
    electrons = float(head.attrib["NUMBER_OF_ELECTRONS"])
    if not (np.isfinite(weights).all() and weights.min() > 0 and electrons > 0):
        raise ValueError("a weight or the number of electrons is not positive")
    energies = np.array([_numbers(node, bands) for node in e_nodes]) * RYDBERG_EV
    kpoints = np.array([_numbers(node, 3) for node in k_nodes])
    spins = 3.0 - 2.0 * spin if components == 2 else np.zeros(count)
    return energies, kpoints, weights / weights.sum(), squares, electrons, spins


def _numbers(node: ET.Element, count: int) -> NDArray[np.float64]:
    values = np.array((node.text or "").split(), dtype=np.float64)
    if len(values) != count or not np.isfinite(values).all():
        raise ValueError(f"{node.tag} does not hold {count} finite numbers")
    return values


def write_projections(path: str | os.PathLike[str], projections: Projections) -> Path:
    """Write projections to a small .npz, without loss."""
    return write_npz(path, vars(projections))


def load_projections(path: str | os.PathLike[str]) -> Projections:
    """Read what ``write_projections`` wrote, before there were two spins too.

    Raises
    ------
    ComputationError
        When it is missing or damaged.
    """
    with open_npz(path, "projections", "delete that job's folder and run again",
                  ComputationError) as found:
        values: dict[str, Any] = {k: a if a.ndim else float(a) for k, a in found.items()}
        values.setdefault("spins", np.zeros(len(values["weights"])))
        values.setdefault("moment_muB", 0.0)
        return Projections(**values)
