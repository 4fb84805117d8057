"""Strengths keep to what is physical: never negative, no more than the whole sample; intervals at
the bound; mixtures of more than two positive parts.
"""

import numpy as np
import pytest
from scipy.stats import chi2, multivariate_normal
from test_electronic import (
    ENERGY, FILLING, FIXED, GRID, OTHER, SHIFT, STRUCTURE, THEORY, line, problem, seen)

from perovskite_polaron.analysis.evidence import _ln_positive
from perovskite_polaron.analysis.scenario_curves import Priors
from perovskite_polaron.analysis.scenario_fit import Problem
from perovskite_polaron.analysis.scenarios import Scenario, mixtures, named, polaron
from perovskite_polaron.analysis.verdict import judge, statements
from perovskite_polaron.errors import InputError
from perovskite_polaron.measured.scan import Scan
from perovskite_polaron.spectra.amplitude import AmplitudeSpectra

HEAT = Scenario("heated lattice", GRID,
                -0.02 * np.cos(GRID / 4) * np.exp(-((GRID - 10) ** 2) / 300), kind="measured")
FAMILY = (STRUCTURE, HEAT, FILLING, SHIFT)


def bounded_least_squares(design, data, positive):
    """The optimum with some amplitudes not negative, by another program."""
    from scipy.optimize import lsq_linear

    low = np.where(positive, 0.0, -np.inf)
    return lsq_linear(design, data, (low, np.inf), tol=1e-14).x


def test_a_negative_strength_is_zero_and_the_rest_is_that_of_bounded_least_squares():
    error, rng = 3e-4, np.random.default_rng(1)
    one = problem([FAMILY], error)
    design = np.array([np.interp(ENERGY, GRID, p.difference) for p in FAMILY]).T / error
    held = 0
    for heat, filled in ((-0.3, 0.5), (0.2, -0.6), (-0.2, -0.4), (0.2, 0.5)):
        data = seen({STRUCTURE: 0.2, HEAT: heat, FILLING: filled, SHIFT: -0.01})
        data = data + error * rng.normal(size=len(data))
        (fit,) = one.fit(data).fits
        expected = bounded_least_squares(design, data / error, np.array([True] * 3 + [False]))
        np.testing.assert_allclose(fit.strengths, expected, rtol=1e-4, atol=1e-7)
        miss = design @ fit.strengths - data / error
        assert fit.chi2 == pytest.approx(miss @ miss, rel=1e-6)
        np.testing.assert_allclose(fit.model, error * design @ fit.strengths, atol=1e-7)
        assert (fit.intervals95[:3] >= 0).all()
        assert (fit.intervals95[:, 0] <= fit.strengths).all()
        assert (fit.strengths <= fit.intervals95[:, 1]).all()
        assert fit.possible == (heat > 0 < filled)
        held += int((fit.strengths[:3] == 0).sum())
    assert held == 4


def test_the_interval_at_the_bound_is_the_rise_of_chi2_with_all_else_fitted():
    error = 3e-4
    pair = (STRUCTURE, FILLING)
    design = np.array([np.interp(ENERGY, GRID, p.difference) for p in pair]).T / error
    data = seen({STRUCTURE: 0.2, FILLING: -0.04})
    (fit,) = problem([pair], error).fit(data).fits
    assert fit.strengths[1] == 0.0

    def profile(value):
        left = data / error - design[:, 1] * value
        along = design[:, 0] @ left / (design[:, 0] @ design[:, 0])
        return np.sum((left - design[:, 0] * along) ** 2)

    for ends, level in ((fit.intervals68[1], 0.6827), (fit.intervals95[1], 0.95)):
        assert ends[0] == 0.0
        assert profile(ends[1]) - profile(0.0) == pytest.approx(chi2.ppf(level, 1), rel=1e-3)


@pytest.mark.parametrize("true", [0.0, 0.01, 0.05])
def test_intervals_near_the_bound_cover(true):
    """At zero, half an error above, and far: never less often than they say."""
    error, rng = 3e-4, np.random.default_rng(3)
    one = problem([(STRUCTURE, FILLING)], error, priors=Priors(0.1, 0.0, 0.0, 0.0))
    clean = seen({STRUCTURE: 0.2, FILLING: true})
    inside = np.zeros(2)
    for _ in range(200):
        (fit,) = one.fit(clean + error * rng.normal(size=len(clean))).fits
        inside += [low <= true <= high for low, high in (fit.intervals68[1], fit.intervals95[1])]
    assert inside[0] / 200 > 0.68 - 0.08
    assert inside[1] / 200 > 0.95 - 0.035


