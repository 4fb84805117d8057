"""From files of scans to treated spectra with their record: what ``polaron treat`` does."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from perovskite_polaron import __version__
from perovskite_polaron.errors import InputError
from perovskite_polaron.measured.recipe import COMBINE, FIELD, Recipe, conditions, format_steps
from perovskite_polaron.measured.scan import Header, Scan, Step
from perovskite_polaron.measured.treatment import outliers_among, pump_probe, thermal
from perovskite_polaron.measured.xdi import XDI

Window = tuple[float, float]
_OWN = "polaron."


def build_recipe(
    *, shift_eV: float | None = None, crop_eV: Window | None = None, rebin_eV: float | None = None,
    combine: bool = False, preset: str | None = None, pre_edge_eV: Window | None = None,
    normalise: str | None = None, interval_eV: Window | None = None, reference: str | None = None,
    adjacent: int | None = None, factor: float | None = None,
) -> Recipe:
    """Return the recipe that a few choices spell; its steps are in the order of the parameters.

    Parameters
    ----------
    shift_eV, crop_eV, rebin_eV
        Added to every energy; interval to keep; width of bins.
    combine
        Whether the scans of one condition are repeats, to be averaged.
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
    steps = []
    if shift_eV is not None:
        steps.append(Step("calibrate", {"shift_eV": shift_eV}))
    if crop_eV is not None:
        steps.append(Step("crop", _ends(crop_eV)))
    if rebin_eV is not None:
        steps.append(Step("rebin", {"step_eV": rebin_eV}))
    if combine:
        steps.append(Step(COMBINE))
    if preset and (normalise or adjacent):
        raise InputError(f"--preset {preset} says how to normalise and average: leave out"
                         " --normalise, --adjacent")
    if interval_eV and not (normalise or preset):
        raise InputError("--interval is that of --normalise or of a preset: give one of them")
    ends = _ends(interval_eV or (None, None))
    if preset == "thermal":
        if pre_edge_eV is None or reference is None:
            raise InputError("--preset thermal needs --pre-edge LOW:HIGH and --reference FILE (the"
                             " 25 C spectrum)")
        steps += thermal(reference, pre_edge_eV, **ends)
    else:
        if pre_edge_eV is not None:
            steps.append(Step("baseline", {**_ends(pre_edge_eV), "order": 0}))
        if normalise is not None:
            steps.append(Step("normalise", {"by": normalise, **ends}))
        if reference is not None:
            steps.append(Step("subtract", {"reference": reference}))
        if preset == "pump-probe":
            steps += pump_probe(**ends)
        if adjacent is not None:
            steps.append(Step("average_adjacent", {"points": adjacent}))
    if factor is not None:
        steps.append(Step("scale", {"factor": factor}))
    return Recipe(tuple(steps))


