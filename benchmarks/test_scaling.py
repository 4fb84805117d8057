"""Cost against size, on one thread and on two, of every kernel: the figure and the second table
come from here.

A call passes a door in Python, which checks its arguments on one thread, before the kernel starts.
Both are measured: the call as a user makes it, and the compiled functions alone, called again with
the arguments that they had in that call. What a second thread cannot make faster is measured too:
to bind an array, and to start the thread and wait for it.
"""

import time
from functools import partial
from pkgutil import iter_modules

import numpy as np
import pytest

from perovskite_polaron import _ext
from perovskite_polaron.kernels import convolution, heating, lanczos, load
from perovskite_polaron.kernels.displacement import displace
from perovskite_polaron.lattice.files import read_crystal
from perovskite_polaron.lattice.octahedra import find_framework, sweep_bonds
from perovskite_polaron.phonons.distortion import real_patterns
from perovskite_polaron.phonons.modes import read_modes

FAMILIES = [module.name for module in iter_modules(_ext.__path__)]
CRYSTAL, MODE = read_crystal("cspbbr3-pbnm"), read_modes("lo-c")


def spectrum(n):
    rng = np.random.default_rng(0)
    return np.linspace(0, n / 40, n), rng.random(n), rng.uniform(0.3, 2.0, n)


def sweep(n, modes=1):
    patterns, out = real_patterns(CRYSTAL, MODE[[0] * modes]), np.zeros((n, 20, 3))
    q = np.random.default_rng(0).normal(size=(n, len(patterns)))
    return lambda threads: displace(CRYSTAL.cartesian_A, patterns, q, threads, out)


def thermal(n):
    return sweep(n, modes=57)


def bonds(n):
    framework, patterns = find_framework(CRYSTAL), real_patterns(CRYSTAL, MODE)
    q = np.linspace(0.1, 3.0, n)[:, None]
    return lambda threads: sweep_bonds(framework, patterns, q, threads)


def heat(n):
    table = heating.tabulated(np.linspace(200, 600, 60), 115 + 9 * np.sin(np.linspace(0, 4, 60)))
    draws = heating.draw({"fluence_mJ_cm2": (8.8, 1.0), "absorption_per_cm": (40.0, 10.0),
                          "thickness_A": (2e6, 4e5), "concentration_mg_mL": (5.8, 0.3),
                          "size_A": (100.0, 20.0)}, n, seed=1)
    return lambda threads: heating.heat(**draws, molar_mass_g_mol=579.8, formula_volume_A3=198.3,
                                        photon_energy_eV=3.49, heat_fraction=1.0, start_K=298.15,
                                        table=table, threads=threads)


def cooling(n):
    rise, time, out = np.linspace(1, 100, n), np.linspace(0, 1000, 100), np.zeros((n, 100))
    return lambda threads: heating.cooling(rise, time, 300.0, threads=threads, out=out)


def lorentzian(n):
    x, y, hwhm = spectrum(n)
    return lambda threads: convolution.broaden_lorentzian(x, y, x, hwhm, threads=threads)


def source_width(n):
    x, y, hwhm = spectrum(n)
    return lambda threads: convolution.broaden_lorentzian(x, y, x, hwhm, width_at="source",
                                                          threads=threads)


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
    return lambda threads: convolution.exponential_gaussian(delay, lifetimes, 45.0, gradient=True,
                                                            threads=threads)


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
    return lambda threads: lanczos.cut_resolvent(joined, rays, 0.3, energy, np.full(n, 0.1),
                                                 threads=threads)


