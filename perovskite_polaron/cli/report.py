"""``polaron report``: everything about a study on one page that needs no network, and its figures with their data."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from perovskite_polaron.cli.compare import place
from perovskite_polaron.cli.treatment_options import warn
from perovskite_polaron.errors import InputError

if TYPE_CHECKING:
    from perovskite_polaron.measured.scan import Scan
    from perovskite_polaron.report.subject import Subject

EXAMPLE = (
    "  polaron report                                  # of the computed CsPbBr3 set that comes with the package\n"
    "  polaron report cspbbr3.toml --transient br_100ps.xdi --out report\n"
    "  polaron report --figure figure-4 --out figure-4.pdf"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument(
        "source", metavar="STUDY.toml|FOLDER", nargs="?", type=Path,
        help="study file, or a folder with results.json and chains.npz (default: the built-in CsPbBr3 set)",
    )  # fmt: skip
    parser.add_argument("--transient", help="measured difference spectrum with an error column, to draw and judge")
    parser.add_argument(
        "--figure", metavar="NAME", help="write only this figure: figure-2, figure-3, figure-4, sites, bonds, amplitude, "
        "heating, alignment",
    )  # fmt: skip
    parser.add_argument(
        "--out",
        type=Path,
        help="folder of the report (default: polaron-report); with --figure the file, .png, .svg or .pdf",
    )


def run(args: argparse.Namespace) -> None:
    """Read, judge and write."""
    from perovskite_polaron.report.page import sections, write_figure, write_report
    from perovskite_polaron.report.subject import Subject
    from perovskite_polaron.workflow.scenarios import BUILT_IN
    from perovskite_polaron.workflow.spectra import load_results

    if args.figure is not None and args.out is None:
        raise InputError("--figure needs the file to write: add --out NAME.png, .svg or .pdf")
    source = BUILT_IN if args.source is None else args.source
    transient = None if args.transient is None else _read(args.transient)
    results, settings, folder = load_results(source)
    subject = Subject(results, settings, folder, folder if source.is_dir() else source.parent)
    if args.figure is not None:
        print(f"figure: {write_figure(subject, args.figure, args.out, transient)}")
        return
    verdicts = [] if transient is None else _verdicts(subject, transient)
    said = "the computed CsPbBr3 set of the package" if args.source is None else str(source)
    written = write_report(subject, sections(subject, transient, verdicts), said, args.out or Path("polaron-report"))
    print(f"report: {written[0]}")


def _read(path: str) -> "Scan":
    from perovskite_polaron.measured.readers import read_scans

    scans = read_scans([path])
    warn(scans)
    if len(scans) > 1:
        raise InputError(f"{path} holds {len(scans)} spectra: give a file with one")
    return scans[0]


def _verdicts(subject: "Subject", transient: "Scan") -> list[str]:
    """What ``polaron compare`` says about the transient, with its defaults."""
    from perovskite_polaron.analysis.scenario_curves import Priors
    from perovskite_polaron.analysis.scenario_fit import Problem
    from perovskite_polaron.analysis.scenarios import mixtures, rigid_shift
    from perovskite_polaron.analysis.verdict import statements

    theory = subject.scenarios
    where = place(transient, theory, subject.results.study.element, None, None)
    hypotheses = mixtures([*theory.scenarios, rigid_shift(theory)])
    problem = Problem(transient, hypotheses, Priors(where.sigma_eV, 0.3, 0.0), where.offset_eV)
    return [*where.words, *statements(problem.fit(transient.intensity))]
