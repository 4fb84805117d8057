"""k and -k have the same chains: which points are left out, and that nothing is lost by it."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from conftest import polaron, two_at_a_time, write_tiny_study
from save_files import write_save

from perovskite_polaron.errors import ComputationError
from perovskite_polaron.espresso.savefile import LanczosSave, read_save
from perovskite_polaron.espresso.xspectra import (
    XspectraSettings, complete_save, skipped, spared_save)
from perovskite_polaron.lattice.files import read_crystal, write_crystal
from perovskite_polaron.phonons.distortion import distort
from perovskite_polaron.phonons.modes import read_modes
from perovskite_polaron.workflow.jobs import plan, study_jobs
from perovskite_polaron.workflow.results import collect
from perovskite_polaron.workflow.store import Store
from perovskite_polaron.workflow.study import read_study


def settings(kpoints: tuple[int, ...], shift: tuple[int, ...]) -> XspectraSettings:
    return XspectraSettings(kpoints=kpoints, kpoint_shift=shift)  # type: ignore[arg-type]


GRIDS = [settings(n, s) for n in ((1, 1, 1), (2, 2, 1), (3, 2, 1), (4, 4, 4))
         for s in ((0, 0, 0), (1, 1, 1), (1, 0, 1))]

MODE = Path(__file__).parent.parent / "examples" / "modes" / "cubic_polar.json"


@pytest.mark.parametrize("grid", GRIDS)
def test_a_point_and_its_partner_are_opposite(grid: XspectraSettings) -> None:
    # XSpectra counts the third direction fastest.
    points = np.array(list(itertools.product(*map(range, grid.kpoints))))
    k = (points + np.array(grid.kpoint_shift) / 2) / grid.kpoints
    total = k + k[grid.partners()]
    assert np.allclose(total, np.rint(total))


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("pools", [1, 2, 3])
def test_one_of_each_pair_is_run_and_every_pool_has_its_share(grid: XspectraSettings,
                                                              pools: int) -> None:
    partners = grid.partners()
    pools = min(pools, len(partners))
    left_out = skipped(partners, pools)
    for k, partner in enumerate(partners):
        assert left_out[k] + left_out[partner] == (0 if partner == k else 1)
    edges = np.cumsum([len(partners) // pools + (p < len(partners) % pools) for p in range(pools)])
    runs = [len(part) - sum(part) for part in np.split(np.array(left_out, dtype=int), edges[:-1])]
    fair = (len(partners) - sum(left_out)) / pools
    assert max(runs) <= max(np.ceil(fair), fair + 1)


def test_where_no_points_are_partners_nothing_is_left_out() -> None:
    assert spared_save(settings((1, 1, 1), (0, 0, 0)), 1.0, 1) is None
    assert spared_save(settings((2, 1, 1), (0, 0, 0)), 1.0,
                       1) is None, "0 and 1/2 are their own partners"


def test_a_half_file_becomes_the_whole_one(tmp_path: Path) -> None:
    grid = settings((2, 2, 1), (1, 1, 1))
    assert grid.partners() == [3, 2, 1, 0]
    random = np.random.default_rng(5)
    pair = [(list(random.random(n)), list(random.random(n)), float(random.random()))
            for n in (40, 60)]
    whole = [pair[0], pair[1], pair[1], pair[0]]
    spared = ([0.0] * 20, [1.0] * 20, 0.0)
    half = [pair[0], spared, pair[1], spared]
    for name, chains in (("whole", whole), ("half", half)):
        a, b, norms = map(list, zip(*chains, strict=True))
        write_save(tmp_path / name, a, b, norms=norms, core_eV=13.5, fermi_eV=-1.25)
    complete_save(tmp_path / "half", grid)
    found, wanted = read_save(tmp_path / "half"), read_save(tmp_path / "whole")
    assert np.array_equal(found.norms, wanted.norms)
    assert found.fermi_energy_eV == wanted.fermi_energy_eV
    assert np.array_equal(found.polarisation, wanted.polarisation)
    for mine, theirs in zip(found.a + found.b, wanted.a + wanted.b, strict=True):
        assert np.array_equal(mine, theirs)
    before = (tmp_path / "half").read_bytes()
    complete_save(tmp_path / "half", grid)
    assert (tmp_path / "half").read_bytes() == before, "a whole file is left alone"


def test_a_pair_without_any_chain_is_refused(tmp_path: Path) -> None:
    zero = [[0.0] * 4] * 2
    write_save(tmp_path / "x.sav", zero, [[1.0] * 4] * 2, norms=[0.0, 0.0])
    with pytest.raises(ComputationError, match="no chain of k point 1"):
        complete_save(tmp_path / "x.sav", settings((2, 1, 1), (1, 0, 0)))


@pytest.mark.espresso
def test_half_the_points_give_the_chains_of_all(tmp_path: Path) -> None:
    """Two real runs of one cell without inversion symmetry, with and without the short cut."""
    (polar,) = distort(read_crystal("cspbbr3-pm3m"), read_modes(str(MODE)), [0.10], "max_A")

    def chains(name: str) -> dict[str, LanczosSave]:
        (tmp_path / name).mkdir()
        path = write_tiny_study(tmp_path / name)
        text = path.read_text().replace("kpoints = [1, 1, 1]\nkpoint_shift = [0, 0, 0]",
                                        "kpoints = [2, 1, 1]\nkpoint_shift = [1, 0, 0]")
        write_crystal(polar.crystal, tmp_path / name / "polar.cif")
        text = ('element = "Br"\nreference = "polar"\npolarisations = ["x"]\n'
                '[structures.polar]\ncrystal = "polar.cif"\n\n' + text[text.index("[pw]"):])
        reversal = {"half": "true", "whole": "false"}[name]
        path.write_text(text + f"\n[run]\ntime_reversal = {reversal}\n")
        done = polaron("run", path.name, "--ranks", "1", cwd=tmp_path / name)
        assert done.returncode == 0, done.stderr
        study = read_study(path)
        structures, store = plan(study), Store(study.store_folder)
        runs = [store.folder(j) / "xspectra.run.in" for j in study_jobs(structures)
                if j.kind == "xas"]
        assert all(run.exists() == (name == "half") for run in runs)
        return dict(collect(study, structures, store).chains)

    with two_at_a_time() as pool:
        half, whole = pool.map(chains, ("half", "whole"))
    for name, save in whole.items():
        assert half[name].fermi_energy_eV == pytest.approx(save.fermi_energy_eV, abs=1e-7)
        assert np.allclose(half[name].norms, save.norms, rtol=1e-6)
        for mine, theirs in zip(half[name].a + half[name].b, save.a + save.b, strict=True):
            # A chain of length n magnifies rounding errors from step to step; its head shows what
            # is equal.
            assert np.allclose(mine[:20], theirs[:20], rtol=1e-6)
