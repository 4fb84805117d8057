"""The two inputs of FEFF: ``feff.inp`` for potentials, ``geom.dat`` for the atoms that scatter."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import ComputationError, require
from perovskite_polaron.feff.cluster import Cluster
from perovskite_polaron.lattice.matching import POSITION_TOLERANCE_A
from perovskite_polaron.settings import option

EDGES = ("K", "L1", "L2", "L3")
# Name of the self-energy -> FEFF's number of it.
EXCHANGES = {"hedin-lundqvist": 0, "dirac-hara": 1, "ground-state": 2}
# The steps of the energies: below the Fermi level only a Lorentzian's tail is left; far above it
# the self-energy broadens more than the core hole.
_BELOW_EV, _BELOW_STEP_EV, _NEAR_EV = -3.0, 1.0, 20.0
_MOST_POINTS = 400
# Near the edge, in units of the half width inside; a line of that width alone is then known to 2 %
# of its height, one of twice the width to 0.2 %.
_NEAR_STEP = 0.75
# Half of the core hole's half width stays inside (see the docstring of FeffSettings).
_INSIDE, _LEAST_INSIDE_EV = 0.5, 0.1


@dataclass(frozen=True)
class FeffSettings:
    """How FEFF computes.

    Attributes
    ----------
    cluster_radius_A, scf_radius_A
        Of the atoms that scatter, and of the clusters for self-consistent potentials.
    potentials
        ``frozen``: potentials and Fermi level of each site from the undistorted crystal;
        ``remade``: self-consistent for every structure, whose noise differences then show.
    match_tolerance_A
        How far an atom may be from its place in the undistorted crystal to be still that atom: a
        structure file with one further away has potentials of its own.
    exchange
        Self-energy of the photoelectron; ``ground-state`` has no inelastic losses.
    l_max
        Of the scattered waves. A photoelectron of 40 eV needs kr of about 5 at the rim of an atom:
        differences change by 30 to 80 % of their largest value from 3 to 5, by 1 % beyond (cubic
        CsPbBr3, up to 8).
    l_max_of
        Element -> that of its atoms, where fewer waves are enough: most of what l = 5 changes in
        CsPbBr3 is scattered by lead.
    inside_hwhm_eV
        Half width that FEFF puts into its curves, in place of the core hole's: the rest is added
        afterwards. 0: half of the natural one, at least 0.1 eV. Energies are computed three
        quarters of it apart near the edge, so less needs more of them.
    energy_min_eV, energy_max_eV
        What is computed, from the Fermi level.
    stage_timeout_s
        A stage of FEFF that takes longer is ended, and its job has failed.
    """

    cluster_radius_A: float = option(6.5, low=1.5, high=20)
    scf_radius_A: float = option(5.0, low=1.5, high=15)
    potentials: str = option("frozen", choices=("frozen", "remade"))
    match_tolerance_A: float = option(POSITION_TOLERANCE_A, low=0.01, high=1.5)
    exchange: str = option("hedin-lundqvist", choices=tuple(EXCHANGES))
    l_max: int = option(5, low=1, high=8)
    l_max_of: Mapping[str, int] = field(default_factory=dict)
    inside_hwhm_eV: float = option(0.0, low=0, high=10)
    energy_min_eV: float = option(-15.0, low=-40, high=-5)
    energy_max_eV: float = option(70.0, low=5, high=500)
    stage_timeout_s: float = option(3600.0, low=1, high=1e6)

    def __post_init__(self) -> None:
        odd = {name: most for name, most in self.l_max_of.items() if not 1 <= most <= 8}
        require(not odd, f"feff.l_max_of = {odd} is not possible: give 1 to 8")

    def waves_of(self, element: str) -> int:
        """Return the largest l of the waves that atoms of an element scatter."""
        return self.l_max_of.get(element, self.l_max)


def inside_hwhm_eV(settings: FeffSettings, natural_hwhm_eV: float) -> float:
    """Return the half width that FEFF's curves hold, for a core hole of this natural one."""
    return round(settings.inside_hwhm_eV
                 or max(_INSIDE * natural_hwhm_eV, _LEAST_INSIDE_EV), 4)


