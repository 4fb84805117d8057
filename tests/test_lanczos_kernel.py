"""The compiled Lanczos kernel against plain NumPy and a closed form; threads, layout, bad input."""

import numpy as np
import pytest
from reference import lanczos as numpy_lanczos

from perovskite_polaron import kernels
from perovskite_polaron.errors import InputError
from perovskite_polaron.kernels import lanczos as kernel


def test_terminated_chain_of_equal_coefficients_is_a_semicircle():
    chains = kernel.join([[0.3] * 6], [[0.5] * 6], [1.0], [0], tail=3)
    energy = np.linspace(-0.6, 1.2, 37)
    spectrum = -kernel.resolvent(chains, energy, np.full(37, 1e-9))[0].imag
    np.testing.assert_allclose(spectrum, np.sqrt(np.maximum(1 - (energy - 0.3) ** 2, 0)) / 0.5,
                               atol=1e-7)


@pytest.fixture(scope="module")
def many():
    rng = np.random.default_rng(3)
    lengths = [1, 7, 40, 33, 40]
    return kernel.join(
        [rng.normal(size=n) for n in lengths],
        [rng.uniform(0.2, 1.5, n) for n in lengths],
        rng.uniform(size=5),
        [0, 1, 0, 2, 1],
        tail=1,
    )


@pytest.mark.parametrize("points", [1, 7, 8, 9, 501])
@pytest.mark.parametrize("tail", [True, False])
def test_reference_implementation(many, points, tail):
    chains = (many if tail
              else kernel.Chains(many.a, many.b, many.start, many.weight, many.group, np.zeros(5),
                                 np.zeros(5)))
    energy = np.linspace(-5, 5, points)
    hwhm = 0.05 + 0.3 * np.abs(np.sin(energy))
    ours = kernel.resolvent(chains, energy, hwhm)
    plain = numpy_lanczos.resolvent(chains, energy, hwhm)
    assert np.abs(ours - plain).max() < 1e-12 * np.abs(plain).max()
    for rays in (kernel.fermi_rays(chains, 0.2), kernel.thermal_rays(chains, 0.2, 0.07, 0.4)):
        ours = kernel.cut_resolvent(chains, rays, 0.2, energy, hwhm)
        plain = numpy_lanczos.cut_resolvent(chains, rays, 0.2, energy, hwhm)
        assert np.abs(ours - plain).max() < 1e-12 * np.abs(plain).max()


@pytest.mark.parametrize("points", [1, 9, 100, 257, 1003])
def test_threads_do_not_change_a_bit(many, points, monkeypatch):
    """Nor does it matter which energies are worked on together: eight, sixteen, or fewer."""
    energy = np.linspace(-5, 5, points)
    hwhm = np.full(points, 0.1)
    whole = kernel.resolvent(many, energy, hwhm)
    for at in (0, points // 2, points - 1):
        np.testing.assert_array_equal(kernel.resolvent(many, energy[at : at + 8],
                                                       hwhm[at : at + 8]), whole[:, at : at + 8])
    rays = kernel.fermi_rays(many, 0.2)
    cut = kernel.cut_resolvent(many, rays, 0.2, energy, hwhm)
    monkeypatch.setattr(kernels, "WORTH_A_THREAD_NS", 1e-3)
    for threads in ("2", "3"):
        monkeypatch.setenv("POLARON_THREADS", threads)
        for one, several in zip(rays, kernel.fermi_rays(many, 0.2), strict=True):
            np.testing.assert_array_equal(one, several)
        np.testing.assert_array_equal(whole, kernel.resolvent(many, energy, hwhm))
        np.testing.assert_array_equal(cut, kernel.cut_resolvent(many, rays, 0.2, energy, hwhm))


def test_any_memory_layout_and_integers(many):
    energy = np.arange(-6, 7)
    plain = kernel.resolvent(many, energy.astype(float), np.ones(13))
    strided = np.repeat(energy.astype(float), 2)[::2]
    frozen = energy.astype(float)
    frozen.flags.writeable = False
    rays = kernel.fermi_rays(many, 0.0)
    cut = kernel.cut_resolvent(many, rays, 0.0, energy.astype(float), np.ones(13))
    for form in (energy, strided, frozen, energy.tolist()):
        np.testing.assert_array_equal(kernel.resolvent(many, form, np.ones(13, int)), plain)
        np.testing.assert_array_equal(kernel.cut_resolvent(many, rays, 0.0, form, np.ones(13, int)),
                                      cut)
    joined = kernel.join([many.a[::2]], [many.b[::2]], [1], [0])
    np.testing.assert_array_equal(joined.a, many.a[::2])


@pytest.mark.parametrize(
    ("energy", "hwhm", "message"),
    [
        ([0.0, np.nan], [1, 1], "energy contains NaN"),
        ([0.0, 1.0], [1, np.inf], "hwhm contains NaN or infinity"),
        ([0.0, 1.0], [1, -1], "hwhm is not positive"),
        ([0.0, 1.0], [1, 0], "hwhm is not positive"),
        ([0.0, 1.0], [1], r"hwhm has shape \(1,\): pass an array of shape \(2,\)"),
        ([[0.0]], [1], r"energy has shape \(1, 1\)"),
        ([], [], "energy is empty"),
        ([1j], [1], "energy is not an array of real numbers"),
    ],
)
def test_kernel_refuses(many, energy, hwhm, message):
    with pytest.raises(InputError, match=message):
        kernel.resolvent(many, energy, hwhm)
    with pytest.raises(InputError, match=message):
        kernel.cut_resolvent(many, kernel.fermi_rays(many, 0.0), 0.0, energy, hwhm)


@pytest.mark.parametrize(("arguments", "message"),
                         [(([], [], [], []), "0 a, 0 b and 0 groups do not match"),
                          (([[1.0]], [[1.0]], [1.0], [0, 0]), "1 a, 1 b and 2 groups do not match"),
                          (([[1.0, 2]], [[1.0]], [1.0], [0]), r"b has shape \(1,\)"),
                          (([[np.nan]], [[1.0]], [1.0], [0]), "a contains NaN"),
                          (([[1.0]], [[1.0]], [1.0, 2], [0]), r"weights has shape \(2,\)"),
                          (([[1.0]], [[1.0]], [1.0], [-1]), "a group is negative"),
                          (([[1.0]], [[1.0]], [1.0], [0], 2),
                           "the terminator averages 2 coefficients, the shortest chain has 1")])
def test_join_refuses(arguments, message):
    with pytest.raises(InputError, match=message):
        kernel.join(*arguments)
