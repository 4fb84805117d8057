"""What ``polaron compare --beside`` prints: one amplitude from transients at several edges."""

from collections.abc import Iterator, Sequence
from typing import Any

from perovskite_polaron.analysis.joint_fit import JointFit, statements
from perovskite_polaron.cli.options import pick
from perovskite_polaron.cli.tables import Said, Table

#: What an amplitude is called, by the power of Q, and its unit.
_PRODUCTS = {0: ("fraction", ""), 1: ("f_q", "_A_sqrt_amu"), 2: ("f_q2", "_A2_amu")}


def joint_lines(fits: Sequence[JointFit]) -> Iterator[Said]:
    """Return the lines for people."""
    edges = [one.edge for one in fits[0].edges]
    columns = {"together": "16s", "amplitude": "12.4g", "± stat.": "10.2g", "± calc.": ">14s"}
    columns |= {f"{edge} alone": ">18s" for edge in edges} | {"p": "8.2g"}
    rows = []
    for fit in fits:
        calculation = fit.error_calculation
        shown = "not estimated" if calculation is None else f"{calculation:.2g}"
        rows.append((fit.name, fit.product, fit.error, shown,
                     *(f"{one.product:.4g} ± {one.error:.2g}" for one in fit.edges), fit.p_agree))
    yield Table(columns, rows)
    yield from statements(fits)


def joint_record(fits: Sequence[JointFit]) -> list[dict[str, Any]]:
    """Return the same for JSON."""
    found = []
    for fit in fits:
        name, unit = _PRODUCTS[fit.power]
        found.append({
            "name": fit.name, f"{name}{unit}": fit.product, f"{name}_err": fit.error,
            f"{name}_err_calculation": fit.error_calculation,
            f"{name}_interval68{unit}": list(fit.interval68),
            f"{name}_interval95{unit}": list(fit.interval95), "p_agree": fit.p_agree,
            "edges": [{**pick(one, "edge", "product", "error"), "hypothesis": one.fit.name}
                      for one in fit.edges]})
    return found
