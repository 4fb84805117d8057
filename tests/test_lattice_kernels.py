from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from reference import displacement as plain_displacement, geometry as plain_geometry

from perovskite_polaron.errors import InputError
from perovskite_polaron.kernels.displacement import displace
from perovskite_polaron.kernels.geometry import octahedra

IDEAL = 3.0 * np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1.0]])


def displacement_input(seed, n=7, m=3, s=11):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 3)), rng.normal(size=(m, n, 3)), rng.normal(size=(s, m))


def geometry_input(seed, b=3, m=2, s=9):
    rng = np.random.default_rng(seed)
    bonds = IDEAL + rng.normal(scale=0.2, size=(b, 6, 3))
    return (
        bonds,
        rng.normal(scale=0.1, size=(m, b, 6, 3)),
        rng.normal(size=(s, m)),
        np.eye(3),
        np.array([[0, 7], [3, 16]]),
    )


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 30), m=st.integers(1, 5), s=st.integers(1, 40))
def test_displacement_equals_the_reference_implementation(seed, n, m, s):
    args = displacement_input(seed, n, m, s)
    np.testing.assert_allclose(displace(*args), plain_displacement.displace(*args), rtol=1e-13,
                               atol=1e-13)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), b=st.integers(3, 5), m=st.integers(1, 3), s=st.integers(1, 6))
def test_geometry_equals_the_reference_implementation(seed, b, m, s):
    args = geometry_input(seed, b, m, s)
    found, expected = octahedra(*args), plain_geometry.octahedra(*args)
    for field in fields(found):
        np.testing.assert_allclose(getattr(found, field.name), expected[field.name], rtol=1e-11,
                                   atol=1e-11, err_msg=field.name)


def test_strided_read_only_and_integer_input_is_accepted():
    x, p, c = displacement_input(2)
    strided = np.repeat(p, 2, axis=2)[:, :, ::2]
    strided.setflags(write=False)
    np.testing.assert_array_equal(displace(x, strided, c), displace(x, p, c))
    np.testing.assert_array_equal(displace(np.zeros((1, 3), int), np.ones((1, 1, 3), int), [[2]]),
                                  [[[2, 2, 2]]])
    bonds, changes, q, axes, bridges = geometry_input(2)
    np.testing.assert_array_equal(
        octahedra(bonds, changes[..., ::-1].copy()[..., ::-1], q, axes, bridges).lengths_A,
        octahedra(bonds, changes, q, axes, bridges).lengths_A,
    )


@pytest.mark.parametrize(
    ("kernel", "place", "value", "message"),
    [
        (displace, 0, np.zeros((3, 2)), "equilibrium_A has shape"),
        (displace, 1, np.zeros((2, 5, 3)), "patterns has shape"),
        (displace, 2, np.zeros((4, 9)), "coefficients has shape"),
        (displace, 2, np.zeros((0, 3)), "coefficients is empty"),
        (displace, 0, np.full((7, 3), np.nan), "NaN"),
        (octahedra, 0, np.zeros((3, 5, 3)), "bonds_A has shape"),
        (octahedra, 1, np.zeros((2, 4, 6, 3)), "changes has shape"),
        (octahedra, 2, np.zeros((9, 3)), "coefficients has shape"),
        (octahedra, 3, np.eye(2), "axes has shape"),
        (octahedra, 4, [[0, 18]], "from 0 to 17"),
        (octahedra, 0, np.full((3, 6, 3), np.inf), "infinity"),
    ],
)
def test_bad_input_never_reaches_a_kernel(kernel, place, value, message):
    args = list(displacement_input(0) if kernel is displace else geometry_input(0))
    args[place] = value
    with pytest.raises(InputError, match=message):
        kernel(*args)


def test_an_elongated_octahedron_has_robinsons_numbers():
    # Bonds a, a, c: volume 4 a^2 c / 3, so <l^2/l0^2> = (2 a^2 + c^2) / (3 (a^2 c)^(2/3)) and no
    # angle variance.
    a, c = 2.9, 3.2
    bonds = IDEAL / 3 * np.array([a, a, a, a, c, c])[:, None]
    found = octahedra(bonds[None], np.zeros((1, 1, 6, 3)), [[0.0]], np.eye(3), [])
    assert found.elongation[0, 0] == pytest.approx((2 * a**2 + c**2) / (3 * (a * a * c) ** (2 / 3)),
                                                   rel=1e-14)
    assert found.angle_variance_deg2[0, 0] == pytest.approx(0, abs=1e-20)
    assert found.length_variance_A2[0, 0] == pytest.approx(2 / 9 * (c - a) ** 2)


def test_moving_only_the_centre_is_its_offcentring_and_a_rotation_its_tilt():
    shift = np.array([0.05, -0.02, 0.1])
    found = octahedra(IDEAL[None], -np.broadcast_to(shift, (1, 1, 6, 3)), [[1.0], [-2.0]],
                      np.eye(3), [])
    np.testing.assert_allclose(found.offcentring_A[:, 0], np.linalg.norm(shift) * np.array([1, 2]),
                               rtol=1e-12)
    angle = np.radians(7)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0],
                     [0, 0, 1]])
    tilted = octahedra((IDEAL @ turn.T)[None], np.zeros((1, 1, 6, 3)), [[0.0]], np.eye(3), [])
    np.testing.assert_allclose(tilted.tilts_deg[0, 0], [7, 7, 0], atol=1e-12)
