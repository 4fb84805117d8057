"""``polaron pdos``: which shells of which atoms make the bands on either side of the gap."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perovskite_polaron.cli.launch import add_run_options, check_run_options, finished_seconds, launch

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from perovskite_polaron.spectra.projected import BandEdge, ProjectedStates

EXAMPLE = (
    "  polaron pdos cspbbr3-pm3m\n"
    "  polaron pdos examples/cspbbr3.toml --kpoints 4x4x2      # the reference of a study, with its own settings\n"
    "  polaron pdos pdos-results/pdos/cspbbr3-pm3m/pdos.npz --sigma 0.2eV --by-site      # drawn anew, nothing computed"
)
_EMAX_EV = 6.0
_MOST_SIGMAS = 100_000
_LISTED = 0.01
_SPIN_ORBIT = (
    "spin-orbit coupling is not included: it splits the p states of heavy atoms and lowers a conduction band of Pb 6p by"
    " about 1 eV"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument(
        "source", metavar="STUDY.toml|CRYSTAL|FILE.npz", help="study, structure file or built-in name; or a pdos.npz"
    )
    parser.add_argument("--structure", metavar="NAME", help="structure of the study (default: its reference)")
    parser.add_argument(
        "--settings", type=Path, metavar="FILE.toml", help="tables [pw] and [pseudopotentials] for a CRYSTAL"
    )
    parser.add_argument("--store", type=Path, help="folder of the jobs of a CRYSTAL (default: pdos-results)")
    parser.add_argument("--kpoints", metavar="4x4x2", help="k grid of the bands, from Γ (default: twice the density's)")
    parser.add_argument("--empty-bands", type=int, metavar="N", help="default: a quarter of the filled ones")
    parser.add_argument("--sigma", default="0.1eV", help="of the Gaussian (default %(default)s)")
    parser.add_argument(
        "--emin", default="-6eV", help="first energy from the valence band maximum (default %(default)s)"
    )
    parser.add_argument("--emax", help=f"last energy (default {_EMAX_EV:g}eV, or less where bands are missing)")
    parser.add_argument("--by-site", action="store_true", help="keep inequivalent atoms of an element apart")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of table and figure (default: in the results)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_run_options(parser)


def run(args: argparse.Namespace) -> int:
    """Compute what is missing, and write pdos.csv, pdos.png, pdos.svg, pdos.json and, from jobs, pdos.npz."""
    from perovskite_polaron.errors import ComputationError
    from perovskite_polaron.figures.spectra import write_pdos_figure
    from perovskite_polaron.files import write_atomically, write_csv
    from perovskite_polaron.spectra.projected import band_edges, density_of_states, read_states, write_states

    sigma_eV, low, high = _numbers(args)
    computed = Path(args.source).suffix.lower() != ".npz"
    if computed:
        states, record, folder = _compute(args)
    else:
        _refuse_job_options(args)
        states, record = read_states(args.source)
        folder = Path(args.source).parent
    out = args.out or folder
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ComputationError(f"{out} cannot be made: {error.strerror}; choose another folder with --out") from None
    # Saved before it is judged: a crystal without a gap keeps what was computed.
    files = [write_states(out / "pdos.npz", states, record)] if computed else []
    edges = band_edges(states, args.by_site)
    energy = _energies(states, edges, sigma_eV, low, high)
    curves = density_of_states(states, energy, sigma_eV, args.by_site)
    columns = {f"{label} (1/eV)": values for label, values in curves.items()}
    files.append(write_csv(out / "pdos.csv", {"energy_eV": energy} | columns))
    files += [write_pdos_figure(energy, curves, edges, out / f"pdos{suffix}") for suffix in (".png", ".svg")]
    result = _result(states, edges, record) | {
        "sigma_eV": sigma_eV,
        "files": [str(path) for path in (*files, out / "pdos.json")],
    }
    write_atomically(out / "pdos.json", json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    print(json.dumps(result) if args.json else _table(result, edges))
    print(f"table and figure are in {out}", file=sys.stderr)
    return 0


def _numbers(args: argparse.Namespace) -> tuple[float, float, float | None]:
    """Return sigma, the first energy, and the last if it is given, in eV. Raises InputError."""
    from perovskite_polaron.errors import InputError
    from perovskite_polaron.units import parse_quantity

    sigma_eV, low = parse_quantity(args.sigma, "energy"), parse_quantity(args.emin, "energy")
    high = None if args.emax is None else parse_quantity(args.emax, "energy")
    if not 1e-3 <= sigma_eV <= 10:
        raise InputError(f"--sigma {args.sigma} is not possible: give 0.001eV to 10eV")
    if not -1000 <= low < (0 if high is None else high) <= 1000:
        raise InputError(
            f"--emin {args.emin} and --emax {args.emax or '(none)'} are no range of energies from the valence band maximum:"
            " give the lower one first, below the maximum if it is alone, within 1000 eV"
        )
    if ((_EMAX_EV if high is None else high) - low) / sigma_eV > _MOST_SIGMAS:
        raise InputError(f"--sigma {args.sigma} is too narrow for so many energies: widen it, or narrow the range")
    return sigma_eV, low, high


def _energies(
    states: "ProjectedStates", edges: "Sequence[BandEdge]", sigma_eV: float, low: float, high: float | None
) -> "NDArray[np.float64]":
    """Return five energies for each sigma, up to where a missing band would show."""
    import numpy as np

    complete = states.complete_to_eV() - 3 * sigma_eV
    if high is None:
        high = max(min(_EMAX_EV, complete), edges[1].energy_eV + 5 * sigma_eV)
    if high > complete + 1e-9:
        print(f"note: above {complete:.2f} eV bands are missing: add --empty-bands", file=sys.stderr)
    return np.linspace(low, high, max(2, round(5 * (high - low) / sigma_eV) + 1))


def _compute(args: argparse.Namespace) -> "tuple[ProjectedStates, dict[str, Any], Path]":
    from perovskite_polaron.errors import InputError
    from perovskite_polaron.units import parse_grid
    from perovskite_polaron.workflow.pdos import (
        PdosSettings,
        collect_pdos,
        plan_pdos,
        read_pdos_settings,
        subject_of_crystal,
        subject_of_study,
    )
    from perovskite_polaron.workflow.store import Store
    from perovskite_polaron.workflow.study import RunSettings, read_study

    check_run_options(args)
    kpoints = parse_grid(args.kpoints) if args.kpoints else None
    if Path(args.source).suffix.lower() == ".toml":
        if args.settings or args.store:
            raise InputError("--settings and --store do not go with a study, which has its own: leave them out")
        study = read_study(args.source)
        subject, store, how = subject_of_study(study, args.structure), Store(study.store_folder), study.run
    else:
        if args.structure:
            raise InputError("--structure names one of a study's structures: give the study, or leave it out")
        settings = read_pdos_settings(args.settings) if args.settings else PdosSettings()
        subject = subject_of_crystal(args.source, settings)
        store, how = Store(args.store or Path("pdos-results")), RunSettings()
    jobs = plan_pdos(subject, kpoints, args.empty_bands)
    launch(args, how, jobs.all(), store, finished_seconds(jobs.all(), store))
    states, record = collect_pdos(subject, jobs, store)
    return states, record, store.root / "pdos" / subject.name


def _refuse_job_options(args: argparse.Namespace) -> None:
    from perovskite_polaron.errors import InputError

    names = ("structure", "settings", "store", "kpoints", "empty_bands", "ranks", "jobs", "executor")
    given = [name for name in names if getattr(args, name) is not None]
    if given:
        option = "--" + given[0].replace("_", "-")
        raise InputError(f"{option} says how to compute, but {args.source} is computed: leave it out")


def _result(states: "ProjectedStates", edges: "Sequence[BandEdge]", record: dict[str, Any]) -> dict[str, Any]:
    valence, conduction = edges
    return {
        "gap_eV": conduction.energy_eV,
        "direct": valence.kpoint == conduction.kpoint,
        "edges": [
            {
                "edge": e.name,
                "energy_eV": e.energy_eV,
                "kpoint": list(e.kpoint),
                "kpoint_name": e.kpoint_name,
                "degeneracy": e.degeneracy,
                "share_percent": {label: 100 * share for label, share in e.shares.items()},
                "unprojected_percent": 100 * e.unprojected,
            }
            for e in edges
        ],
        "spilling": states.spilling(),
        "complete_to_eV": states.complete_to_eV(),
        "electrons": states.electrons,
        "spin_orbit": False,
        "provenance": record,
    }


def _table(result: dict[str, Any], edges: "Sequence[BandEdge]") -> str:
    record = result["provenance"]
    listed = [label for label in edges[0].shares if max(e.shares[label] for e in edges) >= _LISTED]
    listed.sort(key=lambda label: -max(e.shares[label] for e in edges))
    width = max(9, *(len(label) + 2 for label in listed))
    head = "".join(f"{label:>{width}s}" for label in listed)
    lines = [
        f"{record['name']}, {record['space_group']}: {record['settings']}",
        "projected onto " + "; ".join(f"{element} {shells}" for element, shells in record["projected_onto"].items()),
        f"gap {result['gap_eV']:.3f} eV, {'direct' if result['direct'] else 'indirect'}",
        "",
        f"{'':5s}{'eV':>8s}  {'k point':<24s}{'bands':>5s}{head}{'others':>{width}s}{'none':>{width}s}   (%)",
    ]
    for e in edges:
        point = f"{e.kpoint_name or 'k'} ({', '.join(f'{x:.4g}' for x in e.kpoint)})"
        values = [e.shares[label] for label in listed]
        values += [sum(e.shares.values()) - sum(values), e.unprojected]
        row = "".join(f"{100 * v + 0.0:{width}.1f}" for v in values)
        lines.append(f"{e.name:5s}{e.energy_eV:8.3f}  {point:<24s}{e.degeneracy:5d}{row}")
    lines += [
        "",
        f"spilling: {100 * result['spilling']:.2f} % of the electrons lie on none of these shells; with empty states it is more",
        _SPIN_ORBIT,
    ]
    return "\n".join(lines)
