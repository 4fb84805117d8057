"""Whether a study is coarser than what was found necessary (``data/needed.toml``)."""

from collections.abc import Mapping
from pathlib import Path

from numpy.typing import ArrayLike

from perovskite_polaron.files import read_toml
from perovskite_polaron.lattice.symmetry import spacings_1_A
from perovskite_polaron.workflow.study import Study

_TABLE = Path(__file__).parent.parent / "data" / "needed.toml"


def coarser(study: Study, lattices_A: Mapping[str, ArrayLike]) -> list[str]:
    """Return a line where k points of the spectrum are further apart than was found necessary.

    Parameters
    ----------
    study
        The study.
    lattices_A
        Structure -> lattice (3, 3).

    Returns
    -------
    list of str
        One line, or none.
    """
    if study.engine.kind != "xspectra":
        return []
    found = read_toml(_TABLE, "table of needed settings")
    needed = found["spectrum_kpoint_spacing_1_A"]
    spacing = {}
    for name, lattice in lattices_A.items():
        own = study.structures[name.split("@")[0]].kpoints
        spacing[name] = float(spacings_1_A(lattice, own or study.xspectra.grid(lattice)).max())
    name = max(spacing, key=lambda one: spacing[one])
    if spacing[name] <= needed * 1.01:
        return []
    return [f"k points of the spectrum are up to {spacing[name]:.2f} 1/Å apart ({name}); {needed:g}"
            f" was found necessary ({found['seen']}): near the edge differences are not converged"]
