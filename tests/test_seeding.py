"""Cycles that start from a neighbour's density: who starts from whom, that results stay, and what
is kept for how long.
"""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import polaron, write_tiny_study

from perovskite_polaron.errors import ComputationError
from perovskite_polaron.espresso.density import (
    Atoms, add_difference, form_factor, move_density, move_hole, transform_density)
from perovskite_polaron.espresso.pseudo import make_pseudo
from perovskite_polaron.espresso.upf import read_upf
from perovskite_polaron.lattice.files import read_crystal
from perovskite_polaron.workflow.converge import truncated
from perovskite_polaron.workflow.execute import _Queue, run_jobs
from perovskite_polaron.workflow.jobs import Job, StructureJobs, plan, study_jobs
from perovskite_polaron.workflow.results import collect
from perovskite_polaron.workflow.spectra import study_spectra
from perovskite_polaron.workflow.status import write_plan
from perovskite_polaron.workflow.store import Store, find_garbage
from perovskite_polaron.workflow.study import Study, read_study

pytestmark = pytest.mark.espresso


def sweep(folder: Path, amplitudes: str = "[0.10, -0.10]") -> Path:
    """Write the tiny study with other amplitudes, to be run from neighbours."""
    path = write_tiny_study(folder)
    path.write_text(path.read_text().replace("[0.10, -0.10]", amplitudes))
    return path


def by_label(structures: tuple[StructureJobs, ...]) -> dict[str, Job]:
    return {job.label: job for one in structures for job in one.all()
            if job.kind in ("ground", "hole")}


def test_each_cycle_starts_from_what_is_nearest(tmp_path: Path) -> None:
    path = sweep(tmp_path, "[0.05, 0.10, -0.10]")
    seeded = plan(read_study(path))
    jobs = by_label(seeded)
    assert jobs["cubic"].initial == ()
    assert jobs["polar@0.05"].initial == (jobs["cubic"],)
    # The same atom's hole where the neighbour has it, or that of the atom's equivalent, else the
    # same cell without a hole.
    for label, job in jobs.items():
        structure, _, site = label.partition("-Br")
        if job.kind == "hole" and not label.startswith("polar@-"):
            near = {"polar@0.1": "polar@0.05", "polar@0.05": "cubic", "cubic": "none"}[structure]
            same_atom = [o for o in jobs if o.startswith(f"{near}-Br{site[0]}-")]
            equivalent = [o for o in jobs if o.startswith(f"{near}-Br")]
            wanted = ((same_atom or equivalent)[0], structure, near) if equivalent else (structure,)
            assert tuple(one.label for one in job.initial) == wanted
            assert (job.operation is not None) == bool(equivalent and not same_atom)
    # The image of the opposite amplitude is the same job: it must not wait for itself.
    for job in study_jobs(seeded):
        steps, at = 0, job
        while at.initial:
            assert at.digest not in {one.digest for one in at.initial}
            at, steps = at.initial[0], steps + 1
            assert steps < 10


def test_a_job_sent_elsewhere_takes_no_chain_of_jobs_with_it(tmp_path: Path) -> None:
    jobs = by_label(plan(read_study(sweep(tmp_path, "[0.05, 0.10, 0.15]"))))
    sent = jobs["polar@0.15"].slim()
    assert [one.digest for one in sent.initial] == [jobs["polar@0.1"].digest]
    assert sent.initial[0].initial == ()


@pytest.mark.parametrize("element", ["Br", "Pb", "Cs"])
def test_the_free_atom_holds_its_valence_electrons(element: str) -> None:
    pseudo = read_upf(make_pseudo(element, "none").path)
    assert form_factor(pseudo.path, np.array([0.0, 5.0]))[0] == pytest.approx(pseudo.z_valence,
                                                                              rel=0.01)


def test_a_difference_is_added_and_another_grid_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(size=(3, 5)) + 1j * rng.normal(size=(3, 5))
    paths = [tmp_path / name for name in ("hole", "plus", "minus")]
    miller = np.arange(15).reshape(5, 3)
    for path, density in zip(paths, values, strict=True):
        write_density(path, miller, density)
    add_difference(*paths)
    assert np.allclose(read_density(paths[0], 5), values[0] + values[1] - values[2], atol=1e-15)
    write_density(paths[2], miller[::-1], values[2])
    with pytest.raises(ComputationError, match="another grid"):
        add_difference(*paths)


