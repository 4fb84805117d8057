"""Input and output of pw.x: the ground state, and the same cell with a core hole on one atom."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.errors import ComputationError, require
from perovskite_polaron.espresso.density import Atoms
from perovskite_polaron.espresso.kpoints import DENSITY_SPACING_1_A, KPoints
from perovskite_polaron.espresso.program import EspressoCalculation, namelist
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.programs import CHECKPOINT, OUTDIR, PLAIN, PREFIX, Way
from perovskite_polaron.settings import option
from perovskite_polaron.units import BOHR_ANGSTROM, RYDBERG_EV

DENSITY = Path(OUTDIR) / f"{PREFIX}.save" / "charge-density.dat"
# Keys of namelists that are written from the settings, or for the way a cycle begins.
_OWN = {"system": {"ibrav", "nat", "ntyp", "ecutwfc", "ecutrho", "tot_charge", "occupations",
                   "degauss"},
        "electrons": {"conv_thr", "mixing_beta", "startingpot", "startingwfc"}}
_NO_SPIN = {"nspin": 1, "noncolin": False, "lspinorb": False}
_HARTREE_EV = 2 * RYDBERG_EV
# Coordinates carry so many decimals: fewer would shift a small frozen phonon.
_DECIMALS = 12
# pw.x takes a density from a file for the converged one and would begin with bands to 1e-5 Ry.
_FIRST_DIAGONALISATION_RY = 1e-3
# 1e-6 eV: without it pw.x asks of the bands a thousandth of what a density needs, at twice the
# cost.
_BAND_DIAGONALISATION_RY = 1e-7

T = TypeVar("T")


@dataclass(frozen=True)
class PwSettings(KPoints):
    """Numerical settings of a self-consistent calculation; what they mean is in the manual of pw.x.

    Attributes
    ----------
    kpoints, kpoint_spacing_1_A
        The grid, or the largest distance of k points, of which each cell makes its own grid.
    occupations
        ``auto`` takes fixed occupations for a whole, even number of electrons and Gaussian smearing
        otherwise.
    empty_bands
        With fixed occupations, so many bands above the filled ones are computed, so that the gap is
        known; 0 leaves it to pw.x, which then computes none. Left out it is 1, and 0 beside
        ``system.nbnd``, which is refused beside any other number. With smearing, or with spin, pw.x
        decides.
    hubbard_U_eV
        Element -> U of its d or f (oxygen: p) states, eV, with the absorber's atom of it too
        [Dudarev et al., Phys. Rev. B 57, 1505 (1998)]; the projectors are pw.x's default.
    system, electrons
        Further keys of those namelists, passed through (van der Waals, ...), but none that
        counts species, such as ``Hubbard_U(1)``: the absorber is a species of its own, so that the
        numbers would mean other elements there.
    """

    ecutwfc_Ry: float = option(35.0, low=5, high=500)
    ecutrho_Ry: float = option(280.0, low=20, high=5000)
    kpoints: tuple[int, int, int] | None = option(None, low=1, high=99)
    kpoint_spacing_1_A: float | None = option(None, low=0.01, high=5)
    kpoint_shift: tuple[int, int, int] = option((1, 1, 1), low=0, high=1)
    conv_thr_Ry: float = option(1e-7, low=1e-14, high=1e-3)
    mixing_beta: float = option(0.4, low=0.01, high=1)
    occupations: str = option("auto", choices=("auto", "fixed", "smearing"))
    degauss_Ry: float = option(0.002, low=1e-5, high=0.2)
    empty_bands: int | None = option(None, low=0, high=10_000)
    hubbard_U_eV: Mapping[str, float] = field(default_factory=dict)
    system: Mapping[str, Any] = field(default_factory=dict)
    electrons: Mapping[str, Any] = field(default_factory=dict)

    default_spacing_1_A = DENSITY_SPACING_1_A

    def __post_init__(self) -> None:
        super().__post_init__()
        # What was left out is settled here, so that a study's record says what was computed.
        odd = {e: u for e, u in self.hubbard_U_eV.items() if not 0 < u <= 20}
        require(not odd, f"pw.hubbard_U_eV = {odd} is not possible: give more than 0 to 20 eV")
        if self.empty_bands is None:
            counted = "nbnd" in map(str.lower, self.system)
            object.__setattr__(self, "empty_bands", 0 if counted else 1)

    def given(self) -> dict[str, Any]:
        """Return the keys of ``system`` in lower case, as Fortran takes them.

        Raises
        ------
        InputError
            For keys that count species, for two that count bands, and for what the package writes.
        """
        for name, keys in _OWN.items():
            twice = next((key for key in getattr(self, name) if key.lower() in keys), "")
            require(not twice, f"pw.{name}.{twice} is written from the other settings of [pw] or"
                    " by the runner: leave it out")
        given = {key.lower(): value for key, value in self.system.items()}
        by_species = next((key for key in self.system if "(" in key), "")
        require(not by_species, f"pw.system.{by_species} names a species by its number, which is"
                " another element in the cell with the core hole: give [pw] hubbard_U_eV by"
                " element, and moments_muB of a structure by atom")
        counted = self.empty_bands and "nbnd" in given
        require(not counted, "pw.empty_bands and pw.system.nbnd both say how many bands there are:"
                " give one of them")
        return given

    @property
    def spin_key(self) -> str:
        """The key of ``system`` that gives the wave functions two spins or components; empty if
        none does.
        """
        given = self.given()
        return next((key for key, none in _NO_SPIN.items() if given.get(key, none) != none), "")


def absorber_label(element: str) -> str:
    """Return the species label of the absorbing atom; pw.x reads three characters at most."""
    return element + "h"


def labels_of(crystal: Crystal, absorber: int | None) -> list[str]:
    """Return the species label of each atom: its element, numbered where atoms of it have different
    moments; the absorber (its index) is a species of its own.
    """
    moments: dict[str, list[float]] = {}
    for element, moment in dict.fromkeys(crystal.kinds):
        moments.setdefault(element, []).append(moment)
    most = max(map(len, moments.values()))
    require(most < 10, f"{crystal.label} has atoms of one element with {most} different moments: at"
            " most 9 have names in pw.x")
    labels = [element if len(moments[element]) == 1
              else f"{element}{moments[element].index(moment) + 1}"
              for element, moment in crystal.kinds]
    if absorber is not None:
        labels[absorber] = absorber_label(crystal.species[absorber])
    return labels


@dataclass(frozen=True, eq=False)
class PwCalculation(EspressoCalculation):
    """One self-consistent calculation, or the bands of one.

    Attributes
    ----------
    crystal, settings
        What is computed, and how.
    species
        Labels in the order of ATOMIC_SPECIES; the UPF file of each is ``pseudo/LABEL.UPF``.
    electrons
        Number of valence electrons of the cell as charged, which decides ``occupations = auto``.
    absorber
        Index of the atom that is a species of its own, even without a hole.
    charge
        Of the cell, in e.
    forces, stress
        Have them computed and written.
    from_density
        Start from the density of a like cell that lies in the output folder.
    bands
        Compute so many bands in the fixed potential of the density there (``nscf``).
    magnetization, hubbard_U_eV
        For each of the species the moment to begin with, in parts of its valence electrons, and U;
        empty where there is none.
    """

    crystal: Crystal
    species: tuple[str, ...]
    settings: PwSettings
    electrons: float
    absorber: int | None = None
    charge: float = 0.0
    forces: bool = False
    stress: bool = False
    from_density: bool = False
    bands: int | None = None
    magnetization: tuple[float, ...] = ()
    hubbard_U_eV: tuple[float, ...] = ()

    program = "pw.x"
    stops_in_time = True
    leaves = (CHECKPOINT,)

    @property
    def is_fixed(self) -> bool:
        """Whether occupations are fixed: the Fermi energy is then the highest filled level.

        With moments that do not cancel nobody knows the total before, so that ``auto`` does not.
        """
        if self.settings.occupations == "auto":
            even = abs(self.electrons / 2 - round(self.electrons / 2)) < 1e-9
            return even and abs(sum(self.crystal.moments_muB or ())) < 1e-9
        return self.settings.occupations == "fixed"

    def atoms(self, folder: Path) -> Atoms:
        """Return the atoms as the input in a job's folder has them, with their UPF files."""
        files = (folder / "pseudo" / f"{label}.UPF"
                 for label in labels_of(self.crystal, self.absorber))
        return Atoms(self.crystal.lattice_A.round(_DECIMALS),
                     self.crystal.positions.round(_DECIMALS), tuple(files))

    def deck(self, way: Way = PLAIN) -> str:
        """Return the input."""
        crystal, settings = self.crystal, self.settings
        labels = labels_of(crystal, self.absorber)
        masses = dict(zip(labels, crystal.masses_amu, strict=True))
        control: dict[str, Any] = {
            "calculation": "scf" if self.bands is None else "nscf", "prefix": PREFIX,
            "outdir": OUTDIR, "pseudo_dir": "pseudo", "disk_io": "low"}
        asked = {"tprnfor": self.forces, "tstress": self.stress}
        control |= {key: True for key, on in asked.items() if on}
        if way.max_seconds is not None:
            control["max_seconds"] = round(way.max_seconds)
        if way.restart:
            control["restart_mode"] = "restart"
        blocks = [
            namelist("control", control), namelist("system", self._system()),
            namelist("electrons", self._electrons(way)), "ATOMIC_SPECIES",
            *(f"{label} {masses[label]:.4f} {label}.UPF" for label in self.species),
            "CELL_PARAMETERS angstrom", *map(_row, crystal.lattice_A), "ATOMIC_POSITIONS crystal",
            *(f"{label} {_row(row)}" for label, row in zip(labels, crystal.positions, strict=True)),
            "K_POINTS automatic",
            " ".join(map(str, (*settings.grid(crystal.lattice_A), *settings.kpoint_shift)))]
        return "\n".join(blocks) + "\n"

    def _system(self) -> dict[str, Any]:
        settings = self.settings
        settings.given()  # refuses what cannot stand there
        system: dict[str, Any] = {
            "ibrav": 0, "nat": len(self.crystal), "ntyp": len(self.species),
            "ecutwfc": settings.ecutwfc_Ry, "ecutrho": settings.ecutrho_Ry,
            "tot_charge": self.charge, "occupations": "fixed" if self.is_fixed else "smearing"}
        if not self.is_fixed:
            system |= {"smearing": "gaussian", "degauss": settings.degauss_Ry}
        elif settings.empty_bands and not settings.spin_key:
            system["nbnd"] = round(self.electrons / 2) + settings.empty_bands
        if self.magnetization:
            system |= {"nspin": 2} | _by_species("starting_magnetization", self.magnetization)
            if self.is_fixed and "tot_magnetization" not in settings.given():
                system["tot_magnetization"] = round(sum(self.crystal.moments_muB or ()))
        if self.hubbard_U_eV:
            system |= {"lda_plus_u": True} | _by_species("Hubbard_U", self.hubbard_U_eV)
        return system | dict(settings.system) | ({} if self.bands is None else {"nbnd": self.bands})

    def _electrons(self, way: Way) -> dict[str, Any]:
        electrons: dict[str, Any] = {
            "conv_thr": self.settings.conv_thr_Ry, "mixing_beta": self.settings.mixing_beta}
        if self.from_density or way.density:
            electrons["startingpot"] = "file"
        if way.density:
            electrons["diago_thr_init"] = _FIRST_DIAGONALISATION_RY
        if way.waves:
            electrons["startingwfc"] = "file"
        if self.bands is not None:
            electrons["diago_thr_init"] = _BAND_DIAGONALISATION_RY
        return electrons | dict(self.settings.electrons)

    def read_result(self, folder: Path, output: str, parent: Mapping[str, Any]) -> dict[str, Any]:
        """Return energies in eV, and forces (n, 3), eV/Å, and stress (3, 3), eV/Å³, positive under
        tension, where they were asked for.
        """
        outdir = folder / OUTDIR
        if self.bands is not None:
            return read_pw_bands(outdir)
        record = asdict(read_pw_result(outdir))
        if self.forces:
            forces = _read_array(outdir, "forces", (-1, 3))
            record["forces_eV_A"] = (forces * _HARTREE_EV / BOHR_ANGSTROM).tolist()
        if self.stress:
            # pw.x counts it positive under compression.
            stress = -_read_array(outdir, "stress", (3, 3))
            record["stress_eV_A3"] = (stress * _HARTREE_EV / BOHR_ANGSTROM**3).tolist()
        return record

    @staticmethod
    def can_go_on(folder: Path) -> bool:
        """Tell whether pw.x stopped by itself and what it wrote is still there."""
        return (folder / CHECKPOINT).exists() and (folder / OUTDIR).is_dir()

    @staticmethod
    def progress(output: str) -> str:
        """Return the last iteration and its accuracy."""
        iterations = re.findall(r"iteration #\s*(\d+)", output)
        accuracy = re.findall(r"estimated scf accuracy\s*<\s*(\S+)", output)
        words = [f"iteration {i}" for i in iterations[-1:]]
        return ", ".join(words + [f"accuracy {float(a):.0e} Ry" for a in accuracy[-1:] if words])

    @staticmethod
    def summary(record: Mapping[str, Any]) -> str:
        """Return the number of iterations, or the gap of a run in a fixed potential."""
        if "iterations" in record:
            return f"{record['iterations']} iterations"
        return f"gap {record['lowest_empty_eV'] - record['highest_occupied_eV']:.2f} eV"


