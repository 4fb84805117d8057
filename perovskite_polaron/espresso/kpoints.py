"""How dense k points are: a grid, or a spacing that gives each cell a grid of its own."""

from dataclasses import replace
from typing import ClassVar, Self

from numpy.typing import ArrayLike

from perovskite_polaron.errors import require
from perovskite_polaron.lattice.symmetry import grid_for

#: Largest distances of k points (1/Å, 2π included) where a file names neither grid nor spacing.
#: Provisional: with them neither density nor spectrum of CsPbBr3 is known to be converged.
DENSITY_SPACING_1_A = 0.4
SPECTRUM_SPACING_1_A = 0.2


class KPoints:
    """What settings with k points share; a base of dataclasses that have these two fields.

    One of the two is None. Where both are left out the spacing is the default.
    """

    default_spacing_1_A: ClassVar[float]
    kpoints: tuple[int, int, int] | None
    kpoint_spacing_1_A: float | None

    def __post_init__(self) -> None:
        require(self.kpoints is None or self.kpoint_spacing_1_A is None, "kpoints and"
                " kpoint_spacing_1_A both say how dense the k points are: give one of them")
        if self.kpoints is None and self.kpoint_spacing_1_A is None:
            # Settled here, so that a study's record says what was computed.
            object.__setattr__(self, "kpoint_spacing_1_A", self.default_spacing_1_A)

    def grid(self, lattice_A: ArrayLike) -> tuple[int, int, int]:
        """Return the grid that a cell has."""
        return self.kpoints or grid_for(lattice_A, self.kpoint_spacing_1_A or 0.0)

    def on_grid(self, kpoints: tuple[int, int, int]) -> Self:
        """Return the settings with a grid."""
        return replace(self, kpoints=kpoints, kpoint_spacing_1_A=None)  # type: ignore[type-var]
