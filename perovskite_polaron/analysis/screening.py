"""The edge that carriers move: screening of the core hole, less what the gap shrinks by.

Carriers weaken the attraction between core hole and electron, which moves the edge up; they also
make the gap smaller, which moves it down. At an optical exciton the two nearly cancel, and at the
one core edge where both were computed and measured, Zn K of ZnO, what is left is a shift to higher
energies, larger than the blocking of states. Its template is the steady state moved by a little,
minus itself, near the edge only: the whole of it up to the first maximum E1, beyond times

    exp(−((E − E1) / reach)²).

That is one of two limits. Here only what the hole holds is moved; carriers that raise all of the
potential around it alike move the whole spectrum, which is the rigid shift (``scenarios``).

What it cannot say: the size for a density, which grows slower than the density (a check from first
principles in a cell of five atoms, docs/carriers.md, has 0.03 % of the maximum and −0.2 meV per
1e19 pairs per cm³, mostly no shift: the other sign); a loss of oscillator strength, or another
width. Over the lifetime of the hole (2.5 eV, a quarter of a femtosecond, at Br K) carriers with a
plasma energy of some 0.2 eV at 1e19 per cm³ hardly answer a new hole, so that sizes from slow,
optical experiments are upper limits.

References
----------
Blue shift of a core exciton, larger than blocking: T. C. Rossi et al., Commun. Mater. 6 (2025),
doi 10.1038/s43246-025-00909-w. The same of the optical exciton of CsPbBr3, calculated: L. Qiao et
al., npj Comput. Mater. (2026), doi 10.1038/s41524-026-02128-4. The gap of MAPbBr3 falls by 90 to
150 meV for half a picosecond: L. Wang et al., ACS Photonics (2024), doi
10.1021/acsphotonics.4c00082.
"""

from dataclasses import dataclass, replace

import numpy as np

from perovskite_polaron.analysis.scenarios import Scenario, ScenarioSet, rigid_shift
from perovskite_polaron.errors import require


@dataclass(frozen=True)
class Screening:
    """What is known of the shift before it is fitted.

    Attributes
    ----------
    sigma_eV
        Of a half-normal prior of excited fraction × shift, to higher energies; 0 leaves screening
        out. The default is the size of the shifts of gaps that were measured.
    reach_eV
        How far beyond the first maximum states move. The default is as far as the published
        electronic part of the Br K transient goes.
    """

    sigma_eV: float = 0.1
    reach_eV: float = 5.0

    def __post_init__(self) -> None:
        require(0 <= self.sigma_eV <= 5, f"the prior of the shift by screening, {self.sigma_eV:g}"
                " eV, must lie between 0 (left out) and 5 eV")
        require(0.5 <= self.reach_eV <= 1000, f"screening that reaches {self.reach_eV:g} eV beyond"
                " the first maximum is not possible: give 0.5 to 1000 eV")

    def __call__(self, found: ScenarioSet) -> Scenario:
        """Return the scenario, per eV."""
        rigid = rigid_shift(found)
        beyond = np.maximum(rigid.energy_eV - found.first_maximum_eV, 0.0) / self.reach_eV
        return replace(rigid, name="screening", kind="screening", prior_sigma=self.sigma_eV,
                       difference=rigid.difference * np.exp(-(beyond**2)))

    @property
    def words(self) -> str:
        """A sentence that says what was assumed."""
        return (f"Screening by carriers is a shift of the edge to higher energies, prior"
                f" {self.sigma_eV:g} eV (--screening-sigma), of all up to the first maximum and"
                f" falling within {self.reach_eV:g} eV beyond (--screening-reach).")
