"""Any occupation on stored chains: sum rules, today's cut, independent diagonalisation, bad input.
"""

from pathlib import Path

import numpy as np
import pytest
from save_files import write_save
from scipy.linalg import eigh_tridiagonal
from test_lanczos import (
    exact as _matrix_and_chain, prefactor, random_chain, saved, textbook_lanczos)

import perovskite_polaron
from perovskite_polaron.cli.main import main
from perovskite_polaron.errors import InputError
from perovskite_polaron.espresso.lanczos import Filling, evaluate
from perovskite_polaron.espresso.savefile import read_chains, read_save
from perovskite_polaron.kernels import lanczos as kernel
from perovskite_polaron.units import RYDBERG_EV

exact = _matrix_and_chain
ENERGY = np.linspace(-40, 40, 401)
WIDE = 0.4 + 0.05 * np.abs(ENERGY)


@pytest.fixture(scope="module")
def bundled():
    """A computed chain of CsPbBr3, four k points of 360 steps."""
    chains = read_chains(Path(perovskite_polaron.__file__).parent / "data" / "cspbbr3"
                         / "chains.npz")
    return chains["ground/Br9-4c/z"]


def fermi(levels, level, thermal):
    """A Fermi function of NumPy, and the step that it becomes."""
    if thermal == 0:
        return (levels < level).astype(float)
    return 0.5 * (1 - np.tanh((levels - level) / (2 * thermal)))


def lines(levels, weights, energy, hwhm):
    """A sum of Lorentzians of area π, one for each level."""
    return hwhm[:, None] / ((energy[:, None] - levels) ** 2 + hwhm[:, None] ** 2) @ weights


def test_nothing_filled_is_the_whole_chain_bit_by_bit(bundled):
    energy = np.linspace(-10, 60, 501)
    options = {"terminator": 180, "taper": 0.1}
    whole = evaluate(bundled, energy, 1.26, **options).total
    assert np.array_equal(evaluate(bundled, energy, 1.26, occupation=(), **options).total, whole)


def test_a_step_is_the_cut(bundled):
    """The cubic that XSpectra draws through the cut is the only difference, and small in a gap."""
    energy = np.linspace(-10, 60, 1401)
    options = {"terminator": 180, "taper": 0.1}
    cut = evaluate(bundled, energy, 1.26, cut_occupied=True, cut_above_eV=0.3, **options).total
    step = evaluate(bundled, energy, 1.26, occupation=[Filling(1, 0.3)], **options).total
    off = np.abs(step - cut) / cut.max()
    near = np.abs(energy - 0.3) < 0.1
    assert off[~near].max() < 1e-13
    assert off[near].max() < 1e-4
    sharp = evaluate(bundled, energy, 1.26, cut_occupied=True, cut_above_eV=0.3, cut_smooth_eV=0,
                     **options).total
    assert np.abs(step - sharp).max() < 1e-13 * cut.max()


def test_a_fermi_function_inside_a_gap_is_a_step(bundled):
    """At 300 K the tails of a level in the middle of a gap of 3 eV hold 1e-25 of a state."""
    energy = np.linspace(-10, 60, 501)
    step, smooth = (evaluate(bundled, energy, 1.26, occupation=[Filling(1, 1.5, kt)],
                             terminator=180, taper=0.1).total for kt in (0, 0.02585))
    assert np.abs(step - smooth).max() < 1e-10 * step.max()


@pytest.mark.parametrize("terms", [[(1, -3.0, 0.5)], [(1, 0.0, 3.0)], [(1, 6.0, 0.026)],
                                   [(1, 4.0, 0.1), (1, -5.0, 0.3), (-1, 0.0, 0.0)],
                                   [(0.3, 2.5, 0.0), (0.1, 7.0, 1.0)]])
def test_occupation_is_the_sum_over_states(tmp_path, exact, terms):
    """Each level of the diagonalised matrix counts 1 − n, for a width that is its own at each
    energy.
    """
    _, levels, weights, _ = exact
    at_eV = 3.0
    empty = 1 - sum(w * fermi(levels - at_eV, level, kt) for w, level, kt in terms)
    expected = prefactor(ENERGY, at_eV) * lines(levels, weights * empty, ENERGY + at_eV, WIDE)
    ours = evaluate(saved(tmp_path, exact, at_eV), ENERGY, WIDE,
                    occupation=[Filling(*t) for t in terms]).total
    assert np.abs(ours - expected).max() < 1e-9 * np.abs(expected).max()