def energy_lines(settings: FeffSettings, inside_eV: float) -> list[str]:
    """Return the grid of energies from the Fermi level, as the card EGRID takes it.

    Raises
    ------
    InputError
        For more points than FEFF keeps, which it would drop without a failure.
    """
    step = round(_NEAR_STEP * inside_eV, 4)
    near = min(_NEAR_EV, settings.energy_max_eV)
    far_step = max(2 * inside_eV, 1.0)
    points = ((_BELOW_EV - settings.energy_min_eV) / _BELOW_STEP_EV
              + (near - _BELOW_EV) / step + (settings.energy_max_eV - near) / far_step)
    require(points <= _MOST_POINTS, f"[feff]: inside_hwhm_eV = {inside_eV:g} and energy_max_eV ="
            f" {settings.energy_max_eV:g} need {points:.0f} energies, FEFF keeps {_MOST_POINTS}:"
            " raise the one or lower the other")
    lines = [f"e_grid {settings.energy_min_eV:g} {_BELOW_EV:g} {_BELOW_STEP_EV:g}",
             f"e_grid last {near:g} {step:g}"]
    if near < settings.energy_max_eV:
        lines.append(f"e_grid last {settings.energy_max_eV:g} {far_step:g}")
    return lines


def potential_deck(cluster: Cluster, positions_A: Array, edge: str, hole: bool,
                   settings: FeffSettings, inside_eV: float, counts: Sequence[tuple[str, int]]
                   ) -> str:
    """Return ``feff.inp``; run as a whole it gives the spectrum of this very structure.

    Potentials are those of the absorber and one for each element. FEFF keeps five decimals of the
    positions.

    Parameters
    ----------
    cluster, positions_A
        The atoms, and where they are (n, 3), Å.
    edge, hole, settings, inside_eV
        What is computed. The hole's final state is FEFF's final-state rule (``COREHOLE FSR``).
    counts
        Element and number of its atoms in the crystal.
    """
    from ase.data import atomic_numbers

    ipots = _ipots(cluster)
    number = dict(counts)
    kinds = [(0, cluster.species[0], 0.01), *((k, name, number[name]) for name, k in ipots.items())]
    rows = [f"{k} {atomic_numbers[name]} {name} -1 {settings.waves_of(name)} {weight}"
            for k, name, weight in kinds]
    atoms = [f"{x:.8f} {y:.8f} {z:.8f} {ipot} {name}" for (x, y, z), ipot, name
             in zip(positions_A, _numbers(cluster), cluster.species, strict=True)]
    return "\n".join([
        f"TITLE {cluster.species[0]} {edge}", f"EDGE {edge}", "S02 1.0", "CONTROL 1 1 1 1 1 1",
        f"EXCHANGE {EXCHANGES[settings.exchange]} 0 0", f"COREHOLE {'FSR' if hole else 'NONE'}",
        f"CHWIDTH {2 * inside_eV:g}", "XANES 5.0", "EGRID", *energy_lines(settings, inside_eV),
        f"SCF {settings.scf_radius_A:g}", f"FMS {cluster.radius_A:.5f}",
        "POTENTIALS", *rows, "ATOMS", *atoms, "END"]) + "\n"


def geometry(cluster: Cluster, positions_A: Array) -> str:
    """Return ``geom.dat`` of the atoms that scatter, with more digits than FEFF's own has."""
    numbers = _numbers(cluster)[: cluster.inner]
    kinds = len(_ipots(cluster)) + 1
    first = [numbers.index(k) + 1 for k in range(kinds)]
    rows = [f"{k:4d} {x:.9f} {y:.9f} {z:.9f} {ipot:3d}   1" for k, ((x, y, z), ipot)
            in enumerate(zip(positions_A[: cluster.inner], numbers, strict=True), 1)]
    return "\n".join([f"nat, nph = {cluster.inner:5d}{kinds - 1:5d}",
                      " ".join(map(str, first)), " iat     x       y        z       iph  ",
                      " " + "-" * 71, *rows]) + "\n"


def with_all_atoms(fms_input: str, positions_A: Array) -> str:
    """Return ``fms.inp`` with a radius beyond all atoms: none leaves however far it moves.

    Raises
    ------
    ComputationError
        When the line with the radius is not where FEFF 10 writes it.
    """
    lines = fms_input.splitlines()
    heads = [k for k, line in enumerate(lines[:-1]) if line.split(",")[0].strip() == "rfms2"]
    require(len(heads) == 1, "fms.inp of this FEFF has no line rfms2: give feff10-rs 0.2.4",
            ComputationError)
    radius = 2 * float(np.linalg.norm(positions_A, axis=1).max()) + 1
    old = lines[heads[0] + 1].split()
    lines[heads[0] + 1] = " ".join([f"{radius:.5f}", f"{2 * radius:.5f}", *old[2:]])
    return "\n".join(lines) + "\n"


def _ipots(cluster: Cluster) -> dict[str, int]:
    return {name: k for k, name in enumerate(dict.fromkeys(cluster.species[1:]), 1)}


def _numbers(cluster: Cluster) -> list[int]:
    ipots = _ipots(cluster)
    return [0, *(ipots[name] for name in cluster.species[1:])]
