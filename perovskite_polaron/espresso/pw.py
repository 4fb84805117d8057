"""Inputs and results of pw.x: the ground state, and the same cell with a core hole on one atom."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.errors import ComputationError, InputError
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.settings import option
from perovskite_polaron.units import BOHR_ANGSTROM, RYDBERG_EV

PREFIX = "polaron"
OUTDIR = "outdir"
DENSITY = Path(OUTDIR) / f"{PREFIX}.save" / "charge-density.dat"
_FIRST_DIAGONALISATION_RY = 1e-3


@dataclass(frozen=True)
class PwSettings:
    """Numerical settings of a self-consistent calculation; what they mean is in the manual of pw.x.

    occupations: ``auto`` takes fixed occupations for a whole, even number of electrons and Gaussian smearing otherwise.
    empty_bands: with fixed occupations, so many bands above the filled ones are computed, so that the gap is known; 0 leaves
    it to pw.x, which then computes none. A study that sets ``system.nbnd`` itself keeps it. With smearing, or with spin, pw.x decides.
    system, electrons: further keys of those namelists, passed through (van der Waals, spin, ...), but none that counts species,
    such as ``Hubbard_U(1)``: the absorber is a species of its own, so that the numbers would mean other elements there.
    """

    ecutwfc_Ry: float = option(35.0, low=5, high=500)
    ecutrho_Ry: float = option(280.0, low=20, high=5000)
    kpoints: tuple[int, int, int] = option((2, 2, 1), low=1, high=99)
    kpoint_shift: tuple[int, int, int] = option((1, 1, 1), low=0, high=1)
    conv_thr_Ry: float = option(1e-7, low=1e-14, high=1e-3)
    mixing_beta: float = option(0.4, low=0.01, high=1)
    occupations: str = option("auto", choices=("auto", "fixed", "smearing"))
    degauss_Ry: float = option(0.002, low=1e-5, high=0.2)
    empty_bands: int = option(1, low=0, high=10_000)
    system: Mapping[str, Any] = field(default_factory=dict)
    electrons: Mapping[str, Any] = field(default_factory=dict)


def absorber_label(element: str) -> str:
    """Return the species label of the absorbing atom; pw.x reads three characters at most."""
    return element + "h"


def kpoint_count(settings: PwSettings) -> int:
    """Return the number of k points of the full grid, an upper bound for the useful number of pools."""
    return int(np.prod(settings.kpoints))


def pw_deck(
    crystal: Crystal,
    pseudos: Mapping[str, str],
    settings: PwSettings,
    *,
    electrons: float,
    absorber: int | None = None,
    charge: float = 0.0,
    forces: bool = False,
    stress: bool = False,
    from_density: bool = False,
    bands: int | None = None,
) -> str:
    """Return the pw.x input of one self-consistent calculation, or of its bands.

    pseudos: species label -> UPF file name, in the order in which ATOMIC_SPECIES is written. absorber: index of the
    atom that carries the label absorber_label(element), so that it is a species of its own even without a hole.
    electrons: number of valence electrons at this charge, which decides ``occupations = auto``. forces, stress: have
    them computed and written. from_density: start from the charge density of a like cell that lies in the output folder.
    bands: compute so many bands in the fixed potential of the density in the output folder (``nscf``).
    Coordinates carry 12 decimals: fewer would shift a small frozen phonon.
    """
    labels = list(crystal.species)
    if absorber is not None:
        labels[absorber] = absorber_label(crystal.species[absorber])
    occupations = settings.occupations
    if occupations == "auto":
        occupations = "fixed" if abs(electrons / 2 - round(electrons / 2)) < 1e-9 else "smearing"
    system: dict[str, Any] = {
        "ibrav": 0,
        "nat": len(crystal),
        "ntyp": len(pseudos),
        "ecutwfc": settings.ecutwfc_Ry,
        "ecutrho": settings.ecutrho_Ry,
        "tot_charge": charge,
        "occupations": occupations,
    }
    if occupations == "smearing":
        system |= {"smearing": "gaussian", "degauss": settings.degauss_Ry}
    given = {key.lower(): value for key, value in settings.system.items()}
    _check_system(given, settings)
    if occupations == "fixed" and settings.empty_bands and not _has_spin(given):
        system["nbnd"] = round(electrons / 2) + settings.empty_bands
    blocks = [
        namelist(
            "control",
            {
                "calculation": "scf" if bands is None else "nscf",
                "prefix": PREFIX,
                "outdir": OUTDIR,
                "pseudo_dir": "pseudo",
                "disk_io": "low",
            }
            | ({"tprnfor": True} if forces else {})
            | ({"tstress": True} if stress else {}),
        ),
        namelist("system", system | dict(settings.system) | ({} if bands is None else {"nbnd": bands})),
        namelist(
            "electrons",
            {
                "conv_thr": settings.conv_thr_Ry,
                "mixing_beta": settings.mixing_beta,
                **({"startingpot": "file"} if from_density else {}),
                # 1e-6 eV: without it pw.x asks of the bands a thousandth of what a density needs, at twice the cost.
                **({} if bands is None else {"diago_thr_init": 1e-7}),
                **settings.electrons,
            },
        ),
        "ATOMIC_SPECIES",
        *(f"{label} {_mass(label, crystal)} {name}" for label, name in pseudos.items()),
        "CELL_PARAMETERS angstrom",
        *(" ".join(f"{x:.12f}" for x in row) for row in crystal.lattice_A),
        "ATOMIC_POSITIONS crystal",
        *(
            f"{label} " + " ".join(f"{x:.12f}" for x in row)
            for label, row in zip(labels, crystal.positions, strict=True)
        ),
        "K_POINTS automatic",
        " ".join(map(str, (*settings.kpoints, *settings.kpoint_shift))),
    ]
    return "\n".join(blocks) + "\n"


def _check_system(given: Mapping[str, Any], settings: PwSettings) -> None:
    by_species = [key for key in given if "(" in key]
    if by_species:
        raise InputError(
            f"pw.system.{by_species[0]} names a species by its number, which is another element in the cell with the core hole:"
            " not supported until such keys go by element; leave it out"
        )
    default = PwSettings.__dataclass_fields__["empty_bands"].default
    if "nbnd" in given and settings.empty_bands not in (0, default):
        raise InputError("pw.empty_bands and pw.system.nbnd both say how many bands there are: give one of them")


def _has_spin(given: Mapping[str, Any]) -> bool:
    return given.get("nspin", 1) != 1 or any(given.get(key, False) for key in ("noncolin", "lspinorb"))


def with_checkpoint(deck: str, *, max_seconds: float | None, restart: bool) -> str:
    """Return the input of the same calculation, to stop with a checkpoint after so long, or to go on from one.

    Neither changes the result, so this is what the program is given, and not what the job is named by.
    """
    lines = ["&control"]
    if max_seconds is not None:
        lines.append(f"  max_seconds = {max_seconds:.0f}")
    if restart:
        lines.append("  restart_mode = 'restart'")
    return deck.replace("&control", "\n".join(lines), 1)


def from_neighbour(deck: str, *, waves: bool) -> str:
    """Return the input of the same calculation, to start from the density that lies in the output folder.

    waves: and from the wave functions there. The result is the same within the tolerance of the cycle.
    """
    # pw.x takes a density from a file for the converged one and would begin with a diagonalisation to 1e-5 Ry.
    start = ["&electrons", "  startingpot = 'file'", f"  diago_thr_init = {_FIRST_DIAGONALISATION_RY:g}"]
    lines = [*start, *(["  startingwfc = 'file'"] if waves else [])]
    return deck.replace("&electrons", "\n".join(lines), 1)


def namelist(name: str, values: Mapping[str, Any]) -> str:
    """Return a Fortran namelist as text."""
    return "\n".join([f"&{name}", *(f"  {key} = {fortran(value)}" for key, value in values.items()), "/"])


def fortran(value: object) -> str:
    """Return a value in the notation of a Fortran namelist. Raises InputError for text that would end its quotes."""
    if isinstance(value, bool):
        return ".true." if value else ".false."
    if isinstance(value, str):
        if "'" in value or "\n" in value:
            raise InputError(f"{value!r} cannot stand in a Fortran namelist: remove the quote or line break")
        return f"'{value}'"
    if isinstance(value, float):
        return f"{value:.12g}"
    if isinstance(value, int):
        return str(value)
    raise InputError(f"{value!r} cannot stand in a Fortran namelist: give a number, a string or true/false")


def _mass(label: str, crystal: Crystal) -> str:
    by_species = dict(zip(crystal.species, crystal.masses_amu, strict=True))
    return f"{by_species.get(label) or by_species[label.removesuffix('h')]:.4f}"


@dataclass(frozen=True)
class PwResult:
    """What a finished pw.x run says of itself; energies in eV.

    highest_occupied_eV, lowest_empty_eV: extremes over the k points of the bands below and above the (even) filling;
    None where the calculation had no such band. fermi_eV: as pw.x reports it (the highest level if occupations are fixed).
    """

    total_energy_eV: float
    fermi_eV: float
    highest_occupied_eV: float
    lowest_empty_eV: float | None
    electrons: float
    iterations: int
    scf_error_Ry: float


def read_pw_result(outdir: str | Path) -> PwResult:
    """Read the result of pw.x from its XML file under ``outdir``.

    Raises ComputationError when the file is missing or damaged, or the cycle did not converge.
    """
    path = _xml(outdir)
    try:
        root = ET.parse(path).getroot()
        output = _child(root, "output")
        conv = _child(output, "convergence_info/scf_conv")
        bands = _child(output, "band_structure")
        iterations, error = int(_text(conv, "n_scf_steps")), 2 * float(_text(conv, "scf_error"))
        converged = _text(conv, "convergence_achieved") == "true"
        energy = float(_text(output, "total_energy/etot"))
        electrons = float(_text(bands, "nelec"))
        levels = _levels(bands)
        fermi = next(
            float(_text(bands, tag)) for tag in ("fermi_energy", "highestOccupiedLevel") if bands.find(tag) is not None
        )
    except (OSError, ET.ParseError, ValueError, LookupError, StopIteration) as why:
        raise ComputationError(f"pw.x left no readable result in {path} ({why}): run this job again") from None
    if not converged:
        raise ComputationError(
            f"the self-consistent cycle did not converge in {iterations} iterations (error {error:.1e} Ry): "
            "lower pw.mixing_beta or raise pw.electrons.electron_maxstep in the study"
        )
    hartree = 2 * RYDBERG_EV
    filled = int(electrons // 2)
    return PwResult(
        total_energy_eV=energy * hartree,
        fermi_eV=fermi * hartree,
        highest_occupied_eV=float(levels[:, filled - 1].max()) * hartree,
        lowest_empty_eV=float(levels[:, filled].min()) * hartree if levels.shape[1] > filled else None,
        electrons=electrons,
        iterations=iterations,
        scf_error_Ry=error,
    )


@dataclass(frozen=True)
class PwBands:
    """Band edges of a finished run in a fixed potential, as in PwResult, and how many bands and k points it has."""

    highest_occupied_eV: float
    lowest_empty_eV: float
    electrons: float
    bands: int
    kpoints: int


def read_pw_bands(outdir: str | Path) -> PwBands:
    """Read the result of pw.x in a fixed potential (``nscf``). Raises ComputationError when it is missing or damaged."""
    path = _xml(outdir)
    try:
        bands = _child(ET.parse(path).getroot(), "output/band_structure")
        electrons, levels = float(_text(bands, "nelec")), _levels(bands) * 2 * RYDBERG_EV
        filled = int(electrons // 2)
        edges = float(levels[:, filled - 1].max()), float(levels[:, filled].min())
    except (OSError, ET.ParseError, ValueError, LookupError) as why:
        raise ComputationError(f"pw.x left no readable bands in {path} ({why}): run this job again") from None
    return PwBands(*edges, electrons, levels.shape[1], levels.shape[0])


def read_forces_eV_A(outdir: str | Path) -> NDArray[np.float64]:
    """Return the forces (n, 3), eV/Å, of a finished pw.x run that was asked for them. Raises ComputationError if absent."""
    path = _xml(outdir)
    try:
        text = _text(ET.parse(path).getroot(), "output/forces")
        return np.array(text.split(), dtype=np.float64).reshape(-1, 3) * 2 * RYDBERG_EV / BOHR_ANGSTROM
    except (OSError, ET.ParseError, ValueError, LookupError) as why:
        raise ComputationError(f"pw.x left no readable forces in {path} ({why}): run this job again") from None


def read_stress_eV_A3(outdir: str | Path) -> NDArray[np.float64] | None:
    """Return the stress (3, 3), eV/Å³, positive under tension, of a finished pw.x run; None if it was not asked for it."""
    node = ET.parse(_xml(outdir)).getroot().find("output/stress")
    if node is None or not (node.text or "").strip():
        return None
    # pw.x counts it positive under compression.
    return -np.array((node.text or "").split(), dtype=np.float64).reshape(3, 3) * 2 * RYDBERG_EV / BOHR_ANGSTROM**3


def read_levels_eV(outdir: str | Path) -> NDArray[np.float64]:
    """Return the Kohn-Sham levels of a finished pw.x run, shape (k points, bands), in eV. Errors as ElementTree raises them."""
    return _levels(ET.parse(_xml(outdir)).getroot()) * 2 * RYDBERG_EV


def _xml(outdir: str | Path) -> Path:
    return Path(outdir) / f"{PREFIX}.save" / "data-file-schema.xml"


def _levels(node: ET.Element) -> NDArray[np.float64]:
    return np.array([[float(x) for x in (e.text or "").split()] for e in node.iter("eigenvalues")])


def _child(node: ET.Element, path: str) -> ET.Element:
    found = node.find(path)
    if found is None:
        raise LookupError(f"no {path}")
    return found


def _text(node: ET.Element, path: str) -> str:
    return (_child(node, path).text or "").strip()


def started_from_density(output: str) -> bool:
    """Tell from the output of pw.x whether its cycle started from a density that it found."""
    return "initial density is read from file" in output


def progress(output: str) -> str:
    """Return a few words on how far a running pw.x has come, from its output so far; empty if it says nothing yet."""
    iterations = re.findall(r"iteration #\s*(\d+)", output)
    accuracy = re.findall(r"estimated scf accuracy\s*<\s*(\S+)", output)
    if not iterations:
        return ""
    return f"iteration {iterations[-1]}" + (f", accuracy {float(accuracy[-1]):.0e} Ry" if accuracy else "")