def test_terminator_and_taper_are_those_of_a_long_chain(tmp_path):
    """The constant tail written out for two thousand steps, and diagonalised as one matrix."""
    a, b, norm = random_chain(5, 60)
    save = read_save(write_save(tmp_path / "t.sav", [a], [b], norms=[norm], core_eV=500.0))
    energy, hwhm = np.linspace(-10, 40, 101), np.full(101, 0.8)
    terms = [Filling(1, 9.0, 0.4), Filling(1, 4.0, 0.2), Filling(-1, 6.5)]
    for taper in (0.0, 0.3):
        ours = evaluate(save, energy, hwhm, occupation=terms, terminator=20, taper=taper).total
        x, y = a[:-2], b[:-2]
        ends = x[-10:].mean(), y[-10:].mean()
        steps = round(taper * len(x))
        fade = 0.5 * (1 + np.cos(np.pi * np.linspace(0, 1, steps)))
        long = []
        for values, end in zip((x, y), ends, strict=True):
            own = np.append(values, np.full(2000, end))
            own[len(x) - steps : len(x)] = end + fade * (values[len(x) - steps :] - end)
            long.append(own)
        levels, vectors = eigh_tridiagonal(long[0] * RYDBERG_EV, long[1][:-1] * RYDBERG_EV)
        # A step between two of its levels is half a level off, which a Lorentzian forgives.
        empty = 1 - sum(t.weight * fermi(levels, t.level_eV, t.thermal_eV) for t in terms)
        expected = prefactor(energy, 0.0) * lines(levels, norm**2 * vectors[0] ** 2 * empty, energy,
                                                  hwhm)
        assert np.abs(ours - expected).max() < 5e-3 * expected.max()
        smooth = [terms[0]]
        empty = 1 - fermi(levels, 9.0, 0.4)
        expected = prefactor(energy, 0.0) * lines(levels, norm**2 * vectors[0] ** 2 * empty, energy,
                                                  hwhm)
        ours = evaluate(save, energy, hwhm, occupation=smooth, terminator=20, taper=taper).total
        assert np.abs(ours - expected).max() < 1e-8 * expected.max()


@pytest.mark.parametrize(("level", "thermal"), [(2.0, 0.3), (-4.0, 0.0), (9.0, 2.0)])
def test_filling_removes_what_it_holds(exact, level, thermal):
    """The area that is lost is the weight of the levels, each by its occupation."""
    _, levels, weights, (a, b, norm) = exact
    chains = kernel.join([a], [b], [norm**2], [0])
    x = np.linspace(-np.pi / 2, np.pi / 2, 40_002)[1:-1]
    energy, jacobian = level + 20 * np.tan(x), 20 / np.cos(x) ** 2 * (x[1] - x[0])
    hwhm = np.full_like(x, 1.0)
    rays = (kernel.thermal_rays(chains, level, thermal, 1.0) if thermal
            else kernel.fermi_rays(chains, level))
    empty = -kernel.cut_resolvent(chains, rays, level, energy, hwhm)[0]
    whole = -kernel.resolvent(chains, energy, hwhm)[0].imag
    held = (weights * fermi(levels, level, thermal)).sum()
    assert ((whole - empty) * jacobian).sum() == pytest.approx(np.pi * held, rel=2e-5)


def test_few_carriers_change_in_proportion(tmp_path, exact):
    """Far above their quasi-Fermi level states are filled by Boltzmann's factor: twice the
    carriers, twice the change, and the departure falls with the carriers.
    """
    levels = exact[1]
    save, kt = saved(tmp_path, exact, 0.0), 0.5
    empty = evaluate(save, ENERGY, WIDE).total

    def change(below_eV):
        filled = [Filling(1, levels.min() - below_eV, kt)]
        return evaluate(save, ENERGY, WIDE, occupation=filled).total - empty

    off = []
    for below_eV in (2.0, 4.0):
        one, two = change(below_eV), change(below_eV - kt * np.log(2))
        off.append(np.abs(two - 2 * one).max() / np.abs(two).max())
    # 1 / (1 + exp(x)) is exp(-x) less its square.
    expected = np.exp(-np.array([2.0, 4.0]) / kt)
    np.testing.assert_allclose(off, expected, rtol=0.05)


