"""Whether two studies are of the same displacements, seen from different atoms."""

from perovskite_polaron.errors import require
from perovskite_polaron.workflow.results import StudyResults

#: Largest displacements per amplitude that agree to this are of one mode in one cell.
_ALIKE = 0.01


def need_other_edge(mine: StudyResults, other: StudyResults) -> None:
    """Refuse two studies whose excited fraction × Q² is not one number.

    Raises
    ------
    InputError
        When both are of one edge, have no structure in common, or a mode's amplitude Q stands for
        another displacement: another mode, or a cell of another size, over which Q is summed.
    """
    edges = [f"{one.study.element} {one.study.edge}" for one in (mine, other)]
    require(edges[0] != edges[1], f"both studies are of the edge {edges[0]}: give a study of"
            " another edge beside")
    per_Q = [{s.name.split("@")[0]: s.max_displacement_A / abs(s.amplitude_sqrt_amu_A)
              for s in one.structures if s.amplitude_sqrt_amu_A and s.max_displacement_A}
             for one in (mine, other)]
    for name in per_Q[0].keys() & per_Q[1].keys():
        first, second = per_Q[0][name], per_Q[1][name]
        require(abs(first - second) <= _ALIKE * first, f"{name} is another displacement in the"
                f" study of {edges[1]}: Q of 1 Å√amu moves an atom by {first:.4f} Å in the one and"
                f" by {second:.4f} Å in the other; displace the same crystal, in a cell of the same"
                " size, along the same mode")
