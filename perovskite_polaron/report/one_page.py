"""Pages of one thing: a structure, a mode, measured spectra. Each stands alone."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from perovskite_polaron.errors import InputError
from perovskite_polaron.figures.lattice import draw_bonds
from perovskite_polaron.figures.measured import condition, draw_treated
from perovskite_polaron.figures.structure import draw_structure, make_scene, movers
from perovskite_polaron.figures.style import Chart
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.octahedra import bond_report
from perovskite_polaron.lattice.symmetry import absorbers, find_symmetry
from perovskite_polaron.measured.scan import Scan
from perovskite_polaron.phonons.distortion import real_patterns
from perovskite_polaron.phonons.modes import Modes
from perovskite_polaron.report.blocks import Answer, Block, Section, Table
from perovskite_polaron.report.live import atoms, measured
from perovskite_polaron.report.page import Page

#: How far the atom that moves most goes in the picture of a mode, Å.
SHOWN_A = 0.1


def structure_page(crystal: Crystal, source: str) -> Page:
    """Return the page of a crystal: the cell that turns, its symmetry, sites and bonds."""
    symmetry, scene = find_symmetry(crystal), make_scene(crystal)
    lengths = " × ".join(f"{x:.3f}" for x in np.linalg.norm(crystal.lattice_A, axis=1))
    lead = (f"{crystal.formula}, {symmetry.symbol} ({symmetry.number}): {len(crystal)} atoms in a "
            f"cell of {lengths} Å ({crystal.volume_A3:.2f} Å³).")
    sites = [(element, a.site, str(a.multiplicity), f"{element}{a.index + 1}",
              " ".join(f"{x:.4f}" for x in crystal.positions[a.index]))
             for element in dict.fromkeys(crystal.species)
             for a in absorbers(crystal, element, symmetry)]
    blocks: list[Block] = [Table("Inequivalent atoms", (
        "element", "site", "atoms", "first atom", "fractional"), sites)]
    try:
        report = bond_report(crystal)
    except InputError as error:
        unknown = [f"Bonds: {error}."]
    else:
        unknown, f = [], report.framework
        lead += (f" {f.b}–{f.x} bonds: axial {report.axial_A:.3f} Å, equatorial "
                 f"{report.equatorial_A:.3f} Å on average; {f.b} is "
                 f"{report.octahedra.offcentring_A.mean():.3f} Å off the middle of its octahedron.")
        lengths_A = report.octahedra.lengths_A[0]
        kinds = np.repeat([["equatorial"] * 4 + ["axial"] * 2], len(lengths_A), axis=0)
        blocks.append(Chart("bonds", f"Bonds of {crystal.label}", "Every bond length by class.",
                            draw_bonds(report, stacked=True),
                            {"": {"class": kinds.ravel(), "length_A": lengths_A.ravel()}}))
    drawing = Chart("structure", crystal.label, f"The cell of {crystal.formula} in projection.",
                    draw_structure(scene, crystal.lattice_A), {"": {"element": scene.species}})
    return Page(Answer(f"{crystal.formula}: {crystal.label}", lead, unknown, structure=drawing),
                [Section("sites", "Sites and bonds", blocks)],
                {"edges": [], "structure": atoms(scene)}, source)


def mode_page(modes: Modes, mode: Modes, source: str) -> Page:
    """Return the page of one mode: the cell in motion, who moves how far, and its neighbours.

    Parameters
    ----------
    modes
        All modes of a file.
    mode
        The one that is shown.
    source
        What they were read from.

    Raises
    ------
    InputError
        For a wave that does not fit the cell.
    """
    pattern = real_patterns(mode.crystal, mode)[0]
    step_A = pattern * SHOWN_A / np.linalg.norm(pattern, axis=1).max()
    steps, scene = movers(mode.crystal, step_A), make_scene(mode.crystal, step_A)
    most, (first, *others) = max(steps.values()), steps
    name = mode.names[0] or f"mode {mode.numbers[0]}"
    lead = (f"{name} of {mode.crystal.formula}, {mode.energy_words}: {first} moves most"
            + "".join(f", {other} {steps[other] / most:.2f} times as far" for other in others)
            + " (root mean squares).")
    moves = Table("Who moves how far", ("atoms", "of the largest"),
                  [(word, f"{size / most:.3f}") for word, size in steps.items()])
    drawing = Chart(
        "structure", f"{name}, the largest displacement {SHOWN_A:g} Å",
        f"The cell of {mode.crystal.formula} in projection; arrows {scene.magnified:g} times as "
        "long as the displacement.", draw_structure(scene, mode.crystal.lattice_A),
        {"": {"element": scene.species}})
    rows = [(str(number), label or "–", f"{energy:.2f}" if energy else "–",
             " ".join(f"{x:g}" for x in q))
            for number, label, energy, q in zip(modes.numbers, modes.names, modes.energies_meV,
                                                modes.q, strict=True)]
    blocks: list[Block] = [Table("Modes of the file", ("mode", "name", "energy (meV)", "q"), rows)]
    how = mode.provenance or "not recorded"
    blocks.append(Table("Where they come from", ("", ""), [("provenance", how)]))
    unknown = ["How far the atoms go: a mode is a direction, and the arrows are drawn to be seen."]
    return Page(Answer(f"{mode.crystal.formula}: {name}, {mode.energy_words}", lead,
                       unknown, structure=drawing, moves=moves),
                [Section("modes", "Modes of the file", blocks)],
                {"edges": [], "structure": atoms(scene)}, source)


def measured_page(scans: Sequence[Scan], source: str) -> Page:
    """Return the page of measured spectra: the curves, to be read and zoomed, and what is known."""
    names = [condition(scan) for scan in scans]
    seen: Counter[str] = Counter()
    titles = []
    for name in names:
        seen[name] += 1
        titles.append(name if names.count(name) == 1 else f"{name} ({seen[name]})")
    low, high = (f(scan.energy_eV[k] for scan in scans) for f, k in ((min, 0), (max, -1)))
    count = f"{len(scans)} spectra" if len(scans) > 1 else "One spectrum"
    with_errors = sum(scan.error is not None for scan in scans)
    known = {0: "without errors", len(scans): "with errors"}.get(
        with_errors, f"{with_errors} of them with errors")
    lead = f"{count} from {low:.1f} to {high:.1f} eV, {known}, as measured."
    rows = [(title, str(len(scan.energy_eV)),
             f"{scan.energy_eV[0]:.2f} to {scan.energy_eV[-1]:.2f}",
             f"{scan.intensity.min():.4g} to {scan.intensity.max():.4g}",
             "–" if scan.error is None else f"{float(np.median(scan.error)):.2g}")
            for title, scan in zip(titles, scans, strict=True)]
    tables = {f"-{i}": {"energy_eV": scan.energy_eV, "signal": scan.intensity}
              for i, scan in enumerate(scans, 1)}
    drawing = Chart("measured", "As measured", f"{count} of {source}.", draw_treated(scans), tables)
    return Page(Answer(f"{source}: {count.lower()}", lead, chart=drawing), [
        Section("scans", "Spectra", [Table("Spectra", (
            "spectrum", "points", "energies (eV)", "signal", "median error"), rows)])],
        measured(scans, titles), source)
