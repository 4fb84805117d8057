"""``polaron report``: everything about a study on one page, and its figures with their data."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from perovskite_polaron.analysis.scenarios import ENGINE, THERMAL
from perovskite_polaron.analysis.verdict import Judgement, judge
from perovskite_polaron.cli import compare
from perovskite_polaron.cli.options import emit, pick, quantity, share
from perovskite_polaron.errors import require
from perovskite_polaron.report.page import Page, write_report
from perovskite_polaron.report.study_page import study_page, write_figure
from perovskite_polaron.report.subject import Subject
from perovskite_polaron.workflow.scenarios import (
    BUILT_IN, BUILT_IN_BR_FEFF, BUILT_IN_HOT, BUILT_IN_HOT_XSPECTRA, BUILT_IN_PB_L3)
from perovskite_polaron.workflow.study import need_edge, need_single


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    add = parser.add_argument
    add("source", metavar="STUDY.toml|FOLDER", nargs="?", type=Path, help="study file, or a folder"
        " with results.json and chains.npz (default: the built-in CsPbBr3 set)")
    add("--transient", help="measured difference spectrum with an error column, to draw and judge")
    add("--beside", metavar="STUDY.toml|FOLDER", nargs="+", default=[], type=Path, help="the same"
        " structures at other edges, or ensembles of the crystal, shown beside (with the built-in"
        " set: its Pb L3 edge, and both edges between 25 and 140 °C)")
    share(parser, "--match")
    add("--edge", metavar="13465.4eV", type=quantity("energy"), help="photon energy of the"
        " calculated zero, for every figure and every published feature (default: the published"
        " first maximum or edge decides)")
    add("--figure", metavar="NAME", help="write only this figure: figure-2, figure-3, figure-4,"
        " structure, sites, bonds, amplitude, heating, alignment")
    add("--out", type=Path, help="folder of the report (default: polaron-report); with --figure the"
        " file, .png, .svg or .pdf")
    share(parser, "--json")


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
    transient = None if args.transient is None else compare.read_transient([args.transient])
    require(args.match is None or args.edge is None, "--match knows the zero: leave out --edge")
    subject = Subject.read(source, args.match, args.edge)
    need_single(subject.study, "polaron report", "give the study of the crystal at rest, and this"
                " one with --beside")
    if transient is not None:
        need_edge(subject.study, transient)
    if args.figure is not None:
        drawn = write_figure(subject, args.figure, args.out, transient)
        emit(args, {"figure": drawn}, [f"figure: {drawn}"])
        return
    whole = source.resolve() == BUILT_IN
    others = [BUILT_IN_PB_L3, *BUILT_IN_HOT.values(), BUILT_IN_HOT_XSPECTRA] if whole else []
    beside = [Subject.read(one) for one in args.beside or others]
    if transient is not None:
        same = [one for one in beside if one.edge == subject.edge]
        # Of the built-in set the other engine is no part of the page.
        engines = [Subject.read(BUILT_IN_BR_FEFF)] if whole else [
            one for one in same if one.study.engine.kind != subject.study.engine.kind]
        hot = [one for one in same if one.ensembles]
        for row, others_of in ((THERMAL, hot), (ENGINE, engines)):
            subject = subject.carrying(row, others_of[0]) if others_of else subject
    judged = None if transient is None else judge(
        transient, subject.scenarios, subject.published_maximum_eV, edge_eV=args.edge,
        matched=subject.matched)
    said = "the computed CsPbBr3 set of the package" if args.source is None else str(source)
    page = study_page(subject, said, transient, judged, beside)
    written = write_report(page, args.out or Path("polaron-report"))
    emit(args, _record(page, judged, written), [f"report: {written[0]}"])


def _record(page: Page, judged: Judgement | None, written: Sequence[Path]) -> dict[str, Any]:
    """Return the first screen, every published statement with its verdict, and what was written."""
    claims = [{"about": block.title, **pick(one, "published", "ours", "verdict")}
              for block in page.claims for one in block.claims]
    return {"report": written[0], "files": written,
            **pick(page.answer, "title", "unknown", answer="lead", would_change="changes"),
            "claims": claims, "transient": None if judged is None else compare.record(judged)}
