"""Traces as they are measured: constants, earlier pulses, rises, many traces, few repeats."""

import json
from functools import partial

import numpy as np
import pytest
from coverage_kinetics import DELAY, FRACTIONS, LEVELS, LIFETIMES, MODEL, coverage, repeated, traces

from perovskite_polaron.analysis import kinetic_model
from perovskite_polaron.analysis.kinetic_intervals import profile_intervals
from perovskite_polaron.analysis.kinetics import KineticModel, fit_kinetics
from perovskite_polaron.cli.main import main
from perovskite_polaron.kernels.convolution import exponential_gaussian
from perovskite_polaron.measured.scan import Trace
from perovskite_polaron.measured.traces import read_traces


def write(path, delay, *columns, names=("signal", "signal_error")):
    """A file of a trace, its errors or its repeats."""
    rows = "\n".join(",".join(map(repr, map(float, row)))
                     for row in zip(delay, *columns, strict=True))
    path.write_text(f"{','.join(('delay_ps', *names[: len(columns)]))}\n{rows}\n")
    return str(path)


def printed(capsys, *call):
    assert main(["kinetics", *call, "--irf-sigma", "45ps"]) == 0
    return capsys.readouterr().out


def answered(capsys, *call):
    return json.loads(printed(capsys, *call, "--json"), parse_constant=pytest.fail)


def test_a_constant_before_time_zero_is_fitted_or_found(tmp_path, capsys):
    """Left out, it used to move the lifetime by half without a word, as nothing gave an error."""
    delay = np.arange(-300.0, 1200, 20)
    clean = exponential_gaussian(delay, [120.0, np.inf], 45.0) @ [0.6, 0.2]
    noise = 0.01 * np.random.default_rng(2).normal(size=len(delay))
    path = write(tmp_path / "b.csv", delay, clean + 0.3 + noise)
    found = answered(capsys, path, "--components", "1")
    assert found["lifetimes_ps"][0] == pytest.approx(120, abs=3 * found["lifetimes_err_ps"][0])
    assert found["lifetimes_err_ps"][0] < 6
    assert found["baseline"][0] == pytest.approx(0.3, abs=3 * found["baseline_err"][0])
    assert found["fractions"][0]["value"][0] == pytest.approx(0.75, abs=0.02)
    assert found["error_scale"][0] == pytest.approx(0.01, rel=0.2)
    assert found["runs_p"] > 0.05
    left = answered(capsys, path, "--components", "1", "--no-baseline")
    assert abs(left["lifetimes_ps"][0] - 120) > 20
    assert left["runs_p"] < 1e-4
    assert "keep their sign" in printed(capsys, path, "--components", "1", "--no-baseline")
    assert "keep their sign" not in printed(capsys, path, "--components", "1")


def test_the_runs_test_has_its_size():
    """Of 400 right fits no more than a hundredth, and a little, are suspected."""
    p = [fit_kinetics(traces(seed), MODEL, [100, 1000]).runs_p for seed in range(400)]
    assert np.mean(np.array(p) < 0.01) <= 0.015
    assert np.mean(np.array(p) < 0.2) > 0.02

PERIOD = 767e3


def piled_up(delay, lifetimes, amplitudes):
    """The signal of three hundred pulses, the last at zero."""
    return sum(exponential_gaussian(delay + n * PERIOD, lifetimes, 45.0) @ amplitudes
               for n in range(300))


def test_what_earlier_pulses_left_is_in_the_decays(tmp_path, capsys):
    """A tail of 300 ns beside 767 ns between pulses: taken for an offset it draws 900 ps to half as
    much again.
    """
    signal = piled_up(DELAY, [120.0, 900.0, 3e5], FRACTIONS)
    path = write(tmp_path / "p.csv", DELAY, signal, np.full(len(DELAY), 1e-5))
    call = path, "--components", "3", "--no-offset", "--no-baseline"
    found = answered(capsys, *call, "--period", "767ns", "--start", "100ps", "1ns", "200ns")
    np.testing.assert_allclose(found["lifetimes_ps"], [120, 900, 3e5], rtol=1e-6)
    np.testing.assert_allclose(found["fractions"][0]["value"], FRACTIONS, rtol=1e-6)
    ignored = answered(capsys, path, "--no-baseline")
    assert ignored["lifetimes_ps"][1] > 1.3 * 900
    assert main(["kinetics", path, "--irf-sigma", "45ps", "--period", "50ns"]) == 2
    assert "reach into the next pump pulse" in capsys.readouterr().err


