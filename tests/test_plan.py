"""Plans: the best points are the best there are, and beamtimes scatter as they say."""

import json
from dataclasses import replace

import numpy as np
import pytest
from coverage_plan import (
    COUNTING, MODE, OFFSET_EV, PRIORS, SECONDS, SHIFT, STRENGTH, THEORY, planned, strengths)
from scipy.optimize import minimize

from perovskite_polaron.analysis.beamtime import Counting, plan_delays, plan_spectrum
from perovskite_polaron.analysis.design import Design
from perovskite_polaron.analysis.kinetic_model import KineticModel
from perovskite_polaron.analysis.kinetics import fit_kinetics
from perovskite_polaron.analysis.scenario_curves import Priors
from perovskite_polaron.cli.main import main
from perovskite_polaron.errors import InputError
from perovskite_polaron.measured.scan import Trace


def test_a_straight_line_is_measured_at_its_ends():
    """Known by theory: the slope half at each end, the value at an end there alone."""
    x = np.linspace(-1, 1, 41)
    line = Design(x, np.column_stack([np.ones(41), x]), np.zeros((2, 2)), np.array([[0.0, 1.0]]))
    shares = line.best(1.0)
    assert shares[[0, -1]] == pytest.approx([0.5, 0.5], abs=1e-3)
    assert line.variance(shares, 4.0) == pytest.approx(0.25, rel=1e-3)
    quadratic = Design(x, np.column_stack([np.ones(41), x, x**2]), np.zeros((3, 3)),
                       np.array([[0.0, 0.0, 1.0]]))
    # Of a parabola's curvature: a quarter, a half and a quarter at ends and middle.
    assert quadratic.best(1.0)[[0, 20, -1]] == pytest.approx([0.25, 0.5, 0.25], abs=5e-3)


def test_another_optimiser_finds_nothing_better():
    rng = np.random.default_rng(3)
    slopes, prior = rng.normal(size=(8, 3)), np.diag([0.0, 2.0, 0.5])
    design = Design(np.arange(8.0), slopes, prior, np.array([[1.0, 0.0, 0.0], [0.0, 0.3, 0.0]]))
    mine = design.variance(design.best(5.0, neighbours=0), 5.0)

    def phi(z):
        w = np.exp(z - z.max())
        return design.variance(w / w.sum(), 5.0)

    best = min(minimize(phi, rng.normal(size=8), method="BFGS").fun for _ in range(5))
    assert mine <= 1.03 * best


def test_the_forecast_of_one_parameter_is_counting_statistics():
    """Without nuisances the error is that of a weighted mean, and falls with the root of time."""
    fixed = plan_spectrum(THEORY, MODE, STRENGTH, COUNTING, OFFSET_EV, Priors(0.0, 0.0),
                          (13480.0, 13512.0), 0.5)
    even, seconds = fixed.design.even(), 1000.0
    difference = fixed.curve**2
    exposure = COUNTING.rate_per_s * seconds / len(even)
    variance = (fixed.steady + COUNTING.background) * (2 + 2) / exposure
    assert fixed.error(even, seconds) == pytest.approx((difference / variance).sum() ** -0.5)
    assert fixed.error(even, 4 * seconds) == pytest.approx(fixed.error(even, seconds) / 2)
    # One strength alone is best measured at one energy.
    assert np.count_nonzero(fixed.design.best(seconds)) == 1


def test_what_is_not_known_makes_errors_larger():
    def error(priors, beside=()):
        plan = plan_spectrum(THEORY, MODE, STRENGTH, COUNTING, OFFSET_EV, priors,
                             (13480.0, 13512.0), 0.5, beside=beside)
        return plan.error(plan.design.even(), SECONDS)

    chain = [error(Priors(0.0, 0.0)), error(Priors(0.2, 0.0)), error(Priors(0.2, 0.3)),
             error(PRIORS), error(PRIORS, [SHIFT])]
    assert chain == sorted(chain)
    assert chain[-1] > 1.03 * chain[0]


def test_beamtimes_scatter_as_predicted_and_the_best_energies_are_better():
    """A small part of coverage_plan.py."""
    plan = planned()
    best = plan.design.best(SECONDS)
    found, even = (strengths(plan, shares, 60) for shares in (best, plan.design.even()))
    expected = plan.error(best, SECONDS)
    # Of 60 the standard deviation is known to 9 %.
    assert 0.75 < found.std(ddof=1) / expected < 1.25
    assert found.std(ddof=1) < even.std(ddof=1)
    assert abs(found.mean() - STRENGTH) < 0.03 * STRENGTH


