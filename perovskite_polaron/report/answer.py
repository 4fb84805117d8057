"""The first screen of a report: what it is about, the answer, what is not known, what would change.

Whoever reads no further knows which material, which mode, how far which atoms, and how sure.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.analysis.scenario_found import ScenarioFit
from perovskite_polaron.analysis.verdict import ABOVE_EDGE_EV, Judgement, error_words
from perovskite_polaron.errors import InputError
from perovskite_polaron.figures.structure import draw_structure, make_scene, movers
from perovskite_polaron.figures.style import Chart
from perovskite_polaron.files import Column
from perovskite_polaron.measured.scan import Scan
from perovskite_polaron.phonons.modes import Modes, mode_of
from perovskite_polaron.report.blocks import Answer, Claims, Table, listed
from perovskite_polaron.report.claims import counted, findings
from perovskite_polaron.report.study_charts import RANGE_EV, difference_chart, moves
from perovskite_polaron.report.subject import Subject
from perovskite_polaron.report.variations import Variation
from perovskite_polaron.spectra.amplitude import leading_regime
from perovskite_polaron.workflow.needed import coarser
from perovskite_polaron.workflow.spectra import calculation_error_percent

#: So many things that would change the answer are named.
_NAMED = 3
#: Excited fractions for which a displacement is said.
_FRACTIONS = (1.0, 0.1)


def answer(subject: Subject, transient: Scan | None, judged: Judgement | None,
           varied: Sequence[Variation]) -> Answer:
    """Return the first screen of a study's report.

    Parameters
    ----------
    subject
        The study.
    transient, judged
        A measured difference spectrum, and what the study makes of it.
    varied
        The variations of ``variations``.
    """
    found = findings(subject, "summary")
    claims = Claims("Published statements", found) if found else None
    lead = _shown(subject) if judged is None else _judged(subject, judged)
    return Answer(title(subject), lead, _unknown(subject, judged),
                  difference_chart(subject, transient), structure_chart(subject),
                  _moves(subject, judged), would_change(subject, varied), claims,
                  counted(found) if found else "")


def largest(subject: Subject) -> str:
    """Return the displaced structure with the largest amplitude, or an empty name."""
    return max(subject.displaced, key=subject.amplitude, default="")


def title(subject: Subject) -> str:
    """Return material, mode and edge."""
    edge, name = f"{subject.study.element} {subject.study.edge} edge", largest(subject)
    crystal = subject.structures.get(subject.reference)
    what = subject.reference if crystal is None else crystal.crystal.formula
    what += f" ({subject.result(subject.reference).space_group.split(' ')[0]})"
    if name:
        return f"{what} displaced along {_mode_words(subject, name)}: {edge}"
    return f"{what} and {listed(subject.names)}: {edge}" if subject.names else f"{what}: {edge}"


def _mode_words(subject: Subject, name: str) -> str:
    modes = mode_files(subject, name)
    words = [source if mode is None else mode_title(source, mode)
             for source, mode in modes.items()]
    return f"{'its mode' if len(words) == 1 else 'its modes'} {listed(words)}"


def mode_title(source: str, mode: Modes) -> str:
    """Return a mode in words: ``lo-c (B1u LO, 22.25 meV)``."""
    named = f"{mode.names[0]}, " if mode.names[0] else ""
    return f"{source} ({named}{mode.energy_words})"


def mode_files(subject: Subject, name: str) -> dict[str, Modes | None]:
    """Return the modes that a structure is displaced along, under the names of their files, with
    their numbers where the study says them; None where the file is not here.
    """
    entries = subject.study.structures
    entry = entries.get(name) or entries[name.split("@")[0]]
    found: dict[str, Modes | None] = {}
    for source, number in entry.numbered_modes:
        named = source if number is None else f"{source} {number}"
        try:
            found[named] = mode_of(subject.study.file(source), number)
        except InputError:
            found[named] = None
    return found


def _steps(subject: Subject, name: str) -> dict[str, float]:
    """Return how far each class of atoms moved in a structure, Å; empty without crystals."""
    moved, parent = subject.moved(name), subject.structures.get(subject.reference)
    point = subject.structures[name].distortion if name in subject.structures else None
    if moved is not None:
        return dict(moves(subject, moved))
    return {} if point is None or parent is None else movers(parent.crystal, point.displacement_A)


def _shown(subject: Subject) -> str:
    """Return what the calculation shows, in a sentence."""
    name = largest(subject)
    edge = f"{subject.study.element} {subject.study.edge}"
    if not subject.names:
        return f"No structure here differs from {subject.reference} in its {edge} spectrum."
    if not name:
        name = max(subject.names, key=lambda n: np.abs(subject.percent(n)).max())
        return f"From {subject.reference} to {name} {_change(subject, name, edge)}"
    steps = _steps(subject, name)
    size = subject.result(name).max_displacement_A or 0.0
    first, *others = steps or [f"the atom that moves most ({size:.2f} Å)"]
    also = f" ({', '.join(f'{other} {steps[other]:.2f} Å' for other in others)})" if others else ""
    if steps:
        first += f" by {steps[first]:.2f} Å"
    return f"Moving {first}{also} {_change(subject, name, edge)} {_growth(subject, name)}"


def _change(subject: Subject, name: str, edge: str) -> str:
    """Return the largest change beyond the edge; near it too, where the k points allow."""
    error = calculation_error_percent(subject.spectra).get(name)
    said = "calculation error not estimated" if error is None else (
        f"± {error:.2g} % at most from the settings, 1σ")
    offset = subject.energy_eV - subject.anchor_eV
    beyond = (offset >= ABOVE_EDGE_EV) & (offset <= RANGE_EV[1])
    near = np.abs(offset) < ABOVE_EDGE_EV
    more = ", where it is not converged" if _coarse(subject) else ""
    return (f"changes the average {edge} absorption by up to {_most(subject, name, beyond)} of its "
            f"maximum beyond the edge ({said}), and by {_most(subject, name, near)} near the "
            f"edge{more}.")


def _most(subject: Subject, name: str, inside: NDArray[np.bool_]) -> str:
    """Return the largest size of a difference among some energies."""
    return f"{np.abs(subject.percent(name)[inside]).max(initial=0.0):.2g} %"


def _growth(subject: Subject, name: str) -> str:
    sweep = subject.sweeps.get(name.split("@")[0])
    if sweep is None or len(sweep.amplitudes_sqrt_amu_A) < 2:
        return "Only this amplitude was calculated."
    regime, smallest = leading_regime(sweep), sweep.amplitudes_sqrt_amu_A[0]
    per_Q = (subject.result(name).max_displacement_A or 0.0) / subject.amplitude(name)
    grows = "as the square of the amplitude" if sweep.even else "in proportion to the amplitude"
    tolerance = f"{100 * regime.tolerance:g} %"
    if regime.fails_at_sqrt_amu_A is None:
        return f"The change grows {grows}, within {tolerance} at all calculated amplitudes."
    if regime.fails_at_sqrt_amu_A <= smallest:
        return f"The change does not grow {grows} at the calculated amplitudes."
    return (f"The change grows {grows}, within {tolerance} up to a largest displacement of "
            f"{regime.fails_at_sqrt_amu_A * per_Q:.2f} Å.")


def _judged(subject: Subject, judged: Judgement) -> str:
    """Return what a transient says, in a sentence: the number and its errors."""
    best, name = judged.found.best, judged.transient.name
    if best is None:
        return (f"The measured transient {name} supports none of the calculated changes: it tells "
                "no displacement.")
    odds = judged.found.odds()[best.name]
    sure = "> 99.9 %" if odds > 0.999 else f"{100 * odds:.1f} %"
    return (f"The measured transient {name} is best described by {best.name}: "
            f"{_size(subject, best)}. Probability among the hypotheses given: {sure}.")


def _size(subject: Subject, best: ScenarioFit) -> str:
    """Return how far which atoms, and in how much of the sample, or what is known of both."""
    part, unit, found = best.parts[0], best.per_strength, best.amplitude
    if unit is None or part.sweep is None:
        return f"strength {best.strength:.3g} {error_words(best, 0)}"
    what, of = part.sweep.symbol, part.sweep.unit
    if found is None:
        raised = "²" if part.power == 2 else ""
        of = {"K": "K", "Å√amu": "Å²·amu" if raised else "Å·√amu"}[of]
        return (f"excited fraction f and amplitude {what} with f·{what}{raised} = "
                f"{unit * best.strength:.3g} {error_words(best, 0, unit)} {of}"
                f"{_in_angstrom(subject, best, unit)}")
    fraction = f"{found.f:.3g}" + (" that was given" if found.given_fraction else (
        f" (68 %: {found.f68[0]:.3g} to {found.f68[1]:.3g})"))
    size = f"{what} = {found.q:.3g} {of} (68 %: {found.q68[0]:.3g} to {found.q68[1]:.3g})"
    if moved := _moved_at(subject, best, found.q):
        first, *others = moved
        low, high = (_moved_at(subject, best, q)[first] for q in found.q68)
        also = "".join(f"; {other} {moved[other]:.2f} Å" for other in others)
        size = (f"{first} moved by {moved[first]:.3f} Å (68 %: {low:.3f} to {high:.3f}{also}), "
                f"{size},")
    known = best.parts[0].estimated
    missing = {"estimated": "", "not estimated": ". These errors are statistical: that of the "
               "calculation was not estimated"}.get(known, f". Calculation error in them: {known}")
    return f"{size} in the fraction {fraction} of the sample{missing}"


def _moved_at(subject: Subject, best: ScenarioFit, q_sqrt_amu_A: float) -> dict[str, float]:
    """Return how far each class of atoms moves along the best hypothesis' mode, Å; empty without
    crystals.
    """
    names = subject.entries.get(entry_of(best).removesuffix(" (−Q)"))
    if not names or best.parts[0].kind != "structure":
        return {}
    scale = q_sqrt_amu_A / subject.amplitude(names[-1])
    return {atoms: scale * step for atoms, step in _steps(subject, names[-1]).items()}


def entry_of(best: ScenarioFit) -> str:
    """Return the sweep that a hypothesis is about, as ``Subject.sweeps`` calls it."""
    return best.parts[0].name.removeprefix("polaron ")


def _in_angstrom(subject: Subject, best: ScenarioFit, unit: float) -> str:
    """Return how far the atoms that move most go, for an excited fraction of one and of a tenth."""
    product, power = unit * best.strength, best.parts[0].power
    if product <= 0:
        return ""
    moved = [_moved_at(subject, best, (product / f) ** (1 / power)) for f in _FRACTIONS]
    if not all(moved):
        return ""
    first = next(iter(moved[0]))
    sizes = [f"{steps[first]:.3f} Å if f = {f:g}" for f, steps in zip(_FRACTIONS, moved,
                                                                     strict=True)]
    return f" ({first} {' or '.join(sizes)})"


def _unknown(subject: Subject, judged: Judgement | None) -> list[str]:
    """Return what a reader must not take from the number."""
    words = []
    if judged is None and subject.displaced:
        words.append("How far atoms move in a measured sample: no transient was given, so the "
                     "amplitudes are those that were calculated.")
    elif judged is not None and judged.found.best is not None:
        best = judged.found.best
        if best.per_strength is not None and best.amplitude is None:
            words.append("Excited fraction and amplitude apart: the data fix only their product.")
        # What the transient was divided by, without which a strength is no fraction.
        words.append(judged.words[-1])
    if any("near the edge" in line for line in _coarse(subject)):
        words.append("What happens near the edge: the k points are too few there, and what excited "
                     "carriers do is not in the difference.")
    elif subject.names:
        words.append("What excited carriers do near the edge is not in the difference.")
    return words


def _coarse(subject: Subject) -> list[str]:
    return coarser(subject.study, {s.name: s.lattice_A for s in subject.results.structures})


def _moves(subject: Subject, judged: Judgement | None) -> Table | None:
    """Return who moves how far: what the transient says, else at the largest amplitude."""
    best = None if judged is None else judged.found.best
    if best is not None and (q := best.amplitude) is not None:
        low, found, high = (_moved_at(subject, best, size) for size in (q.q68[0], q.q, q.q68[1]))
        if found:
            return Table("How far which atoms move by the transient",
                         ("atoms", "rms (Å)", "68 % (Å)"),
                         [(word, f"{size:.3f}", f"{low[word]:.3f} to {high[word]:.3f}")
                          for word, size in found.items()])
    name = largest(subject)
    steps = _steps(subject, name) if name else {}
    if not steps:
        return None
    most = next(iter(steps.values()))
    rows = [(word, f"{size:.3f}", f"{size / most:.2f}") for word, size in steps.items()]
    size = subject.result(name).max_displacement_A or 0.0
    return Table(f"How far which atoms move at {size:.2f} Å",
                 ("atoms", "rms (Å)", "of the largest"), rows)


def structure_chart(subject: Subject) -> Chart | None:
    """Draw the reference, with arrows of the largest displacement; None without its crystal."""
    if subject.reference not in subject.structures:
        return None
    crystal, name = subject.structures[subject.reference].crystal, largest(subject)
    moved = subject.moved(name) if name else None
    scene = make_scene(crystal, None if moved is None else moved.displacement_A)
    columns: dict[str, Column] = {"element": scene.species,
                                  "atom": [str(atom + 1) for atom in scene.atoms]}
    for prefix, values in (("", scene.positions_A), ("d", scene.displacement_A)):
        columns |= {f"{prefix}{axis}_A": values[:, k] for k, axis in enumerate("xyz")}
    arrows = f"; arrows: displacement in {name}, {scene.magnified:g} times as long" if name else ""
    return Chart("structure", f"{subject.reference}{arrows}",
                 f"The cell of {crystal.formula} in projection{arrows}.",
                 draw_structure(scene, crystal.lattice_A), {"": columns})


def would_change(subject: Subject, varied: Sequence[Variation]) -> list[str]:
    """Return the things that would change the answer most: the settings known to be too coarse,
    then the variations by how much they move the largest displacement's difference.
    """
    words = [f"Denser k points. {line[0].upper()}{line[1:]}." for line in _coarse(subject)]
    if not subject.names:
        return words
    name = largest(subject) or subject.principal[0]
    if calculation_error_percent(subject.spectra).get(name) is None and not words:
        words.append("Better settings: their part in the error was not estimated (polaron converge "
                     "does that).")
    rows = [v for v in varied if v.structure == name]
    if rows:
        base, strongest = rows[0], {}
        for row in sorted(rows[1:], key=lambda v: v.effect(base)):
            strongest[row.kind] = row
        for row in sorted(strongest.values(), key=lambda v: -v.effect(base)):
            words.append(row.sentence(base, [f.energy_eV for f in subject.structural]))
    return words[:_NAMED]
