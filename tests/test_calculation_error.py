"""The calculation error in a comparison: its laws, what it leaves of odds and intervals, and where
it is said.
"""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from coverage_calculation import coverage

from perovskite_polaron.analysis.scenario_curves import Priors
from perovskite_polaron.analysis.scenario_fit import Problem
from perovskite_polaron.analysis.scenarios import Scenario, ScenarioSet, polaron
from perovskite_polaron.analysis.verdict import statements
from perovskite_polaron.analysis.weights import weigh, with_shapes
from perovskite_polaron.cli.main import main
from perovskite_polaron.measured.scan import Scan
from perovskite_polaron.spectra.amplitude import AmplitudeSpectra
from perovskite_polaron.spectra.budget import ErrorBudget, Source, write_budget
from perovskite_polaron.workflow.results import read_results
from perovskite_polaron.workflow.scenarios import BUILT_IN, study_scenarios
from perovskite_polaron.workflow.spectra import budget_key, load_results

E = np.arange(0.0, 40.0, 0.5)
GRID = np.arange(-20.0, 60.0, 0.2)
NOISE = 0.002
FIXED = Priors(0.0, 0.0)


def bumps(*parts, at=GRID):
    return sum(a * np.exp(-((at - c) ** 2) / 2 / w**2) for a, c, w in parts)


SHAPE = bumps((1.0, 8, 1.5), (-0.7, 14, 2), (0.5, 27, 3))
CHANGES = {"spectrum-kpoints": bumps((0.2, 7, 2), (-0.15, 16, 3), (0.1, 30, 3)),
           "cutoff": bumps((0.08, 10, 2), (0.08, 24, 3))}
ONE = Scenario("one", GRID, SHAPE, errors=CHANGES)
EXACT = replace(ONE, errors={})
OTHER = Scenario("other", GRID, bumps((0.8, 9, 2.5), (-0.9, 20, 3)))


def scan(y, noise=NOISE):
    return Scan(E, y, np.full(len(E), noise**2))


def at(curve):
    return np.interp(E, GRID, curve)


def fitted(y, hypotheses, priors=FIXED, noise=NOISE):
    return Problem(scan(y, noise), hypotheses, priors).fit(y)


def test_weights_make_noise_and_calculation_error_white():
    """Against the dense covariance: white is W with W C Wᵀ = 1, and its determinant is C's."""
    errors = np.stack([at(row) for row in CHANGES.values()])[:, :, None]
    noise = NOISE**2 * (np.eye(len(E)) + 0.3)
    for given, dense in ((np.full(len(E), 1 / NOISE), NOISE**2 * np.eye(len(E))),
                         (np.linalg.inv(np.linalg.cholesky(noise)), noise)):
        found = weigh(given, errors, np.array([0.1]))
        whole = dense + 0.01 * np.einsum("kmp,knp->mn", errors, errors)
        np.testing.assert_allclose(found.whiten @ whole @ found.whiten.T, np.eye(len(E)),
                                   atol=1e-9)
        ratio = np.linalg.slogdet(whole)[1] - np.linalg.slogdet(dense)[1]
        assert found.ln_determinant == pytest.approx(ratio, rel=1e-9)
        np.testing.assert_allclose(found.errors[:, :, 0], errors[:, :, 0] @ found.whiten.T)


def test_errors_of_any_shape_are_as_large_as_the_curves():
    """Of each part alone, one variance at all energies, and correlated over neighbouring ones."""
    curves = np.stack([[at(CHANGES["cutoff"]), at(SHAPE)], [at(SHAPE), 0 * E]]).swapaxes(1, 2)
    found = with_shapes(curves, E)
    np.testing.assert_array_equal(found[:2], curves)
    covariance = np.einsum("kmp,knq->pqmn", found[2:], found[2:])
    assert not covariance[0, 1].any()
    for part, own in ((0, covariance[0, 0]), (1, covariance[1, 1])):
        expected = (curves[:, :, part] ** 2).sum(axis=0).mean()
        np.testing.assert_allclose(np.diag(own), expected)
        np.testing.assert_allclose(own[0, :30], expected * np.exp(-E[:30] / 5.0))


