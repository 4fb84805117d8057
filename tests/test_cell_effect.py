"""CsPbBr3's LO difference in 20 and in 40 atoms, from the chains of both, and the tool that
compares them.
"""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from perovskite_polaron.report.claims import AGREES, feature_rows
from perovskite_polaron.report.subject import Subject
from perovskite_polaron.workflow.results import read_results
from perovskite_polaron.workflow.scenarios import BUILT_IN

ROOT = Path(__file__).parents[1]
LARGE = ROOT / "tests" / "data" / "cspbbr3-40atoms"


def test_published_signs_hold_in_the_larger_cell():
    results = read_results(LARGE)
    rows = feature_rows(Subject(results, results.study.spectra, LARGE, LARGE), "lo")
    assert [row.verdict for row in rows if row.feature.structural] == [AGREES] * 3


def test_the_energy_of_the_distortion_does_not_depend_on_the_cell():
    """Twice as many atoms have twice the energy: the two cells hold the same crystals."""
    small, large = ({s.name: s.ground["total_energy_eV"] for s in read_results(folder).structures}
                    for folder in (BUILT_IN, LARGE))
    raised = small["lo@0.1"] - small["ground"]
    assert raised > 0.01
    assert large["ground"] == pytest.approx(2 * small["ground"], abs=1e-4)
    assert large["lo"] - large["ground"] == pytest.approx(2 * raised, abs=1e-4)


def test_the_tool_draws_what_the_manual_shows(tmp_path):
    figure, table = tmp_path / "cell.png", tmp_path / "cell.csv"
    command = [sys.executable, ROOT / "tools" / "cell_effect.py", BUILT_IN, LARGE, "--out", figure,
               "--data", table]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "lo, 2x1x1: " in said
    assert figure.stat().st_size > 20_000
    kept, made = (
        np.array([[float(x) for x in row] for row in csv.reader(path.read_text().splitlines()[1:])])
        for path in (ROOT / "docs" / "cspbbr3-cell.csv", table)
    )
    np.testing.assert_allclose(made, kept, atol=1e-4 * np.abs(kept[:, 2]).max())
    energy, small, large = made.T
    largest, above = np.abs(large).max(), energy > 8
    assert np.abs(small - large)[above].max() < 0.11 * largest
    moved = np.interp(energy + 0.12, energy, small)
    assert np.abs(moved - large)[energy < 59].max() < 0.13 * largest
