"""What denser k points and other settings do to the axial bromine, from the jobs that are kept."""

import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from perovskite_polaron.arrays import Array
from perovskite_polaron.workflow.converge import SETTINGS, truncated
from perovskite_polaron.workflow.escalate import Part, _compute, _Computed, _overlaid
from perovskite_polaron.workflow.results import collect
from perovskite_polaron.workflow.spectra import site_spectra
from perovskite_polaron.workflow.store import Store
from perovskite_polaron.workflow.study import Study, read_study

ARCHIVE = Path(__file__).parent / "data" / "cspbbr3-dense" / "jobs.tar.xz"
AXIAL = Part(frozenset({"ground", "lo@0.1"}), frozenset({("4c", "z")}))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("dense")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return read_study(folder / "axial" / "reference.toml")


def computed(study: Study) -> _Computed:
    """Return what the jobs of the axial bromine with light along c give; nothing is computed."""
    return _compute(study, AXIAL, Store(study.path.parent / "store"), no_jobs)


def no_jobs(jobs: object) -> None:
    raise AssertionError(f"not all are kept: {jobs}")


def moved(old: Array, new: Array) -> float:
    return 100 * float(np.abs(new - old).max() / np.abs(new).max())


@pytest.mark.parametrize(("setting", "value", "shift_eV", "spectrum", "beyond", "anywhere"), [
    ("kpoints", "4x4x2", 0.238, 0.1, 0.1, 0.1),
    ("spectrum-kpoints", "6x6x4", 0.012, 4.7, 7.0, 28.4),
    ("r-paw", "1", -0.043, 10.5, 11.0, 10.2),
    ("cut-above", "0.5eV", 0.0, 0.1, 0.0, 0.1)])
def test_the_manual_says_what_a_step_of_each_setting_changes(
        study: Study, setting: str, value: str, shift_eV: float, spectrum: float, beyond: float,
        anywhere: float) -> None:
    """Denser k points of the density move the zero of energies, and next to nothing else."""
    old = computed(study)
    new, shift = _overlaid(computed(SETTINGS[setting](study, value)), old)
    # The last half eV has the ends of the convolution, 0.2 % of the maximum.
    inside = old.energy_eV < 59.5
    above = inside & (old.energy_eV >= old.energy_eV[old.reference.argmax()] + 8)
    difference, better = (one.differences["lo@0.1"] for one in (old, new))
    assert shift == pytest.approx(shift_eV, abs=0.002)
    assert moved(old.reference[inside], new.reference[inside]) == pytest.approx(spectrum, abs=0.15)
    assert moved(difference[above], better[above]) == pytest.approx(beyond, abs=0.15)
    assert moved(difference[inside], better[inside]) == pytest.approx(anywhere, abs=0.15)


def test_a_shift_alone_leaves_no_change(study: Study) -> None:
    old = computed(study)
    energy = old.energy_eV

    def later(curve: Array) -> Array:
        return np.interp(energy - 1.35, energy, curve)

    new = replace(old, reference=later(old.reference),
                  differences={name: later(one) for name, one in old.differences.items()})
    back, shift = _overlaid(new, old)
    assert shift == pytest.approx(-1.35, abs=1e-3)
    inside = energy < 58
    assert moved(old.reference[inside], back.reference[inside]) < 0.05
    assert moved(old.differences["lo@0.1"][inside], back.differences["lo@0.1"][inside]) < 0.1


def test_the_last_steps_of_the_chains_change_little(study: Study) -> None:
    """Of 180 steps 120 leave 15 % of the difference, 150 leave 4 %."""
    results = collect(study, AXIAL.planned(study), Store(study.path.parent / "store"))

    def difference(steps: int) -> Array:
        _, records = site_spectra(truncated(results, steps), study.spectra)
        found = {one.structure: one.spectrum.intensity for one in records}
        return found["lo@0.1"] - found["ground"]

    whole = difference(180)
    left = [100 * float(np.abs(difference(n) - whole).max() / np.abs(whole).max())
            for n in (90, 120, 150, 170)]
    assert left == pytest.approx([31.0, 15.1, 4.0, 1.8], abs=0.1)
