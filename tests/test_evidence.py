"""Evidence, intervals and errors of few repeats: against closed forms, against independent
integrations, and against how often stated odds are right.
"""

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import dblquad, quad
from scipy.stats import gamma, multivariate_normal, norm

from perovskite_polaron.analysis.scenario_curves import Curves, Priors
from perovskite_polaron.analysis.scenario_fit import Problem
from perovskite_polaron.analysis.scenarios import Scenario, mixtures
from perovskite_polaron.cli.main import main
from perovskite_polaron.errors import InputError
from perovskite_polaron.measured.readers import read_scans
from perovskite_polaron.measured.repeats import combine
from perovskite_polaron.measured.scan import DOF, Scan
from perovskite_polaron.measured.scatter import pool

E = np.arange(0.0, 40.0, 0.5)
GRID = np.arange(-20.0, 60.0, 0.1)
NOISE = 0.01
FIXED = Priors(0.0, 0.0)


def bumps(*parts, at=E):
    return sum(a * np.exp(-((at - c) ** 2) / 2 / w**2) for a, c, w in parts)


FIRST = ((1.0, 8, 1.5), (-0.7, 14, 2), (0.5, 27, 3))
SECOND = ((0.8, 9, 2.5), (-0.9, 20, 3))


def scenario(name, parts, kind="structure"):
    return Scenario(name, GRID, bumps(*parts, at=GRID), kind=kind)


ONE, OTHER = scenario("one", FIRST), scenario("other", SECOND)
EDGE, SAME = scenario("edge", SECOND, "shift"), scenario("same", FIRST, "measured")


def scan(y, dof=np.inf):
    return Scan(E, y, np.full(len(E), NOISE**2), dof=dof)


def noisy(y, seed):
    return y + NOISE * np.random.default_rng(seed).normal(size=len(E))


def fitted(y, hypotheses, priors=FIXED, dof=np.inf):
    return Problem(scan(y, dof), hypotheses, priors).fit(y)


def sigma_of(y, x):
    """The prior's width of a strength: it makes the change as large as the transient."""
    return np.sqrt(max(y @ y / NOISE**2, len(E)) / (x @ x / NOISE**2))


def test_evidence_of_a_linear_model_is_the_closed_form():
    """One strength of either sign: data are normal with covariance V + σ² x xᵀ."""
    x = bumps(*SECOND)
    for true in (0.0, 0.003, 0.02, 0.3):
        y = noisy(true * x, 1)
        found = fitted(y, [EDGE])
        covariance = NOISE**2 * np.eye(len(E)) + sigma_of(y, x) ** 2 * np.outer(x, x)
        exact = multivariate_normal(np.zeros(len(E)), covariance).logpdf(y) - norm(
            0, NOISE).logpdf(y).sum()
        assert found.to_null(found.fits[0]) == pytest.approx(exact, abs=1e-6)


@pytest.mark.parametrize("true", [0.0, 0.01, 0.05])
def test_evidence_of_positive_strengths_is_an_integral(true):
    x, other = bumps(*FIRST), bumps(*SECOND)
    y = noisy(true * x + true / 3 * other, 2)
    alone, pair = (fitted(y, [h]) for h in (ONE, (ONE, OTHER)))
    a, b = sigma_of(y, x), sigma_of(y, other)

    def relative(s, t):
        misfit = ((y - s * x - t * other) ** 2).sum() - (y**2).sum()
        return np.exp(-misfit / 2 / NOISE**2)

    s0, t0 = pair.fits[0].strengths
    width = 8 * NOISE / 2
    ends = [max(s0 - width, 0), max(s0 + width, width), max(t0 - width, 0), max(t0 + width, width)]
    exact = quad(lambda s: relative(s, 0) * 2 * norm.pdf(s, 0, a), max(
        alone.fits[0].strength - width, 0), alone.fits[0].strength + width, epsabs=0)[0]
    assert alone.to_null(alone.fits[0]) == pytest.approx(np.log(exact), abs=1e-6)
    both = dblquad(lambda t, s: relative(s, t) * 4 * norm.pdf(s, 0, a) * norm.pdf(t, 0, b),
                   *ends, epsabs=0, epsrel=1e-8)[0]
    assert pair.to_null(pair.fits[0]) == pytest.approx(np.log(both), abs=1e-6)


def test_evidence_with_errors_of_few_repeats_is_an_integral_over_their_size():
    """The precision of the points has a gamma distribution; a strength's prior goes with it."""
    x, dof = bumps(*SECOND), 12.0
    y = noisy(0.02 * x, 3)
    found = fitted(y, [EDGE], dof=dof)
    errors = NOISE**2 * (dof - 2) / (dof - 4)
    size = np.sqrt(max(y @ y / errors, len(E)) / (x @ x / errors))

    def marginal(s):
        def at(precision):
            covariance = (errors * np.eye(len(E)) + s**2 * np.outer(x, x)) / precision
            return np.exp(multivariate_normal(np.zeros(len(E)), covariance).logpdf(y) - 230
                          ) * gamma(dof / 2, scale=2 / dof).pdf(precision)

        return quad(at, 0, 8, epsabs=0, epsrel=1e-9, points=[0.5, 1, 2])[0]

    exact = np.log(marginal(size) / marginal(0.0))
    assert found.to_null(found.fits[0]) == pytest.approx(exact, abs=1e-6)


