"""How bonds, off-centring, angles and tilts are distributed over the snapshots of an ensemble."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from perovskite_polaron.arrays import Array, freeze
from perovskite_polaron.lattice.ensemble import Ensemble
from perovskite_polaron.lattice.octahedra import Framework, find_framework, sweep_bonds
from perovskite_polaron.lattice.shells import find_shells

#: Quantity with its unit -> what it is called in tables and figures.
QUANTITIES = {"axial_A": "axial bond (Å)", "equatorial_A": "equatorial bond (Å)",
              "offcentring_A": "off-centring (Å)", "axial_angle_deg": "axial B–X–B angle (°)",
              "equatorial_angle_deg": "equatorial B–X–B angle (°)",
              "axial_tilt_deg": "tilt of the axial bonds (°)",
              "equatorial_tilt_deg": "tilt of the equatorial bonds (°)"}


@dataclass(frozen=True, eq=False)
class Distribution:
    """Values of one quantity, of all octahedra and snapshots.

    Attributes
    ----------
    values
        (k,) float64, in the unit of its name.
    mean, sigma
        Their mean and standard deviation.
    reference
        Mean in the crystal that the snapshots are displaced from.
    """

    values: Array
    mean: float
    sigma: float
    reference: float

    def __post_init__(self) -> None:
        freeze(self, values=self.values)

    def percentile(self, percent: float) -> float:
        """Return the value that so many per cent lie below."""
        return float(np.percentile(self.values, percent))


def bond_distributions(ensemble: Ensemble,
                       framework: Framework | None = None) -> dict[str, Distribution]:
    """Return the distribution of every quantity of QUANTITIES that the crystal has.

    The octahedra are those of the reference: a bond stays that of its two atoms. Strain of a cell
    that is not constant is left out.

    Raises
    ------
    InputError
        As ``octahedra.find_framework`` for the reference.
    """
    framework = framework or find_framework(ensemble.reference)
    found = [_quantities(framework, moved) for moved in ensemble.displacements_A]
    rest = _quantities(framework, np.zeros((len(ensemble.reference), 3)))
    return {name: _distribution([one[name] for one in found], rest[name])
            for name in QUANTITIES if rest[name].size}


def shell_distributions(ensemble: Ensemble) -> dict[str, Distribution]:
    """Return the distribution of the distances (Å) in each coordination shell, by its name, for a
    crystal without octahedra; the pairs are those of the crystal at rest.
    """
    return {shell.name: _distribution([shell.lengths_A(moved) for moved in
                                       ensemble.displacements_A], shell.lengths_A())
            for shell in find_shells(ensemble.reference)}


def _distribution(found: Sequence[Array], rest: Array) -> Distribution:
    values = np.concatenate(found)
    return Distribution(values, float(values.mean()), float(values.std()), float(rest.mean()))


def _quantities(framework: Framework, moved_A: Array) -> dict[str, Array]:
    one = sweep_bonds(framework, moved_A[None], [[1.0]])
    axial = framework.bridges[:, 0] % 6 >= 4
    return {"axial_A": one.lengths_A[0, :, 4:].ravel(),
            "equatorial_A": one.lengths_A[0, :, :4].ravel(),
            "offcentring_A": one.offcentring_A[0], "axial_angle_deg": one.angles_deg[0][axial],
            "equatorial_angle_deg": one.angles_deg[0][~axial],
            "axial_tilt_deg": one.tilts_deg[0][:, 2],
            "equatorial_tilt_deg": one.tilts_deg[0][:, :2].ravel()}
