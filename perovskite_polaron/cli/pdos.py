"""``polaron pdos``: which shells of which atoms make the bands on either side of the gap."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from perovskite_polaron.cli.launch import launch
from perovskite_polaron.cli.options import (
    RUN_OPTIONS, emit, make_folder, pick, plain, quantity, share)
from perovskite_polaron.cli.tables import Said, Table
from perovskite_polaron.errors import InputError, require
from perovskite_polaron.figures.spectra import draw_pdos
from perovskite_polaron.figures.style import save
from perovskite_polaron.files import write_atomically, write_csv
from perovskite_polaron.spectra.projected import (
    BandEdge, ProjectedStates, band_edges, density_of_states, energy_grid, read_states,
    write_states)
from perovskite_polaron.units import parse_grid
from perovskite_polaron.workflow.pdos import (
    PdosSettings, collect_pdos, plan_pdos, read_pdos_settings, subject_of_crystal, subject_of_study)
from perovskite_polaron.workflow.store import Store
from perovskite_polaron.workflow.study import RunSettings, read_study

_EMAX_EV = 6.0
_MOST_SIGMAS = 100_000
_LISTED = 0.01
# Edges within so many eV count as one.
_SAME_EV = 0.005
# Where spin-orbit coupling matters: a tenth of an edge, on p states of Ga or a heavier element.
_MUCH, _HEAVY = 0.1, 31
_JOB_OPTIONS = ("structure", "settings", "store", "kpoints", "empty_bands", "ranks", "jobs",
                "executor")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    add = parser.add_argument
    add("source", metavar="STUDY.toml|CRYSTAL|FILE.npz",
        help="study, structure file or built-in name; or a pdos.npz")
    add("--structure", metavar="NAME", help="structure of the study (default: its reference)")
    add("--settings", type=Path, metavar="FILE.toml",
        help="tables [pw], [pseudopotentials] and [crystal] (moments_muB) for a CRYSTAL")
    add("--store", type=Path, help="folder of the jobs of a CRYSTAL (default: pdos-results)")
    add("--kpoints", type=parse_grid, metavar="4x4x2",
        help="k grid of the bands, from Γ (default: twice the density's)")
    add("--empty-bands", type=int, metavar="N", help="default: a quarter of the filled ones")
    add("--sigma", default="0.1eV", type=quantity("energy"),
        help="of the Gaussian (default %(default)s)")
    add("--emin", default="-6eV", type=quantity("energy"),
        help="first energy from the valence band maximum (default %(default)s)")
    add("--emax", type=quantity("energy"),
        help=f"last energy (default {_EMAX_EV:g}eV, or less where bands are missing)")
    add("--by-site", action="store_true", help="keep inequivalent atoms of an element apart")
    add("--out", type=Path, metavar="DIR",
        help="folder of table and figure (default: in the results)")
    share(parser, "--json", *RUN_OPTIONS)


def run(args: argparse.Namespace) -> None:
    """Compute what is missing, and write pdos.csv, .png, .svg, .json and, from jobs, pdos.npz.

    Examples
    --------
    polaron pdos cspbbr3-pm3m
    polaron pdos examples/cspbbr3.toml --kpoints 4x4x2  # a study's reference, with its settings
    polaron pdos pdos-results/pdos/cspbbr3-pm3m/pdos.npz --sigma 0.2eV --by-site  # drawn anew
    """
    _check_energies(args)
    computed = Path(args.source).suffix.lower() != ".npz"
    if computed:
        states, record, folder = _compute(args)
    else:
        given = [name for name in _JOB_OPTIONS if getattr(args, name) is not None]
        if given:
            raise InputError(f"--{given[0].replace('_', '-')} says how to compute, but"
                             f" {args.source} is computed: leave it out")
        states, record = read_states(args.source)
        folder = Path(args.source).parent
    out = make_folder(args.out or folder)
    # Saved before it is judged: a crystal without a gap keeps what was computed.
    files = [write_states(out / "pdos.npz", states, record)] if computed else []
    edges = band_edges(states, args.by_site)
    energy, complete_eV = energy_grid(states, args.sigma, args.emin, args.emax)
    if energy[-1] > complete_eV + 1e-9:
        print(f"note: above {complete_eV:.2f} eV bands are missing: add"
              " --empty-bands", file=sys.stderr)
    curves = density_of_states(states, energy, args.sigma, args.by_site)
    columns = {f"{label} (1/eV)": values for label, values in curves.items()}
    files.append(write_csv(out / "pdos.csv", {"energy_eV": energy} | columns))
    figure = draw_pdos(energy, curves, edges)
    files += [save(figure, out / f"pdos{suffix}") for suffix in (".png", ".svg")]
    result = _record(states, edges, record)
    result |= {"sigma_eV": args.sigma, "files": [*files, out / "pdos.json"]}
    text = json.dumps(plain(result), indent=1, ensure_ascii=False, allow_nan=False)
    write_atomically(out / "pdos.json", text + "\n")
    emit(args, result, _lines(result, edges))
    print(f"table and figure are in {out}", file=sys.stderr)


def _check_energies(args: argparse.Namespace) -> None:
    low, high, sigma = args.emin, args.emax, args.sigma
    require(1e-3 <= sigma <= 10, f"--sigma {sigma:g}eV is not possible: give 0.001eV to 10eV")
    if not -1000 <= low < (0 if high is None else high) <= 1000:
        last = "(none)" if high is None else f"{high:g}eV"
        raise InputError(
            f"--emin {low:g}eV and --emax {last} are no range of energies from the valence band"
            " maximum: give the lower one first, below the maximum if it is alone, within 1000 eV")
    require(((_EMAX_EV if high is None else high) - low) / sigma <= _MOST_SIGMAS,
            f"--sigma {sigma:g}eV is too narrow for so many energies: widen it, or narrow the"
            " range")


def _compute(args: argparse.Namespace) -> tuple[ProjectedStates, dict[str, Any], Path]:
    if Path(args.source).suffix.lower() == ".toml":
        require(not (args.settings or args.store),
                "--settings and --store do not go with a study, which has its own: leave them out")
        study = read_study(args.source)
        how, store = study.run, Store(study.store_folder)
        subject = subject_of_study(study, args.structure)
    else:
        require(not args.structure,
                "--structure names one of a study's structures: give the study, or leave it out")
        how, store = RunSettings(), Store(args.store or Path("pdos-results"))
        settings = read_pdos_settings(args.settings) if args.settings else PdosSettings()
        subject = subject_of_crystal(args.source, settings)
    jobs = plan_pdos(subject, args.kpoints, args.empty_bands)
    launch(args, how, jobs.all(), store)
    states, record = collect_pdos(subject, jobs, store)
    return states, record, store.root / "pdos" / subject.name


def _record(states: ProjectedStates, edges: Sequence[BandEdge],
            record: dict[str, Any]) -> dict[str, Any]:
    valence, conduction = ([e for e in edges if e.name == name] for name in ("VBM", "CBM"))
    top, bottom = max(e.energy_eV for e in valence), min(e.energy_eV for e in conduction)
    near = {(v.kpoint, c.kpoint) for v in valence for c in conduction
            if top - v.energy_eV <= _SAME_EV and c.energy_eV - bottom <= _SAME_EV}
    result = {
        "gap_eV": bottom - top, "direct": any(v == c for v, c in near),
        "edges": [
            {**pick(e, "energy_eV", "kpoint", "kpoint_name", "degeneracy", edge="name"),
             "share_percent": {label: 100 * share for label, share in e.shares.items()},
             "unprojected_percent": 100 * e.unprojected} | ({"spin": e.spin} if e.spin else {})
            for e in edges],
        "spilling": states.spilling(), "complete_to_eV": states.complete_to_eV(),
        "electrons": states.electrons, "spin_orbit": False, "provenance": record}
    if states.polarised:
        result |= {"moment_muB": states.moment_muB, "sites": [
            {"site": site, "up": up, "down": down, "moment_muB": up - down}
            for site, (up, down) in states.charges().items()]}
    return result


def _lines(result: dict[str, Any], edges: Sequence[BandEdge]) -> Iterator[Said]:
    record, shells = result["provenance"], edges[0].shares
    most = {label: max(e.shares[label] for e in edges) for label in shells}
    listed = sorted((s for s in shells if most[s] >= _LISTED), key=lambda label: -most[label])
    yield f"{record['name']}, {record['space_group']}: {record['settings']}"
    yield "projected onto " + "; ".join(f"{e} {s}" for e, s in record["projected_onto"].items())
    yield f"gap {result['gap_eV']:.3f} eV, {'direct' if result['direct'] else 'indirect'}\n"
    columns = {"": "10s" if edges[0].spin else "5s", "eV": "8.3f", "k point": "24s", "bands": "6d",
               **dict.fromkeys((*listed, "others", "none"), "9.1f")}
    rows: list[tuple[Any, ...]] = []
    for e in edges:
        # Adding zero turns -0.0 into 0.0.
        point = ", ".join(f"{round(x, 6) + 0.0:.4g}" for x in e.kpoint)
        point = f"{e.kpoint_name or 'k'} ({point})"
        values = [e.shares[label] for label in listed]
        values += [sum(e.shares.values()) - sum(values), e.unprojected]
        rows.append((f"{e.name} {e.spin}".rstrip(), round(e.energy_eV, 3) + 0.0, point,
                     e.degeneracy, *(100 * v + 0.0 for v in values)))
    yield Table(columns, rows)
    yield "shares of the shells, of others and of none, in %"
    if "sites" in result:
        yield f"\nmoment of the cell {result['moment_muB']:g} µB; of one atom of each site:\n"
        yield Table({"site": "10s", "up": "9.3f", "down": "9.3f", "moment (µB)": "13.3f"},
                    [(s["site"], s["up"], s["down"], round(s["moment_muB"], 3) + 0.0)
                     for s in result["sites"]])
        yield "electrons on the shells (Löwdin)"
    yield (f"\nspilling: {100 * result['spilling']:.2f} % of the electrons lie on none of these"
           " shells; with empty states it is more")
    yield "spin-orbit coupling is not included" + _what_it_does(edges)


def _what_it_does(edges: Sequence[BandEdge]) -> str:
    """Return what spin-orbit coupling would do to these band edges, where that is much."""
    from ase.data import atomic_numbers

    def held(label: str, name: str) -> float:
        return max(e.shares[label] for e in edges if e.name == name)

    parts = [(label, label.split()[0].split("-")[0].rstrip("0123456789"), label.split()[1])
             for label in edges[0].shares]
    heavy = any(shell.endswith("p") and atomic_numbers[element] >= _HEAVY
                and max(held(label, "VBM"), held(label, "CBM")) > _MUCH
                for label, element, shell in parts)
    lead = any((element, shell) == ("Pb", "6p") and held(label, "CBM") > _MUCH
               for label, element, shell in parts)
    if not heavy:
        return ""
    more = " and lowers a conduction band of Pb 6p by about 1 eV" if lead else ""
    return f": it splits the p states of heavy atoms{more}"
