"""Global fit: the truth is recovered, errors cover it, bounds and ambiguity are said; nothing
overflows.
"""

import json
from functools import partial

import numpy as np
import pytest
from coverage_kinetics import DELAY, FRACTIONS, LEVELS, LIFETIMES, MODEL, coverage, repeated, traces

from perovskite_polaron.analysis import kinetic_model
from perovskite_polaron.analysis.kinetic_intervals import (
    fraction_profile, profile_intervals, searched_profile)
from perovskite_polaron.analysis.kinetics import KineticModel, f_test, fit_kinetics
from perovskite_polaron.cli.main import main
from perovskite_polaron.errors import ComputationError, InputError
from perovskite_polaron.kernels.convolution import exponential_gaussian
from perovskite_polaron.measured.scan import Trace
from perovskite_polaron.measured.traces import read_traces


def test_exact_data_give_the_truth():
    fit = fit_kinetics(traces(0, noise=1e-8), MODEL)
    np.testing.assert_allclose(fit.lifetimes_ps, LIFETIMES, rtol=1e-5)
    np.testing.assert_allclose(fit.fractions, [FRACTIONS, FRACTIONS], atol=1e-6)


def test_sigma_and_t0_can_be_free():
    model = KineticModel(2, 60.0, sigma_free=True, t0_ps=10.0, t0_free=True)
    fit = fit_kinetics(traces(0, noise=1e-6), model)
    assert fit.sigma_ps == pytest.approx(45, abs=1e-2)
    assert fit.t0_ps == pytest.approx(0, abs=1e-2)
    assert fit.sigma_err_ps > 0


def test_every_interval_covers_the_truth():
    """500 seeded pairs with the published parameters: lifetimes, fractions and offset of both
    traces.
    """
    found, refused = coverage(MODEL, 500)
    assert (len(found), refused) == (8, 0)
    for name, shares in found.items():
        for level, share in shares.items():
            assert abs(share - level) <= LEVELS[level], (name, level, share)


def test_an_independent_optimiser_finds_the_same_optimum():
    from scipy.optimize import least_squares

    data = traces(5)

    def residual(p):
        basis = exponential_gaussian(DELAY, [np.exp(p[0]), np.exp(p[1]), np.inf], 45.0)
        return np.concatenate([(t.signal - basis @ a) / t.error
                               for t, a in zip(data, p[2:].reshape(2, 3), strict=True)])

    found = least_squares(residual, np.r_[np.log([100, 1000]), FRACTIONS, -0.8 * FRACTIONS],
                          xtol=1e-14, ftol=1e-14, gtol=1e-14, x_scale="jac")
    fit = fit_kinetics(data, MODEL)
    np.testing.assert_allclose(fit.lifetimes_ps, np.exp(found.x[:2]), rtol=1e-5)
    assert fit.chi2 == pytest.approx(2 * found.cost, rel=1e-9)


def test_f_test():
    fit = fit_kinetics(traces(3), MODEL)
    assert f_test(fit_kinetics(traces(3), KineticModel(1, 45.0)), fit).p < 1e-6


@pytest.mark.parametrize(("trace", "part"), [(0, 0), (0, 1), (1, 2)])
def test_the_profile_of_a_fraction_is_a_constrained_minimum(trace, part):
    """Against an optimiser that knows nothing of projections: it minimises over everything with the
    fraction inserted.
    """
    from scipy.optimize import least_squares

    data = traces(5)
    fit = fit_kinetics(data, MODEL)
    profile = fraction_profile(fit, trace, part)
    low, high = profile.interval(0.95)
    assert low < fit.fractions[trace, part] < high
    others = [i for i in range(3) if i != part]
    for value in (low, high):

        def residual(p, value=value):
            amplitudes = p[3:].reshape(2, 3).copy()
            # p[2] is the sum of the trace's amplitudes; the last of the free ones makes it up.
            amplitudes[trace, part] = value * p[2]
            amplitudes[trace, others[1]] = p[2] - amplitudes[trace, part] - amplitudes[trace,
                                                                                       others[0]]
            basis = exponential_gaussian(DELAY, [*np.exp(p[:2]), np.inf], 45.0)
            return np.concatenate([(t.signal - basis @ a) / t.error
                                   for t, a in zip(data, amplitudes, strict=True)])

        start = np.r_[np.log(fit.lifetimes_ps), fit.amplitudes[trace].sum(), fit.amplitudes.ravel()]
        found = least_squares(residual, start, xtol=1e-15, ftol=1e-15, gtol=1e-15,
                              x_scale=np.maximum(np.abs(start), 0.1))
        assert 2 * found.cost - fit.chi2 == pytest.approx(profile.critical(0.95), rel=1e-3)


