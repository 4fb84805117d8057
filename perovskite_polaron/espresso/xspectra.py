"""Input and output of xspectra.x: one absorbing atom, one polarisation.

Half the Lanczos runs are spared: the chains of k and -k are the same when the crystal has
time-reversal symmetry. xspectra.x always runs over the full grid, but given a save file that calls
some k points done, it goes on with the others (its own restart); the chains it was spared are then
put in from their partners. H(-k) is the complex conjugate of H(k), and so is the starting vector of
a real polarisation, so that norms and coefficients, which are real, are equal.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from perovskite_polaron.errors import ComputationError, require
from perovskite_polaron.espresso.kpoints import SPECTRUM_SPACING_1_A, KPoints
from perovskite_polaron.espresso.program import EspressoCalculation, namelist
from perovskite_polaron.espresso.savefile import LanczosSave, read_save
from perovskite_polaron.files import read_text, write_atomically
from perovskite_polaron.programs import OUTDIR, PLAIN, PREFIX, Way
from perovskite_polaron.settings import option

SAVE_FILE = "chain.sav"
CORE_FILE = "core.wfc"
# The spectrum that XSpectra prints; nothing here reads it.
CURVE_FILE = "xanes.dat"
# Cartesian unit vectors; a third of the trace over them is the powder spectrum for any site
# symmetry.
POLARISATIONS = {"x": (1.0, 0.0, 0.0), "y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0)}
_FERMI_MATCH_EV = 1e-3
# The comments that XSpectra reads, by their lines and columns.
_UNFINISHED = "\n".join([
    "# save_file_version=       2", "# save_file_kind   =unfinished" + 22 * " ",
    "# date=" + 8 * " ", "# number of lanczos stored=   1", "#", "#"])


@dataclass(frozen=True)
class XspectraSettings(KPoints):
    """Settings of the Lanczos run; the broadening is chosen later, when the chain is evaluated.

    Attributes
    ----------
    kpoints, kpoint_spacing_1_A
        The grid, or the largest distance of k points, of which each cell makes its own grid; only
        settings with a grid can be run.
    relative_error
        The run stops when the area of the spectrum changes by less (``xerror``, a relative area).
    check_every
        Steps between two such checks (``xcheck_conv``).
    check_hwhm_eV, energy_range_eV
        Of the spectrum whose area is watched.
    r_paw_over_rc
        Radius of the spheres in which XSpectra rebuilds the all-electron waves (``r_paw(1)``), in
        matching radii of the absorber's p projectors; XSpectra's own default is 1.5
        (docs/conventions.md says what it changes).
    """

    kpoints: tuple[int, int, int] | None = option(None, low=1, high=99)
    kpoint_spacing_1_A: float | None = option(None, low=0.01, high=5)
    kpoint_shift: tuple[int, int, int] = option((1, 1, 1), low=0, high=1)
    max_iterations: int = option(2000, low=10, high=100_000)
    check_every: int = option(20, low=2, high=1000)
    relative_error: float = option(0.005, low=1e-8, high=0.5)
    check_hwhm_eV: float = option(1.0, low=0.05, high=20)
    energy_range_eV: tuple[float, float] = option((-10.0, 60.0), low=-1000, high=5000)
    r_paw_over_rc: float = option(1.5, low=1, high=3)

    default_spacing_1_A = SPECTRUM_SPACING_1_A

    @property
    def points(self) -> tuple[int, int, int]:
        """The grid of a run, which does not know its cell."""
        require(self.kpoints is not None, "a run of xspectra.x needs a grid of k points")
        return cast(tuple[int, int, int], self.kpoints)

    def partners(self) -> list[int]:
        """Return for every k point of the grid the index of -k, which may be its own.

        XSpectra counts the third direction fastest.
        """
        (n1, n2, n3), (s1, s2, s3) = self.points, self.kpoint_shift
        return [((-i - s1) % n1 * n2 + (-j - s2) % n2) * n3 + (-k - s3) % n3
                for i in range(n1) for j in range(n2) for k in range(n3)]


@dataclass(frozen=True)
class XspectraCalculation(EspressoCalculation):
    """A dipole K-edge run of one absorber and polarisation.

    Attributes
    ----------
    settings
        How it is computed.
    polarisation
        A key of POLARISATIONS.
    absorber_species
        Place (from 1) of the absorber's label in ATOMIC_SPECIES of the pw.x input (``xiabs``).
    cutoff_bohr
        Matching radius of the absorber's p projectors.
    is_fixed
        Whether the occupations of the density are fixed. With smearing XSpectra takes a Fermi
        energy of its own, which is not known before it runs.
    time_reversal
        Spare one of each two k points k and -k. The result is the same.
    """

    settings: XspectraSettings
    polarisation: str
    absorber_species: int
    cutoff_bohr: float
    is_fixed: bool = True
    time_reversal: bool = False

    program = "xspectra.x"
    done = "END JOB XSpectra"
    leaves = (SAVE_FILE, CURVE_FILE)
    kept = (SAVE_FILE, "chain_sha256")

    def deck(self, way: Way = PLAIN) -> str:
        """Return the input.

        ``xepsilon`` and ``xcoordcrys`` are always written: the documented defaults are not those
        of the program.
        """
        settings = self.settings
        require(self.polarisation in POLARISATIONS, f"unknown polarisation {self.polarisation!r}:"
                f" choose among {', '.join(POLARISATIONS)}")
        vector = POLARISATIONS[self.polarisation]
        low, high = settings.energy_range_eV
        lists: dict[str, dict[str, Any]] = {
            "input_xspectra": {
                "calculation": "xanes_dipole", "prefix": PREFIX, "outdir": OUTDIR,
                "xonly_plot": False, "xniter": settings.max_iterations,
                "xcheck_conv": settings.check_every, "xerror": settings.relative_error,
                "xcoordcrys": False, **{f"xepsilon({k})": x for k, x in enumerate(vector, 1)},
                "xiabs": self.absorber_species, "x_save_file": SAVE_FILE,
                **({"restart_mode": "restart"} if way.restart else {})},
            "plot": {
                "xnepoint": 701, "xgamma": settings.check_hwhm_eV, "xemin": low, "xemax": high,
                "terminator": True, "cut_occ_states": False},
            "pseudos": {"filecore": CORE_FILE,
                        "r_paw(1)": settings.r_paw_over_rc * self.cutoff_bohr},
            "cut_occ": {}}
        grid = " ".join(map(str, (*settings.points, *settings.kpoint_shift)))
        return "\n".join([*(namelist(name, values) for name, values in lists.items()), grid]) + "\n"

    def stage(self, folder: Path, parent: Mapping[str, Any], pools: int) -> Way:
        """Write a save file that calls one of each two k points done, where time reversal allows
        it.
        """
        begun = self.time_reversal and spared_save(self.settings, parent["fermi_eV"], pools)
        if not begun:
            return PLAIN
        write_atomically(folder / SAVE_FILE, begun, durable=False)
        return Way(restart=True)

    def read_result(self, folder: Path, output: str, parent: Mapping[str, Any]) -> dict[str, Any]:
        """Return the digest and energies of the chains, and how they ended.

        Counts are those that the first pool printed.
        """
        path = folder / SAVE_FILE
        save = read_save(path)
        if np.any(save.norms == 0):
            # XSpectra plotted the points it had, which is half of the intensity.
            (folder / CURVE_FILE).unlink(missing_ok=True)
            complete_save(path, self.settings)
            save = read_save(path)
        why = self.mismatch(save, parent)
        require(not why, f"{path} is not the save file of this job: {why}; delete that job's folder"
                " and run again", ComputationError)
        errors = re.findall(r"CONVERGED at iter\s+\d+\s+with error=\s*(\S+)", output)
        seen = output.count("Norm of the initial Lanczos vector")
        require(len(errors) >= seen, f"the Lanczos run did not converge at {seen - len(errors)} of"
                f" {seen} k points: raise xspectra.max_iterations in the study", ComputationError)
        return {"chain_sha256": save.sha256, "fermi_eV": save.fermi_energy_eV,
                "core_eV": save.core_energy_eV, "converged": len(errors), "kpoints_seen": seen,
                "worst_error": max(map(float, errors), default=float("nan"))}

    def mismatch(self, save: LanczosSave, parent: Mapping[str, Any]) -> str:
        """Return why chains cannot be those of this calculation; empty if they can.

        Parameters
        ----------
        save
            The chains.
        parent
            The record of the density that it starts from.
        """
        axis = int(np.argmax(np.abs(save.polarisation)))
        if POLARISATIONS[self.polarisation][axis] != 1.0:
            return "its polarisation is another"
        fermi_eV = parent.get("fermi_eV", save.fermi_energy_eV)
        if self.is_fixed and abs(fermi_eV - save.fermi_energy_eV) > _FERMI_MATCH_EV:
            return (f"its Fermi energy is {save.fermi_energy_eV:.4f} eV, that of the density it"
                    f" starts from {fermi_eV:.4f} eV")
        return ""

    @staticmethod
    def progress(output: str) -> str:
        """Return the k point and the step."""
        points = re.findall(r"! k-point #\s*(\d+)", output)
        steps = re.findall(r"Estimated error at iter\s+(\d+)", output)
        if not points:
            return ""
        return f"k point {points[-1]}" + (f", step {steps[-1]}" if steps else "")

    @staticmethod
    def summary(record: Mapping[str, Any]) -> str:
        """Return the largest relative error."""
        return f"relative error {record['worst_error']:.1e}"


def skipped(partners: list[int], pools: int) -> list[bool]:
    """Return which k points need not be run, one of each pair, with about as much to do in every
    pool.

    Parameters
    ----------
    partners
        Index of -k of every k point.
    pools
        Groups of processes.
    """
    count = len(partners)
    # XSpectra deals the points out in blocks, the first pools taking one more where they do not
    # divide evenly.
    pool = [p for p in range(pools) for _ in range(count // pools + (p < count % pools))]
    load = [0] * pools
    for k, partner in enumerate(partners):
        load[pool[k]] += partner == k
    left_out = [False] * count
    pairs = [(k, partner) for k, partner in enumerate(partners) if k < partner]
    # Those within one pool leave no choice, so they are counted first.
    for pair in sorted(pairs, key=lambda pair: pool[pair[0]] != pool[pair[1]]):
        kept, spared = sorted(pair, key=lambda point: load[pool[point]])
        load[pool[kept]] += 1
        left_out[spared] = True
    return left_out


def spared_save(settings: XspectraSettings, fermi_eV: float, pools: int) -> str | None:
    """Return a save file that calls one of each two k points done; None where no two are partners.

    The points to skip have a chain of norm 0, long enough for the terminator.

    Parameters
    ----------
    settings
        Of the run.
    fermi_eV
        The level that XSpectra would take itself; it believes the file.
    pools
        Groups of processes.
    """
    left_out = skipped(settings.partners(), pools)
    if not any(left_out):
        return None
    count, length = len(left_out), min(settings.check_every, settings.max_iterations)
    lines = [_UNFINISHED, " F 1", f" 1 {count} {settings.max_iterations}", f" {length}",
             f" 0.0 {fermi_eV!r}", " 0.0 0.0 0.0", " 0.0 0.0 0.0",
             " " + " ".join(str(int(skip)) for skip in left_out), " 0.0" * count,
             f" {length}" * count, *[" 0.0" * length] * count, *[" 1.0" * length] * count]
    return "\n".join(lines) + "\n"


def complete_save(path: Path, settings: XspectraSettings) -> None:
    """Give the chains that a finished save file has for k alone to -k as well, if any is missing.

    Raises
    ------
    ComputationError
        When neither partner has one.
    """
    lines = read_text(path, "save file of XSpectra").split("\n")
    head = [line for line in lines if line.startswith("#")]
    words = " ".join(lines[len(head) :]).split()
    # spin flag, spins; l, k points, most steps; longest chain; core and Fermi energy; two vectors
    count, longest, start = int(words[3]), int(words[5]), 14
    norms, lengths = words[start : start + count], words[start + count : start + 2 * count]
    missing = {k for k, norm in enumerate(norms) if float(norm) == 0.0}
    if not missing:
        return
    tables = start + 2 * count
    a, b = ([words[t + k * longest : t + (k + 1) * longest] for k in range(count)]
            for t in (tables, tables + count * longest))
    partners = settings.partners()
    for k in sorted(missing):
        partner = partners[k]
        require(partner not in missing, f"{path} has no chain of k point {k + 1}: delete that job's"
                " folder and run again", ComputationError)
        norms[k], lengths[k], a[k], b[k] = norms[partner], lengths[partner], a[partner], b[partner]
    # The same records as XSpectra's.
    ends = ((0, 2), (2, 5), (5, 6), (6, 8), (8, 11), (11, 14))
    rows = [*(words[m:n] for m, n in ends), norms, lengths, *a, *b]
    write_atomically(path, "\n".join([*head, *(" ".join(row) for row in rows)]) + "\n")
