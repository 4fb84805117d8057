"""Convergence of the difference spectrum: the studies that are compared, and the laws of the
comparison.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import polaron, write_tiny_study

from perovskite_polaron.errors import InputError
from perovskite_polaron.workflow.converge import (
    Movement, movements, recommendation, truncated, variants)
from perovskite_polaron.workflow.jobs import plan
from perovskite_polaron.workflow.results import collect
from perovskite_polaron.workflow.store import Store
from perovskite_polaron.workflow.study import read_study


def test_a_setting_changes_itself_and_what_belongs_to_it(tmp_path: Path) -> None:
    study = read_study(write_tiny_study(tmp_path))
    low, high = variants(study, "cutoff", ["272.11386eV", "40Ry"])
    assert (low.pw.ecutwfc_Ry, high.pw.ecutrho_Ry) == (pytest.approx(20, abs=1e-4), 240)
    assert low.xspectra == study.xspectra
    _, large = variants(study, "supercell", ["1x1x1", "2x1x3"])
    assert large.structures["cubic"].supercell == (2, 1, 3)
    assert (large.pw.kpoints, large.xspectra.kpoints) == ((1, 2, 1), (1, 1, 1))
    grid = variants(study, "spectrum-kpoints", ["1x1x1", "2x2x2"])[1]
    assert (grid.xspectra.kpoints, grid.pw) == ((2, 2, 2), study.pw)
    sets = variants(study, "absorber-sets",
                    ["/a/Br.UPF:/a/Brh.UPF", "/b/Br.UPF:/b/Brh.UPF"])[1]
    assert sets.pseudopotentials == {"Br": "/b/Br.UPF", "Br-hole": "/b/Brh.UPF"}
    narrow = variants(study, "r-paw", ["1.5", "1"])[1]
    assert narrow == replace(study, xspectra=replace(study.xspectra, r_paw_over_rc=1.0))
    higher = variants(study, "cut-above", ["0.3eV", "500meV"])[1]
    assert higher == replace(study, spectra=replace(study.spectra, cut_above_eV=0.5))


@pytest.mark.parametrize(("setting", "values", "word"),
                         [("kpoints", ["2x2x2"], "two values"),
                          ("kpoints", ["2x2", "3x3x3"], "grid"), ("cutoff", ["20", "30"], "unit"),
                          ("cutoff", ["1Ry", "30Ry"], "outside"),
                          ("supercell", ["0x1x1", "1x1x1"], "grid"),
                          ("r-paw", ["1.5", "0.5"], "from 1 to 3"),
                          ("cut-above", ["0.3eV", "0.5"], "unit"),
                          ("absorber-sets", ["a.UPF", "b.UPF:c.UPF"], "two files")])
def test_values_that_cannot_be_meant_are_refused(setting: str, values: list[str], word: str,
                                                 tmp_path: Path) -> None:
    with pytest.raises(InputError, match=word):
        variants(read_study(write_tiny_study(tmp_path)), setting, values)


def test_the_advice_is_the_cheapest_value_from_which_on_all_is_well() -> None:
    def rows(*percents: float) -> list[Movement]:
        return [Movement("cutoff", f"{k}", p, 0.0, 0.0, None) for k, p in enumerate(percents)]

    assert recommendation(rows(9, 1, 0.5, 0), 2).startswith("cutoff: 1 is enough")
    # A value that is right by accident, before a worse one, is not converged.
    assert recommendation(rows(1, 9, 0.5, 0), 2).startswith("cutoff: 2 is enough")
    assert "not converged" in recommendation(rows(1, 1, 9, 0), 2)


@pytest.mark.espresso
def test_longer_chains_come_closer(tiny_study: Path) -> None:
    study = read_study(tiny_study)
    whole = collect(study, plan(study), Store(study.store_folder))
    steps = [30, 80, 120, 160]
    rows, spectra = movements("lanczos", [str(n) for n in steps],
                              [truncated(whole, n) for n in steps], [None] * 4)
    moved = [row.difference_percent for row in rows]
    assert moved[-1] == 0
    assert moved[0] > moved[1] > moved[2] > 0
    # The difference, a small number, is harder to converge than the spectrum: why this is measured
    # on it.
    assert all(row.difference_percent > row.spectrum_percent for row in rows[:-1])
    assert all(row.shift_eV == 0 for row in rows), "chains do not move the edge"
    best, own = spectra[-1], whole
    assert {len(a) for c in own.chains.values() for a in c.a} <= {*range(30, 161)}
    assert np.abs(best.differences["polar@0.1"].intensity).max() > 0
    with pytest.raises(InputError, match="no chain has 161 steps"):
        truncated(whole, 161)


@pytest.mark.espresso
def test_a_real_cut_off_is_computed_and_reported(tiny_study: Path, tmp_path: Path) -> None:
    path = write_tiny_study(tmp_path)
    text = path.read_text().replace("[0.10, -0.10]", "[0.10]")
    path.write_text(text + f'\n[run]\nstore = "{tiny_study.parent / "tiny-results"}"\n')
    words = ("converge", path.name, "--cutoff", "14Ry,20Ry", "--out", str(tmp_path / "out"),
             "--json")
    done = polaron(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [row["value"] for row in found["rows"]] == ["14Ry", "20Ry"]
    assert found["rows"][0]["difference_percent"] > 1 > found["rows"][1]["difference_percent"] == 0
    assert found["rows"][1]["core_hours"] > 0
    assert "not converged" in found["recommendation"][0]
    assert all(Path(f).stat().st_size > 0 for f in found["files"])
    again = polaron(*words, cwd=tmp_path)
    assert "28 jobs, 28 done" in again.stderr
