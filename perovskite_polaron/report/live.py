"""What the page redraws: stored curves, weights of amplitudes, and the atoms, as JSON for a script.

Between amplitudes a difference is what ``AmplitudeSpectra.weights`` makes of the computed ones: the
script has those weights at the positions of its slider and interpolates nothing itself. It adds
one Gaussian, whose width is the reader's.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from perovskite_polaron.analysis.scenario_found import ScenarioFit
from perovskite_polaron.analysis.verdict import Judgement
from perovskite_polaron.arrays import Array
from perovskite_polaron.figures.structure import Scene, look, make_scene
from perovskite_polaron.figures.style import on_dark
from perovskite_polaron.measured.scan import Scan
from perovskite_polaron.report import study_charts as charts
from perovskite_polaron.report.answer import entry_of, largest
from perovskite_polaron.report.subject import Subject
from perovskite_polaron.spectra.amplitude import AmplitudeSpectra

#: Positions of the slider of amplitudes, zero with them.
POSITIONS = 201
# Decimals of curves, in % of the maximum, and of energies in eV.
_DECIMALS = 5


def live(subjects: Sequence[Subject], transient: Scan | None = None,
         judged: Judgement | None = None) -> dict[str, Any]:
    """Return what the page's script draws: edges, and the first one's structure.

    Parameters
    ----------
    subjects
        The study, and the same structures at other edges.
    transient, judged
        A measured difference spectrum at the first edge, and what the study makes of it: the slider
        begins at the amplitude that was found.
    """
    first = subjects[0]
    best = None if judged is None else judged.found.best
    edges = [_edge(subject, *((transient, best) if subject is first else (None, None)))
             for subject in subjects]
    return {"edges": edges, "structure": _structure(first)}


def measured(scans: Sequence[Scan], names: Sequence[str]) -> dict[str, Any]:
    """Return the same for measured curves, which have no amplitudes."""
    low = min(float(scan.energy_eV[0]) for scan in scans)
    high = max(float(scan.energy_eV[-1]) for scan in scans)
    curves = [{"name": name, "energy": _list(scan.energy_eV, 4),
               "curve": _digits(scan.intensity)}
              for name, scan in zip(names, scans, strict=True)]
    return {"edges": [{"key": "measured", "label": "signal", "axis": "energy (eV)",
                       "range": [low, high], "measured": curves}], "structure": None}


def _list(values: Array, decimals: int = _DECIMALS) -> list[float]:
    # Zero has no sign here.
    return (np.round(np.asarray(values, dtype=np.float64), decimals) + 0.0).tolist()


def _digits(values: Array) -> list[float]:
    return [float(f"{y:.7g}") for y in values]


def _edge(subject: Subject, transient: Scan | None, best: ScenarioFit | None) -> dict[str, Any]:
    zero = subject.anchor_eV + (subject.edge_eV or 0.0)
    steady = subject.spectra.structures[subject.reference].average.intensity / subject.maximum
    swept = {entry.removesuffix(" (−Q)") for entry in subject.sweeps}
    alone = [n for n in subject.names if n.split("@")[0] not in swept]
    s = subject.settings
    return {
        "key": subject.edge.lower(), "label": f"{subject.study.element} {subject.study.edge} edge",
        "axis": subject.axis_label, "energy": _list(subject.axis_eV, 4),
        "range": [round(zero + e, 3) for e in charts.RANGE_EV],
        "width": f"core hole HWHM {s.core_hole_hwhm_eV:.3g} eV ({s.width_model}), resolution FWHM "
                 f"{s.resolution_fwhm_eV:.3g} eV",
        "reference": {"name": subject.reference, "curve": _list(steady, 6)},
        "sweeps": [_sweep(subject, entry, sweep, _found(entry, best))
                   for entry, sweep in subject.sweeps.items()],
        "others": [{"name": name, "difference": _list(subject.percent(name))} for name in alone],
        "features": [{"energy": f.energy_eV, "sign": f.sign, "structural": f.structural}
                     for f in subject.features],
        "transient": None if transient is None else {
            "name": transient.name, "energy": _list(transient.energy_eV, 4),
            "signal": _digits(transient.intensity),
            "error": None if transient.error is None else _digits(transient.error)}}


def _found(entry: str, best: ScenarioFit | None) -> float:
    """Return the amplitude of a sweep that a transient tells; infinite where it tells none."""
    if best is None or best.amplitude is None or entry_of(best) != entry:
        return math.inf
    return best.amplitude.q


def _sweep(subject: Subject, entry: str, sweep: AmplitudeSpectra, start: float) -> dict[str, Any]:
    """Return slider, weights and the parts of one sweep, each at every computed amplitude.

    The slider begins at the amplitude ``start``, or at the largest.
    """
    nodes = sweep.amplitudes_sqrt_amu_A
    q = np.linspace(0.0, nodes[-1], POSITIONS)
    names = _points(subject, entry, sweep)
    result = subject.result(names[-1])
    per_Q = (result.max_displacement_A or 0.0) / abs(result.amplitude_sqrt_amu_A or 1.0)
    split = _split(subject, names, len(nodes))
    if split is None:
        whole = sweep.differences * 100 / float(subject.scenarios.steady_state.max())
        split = [{"site": "", "polarisation": "", "curves": [_list(row) for row in whole]}]
    steps = subject.moved(names[-1])
    law = ("Q² times an even spline in Q (+Q and −Q give the same average)" if sweep.even
           else "Q times a spline in Q (+Q and −Q differ)")
    return {"name": entry, "start": int(np.abs(q - min(start, q[-1])).argmin()),
            "amplitudes": _list(q, 6), "displacement": _list(per_Q * q, 6),
            "computed": _list(per_Q * np.abs(nodes), 6),
            "weights": [_list(row, 8) for row in sweep.weights(q)], "law": law,
            "moves": {} if steps is None else {
                word: round(size / (result.max_displacement_A or 1.0), 4)
                for word, size in charts.moves(subject, steps).items()},
            "parts": split}


def _points(subject: Subject, entry: str, sweep: AmplitudeSpectra) -> list[str]:
    """Return the structures at the nodes of a sweep, in their order."""
    sign = -1.0 if entry.endswith("(−Q)") else 1.0
    found = []
    for node in sweep.amplitudes_sqrt_amu_A:
        for name in subject.entries[entry.removesuffix(" (−Q)")]:
            signed = subject.result(name).amplitude_sqrt_amu_A or 0.0
            q = abs(signed) if sweep.even else sign * signed
            if abs(q - node) < 1e-6 * abs(node):
                found.append(name)
    return found


def _split(subject: Subject, names: Sequence[str], count: int) -> list[dict[str, Any]] | None:
    """Return the parts by site and polarisation; None where an amplitude has none, or two."""
    parts = [{(p.first, p.polarisation): p for p in subject.parts(name)} for name in names]
    if len(names) != count or not parts[0] or any(set(p) != set(parts[0]) for p in parts):
        return None
    return [{"site": f"{charts.site_title(subject, names[-1], first)}, {one.atoms} atoms",
             "polarisation": axis, "curves": [_list(p[first, axis].difference) for p in parts]}
            for (first, axis), one in parts[0].items()]


def _structure(subject: Subject) -> dict[str, Any] | None:
    parent, name = subject.structures.get(subject.reference), largest(subject)
    if parent is None:
        return None
    moved = subject.moved(name) if name else None
    scene = make_scene(parent.crystal, None if moved is None else moved.displacement_A)
    return atoms(scene) | {"sweep": name.split("@")[0]}


def atoms(scene: Scene) -> dict[str, Any]:
    """Return a scene for the viewer: atoms with their displacement, bonds and edges of the cell."""
    rows: list[Mapping[str, Any]] = []
    for element, r, u in zip(scene.species, scene.positions_A, scene.displacement_A, strict=True):
        colour, radius = look(element)
        rows.append({"element": element, "r": _list(r, 4), "u": _list(u, 6), "colour": colour,
                     "dark": on_dark(colour), "radius": round(radius, 2)})
    return {"atoms": rows, "bonds": [list(pair) for pair in scene.bonds],
            "edges": [_list(edge, 4) for edge in scene.corners_A], "magnified": scene.magnified}