def _ends(interval_eV: tuple[float | None, float | None]) -> dict[str, float | None]:
    return {"from_eV": interval_eV[0], "to_eV": interval_eV[1]}


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
    header
        That of the first file, if it has one that results can inherit; ``first`` is its path.
    """

    groups: tuple[tuple[Scan, ...], ...]
    references: tuple[Scan, ...]
    recipe: Recipe
    header: Header | None = None
    first: str = ""


def gather(scans: Sequence[Scan], references: Sequence[Scan], recipe: Recipe) -> Measured:
    """Sort scans into conditions where the recipe combines them, references left out.

    Raises
    ------
    InputError
        When the recipe subtracts nothing although references are given, or no scan is left.
    """
    if references and recipe.reference is None:
        raise InputError("--reference is given, but the treatment of --steps subtracts nothing:"
                         " leave one of them out")
    sources = {scan.source for scan in references}
    kept = [scan for scan in scans if scan.source not in sources]
    if not kept:
        raise InputError("every file is a reference file: nothing is left to subtract it from")
    combined = any(step.name == COMBINE for step in recipe.steps)
    groups = conditions(kept) if combined else tuple((scan,) for scan in kept)
    return Measured(groups, tuple(references), recipe, scans[0].header, scans[0].source)


@dataclass(frozen=True, eq=False)
class Treated:
    """A treated spectrum, the scans it is made of, and the XDI record that says so."""

    scan: Scan
    group: tuple[Scan, ...]
    record: XDI

    @property
    def correlated(self) -> bool:
        """Whether the treatment correlated the errors of its points."""
        covariance = self.scan.variance
        return covariance is not None and covariance.ndim == 2 and bool(
            np.any(covariance - np.diag(np.diag(covariance))))


def treat(measured: Measured, edge: str | None = None) -> tuple[Treated, ...]:
    """Treat each condition.

    Parameters
    ----------
    measured
        Scans and recipe.
    edge
        Element and edge, as ``Br-K``: for files that are not XDI, or to correct those that are.

    Raises
    ------
    InputError
        When nothing says the edge, or a step of the recipe cannot be done.
    """
    fields = _own_fields(measured, edge)
    done = []
    for group in measured.groups:
        scans = measured.recipe.apply(group, measured.references)
        for i, scan in enumerate(scans):
            made_of = group if len(scans) == 1 else (group[i],)
            done.append(Treated(scan, made_of, _record(scan, made_of, measured, fields)))
    return tuple(done)


def flag_outliers(measured: Measured, threshold: float) -> dict[str, list[float]]:
    """Return scan -> energies (eV) of the points that miss its repeats by so many robust sigmas."""
    return {
        scan.source + ("" if scan.label == Path(scan.source).stem else f" ({scan.label})"):
            scan.energy_eV[flagged].tolist()
        for group in (*measured.groups, *conditions(measured.references))
        for scan, flagged in zip(group, outliers_among(group, threshold=threshold), strict=True)
        if flagged.any()
    }


def _own_fields(measured: Measured, edge: str | None) -> dict[str, str]:
    """Return the header fields that every result inherits from the first file, with the edge."""
    fields = {} if measured.header is None else dict(measured.header.fields)
    if edge is None and measured.header is None:
        raise InputError(
            f"{measured.first} does not say which edge it is, and XDI must: give it, as"
            " --edge Br-K")
    if edge is not None:
        symbol, dash, name = edge.partition("-")
        if not dash:
            raise InputError(
                f"--edge {edge}: write element and edge with a hyphen, as Br-K or Pb-L3")
        fields = _without(fields, "element.symbol", "element.edge")
        fields |= {"Element.symbol": symbol, "Element.edge": name}
    return fields


def _record(scan: Scan, group: Sequence[Scan], measured: Measured, fields: dict[str, str]) -> XDI:
    own = {key: value for key, value in fields.items() if not key.lower().startswith(_OWN)}
    if scan.temperature_C is not None:
        own = _without(own, "sample.temperature")
        own["Sample.temperature"] = f"{_plain(scan.temperature_C)} C"
    if scan.delay_ps is not None:
        own["Polaron.delay"] = f"{_plain(scan.delay_ps)} ps"
    own |= {"Polaron.scans": str(len(group)), "Polaron.sources": _listed(group)}
    if measured.references:
        own["Polaron.reference"] = _listed(measured.references)
    earlier = next((v for k, v in fields.items() if k.lower() == FIELD.lower()), "")
    if earlier:
        own["Polaron.source_treatment"] = earlier
    own[FIELD] = format_steps(scan.history)
    columns, labels = [scan.energy_eV, scan.intensity], ["energy", "signal"]
    if scan.error is not None and (scan.error > 0).all():
        columns.append(scan.error)
        labels.append("signal_error")
    header = measured.header or Header()
    program = f"perovskite-polaron/{__version__}"
    others = [a for a in header.applications if not a.startswith("perovskite-polaron/")]
    units = ("eV", *[""] * (len(labels) - 1))
    return XDI(np.array(columns), tuple(labels), units, own, header.comments, (*others, program))


def _without(fields: dict[str, str], *names: str) -> dict[str, str]:
    return {key: value for key, value in fields.items() if key.lower() not in names}


def _listed(scans: Iterable[Scan]) -> str:
    return ", ".join(dict.fromkeys(Path(scan.source).name for scan in scans))


def _plain(value: float) -> str:
    return np.format_float_positional(value, trim="-")
