"""From the mapped files of an article's archive to its figures and our numbers.

Every step is a call of a verb with options, so that each can be made again by hand, and nothing is
computed in two ways; here it is only said which verb runs on what.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import hypot
from pathlib import Path
from typing import Any

from perovskite_polaron.analysis.mapping import Entry, Mapped
from perovskite_polaron.errors import PolaronError
from perovskite_polaron.files import write_atomically
from perovskite_polaron.published import Article, PumpProbe

#: Runs a verb: its name, its words, options by their names; gives the record it prints.
Run = Callable[[str, Sequence[str], Mapping[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class Step:
    """A verb that ran.

    Attributes
    ----------
    name, verb
        What its results are called, and the verb.
    record
        What it printed; None where it was refused.
    refused
        Why.
    entry
        The files that it read, where they are of the archive.
    """

    name: str
    verb: str
    record: Mapping[str, Any] | None
    refused: str = ""
    entry: Entry | None = None


@dataclass(frozen=True)
class Number:
    """A result with its standard error, beside the published one; None where there is none."""

    name: str
    value: float | None
    err: float | None = None
    published: float | None = None
    published_err: float | None = None
    words: str = ""


def reproduce(mapped: Mapped, out: Path, article: Article, run: Run) -> tuple[Step, ...]:
    """Run every verb that the mapped files allow; keep what each prints as ``OUT/STEP.json``.

    A step that is refused is kept with the reason, and those that need it are left out.

    Parameters
    ----------
    mapped
        The files and their options.
    out
        Folder of the results, which exists.
    article
        Edge of the calculation, and the experiment that ``heat`` describes where nothing else is
        said.
    run
        Runs a verb.
    """
    steps: list[Step] = []

    def do(name: str, verb: str, words: Sequence[str], options: Mapping[str, Any],
           entry: Entry | None = None) -> dict[str, Any] | None:
        try:
            record = run(verb, words, options)
        except PolaronError as error:
            steps.append(Step(name, verb, None, str(error), entry))
            return None
        write_atomically(out / f"{name}.json", json.dumps(record, indent=1) + "\n")
        steps.append(Step(name, verb, record, entry=entry))
        return record

    def figure(name: str) -> tuple[str, str]:
        return "--figure", str(out / f"{name}.png")

    spectra: dict[tuple[str, str], list[str]] = {}
    for name, entry in _named(mapped.entries):
        if entry.role != "kinetics":
            target = out / (f"{name}.xdi" if entry.role == "steady" else name)
            record = do(name, "treat", (*entry.files, "--out", str(target), *figure(name)),
                        entry.options, entry)
            spectra.setdefault((entry.role, entry.edge), []).extend(
                row["path"] for row in (record or {"outputs": []})["outputs"])

    edge = f"{article.element}-{article.edge}"
    study = () if mapped.study is None else ("--study", mapped.study)
    match: tuple[str, ...] = ()
    for path in spectra.get(("steady", edge), [])[:1]:
        words = (path, *study, "--out", str(out / "match.toml"), "--overwrite", *figure("match"))
        if do("match", "match", words, mapped.later.get("match", {})) is not None:
            match = ("--match", str(out / "match.toml"))
    by_hand = mapped.later.get("compare", {})
    if {"edge", "shift-sigma", "width-sigma", "stretch-sigma"} & set(by_hand):
        match = ()
    heated = spectra.get(("heated", edge), [])
    transients = spectra.get(("transient", edge), [])
    for name, path in zip(_numbered([f"compare-{Path(path).stem}" for path in transients]),
                          transients, strict=True):
        do(name, "compare", (path, *study, *match, *(("--heated", *heated) if heated else ()),
                             *figure(name)), by_hand)
    of_c = mapped.later.get("cparam", {})
    for one in dict.fromkeys(e for role, e in spectra if role in ("transient", "thermal")):
        paths = [p for role in ("transient", "thermal") for p in spectra.get((role, one), [])]
        windows = () if {"numerator", "denominator"} & set(of_c) else ("--edge", one)
        if paths:
            do(f"C-{one}", "cparam", (*paths, *windows, *figure(f"C-{one}")), of_c)
    decays: list[str] = []
    experiment = article.pump_probe
    response = {} if experiment is None else {"irf-sigma": f"{experiment.irf_sigma_ps:g}ps"}
    for name, entry in _named(mapped.of("kinetics")):
        record = do(name, "kinetics", (*entry.files, *figure(name)), {
            **response, **entry.options}, entry)
        decays += _decays(record, out / f"{name}.json")
    if experiment is not None:
        do("heat", "heat", figure("heat"), {
            **_exposure(experiment), "recombination": decays[:1],
            **mapped.later.get("heat", {})})
    return tuple(steps)


def _named(entries: Sequence[Entry]) -> Iterator[tuple[str, Entry]]:
    """Give entries the names of their results: ``transient-Br-K``, numbered where several are."""
    plain = ["-".join(filter(None, (e.role, e.edge.replace("/", "_")))) for e in entries]
    return zip(_numbered(plain), entries, strict=True)


def _numbered(names: Sequence[str]) -> list[str]:
    """Return names with a number where several are alike."""
    return [f"{name}-{names[: i + 1].count(name)}" if names.count(name) > 1 else name
            for i, name in enumerate(names)]


def _decays(record: Mapping[str, Any] | None, path: Path) -> list[str]:
    """Return what ``heat --recombination`` takes of a fit of traces: the first that has fractions.
    """
    rows = [] if record is None else record["fractions"]
    labels = [row["label"] for row in rows if row["value"]]
    return [str(path) if len(rows) == 1 else f"{path}:{label}" for label in labels[:1]]


def _exposure(experiment: PumpProbe) -> dict[str, str]:
    """Return the experiment as options of ``polaron heat``."""
    return {"fluence": f"{experiment.fluence_mJ_cm2:g}mJ/cm2",
            "pump": f"{experiment.wavelength_nm:g}nm", "size": f"{experiment.size_A / 10:g}nm",
            "concentration": f"{experiment.concentration_mg_mL:g}mg/mL",
            "jet": f"{experiment.assumed_jet_A * 1e-4:g}um",
            "cooling": f"{experiment.cooling_ps:g}ps"}


def numbers(steps: Sequence[Step], article: Article) -> tuple[Number, ...]:
    """Return what the steps found, beside what was published."""
    found: list[Number] = []
    for step in steps:
        if step.record is not None:
            found += _NUMBERS.get(step.verb, _nothing)(step.name, step.record, article.pump_probe)
    return tuple(found)


def heat_verdict(steps: Sequence[Step]) -> list[str]:
    """Return, in sentences, whether heat can make the transients: by their shape, by C, and by how
    hot the pulse can make the crystals.
    """
    said: list[str] = []
    for step in steps:
        record = step.record or {}
        if step.verb == "compare":
            rows = record.get("scenarios", [])
            hot = [row for row in rows if row["name"].startswith("heated lattice")]
            if hot:
                best = max(rows, key=lambda row: row["posterior"])
                own = max(hot, key=lambda row: row["posterior"])
                said.append(f"{step.name}: {own['name']} has the probability"
                            f" {own['posterior']:.2g}, {best['name']} {best['posterior']:.2g}.")
        elif step.verb == "cparam":
            said += _shape_verdict(step.name, record)
        elif step.verb == "heat" and record:
            at_once, low, high, most = (record[f"delta_T_{what}K"]
                                        for what in ("", "low_", "high_", "all_"))
            said.append(f"The pulse warms the crystals by {at_once:.0f} K at once (68 %: {low:.0f}"
                        f" to {high:.0f} K), by {most:.0f} K at most.")
    return said


def _shape_verdict(name: str, record: Mapping[str, Any]) -> list[str]:
    """Return how far C of the transients is from that of the heated sample nearest to it."""
    transients = (record.get("series") or {}).get("pump-probe") or {}
    hot = [p for p in record.get("points", ()) if p["temperature_C"] is not None and p["err"]]
    if not hot or not transients.get("mean_err"):
        return []
    far, point = min((abs(p["value"] - transients["mean"])
                      / hypot(p["err"], transients["mean_err"]), p["label"]) for p in hot)
    return [f"{name}: that of the transients, {transients['mean']:.3g}, is {far:.1f} standard"
            f" errors from the nearest of the heated sample ({point})."]


def _nothing(_name: str, _record: Mapping[str, Any], _of: PumpProbe | None) -> list[Number]:
    return []


def _of_match(_name: str, record: Mapping[str, Any], _of: PumpProbe | None) -> list[Number]:
    return [Number("zero of the calculation (eV)", record["e0_eV"], record["e0_err_eV"]),
            Number("stretch of its energies", record["stretch"], record["stretch_err"]),
            Number("reduced chi2 of the steady state", record["chi2_red"])]


def _of_compare(name: str, record: Mapping[str, Any], _of: PumpProbe | None) -> list[Number]:
    label = name.removeprefix("compare-")
    rows = {row["name"]: row for row in record["scenarios"]}
    best = rows.get(record["best"])
    if best is None:
        return [Number(f"{label}: strength", None, words="no scenario explains it")]
    words = f"{record['best']}, probability {best['posterior']:.2g}"
    found = [Number(f"{label}: strength", best["strength"], best["strength_err"],
                    words=words + _of_calculation(best["strength_err_calculation"]))]
    if best["f_q2_A2_amu"] is not None:
        found.append(Number(f"{label}: f·Q² (Å²·amu)", best["f_q2_A2_amu"], best["f_q2_err"],
                            words=_of_calculation(best["f_q2_err_calculation"])[2:]))
    return found


def _of_calculation(error: float | None) -> str:
    return "" if error is None else f", ± {error:.2g} of the calculation"


def _of_cparam(name: str, record: Mapping[str, Any], _of: PumpProbe | None) -> list[Number]:
    edge, found = name.removeprefix("C-"), []
    series = record["series"].get("pump-probe") or {}
    if series.get("mean") is not None:
        words = "constant" if series["constant"] else "NOT constant"
        found.append(Number(f"C of {edge}, pump-probe", series["mean"], series["mean_err"],
                            words=f"{words} within error, p = {series['constant_p']:.2g};"
                            " published: constant"))
    return found + [Number(f"C of {edge}, {p['label']}", p["value"], p["err"])
                    for p in record["points"] if p["temperature_C"] is not None]


def _of_kinetics(_name: str, record: Mapping[str, Any], of: PumpProbe | None) -> list[Number]:
    there = () if of is None else of.lifetimes_ps
    known = there if len(there) == len(record["lifetimes_ps"]) else ()
    found = [Number(f"lifetime {i} (ps)", value, err, *(known[i - 1] if known else ()))
             for i, (value, err) in enumerate(zip(record["lifetimes_ps"],
                                                  record["lifetimes_err_ps"], strict=True), 1)]
    for k, row in enumerate(record["fractions"]):
        for i, (value, err) in enumerate(zip(row["value"] or (), row["err"] or (), strict=True)):
            found.append(Number(f"fraction {i + 1} of {row['label']}", value, err,
                                of.fractions[i] if of and known else None))
        if record["offset"] and row["value"]:
            found.append(Number(f"offset of {row['label']}", record["offset"][k],
                                record["offset_err"][k], of.offset if of and known else None))
    return found


def _of_heat(_name: str, record: Mapping[str, Any], of: PumpProbe | None) -> list[Number]:
    low, high = record["delta_T_low_K"], record["delta_T_high_K"]
    return [Number("rise right after the pulse (K)", record["delta_T_K"], (high - low) / 2,
                   None if of is None else of.delta_T_K, words=f"68 %: {low:.0f} to {high:.0f} K")]


_NUMBERS = {"match": _of_match, "compare": _of_compare, "cparam": _of_cparam,
            "kinetics": _of_kinetics, "heat": _of_heat}
