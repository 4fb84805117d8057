"""``polaron match``: a calculated steady state on the axis of a measured one, with its widths."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from perovskite_polaron.analysis.matched import Matched, fingerprint, write_matched
from perovskite_polaron.analysis.steady_curve import LAWS, Curve, broadened
from perovskite_polaron.analysis.steady_state import Match, match
from perovskite_polaron.cli.compare import read_transient
from perovskite_polaron.cli.options import (
    READING, emit, quantity, reading_options, refuse_existing, share, window)
from perovskite_polaron.cli.tables import Said, Table
from perovskite_polaron.errors import InputError, require
from perovskite_polaron.measured.calculated import read_calculated
from perovskite_polaron.measured.scan import Scan
from perovskite_polaron.units import parse_quantity
from perovskite_polaron.workflow.scenarios import BUILT_IN
from perovskite_polaron.workflow.spectra import load_results
from perovskite_polaron.workflow.steady_state import reference_curve, reference_id
from perovskite_polaron.workflow.study import need_edge

#: What a file of another program has of the core hole is not known: so little is added at first.
_ADDED_HWHM_EV = 0.1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    add, energy = parser.add_argument, quantity("energy")
    add("measured", metavar="MEASURED", help="measured steady state, with or without errors")
    add("--study", type=Path, help="study (TOML), or folder of its results: its reference, from the"
        " chains (default: the built-in CsPbBr3 set)")
    add("--calculated", type=Path, metavar="FILE", help="instead of a study: a spectrum of FEFF"
        " (xmu.dat), FDMNES, OCEAN or any two columns, to which widths are added")
    add("--calculated-signal", metavar="COLUMN", help="column of FILE, by name or number")
    add("--calculated-unit", choices=("eV", "keV"), help="of FILE's energies")
    add("--zero", type=energy, help="where FILE's own axis has the edge (default: its zero; of FEFF"
        " the Fermi energy)")
    add("--law", choices=tuple(LAWS), default="constant",
        help="Lorentzian width of the final states (default: constant)")
    add("--core-hole", type=energy, metavar="HWHM", help="half width that the law starts with, or"
        f" holds (default: the study's; {_ADDED_HWHM_EV:g}eV more than what FILE has)")
    add("--resolution", type=energy, metavar="FWHM", default="0.7eV",
        help="Gaussian resolution to start with (default: 0.7eV)")
    add("--edge", type=energy, help="photon energy of the calculated zero, within --reach (default:"
        " it is looked for in the whole spectrum)")
    add("--reach", type=energy, default="15eV", help="how far off --edge may be (default: 15eV)")
    add("--background", type=int, default=1, metavar="ORDER",
        help="order of the polynomial under the spectrum; -1 for none (default: 1)")
    add("--window", type=window, metavar="LOW:HIGH",
        help="energies to fit (default: what the calculation reaches)")
    add("--hold", action="append", default=[], metavar="NAME=VALUE", help="hold a parameter, as"
        " stretch=0 or resolution_fwhm_eV=0.7eV; may be repeated")
    add("--free", action="append", default=[], metavar="NAME[=VALUE]",
        help="fit a parameter that is held otherwise (core_hole_hwhm_eV and start_eV of linear;"
        " core_hole_hwhm_eV, E_larg, E_cut of arctangent)")
    share(parser, *READING, "--group")
    add("--out", type=Path, default=Path("match.toml"), help="file for spectra, compare and report"
        " (default: match.toml)")
    add("--figure", type=Path, help="draw data, fit, background and residuals (.png or .svg)")
    share(parser, "--overwrite", "--json")


def run(args: argparse.Namespace) -> None:
    """Read, fit, write and print.

    Examples
    --------
    polaron match br_steady.xdi --law arctangent --figure match.png  # the computed CsPbBr3 set
    polaron match br_steady.xdi --study cspbbr3.toml --hold resolution_fwhm_eV=0.7eV
    polaron match cu_foil.xmu --energy-unit eV --calculated xmu.dat --edge 8979eV --out cu.toml
    """
    refuse_existing(args, args.out)
    require(args.study is None or args.calculated is None,
            "--study and --calculated are two calculations: give one of them")
    measured = read_transient([args.measured], "choose one with --signal or --group",
                              group=args.group, **reading_options(args))
    curve, calculated, hwhm_eV = _calculation(args, measured)
    held = {name: _value(name, text) for name, text in map(_pair, args.hold)}
    require(None not in held.values(), "--hold needs a value: write it as NAME=VALUE")
    found = match(
        measured, curve, calculated, law=args.law, core_hole_hwhm_eV=args.core_hole or hwhm_eV,
        resolution_fwhm_eV=args.resolution, edge_eV=args.edge, reach_eV=args.reach,
        order=args.background, window=args.window,
        hold={name: value for name, value in held.items() if value is not None},
        free={name: _value(name, text) for name, text in map(_pair, args.free)})
    if args.figure is not None:
        from perovskite_polaron.figures import matching, style

        style.save(matching.draw_match(found), args.figure)
    path = write_matched(found.found, args.out)
    emit(args, _record(found.found, path, found.words), _lines(found, path))


def _calculation(args: argparse.Namespace,
                 measured: Scan) -> tuple[Curve, tuple[str, str], float]:
    """Return the calculation, its name and what tells it from others, and its half width."""
    if args.calculated is not None:
        spectrum = read_calculated(args.calculated, None, args.calculated_signal,
                                   args.calculated_unit, args.zero)
        return (broadened(spectrum), (args.calculated.name, fingerprint(spectrum)), _ADDED_HWHM_EV)
    require(args.zero is args.calculated_signal is args.calculated_unit is None,
            "--zero, --calculated-signal and --calculated-unit are of --calculated FILE: leave them"
            " out")
    results, settings, _ = load_results(args.study or BUILT_IN)
    need_edge(results.study, measured)
    name = f"{results.study.reference} of {args.study or 'the built-in CsPbBr3 set'}"
    return (reference_curve(results, settings), (name, reference_id(results, settings)),
            settings.core_hole_hwhm_eV)


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name.strip(), value.strip()


def _value(name: str, text: str) -> float | None:
    """Return the value of a parameter; slope and stretch are numbers, the others are energies."""
    if not text:
        return None
    if name not in ("slope", "stretch"):
        return parse_quantity(text, "energy")
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{name}={text}: give a number without a unit") from None


def _values(found: Matched) -> dict[str, float]:
    """Return every parameter of the axis and the widths by name."""
    axis, width = found.axis, found.width
    return {"e0_eV": axis.e0_eV, "stretch": axis.stretch,
            "resolution_fwhm_eV": width.resolution_fwhm_eV,
            "core_hole_hwhm_eV": width.core_hole_hwhm_eV, **width.parameters,
            "scale": found.fit.scale}


def _lines(match_: Match, path: Path) -> Iterator[Said]:
    found = match_.found
    yield f"{found.fit.calculated}, {found.width.model} width"
    rows = [(name, f"{value:.6g}" if name != "e0_eV" else f"{value:.3f}",
             f"{found.error(name):.2g}" if found.error(name) else
             "on bound" if name in found.fit.on_bound else "held")
            for name, value in _values(found).items()]
    yield Table({"parameter": "22s", "value": ">14s", "error": ">12s"}, rows)
    names = found.fit.parameters
    yield "\ncorrelation"
    yield Table({"": "22s", **{name: f"{len(name) + 2}.2f" for name in names}},
                [(name, *row) for name, row in zip(names, found.fit.correlation, strict=True)])
    yield ""
    yield from match_.words
    yield f"written: {path}"


def _record(found: Matched, path: Path, words: tuple[str, ...]) -> dict[str, Any]:
    fit, width = found.fit, found.width
    names = ("resolution_fwhm_eV", "core_hole_hwhm_eV", *width.parameters)
    values = _values(found)
    return {
        "e0_eV": found.axis.e0_eV, "e0_err_eV": found.error("e0_eV"),
        "stretch": found.axis.stretch, "stretch_err": found.error("stretch"),
        "width": {"law": width.model, **{name: {"value": values[name], "err": found.error(name)}
                                         for name in names}},
        "scale": fit.scale, "scale_err": found.error("scale"),
        "background_legendre": fit.background, "chi2": fit.chi2, "chi2_red": found.chi2_red,
        "points": fit.points, "window_eV": fit.window_eV, "errors_widened": fit.widened,
        "correlation": {"parameters": fit.parameters, "matrix": fit.correlation},
        "on_bound": fit.on_bound, "calculated": fit.calculated, "statements": words, "file": path}
