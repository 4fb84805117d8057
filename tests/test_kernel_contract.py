"""What every function of the compiled core promises: layout, refusals, threads, overlapping calls.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, is_dataclass

import numpy as np
import pytest

from perovskite_polaron import kernels
from perovskite_polaron.errors import InputError
from perovskite_polaron.kernels import convolution, displacement, geometry, heating, lanczos

RANDOM = np.random.default_rng(3)
X = np.cumsum(RANDOM.uniform(0.1, 1.0, 150))
SPECTRUM = {"x_in": X, "y_in": RANDOM.random(150), "x_out": RANDOM.uniform(-5, 100, 101)}
WIDTHS = RANDOM.uniform(0.5, 2.0, 101)
IDEAL = 3.0 * np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1.0]])
TABLE = heating.tabulated(np.linspace(200, 600, 9), np.linspace(110, 130, 9),
                          [(323.0, 332.0, 300.0)])
CHAINS = lanczos.join([RANDOM.normal(2, 0.1, 31), RANDOM.normal(2, 0.1, 24)],
                      [np.ones(31), np.ones(24)], [1, 2], [0, 1], 8)
RAYS = lanczos.fermi_rays(CHAINS, 1.0)
THERMAL = lanczos.thermal_rays(CHAINS, 1.0, 0.05, 2.0)
DRAWS = {name: RANDOM.uniform(1, 2, 1001) for name in (
    "fluence_mJ_cm2", "absorption_per_cm", "thickness_A", "concentration_mg_mL", "size_A")}
JET = {"molar_mass_g_mol": 580.0, "formula_volume_A3": 198.0, "photon_energy_eV": 3.49,
       "heat_fraction": 0.7, "start_K": 298.0, "table": TABLE}

# Each wrapper: the function, its array arguments, what else it needs, and which of the arrays must
# be positive.
WRAPPERS = {"lorentzian": (convolution.broaden_lorentzian, SPECTRUM | {"hwhm": WIDTHS}, {},
                           ["hwhm"]),
            "gaussian": (convolution.broaden_gaussian, SPECTRUM | {"sigma": WIDTHS}, {}, ["sigma"]),
            "pulse": (convolution.exponential_gaussian, {"delay": np.linspace(-100, 900, 1501)},
                      {"lifetime": [80.0, 900.0], "sigma": 45.0, "gradient": True}, []),
            "displace": (displacement.displace,
                         {"equilibrium_A": RANDOM.normal(size=(7, 3)),
                          "patterns": RANDOM.normal(size=(3, 7, 3)),
                          "coefficients": RANDOM.normal(size=(301, 3))}, {}, []),
            "octahedra": (geometry.octahedra,
                          {"bonds_A": IDEAL + RANDOM.normal(scale=0.2, size=(3, 6, 3)),
                           "changes": RANDOM.normal(scale=0.1, size=(2, 3, 6, 3)),
                           "coefficients": RANDOM.normal(size=(301, 2)), "axes": np.eye(3)},
                          {"bridges": [[0, 7], [3, 16]]}, []),
            "heat": (heating.heat, DRAWS, JET, list(DRAWS)),
            "resolvent": (lanczos.resolvent, {"energy": RANDOM.normal(size=101), "hwhm": WIDTHS},
                          {"chains": CHAINS}, ["hwhm"]),
            "occupied cut": (lanczos.cut_resolvent,
                             {"energy": RANDOM.normal(size=101), "hwhm": WIDTHS},
                             {"chains": CHAINS, "rays": RAYS, "fermi": 1.0}, ["hwhm"]),
            "thermal cut": (lanczos.cut_resolvent,
                            {"energy": RANDOM.normal(size=101), "hwhm": WIDTHS},
                            {"chains": CHAINS, "rays": THERMAL, "fermi": 1.0}, ["hwhm"])}
CASES = [(wrapper, name) for wrapper, (_, arrays, _, _) in WRAPPERS.items() for name in arrays]


def flat(result):
    """All numbers of a result as bytes, so that not a bit may differ."""
    if is_dataclass(result):
        result = [getattr(result, field.name) for field in fields(result)]
    parts = result if isinstance(result, tuple | list) else [result]
    return b"".join(np.ascontiguousarray(part).tobytes() for part in parts)


def call(wrapper, **changes):
    function, arrays, rest, _ = WRAPPERS[wrapper]
    return flat(function(**(arrays | rest | changes)))


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_threads_do_not_change_a_bit_and_calls_may_overlap(wrapper, monkeypatch):
    expected = call(wrapper)
    monkeypatch.setattr(kernels, "WORTH_A_THREAD_NS", 1e-3)
    for threads in ("1", "2", "3", "5"):
        monkeypatch.setenv("POLARON_THREADS", threads)
        assert call(wrapper) == expected
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(call, [wrapper] * 6)) == {expected}


@pytest.mark.parametrize(("wrapper", "name"), CASES)
def test_any_layout_gives_the_same(wrapper, name):
    array, expected = WRAPPERS[wrapper][1][name], call(wrapper)
    strided = np.repeat(array, 2, axis=-1)[..., ::2]
    reverse = np.ascontiguousarray(array[::-1])[::-1]
    frozen = array.copy()
    frozen.setflags(write=False)
    for form in (strided, reverse, frozen, np.asfortranarray(array), array.tolist(),
                 array.astype(array.dtype.newbyteorder())):
        assert call(wrapper, **{name: form}) == expected
    assert np.array_equal(array, frozen)


@pytest.mark.parametrize(("wrapper", "name"), CASES)
def test_what_is_not_a_number_is_refused(wrapper, name):
    for value in (np.nan, np.inf, -np.inf):
        broken = WRAPPERS[wrapper][1][name].copy()
        broken.flat[-1] = value
        with pytest.raises(InputError, match=f"{name} contains NaN or infinity"):
            call(wrapper, **{name: broken})
    with pytest.raises(InputError):
        call(wrapper, **{name: WRAPPERS[wrapper][1][name].astype(complex)})
    with pytest.raises(InputError):
        call(wrapper, **{name: np.full(WRAPPERS[wrapper][1][name].shape, "x")})


@pytest.mark.parametrize(("wrapper", "name"), CASES)
def test_a_wrong_shape_or_nothing_is_refused(wrapper, name):
    array = WRAPPERS[wrapper][1][name]
    with pytest.raises(InputError):
        call(wrapper, **{name: np.zeros((2, 2, *array.shape, 2))})
    with pytest.raises(InputError):
        call(wrapper, **{name: array[:0]})
    if sum(other.shape[0] == array.shape[0] for other in WRAPPERS[wrapper][1].values()) > 1:
        with pytest.raises(InputError):
            call(wrapper, **{name: array[:-1]})


@pytest.mark.parametrize(("wrapper", "name"),
                         [(wrapper, name) for wrapper in WRAPPERS for name in WRAPPERS[wrapper][3]])
@pytest.mark.parametrize("value", [0.0, -1.0])
def test_what_must_be_positive_is_refused_otherwise(wrapper, name, value):
    broken = WRAPPERS[wrapper][1][name].copy()
    broken[len(broken) // 2] = value
    with pytest.raises(InputError, match=f"{name} .*positive"):
        call(wrapper, **{name: broken})