def test_the_slopes_of_the_model_are_its_differences():
    model = KineticModel(2, 45.0, sigma_free=True, t0_ps=3.0, t0_free=True, baseline=True,
                         period_ps=4e3)
    delay, theta = np.linspace(-300, 3000, 40), np.array([np.log(120), np.log(2e3), np.log(45), 3])
    columns, slopes = model.columns_and_slopes(theta, delay)
    assert columns.shape == (40, model.width)
    assert (columns[:, -1] == 1).all()
    for i, step in enumerate(1e-5 * np.eye(4)):
        up, down = (model.columns_and_slopes(theta + s, delay)[0] for s in (step, -step))
        np.testing.assert_allclose(slopes[i], (up - down) / 2e-5, atol=1e-8)


def test_a_rise_beside_a_decay_has_amplitudes_and_no_fractions(tmp_path, capsys):
    delay = np.arange(-300.0, 4000, 20)
    clean = exponential_gaussian(delay, [120.0, 1500.0, np.inf], 45.0) @ [-0.5, 0.4, 0.1]
    noise = 0.01 * np.random.default_rng(4).normal(size=len(delay))
    path = write(tmp_path / "neg.csv", delay, clean + noise, np.full(len(delay), 0.01))
    found = answered(capsys, path, "--figure", str(tmp_path / "k.svg"))
    (one,) = found["fractions"]
    assert one["value"] is one["err"] is None
    assert one["interval"] == [None, None]
    assert found["offset"] == [None]
    for value, error, true in zip(one["amplitudes"], one["amplitudes_err"], [-0.5, 0.4, 0.1, 0],
                                  strict=True):
        assert value == pytest.approx(true, abs=3 * error)
    out = printed(capsys, path)
    assert "amplitudes (of different signs" in out
    assert "fractions (%)" not in out


def test_without_errors_traces_in_other_units_weigh_the_same():
    """The second trace in counts: nothing of the first one's errors may come from it."""
    def fit(scale):
        one, two = traces(7, errors=False)
        return fit_kinetics([one, Trace(DELAY, scale * two.signal)], MODEL)

    small, large = fit(300.0), fit(3e6)
    np.testing.assert_allclose(large.lifetimes_ps, small.lifetimes_ps, rtol=1e-5)
    np.testing.assert_allclose(large.fractions_err, small.fractions_err, rtol=1e-4)
    np.testing.assert_allclose(small.error_scale / [1, 300], 0.03, rtol=0.25)
    known = fit_kinetics(traces(7), MODEL)
    np.testing.assert_allclose(small.fractions_err, known.fractions_err, rtol=0.25)


def test_errors_are_those_of_the_whole_covariance():
    """Against the inverse of JᵀJ over every parameter, its derivatives taken as differences."""
    data, model = traces(5), KineticModel(2, 45.0, t0_free=True, baseline=True)
    fit = fit_kinetics(data, model)

    def curves(p):
        columns, _ = model.columns_and_slopes(p[:3], DELAY)
        return np.concatenate([columns @ a for a in p[3:].reshape(2, 4)]) / 0.03

    best = np.r_[fit.theta, fit.amplitudes.ravel()]
    jacobian = np.array([curves(best + s) - curves(best - s) for s in 1e-5 * np.eye(11)]) / 2e-5
    errors = np.sqrt(np.diag(np.linalg.inv(jacobian @ jacobian.T)))
    np.testing.assert_allclose(fit.theta_err, errors[:3], rtol=1e-5)
    np.testing.assert_allclose(fit.amplitudes_err.ravel(), errors[3:], rtol=1e-5)


def many(count, noise=0.03):
    rng = np.random.default_rng(1)
    clean = exponential_gaussian(DELAY, [*LIFETIMES, np.inf], 45.0) @ rng.normal(size=(3, count))
    return clean + noise * rng.normal(size=clean.shape)


def test_traces_at_the_same_delays_share_the_work(monkeypatch):
    """A delay scan at every energy: the columns are evaluated once for all traces."""
    calls = []
    real = kinetic_model.exponential_gaussian
    monkeypatch.setattr(kinetic_model, "exponential_gaussian",
                        lambda *a, **k: calls.append(1) or real(*a, **k))
    fit = fit_kinetics([Trace(DELAY, s, np.full(len(DELAY), 0.03)) for s in many(390).T], MODEL)
    assert len(calls) < 200
    np.testing.assert_allclose(fit.lifetimes_ps, LIFETIMES, rtol=0.05)
    ends = profile_intervals(fit)
    assert len(calls) < 2000
    assert set(ends.fractions[0]) == {None}
    error = fit.lifetimes_err_ps[1] * np.array([-1, 1])
    np.testing.assert_allclose(ends.lifetimes_ps[1][0], fit.lifetimes_ps[1] + error, rtol=0.01)
    apart = [Trace(DELAY + 1e-9 * i, s, np.full(len(DELAY), 0.03))
             for i, s in enumerate(many(6).T)]
    together = [Trace(DELAY, t.signal, t.error) for t in apart]
    one, two = (fit_kinetics(data, MODEL, [100, 1000]) for data in (apart, together))
    np.testing.assert_allclose(one.lifetimes_ps, two.lifetimes_ps, rtol=1e-6)
    np.testing.assert_allclose(one.amplitudes_err, two.amplitudes_err, rtol=1e-6)