def test_among_free_atoms_the_hole_goes_with_its_atom(tmp_path: Path) -> None:
    """A neighbour's hole and the difference of the cells without it: exact where nothing is bonded.
    """
    plain, hole = make_pseudo("Br", "none").path, make_pseudo("Br", "full").path
    lattice, where = np.diag([6.0, 7.0, 8.0]), np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]])
    there = where + np.array([[0.02, 0.0, -0.03], [-0.01, 0.0, 0.0]])
    miller = np.array([(i, j, k) for i in range(-3, 4) for j in range(-3, 4) for k in range(-3, 4)])
    cells = {name: Atoms(lattice, positions, (first, plain)) for name, positions, first in (
        ("hole", where, hole), ("plus", there, plain), ("minus", where, plain),
        ("wanted", there, hole))}
    for name, atoms in cells.items():
        write_density(tmp_path / name, miller, free_atoms(atoms, miller))
    add_difference(*(tmp_path / name for name in ("hole", "plus", "minus")))
    move_hole(tmp_path / "hole", cells["wanted"], cells["plus"], cells["minus"])
    found, wanted = (read_density(tmp_path / name, len(miller)) for name in ("hole", "wanted"))
    assert np.allclose(found, wanted, atol=1e-12)


def free_atoms(atoms: Atoms, miller: np.ndarray) -> np.ndarray:
    """Fourier coefficients (e/bohr³) of free atoms side by side, in a cell with right angles."""
    edges = np.diag(atoms.lattice_A) / 0.529177210903
    q = 2 * np.pi * np.linalg.norm(miller / edges, axis=1)
    return sum(form_factor(file, q) * np.exp(-2j * np.pi * miller @ x) / np.prod(edges)
               for file, x in zip(atoms.files, atoms.positions, strict=True))


def test_a_turned_density_has_its_old_values_where_the_operation_leads(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    miller = np.array([(i, j, k) for i in range(-2, 3) for j in range(-2, 3) for k in range(-3, 4)])
    coefficients = rng.normal(size=len(miller)) + 1j * rng.normal(size=len(miller))
    path = tmp_path / "charge-density.dat"
    write_density(path, miller, coefficients)
    # A four-fold screw axis along the third vector, with an in-plane glide.
    rotation, translation = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]]), np.array(
        [0.25, -0.5, 1 / 3])
    transform_density(path, rotation, translation)
    points = rng.uniform(size=(20, 3))

    def at(x: np.ndarray, c: np.ndarray) -> np.ndarray:
        return np.exp(2j * np.pi * x @ miller.T) @ c

    turned = at(points @ rotation.T + translation, read_density(path, len(miller)))
    assert np.allclose(turned, at(points, coefficients), atol=1e-12)
    half = miller[:, 0] >= 0
    write_density(path, miller[half], coefficients[half])
    with pytest.raises(ComputationError, match="free atoms"):
        transform_density(path, rotation, translation)


