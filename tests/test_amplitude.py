"""The difference at any amplitude of an odd mode: exact at the nodes, even, Q² near zero, honest
about its error.
"""

from itertools import pairwise

import numpy as np
import pytest

from perovskite_polaron.errors import InputError
from perovskite_polaron.spectra.amplitude import AmplitudeSpectra, leading_regime

ENERGY = np.linspace(0, 10, 50)


def truth(q):
    """An even function of the amplitude that vanishes with it: the difference of a line and its two
    displaced halves.
    """
    return np.exp(-((ENERGY - 5 - q) ** 2)) / 2 + np.exp(-((ENERGY - 5 + q) ** 2)) / 2 - np.exp(
        -((ENERGY - 5) ** 2))


def sweep(*amplitudes):
    return AmplitudeSpectra(ENERGY, np.array(amplitudes), np.array([truth(q) for q in amplitudes]))


@pytest.mark.parametrize("nodes", [(0.3,), (0.2, 0.4), (0.2, 0.4, 0.6), (0.1, 0.2, 0.3, 0.4, 0.5)])
def test_exact_at_the_nodes_even_and_zero_at_zero(nodes):
    found = sweep(*nodes)
    for q in nodes:
        np.testing.assert_allclose(found.at(q), truth(q), rtol=0, atol=1e-14)
        np.testing.assert_array_equal(found.at(-q), found.at(q))
    assert not found.at(0.0).any()
    small = 1e-3 * nodes[0]
    np.testing.assert_allclose(found.at(2 * small), 4 * found.at(small), rtol=0,
                               atol=1e-5 * np.abs(found.at(2 * small)).max())


def test_half_the_step_comes_eight_times_closer_everywhere():
    between = np.linspace(0.02, 0.6, 59)
    misses = []
    for k in (1, 2, 4, 8):
        found = sweep(*(0.6 * np.arange(1, k + 1) / k))
        misses.append(max(np.abs(found.at(q) - truth(q)).max() for q in between))
    assert all(b < a / 8 for a, b in pairwise(misses)), misses


def test_the_error_of_a_small_amplitude_stays_where_it_is():
    """The smallest differences have the largest relative errors: 10 % of the smallest is not seen
    between the largest.
    """
    amplitudes = (0.06, 0.15, 0.3, 0.45, 0.6)
    clean = sweep(*amplitudes)
    off = AmplitudeSpectra(ENERGY, clean.amplitudes_sqrt_amu_A,
                           clean.differences * [[1.1], [1], [1], [1], [1]])
    for q in (0.38, 0.52):
        assert np.abs(off.at(q) - clean.at(q)).max() < 0.01 * np.abs(clean.at(q)).max()


def test_what_is_left_out_is_what_is_missed():
    found = sweep(0.2, 0.4, 0.6)
    expected = np.abs(sweep(0.2, 0.6).at(0.4) - truth(0.4)).max() / np.abs(truth(0.4)).max()
    assert found.left_out()[1] == pytest.approx(expected)
    assert len(sweep(0.5).left_out()) == 0


def test_refusals():
    with pytest.raises(InputError, match="beyond the largest computed"):
        sweep(0.2, 0.4).at(0.41)
    with pytest.raises(InputError, match="must rise and be positive"):
        AmplitudeSpectra(ENERGY, [0.4, 0.2], [ENERGY, ENERGY])


def one_sided(q):
    """A mode without an equivalent opposite: the change begins linear in Q."""
    return np.exp(-((ENERGY - 5 - q) ** 2)) - np.exp(-((ENERGY - 5) ** 2))


def uneven(*amplitudes):
    curves = np.array([one_sided(q) for q in amplitudes])
    return AmplitudeSpectra(ENERGY, np.array(amplitudes), curves, even=False)


@pytest.mark.parametrize("nodes", [(0.3,), (0.2, 0.4), (-0.4, -0.2, 0.2, 0.4), (-0.2, 0.4)])
def test_a_mode_whose_signs_differ_is_linear_at_first(nodes):
    found = uneven(*nodes)
    for q in nodes:
        np.testing.assert_allclose(found.at(q), one_sided(q), rtol=0, atol=1e-14)
    assert not found.at(0.0).any()
    small = 1e-3 * nodes[-1]
    np.testing.assert_allclose(found.at(2 * small), 2 * found.at(small), rtol=0,
                               atol=1e-2 * np.abs(found.at(2 * small)).max())


def test_interpolation_of_a_linear_difference_is_close_where_the_square_law_is_not():
    """Between 0.05 and 0.10 a linear change doubles; the Q² law would have it four times smaller
    at half of the amplitude."""
    truth_at = one_sided(0.05)
    size = np.abs(truth_at).max()
    linear = uneven(0.1).at(0.05)
    square = AmplitudeSpectra(ENERGY, [0.1], [one_sided(0.1)]).at(0.05)
    assert np.abs(linear - truth_at).max() < 0.06 * size
    assert np.abs(square - truth_at).max() > 0.45 * size
    both = uneven(-0.1, 0.1).at(0.05)
    assert np.abs(both - truth_at).max() < 0.01 * size


def test_a_sign_that_was_not_computed_is_refused():
    with pytest.raises(InputError, match="beyond the largest computed amplitude, 0"):
        uneven(0.2, 0.4).at(-0.1)
    with pytest.raises(InputError, match="but for a mode whose two signs differ"):
        AmplitudeSpectra(ENERGY, [-0.2, 0.4], [one_sided(-0.2), one_sided(0.4)])


def test_the_linear_coefficient_of_an_uneven_sweep():
    slope = 2 * (ENERGY - 5) * np.exp(-((ENERGY - 5) ** 2))
    found = leading_regime(uneven(-0.1, -0.05, 0.05, 0.1))
    np.testing.assert_allclose(found.law, slope, rtol=0, atol=2e-4)
    assert found.fails_at_sqrt_amu_A == pytest.approx(0.05, abs=0.03)
