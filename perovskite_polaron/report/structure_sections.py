"""A section of a report: which structures, which mode, and how far each atom moved."""

from collections.abc import Mapping, Sequence

import numpy as np

from perovskite_polaron.arrays import Array
from perovskite_polaron.lattice.octahedra import BondReport, Framework
from perovskite_polaron.lattice.shells import GAP_A, NEAR, find_shells
from perovskite_polaron.lattice.symmetry import absorbers
from perovskite_polaron.report.answer import mode_files
from perovskite_polaron.report.blocks import Block, Rows, Section, Table, Text, listed, meaning
from perovskite_polaron.report.study_charts import atom_name, bonds_chart
from perovskite_polaron.report.subject import Subject


def structures_section(subject: Subject) -> Section:
    """Return what was displaced how far, and the bonds before and after."""
    ground = subject.result(subject.reference).space_group
    words = (f"{subject.study.element} {subject.study.edge} edge. Ground state: "
             f"{subject.reference}, {ground}.")
    if subject.displaced:
        words += f" Displaced along a phonon mode: {listed(subject.displaced)}."
    if subject.other_phases:
        words += f" Other structures: {listed(subject.other_phases)}."
    blocks: list[Block] = [Text(words), meaning("amplitudes"),
                           Table("Structures", *_structures(subject))]
    if modes := [row for name in subject.displaced[:1] for row in _mode_rows(subject, name)]:
        blocks.append(Table("Mode", ("mode", "energy", "source"), modes))
    return Section("structures", "Structures and bonds", [*blocks, *_moves(subject)])


def _structures(subject: Subject) -> Rows:
    head = ("structure", "space group", "cell (Å)", "Q (Å√amu)", "in zero-point units",
            "largest displacement (Å)", "absorbers")
    rows = []
    for result in subject.results.structures:
        structure = subject.structures.get(result.name)
        point = None if structure is None else structure.distortion
        lengths = np.linalg.norm(result.lattice_A, axis=1)
        sites = [f"{s.multiplicity} × {s.label}" + (f" (was {s.parent})" if s.parent else "")
                 for s in result.sites]
        size, largest = result.amplitude_sqrt_amu_A, result.max_displacement_A
        rows.append((result.name, result.space_group, " × ".join(f"{x:.3f}" for x in lengths),
                     f"{size:.3f}" if size else "–",
                     "–" if point is None or np.isnan(point.amplitude_zero_point).any()
                     else f"{np.hypot.reduce(point.amplitude_zero_point):.2f}",
                     f"{largest:.3f}" if largest else "–", ", ".join(sites)))
    return head, rows


def _mode_rows(subject: Subject, name: str) -> list[Sequence[str]]:
    return [(source, "?", "its file is not here") if mode is None else
             (f"{source}: {mode.names[0]}" if mode.names[0] else source,
              mode.energy_words, mode.provenance or "–")
             for source, mode in mode_files(subject, name).items()]


def _moves(subject: Subject) -> list[Block]:
    blocks: list[Block] = []
    largest = max(subject.displaced, key=subject.amplitude, default="")
    moved = subject.moved(largest)
    if moved is not None:
        blocks += [meaning("atoms"),
                   Table(f"How far each atom moved: {largest}",
                         *_atoms(subject, largest, moved.displacement_A))]
        ratios = [f"{name.replace('_', ' ').replace(' B', ' B cation')} {ratio:.2f}"
                  for name, ratio in moved.ratio.items() if ratio is not None]
        if ratios:
            blocks.append(Text(f"Ratios of root-mean-square displacements: {listed(ratios)}."))
    blocks += _shells(subject) if subject.shells else _bonds(subject)
    chart = bonds_chart(subject, largest) if moved is not None else None
    return blocks if chart is None else [*blocks, chart]


