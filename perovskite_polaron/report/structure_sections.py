"""Section 1 of a report: which structures, which mode, and how far each atom moved."""

from collections.abc import Sequence

import numpy as np

from perovskite_polaron.errors import InputError
from perovskite_polaron.figures.lattice import draw_bonds
from perovskite_polaron.figures.style import Chart
from perovskite_polaron.lattice.octahedra import BondReport
from perovskite_polaron.lattice.symmetry import absorbers
from perovskite_polaron.phonons.modes import Mode, read_modes
from perovskite_polaron.report.blocks import Block, Claims, Rows, Section, Table, Text, listed, meaning
from perovskite_polaron.report.claims import difference_claims, mode_claims
from perovskite_polaron.report.subject import Subject


def summary_section(subject: Subject) -> Section:
    """Return what was displaced how far, the bonds before and after, and the verdicts in one table."""
    results = subject.results
    displaced = [n for n in subject.names if subject.result(n).amplitude_sqrt_amu_A]
    others = [n for n in subject.names if n not in displaced]
    words = (
        f"{results.study.element} K edge. Ground state: {subject.reference}, {subject.result(subject.reference).space_group}."
    )
    if displaced:
        words += f" Displaced along a phonon mode: {listed(displaced)}."
    if others:
        words += f" Other structures: {listed(others)}."
    section = Section("summary", "Summary", [Text(words)])
    if subject.is_published_case:
        section.blocks.append(Claims("Verdicts", [*difference_claims(subject), *mode_claims(subject)]))
    section.blocks += [
        meaning(
            "Q is the amplitude of the mode: the square root of the sum of mass times squared displacement over the "
            "cell. "
            "The largest displacement is that of the atom that moves most. In units of the zero-point motion an "
            "amplitude of 1 "
            "is what quantum mechanics gives the mode at absolute zero."
        ),
        Table("Structures", *_structures(subject)),
    ]
    modes = [row for name in displaced[:1] for row in _mode_rows(subject, name)]
    if modes:
        section.blocks.append(Table("Mode", ("mode", "energy", "source"), modes))
    section.blocks += _moves(subject, displaced)
    return section


def _structures(subject: Subject) -> Rows:
    head = (
        "structure",
        "space group",
        "cell (Å)",
        "Q (Å√amu)",
        "in zero-point units",
        "largest displacement (Å)",
        "absorbers",
    )
    rows = []
    for result in subject.results.structures:
        lengths = np.linalg.norm(result.lattice_A, axis=1)
        structure = subject.structures.get(result.name)
        point = None if structure is None else structure.distortion
        rows.append(
            (
                result.name,
                result.space_group,
                " × ".join(f"{x:.3f}" for x in lengths),
                f"{result.amplitude_sqrt_amu_A:.3f}" if result.amplitude_sqrt_amu_A else "–",
                f"{np.hypot.reduce(point.amplitude_zero_point):.2f}" if point is not None else "–",
                f"{result.max_displacement_A:.3f}" if result.max_displacement_A else "–",
                ", ".join(
                    f"{s.multiplicity} × {s.label}" + (f" (was {s.parent})" if s.parent else "") for s in result.sites
                ),
            )
        )
    return head, rows


def _mode_rows(subject: Subject, name: str) -> Sequence[Sequence[str]]:
    entry = subject.study.structures.get(name) or subject.study.structures[name.split("@")[0]]
    rows = []
    for source in entry.modes:
        try:
            found = read_modes(subject.study.file(source))
        except InputError:
            rows.append((source, "?", "its file is not here"))
            continue
        mode: Mode = found.modes[0]
        rows.append(
            (f"{source}: {mode.name}" if mode.name else source, f"{mode.energy_meV:.2f} meV", found.provenance or "–")
        )
    return rows