def test_an_excited_fraction_is_not_above_one():
    """Where strengths are fractions: an interval ends at one; what needs more is no hypothesis; a
    mode of a single amplitude, whose Q may be larger, and carriers have no bound.
    """
    error = 3e-4
    mode = polaron("mode", AmplitudeSpectra(GRID, [0.5], [STRUCTURE.difference]))
    scan = Scan(ENERGY, np.zeros(len(ENERGY)), np.full(len(ENERGY), error**2))
    for part, size, possible in ((STRUCTURE, 0.999, True), (STRUCTURE, 1.5, False),
                                 (mode, 1.5, True), (FILLING, 7.0, True)):
        data = size * np.interp(ENERGY, GRID, part.difference)
        bound = Problem(scan, [part], FIXED, fractions=True).fit(data)
        free = Problem(scan, [part], FIXED).fit(data)
        assert free.best is not None
        assert (bound.best is not None) == possible
        (fit,) = bound.fits
        if part is STRUCTURE:
            assert fit.intervals95[0, 1] == 1.0
            assert free.fits[0].intervals95[0, 1] > 1.0
        else:
            np.testing.assert_allclose(fit.intervals95, free.fits[0].intervals95)
    said = statements(Problem(scan, [STRUCTURE], FIXED, fractions=True).fit(
        1.5 * np.interp(ENERGY, GRID, STRUCTURE.difference)))
    assert any("more than there is" in words for words in said)


def test_mixtures_of_more_than_two_positive_parts():
    asked = mixtures([STRUCTURE, OTHER, HEAT, FILLING, SHIFT], ["bend+heated"])
    names = [" + ".join(p.name for p in h) for h in asked]
    assert names[-1] == "bend + heated lattice + filling + rigid edge shift"
    assert "bend + heated lattice + filling" in names
    assert "bend + heated lattice" in names
    assert len({*names}) == len(names)
    (four,) = named("shift + filling + twist + heated", [OTHER, HEAT, FILLING, SHIFT])
    assert four == (OTHER, HEAT, FILLING, SHIFT), "in the order of the text, but carriers and shift"
    with pytest.raises(InputError, match="does not name two different scenarios"):
        named("bend+bend+bend", [STRUCTURE, HEAT])
    plus = Scenario("a+b", GRID, STRUCTURE.difference)
    assert named("a+b+twist", [plus, OTHER]) == [(plus, OTHER)]


def test_the_full_mixture_is_found_where_it_is_and_not_claimed_where_it_is_not():
    error = 3e-4
    hypotheses = mixtures([*THEORY.scenarios, HEAT, SHIFT], ["bend+heated"])
    one, rng = problem(hypotheses, error), np.random.default_rng(8)
    for truth in ({STRUCTURE: 0.2, HEAT: 0.3, FILLING: 0.5, SHIFT: 0.02},
                  {STRUCTURE: 0.2, FILLING: 0.5}, {STRUCTURE: 0.2, HEAT: 0.3}):
        best = [one.fit(seen(truth) + error * rng.normal(size=len(ENERGY))).best
                for _ in range(15)]
        assert sum(b is not None and b.parts == tuple(truth) for b in best) >= 14, truth
    collinear = Scenario("twin", GRID, FILLING.difference + 1e-4 * line(10), kind="measured")
    found = problem([(STRUCTURE, collinear, FILLING)], error).fit(
        seen({STRUCTURE: 0.2, FILLING: 0.5}))
    assert [row[:2] for row in found.collinear()] == [("twin", "filling")]


@pytest.mark.parametrize("count", [3, 4])
def test_the_chance_that_all_are_positive(count):
    """Of three and four normal variables, against another program; far tails included."""
    rng = np.random.default_rng(count)
    for scale in (1.0, 2.0):
        for _ in range(6):
            root = rng.normal(size=(count, count + 1))
            covariance = root @ root.T
            size = np.sqrt(covariance.diagonal())
            correlation = covariance / np.outer(size, size)
            z = scale * rng.normal(size=count)
            other = multivariate_normal(np.zeros(count), correlation, maxpts=200_000,
                                        abseps=1e-10).cdf(z)
            ours = float(_ln_positive(z[None], correlation[None])[0])
            if other > 1e-6:
                assert ours == pytest.approx(np.log(other), abs=5e-3)
            else:
                assert ours < np.log(1e-5)


def test_judge_knows_when_strengths_are_fractions(monkeypatch):
    scan = Scan(ENERGY, seen({STRUCTURE: 1.5}), np.full(len(ENERGY), 1e-8))
    options = {"edge_eV": 0.0, "shift_sigma_eV": 0.0, "width_sigma_eV": 0.0, "stretch_sigma": 0.0}
    found = judge(scan, THEORY, **options).found
    assert found.best is not None
    monkeypatch.setattr("perovskite_polaron.analysis.verdict._normalised",
                        lambda *_: (True, "divided alike"))
    judged = judge(scan, THEORY, **options)
    assert "bend" not in (judged.found.best.name if judged.found.best else "")
    assert any("more than there is" in words for words in judged.words)