def test_any_width_and_pole(exact):
    """Narrow and wide Lorentzians, also where one stands on a pole of the Fermi function."""
    _, levels, weights, (a, b, norm) = exact
    chains = kernel.join([a], [b], [norm**2], [0])
    for thermal in (0.02, 0.5):
        for hwhm in (0.01, np.pi * thermal, 3 * np.pi * thermal, 30.0):
            energy = np.append(np.linspace(-30, 30, 61), [1.0, 1.0 + 1e-6 * thermal])
            widths = np.full(len(energy), hwhm)
            rays = kernel.thermal_rays(chains, 1.0, thermal, hwhm)
            ours = -kernel.cut_resolvent(chains, rays, 1.0, energy, widths)[0]
            empty = weights * (1 - fermi(levels, 1.0, thermal))
            expected = lines(levels, empty, energy, widths)
            assert np.abs(ours - expected).max() < 1e-8 * expected.max()


def test_rays_refuse(exact):
    a, b, norm = exact[3]
    chains = kernel.join([a], [b], [norm**2], [0])
    with pytest.raises(InputError, match="thermal and widest must be above zero"):
        kernel.thermal_rays(chains, 0.0, 0.0, 1.0)
    with pytest.raises(InputError, match="is a step to a half width of 1: use one"):
        kernel.thermal_rays(chains, 0.0, 1e-9, 1.0)
    rays = kernel.thermal_rays(chains, 0.0, 0.1, 1.0)
    with pytest.raises(InputError, match="hwhm reaches 2, the rays are made for 1"):
        kernel.cut_resolvent(chains, rays, 0.0, [0.0], [2.0])


@pytest.mark.parametrize(("options", "message"), [
    ({"occupation": [Filling(1, 0.0)], "cut_occupied": True}, "a cut is an occupation of its own"),
    ({"occupation": [Filling(1, np.nan)]}, "is not finite, or has a negative kT"),
    ({"occupation": [Filling(1, 0.0, -0.1)]}, "is not finite, or has a negative kT")])
def test_evaluate_refuses_occupations(tmp_path, exact, options, message):
    with pytest.raises(InputError, match=message):
        evaluate(saved(tmp_path, exact, 0.0), [0.0, 1.0], 1.0, **options)


def test_command_fills(tmp_path, exact, capsys):
    save, out = saved(tmp_path, exact, 1.0), tmp_path / "x.dat"
    words = ["lanczos", str(tmp_path / "x.sav"), "--emin", "-5eV", "--emax", "5eV", "--points",
             "11", "--hwhm", "0.8eV", "--out", str(out)]
    assert main([*words, "--filling", "1:0.4eV", "--filling", "0.5:3eV:300K"]) == 0
    energy, sigma = np.loadtxt(out).T
    expected = evaluate(save, energy, 0.8, occupation=[Filling(1, 0.4),
                                                       Filling(0.5, 3.0, 0.0258520)]).total
    np.testing.assert_allclose(sigma, expected, rtol=1e-6)
    capsys.readouterr()
    for text, message in (("1:0.4", "it has no unit"), ("x:0.4eV", "write it as 1:1.9eV:300K"),
                          ("1:0.4eV:300", "write it as 25C or 298.15K")):
        assert main([*words, "--filling", text]) == 2
        assert message in capsys.readouterr().err


def test_textbook_chain_is_whole(exact):
    """What the other tests diagonalise is what the chain holds."""
    matrix, levels, *_ = exact
    start = np.random.default_rng(1).normal(size=len(matrix))
    a, b, _ = textbook_lanczos(matrix, start, len(matrix))
    np.testing.assert_allclose(eigh_tridiagonal(a, b[:-1])[0], levels, atol=1e-9)
