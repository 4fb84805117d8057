"""Records in a notebook: what their verb prints, as HTML, and their figure.

``import perovskite_polaron.notebook`` in IPython or Jupyter makes the records below show themselves
wherever a cell ends with one; ``plot(record)`` draws one. Elsewhere the import changes nothing, and
``plot`` and ``as_html`` work all the same.
"""

import sys
from collections.abc import Callable, Iterable
from typing import Any

from perovskite_polaron.analysis.heating import Heating
from perovskite_polaron.analysis.kinetic_intervals import profile_intervals
from perovskite_polaron.analysis.kinetics import KineticFit
from perovskite_polaron.analysis.verdict import Judgement
from perovskite_polaron.cli import (
    bonds, compare, distort, heat, kinetics, modes, spectra, structure)
from perovskite_polaron.cli.tables import Said, html_of, lines_of
from perovskite_polaron.errors import InputError, PolaronError, require
from perovskite_polaron.figures.lattice import draw_bonds, draw_modes
from perovskite_polaron.figures.measured import draw_heating, draw_kinetics, draw_scenarios
from perovskite_polaron.figures.spectra import draw_difference
from perovskite_polaron.figures.structure import draw_structure, make_scene
from perovskite_polaron.figures.style import png
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.octahedra import BondReport, Displacements
from perovskite_polaron.lattice.symmetry import find_symmetry
from perovskite_polaron.phonons.distortion import Distortion
from perovskite_polaron.phonons.modes import Modes
from perovskite_polaron.phonons.selection import mode_table
from perovskite_polaron.workflow.spectra import StudySpectra


def _crystal(crystal: Crystal) -> Iterable[Said]:
    symmetry = find_symmetry(crystal)
    return structure.lines(crystal, symmetry, structure.describe_absorbers(crystal, symmetry))


def _modes(found: Modes) -> Iterable[Said]:
    yield f"Γ modes of {found.crystal.label}: {found.provenance or 'origin not recorded'}"
    records = modes.mode_records(mode_table(found))
    yield from modes.modes_lines(dict(zip(found.numbers, records, strict=True)), None)


def _distortion(point: Distortion) -> Iterable[Said]:
    yield distort.points_table("crystal", [(point.crystal.label, distort.point_record(point))])


def _kinetics(fit: KineticFit) -> Iterable[Said]:
    return kinetics.lines(fit, None, profile_intervals(fit))


def _draw_distortion(point: Distortion) -> Any:
    scene = make_scene(point.crystal, point.displacement_A)
    figure = draw_structure(scene, point.crystal.lattice_A)
    figure.suptitle(f"arrows: {scene.magnified:g} × the displacement", fontsize=10)
    return figure


def _draw_spectra(found: StudySpectra, edge_eV: float | None = None) -> Any:
    return draw_difference(found, edge_eV)[0]


def _draw_modes(found: Modes, mode: int = 0) -> Any:
    return draw_modes(found, mode_table(found), mode)


def _draw_judgement(found: Judgement) -> Any:
    return draw_scenarios(found.transient, found.found, found.theory, found.place.offset_eV)


def _draw_heating(result: Heating, cooling_ps: float = heat.COOLING_PS) -> Any:
    return draw_heating({"as given": result}, cooling_ps)[0]


_Entry = tuple[Callable[[Any], Iterable[Said]], Callable[..., Any] | None]
#: Record -> what its verb says of it, and how it is drawn.
_SHOWN: dict[type, _Entry] = {
    Crystal: (_crystal, lambda crystal: draw_structure(make_scene(crystal), crystal.lattice_A)),
    Modes: (_modes, _draw_modes),
    Distortion: (_distortion, _draw_distortion),
    BondReport: (bonds.lines, draw_bonds),
    Displacements: (bonds.displacement_lines, None),
    StudySpectra: (spectra.lines, _draw_spectra),
    KineticFit: (_kinetics, draw_kinetics),
    Judgement: (compare.lines, _draw_judgement),
    Heating: (heat.lines, _draw_heating),
}


def as_html(record: Any) -> str:
    """Return what a record's verb prints of it, as HTML.

    A record that cannot be told of, such as modes away from Γ, gives the reason.

    Raises
    ------
    InputError
        For what is none of the records above.
    """
    return html_of(_said(record))


def plot(record: Any, *more: Any, **options: Any) -> Any:
    """Return the figure of a record, matplotlib's: that of its verb, or the cell with its arrows.

    Parameters
    ----------
    record
        A crystal, a distortion, modes, a bond report, the spectra of a study, a kinetic fit, a
        judgement or a heating estimate.
    more, options
        What belongs to one: of modes which, from 0 (``mode``); of a bond report that of the
        reference and the displacements; ``edge_eV`` of spectra; ``cooling_ps`` of heating.

    Raises
    ------
    InputError
        For another record.
    """
    _, draw = _entry(record)
    if draw is None:
        raise InputError("displacements are drawn beside the bonds: plot(bonds after, bonds before,"
                         " displacements)")
    return draw(record, *more, **options)


def _entry(record: Any) -> _Entry:
    names = ", ".join(kind.__name__ for kind in _SHOWN)
    require(type(record) in _SHOWN, f"a {type(record).__name__} does not show itself: give one of"
            f" {names}")
    return _SHOWN[type(record)]


def _said(record: Any) -> list[Said]:
    says, _ = _entry(record)
    try:
        return list(says(record))
    except PolaronError as error:
        return [str(error)]


def _print(record: Any, printer: Any, _: bool) -> None:
    printer.text("\n".join(lines_of(_said(record))))


def _register(shell: Any) -> None:
    """Tell IPython how to show the records, and figures where no plotting backend has said it."""
    formatters = shell.display_formatter.formatters
    for kind in _SHOWN:
        formatters["text/html"].for_type(kind, as_html)
        formatters["text/plain"].for_type(kind, _print)
    if "matplotlib.figure.Figure" not in formatters["image/png"]:
        formatters["image/png"].for_type_by_name("matplotlib.figure", "Figure", png)


if "IPython" in sys.modules and (_shell := sys.modules["IPython"].get_ipython()) is not None:
    _register(_shell)
