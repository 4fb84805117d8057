"""What was published on CsPbBr3, as numbers and signs to compare with.

Cannelli et al., J. Am. Chem. Soc. 143, 9048 (2021). The measured curves themselves are not public.
"""

from dataclasses import dataclass

FORMULA = "CsPbBr3"
"""What Crystal.formula says of every cell of the compound, and of no other one."""

SOURCE = "Cannelli et al., J. Am. Chem. Soc. 143, 9048 (2021)"
WHITE_LINE_EV = 13472.0
# Absorbing element -> photon energy of the first maximum of its K edge.
FIRST_MAXIMUM_EV = {"Br": WHITE_LINE_EV}


@dataclass(frozen=True)
class Feature:
    """A place in the measured Br K transient. sign: +1 absorption gained, −1 lost.

    extremum: what the steady state has there (+1 a maximum, −1 a minimum, 0 neither). structural: whether displaced atoms
    alone are said to make it; near the edge the carriers do, and they are not calculated.
    """

    energy_eV: float
    sign: int
    extremum: int
    structural: bool

    @property
    def offset_eV(self) -> float:
        """Energy from the first maximum of the ground state."""
        return self.energy_eV - WHITE_LINE_EV


FEATURES = (
    Feature(13467.5, +1, 0, False),
    Feature(13472.0, -1, +1, False),
    Feature(13476.5, +1, 0, False),
    Feature(13485.0, -1, +1, True),
    Feature(13497.0, +1, -1, True),
    Feature(13508.0, -1, +1, True),
)
# Where the cubic phase is said to mismatch the measured transient.
CUBIC_MISMATCH_EV = (13492.0, 13505.0)

# Global fit of the traces at 13.472 keV (Br) and 13.043 keV (Pb): value, standard error.
IRF_SIGMA_PS = 45.0
LIFETIMES_PS = ((120.0, 20.0), (900.0, 300.0))
FRACTIONS = (0.60, 0.21)
OFFSET = 0.19

# Pump, sample and what was concluded from them.
FLUENCE_MJ_CM2 = 8.8
PUMP_NM = 355.0
SIZE_A = 100.0
CONCENTRATION_MG_ML = 5.8
HEATING_K = 120.0
COOLING_PS = 300.0
COOLED_C = 40.0
COOLED_AT_PS = 600.0
# Not published: the thickness of the jet. The estimate needs one.
ASSUMED_JET_A = 2e6
PB_AXIAL_A, PB_EQUATORIAL_A = 2.958, 2.964
MODE = {"energy_meV": 18.0, "axial_to_equatorial": 6.0, "axial_to_B": 2.5}
"""Their longitudinal optical mode along c; Cs takes a marginal part."""
MODE_MEV = MODE["energy_meV"]

CHARGES_E = {"Pb": 4.65, "Br along": -4.20, "Br across": -0.84}
"""In-plane Born charges of orthorhombic CsPbBr3 (PBE, ph.x), along and across the Pb-Br-Pb line."""
EPSILON_INF = 4.75

HOLE_MASS = 0.17
"""Bare hole mass, electron masses: Puppin et al., Phys. Rev. Lett. 124, 206402 (2020); α = 1.82."""
AXIAL_TO_EQUATORIAL, AXIAL_TO_PB = 6.0, 2.5