def test_profiles_become_the_errors_where_the_model_is_nearly_linear():
    model = KineticModel(2, 45.0, sigma_free=True, t0_free=True)
    fit = fit_kinetics(traces(1, noise=1e-4), model)
    ends = profile_intervals(fit)
    pairs = [*zip(ends.lifetimes_ps, fit.lifetimes_err_ps, strict=True),
             (ends.sigma_ps, fit.sigma_err_ps), (ends.t0_ps, fit.t0_err_ps),
             *((i, e) for row, errors in zip(ends.fractions, fit.fractions_err, strict=True)
               for i, e in zip(row, errors, strict=True))]
    assert len(pairs) == 10
    for ((low68, high68), (low95, high95)), error in pairs:
        assert high68 - low68 == pytest.approx(2 * error, rel=0.02)
        assert high95 - low95 == pytest.approx(2 * 1.96 * error, rel=0.02)


def test_without_errors_the_intervals_follow_the_f_distribution():
    """One known decay rate and two amplitudes would be Student's t: the critical rise is its
    square.
    """
    from scipy.stats import t

    fit = fit_kinetics(traces(1, errors=False), MODEL)
    profile = searched_profile(fit, 0)
    assert profile.critical(0.95) == pytest.approx(t.ppf(0.975, fit.dof) ** 2)
    with_errors = fit_kinetics(traces(1), MODEL)
    assert fit.lifetimes_ps == pytest.approx(with_errors.lifetimes_ps, rel=1e-6)
    low, high = profile.interval()
    low_known, high_known = searched_profile(with_errors, 0).interval()
    assert high - low == pytest.approx((high_known - low_known) * np.sqrt(with_errors.chi2_red),
                                       rel=0.05)