def test_a_free_axis_is_integrated_as_an_independent_quadrature_does():
    priors = Priors(0.3, 0.0, 0.0, 0.02)
    y = noisy(0.02 * bumps(*SECOND), 4)
    found = fitted(y, [EDGE], priors)
    x0 = bumps(*SECOND)
    size = sigma_of(y, x0)
    curves = Curves(EDGE, E, 0.0, priors)

    def evidence(stretch, shift):
        middle = np.array([shift + stretch * curves.middle_eV])
        x = curves.at(middle, np.array([stretch]), np.zeros(1), np.ones(1))[0, 0, 0, 0] / NOISE
        gain = 1 + size**2 * (x @ x)
        along = x @ y / NOISE
        return (np.exp(size**2 * along**2 / gain / 2) / np.sqrt(gain)
                * norm.pdf(shift, 0, 0.3) * norm.pdf(stretch, 0, 0.02))

    steps = np.linspace(-1, 1, 81)
    table = [[evidence(0.06 * k, 1.5 * s) for k in steps] for s in steps]
    exact = np.trapezoid(np.trapezoid(table, 0.06 * steps, axis=1), 1.5 * steps)
    kept = (1 - 2 * norm.sf(3)) * (1 - 2 * norm.sf(5))
    assert found.to_null(found.fits[0]) == pytest.approx(np.log(exact / kept), abs=2e-2)


def test_intervals_are_those_of_an_independent_sampler():
    emcee = pytest.importorskip("emcee")
    priors = Priors(0.3, 0.0)
    y = noisy(0.05 * bumps(*FIRST), 5)
    fit = fitted(y, [ONE], priors).fits[0]
    curves = Curves(ONE, E, 0.0, priors)

    def log_density(theta):
        x = curves.at(np.array([theta[1]]), np.zeros(1), np.zeros(1), np.ones(1))[0, 0, 0, 0]
        return -0.5 * (((y - theta[0] * x) / NOISE) ** 2).sum() - 0.5 * (theta[1] / 0.3) ** 2

    sampler = emcee.EnsembleSampler(16, 2, log_density)
    start = emcee.State(np.array([fit.strength, fit.shift_eV])
                        + 0.01 * np.random.default_rng(0).normal(size=(16, 2)),
                        random_state=np.random.RandomState(0).get_state())
    sampler.run_mcmc(start, 1500)
    drawn = sampler.get_chain(discard=300, flat=True)[:, 0]
    width = fit.interval68[1] - fit.interval68[0]
    for ends, tails in ((fit.interval68, (15.865, 84.135)), (fit.interval95, (2.5, 97.5))):
        np.testing.assert_allclose(ends, np.percentile(drawn, tails), atol=0.06 * width)


def test_a_stretched_calculation_is_found():
    priors = Priors(0.1, 0.0, 0.0, 0.03)
    curves = Curves(ONE, E, 0.0, priors)
    stretch = np.array([0.04])
    longer = curves.at(stretch * curves.middle_eV, stretch, np.zeros(1), np.ones(1))[0, 0, 0, 0]
    np.testing.assert_allclose(longer, bumps(*FIRST, at=E / 1.04), atol=2e-3)
    fit = fitted(0.2 * longer, [ONE], priors).fits[0]
    assert fit.stretch == pytest.approx(0.04, abs=2e-3)
    assert fit.strength == pytest.approx(0.2, rel=0.02)
    rigid = fitted(0.2 * longer, [ONE], Priors(0.1, 0.0)).fits[0]
    assert rigid.chi2 > fit.chi2 + 50


def test_a_nuisance_with_a_prior_is_no_full_parameter():
    """One curve as a structure, which may shift and broaden, and as a measured change, which may
    not: neither is ten times as probable (BIC said 44 to 52 times).
    """
    for seed in range(5):
        y = noisy(0.05 * bumps(*FIRST), [6, seed])
        found = Problem(scan(y), [SAME, ONE], Priors(0.2, 0.3)).fit(y)
        ln = {f.name: f.ln_evidence for f in found.fits}
        assert np.log(0.2) < ln["same"] - ln["one"] < np.log(8)