def _moves(subject: Subject, displaced: Sequence[str]) -> list[Block]:
    blocks: list[Block] = []
    largest = max(displaced, key=lambda n: subject.result(n).amplitude_sqrt_amu_A or 0.0, default=None)
    moved = None if largest is None else subject.moved(largest)
    if largest is not None and moved is not None:
        blocks += [
            meaning(
                "How far each set of equivalent atoms moved, with the centre of mass at rest. Atoms are grouped by "
                "the sites they "
                "have after the displacement; the components along the axes are those of the first atom of the set."
            ),
            Table(f"How far each atom moved: {largest}", *_atoms(subject, largest, moved.displacement_A)),
        ]
        ratios = [
            f"{k.replace('_', ' ').replace(' B', ' B cation')} {v:.2f}" for k, v in moved.ratio.items() if v is not None
        ]
        blocks.append(Text(f"Ratios of root-mean-square displacements: {listed(ratios)}."))
    reports = {n: subject.bonds(n) for n in (subject.reference, *subject.names)}
    known = {n: r for n, r in reports.items() if r is not None}
    if known:
        blocks += [
            meaning(
                "Bonds between the metal and the halide: axial ones run along the long axis, equatorial ones across "
                "it. Off-centring "
                "is how far the metal sits from the middle of its six halides; it is what a polar displacement makes."
            ),
            Table("Bonds before and after", ("", *known), _bond_rows(list(known.values()))),
        ]
    if missing := [n for n, r in reports.items() if r is None]:
        blocks.append(
            Text(f"Not shown for {listed(missing)}: its crystal is not beside the results, or has no octahedra.")
        )
    if largest is not None and moved is not None and largest in known and subject.reference in known:
        report, reference = known[largest], known[subject.reference]
        blocks.append(bonds_chart(largest, report, reference, subject))
    return blocks


def bonds_chart(name: str, report: BondReport, reference: BondReport, subject: Subject) -> Chart:
    """Draw every bond before and after, and the displacements."""
    columns: dict[str, list[float | str]] = {"class": [], "before_A": [], "after_A": []}
    for slot in range(6):
        before, after = reference.octahedra.lengths_A[0, :, slot], report.octahedra.lengths_A[0, :, slot]
        columns["class"] += ["axial" if slot >= 4 else "equatorial"] * len(before)
        columns["before_A"] += before.tolist()
        columns["after_A"] += after.tolist()
    figure = draw_bonds(report, reference, subject.moved(name), stacked=True)
    return Chart(
        "bonds",
        f"Bonds of {name}",
        "Every bond length before and after, and the displacement of each class.",
        figure,
        {"": columns},
    )


def _atoms(subject: Subject, name: str, displacement_A: np.ndarray) -> Rows:
    structure = subject.structures[name]
    crystal = structure.crystal
    framework = subject.bonds(subject.reference)
    axial = () if framework is None else framework.framework.axial_x
    equatorial = () if framework is None else framework.framework.equatorial_x
    rows = []
    for element in dict.fromkeys(crystal.species):
        for a in absorbers(crystal, element, structure.symmetry):
            size = np.linalg.norm(displacement_A[list(a.indices)], axis=1)
            word = "axial " if a.index in axial else "equatorial " if a.index in equatorial else ""
            site = a.site if a.parent is None else f"{a.parent} → {a.site}"
            u = displacement_A[a.index]
            rows.append(
                (
                    f"{word}{element}{a.index + 1}",
                    site,
                    str(a.multiplicity),
                    f"{np.sqrt((size**2).mean()):.4f}",
                    *(f"{x:+.4f}" for x in u),
                )
            )
    return ("first atom", "site", "atoms", "moved (Å)", "x (Å)", "y (Å)", "z (Å)"), rows


def _bond_rows(reports: Sequence[BondReport]) -> Sequence[Sequence[str]]:
    f = reports[0].framework

    def span(report: BondReport, slots: slice) -> str:
        lengths = report.octahedra.lengths_A[0, :, slots]
        return f"{lengths.min():.4f} – {lengths.max():.4f}"

    return [
        (f"{f.b}–{f.x} axial, mean (Å)", *(f"{r.axial_A:.4f}" for r in reports)),
        (f"{f.b}–{f.x} axial, shortest – longest (Å)", *(span(r, slice(4, 6)) for r in reports)),
        (f"{f.b}–{f.x} equatorial, mean (Å)", *(f"{r.equatorial_A:.4f}" for r in reports)),
        (f"{f.b}–{f.x} equatorial, shortest – longest (Å)", *(span(r, slice(0, 4)) for r in reports)),
        (f"{f.b} off-centring, mean (Å)", *(f"{r.octahedra.offcentring_A.mean():.4f}" for r in reports)),
        (f"{f.b}–{f.x}–{f.b} axial angle (°)", *(f"{r.axial_angle_deg:.2f}" for r in reports)),
        (f"{f.b}–{f.x}–{f.b} equatorial angle (°)", *(f"{r.equatorial_angle_deg:.2f}" for r in reports)),
    ]