def _by_species(key: str, values: Iterable[float]) -> dict[str, float]:
    return {f"{key}({i})": round(v, 6) for i, v in enumerate(values, 1) if v}


def _row(values: NDArray[np.float64]) -> str:
    return " ".join(f"{x:.{_DECIMALS}f}" for x in values)


@dataclass(frozen=True)
class PwResult:
    """What a finished pw.x run says of itself; energies in eV.

    Attributes
    ----------
    fermi_eV
        As pw.x reports it: the highest filled level if the occupations are fixed.
    highest_occupied_eV, lowest_empty_eV
        Extremes over the k points, and both spins, of the filled and the empty bands; None where
        the calculation had no such band.
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

    Raises
    ------
    ComputationError
        When the file is missing or damaged, or the cycle did not converge.
    """

    def parse(output: ET.Element) -> tuple[bool, PwResult]:
        conv, bands = child(output, "convergence_info/scf_conv"), child(output, "band_structure")
        fermi = next(float(_text(bands, tag)) for tag in ("fermi_energy", "highestOccupiedLevel")
                     if bands.find(tag) is not None)
        return _text(conv, "convergence_achieved") == "true", PwResult(
            total_energy_eV=float(_text(output, "total_energy/etot")) * _HARTREE_EV,
            fermi_eV=fermi * _HARTREE_EV, iterations=int(_text(conv, "n_scf_steps")),
            scf_error_Ry=2 * float(_text(conv, "scf_error")), **_edges(bands))

    converged, result = _parsed(outdir, "result", parse)
    require(converged, f"the self-consistent cycle did not converge in {result.iterations}"
            f" iterations (error {result.scf_error_Ry:.1e} Ry): lower pw.mixing_beta or raise"
            " pw.electrons.electron_maxstep in the study", ComputationError)
    return result