def test_stated_odds_are_right_as_often_as_they_say():
    """Two hypotheses of like shape, one of them true, strengths and shifts drawn: of the cases
    called about 10 to 1 nine in ten are true.
    """
    near = scenario("near", ((1.0, 8.3, 1.6), (-0.65, 14, 2.2), (0.45, 26.5, 3.2)))
    priors = Priors(0.2, 0.0)
    problem = Problem(scan(bumps(*FIRST)), [ONE, near], priors)
    curves = [Curves(s, E, 0.0, priors) for s in (ONE, near)]
    right = called = 0
    for seed in range(1500):
        rng = np.random.default_rng([seed, 8])
        truth = int(rng.integers(2))
        shift = 0.2 * rng.normal(size=1)
        clean = curves[truth].at(shift, np.zeros(1), np.zeros(1), np.ones(1))[0, 0, 0, 0]
        y = abs(0.03 * rng.normal()) * clean + NOISE * rng.normal(size=len(E))
        ln = {f.name: f.ln_evidence for f in problem.fit(y).fits}
        odds = ln["one"] - ln["near"]
        if np.log(6) < abs(odds) < np.log(16):
            called += 1
            right += (odds > 0) == (truth == 0)
    assert called > 100
    assert 0.85 <= right / called <= 0.97


def repeats(count, clean, rng, law=1.0):
    return [Scan(E, clean + NOISE * law * rng.normal(size=len(E))) for _ in range(count)]


@pytest.mark.parametrize("count", [2, 3, 4, 10])
def test_few_repeats_cover_the_truth_and_claim_nothing_from_noise(count):
    """With the scatter of each point as its exact variance 3 repeats covered 14 % and half of the
    noise was claimed.
    """
    clean = 0.03 * bumps(*FIRST)
    law = np.exp(bumps((0.7, 20, 8)))
    inside, claimed = np.zeros(2), 0
    for seed in range(250):
        rng = np.random.default_rng([seed, count])
        mean = combine(repeats(count, clean, rng, law))
        fit = Problem(mean, [ONE], FIXED).fit(mean.intensity).fits[0]
        inside += [low <= 0.03 <= high for low, high in (fit.interval68, fit.interval95)]
        dark = combine(repeats(count, 0 * clean, rng, law))
        hypotheses = mixtures([ONE, OTHER, EDGE])
        claimed += Problem(dark, hypotheses, FIXED).fit(dark.intensity).best is not None
    # Three standard deviations of 250 draws.
    assert abs(inside[0] / 250 - 0.6827) < 0.09
    assert abs(inside[1] / 250 - 0.95) < 0.041
    assert claimed <= 1


def test_the_law_of_the_scatter_is_chosen_by_the_data():
    rng = np.random.default_rng(0)
    counting = 0.1 + 1 / (1 + np.exp(-(E - 15) / 2))
    laws = {"constant": np.ones(len(E)), "counting": counting}
    for name, law in laws.items():
        stack = np.sqrt(law) * rng.normal(size=(400, 3, len(E)))
        found = [pool(one.var(axis=0, ddof=1), 2, [counting]) for one in stack]
        variance, dof = (np.array(column) for column in zip(*found, strict=True))
        assert np.abs(np.log(variance.mean(axis=0) / law)).max() < 0.15
        # All degrees of freedom over one coefficient, or two.
        assert np.median(dof) == 2 * len(E) / {"constant": 1, "counting": 2}[name]


def test_a_spike_in_one_repeat_keeps_its_own_scatter():
    for seed in range(5):
        stack = np.random.default_rng(seed).normal(size=(3, len(E)))
        stack[1, 20] += 60
        squares = stack.var(axis=0, ddof=1)
        variance, dof = pool(squares, 2)
        assert variance[20] == squares[20]
        assert np.delete(variance, 20).mean() == pytest.approx(1, abs=0.35)
        assert dof <= 2 * (len(E) - 1)


def test_what_is_known_of_the_errors_goes_with_the_file(tmp_path, capsys):
    rng = np.random.default_rng(2)
    files = []
    for k, one in enumerate(repeats(3, bumps(*FIRST), rng)):
        path = tmp_path / f"br_100ps_{k}.csv"
        np.savetxt(path, np.column_stack([E + 13440, one.intensity]), delimiter=",",
                   header="energy_eV,signal", comments="")
        files.append(str(path))
    assert main(["treat", *files, "--edge", "Br-K", "--out", str(tmp_path / "br.xdi")]) == 0
    (again,) = read_scans([tmp_path / "br.xdi"])
    assert again.dof == combine(read_scans(files)).dof >= len(E)
    text = (tmp_path / "br.xdi").read_text()
    old = "\n".join(line for line in text.splitlines() if DOF not in line)
    (tmp_path / "old.xdi").write_text(old + "\n")
    (scatter,) = read_scans([tmp_path / "old.xdi"])
    assert scatter.dof == 2
    near = replace(scatter, energy_eV=E)
    with pytest.raises(InputError, match="rest on 2 degrees of freedom, too few"):
        Problem(near, [ONE], FIXED)
    capsys.readouterr()