def test_intervals_cover_what_the_model_draws():
    """Calculations that are wrong as the budget says, by curves and by shapes of their own."""
    rows = with_shapes(np.stack([at(row) for row in CHANGES.values()])[:, :, None], E)[:, :, 0]
    problem = Problem(scan(E), [ONE], FIXED)
    inside = []
    for seed in range(200):
        rng = np.random.default_rng([seed, 5])
        y = 0.1 * (at(SHAPE) + rng.normal(size=len(rows)) @ rows) + NOISE * rng.normal(size=len(E))
        (fit,) = problem.fit(y).fits
        inside.append([low <= 0.1 <= high for low, high in (fit.interval68, fit.interval95)])
    within = np.mean(inside, axis=0)
    assert within == pytest.approx([0.68, 0.95], abs=0.06)


def test_it_scales_with_the_strength_and_adds_in_square():
    """Twice the change has twice the calculation error and the same statistical one."""
    like = replace(ONE, errors={"cell": 0.05 * SHAPE})
    weak, strong = (fitted(s * at(SHAPE), [like], noise=1e-4).fits[0] for s in (0.1, 0.2))
    assert strong.strength_err_calculation == pytest.approx(2 * weak.strength_err_calculation,
                                                            rel=0.02)
    assert strong.strength_err == pytest.approx(weak.strength_err, rel=1e-3)
    alone = fitted(0.1 * at(SHAPE), [EXACT], noise=1e-4).fits[0]
    assert weak.strength_err == pytest.approx(alone.strength_err, rel=1e-6)
    assert alone.strength_err_calculation is None
    low, high = weak.interval68
    assert (high - low) / 2 == pytest.approx(
        np.hypot(weak.strength_err, weak.strength_err_calculation), rel=1e-6)


def test_an_error_like_the_change_itself_is_fiellers():
    """R = ε T: the strength is measured over 1 + ε a, and has no upper limit from ε = 0.51 on."""
    for size in (0.05, 0.2):
        like = replace(ONE, errors={"cell": size * SHAPE})
        (fit,) = fitted(0.1 * at(SHAPE), [like], noise=1e-5).fits
        down, up = (abs(end - 0.1) / 0.1 for end in fit.interval95)
        assert 1 / down - 1 / up == pytest.approx(2, rel=0.02)
        # As a whole, and errors of any shape that average out to at most as much.
        least, most = (1.96 * size * factor for factor in (1, np.sqrt(2)))
        assert least / (1 + least) < down * (1 + 1e-3) < most / (1 + most)
    (fit,) = fitted(0.1 * at(SHAPE), [replace(ONE, errors={"cell": 0.6 * SHAPE})]).fits
    assert fit.interval95[1] == np.inf


def test_a_scenario_is_not_excluded_for_its_numerics():
    """The truth with 1σ of its calculation error on it, against a shape that is wrong: without the
    budget it "does not describe the data", and a mixture is claimed instead.
    """
    y = 0.1 * at(SHAPE + CHANGES["spectrum-kpoints"] - CHANGES["cutoff"])
    y += NOISE * np.random.default_rng(3).normal(size=len(E))
    without, having = (fitted(y, [one, OTHER, (one, OTHER)]) for one in (EXACT, ONE))
    assert without.best.name == "one + other"
    assert any("does not describe the data" in words for words in statements(without))
    assert having.best.name == "one"
    assert not any("does not describe the data" in words for words in statements(having))
    assert having.fits[0].aic < without.fits[0].aic


def test_one_setting_moves_both_parts_of_a_mixture_together():
    """With opposite changes of one setting the errors of the parts cancel in the sum, but for those
    of other shapes.
    """
    both = OTHER.difference + SHAPE
    same, opposite = (
        fitted(0.1 * at(both), [(replace(ONE, errors={"cell": 0.1 * SHAPE}),
                                 replace(OTHER, errors={"cell": sign * 0.1 * SHAPE}))]).fits[0]
        for sign in (1, -1))
    assert opposite.ln_determinant < same.ln_determinant - 3