def test_a_matrix_has_its_energies_in_the_first_row(tmp_path, capsys):
    energies = 13450 + 0.25 * np.arange(20)
    path = tmp_path / "m.dat"
    np.savetxt(path, np.vstack([np.r_[0.0, energies], np.c_[DELAY, many(20, 0.01)]]))
    call = str(path), "--delay-unit", "ps"
    assert main(["kinetics", *call, "--irf-sigma", "45ps"]) == 2
    assert "say so with --matrix" in capsys.readouterr().err
    found = answered(capsys, *call, "--matrix", "--figure", str(tmp_path / "m.svg"))
    assert "offset" in (tmp_path / "m.svg").read_text()
    assert [f["label"] for f in found["fractions"]] == [f"m:{e:.10g}" for e in energies]
    np.testing.assert_allclose(found["lifetimes_ps"], LIFETIMES, rtol=0.1)
    lines = printed(capsys, *call, "--matrix").splitlines()
    assert len({line.split()[0] for line in lines if line.startswith("m:134")}) == 20
    one = answered(capsys, *call, "--matrix", "--signal", "13450.25")
    assert [f["label"] for f in one["fractions"]] == ["m:13450.25"]


@pytest.mark.parametrize("value", [-21.47483647, 2147483648.0, 2.147483647])
def test_what_an_instrument_writes_for_no_value_is_refused(tmp_path, capsys, value):
    signal = traces(0)[0].signal.copy()
    signal[3] = value
    path = write(tmp_path / "t.csv", DELAY, signal)
    assert main(["kinetics", path, "--irf-sigma", "45ps"]) == 2
    assert "for no value" in capsys.readouterr().err


def test_columns_called_repeats_are_averaged(tmp_path, capsys):
    """As their mean, the scatter of each point pooled with its neighbours'."""
    rng = np.random.default_rng(0)
    clean = exponential_gaussian(DELAY, [*LIFETIMES, np.inf], 45.0) @ FRACTIONS
    stack = clean + 0.05 * rng.normal(size=(3, len(DELAY)))
    path = write(tmp_path / "r.csv", DELAY, *stack, names=("rep1", "rep2", "rep3"))
    (trace,) = read_traces([path], "rep*")
    np.testing.assert_allclose(trace.signal, stack.mean(axis=0))
    np.testing.assert_allclose(trace.error, stack.std(axis=0, ddof=1) / np.sqrt(3))
    assert trace.repeats == 3
    fit = fit_kinetics([trace], MODEL)
    # Alone, three repeats call some points five times as certain as they are.
    alone, pooled = (np.abs(np.log(of.error * np.sqrt(3) / 0.05)) for of in (trace, *fit.traces))
    assert alone.max() > np.log(5)
    assert pooled.max() < np.log(1.5)
    assert fit.chi2_p > 1e-3
    means = write(tmp_path / "m.csv", DELAY, trace.signal, trace.error)
    one = answered(capsys, means, "--repeats", "3")
    two = answered(capsys, path, "--signal", "rep*")
    for key in ("lifetimes_ps", "lifetimes_err_ps", "chi2_p", "error_scale"):
        assert one[key] == pytest.approx(two[key], rel=1e-9)
    assert len(read_traces([path])) == 3


@pytest.mark.parametrize(("repeats", "late"), [(3, 1.0), (4, 2.0), (30, 1.0)])
def test_intervals_from_few_repeats_cover_the_lifetimes(repeats, late):
    """tests/coverage_kinetics.py runs more of them. A pair that ends on a bound is refused."""
    found, refused = coverage(MODEL, 300, partial(repeated, repeats=repeats, late=late), False)
    assert len(found) == 2
    assert refused <= 1
    for name, shares in found.items():
        for level, share in shares.items():
            assert abs(share - level) <= LEVELS[level], (name, level, share)