def _bonds(subject: Subject) -> list[Block]:
    reports = {name: subject.bonds(name) for name in (subject.reference, *subject.names)}
    known = {name: report for name, report in reports.items() if report is not None}
    blocks: list[Block] = []
    if known:
        f = next(iter(known.values())).framework
        blocks += [meaning("bonds", b=f.b, x=f.x, axis=_axis_words(subject, f)),
                   Table("Bonds before and after", ("", *known), _bond_rows(known))]
    if missing := [name for name in reports if name not in known]:
        blocks.append(Text(f"Not shown for {listed(missing)}: its crystal is not beside the "
                           "results, or has no octahedra that share corners only."))
    return blocks


def _axis_words(subject: Subject, framework: Framework) -> str:
    """Return which axis is the axial one, and why."""
    if not framework.is_cubic:
        return f"the axis whose step from one {framework.b} to the next differs most"
    unit = framework.crystal.lattice_A
    cosine = np.abs(unit @ framework.axes[2]) / np.linalg.norm(unit, axis=1)
    name = "abc"[int(cosine.argmax())]
    why = "that the largest displacement singles out" if subject.displaced else "by convention"
    return f"the cubic axis nearest to {name}, {why}"


def _shells(subject: Subject) -> list[Block]:
    """Return the shells of the reference, and of the same pairs in what is displaced from it."""
    moved = {subject.reference: None} | {
        name: found.displacement_A for name in subject.names
        if (found := subject.moved(name)) is not None}
    rows = [(shell.name, *(shell.words(step) for step in moved.values()))
            for shell in subject.shells]
    blocks: list[Block] = [meaning("shells", gap=GAP_A, near=NEAR),
                           Table("Coordination shells (Å)", ("site: atoms around it", *moved),
                                 rows)]
    for name in subject.names:
        if name not in moved and name in subject.structures:
            own = find_shells(subject.structures[name].crystal)
            blocks.append(Table(f"Coordination shells of {name} (Å)",
                                ("site: atoms around it", name),
                                [(shell.name, shell.words()) for shell in own]))
    return blocks


def _atoms(subject: Subject, name: str, displacement_A: Array) -> Rows:
    structure = subject.structures[name]
    rows = []
    for element in dict.fromkeys(structure.crystal.species):
        for a in absorbers(structure.crystal, element, structure.symmetry):
            moved = np.sqrt((displacement_A[list(a.indices)] ** 2).sum(axis=1).mean())
            site = a.site if a.parent is None else f"{a.parent} → {a.site}"
            rows.append((atom_name(subject, element, a.index), site, str(a.multiplicity),
                         f"{moved:.4f}", *(f"{x:+.4f}" for x in displacement_A[a.index])))
    return ("first atom", "site", "atoms", "moved (Å)", "x (Å)", "y (Å)", "z (Å)"), rows


def _bond_rows(known: Mapping[str, BondReport]) -> list[Sequence[str]]:
    """Return rows for each pair of elements and each B; a dash where a structure lacks it."""
    reports = list(known.values())
    lengths = [report.by_pair() for report in reports]
    rows: list[Sequence[str]] = []
    for pair in dict.fromkeys(pair for one in lengths for pair in one):
        for kind in ("axial", "equatorial"):
            found = [one.get(pair, {}).get(kind, np.empty(0)) for one in lengths]
            rows += [(f"{pair} {kind}, mean (Å)", *(f"{v.mean():.4f}" if len(v) else "–"
                                                    for v in found)),
                     (f"{pair} {kind}, shortest – longest (Å)",
                      *(f"{v.min():.4f} – {v.max():.4f}" if len(v) else "–" for v in found))]
    off = [report.offcentring_by_element() for report in reports]
    rows += [(f"{b} off-centring, mean (Å)", *(f"{one[b]:.4f}" if b in one else "–" for one in off))
             for b in dict.fromkeys(b for one in off for b in one)]
    b, x = reports[0].framework.b, reports[0].framework.x
    return rows + [(f"{b}–{x}–{b} {name} angle (°)",
                    *("–" if (v := getattr(r, f"{name}_angle_deg")) is None else f"{v:.2f}"
                      for r in reports)) for name in ("axial", "equatorial")]