# Name: what n counts, how to prepare, about how many floating-point operations n of them take,
# sizes.
KERNELS = {"displacement, 1 mode": ("structures", sweep, lambda n: 120 * n,
                                    (100, 1000, 10_000, 100_000)),
           "displacement, 57 modes": ("structures", thermal, lambda n: 6840 * n,
                                      (10, 20, 100, 1000, 10_000)),
           "bond geometry": ("structures", bonds, lambda n: 1000 * n, (10, 100, 1000, 10_000)),
           "heating": ("draws", heat, lambda n: 60 * n, (1000, 2000, 10_000, 100_000, 1_000_000)),
           "cooling, 100 times": ("rises", cooling, lambda n: 100 * n,
                                  (100, 1000, 10_000, 100_000)),
           "Lorentzian, output width": ("points", lorentzian, lambda n: 8 * n**2,
                                        (125, 500, 2000, 8000)),
           "Lorentzian, source width": ("points", source_width, lambda n: 8 * n**2,
                                        (125, 500, 2000, 8000)),
           "Lorentzian, fast": ("points", fast, lambda n: 500 * n, (500, 4000, 32_000, 256_000)),
           "Gaussian": ("points", gaussian, lambda n: 1000 * n, (125, 1000, 8000)),
           "Voigt": ("points", voigt, lambda n: 100 * n**2, (50, 125, 500)),
           "exponential ⊗ Gaussian, gradients": ("delays", pulse, lambda n: 400 * n,
                                                 (1000, 10_000, 100_000)),
           "continued fraction": ("energies", continued_fraction, lambda n: 5600 * n,
                                  (100, 1000, 10_000, 100_000)),
           "continued fraction, occupied cut": ("energies", occupied_cut, lambda n: 8000 * n,
                                                (100, 1000, 10_000, 100_000))}


def compiled_calls(call, threads):
    """The compiled functions that one call of a door comes to, with their arguments."""
    calls = []

    def recorded(function, *given):
        calls.append((function, given))
        return function(*given)

    with pytest.MonkeyPatch.context() as patch:
        for module in map(load, FAMILIES):
            for name, function in list(vars(module).items()):
                if type(function).__name__ == "cython_function_or_method":
                    patch.setattr(module, name, partial(recorded, function))
        call(threads)
    assert calls
    return calls


@pytest.fixture(scope="module")
def fixed_seconds():
    """Of binding one array, and of a second thread: a displacement with next to nothing to do."""
    kernel, one = load("displacement").displace, np.zeros((2, 3))
    arrays, seconds = (one[0].copy(), one[:1].copy(), np.zeros((2, 1)), one), {1: [], 2: []}
    for _ in range(5000):
        for threads, times in seconds.items():
            kernel(*arrays, threads)
            start = time.perf_counter()
            kernel(*arrays, threads)
            times.append(time.perf_counter() - start)
    alone, both = (float(np.median(times)) for times in seconds.values())
    return alone / len(arrays), both - alone


@pytest.mark.parametrize(("name", "n"),
                         [(name, n) for name, (*_, sizes) in KERNELS.items() for n in sizes])
@pytest.mark.benchmark(group="scaling")
def test_scaling(benchmark, fixed_seconds, name, n):
    unit, prepare, operations, _ = KERNELS[name]
    call = prepare(n)
    compiled = {threads: compiled_calls(call, threads) for threads in (1, 2)}
    seconds = {(what, threads): [] for threads in (1, 2) for what in ("kernel", "call")}

    def run(threads):
        for function, given in compiled[threads]:
            function(*given)

    # One thread and two take turns, because the disturbances of a shared machine last longer than a
    # call. What comes before the clock starts wakes the second thread, which sleeps when it had
    # nothing to do for some time.
    def turn():
        for threads in (1, 2):
            run(threads)
            start = time.perf_counter()
            run(threads)
            between = time.perf_counter()
            call(threads)
            seconds["kernel", threads].append(between - start)
            seconds["call", threads].append(time.perf_counter() - between)

    turn()
    start = time.perf_counter()
    turn()
    rounds = int(np.clip(3.0 / (time.perf_counter() - start), 15, 3000))
    for times in seconds.values():
        times.clear()
    benchmark.pedantic(turn, rounds=rounds)
    measured = {}
    for what in ("kernel", "call"):
        one, two = (np.array(seconds[what, threads]) for threads in (1, 2))
        measured[what] = [float(np.median(one)), float(np.median(two)), float(np.median(one / two))]
    bind, start_up = fixed_seconds
    binding, alone = bind * sum(np.ndim(value) > 0 for _, given in compiled[1]
                                for value in given), measured["kernel"][0]
    most = alone / ((alone - binding) / 2 + binding + start_up * len(compiled[2]))
    benchmark.extra_info.update(kernel=name, unit=unit, size=n, operations=operations(n),
                                measured=measured, most=most, fixed_seconds=fixed_seconds)
