"""Cost against size, on one thread and on two, of every kernel: the figure and the second table come from here."""

import time

import numpy as np
import pytest

from perovskite_polaron.bonds import find_framework, sweep_bonds
from perovskite_polaron.crystal import read_crystal
from perovskite_polaron.distortion import real_patterns
from perovskite_polaron.kernels import convolution, heating, lanczos
from perovskite_polaron.kernels.displacement import displace
from perovskite_polaron.modes import read_modes

CRYSTAL, MODE = read_crystal("cspbbr3-pbnm"), read_modes("lo-c").modes[0]


def spectrum(n):
    rng = np.random.default_rng(0)
    return np.linspace(0, n / 40, n), rng.random(n), rng.uniform(0.3, 2.0, n)


def sweep(n, modes=1):
    patterns, out = real_patterns(CRYSTAL, [MODE] * modes), np.zeros((n, 20, 3))
    q = np.random.default_rng(0).normal(size=(n, len(patterns)))
    return lambda threads: displace(CRYSTAL.cartesian_A, patterns, q, threads, out)


def thermal(n):
    return sweep(n, modes=57)


def bonds(n):
    framework, patterns = find_framework(CRYSTAL), real_patterns(CRYSTAL, [MODE])
    q = np.linspace(0.1, 3.0, n)[:, None]
    return lambda threads: sweep_bonds(framework, patterns, q, threads)


def heat(n):
    table = heating.tabulated(np.linspace(200, 600, 60), 115 + 9 * np.sin(np.linspace(0, 4, 60)))
    draws = heating.draw({"fluence_mJ_cm2": (8.8, 1.0), "absorption_per_cm": (40.0, 10.0), "thickness_A": (2e6, 4e5),
                          "concentration_mg_mL": (5.8, 0.3), "size_A": (100.0, 20.0)}, n, seed=1)
    return lambda threads: heating.heat(
        **draws, molar_mass_g_mol=579.8, formula_volume_A3=198.3, photon_energy_eV=3.49, heat_fraction=1.0,
        start_K=298.15, table=table, threads=threads)


def cooling(n):
    rise, time, out = np.linspace(1, 100, n), np.linspace(0, 1000, 100), np.zeros((n, 100))
    return lambda threads: heating.cooling(rise, time, 300.0, threads=threads, out=out)


def lorentzian(n):
    x, y, hwhm = spectrum(n)
    return lambda threads: convolution.broaden_lorentzian(x, y, x, hwhm, threads=threads)


def source_width(n):
    x, y, hwhm = spectrum(n)
    return lambda threads: convolution.broaden_lorentzian(x, y, x, hwhm, width_at="source", threads=threads)


def fast(n):
    x, y, hwhm = spectrum(n)
    return lambda threads: convolution.broaden_lorentzian(x, y, x, hwhm, fast=True, threads=threads)


def gaussian(n):
    x, y, sigma = spectrum(n)
    return lambda threads: convolution.broaden_gaussian(x, y, x, sigma, threads=threads)


def voigt(n):
    x, y, sigma = spectrum(n)
    return lambda threads: convolution.broaden_voigt(x, y, x, 0.5, sigma, threads=threads)


def pulse(n):
    delay, lifetimes = np.linspace(-200, 3000, n), [120.0, 900.0, 5000.0]
    return lambda threads: convolution.exponential_gaussian(delay, lifetimes, 45.0, gradient=True, threads=threads)


def chains():
    rng = np.random.default_rng(1)
    rows = [1.2 + rng.normal(scale=0.02, size=138) for _ in range(4)]
    return lanczos.join(rows, [0.5 * row for row in rows], [1.0] * 4, [0] * 4, 25)


def continued_fraction(n):
    energy, joined = np.linspace(-1, 5, n), chains()
    return lambda threads: lanczos.resolvent(joined, energy, np.full(n, 0.1), threads=threads)


def occupied_cut(n):
    energy, joined = np.linspace(-1, 5, n), chains()
    rays = lanczos.fermi_rays(joined, 0.3)
    return lambda threads: lanczos.cut_resolvent(joined, rays, 0.3, energy, np.full(n, 0.1), threads=threads)


# Name: what n counts, how to prepare, sizes.
KERNELS = {
    "displacement, 1 mode": ("structures", sweep, (100, 1000, 10_000, 100_000)),
    "displacement, 57 modes": ("structures", thermal, (10, 100, 1000, 10_000)),
    "bond geometry": ("structures", bonds, (10, 100, 1000, 10_000)),
    "heating": ("draws", heat, (1000, 10_000, 100_000, 1_000_000)),
    "cooling, 100 times": ("rises", cooling, (100, 1000, 10_000, 100_000)),
    "Lorentzian, output width": ("points", lorentzian, (125, 500, 2000, 8000)),
    "Lorentzian, source width": ("points", source_width, (125, 500, 2000, 8000)),
    "Lorentzian, fast": ("points", fast, (500, 4000, 32_000, 256_000)),
    "Gaussian": ("points", gaussian, (125, 1000, 8000)),
    "Voigt": ("points", voigt, (50, 125, 500)),
    "exponential ⊗ Gaussian, gradients": ("delays", pulse, (1000, 10_000, 100_000)),
    "continued fraction": ("energies", continued_fraction, (100, 1000, 10_000, 100_000)),
    "continued fraction, occupied cut": ("energies", occupied_cut, (100, 1000, 10_000, 100_000)),
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("name", "n"), [(name, n) for name, (_, _, sizes) in KERNELS.items() for n in sizes])
@pytest.mark.benchmark(group="scaling")
def test_scaling(benchmark, name, n, threads):
    unit, prepare, _ = KERNELS[name]
    benchmark.extra_info.update(kernel=name, unit=unit, size=n, threads=threads)
    call = prepare(n)
    call(threads)
    start = time.perf_counter()
    call(threads)
    # Half a second each, because the disturbances of a shared machine last for some hundredths.
    rounds = int(np.clip(0.5 / (time.perf_counter() - start), 11, 1000))
    benchmark.pedantic(call, (threads,), rounds=rounds)
