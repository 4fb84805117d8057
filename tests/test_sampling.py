"""Errors of means over snapshots are honest, and cheap snapshots save variance without a bias."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chi2

from perovskite_polaron.errors import InputError
from perovskite_polaron.lattice.symmetry import Absorber
from perovskite_polaron.phonons.readers import read_all_modes
from perovskite_polaron.phonons.sampling import NormalModes, harmonic_displacements_A, normal_modes
from perovskite_polaron.spectra.sampling import combined, control_variate, standard_error, units_of
from perovskite_polaron.workflow.structures import drawn_absorbers

ENERGIES = np.linspace(0.0, 20.0, 9)
SEEDS = 20


def modes() -> NormalModes:
    sets = read_all_modes("cspbbr3")
    return normal_modes(sets[0].crystal, sets)


def surrogate(moved_A: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean spectrum (s, e) of twelve absorbers for displacements (s, n, 3), neither linear nor
    even in them."""
    rng = np.random.default_rng(99)
    found = np.ones((len(moved_A), len(ENERGIES)))
    for _ in range(12):
        patterns = rng.standard_normal((len(ENERGIES), moved_A.shape[1] * 3)) / 8
        x = moved_A.reshape(len(moved_A), -1) @ patterns.T
        found += (0.3 * np.sin(x + 0.1 * ENERGIES) + 0.2 * x**2) / 12
    return found


def scatter(found: list[NDArray[np.float64]], sigmas: list[NDArray[np.float64]],
            truth: NDArray[np.float64]) -> tuple[float, float]:
    """Mean of (estimate − truth)²/σ² over seeds and energies; energies are correlated, so the
    number of degrees of freedom is from the scatter of the curves themselves."""
    z = (np.array(found) - truth) / np.array(sigmas)
    # Participation ratio of the correlation matrix: how many energies are independent.
    c = np.corrcoef(np.array(found).T)
    free = c.shape[0] ** 2 / (c**2).sum()
    return float((z**2).mean()), float(free)


@pytest.mark.parametrize("paired", [True, False])
def test_errors_of_harmonic_differences_are_honest_over_twenty_seeds(paired: bool) -> None:
    own, samples = modes(), 48
    polaron = np.random.default_rng(4).standard_normal((20, 3)) * 0.05
    found, sigmas, ratios = [], [], []
    for seed in range(SEEDS):
        u = harmonic_displacements_A(own, 298.0, samples, seed)
        other = u if paired else harmonic_displacements_A(own, 298.0, samples, seed + 1000)
        hot, moved = surrogate(u), surrogate(other + polaron)
        ones = [standard_error(y, "pairs") for y in (hot, moved)]
        assert ones[0] is not None
        assert ones[1] is not None
        error = combined(ones[0], ones[1])
        if paired:
            change = standard_error(moved - hot, "pairs", paired=True)
            assert change is not None
            assert change.effective == samples / 2
            ratios.append((error.sigma**2).sum() / (change.sigma**2).sum())
            error = change
        found.append((moved - hot).mean(axis=0))
        sigmas.append(error.sigma)
    many = harmonic_displacements_A(own, 298.0, 20_000, 77)
    truth = (surrogate(many + polaron) - surrogate(many)).mean(axis=0)
    size, free = scatter(found, sigmas, truth)
    degrees = SEEDS * free
    low, high = chi2.ppf([0.002, 0.998], degrees) / degrees
    assert low < size < high, (size, low, high)
    if paired:  # common random numbers save variance
        assert np.mean(ratios) > 10


@pytest.mark.parametrize("share", [0.0, 0.6, 0.8])
def test_errors_of_correlated_frames_are_honest_over_twenty_seeds(share: float) -> None:
    # Frames as Langevin dynamics gives them: each normal coordinate forgets by the same share.
    own, frames = modes(), 200
    width, found, sigmas, naive = own.widths_sqrt_amu_A(298.0), [], [], []
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        q = np.empty((frames, len(width)))
        q[0] = rng.standard_normal(len(width))
        for k in range(1, frames):
            q[k] = share * q[k - 1] + np.sqrt(1 - share**2) * rng.standard_normal(len(width))
        curves = surrogate(np.tensordot(q * width, own.patterns, 1))
        error, wrong = standard_error(curves, "series"), standard_error(curves, "single")
        assert error is not None
        assert wrong is not None
        found.append(curves.mean(axis=0))
        sigmas.append(error.sigma)
        naive.append(wrong.sigma)
    truth = surrogate(harmonic_displacements_A(own, 298.0, 40_000, 5)).mean(axis=0)
    size, free = scatter(found, sigmas, truth)
    degrees = SEEDS * free
    low, high = chi2.ppf([0.002, 0.998], degrees) / degrees
    assert low < size < high, (size, low, high)
    if share == 0.8:  # as if they were independent, the error would be far too small
        assert scatter(found, naive, truth)[0] > 2.5


