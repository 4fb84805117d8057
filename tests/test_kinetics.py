"""Global fit: the truth is recovered, errors cover it, bounds and ambiguity are said; nothing
overflows.
"""

import json

import numpy as np
import pytest
from coverage_kinetics import DELAY, FRACTIONS, LEVELS, LIFETIMES, MODEL, coverage, traces

from perovskite_polaron.analysis.kinetic_intervals import (
    fraction_profile, profile_intervals, searched_profile)
from perovskite_polaron.analysis.kinetics import KineticModel, f_test, fit_kinetics
from perovskite_polaron.cli.main import main
from perovskite_polaron.errors import ComputationError, InputError
from perovskite_polaron.kernels.convolution import exponential_gaussian
from perovskite_polaron.measured.scan import Trace


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