def test_the_hole_of_an_atom_starts_from_that_of_its_equivalent(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text('element = "Br"\nreference = "ground"\n[structures.ground]\n'
                    'crystal = "cspbbr3-pbnm"\n[structures.lo]\n'
                    'crystal = "cspbbr3-pbnm"\nmodes = ["lo-c"]\n'
                    'max_displacement_A = [0.05, 0.10]\n[core_hole]\nkind = "full"\n')
    jobs = by_label(plan(read_study(path)))
    # The mode splits the equatorial site 8d of Pbnm into two: Br17 has no hole in the crystal at
    # rest, but Br13 has.
    moved = jobs["lo@0.05-Br17-4a"]
    assert [one.label for one in moved.initial] == ["ground-Br13-8d", "lo@0.05", "ground"]
    assert moved.operation is not None
    rotation, translation = moved.operation
    positions = read_crystal("cspbbr3-pbnm").positions
    miss = np.array(rotation) @ positions[12] + translation - positions[16]
    assert np.allclose(miss, np.rint(miss), atol=1e-3)
    assert jobs["lo@0.05-Br13-4a"].operation is None
    assert jobs["lo@0.1-Br17-4a"].initial[0].label == "lo@0.05-Br17-4a"
    assert jobs["lo@0.1-Br17-4a"].operation is None


# Two densities are moved again and again while programs are started as the runner starts them.
MOVING_WHILE_STARTING = """
import sys, threading, time
from pathlib import Path
import numpy as np
from perovskite_polaron.espresso.density import Atoms, move_density, transform_density
from perovskite_polaron.programs import run_program
file, density = Path(sys.argv[1]), Path(sys.argv[2])
old, new = (Atoms(6 * np.eye(3), np.array([[x, 0.0, 0.0]]), (file,)) for x in (0.0, 0.02))
end = time.monotonic() + 5
def move(name):
    path = density.with_name(name)
    path.write_bytes(density.read_bytes())
    while time.monotonic() < end:
        move_density(path, old, new)
        transform_density(path, np.eye(3), np.zeros(3))
threads = [threading.Thread(target=move, args=(name,)) for name in ("one", "two")]
for thread in threads:
    thread.start()
while time.monotonic() < end:
    run_program(["/bin/echo", "JOB DONE"], density, density.with_name("echo.out"))
for thread in threads:
    thread.join()
"""


def test_moving_a_density_does_not_hang_while_programs_are_started(tmp_path: Path) -> None:
    pseudo = make_pseudo("Br", "none").path
    file = Path(shutil.copy(pseudo, tmp_path / "Br.UPF"))
    miller = np.array([(i, j, k) for i in range(-30, 31) for j in range(-30, 31)
                       for k in range(-30, 31)])
    write_density(tmp_path / "density", miller, np.ones(len(miller), complex))
    words = [sys.executable, "-W", "ignore", "-c", MOVING_WHILE_STARTING, str(file),
             str(tmp_path / "density")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def write_density(path: Path, miller: np.ndarray, density: np.ndarray) -> None:
    parts = []
    for record in (b"\0" * 12, b"\0" * 72, miller.astype("<i4").tobytes(), density.tobytes()):
        size = np.array(len(record), "<i4").tobytes()
        parts += [size, record, size]
    path.write_bytes(b"".join(parts))


def read_density(path: Path, count: int) -> np.ndarray:
    return np.frombuffer(path.read_bytes()[-4 - 16 * count : -4], np.complex128)


def test_a_density_of_free_atoms_is_moved_exactly_and_back(tmp_path: Path) -> None:
    pseudo = make_pseudo("Br", "none").path
    (tmp_path / "pseudo").mkdir()
    file = Path(shutil.copy(pseudo, tmp_path / "pseudo" / "Br.UPF"))
    miller = np.array([(i, j, k) for i in range(-3, 4) for j in range(-3, 4) for k in range(-3, 4)])
    lattice = np.diag([6.0, 7.0, 8.0])
    old = Atoms(lattice, np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]]), (file, file))
    new = Atoms(lattice, np.array([[0.02, 0.0, -0.03], [0.5, 0.5, 0.5]]), (file, file))
    rng = np.random.default_rng(1)
    start = rng.normal(size=len(miller)) + 1j * rng.normal(size=len(miller))
    path = tmp_path / "charge-density.dat"
    write_density(path, miller, start)
    move_density(path, old, new)
    moved = read_density(path, len(miller))
    # Independent of the module's sums: the shift theorem.
    assert np.allclose(moved - start, free_atoms(new, miller) - free_atoms(old, miller), atol=1e-9)
    assert moved[np.all(miller == 0, axis=1)] == pytest.approx(start[np.all(miller == 0, axis=1)],
                                                               abs=1e-12)
    move_density(path, new, old)
    assert np.allclose(read_density(path, len(miller)), start, atol=1e-12)


@pytest.mark.parametrize("cut", [5, 60, -8])
def test_half_a_density_is_refused(cut: int, tmp_path: Path) -> None:
    file = make_pseudo("Br", "none").path
    atoms = Atoms(np.eye(3) * 6, np.zeros((1, 3)), (file,))
    path = tmp_path / "charge-density.dat"
    write_density(path, np.eye(3, dtype=int), np.ones(3, dtype=complex))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ComputationError, match="damaged"):
        move_density(path, atoms, atoms)