def test_a_pair_is_one_unit_and_too_few_say_nothing() -> None:
    rng = np.random.default_rng(0)
    odd = rng.standard_normal((6, 3))
    samples = np.stack([1 + odd, 1 - odd], axis=1).reshape(-1, 3)
    error = standard_error(samples, "pairs")
    assert error is not None
    assert error.sigma == pytest.approx(0, abs=1e-12)  # what is odd cancels
    assert (error.samples, error.effective) == (12, 6)
    assert standard_error(samples[:2], "pairs") is None
    with pytest.raises(InputError, match="not made of pairs"):
        units_of(samples[:3], "pairs")
    plain = standard_error(odd, "single")
    assert plain is not None
    assert plain.sigma == pytest.approx(odd.std(axis=0, ddof=1) / np.sqrt(6))


def test_a_control_variate_is_unbiased_and_its_error_honest() -> None:
    rng = np.random.default_rng(1)
    means, sigmas, plains, saved = [], [], [], []
    u, m, n = 6, 40, 5
    for _ in range(400):
        common = rng.standard_normal((u + m, n))
        fine = 2 + common[:u] + 0.3 * rng.standard_normal((u, n))
        coarse = 7 - 0.5 * common + 0.1 * rng.standard_normal((u + m, n))  # wrong in all but shape
        found = control_variate(fine, coarse[:u], coarse[u:])
        means.append(found.mean)
        plains.append(found.plain)
        sigmas.append(found.sigma)
        saved.append(found.saved)
    z = np.array(means) - 2
    assert np.abs(z.mean(axis=0) / (z.std(axis=0) / 20)).max() < 4
    assert (z**2).mean() == pytest.approx((np.array(sigmas) ** 2).mean(), rel=0.2)
    # Correlation 0.94 and many cheap snapshots: ρ² m/(m + u) of the variance goes.
    rho2 = (0.5**2) / (1.09 * (0.25 + 0.01))
    expected = 1 / (1 - rho2 * m / (m + u))
    gain = ((np.array(plains) - 2) ** 2).mean() / (z**2).mean()
    assert gain == pytest.approx(expected, rel=0.25)
    assert np.median(saved) == pytest.approx(expected, rel=0.3)


def test_a_control_variate_without_correlation_does_little_harm() -> None:
    rng = np.random.default_rng(3)
    found = [control_variate(rng.standard_normal((8, 20)), rng.standard_normal((8, 20)),
                             rng.standard_normal((50, 20))) for _ in range(50)]
    assert np.mean([abs(one.coefficient) for one in found]) < 0.15
    assert 0.8 < np.mean([one.saved for one in found]) < 1.2
    with pytest.raises(InputError, match="needs 3 independent snapshots"):
        control_variate(np.ones((2, 3)), np.ones((2, 3)), np.ones((9, 3)))
    with pytest.raises(InputError, match="independent snapshots"):
        control_variate(np.ones((4, 3)), np.ones((4, 3)), np.ones((9, 3)), "series")


def classes(*sizes: int) -> list[Absorber]:
    ends = np.cumsum(sizes)
    return [Absorber(int(e - s), "Br", f"{s}x", None, s, tuple(range(e - s, e)))
            for s, e in zip(sizes, ends.tolist(), strict=True)]


def test_drawn_absorbers_give_the_mean_over_all_atoms() -> None:
    value = np.random.default_rng(0).standard_normal(12)
    both = classes(4, 8)
    means = []
    for draw in range(4000):
        sites = drawn_absorbers(both, 3, 5, draw)
        assert sum(s.multiplicity for s in sites) == pytest.approx(12)
        assert sorted(s.site for s in sites) == ["4x", "8x", "8x"]
        means.append(np.average([value[s.index] for s in sites],
                                weights=[s.multiplicity for s in sites]))
    assert abs(np.mean(means) - value.mean()) < 4 * np.std(means) / np.sqrt(4000)
    assert drawn_absorbers(both, 3, 5, 7) == drawn_absorbers(both, 3, 5, 7)
    assert {s.index for s in drawn_absorbers(both, None, 0, 0)} == set(range(12))
    assert {s.multiplicity for s in drawn_absorbers(both, 12, 0, 0)} == {1}
    with pytest.raises(InputError, match="leaves out a class"):
        drawn_absorbers(both, 1, 0, 0)
    for count in range(2, 13):
        assert len(drawn_absorbers(both, count, 0, 0)) == count
