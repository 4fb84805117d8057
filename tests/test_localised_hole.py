"""A hole held by two bromines as the rival of a mode: computed with FEFF, told apart by compare."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import polaron

from perovskite_polaron.lattice.crystal import Crystal, supercell
from perovskite_polaron.lattice.files import read_crystal, write_crystal
from perovskite_polaron.workflow.spectra import load_results, study_spectra
from perovskite_polaron.workflow.structures import study_structures
from perovskite_polaron.workflow.study import read_study

pytest.importorskip("feff10", reason="feff10-rs is not installed (extra feff)")
pytestmark = pytest.mark.feff
MODE = Path(__file__).parent.parent / "examples" / "modes" / "cubic_polar.json"
STUDY = """element = "Br"
reference = "cubic"
[engine]
kind = "feff"
[structures.cubic]
crystal = "cspbbr3-pm3m"
supercell = [2, 1, 1]
[structures.polar]
crystal = "cspbbr3-pm3m"
supercell = [2, 1, 1]
modes = ["{mode}"]
max_displacement_A = [0.10]
[structures.hole]
crystal = "hole.extxyz"
[feff]
cluster_radius_A = 4.5
scf_radius_A = 3.2
l_max = 3
energy_max_eV = 50
match_tolerance_A = 0.8
[spectra]
energy_max_eV = 46
"""


def pair(apart_A: float) -> Crystal:
    """Cubic CsPbBr3 in ten atoms, two neighbouring Br drawn together along their line."""
    cell = supercell(read_crystal("cspbbr3-pm3m"), (2, 1, 1))
    bromines = [i for i, s in enumerate(cell.species) if s == "Br"]
    found = [(float(np.linalg.norm(d @ cell.lattice_A)), a, b, d) for a in bromines
             for b in bromines if a < b for d in [cell.positions[b] - cell.positions[a]]
             for d in [d - np.rint(d)]]
    distance, a, b, d = min(found, key=lambda one: round(one[0], 6))
    moved = cell.positions.copy()
    moved[a] += d * (1 - apart_A / distance) / 2
    moved[b] -= d * (1 - apart_A / distance) / 2
    return cell.with_positions(moved)


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study, run."""
    folder = tmp_path_factory.mktemp("hole")
    write_crystal(pair(2.9), folder / "hole.extxyz")
    (folder / "vk.toml").write_text(STUDY.format(mode=MODE))
    done = polaron("run", "vk.toml", "--ranks", "1", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "potentials of its own" not in done.stderr
    return folder


def test_atoms_further_away_need_a_wider_match(computed: Path) -> None:
    (computed / "near.toml").write_text((computed / "vk.toml").read_text().replace(
        "match_tolerance_A = 0.8\n", ""))
    done = polaron("run", "near.toml", "--dry-run", cwd=computed)
    assert "hole" in done.stderr
    assert "potentials" in done.stderr


def test_the_average_is_over_all_bromines_of_the_cell(computed: Path) -> None:
    study = read_study(computed / "vk.toml")
    hole = next(s for s in study_structures(study) if s.name == "hole")
    assert sum(a.multiplicity for a in hole.absorbers) == 6
    results, settings, _ = load_results(computed / "vk.toml")
    spectra = study_spectra(results, settings)
    found = spectra.structures["hole"]
    weights = np.array([found.multiplicities[name] for name in found.sites], dtype=float)
    curves = np.array([one.intensity for one in found.sites.values()])
    assert weights.sum() == 6
    np.testing.assert_allclose(found.average.intensity, weights @ curves / 6, rtol=1e-6, atol=1e-9)
    # The two that hold the hole change most.
    change = np.abs(curves - spectra.structures["cubic"].average.intensity).max(axis=1)
    assert weights[int(np.argmax(change))] <= 2


@pytest.mark.parametrize("true", ["hole", "polar"])
def test_compare_tells_the_hole_from_the_mode(computed: Path, tmp_path: Path, true: str) -> None:
    results, settings, _ = load_results(computed / "vk.toml")
    spectra = study_spectra(results, settings)
    one = spectra.differences[true]
    inside = (one.energy_eV > 5) & (one.energy_eV < 38)
    energy, signal = one.energy_eV[inside][::8], 0.3 * one.intensity[inside][::8]
    noise = np.abs(signal).max() / 15
    signal = signal + np.random.default_rng(3).normal(0, noise, len(signal))
    rows = "\n".join(f"{e:.4f},{s:.8e},{noise:.8e}"
                     for e, s in zip(energy + 13470, signal, strict=True))
    (tmp_path / "transient.csv").write_text(f"energy_eV,difference,error\n{rows}\n")
    done = polaron("compare", str(tmp_path / "transient.csv"), "--study", "vk.toml", "--edge",
                   "13470eV", "--json", cwd=computed)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["best"].endswith(true)
    best = next(row for row in found["scenarios"] if row["name"] == found["best"])
    assert best["posterior"] > 0.5
