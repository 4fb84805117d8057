"""Forces and the electric-field response from the real pw.x and ph.x, on the smallest ionic
crystal: CsBr.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from conftest import polaron, processes_in, two_at_a_time
from numpy.typing import NDArray

from perovskite_polaron.errors import ComputationError, InputError
from perovskite_polaron.espresso.ph import FieldResponse, read_response
from perovskite_polaron.espresso.pw import PwSettings
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.files import write_crystal
from perovskite_polaron.phonons.forces import relax
from perovskite_polaron.workflow.execute import Event, run_jobs
from perovskite_polaron.workflow.forces import (
    ForceJobs, ForceSettings, ResponseSettings, collect_forces, collect_response,
    espresso_calculator, plan_forces, read_force_settings)
from perovskite_polaron.workflow.jobs import Job
from perovskite_polaron.workflow.store import Store

CSBR = Crystal(4.286 * np.eye(3), ("Cs", "Br"), [[0, 0, 0], [0.5, 0.5, 0.5]], "CsBr")
SMALL = ForceSettings(
    pw=PwSettings(ecutwfc_Ry=35, ecutrho_Ry=280, kpoints=(2, 2, 2), conv_thr_Ry=1e-10),
    response=ResponseSettings(kpoints=(2, 2, 2)),
)
STEP_A = 0.01
# The runner of one computation in a process of its own, so that it can be killed.
RUNNER = """
import sys
from pathlib import Path
import test_forces as t
jobs = t.plan_forces(t.CSBR, [t.moved()], t.SMALL)
t.run_jobs([jobs.dense, jobs.response], t.Store(Path(sys.argv[1])), ranks=1, jobs_at_once=1)
"""


def moved(atom: int = 1, axis: int = 2, step_A: float = STEP_A) -> Crystal:
    positions = CSBR.positions.copy()
    positions[atom, axis] += step_A / CSBR.lattice_A[0, 0]
    return CSBR.with_positions(positions)


# Jobs, their store, the forces of each displaced cell, and the response.
Computed = tuple[ForceJobs, Store, list[NDArray[np.float64]], FieldResponse]


def compute(folder: Path) -> Computed:
    store, jobs = Store(folder), plan_forces(CSBR, [moved(1), moved(0)], SMALL)
    run_jobs(jobs.all(), store, ranks=1, jobs_at_once=1)
    return jobs, store, collect_forces(jobs, store), collect_response(jobs, store)


def modes_command(response: str,
                  folder: Path) -> "tuple[subprocess.CompletedProcess[str], Path]":
    write_crystal(CSBR, folder / "csbr.cif")
    (folder / "s.toml").write_text(f"[pw]\nkpoints = [2, 2, 2]\n[response]\nkpoints = {response}\n")
    return polaron(*MODES, cwd=folder), folder


# What a relaxation found, its store and calculator, and the steps that were run for it.
Relaxed = tuple[Crystal, Store, Any, list[str]]


def relaxed(start: Crystal, what: str, limit_eV_A: float, folder: Path) -> Relaxed:
    store, labels = Store(folder), []

    def run(job: Job) -> None:
        labels.append(job.label)
        run_jobs([job], store, ranks=1, jobs_at_once=1)

    calculator = espresso_calculator(start, SMALL, store, run, stress=what == "cell")
    return relax(start, calculator, what, limit_eV_A, 20), store, calculator, labels


MODES = ("modes", "csbr.cif", "--forces", "qe", "--settings", "s.toml", "--direction", "c",
         "--json")
OFF_SITE, SQUEEZED = moved(1, step_A=0.12), replace(CSBR, lattice_A=4.25 * np.eye(3))
# name -> what is computed, and with what, before the folder.
LONG: dict[str, tuple[Any, ...]] = {
    "forces": (compute,), "cell": (relaxed, SQUEEZED, "cell", 0.01),
    "modes": (modes_command, "[4, 4, 4]"), "atom": (relaxed, OFF_SITE, "positions", 0.002)}


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Any]]]:
    """The long runs of this module, two at a time beside its tests."""
    with two_at_a_time() as pool:
        yield {name: pool.submit(*work, tmp_path_factory.mktemp(name))
               for name, work in LONG.items()}


@pytest.fixture(scope="module")
def computed(begun: dict[str, Future[Any]]) -> Computed:
    return begun["forces"].result()


@pytest.mark.espresso
def test_forces_obey_newton_and_reciprocity(computed: Computed) -> None:
    _, _, (of_br, of_cs), _ = computed
    spring = -of_br[1, 2] / STEP_A
    assert 0.5 < spring < 2, "eV/Å²; a stable crystal pulls its atom back"
    for forces in (of_br, of_cs):
        np.testing.assert_allclose(forces.sum(axis=0), 0, atol=1e-6)
        np.testing.assert_allclose(forces[:, :2], 0, atol=1e-6)
    # Not exact: the grid of the density is finite, and an atom that moves sees it (23 % apart at
    # 120 Ry, 0.4 % at 280).
    np.testing.assert_allclose(of_br[0, 2], of_cs[1, 2], rtol=1e-2)


@pytest.mark.espresso
def test_the_response_of_a_cubic_site_is_isotropic_and_charges_oppose(computed: Computed) -> None:
    _, _, _, response = computed
    one = np.eye(3)
    np.testing.assert_allclose(response.epsilon_inf, response.epsilon_inf[0, 0] * one, atol=1e-5)
    np.testing.assert_allclose(response.born_e, response.born_e[:, :1, :1] * one, atol=1e-5)
    assert 2 < response.epsilon_inf[0, 0] < 4
    assert response.born_e[0, 0, 0] > 0.5 > -0.5 > response.born_e[1, 0, 0]


@pytest.mark.espresso
def test_what_is_done_is_not_done_again(computed: Computed) -> None:
    jobs, store, forces, response = computed
    seen: list[Event] = []
    run_jobs(jobs.all(), store, ranks=1, jobs_at_once=1, report=seen.append)
    again, same = collect_forces(jobs, store), collect_response(jobs, store)
    assert not [event for event in seen if event.what == "started"]
    np.testing.assert_array_equal(again, forces)
    np.testing.assert_array_equal(same.born_e, response.born_e)
    assert not list(store.jobs_root.glob("*/outdir")), "densities that nothing needs are removed"


@pytest.mark.espresso
@pytest.mark.parametrize("victim", ["runner", "program"])
def test_a_killed_response_goes_on_from_its_checkpoint(
        computed: Computed, victim: str, tmp_path: Path) -> None:
    _, _, _, response = computed
    here = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-c", RUNNER, str(tmp_path)]
    first = subprocess.Popen(command, env=here)
    output = None
    limit = time.monotonic() + 300
    while time.monotonic() < limit and first.poll() is None:
        output = next(tmp_path.glob("jobs/response-*/ph.out"), None)
        if output is not None and "iter #   2" in output.read_text():
            time.sleep(0.1)  # the checkpoint is written just after the line
            break
        time.sleep(0.01)
    assert first.poll() is None, "the run ended before it could be killed"
    if victim == "runner":
        first.kill()
        first.wait()
        store, killed = Store(tmp_path), plan_forces(CSBR, [moved()], SMALL).response
        deadline = time.monotonic() + 30
        while store.is_locked(killed) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert subprocess.run(command, env=here, check=False).returncode == 0
    else:
        # The runner sees that its program was killed, and tries again by itself.
        assert output is not None
        (program,) = processes_in(output.parent)
        os.kill(program, signal.SIGKILL)
        assert first.wait(timeout=300) == 0
    assert output is not None
    text = output.read_text()
    assert "iter #   1 " not in text, "it began anew instead of going on"
    record = json.loads(output.with_name("result.json").read_text())
    np.testing.assert_allclose(record["born_e"], response.born_e, atol=1e-4)
    np.testing.assert_allclose(record["epsilon_inf"], response.epsilon_inf, atol=1e-4)


@pytest.mark.espresso
def test_from_a_structure_to_the_longitudinal_mode_in_one_command(
        begun: dict[str, Future[Any]], tmp_path: Path) -> None:
    """CsBr: one polar mode, so (ω_LO / ω_TO)² = ε0 / ε∞ (Lyddane, Sachs and Teller), ε∞ as ph.x
    printed it.
    """
    done, folder = begun["modes"].result()
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    transverse, longitudinal = record["modes"][3], record["modes"][record["selected"]]
    assert (transverse["kind"], longitudinal["kind"]) == ("TO", "LO")
    (printed,) = (folder / "modes-results").glob("jobs/response-*/result.json")
    epsilon_inf = json.loads(printed.read_text())["epsilon_inf"][2][2]
    squares = (longitudinal["energy_meV"] / transverse["energy_meV"]) ** 2
    assert squares == pytest.approx(record["epsilon_static"][2] / epsilon_inf, rel=1e-6)
    assert squares > 1.5
    assert 0 < record["residuals"]["reciprocity_residual_eV_A2"] < 0.02
    assert record["charge_residual_e"] < 0.1
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    refused, _ = modes_command("[2, 2, 2]", tmp_path)
    assert refused.returncode == 1
    assert "denser k grid" in refused.stderr


@pytest.mark.espresso
def test_charges_that_are_known_need_no_response(begun: dict[str, Future[Any]],
                                                 tmp_path: Path) -> None:
    """The charges that ph.x found, given in a file, make the same modes without it."""
    done, folder = begun["modes"].result()
    record = json.loads(done.stdout)
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (response,) = (tmp_path / "modes-results").glob("jobs/response-*")
    found = json.loads((response / "result.json").read_text())
    shutil.rmtree(response)
    rows = [found["epsilon_inf"], *found["born_e"]]
    (tmp_path / "BORN").write_text("\n".join(
        ["14.399652", *(" ".join(f"{x:.10f}" for x in np.ravel(row)) for row in rows)]) + "\n")
    given = polaron(*MODES, "--born", "BORN", cwd=tmp_path)
    assert given.returncode == 0, given.stderr
    assert not response.exists()
    np.testing.assert_allclose([m["energy_meV"] for m in json.loads(given.stdout)["modes"]],
                               [m["energy_meV"] for m in record["modes"]], atol=1e-4)


@pytest.mark.espresso
def test_an_atom_off_its_site_comes_back_and_no_step_is_done_twice(
        begun: dict[str, Future[Any]]) -> None:
    found, store, calculator, labels = begun["atom"].result()
    distance = (found.positions[1] - found.positions[0]) * CSBR.lattice_A[0, 0]
    # Its spring is about 1 eV/Å², so 0.002 eV/Å are 0.002 Å.
    np.testing.assert_allclose(distance, 0.5 * CSBR.lattice_A[0, 0], atol=0.004)
    assert 2 <= len(labels) <= 8
    again, _, _, repeated = relaxed(OFF_SITE, "positions", 0.002, store.root)
    assert repeated == [], "a relaxation that was interrupted replays its steps from the store"
    np.testing.assert_array_equal(again.positions, found.positions)
    with pytest.raises(ComputationError, match="was not relaxed in 1 steps"):
        relax(OFF_SITE, calculator, "positions", 0.002, 1)


@pytest.mark.espresso
def test_a_cell_at_rest_has_the_least_energy(begun: dict[str, Future[Any]]) -> None:
    found, _, calculator, _ = begun["cell"].result()
    np.testing.assert_allclose(found.lattice_A, found.lattice_A[0, 0] * np.eye(3), atol=1e-9)
    energies = []
    for factor in (0.97, 1.0, 1.03):
        atoms = Atoms("CsBr", scaled_positions=CSBR.positions, cell=factor * found.lattice_A,
                      pbc=True)
        atoms.calc = calculator
        energies.append(atoms.get_potential_energy())
    # The basis is that of the cut-off at each volume, which moves the minimum a little: hence the
    # wide steps.
    assert energies[1] < min(energies[0], energies[2])


def test_an_output_without_charges_is_refused() -> None:
    with pytest.raises(ComputationError, match="no dielectric tensor"):
        read_response("JOB DONE.")
    with pytest.raises(ComputationError, match="did not converge"):
        read_response("     No convergence has been achieved\n")


def test_settings_report_every_problem_at_once(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text("[pw]\necutwfc = 30\n[response]\nkpoints = [2, 2]\n[pwx]\na = 1\n")
    with pytest.raises(InputError) as caught:
        read_force_settings(path)
    for word in ("ecutwfc_Ry", "kpoints", "pwx"):
        assert word in str(caught.value)
    path.write_text("[pw]\necutwfc_Ry = 30\n")
    settings = read_force_settings(path)
    assert settings.pw == replace(ForceSettings().pw, ecutwfc_Ry=30.0)
    assert asdict(settings.pw) == asdict(
        replace(PwSettings(), ecutwfc_Ry=30.0, conv_thr_Ry=1e-10, empty_bands=0))
    assert settings.response == ResponseSettings()