def read_pw_bands(outdir: str | Path) -> dict[str, float | None]:
    """Read the result of pw.x in a fixed potential (``nscf``); errors as ``read_pw_result``.

    Returns the band edges as in PwResult, and the numbers of electrons, bands and k points.
    """

    def parse(output: ET.Element) -> dict[str, float | None]:
        bands = child(output, "band_structure")
        kpoints, count = _levels_eV(bands).shape
        return _edges(bands) | {"bands": count, "kpoints": kpoints}

    return _parsed(outdir, "bands", parse)


def read_moment_muB(outdir: str | Path) -> float:
    """Return the electrons up less the electrons down of a calculation with two spins, from their
    occupations; errors as ``read_pw_result``.
    """

    def parse(output: ET.Element) -> float:
        bands = child(output, "band_structure")
        up, down = np.split(_rows(bands, "occupations"), [int(_text(bands, "nbnd_up"))], axis=1)
        weights = [float(node.attrib["weight"])
                   for node in bands.iterfind("ks_energies/k_point")]
        return float(np.average(up.sum(axis=1) - down.sum(axis=1), weights=weights))

    return _parsed(outdir, "occupations", parse)


def _edges(bands: ET.Element) -> dict[str, Any]:
    electrons, levels = float(_text(bands, "nelec")), _levels_eV(bands)
    filled = np.arange(levels.shape[1]) < int(electrons // 2) + np.zeros((len(levels), 1))
    if _text(bands, "lsda") == "true":
        # Each row has the bands of one spin and then those of the other, which hold other numbers
        # of electrons: what is filled is said by the occupations.
        filled = _rows(bands, "occupations") > 0.5
    lowest = float(levels[~filled].min()) if not filled.all() else None
    return {"highest_occupied_eV": float(levels[filled].max()), "lowest_empty_eV": lowest,
            "electrons": electrons}


def _read_array(outdir: Path, what: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return a table of the result in pw.x's unit."""
    return _parsed(outdir, what, lambda output: np.array(
        _text(output, what).split(), dtype=np.float64).reshape(shape))


def read_levels_eV(outdir: str | Path) -> NDArray[np.float64]:
    """Return the Kohn-Sham levels (k points, bands), in eV; errors as ``read_pw_result``."""
    return _parsed(outdir, "levels", _levels_eV)


def _parsed(outdir: str | Path, what: str, parse: Callable[[ET.Element], T]) -> T:
    path = Path(outdir) / f"{PREFIX}.save" / "data-file-schema.xml"
    try:
        return parse(child(ET.parse(path).getroot(), "output"))
    except (OSError, ET.ParseError, ValueError, LookupError, StopIteration) as why:
        raise ComputationError(
            f"pw.x left no readable {what} in {path} ({why}): run this job again") from None


def _levels_eV(node: ET.Element) -> NDArray[np.float64]:
    return _rows(node, "eigenvalues") * _HARTREE_EV


def _rows(node: ET.Element, tag: str) -> NDArray[np.float64]:
    return np.array([[float(x) for x in (e.text or "").split()] for e in node.iter(tag)])


def child(node: ET.Element, path: str) -> ET.Element:
    """Return a part of an XML file of the programs; LookupError when it is not there."""
    found = node.find(path)
    if found is None:
        raise LookupError(f"no {path}")
    return found


def _text(node: ET.Element, path: str) -> str:
    return (child(node, path).text or "").strip()


def started_from_density(output: str) -> bool:
    """Tell from the output of pw.x whether its cycle started from a density that it found."""
    return "initial density is read from file" in output
