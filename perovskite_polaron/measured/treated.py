"""From files of scans to treated spectra with their record: what ``polaron treat`` does."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from perovskite_polaron import __version__
from perovskite_polaron.arrays import Interval
from perovskite_polaron.errors import InputError, require
from perovskite_polaron.measured.drift import align
from perovskite_polaron.measured.edges import check_edge
from perovskite_polaron.measured.recipe import (
    ALIGN, COMBINE, FIELD, Recipe, conditions, format_steps)
from perovskite_polaron.measured.repeats import outliers_among
from perovskite_polaron.measured.scan import DOF, Scan, Step
from perovskite_polaron.measured.text import Table
from perovskite_polaron.measured.treatment import pump_probe, thermal

PROGRAM = "perovskite-polaron/"
#: The XDI field with the options by which the raw files were read.
OPTIONS = "Polaron.options"


def build_recipe(*, align_eV: Interval | None = None, shift_eV: float | None = None,
                 deglitch_eV: Sequence[Interval] = (), crop_eV: Interval | None = None,
                 rebin_eV: float | None = None, combine: bool = False,
                 robust: float | None = None, preset: str | None = None,
                 pre_edge_eV: Interval | None = None, normalise: str | None = None,
                 interval_eV: Interval | None = None, reference: str | None = None,
                 adjacent: int | None = None, factor: float | None = None) -> Recipe:
    """Return the recipe that a few choices spell; its steps are in the order of the parameters.

    Parameters
    ----------
    align_eV
        Interval in which companions are compared, to undo the drift of the energies.
    shift_eV, deglitch_eV, crop_eV, rebin_eV
        Added to every energy; intervals to leave out; interval to keep; width of bins.
    combine, robust
        Whether the scans of one condition are repeats, to be averaged, and from how many robust
        standard deviations on points are left out of the mean.
    preset
        A published recipe: ``pump-probe`` or ``thermal``.
    pre_edge_eV, normalise, interval_eV
        Interval of the baseline; what to divide by (as ``treatment.normalise``) and over where.
    reference
        Name of the spectrum to subtract.
    adjacent, factor
        Number of neighbours to average; final factor.

    Raises
    ------
    InputError
        When the choices contradict each other, or a preset lacks what it needs.
    """
    require(not preset or not (normalise or adjacent), f"--preset {preset} says how to normalise "
            "and average: leave out --normalise, --adjacent")
    require(not interval_eV or normalise or preset,
            "--interval is that of --normalise or of a preset: give one of them")
    require(robust is None or (combine and robust > 0), "--robust is a positive number, and for "
            "repeats: they must be averaged")
    ends = _ends(interval_eV)
    published: tuple[Step, ...] = ()
    if preset == "pump-probe":
        published = pump_probe(**ends)
    elif preset == "thermal":
        if pre_edge_eV is None or reference is None:
            raise InputError("--preset thermal needs --pre-edge LOW:HIGH and --reference FILE (the "
                             "25 C spectrum)")
        published = thermal(reference, pre_edge_eV, **ends)
        # The recipe has these steps itself.
        pre_edge_eV = reference = None
    mean = {} if robust is None else {"robust_sigmas": robust}
    return Recipe((*_asked(align_eV, ALIGN, **_ends(align_eV)),
                   *_asked(shift_eV, "calibrate", shift_eV=shift_eV),
                   *(Step("deglitch", _ends(one)) for one in deglitch_eV),
                   *_asked(crop_eV, "crop", **_ends(crop_eV)),
                   *_asked(rebin_eV, "rebin", step_eV=rebin_eV),
                   *_asked(combine or None, COMBINE, **mean),
                   *_asked(pre_edge_eV, "baseline", **_ends(pre_edge_eV), order=0),
                   *_asked(normalise, "normalise", by=normalise, **ends),
                   *_asked(reference, "subtract", reference=reference), *published,
                   *_asked(adjacent, "average_adjacent", points=adjacent),
                   *_asked(factor, "scale", factor=factor)))


def _asked(value: object, name: str, **parameters: Any) -> tuple[Step, ...]:
    """Return a step, or none where its option was not given."""
    return () if value is None else (Step(name, parameters),)


def _ends(interval_eV: Interval | None) -> dict[str, float | None]:
    low, high = interval_eV or (None, None)
    return {"from_eV": low, "to_eV": high}


@dataclass(frozen=True, eq=False)
class Measured:
    """Scans sorted for a treatment.

    Attributes
    ----------
    groups
        The scans of each condition (delay and temperature), or each scan alone.
    references
        The scans of the spectrum to subtract.
    recipe
        What is to be done with them.
    """

    groups: tuple[tuple[Scan, ...], ...]
    references: tuple[Scan, ...]
    recipe: Recipe


def gather(scans: Sequence[Scan], references: Sequence[Scan], recipe: Recipe) -> Measured:
    """Sort scans into conditions where the recipe combines them, references left out; align the
    energies of all of them where the recipe says so.

    Raises
    ------
    InputError
        When the recipe subtracts nothing although references are given, or no scan is left.
    """
    require(not references or recipe.reference is not None, "--reference is given, but the "
            "treatment of --steps subtracts nothing: leave one of them out")
    sources = {scan.source for scan in references}
    kept = [scan for scan in scans if scan.source not in sources]
    require(kept, "every file is a reference file: nothing is left to subtract it from")
    if recipe.align_eV is not None:
        low, high = recipe.align_eV
        both = align((*kept, *references), from_eV=low, to_eV=high)
        kept, references = list(both[: len(kept)]), both[len(kept):]
    groups = conditions(kept) if recipe.combines else tuple((scan,) for scan in kept)
    return Measured(groups, tuple(references), recipe)


@dataclass(frozen=True, eq=False)
class Treated:
    """A treated spectrum, the scans it is made of, and the table of its XDI file."""

    scan: Scan
    group: tuple[Scan, ...]
    record: Table

    @property
    def correlated(self) -> bool:
        """Whether the treatment correlated the errors of its points."""
        v = self.scan.variance
        return v is not None and v.ndim == 2 and bool(np.any(v - np.diag(np.diag(v))))


def treat(measured: Measured, edge: str | None = None,
          options: str = "") -> tuple[Treated, ...]:
    """Treat each condition.

    Parameters
    ----------
    measured
        Scans and recipe.
    edge
        Element and edge, as ``Br-K``: for files that are not XDI, or to correct those that are.
    options
        How the files were read, to be kept in what is written.

    Raises
    ------
    InputError
        When nothing says the edge, or a step of the recipe cannot be done.
    """
    recipe, references = measured.recipe, measured.references
    # A recipe that combines makes one of a group, any other one of each scan.
    made = [(scan, group if recipe.combines else (own,)) for group in measured.groups
            for scan, own in zip(recipe.apply(group, references), group, strict=False)]
    return tuple(Treated(scan, of, _record(scan, of, references, edge, options))
                 for scan, of in made)


def flag_outliers(measured: Measured, threshold: float) -> dict[str, list[float]]:
    """Return scan -> energies (eV) of the points that miss its repeats by so many robust sigmas."""
    flags = {}
    for group in (*measured.groups, *conditions(measured.references)):
        for scan, flagged in zip(group, outliers_among(group, threshold=threshold), strict=True):
            if flagged.any():
                label = "" if scan.label == Path(scan.source).stem else f" ({scan.label})"
                flags[scan.source + label] = scan.energy_eV[flagged].tolist()
    return flags


def _record(scan: Scan, group: Sequence[Scan], references: Sequence[Scan],
            edge: str | None, options: str) -> Table:
    """Return the table of a treated spectrum; it inherits the header of its first scan."""
    first = group[0].table
    header = first if first is not None and first.is_xdi else None
    require(edge is not None or header is not None, f"{group[0].source} does not say which edge it "
            "is, and XDI must: give it, as --edge Br-K")
    fields = {} if header is None else dict(header.metadata)
    new = {} if edge is None else _element(edge)
    said = {key.lower(): value for key, value in (fields | new).items()}
    check_edge(scan.energy_eV, said.get("element.symbol", ""), said.get("element.edge", ""),
               group[0].source)
    if scan.temperature_C is not None:
        new["Sample.temperature"] = f"{_plain(scan.temperature_C)} C"
    if scan.delay_ps is not None:
        new["Polaron.delay"] = f"{_plain(scan.delay_ps)} ps"
    new |= {"Polaron.scans": str(len(group)), "Polaron.sources": _listed(group),
            "Polaron.reading": group[0].reading}
    if references:
        new["Polaron.reference"] = _listed(references)
    if earlier := header and header.get(FIELD):
        new["Polaron.source_treatment"] = earlier
    new[FIELD] = format_steps(scan.history)
    if options:
        new[OPTIONS] = options
    if drifts := [s.drift_eV for s in group if s.drift_eV is not None]:
        new["Polaron.drifts_eV"] = ", ".join(f"{d:.4f}" for d in drifts)
    columns = {"energy": scan.energy_eV, "signal": scan.intensity}
    if scan.error is not None and (scan.error > 0).all():
        columns["signal_error"] = scan.error
        new |= {DOF: f"{scan.dof:g}"} if np.isfinite(scan.dof) else {}
    replaced = {name.lower() for name in new}
    kept = {k: v for k, v in fields.items()
            if k.lower() not in replaced and not k.lower().startswith("polaron.")}
    others = () if header is None else header.applications
    programs = (*(a for a in others if not a.startswith(PROGRAM)), PROGRAM + __version__)
    return Table(tuple(columns), ("eV", *[""] * (len(columns) - 1)), np.array([*columns.values()]),
                 metadata=kept | new, comments=() if header is None else header.comments,
                 applications=programs, is_xdi=True)


def _element(edge: str) -> dict[str, str]:
    symbol, dash, name = edge.partition("-")
    require(dash, f"--edge {edge}: write element and edge with a hyphen, as Br-K or Pb-L3")
    return {"Element.symbol": symbol, "Element.edge": name}


def _listed(scans: Iterable[Scan]) -> str:
    return ", ".join(dict.fromkeys(Path(scan.source).name for scan in scans))


def _plain(value: float) -> str:
    return np.format_float_positional(value, trim="-")
