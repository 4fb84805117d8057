"""Treatment: laws of each step, errors against Monte Carlo, replay."""

import numpy as np
import pytest

from perovskite_polaron.errors import InputError
from perovskite_polaron.measured.repeats import combine
from perovskite_polaron.measured.scan import Scan, Step
from perovskite_polaron.measured.treatment import (  # fmt: skip
    average_adjacent, baseline, calibrate, crop, normalise, outliers, pump_probe, rebin, replay,
    subtract, thermal)

E = np.arange(13450.0, 13500.01, 1.0)
Y = 0.2 + 1 / (1 + np.exp(-(E - 13474) / 2))
NOISE = 0.01


def scan(y=Y, label="60C"):
    return Scan(E, y, np.full(len(E), NOISE**2), label)


STEPS = [
    lambda s: baseline(s, from_eV=13450, to_eV=13460, order=1),
    lambda s: normalise(s, by="area"),
    lambda s: normalise(s, by="edge-step", from_eV=13490, to_eV=13500),
    lambda s: normalise(s, by="last-point"),
    lambda s: rebin(s, step_eV=3.0),
    lambda s: average_adjacent(rebin(s, step_eV=2.0), points=5),
    lambda s: subtract(s, reference=crop(Scan(E, Y, np.zeros(len(E))), from_eV=13450, to_eV=13500)),
]


@pytest.mark.parametrize("step", STEPS)
def test_covariance_against_monte_carlo(step):
    rng = np.random.default_rng(0)
    treated = step(scan())
    draws = np.array([step(Scan(E, Y + NOISE * rng.normal(size=len(E)))).intensity
                      for _ in range(1500)])
    np.testing.assert_allclose(np.cov(draws.T), treated.covariance,
                               atol=0.15 * treated.covariance.max())


def test_laws():
    flat = baseline(scan(3 + 0.01 * E), from_eV=13450, to_eV=13460, order=1)
    np.testing.assert_allclose(flat.intensity, 0, atol=1e-9)
    assert np.trapezoid(normalise(scan(), by="area").intensity, E) == pytest.approx(1)
    assert np.trapezoid(np.abs(normalise(scan(Y - 0.7), by="absolute-area").intensity),
                        E) == pytest.approx(1)
    assert normalise(scan(), by="last-point").intensity[-1] == 1
    np.testing.assert_allclose(subtract(scan(), reference=scan()).intensity, 0)
    np.testing.assert_allclose(average_adjacent(scan(E - 13450)).intensity, E - 13450)
    assert calibrate(scan(), shift_eV=-2.0).energy_eV[0] == 13448
    assert rebin(scan(), step_eV=5.0).error[3] == pytest.approx(NOISE / np.sqrt(5))


def test_replay_gives_the_same_bits():
    reference = replay(scan(label="25C"), thermal("25C", (13450, 13460))[:2], {})
    hot = scan(Y + 0.1 * np.exp(-((E - 13475) ** 2)))
    treated = replay(hot, thermal("25C", (13450, 13460)), {"25C": reference})
    again = replay(hot, treated.history, {"25C": reference})
    assert np.array_equal(treated.intensity, again.intensity)
    assert [s.as_dict()["step"] for s in treated.history] == ["baseline", "normalise", "subtract",
                                                              "average_adjacent"]
    assert np.trapezoid(np.abs(replay(scan(Y - 0.7), pump_probe(), {}).intensity),
                        E) == pytest.approx(1)
    with pytest.raises(InputError, match="the reference '25C' is missing"):
        replay(hot, thermal("25C", (13450, 13460)), {})
    with pytest.raises(InputError, match="is no treatment step"):
        replay(hot, [Step("polish")], {})


def test_combined_scans_have_the_error_of_their_scatter():
    rng = np.random.default_rng(0)
    mean = combine([Scan(E, Y + NOISE * rng.normal(size=len(E))) for _ in range(50)])
    assert np.mean(mean.error) == pytest.approx(NOISE / np.sqrt(50), rel=0.1)
    with pytest.raises(InputError, match="different energies"):
        combine([scan(), calibrate(scan(), shift_eV=1.0)])


def test_outliers_are_flagged_not_removed():
    rng = np.random.default_rng(0)
    y = np.sin(E / 10) + 0.01 * rng.normal(size=len(E))
    y[20] += 1
    assert np.flatnonzero(outliers(Scan(E, y))).tolist() == [20]


@pytest.mark.parametrize(("call", "message"),
                         [(lambda: baseline(scan(), from_eV=1, to_eV=2), "fewer than 1 points"),
                          (lambda: baseline(scan(), from_eV=13450, to_eV=13460, order=2),
                           "baseline order 2"),
                          (lambda: normalise(scan(-Y), by="area"), "must be positive"),
                          (lambda: normalise(scan(), by="luck"), "choose from last-point"),
                          (lambda: rebin(scan(), step_eV=0), "positive width"),
                          (lambda: average_adjacent(scan(), points=2), "odd number"),
                          (lambda: subtract(scan(),
                                            reference=crop(scan(), from_eV=13460, to_eV=13470)),
                           "spans 13460"),
                          (lambda: Scan(E, np.full(len(E), np.nan)), "contains NaN")])
def test_refusals(call, message):
    with pytest.raises(InputError, match=message):
        call()