def _series(seed):
    """A study and one that was computed otherwise: each setting moves the difference once more by
    about what the budget has, and half as much in a shape of its own.
    """
    rng = np.random.default_rng(seed)

    def moved(size):
        return size * sum(rng.normal() * bumps((1.0, c, w)) for c, w in (
            (4, 2), (9, 2), (14, 2.5), (20, 3), (27, 3), (34, 3)))

    steady = 0.5 + np.arctan(GRID) / np.pi + bumps((0.5, 1, 1.5), (0.1, 13, 3), (-0.1, 25, 3))
    settings = {"spectrum-kpoints": 0.12, "cutoff": 0.05}
    errors = {name: moved(size) for name, size in settings.items()}

    def theory(difference, known):
        sweep = AmplitudeSpectra(GRID, [2.0], [0.1 * difference])
        return ScenarioSet(GRID, steady, (polaron("polaron lo", sweep, known),))

    study = theory(SHAPE, {name: 0.1 * row for name, row in errors.items()})
    more = sum(rng.normal() * errors[name] + moved(size / 2) for name, size in settings.items())
    return study, theory(SHAPE + more, {})


@pytest.mark.parametrize("window", [(13471.0, 13511.0), (13480.0, 13511.0)])
def test_other_calculations_are_covered_with_the_budget_and_not_without(window):
    found = []
    for seed in range(40):
        study, other = _series(seed)
        found.append(coverage(study, "polaron lo", other, other.scenarios[0].difference, 2.0,
                              window, 20, 2, seed, Priors(0.1, 0.0)))
    with_budget, without = (np.mean([row[case] for row in found]) for case in ("with", "without"))
    assert with_budget >= 90
    assert without <= 60


@pytest.fixture
def bundled(tmp_path):
    """The bundled results with a budget for one amplitude of the sweep: 5 % of its difference."""
    folder = tmp_path / "set"
    shutil.copytree(BUILT_IN, folder, ignore=shutil.ignore_patterns("jobs.tar.xz"))
    results = read_results(folder)
    q = next(s.amplitude_sqrt_amu_A for s in results.structures if s.name == "lo@0.1")
    energy = np.linspace(-10, 60, 141)
    row = 0.2 * np.sin(energy / 4)
    write_budget(ErrorBudget(energy, (Source("cutoff", "35Ry", "45Ry", "lo@0.1", q),), row[None],
                             budget_key(results.study, results.study.spectra, ["lo"])), folder)
    return folder


def test_a_study_with_a_budget_says_both_errors_and_one_without_says_so(bundled, tmp_path, capsys):
    theory = study_scenarios(*load_results(bundled)[:2])
    lo, cubic = theory.scenarios
    # In units of the difference: at 0.20 Å four times that at 0.10 Å.
    top = theory.steady_state.max()
    np.testing.assert_allclose(lo.errors["cutoff"] / top, 0.008 * np.sin(lo.energy_eV / 4),
                               atol=2e-5)
    assert not cubic.errors
    energy = np.arange(13481.0, 13510.0, 1.0)
    offset = 13472 - theory.first_maximum_eV
    y = 0.1 * np.interp(energy - offset, lo.energy_eV, lo.sweep.differences[2])
    error = np.full(len(energy), np.abs(y).max() / 50)
    np.savetxt(tmp_path / "t.csv", np.column_stack([energy, y, error]), delimiter=",",
               header="energy_eV,signal,error", comments="")
    answers, plain = {}, tmp_path / "plain"
    shutil.copytree(BUILT_IN, plain, ignore=shutil.ignore_patterns("jobs.tar.xz"))
    for study in (bundled, plain):
        call = ["compare", str(tmp_path / "t.csv"), "--study", str(study), "--edge",
                f"{offset}eV", "--width-sigma", "0eV", "--stretch-sigma", "0", "--no-mixtures"]
        main([*call, "--json"])
        row = {r["name"]: r for r in json.loads(capsys.readouterr().out)["scenarios"]}
        main(call)
        answers[study] = row["polaron lo"], capsys.readouterr().out
        assert row["cubic"]["strength_err_calculation"] is None
    (known, said), (unknown, without) = answers[bundled], answers[plain]
    assert known["calculation_error"] == "estimated"
    assert known["f_q2_err_calculation"] / known["strength_err_calculation"] == pytest.approx(
        lo.amplitude_sqrt_amu_A**2)
    assert known["f_q2_err"] == pytest.approx(unknown["f_q2_err"], rel=1e-6)
    assert unknown["calculation_error"] == "not estimated"
    assert unknown["f_q2_err_calculation"] is None
    assert "(statistical) ±" in said
    assert "(calculation)" in said
    assert "(statistical; calculation error not estimated)" in without
    assert "not estimated" in said  # of the cubic phase
