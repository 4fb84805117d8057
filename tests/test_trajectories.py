"""Trajectories: formats, refusals, constant memory; molecular dynamics with calculators of ASE."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import write
from conftest import environment
from numpy.typing import NDArray

from perovskite_polaron.cli.main import main
from perovskite_polaron.errors import ComputationError, InputError
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.ensemble import read_ensemble
from perovskite_polaron.phonons.dynamics import calculator_of, molecular_dynamics
from perovskite_polaron.phonons.trajectories import read_trajectory

FRAMES = 40


def frames(count: int = FRAMES) -> tuple[list[Atoms], NDArray[np.float64]]:
    """Vibrating rocksalt that drifts through its cell, wrapped into it; and its displacements."""
    rest = bulk("NaCl", "rocksalt", a=5.69, cubic=True)
    rng = np.random.default_rng(0)
    u = np.zeros((count, len(rest), 3))
    for k in range(1, count):
        u[k] = 0.7 * u[k - 1] + 0.1 * rng.standard_normal((len(rest), 3))
    u -= np.einsum("k,ska->sa", rest.get_masses() / rest.get_masses().sum(), u)[:, None]
    found = []
    for k in range(count):
        one = rest.copy()
        one.positions += u[k] + k * np.array([0.4, 0.1, 0])
        one.wrap()
        found.append(one)
    return found, u


def written(folder: Path, kind: str) -> Path:
    images, _ = frames()
    path = folder / {"xdatcar": "XDATCAR", "lammps": "run.lammpstrj"}.get(kind, f"run.{kind}")
    if kind == "lammps":
        lines = []
        for k, one in enumerate(images):
            order = np.random.default_rng(k).permutation(len(one))  # as LAMMPS leaves them
            lines += ["ITEM: TIMESTEP", str(k), "ITEM: NUMBER OF ATOMS", str(len(one)),
                      "ITEM: BOX BOUNDS pp pp pp", *["0.0 5.69"] * 3,
                      "ITEM: ATOMS id type x y z",
                      *[f"{i + 1} {1 + (one.symbols[i] == 'Cl')} "
                        + " ".join(f"{x:.8f}" for x in one.positions[i]) for i in order]]
        path.write_text("\n".join(lines) + "\n")
    elif kind == "xdatcar":
        write(path, [one[np.argsort(one.numbers, kind="stable")] for one in images],
              format="vasp-xdatcar")
    else:
        write(path, images)
    return path


@pytest.mark.parametrize("kind", ["extxyz", "traj", "xdatcar", "lammps"])
def test_every_format_gives_the_same_snapshots(kind: str, tmp_path: Path) -> None:
    species = ("Na", "Cl") if kind == "lammps" else ()
    found = read_trajectory(written(tmp_path, kind), every=5, skip=10, species=species,
                            temperature_K=300.0)
    images, u = frames()
    order = np.argsort(images[0].numbers, kind="stable") if kind == "xdatcar" else slice(None)
    wanted = (u[10:] - u[10:].mean(axis=0))[::5][:, order]
    assert found.reference.species == tuple(np.array(images[0].get_chemical_symbols())[order])
    assert np.abs(found.displacements_A - wanted).max() < 1e-6
    assert found.origin.temperature_K == 300
    assert found.origin.order == "series"


def test_the_autocorrelation_time_is_in_kept_frames(tmp_path: Path) -> None:
    images, _ = frames(600)
    write(tmp_path / "run.extxyz", images)
    dense = read_trajectory(tmp_path / "run.extxyz").origin.correlation
    thin = read_trajectory(tmp_path / "run.extxyz", every=8).origin.correlation
    assert dense == pytest.approx(1.7 / 0.3 / 2, rel=0.3)
    assert thin == pytest.approx(0.56, abs=0.1)


def test_what_is_no_sound_trajectory_is_refused_in_one_line(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, _ = frames(4)

    def refused(name: str, these: list[Atoms], *more: str) -> str:
        write(tmp_path / name, these)
        words = ["ensemble", str(tmp_path / name), "--out", str(tmp_path / "out"), *more]
        assert main(words) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert not (tmp_path / "out").exists()
        return said

    def scaled(one: Atoms, factor: float) -> Atoms:
        other = one.copy()
        other.set_cell(one.cell * factor, scale_atoms=True)
        return other

    for factor in (1 / 0.529177, 0.1):
        wrong = [scaled(i, factor) for i in images]
        assert "lengths are not in Å" in refused("units.extxyz", wrong)
    loose = [Atoms(i.symbols, i.positions) for i in images]
    assert "frame 0 has no cell" in refused("cell.extxyz", loose)
    assert "frame 2 has 7 atoms, the first 8" in refused(
        "count.extxyz", [*images[:2], images[2][:7], images[3]])
    assert "another order of atoms" in refused("order.extxyz", [images[0], images[1][::-1]])
    assert "beyond the first 9" in refused("skip.extxyz", images, "--skip", "9")
    path = tmp_path / "cut.extxyz"
    write(path, images)
    path.write_text(path.read_text()[:-200])
    assert main(["ensemble", str(path), "--out", str(tmp_path / "out")]) == 2
    assert "cannot be read as extxyz" in capsys.readouterr().err
    dump = written(tmp_path, "lammps")
    with pytest.raises(InputError, match="does not name the elements"):
        read_trajectory(dump)
    with pytest.raises(InputError, match="does not exist"):
        read_trajectory(tmp_path / "none.extxyz")
    other = tmp_path / "run.txt"
    other.write_text("x")
    with pytest.raises(InputError, match="says no format"):
        read_trajectory(other)


_MEASURE = """
import resource, sys
from perovskite_polaron.phonons.trajectories import read_trajectory
found = read_trajectory(sys.argv[1], every=int(sys.argv[2]))
print(len(found), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_ten_thousand_frames_need_no_more_memory_than_five_hundred(tmp_path: Path) -> None:
    images, _ = frames(500)
    write(tmp_path / "short.extxyz", images)
    text = (tmp_path / "short.extxyz").read_text()
    (tmp_path / "long.extxyz").write_text(text * 20)
    write(tmp_path / "XDATCAR", images, format="vasp-xdatcar")
    block = (tmp_path / "XDATCAR").read_text()
    rows = block.splitlines(keepends=True)
    (tmp_path / "XDATCAR_long").write_text(block + "".join(rows[7:]) * 5)

    def measured(name: str, every: int) -> int:
        done = subprocess.run([sys.executable, "-c", _MEASURE, str(tmp_path / name), str(every)],
                              capture_output=True, text=True, check=True, env=environment())
        kept, kilobytes = map(int, done.stdout.split())
        assert kept == 20
        return kilobytes

    # The whole file would be 8 MB as text, and many times that as atoms.
    for short, long, every in (("short.extxyz", "long.extxyz", 500),
                               ("XDATCAR", "XDATCAR_long", 150)):
        assert measured(long, every) - measured(short, 25) < 8_000, short


def test_dynamics_of_copper_has_the_temperature_and_starts_again_alike(tmp_path: Path) -> None:
    cell = bulk("Cu", cubic=True) * (2, 2, 2)
    crystal = Crystal(cell.cell.array, tuple(cell.get_chemical_symbols()),
                      cell.get_scaled_positions(), "copper")
    calculator, what = calculator_of("emt")
    options = {"timestep_fs": 5.0, "equilibrate_ps": 0.5, "interval_ps": 0.1,
               "friction_per_ps": 5.0}
    found = molecular_dynamics(crystal, calculator, what, 300.0, 30, 1, **options)
    u = found.displacements_A
    assert np.abs(crystal.masses_amu @ u.transpose(1, 0, 2).reshape(32, -1)).max() < 1e-9
    # EMT's copper at 300 K: ⟨u²⟩ of a component near 0.007 Å² (measured: 0.0067), the long waves of
    # this cell left out.
    assert 0.003 < (u**2).mean() < 0.012
    colder = molecular_dynamics(crystal, calculator, what, 75.0, 30, 1, **options)
    assert (u**2).mean() / (colder.displacements_A**2).mean() == pytest.approx(4, rel=0.5)
    # A calculator may keep lists of neighbours, whose order rounds otherwise: a fresh one.
    again = molecular_dynamics(crystal, *calculator_of("emt"), 300.0, 2, 1, **options)
    assert np.array_equal(again.displacements_A, u[:2])
    assert "mean kinetic temperature" in found.origin.rule


def test_a_calculator_may_be_a_function_in_a_file_of_the_user(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.py").write_text(
        "from ase.calculators.lj import LennardJones\n"
        "def argon():\n"
        "    return LennardJones(sigma=3.4, epsilon=0.0104, rc=8.0, smooth=True)\n")
    write(tmp_path / "argon.cif", bulk("Ar", "fcc", a=5.26, cubic=True) * (2, 2, 2))
    words = ["ensemble", str(tmp_path / "argon.cif"), "--md", f"{tmp_path / 'mine.py'}:argon",
             "--temperature", "40K", "--samples", "3", "--equilibrate", "0.1ps", "--interval",
             "50fs", "--out", str(tmp_path / "hot")]
    assert main(words) == 0
    assert "autocorrelation time" in capsys.readouterr().out
    found = read_ensemble(tmp_path / "hot" / "40K")
    assert found.origin.kind == "molecular dynamics"
    assert 0.01 < np.sqrt((found.displacements_A**2).mean()) < 0.4
    for name, why in (("nonsense", "cannot be made"), (f"{tmp_path / 'mine.py'}:none", "none")):
        with pytest.raises(InputError, match=why):
            calculator_of(name)


def test_a_calculator_that_fails_is_told(tmp_path: Path) -> None:
    crystal = Crystal(4 * np.eye(3), ("Xe",), np.zeros((1, 3)), "xenon")
    with pytest.raises(ComputationError, match="failed after 0 snapshots"):
        molecular_dynamics(crystal, *calculator_of("emt"), 300.0, 2, 0)
