"""SrTiO3, CsSnBr3 and NiO with XSpectra, from CIF to difference: what was recorded, beside FEFF10.

tests/data/crystals-xspectra has the studies and their results (chains and curves); README.md there
says how they were made.
"""

import re
from pathlib import Path

import numpy as np
import pytest

from perovskite_polaron.espresso.pseudo import recipe_elements
from perovskite_polaron.workflow.engines import agreements
from perovskite_polaron.workflow.jobs import plan
from perovskite_polaron.workflow.results import read_results
from perovskite_polaron.workflow.spectra import StudySpectra, study_spectra
from perovskite_polaron.workflow.study import read_study

FOLDER = Path(__file__).parent / "data" / "crystals-xspectra"
PAGE = (Path(__file__).parent.parent / "docs" / "feff.md").read_text()
BOTH = ["srtio3-o", "cssnbr3"]


def spectra_of(folder: Path) -> StudySpectra:
    results = read_results(folder)
    return study_spectra(results, results.study.spectra)


@pytest.mark.parametrize("name", BOTH)
def test_both_engines_are_as_far_apart_as_the_page_says(name: str) -> None:
    found = agreements(*(read_results(FOLDER / part / name) for part in ("feff", "xspectra")))
    assert [one.name for one in found] == ["moved@0.05", "moved@0.1"]
    for one in found:
        crystal = {"srtio3-o": "SrTiO3, O K", "cssnbr3": "CsSnBr3, Br K"}[name]
        row = (f"| {crystal} | {float(one.name[6:]):.2f} | {one.correlation:.2f} |"
               f" {one.same_sign_percent:.0f} | {one.ratio:.2f} |")
        assert row in PAGE


@pytest.mark.parametrize("name", BOTH)
def test_the_studies_of_both_engines_have_the_same_structures(name: str) -> None:
    ours, theirs = (read_results(FOLDER / part / name) for part in ("xspectra", "feff"))
    assert [s.name for s in ours.structures] == [s.name for s in theirs.structures]
    for mine, other in zip(ours.structures, theirs.structures, strict=True):
        assert mine.space_group == other.space_group
        assert mine.amplitude_sqrt_amu_A == other.amplitude_sqrt_amu_A
        assert [(s.site, s.multiplicity) for s in mine.sites] == [
            (s.site, s.multiplicity) for s in other.sites]
