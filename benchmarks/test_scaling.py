"""Cost against size, on one thread and on two, of every kernel: the figure and the second table
come from here.

What is measured is the call as a user makes it, checks of the arguments included. Small calls stay
on one thread whatever is asked for.
"""

import time

import numpy as np
import pytest

from perovskite_polaron.kernels import convolution, heating, lanczos
from perovskite_polaron.kernels.displacement import displace
from perovskite_polaron.lattice.files import read_crystal
from perovskite_polaron.lattice.octahedra import find_framework, sweep_bonds
from perovskite_polaron.phonons.distortion import real_patterns
from perovskite_polaron.phonons.modes import read_modes

CRYSTAL, MODE = read_crystal("cspbbr3-pbnm"), read_modes("lo-c")


def spectrum(n):
    rng = np.random.default_rng(0)
    return np.linspace(0, n / 40, n), rng.random(n), rng.uniform(0.3, 2.0, n)


def sweep(n, modes=1):
    patterns = real_patterns(CRYSTAL, MODE[[0] * modes])
    q = np.random.default_rng(0).normal(size=(n, len(patterns)))
    return lambda: displace(CRYSTAL.cartesian_A, patterns, q)


def thermal(n):
    return sweep(n, modes=57)


def bonds(n):
    framework, patterns = find_framework(CRYSTAL), real_patterns(CRYSTAL, MODE)
    q = np.linspace(0.1, 3.0, n)[:, None]
    return lambda: sweep_bonds(framework, patterns, q)


def heat(n):
    table = heating.tabulated(np.linspace(200, 600, 60), 115 + 9 * np.sin(np.linspace(0, 4, 60)))
    draws = heating.draw({"fluence_mJ_cm2": (8.8, 1.0), "absorption_per_cm": (40.0, 10.0),
                          "thickness_A": (2e6, 4e5), "concentration_mg_mL": (5.8, 0.3),
                          "size_A": (100.0, 20.0)}, n, seed=1)
    return lambda: heating.heat(**draws, molar_mass_g_mol=579.8, formula_volume_A3=198.3,
                                photon_energy_eV=3.49, heat_fraction=1.0, start_K=298.15,
                                table=table)


def lorentzian(n):
    x, y, hwhm = spectrum(n)
    return lambda: convolution.broaden_lorentzian(x, y, x, hwhm)


def gaussian(n):
    x, y, sigma = spectrum(n)
    return lambda: convolution.broaden_gaussian(x, y, x, sigma)


def pulse(n):
    delay, lifetimes = np.linspace(-200, 3000, n), [120.0, 900.0, 5000.0]
    return lambda: convolution.exponential_gaussian(delay, lifetimes, 45.0, gradient=True)


def chains():
    rng = np.random.default_rng(1)
    rows = [1.2 + rng.normal(scale=0.02, size=138) for _ in range(4)]
    return lanczos.join(rows, [0.5 * row for row in rows], [1.0] * 4, [0] * 4, 25)


def continued_fraction(n):
    energy, joined = np.linspace(-1, 5, n), chains()
    return lambda: lanczos.resolvent(joined, energy, np.full(n, 0.1))


def occupied_cut(n):
    energy, joined = np.linspace(-1, 5, n), chains()
    rays = lanczos.fermi_rays(joined, 0.3)
    return lambda: lanczos.cut_resolvent(joined, rays, 0.3, energy, np.full(n, 0.1))


# Name: what n counts, how to prepare, sizes.
KERNELS = {"displacement, 1 mode": ("structures", sweep, (100, 1000, 10_000, 100_000)),
           "displacement, 57 modes": ("structures", thermal, (10, 100, 1000, 10_000)),
           "bond geometry": ("structures", bonds, (10, 100, 1000, 10_000)),
           "heating": ("draws", heat, (1000, 20_000, 1_000_000)),
           "Lorentzian": ("points", lorentzian, (125, 500, 2000, 8000)),
           "Gaussian": ("points", gaussian, (125, 1000, 8000)),
           "exponential ⊗ Gaussian, gradients": ("delays", pulse, (1000, 10_000, 100_000)),
           "continued fraction": ("energies", continued_fraction, (100, 1000, 10_000, 100_000)),
           "continued fraction, occupied cut": ("energies", occupied_cut,
                                                (100, 1000, 10_000, 100_000))}


@pytest.mark.parametrize(("name", "n"),
                         [(name, n) for name, (*_, sizes) in KERNELS.items() for n in sizes])
@pytest.mark.benchmark(group="scaling")
def test_scaling(benchmark, monkeypatch, name, n):
    unit, prepare, _ = KERNELS[name]
    call, seconds = prepare(n), {"1": [], "2": []}

    # One thread and two take turns, because the disturbances of a shared machine last longer than a
    # call.
    def turn():
        for threads, times in seconds.items():
            monkeypatch.setenv("POLARON_THREADS", threads)
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)

    turn()
    start = time.perf_counter()
    turn()
    rounds = int(np.clip(3.0 / (time.perf_counter() - start), 15, 3000))
    for times in seconds.values():
        times.clear()
    benchmark.pedantic(turn, rounds=rounds)
    one, two = (np.array(times) for times in seconds.values())
    measured = [float(np.median(values)) for values in (one, two, one / two)]
    benchmark.extra_info.update(kernel=name, unit=unit, size=n, measured=measured)