def test_traces_at_the_planned_delays_scatter_as_predicted():
    sigma, tau, noise, points = 45.0, [120.0, 900.0], 0.01, 200
    delays = np.unique(np.r_[np.linspace(-135, 135, 25), np.geomspace(135, 4500, 100)])
    design = plan_delays(delays, tau, [0.6, 0.2], sigma, noise)
    times = np.round(design.best(1.0) * points).astype(int)
    at = np.repeat(delays, times)
    error = np.sqrt(np.diag(design.covariance(times / times.sum(), float(times.sum())))[:2]) * tau
    from perovskite_polaron.kernels.convolution import exponential_gaussian

    clean = (exponential_gaussian(at, tau, sigma) @ [0.6, 0.2]
             + 0.2 * exponential_gaussian(at, np.inf, sigma))
    found = []
    for seed in range(60):
        noisy = clean + noise * np.random.default_rng(seed).normal(size=len(at))
        trace = Trace(at, noisy, np.full(len(at), noise))
        found.append(fit_kinetics([trace], KineticModel(2, sigma)).lifetimes_ps)
    np.testing.assert_allclose(np.std(found, axis=0, ddof=1), error, rtol=0.3)


@pytest.mark.parametrize(("make", "said"), [
    (lambda: Counting(0.0), "rate"), (lambda: Counting(1.0, -1.0), "background"),
    (lambda: Counting(1.0, 0.0, 1.0), "between 0 and 1"),
    (lambda: plan_delays(np.arange(9.0), [100.0], [0.5, 0.2], 45.0, 0.1), "one fraction"),
    (lambda: plan_delays(np.arange(9.0), [100.0], [1.5], 45.0, 0.1), "no more than 1"),
    (lambda: plan_spectrum(THEORY, MODE, 0.1, COUNTING, OFFSET_EV, PRIORS, (13480.0, 13482.0), 1.0),
     "5 to 5000"),
    (lambda: plan_spectrum(THEORY, MODE, 0.1, COUNTING, OFFSET_EV, PRIORS, (13480.0, 13999.0), 1.0),
     "spans"),
    (lambda: replace(planned().design, slopes=np.zeros((65, 2)), prior=np.zeros((2, 2)),
                     wanted=np.eye(1, 2)).best(1.0), "leave a parameter open")])
def test_refusals(make, said):
    with pytest.raises(InputError, match=said):
        make()


def test_the_command(tmp_path, capsys):
    counts = ["--flux", "1e9ph/s", "--yield", "1e-4"]
    assert main(["plan", *counts, "--amplitude", "0.05A", "--figure", str(tmp_path / "plan.png"),
                 "--out", str(tmp_path / "plan.csv"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    row = next(r for r in found["errors"] if r["scans"] == found["scans"])
    assert found["f_q2_err"] == row["f_q2_err"] < row["f_q2_err_even"]
    assert found["f_q2"] / found["f_q2_err"] >= 5
    assert sum(found["seconds_per_scan"]) == pytest.approx(600)
    table = np.loadtxt(tmp_path / "plan.csv", delimiter=",", skiprows=1, ndmin=2)
    np.testing.assert_allclose(table[:, 0], found["energies_eV"])
    assert (tmp_path / "plan.png").stat().st_size > 1000
    for wrong, said in (([], "--flux"), ([*counts, "--amplitude", "9A"], "computed up to"),
                        ([*counts, "--scenario", "nothing"], "names 0 of"),
                        (["--flux", "1e9", "--yield", "1"], "1e9ph/s")):
        assert main(["plan", *wrong]) == 2
        assert said in capsys.readouterr().err


def test_the_command_for_delays(tmp_path, capsys):
    call = ["plan", "--lifetimes", "120ps,900ps", "--fractions", "0.6,0.2", "--irf-sigma", "45ps"]
    assert main([*call, "--noise", "0.05", "--scans", "4", "--json", "--figure",
                 str(tmp_path / "delays.png")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert sum(found["points_per_scan"]) == pytest.approx(30)
    # The sum of the relative variances is the smallest for the best delays.
    relative = [np.sum((np.array(found[k]) / found["lifetimes_ps"]) ** 2)
                for k in ("lifetimes_err_ps", "lifetimes_err_spread_ps")]
    assert relative[0] < relative[1]
    assert main(call) == 2
    assert "--noise" in capsys.readouterr().err