def test_an_end_that_the_data_do_not_set_is_open(tmp_path, capsys):
    """A decay longer than the delays, beside an offset: nothing says how long, or how large, it is
    at most.
    """
    rng = np.random.default_rng(3)
    delay = np.linspace(-200, 1200, 60)
    signal = exponential_gaussian(delay, [2000.0, np.inf], 45.0) @ [0.5,
                                                                    0.5] + 0.03 * rng.normal(
                                                                        size=60)
    ends = profile_intervals(fit_kinetics([Trace(delay, signal, np.full(60, 0.03))],
                                          KineticModel(1, 45.0)))
    ((_, (low, high)),) = ends.lifetimes_ps
    assert 0 < low < 2000
    assert high == np.inf
    (((_, (low, high)), (_, (offset_low, offset_high))),) = ends.fractions
    assert 0 < low < 0.5 < high == np.inf
    assert -np.inf == offset_low < 0.5 < offset_high < 1
    rows = "\n".join(f"{a},{b},0.03" for a, b in zip(delay, signal, strict=True))
    (tmp_path / "slow.csv").write_text(f"delay_ps,signal,error\n{rows}\n")
    call = ["kinetics", str(tmp_path / "slow.csv"), "--irf-sigma", "45ps", "--components", "1"]
    assert main([*call, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert answer["lifetimes_interval_ps"][0]["95"][1] is None
    assert answer["offset_interval"][0]["95"][0] is None


def test_the_search_converges_where_it_used_to_swing():
    """With sigma and time zero free these pairs' steps overshoot the minimum: it took Kaufman's
    Jacobian over 200 of them.
    """
    model = KineticModel(2, 45.0, sigma_free=True, t0_free=True)
    for seed in (73, 434):
        fit = fit_kinetics(traces(seed), model, start_ps=[100, 1000])
        assert fit.lifetimes_ps == pytest.approx(LIFETIMES, rel=0.5)


def test_one_decay_fitted_with_two_says_so():
    rng = np.random.default_rng(0)
    clean = exponential_gaussian(DELAY, [120.0, np.inf], 45.0) @ [0.8, 0.2]
    data = [Trace(DELAY, clean + 1e-9 * rng.normal(size=len(DELAY)), np.full(len(DELAY), 0.01))]
    with pytest.raises(ComputationError,
                       match=r"bound|cannot be told apart|did not converge|do not fix"):
        fit_kinetics(data, MODEL)


def test_refusals():
    short = [Trace([0.0, 1, 2], [1.0, 2, 3])]
    with pytest.raises(InputError, match="3 points cannot fix 3 amplitudes"):
        fit_kinetics(short, MODEL)
    with pytest.raises(InputError, match="must be positive"):
        KineticModel(2, 0.0)
    with pytest.raises(InputError, match="give from 1 to 6"):
        KineticModel(0, 45.0)
    with pytest.raises(InputError, match="positive error for each delay"):
        Trace([0.0, 1], [1.0, 2], [1.0, 0.0])


def test_command(tmp_path, capsys):
    for name, trace in zip(("br", "pb"), traces(1), strict=True):
        rows = "\n".join(f"{a},{b},{c}"
                         for a, b, c in zip(trace.delay_ps, trace.signal, trace.error, strict=True))
        (tmp_path / f"{name}.csv").write_text(f"delay_ps,signal,error\n{rows}\n")
    files = [str(tmp_path / "br.csv"), str(tmp_path / "pb.csv")]
    call = ["kinetics", *files, "--irf-sigma", "45ps", "--components", "2"]
    assert main([*call, "--json", "--figure", str(tmp_path / "k.png")]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["lifetimes_ps"][0] == pytest.approx(120, abs=3 * answer["lifetimes_err_ps"][0])
    assert [f["label"] for f in answer["fractions"]] == ["br", "pb"]
    assert answer["chi2_red"] == pytest.approx(1, abs=0.4)
    for i, fraction in enumerate(answer["fractions"]):
        for value, ends in zip(fraction["value"], fraction["interval"], strict=True):
            assert ends["95"][0] < ends["68"][0] < value < ends["68"][1] < ends["95"][1]
        assert answer["offset_interval"][i]["95"][0] < 0.19 < answer["offset_interval"][i]["95"][1]
    assert answer["lifetimes_interval_ps"][0]["95"][0] < 120 < answer["lifetimes_interval_ps"][0][
        "95"][1]
    assert answer["irf_sigma_interval_ps"] is None
    assert main(call) == 0
    out = capsys.readouterr().out
    assert "F test" in out
    assert out.count(" to ") >= 16
    assert main(["kinetics", *files, "--irf-sigma", "45"]) == 2
    assert main([*call, "--json", "--start", "100ps", "1ns"]) == 0
    started = json.loads(capsys.readouterr().out)
    assert started["lifetimes_ps"] == pytest.approx(answer["lifetimes_ps"], rel=1e-5)
    assert main([*call, "--start", "100ps"]) == 2
    assert "starting lifetimes: give 2 between" in capsys.readouterr().err


def test_extreme_inputs_end_in_a_finite_fit_or_a_reason():
    """Delays, sigmas and signals over many decades: no warning, no NaN, no traceback."""
    rng = np.random.default_rng(0)
    fitted = 0
    for _ in range(300):
        n, span = int(rng.integers(6, 60)), 10 ** rng.uniform(-9, 9)
        delay = np.sort(rng.uniform(-span / 5, span, n))
        decay = np.exp(-np.clip(delay, 0, None)
                       / (span * 10 ** rng.uniform(-4, 4))) * 10 ** rng.uniform(-12, 12)
        signal = [rng.normal(size=n), np.zeros(n), np.ones(n), decay][int(rng.integers(4))]
        error = None if rng.random() < 0.3 else np.full(n, 10 ** rng.uniform(-12, 3))
        sigma, (offset, sigma_free, t0_free) = span * 10 ** rng.uniform(-8,
                                                                        2), rng.integers(
                                                                            2, size=3).astype(bool)
        model = KineticModel(int(rng.integers(1, 4)), sigma, offset, sigma_free, 0.0, t0_free)
        try:
            fit = fit_kinetics([Trace(delay, signal, error)], model)
        except (ComputationError, InputError):
            continue
        fitted += 1
        for values in (
            fit.lifetimes_ps,
            fit.lifetimes_err_ps,
            fit.fractions,
            fit.fractions_err,
            fit.chi2,
            fit.t0_err_ps,
        ):
            assert np.isfinite(values).all()
    assert fitted


def test_a_bound_is_said(tmp_path, capsys):
    with pytest.raises(ComputationError, match="sits on a bound of sigma"):
        fit_kinetics(traces(0, noise=1e-6), KineticModel(2, 3000.0, sigma_free=True))
    with pytest.raises(InputError, match="nothing can be resolved"):
        fit_kinetics(traces(0), KineticModel(2, 1e7))
    rows = "\n".join(f"{d},{s},1"
                     for d, s in zip(DELAY, np.exp(-np.clip(DELAY, 0, None) / 1e-3), strict=True))
    (tmp_path / "instant.csv").write_text(f"delay_ps,signal,error\n{rows}\n")
    assert main(["kinetics", str(tmp_path / "instant.csv"), "--irf-sigma", "45ps", "--components",
                 "1"]) == 1
    assert capsys.readouterr().err.startswith("polaron: ")


def test_a_signal_that_says_nothing_is_told_from_lifetimes_that_merge():
    data = traces(0)
    with pytest.raises(ComputationError, match="see that the traces hold a signal"):
        fit_kinetics([Trace(DELAY, 0 * DELAY, np.ones(len(DELAY)))], MODEL)
    with pytest.raises(ComputationError, match="delays after time zero"):
        fit_kinetics(data, KineticModel(2, 45.0, t0_ps=1e9))


def test_a_poor_fit_is_said_and_a_negative_time_zero_is_taken(tmp_path, capsys):
    rows = "\n".join(f"{a},{b},0.005" for a, b in zip(DELAY, traces(1)[0].signal, strict=True))
    (tmp_path / "br.csv").write_text(f"delay_ps,signal,error\n{rows}\n")
    call = ["kinetics", str(tmp_path / "br.csv"), "--irf-sigma", "45ps", "--t0", "-10ps",
            "--fit-t0"]
    assert main(call) == 0
    assert "does not describe the data within their errors" in capsys.readouterr().out
    assert main([*call, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["chi2_p"] < 1e-6
    assert answer["t0_interval_ps"]["95"][0] < answer["t0_ps"] < answer["t0_interval_ps"]["95"][1]


@pytest.mark.parametrize(("unit", "per_ps"), [("fs", 1e3), ("ns", 1e-3)])
def test_units_change_nothing(tmp_path, capsys, unit, per_ps):
    answers = []
    for name, factor in (("ps", 1.0), (unit, per_ps)):
        trace = traces(1)[0]
        rows = "\n".join(f"{factor * a!r},{b!r},0.03"
                         for a, b in zip(trace.delay_ps.tolist(), trace.signal.tolist(),
                                         strict=True))
        (tmp_path / "br.csv").write_text(f"delay_{name},signal,error\n{rows}\n")
        assert main(["kinetics", str(tmp_path / "br.csv"), "--irf-sigma", f"{45 * factor:g}{name}",
                     "--json"]) == 0
        answers.append(json.loads(capsys.readouterr().out))
    one, two = answers
    for key in ("lifetimes_ps", "lifetimes_err_ps", "offset", "chi2_red"):
        assert two[key] == pytest.approx(one[key], rel=1e-6)


def test_the_reading_is_offered_not_asserted(tmp_path, capsys):
    trace = traces(1)[0]
    rows = "\n".join(f"{a},{b},{c}"
                     for a, b, c in zip(trace.delay_ps, trace.signal, trace.error, strict=True))
    (tmp_path / "br.csv").write_text(f"delay_ps,signal,error\n{rows}\n")
    assert main(["kinetics", str(tmp_path / "br.csv"), "--irf-sigma", "45ps"]) == 0
    out = capsys.readouterr().out
    assert "often read as Auger" in out
    assert "the fit itself does not tell" in out


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
    assert sum(line.startswith("m:134") for line in lines) == 20
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