@pytest.fixture(scope="module")
def seeded_study(tiny_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A copy of the tiny study, in which every cycle but the first began from a neighbour."""
    folder = tmp_path_factory.mktemp("seeded")
    shutil.copytree(tiny_study.parent / "tiny-results", folder / "tiny-results")
    return read_study(shutil.copy(tiny_study, folder))


def first_accuracy(store: Store, job: Job) -> float:
    output = (store.folder(job) / "pw.out").read_text()
    return float(output.split("estimated scf accuracy")[1].split()[1])


def test_results_are_those_from_free_atoms_in_fewer_iterations(seeded_study: Study,
                                                               tmp_path: Path) -> None:
    plain = read_study(write_tiny_study(tmp_path))
    stores = [Store(s.store_folder) for s in (plain, seeded_study)]
    # Where a cycle begins is no part of what a job is, so the digests stay.
    unseeded = [dataclasses.replace(job, initial=(), operation=None)
                for job in study_jobs(plan(plain))]
    run_jobs(unseeded, stores[0], ranks=1, jobs_at_once=2)
    plans = [plan(s) for s in (plain, seeded_study)]
    spent = [0, 0]
    for job in by_label(plans[1]).values():
        atoms, near = (store.result(job) for store in stores)
        assert atoms is not None
        assert near is not None
        assert near.get("started_from") == (job.initial[0].digest if job.initial else None)
        # The energy's error is second order in that of the density, which conv_thr = 1e-8 Ry
        # bounds.
        assert near["total_energy_eV"] == pytest.approx(atoms["total_energy_eV"], abs=5e-7)
        if job.initial:
            spent[0] += atoms["iterations"]
            spent[1] += near["iterations"]
            # pw.x's first estimate is an energy, second order in what the initial density lacks.
            # From a displaced neighbour that is first order in the displacement, and free atoms
            # lack all of the bonding; a hole begun without one lacks how the crystal screens it.
            lacking = [first_accuracy(store, job) for store in stores]
            fewer = 50 if len(job.initial) == 3 or job.kind == "ground" else 2
            assert lacking[1] < lacking[0] / fewer, job.label
    assert spent[1] <= 0.8 * spent[0], spent
    # A Lanczos chain magnifies what is left of the cycle's error from step to step, the more so
    # where one k point of a small cell gives poles; its first steps show that the two densities are
    # the same.
    one, other = (
        study_spectra(truncated(collect(s, p, store), 40), s.spectra)
        for s, p, store in zip((plain, seeded_study), plans, stores, strict=True)
    )
    for name, difference in one.differences.items():
        if np.any(difference.intensity):
            moved = np.abs(other.differences[name].intensity - difference.intensity).max()
            assert moved < 0.005 * np.abs(difference.intensity).max(), name


def test_no_density_stays_and_nothing_is_run_again(seeded_study: Study) -> None:
    store = Store(seeded_study.store_folder)
    jobs = study_jobs(plan(seeded_study))
    assert not [job.label for job in jobs if store.has_density(job)]
    assert find_garbage(store, jobs) == []
    before = {job.digest: (store.folder(job) / "result.json").stat().st_mtime_ns for job in jobs}
    done = polaron("run", seeded_study.path.name, cwd=seeded_study.path.parent)
    assert done.returncode == 0, done.stderr
    assert before == {job.digest: (store.folder(job) / "result.json").stat().st_mtime_ns
                      for job in jobs}


def test_without_its_initial_density_a_job_starts_from_free_atoms(seeded_study: Study,
                                                                  tmp_path: Path) -> None:
    """A later point of a sweep whose neighbours' densities are gone computes no neighbour again."""
    path = Path(shutil.copy(seeded_study.path, tmp_path))
    shutil.copytree(seeded_study.store_folder, tmp_path / seeded_study.store_folder.name)
    study = read_study(path)
    store = Store(study.store_folder)
    job = by_label(plan(study))["polar@0.1"]
    result = store.folder(job) / "result.json"
    before = json.loads(result.read_text())
    shutil.rmtree(store.folder(job))
    done = polaron("run", path.name, "--ranks", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    after = json.loads(result.read_text())
    assert after["started_from"] is None
    assert after["total_energy_eV"] == pytest.approx(before["total_energy_eV"], abs=5e-7)


def test_a_failed_neighbour_takes_nobody_with_it(tmp_path: Path) -> None:
    study = read_study(sweep(tmp_path, "[0.05, 0.10]"))
    structures = plan(study)
    jobs = by_label(structures)
    queue = _Queue(study_jobs(structures), Store(study.store_folder))
    assert [job.label for job in queue.ready] == ["cubic"]
    queue.ready.clear()
    queue.give_up(jobs["cubic"])
    assert {job.label for job in queue.ready} == {k for k, job in jobs.items()
                                                  if job.initial == (jobs["cubic"],)}
    hole = next(job for job in queue.ready if job.kind == "hole")
    queue.ready.clear()
    queue.give_up(hole)
    # Its own spectra cannot be had; who would only have started from it begins anew.
    assert {job.kind for job in queue.ready} <= {"hole"}
    left = {job.label for job in queue._todo.values()}
    assert not [label for label in left if label.startswith(hole.label + "-")]


def test_a_density_that_another_study_works_on_is_kept(seeded_study: Study, tmp_path: Path) -> None:
    """The other study has the same ground state and hole, and wants a polarisation that this one
    has not.
    """
    path = Path(shutil.copy(seeded_study.path, tmp_path))
    shutil.copytree(seeded_study.store_folder, tmp_path / seeded_study.store_folder.name)
    study = read_study(path)
    store = Store(study.store_folder)
    jobs = study_jobs(plan(study))
    hole = next(job for job in jobs if job.kind == "hole")
    xas = next(job for job in jobs if job.parent == hole)
    outdir = store.folder(hole) / "outdir"
    others = tmp_path / "other.toml"
    others.write_text(path.read_text().replace("relative_error = 0.002", "relative_error = 0.001"))
    other = read_study(others)
    write_plan(other, study_jobs(plan(other)), store)
    outdir.mkdir()
    _Queue(jobs, store)
    assert outdir.is_dir(), "an unfinished job of the other study works on it"
    (store.root / f"plan-{other.path.stem}.json").unlink()
    with store.lock(hole):
        _Queue(jobs, store)
        assert outdir.is_dir(), "somebody is at work in this folder"
    _Queue(jobs, store)
    assert not outdir.exists()
    assert store.result(xas) is not None
