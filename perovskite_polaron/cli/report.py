"""``polaron report``: everything about a study on one page, and its figures with their data."""

import argparse
from pathlib import Path

from perovskite_polaron.analysis.verdict import judge
from perovskite_polaron.cli.compare import read_transient
from perovskite_polaron.cli.options import share
from perovskite_polaron.errors import require
from perovskite_polaron.report.page import sections, write_figure, write_report
from perovskite_polaron.report.subject import Subject
from perovskite_polaron.workflow.scenarios import BUILT_IN, BUILT_IN_PB_L3
from perovskite_polaron.workflow.study import need_edge, need_single


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    add = parser.add_argument
    add("source", metavar="STUDY.toml|FOLDER", nargs="?", type=Path, help="study file, or a folder"
        " with results.json and chains.npz (default: the built-in CsPbBr3 set)")
    add("--transient", help="measured difference spectrum with an error column, to draw and judge")
    add("--beside", metavar="STUDY.toml|FOLDER", nargs="+", default=[], type=Path, help="the same"
        " structures at other edges, shown beside (with the built-in set: its Pb L3 edge)")
    share(parser, "--match")
    add("--figure", metavar="NAME", help="write only this figure: figure-2, figure-3, figure-4,"
        " sites, bonds, amplitude, heating, alignment")
    add("--out", type=Path, help="folder of the report (default: polaron-report); with --figure the"
        " file, .png, .svg or .pdf")


def run(args: argparse.Namespace) -> None:
    """Read, judge and write.

    Examples
    --------
    polaron report  # of the computed CsPbBr3 set that comes with the package
    polaron report cspbbr3.toml --transient br_100ps.xdi --match match.toml --out report
    polaron report --figure figure-4 --out figure-4.pdf
    """
    require(args.figure is None or args.out is not None,
            "--figure needs the file to write: add --out NAME.png, .svg or .pdf")
    source = args.source or BUILT_IN
    transient = None if args.transient is None else read_transient(args.transient)
    subject = Subject.read(source, args.match)
    need_single(subject.study, "polaron report")
    if transient is not None:
        need_edge(subject.study, transient)
    if args.figure is not None:
        print(f"figure: {write_figure(subject, args.figure, args.out, transient)}")
        return
    verdicts: list[str] = []
    if transient is not None:
        verdicts += judge(transient, subject.scenarios, subject.published_maximum_eV,
                          matched=subject.matched).words
    said = "the computed CsPbBr3 set of the package" if args.source is None else str(source)
    others = args.beside or ([BUILT_IN_PB_L3] if args.source is None else [])
    shown = sections(subject, transient, verdicts, [Subject.read(one) for one in others])
    print(f"report: {write_report(subject, shown, said, args.out or Path('polaron-report'))[0]}")
