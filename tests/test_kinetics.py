"""Global fit: the truth is recovered, errors cover it, bounds and ambiguity are said; nothing overflows."""

import json

import numpy as np
import pytest

from perovskite_polaron.cli.main import main
from perovskite_polaron.errors import ComputationError, InputError
from perovskite_polaron.experiment.kinetics import KineticModel, f_test, fit_kinetics, profile_interval
from perovskite_polaron.experiment.scan import Trace
from perovskite_polaron.kernels.convolution import exponential_gaussian

DELAY = np.r_[np.arange(-300, 600, 20.0), np.geomspace(600, 100e3, 30)]
MODEL = KineticModel(2, 45.0)
TRUE = np.array([0.6, 0.21, 0.19])


def traces(seed, noise=0.03, amplitudes=TRUE):
    rng = np.random.default_rng(seed)
    clean = exponential_gaussian(DELAY, [120.0, 900.0, np.inf], 45.0) @ amplitudes
    return [
        Trace(DELAY, s * clean + noise * rng.normal(size=len(DELAY)), np.full(len(DELAY), noise)) for s in (1, -0.8)
    ]


def test_exact_data_give_the_truth():
    fit = fit_kinetics(traces(0, noise=1e-8), MODEL)
    np.testing.assert_allclose(fit.lifetimes_ps, [120, 900], rtol=1e-5)
    np.testing.assert_allclose(fit.fractions, [TRUE, TRUE], atol=1e-6)


def test_sigma_and_t0_can_be_free():
    model = KineticModel(2, 60.0, sigma_free=True, t0_ps=10.0, t0_free=True)
    fit = fit_kinetics(traces(0, noise=1e-6), model)
    assert fit.sigma_ps == pytest.approx(45, abs=1e-2)
    assert fit.t0_ps == pytest.approx(0, abs=1e-2)
    assert fit.sigma_err_ps > 0


def test_errors_cover_the_truth():
    """500 seeded fits with the published parameters: 68 % and 95 % intervals (in the logarithm) cover as they should."""
    pulls = []
    for seed in range(500):
        fit = fit_kinetics(traces(seed), MODEL, start_ps=[100, 1000])
        pulls.append((np.log(fit.lifetimes_ps) - np.log([120, 900])) / (fit.lifetimes_err_ps / fit.lifetimes_ps))
    assert np.abs(np.mean(np.abs(pulls) < 1, axis=0) - 0.68).max() <= 0.05
    assert np.abs(np.mean(np.abs(pulls) < 1.96, axis=0) - 0.95).max() <= 0.025


def test_an_independent_optimiser_finds_the_same_optimum():
    from scipy.optimize import least_squares

    data = traces(5)

    def residual(p):
        basis = exponential_gaussian(DELAY, [np.exp(p[0]), np.exp(p[1]), np.inf], 45.0)
        return np.concatenate(
            [(t.signal - basis @ a) / t.error for t, a in zip(data, p[2:].reshape(2, 3), strict=True)]
        )

    found = least_squares(
        residual, np.r_[np.log([100, 1000]), TRUE, -0.8 * TRUE], xtol=1e-14, ftol=1e-14, gtol=1e-14, x_scale="jac"
    )
    fit = fit_kinetics(data, MODEL)
    np.testing.assert_allclose(fit.lifetimes_ps, np.exp(found.x[:2]), rtol=1e-5)
    assert fit.chi2 == pytest.approx(2 * found.cost, rel=1e-9)


def test_profile_interval_and_f_test():
    fit = fit_kinetics(traces(3), MODEL)
    low, high = profile_interval(fit, 0)
    assert low < fit.lifetimes_ps[0] < high
    assert (high - low) / 2 == pytest.approx(fit.lifetimes_err_ps[0], rel=0.3)
    assert f_test(fit_kinetics(traces(3), KineticModel(1, 45.0)), fit).p < 1e-6


def test_one_decay_fitted_with_two_says_so():
    rng = np.random.default_rng(0)
    clean = exponential_gaussian(DELAY, [120.0, np.inf], 45.0) @ [0.8, 0.2]
    data = [Trace(DELAY, clean + 1e-9 * rng.normal(size=len(DELAY)), np.full(len(DELAY), 0.01))]
    with pytest.raises(ComputationError, match=r"bound|cannot be told apart|did not converge|do not fix"):
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
        rows = "\n".join(f"{a},{b},{c}" for a, b, c in zip(trace.delay_ps, trace.signal, trace.error, strict=True))
        (tmp_path / f"{name}.csv").write_text(f"delay_ps,signal,error\n{rows}\n")
    files = [str(tmp_path / "br.csv"), str(tmp_path / "pb.csv")]
    call = ["kinetics", *files, "--irf-sigma", "45ps", "--components", "2"]
    assert main([*call, "--json", "--figure", str(tmp_path / "k.png")]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["lifetimes_ps"][0] == pytest.approx(120, abs=3 * answer["lifetimes_err_ps"][0])
    assert [f["label"] for f in answer["fractions"]] == ["br", "pb"]
    assert answer["chi2_red"] == pytest.approx(1, abs=0.4)
    assert main(call) == 0
    assert "F test" in capsys.readouterr().out
    assert main(["kinetics", *files, "--irf-sigma", "45"]) == 2


def test_extreme_inputs_end_in_a_finite_fit_or_a_reason():
    """Delays, sigmas and signals over many decades: no warning, no NaN, no traceback."""
    rng = np.random.default_rng(0)
    fitted = 0
    for _ in range(300):
        n, span = int(rng.integers(6, 60)), 10 ** rng.uniform(-9, 9)
        delay = np.sort(rng.uniform(-span / 5, span, n))
        decay = np.exp(-np.clip(delay, 0, None) / (span * 10 ** rng.uniform(-4, 4))) * 10 ** rng.uniform(-12, 12)
        signal = [rng.normal(size=n), np.zeros(n), np.ones(n), decay][int(rng.integers(4))]
        error = None if rng.random() < 0.3 else np.full(n, 10 ** rng.uniform(-12, 3))
        sigma, (offset, sigma_free, t0_free) = span * 10 ** rng.uniform(-8, 2), rng.integers(2, size=3).astype(bool)
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
    rows = "\n".join(f"{d},{s},1" for d, s in zip(DELAY, np.exp(-np.clip(DELAY, 0, None) / 1e-3), strict=True))
    (tmp_path / "instant.csv").write_text(f"delay_ps,signal,error\n{rows}\n")
    assert main(["kinetics", str(tmp_path / "instant.csv"), "--irf-sigma", "45ps", "--components", "1"]) == 1
    assert capsys.readouterr().err.startswith("polaron: ")


def test_the_reading_is_offered_not_asserted(tmp_path, capsys):
    trace = traces(1)[0]
    rows = "\n".join(f"{a},{b},{c}" for a, b, c in zip(trace.delay_ps, trace.signal, trace.error, strict=True))
    (tmp_path / "br.csv").write_text(f"delay_ps,signal,error\n{rows}\n")
    assert main(["kinetics", str(tmp_path / "br.csv"), "--irf-sigma", "45ps", "--profile"]) == 0
    out = capsys.readouterr().out
    assert "often read as Auger" in out
    assert "the fit itself does not tell" in out
