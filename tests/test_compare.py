"""Scenarios against transients: coverage, the right winner, no claim from noise, f and Q apart or
not, plain words.
"""

import json

import numpy as np
import pytest

from perovskite_polaron.analysis.scenario_curves import Curves, Priors
from perovskite_polaron.analysis.scenario_fit import Problem
from perovskite_polaron.analysis.scenarios import (
    Scenario, ScenarioSet, heated_lattice, mixtures, polaron, read_scenarios, rigid_shift)
from perovskite_polaron.analysis.verdict import statements
from perovskite_polaron.cli.main import main
from perovskite_polaron.errors import ComputationError, InputError
from perovskite_polaron.measured.scan import Scan
from perovskite_polaron.spectra.amplitude import AmplitudeSpectra

GRID = np.arange(-30.0, 60.0, 0.1)
E = np.arange(13470.0, 13510.0, 0.5)
OFFSET = 13480.0
NOISE = 0.002
# Shift alone: the suite's 500 transients stay quick. coverage_scenarios.py draws every nuisance
# parameter.
SHIFT_ONLY = Priors(0.2, 0.0)


def bump(*parts):
    return sum(a * np.exp(-((GRID - c) ** 2) / 2 / w**2) for a, c, w in parts)


STEADY = 0.5 + np.arctan(GRID + 8) / np.pi + bump((0.4, -7, 1.5), (0.1, 5, 3), (-0.08, 17, 3),
                                                  (0.07, 28, 3))
SHAPE = bump((0.1, -12, 1.5), (-0.12, -8, 1.2), (0.08, -4, 1.5), (-0.04, 5, 3), (0.05, 17, 3),
             (-0.04, 28, 3))
# What grows with the fourth power of the amplitude has another shape.
FOURTH = bump((0.08, -9, 2), (-0.06, 2, 3), (0.05, 12, 3))
AMPLITUDES = np.array([0.2, 0.35, 0.5])
SWEEP = AmplitudeSpectra(GRID, AMPLITUDES,
                         [(q / 0.5) ** 2 * SHAPE + (q / 0.5) ** 4 * FOURTH for q in AMPLITUDES])
POLARON = polaron("polaron", AmplitudeSpectra(GRID, [0.5], [SHAPE]))
SHAPED = polaron("polaron", SWEEP)
CUBIC = Scenario("cubic", GRID, bump((-0.1, -8, 2), (0.09, 15, 4), (-0.08, 22, 3)))
THEORY = ScenarioSet(GRID, STEADY, (POLARON, CUBIC))
SHIFT = rigid_shift(THEORY)
ALL = mixtures([POLARON, CUBIC, SHIFT])


def compare(transient, hypotheses, priors=None, offset_eV=0.0, fraction=None):
    return Problem(transient, hypotheses, priors, offset_eV, fraction).fit(transient.intensity)


def write_scenarios(path, found):
    rows = [{"name": s.name, "difference": s.difference.tolist()} if s.sweep is None else
            {"name": s.name, "amplitudes_sqrt_amu_A": s.sweep.amplitudes_sqrt_amu_A.tolist(),
             "differences": s.sweep.differences.tolist()} for s in found.scenarios]
    path.write_text(json.dumps({"energy_eV": found.energy_eV.tolist(),
                                "steady_state": found.steady_state.tolist(), "scenarios": rows}))
    return path


def curve(difference, shift=0.0):
    return np.interp(E - OFFSET - shift, GRID, difference)


def scan(intensity, noise=NOISE, seed=None):
    rng = np.random.default_rng(seed)
    added = 0 if seed is None else noise * rng.normal(size=len(E))
    return Scan(E, intensity + added, np.full(len(E), noise**2), "transient")


def test_coverage_winner_and_no_claim_from_noise():
    """500 transients of known strength, and 500 of noise alone, against three scenarios and two
    mixtures.
    """
    problem = Problem(scan(curve(SHAPE)), ALL, SHIFT_ONLY, OFFSET)
    inside68 = inside95 = won = claimed = 0
    for seed in range(500):
        rng = np.random.default_rng([seed, 7])
        clean = 0.1 * curve(SHAPE, 0.2 * rng.normal())
        fits = problem.fit(clean + NOISE * rng.normal(size=len(E)))
        own = next(f for f in fits.fits if f.name == "polaron")
        inside68 += own.interval68[0] <= 0.1 <= own.interval68[1]
        inside95 += own.interval95[0] <= 0.1 <= own.interval95[1]
        won += fits.best is own
        claimed += problem.fit(NOISE * rng.normal(size=len(E))).best is not None
    assert abs(inside68 / 500 - 0.68) <= 0.05
    assert abs(inside95 / 500 - 0.95) <= 0.025
    assert won >= 475
    assert claimed == 0


def test_exact_data_give_the_strength():
    best = compare(scan(0.1 * curve(SHAPE, 0.05), 1e-6), ALL, None, OFFSET).best
    assert best.name == "polaron"
    assert best.strength == pytest.approx(0.1, rel=1e-4)
    assert best.shift_eV == pytest.approx(0.05, abs=1e-3)
    assert best.product == pytest.approx(0.1 * 0.25, rel=1e-4)
    assert best.amplitude is None


def test_an_independent_optimiser_finds_the_same_optimum():
    from scipy.optimize import least_squares

    data = scan(0.1 * curve(SHAPE, 0.1) + 0.02 * curve(CUBIC.difference, 0.1), seed=4)
    fit = compare(data, [(POLARON, CUBIC)], SHIFT_ONLY, OFFSET).fits[0]

    def residual(p):
        model = p[0] * curve(SHAPE, p[2]) + p[1] * curve(CUBIC.difference, p[2])
        return np.r_[(data.intensity - model) / NOISE, p[2] / 0.2]

    found = least_squares(residual, [0.05, 0.05, 0.0], xtol=1e-12, ftol=1e-12)
    assert fit.chi2 == pytest.approx(2 * found.cost, abs=0.05)
    np.testing.assert_allclose(fit.strengths, found.x[:2], atol=0.1 * fit.strength_err)
    errors = np.sqrt(np.diag(np.linalg.inv(found.jac.T @ found.jac)))[:2]
    np.testing.assert_allclose((fit.intervals68[:, 1] - fit.intervals68[:, 0]) / 2, errors,
                               rtol=0.1)


def test_extra_width_is_found():
    curves = Curves(POLARON, E, OFFSET, Priors(0.2, 0.5))
    broad = curves.at(np.zeros(1), np.zeros(1), np.array([1.0]), np.ones(1))[0, 0, 0, 0]
    fit = compare(scan(0.1 * broad, 1e-5), [POLARON], Priors(0.2, 0.5), OFFSET).fits[0]
    assert fit.width_fwhm_eV == pytest.approx(1.0, abs=0.02)
    assert fit.strength == pytest.approx(0.1, rel=1e-2)


def test_an_uncertain_scale_widens_the_interval():
    data = scan(0.1 * curve(SHAPE))
    sharp, loose = (compare(data, [POLARON], Priors(0.2, 0.0, s), OFFSET).fits[0].strength_err
                    for s in (0.0, 0.3))
    assert loose == pytest.approx(np.hypot(sharp, 0.03), rel=0.05)


def test_a_true_mixture_and_a_red_shift_are_claimed():
    both = compare(scan(0.1 * curve(SHAPE) + 0.03 * curve(SHIFT.difference)), ALL, None,
                   OFFSET).best
    assert both.name == "polaron + rigid edge shift"
    np.testing.assert_allclose(both.strengths, [0.1, 0.03], rtol=1e-2)
    red = compare(scan(-0.03 * curve(SHIFT.difference)), ALL, None, OFFSET)
    assert red.best.name == "rigid edge shift"
    assert red.best.strength < 0
    assert "fix only that product" in " ".join(statements(red))


def test_the_shape_tells_fraction_and_amplitude_apart_only_when_it_can():
    clean = 0.3 * curve(SWEEP.at(0.4))
    best = compare(scan(clean, NOISE / 20, seed=2), [SHAPED], SHIFT_ONLY, OFFSET).best
    assert best.amplitude.q95[0] < 0.4 < best.amplitude.q95[1]
    assert best.amplitude.f95[0] < 0.3 < best.amplitude.f95[1]
    assert best.amplitude.q95[1] - best.amplitude.q95[0] < 0.1
    noisy = compare(scan(0.1 * clean, NOISE, seed=2), [SHAPED], SHIFT_ONLY, OFFSET)
    assert noisy.best.amplitude is None
    assert "only excited fraction × Q²" in " ".join(statements(noisy))


def test_a_given_fraction_gives_the_amplitude():
    clean = 0.3 * curve(SWEEP.at(0.4))
    given = compare(scan(clean), [SHAPED], SHIFT_ONLY, OFFSET, fraction=0.3).best.amplitude
    assert given.given_fraction
    assert given.q == pytest.approx(0.4, rel=5e-3)
    law = compare(scan(0.3 * curve(SHAPE)), [POLARON], SHIFT_ONLY, OFFSET, fraction=0.3).best
    assert law.amplitude.q == pytest.approx(0.5, rel=1e-3)
    with pytest.raises(ComputationError, match="contradicts the shape"):
        compare(scan(clean), [SHAPED], SHIFT_ONLY, OFFSET, fraction=0.05)
    with pytest.raises(ComputationError, match="sits on the largest computed"):
        compare(scan(0.1 * clean, seed=2), [SHAPED], SHIFT_ONLY, OFFSET, fraction=0.012)
    with pytest.raises(InputError, match="must lie above 0"):
        compare(scan(clean), [SHAPED], SHIFT_ONLY, OFFSET, fraction=1.5)


def test_heated_lattice_keeps_the_measured_axis():
    series = [Scan(E, curve(STEADY) + t * 1e-3 * curve(CUBIC.difference), None, f"{t}", None,
                   float(t)) for t in (60, 25, 140)]
    heated = heated_lattice(series)
    assert [s.name for s in heated] == [
        "heated lattice (60 minus 25 °C)", "heated lattice (140 minus 25 °C)",
    ]  # fmt: skip
    found = compare(scan(0.5 * np.interp(E, E, heated[1].difference), 1e-5), [heated[1], POLARON],
                    None, OFFSET)
    assert found.best.name.startswith("heated")
    assert found.best.strength == pytest.approx(0.5, rel=1e-6)
    assert found.best.parameters == 1
    with pytest.raises(InputError, match="say their temperature"):
        heated_lattice(series[:1])
    with pytest.raises(InputError, match="one temperature"):
        heated_lattice([series[0], series[0]])


SERIES = [Scan(E, curve(STEADY) + t * 1e-3 * np.exp(-((E - 13490) ** 2) / 50), None, f"{t}", None,
               float(t)) for t in (25, 60, 140)]
HEATED = heated_lattice(SERIES)


def test_pairs_are_named_in_part_or_whole():
    single = [Scenario("lo", GRID, SHAPE), polaron("polaron ta+lo", SWEEP), CUBIC, SHIFT, *HEATED]
    alone = [(s,) for s in single]

    def pairs(*asked, shifted=False):
        return [tuple(s.name for s in h) for h in mixtures(single, asked, shifted)[len(alone) :]]

    assert pairs("LO + cubic") == [("lo", "cubic")]
    assert pairs("cubic+ta+lo") == [("polaron ta+lo", "cubic")]
    assert pairs("shift+cubic", "cubic+shift") == [("cubic", "rigid edge shift")]
    assert pairs("cubic+heated") == [("cubic", HEATED[0].name), ("cubic", HEATED[1].name)]
    assert pairs("cubic+140 minus") == [("cubic", HEATED[1].name)]
    assert len(pairs("cubic+shift", "lo+cubic", shifted=True)) == len(single) - 1 + 1
    for wrong in ("lo", "lo+lo", "lo+nothing", "+", "lo+"):
        with pytest.raises(InputError,
                           match="does not name two different scenarios: write it as A"):
            pairs(wrong)


@pytest.mark.parametrize("other", [CUBIC, HEATED[1]], ids=["cubic", "heated"])
def test_a_mixture_of_two_is_recovered_within_its_intervals(other):
    """200 transients of two changes: both strengths are covered, the pair is claimed, and its one
    more parameter is counted.
    """
    added = curve(CUBIC.difference) if other is CUBIC else other.difference
    true = np.array([0.1, 0.06 if other is CUBIC else 0.3])
    hypotheses = mixtures([POLARON, other, SHIFT], [f"polaron+{other.name}"], shifted=False)
    problem = Problem(scan(curve(SHAPE)), hypotheses, SHIFT_ONLY, OFFSET)
    inside, won = np.zeros(2), 0
    for seed in range(200):
        rng = np.random.default_rng([seed, 5])
        shift = 0.2 * rng.normal()
        moved = true[1] * (curve(CUBIC.difference, shift) if other is CUBIC else added)
        found = problem.fit(true[0] * curve(SHAPE, shift) + moved + NOISE * rng.normal(size=len(E)))
        pair = next(f for f in found.fits if len(f.parts) == 2)
        inside += (pair.intervals95[:, 0] <= true) & (true <= pair.intervals95[:, 1])
        won += found.best is pair
    # Three standard deviations of 200 draws at 95 %.
    assert np.abs(inside / 200 - 0.95).max() <= 0.046
    assert won >= 190
    alone = next(f for f in found.fits if f.parts == (POLARON,))
    assert pair.parameters == alone.parameters + 1
    assert pair.aic - pair.chi2 == pytest.approx(alone.aic - alone.chi2 + 2)


def test_a_pair_that_was_asked_for_is_not_claimed_for_one_change():
    """Where one acts, the other of a pair gains what one parameter gains from noise: χ² of one
    degree of freedom.
    """
    asked = mixtures([POLARON, CUBIC, SHIFT, *HEATED], ["polaron+cubic", "polaron+heated"])
    problem = Problem(scan(curve(SHAPE)), asked, SHIFT_ONLY, OFFSET)
    gains, lost = [], 0
    for seed in range(100):
        rng = np.random.default_rng([seed, 6])
        found = problem.fit(0.1 * curve(SHAPE) + NOISE * rng.normal(size=len(E)))
        chi2 = {f.name: f.chi2 for f in found.fits}
        gains.append([chi2["polaron"] - chi2["polaron + cubic"],
                      chi2["polaron"] - chi2[f"polaron + {HEATED[1].name}"]])
        lost += found.best.parts != (POLARON,)
    # Such a gain exceeds the 12 that a claim takes once in two thousand times.
    assert lost <= 1
    assert np.abs(np.mean(gains, axis=0) - 1).max() < 3 * np.sqrt(2 / 100)


def test_of_two_swept_modes_the_second_keeps_its_largest_shape():
    second = polaron("polaron ta",
                     AmplitudeSpectra(GRID, 2 * AMPLITUDES,
                                      [(q / 0.5) ** 2 * CUBIC.difference for q in AMPLITUDES]))
    clean = 0.3 * curve(SWEEP.at(0.4)) + 0.2 * curve(CUBIC.difference)
    fit = compare(scan(clean, NOISE / 20),
                  mixtures([SHAPED, second], ["polaron+ta"], shifted=False), SHIFT_ONLY,
                  OFFSET).best
    assert fit.parts == (SHAPED, second)
    assert fit.q_sqrt_amu_A == pytest.approx(0.4, abs=0.01)
    assert fit.strengths[1] == pytest.approx(0.2, rel=0.01)


def _write(path, intensity, error=None):
    columns = [E, intensity] if error is None else [E, intensity, np.full(len(E), error)]
    rows = "\n".join(",".join(f"{v:.10g}" for v in row) for row in np.transpose(columns))
    path.write_text(f"energy_eV,signal{'' if error is None else ',error'}\n{rows}\n")
    return str(path)


def test_command_with_a_temperature_series(tmp_path, capsys):
    """A heated transient is won by the heated lattice, a mixed one by the mixture; both from files.
    """
    theory = str(write_scenarios(tmp_path / "set.json", THEORY))
    series = [_write(tmp_path / f"br_{s.temperature_C:g}C.csv", s.intensity) for s in SERIES]
    rng, heated = np.random.default_rng(9), HEATED[1].difference
    hot = _write(tmp_path / "hot.csv", 0.5 * heated + NOISE * rng.normal(size=len(E)), NOISE)
    both = _write(tmp_path / "both.csv",
                  0.1 * curve(SHAPE) + 0.3 * heated + NOISE * rng.normal(size=len(E)), NOISE)
    common = ["--study", theory, "--edge", "13480eV", "--width-sigma", "0eV", "--heated", *series,
              "--json"]
    assert main(["compare", hot, *common, "--mixture", "polaron+heated"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["best"].startswith("heated lattice (")
    best = next(s for s in answer["scenarios"] if s["name"] == answer["best"])
    # The shape of this series does not depend on temperature, so only the size tells which one it
    # was.
    size = 0.5 * 115 / (115 if "140" in best["name"] else 35)
    assert best["strength_interval95"][0] < size < best["strength_interval95"][1]
    assert main(["compare", both, *common, "--mixture", "polaron+140 minus", "--figure",
                 str(tmp_path / "both.png")]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["best"] == "polaron + heated lattice (140 minus 25 °C)"
    best = next(s for s in answer["scenarios"] if s["name"] == answer["best"])
    for part, true in zip(best["parts"], (0.1, 0.3), strict=True):
        assert part["interval95"][0] < true < part["interval95"][1]
    assert answer["scenarios"][0]["delta_aic"] == 0
    assert (tmp_path / "both.png").stat().st_size > 1000
    assert main(["compare", both, *common, "--mixture", "polaron+nothing"]) == 2
    assert "does not name two different scenarios" in capsys.readouterr().err
    assert main(["compare", hot, *common[:6], "--heated", series[0], "--json"]) == 2
    assert "two or more spectra" in capsys.readouterr().err


def test_words_name_the_degeneracy_and_the_absence():
    words = " ".join(statements(compare(scan(0.2 * curve(SHAPE), seed=1), ALL, None, OFFSET)))
    assert "only excited fraction × Q²" in words
    assert "hotter mode" in words
    assert "No scenario is supported" in statements(
        compare(scan(0 * E, seed=1), ALL, None, OFFSET))[0]


def test_negative_strength_is_not_claimed():
    assert compare(scan(-0.3 * curve(SHAPE)), [POLARON], None, OFFSET).best is None


def test_probabilities_sum_to_one():
    found = compare(scan(0.01 * curve(SHAPE), seed=3), ALL, None, OFFSET)
    assert sum(found.odds().values()) == pytest.approx(1)


def test_correlated_errors_are_used():
    """Errors common to all points cost nothing where the shape averages to nothing against them."""
    data = 0.1 * curve(SHAPE)
    common = Scan(E, data + 1.0, np.eye(len(E)) * NOISE**2 + 1e4)
    assert compare(common, [POLARON], SHIFT_ONLY,
                   OFFSET).fits[0].strength == pytest.approx(0.1, rel=1e-2)


def test_refusals():
    with pytest.raises(InputError, match="errors of the points are unknown"):
        compare(Scan(E, E), ALL, None, OFFSET)
    with pytest.raises(InputError, match="and not the transient with its shifts"):
        compare(scan(curve(SHAPE)), ALL)
    with pytest.raises(InputError, match="is zero everywhere"):
        Scenario("nothing", GRID, 0 * GRID)
    with pytest.raises(InputError, match="must lie between 0"):
        Priors(-1.0)
    with pytest.raises(ComputationError, match="sits on its bound"):
        compare(scan(0.5 * curve(SHAPE, 2.0), 1e-5), [POLARON], None, OFFSET)


def test_command_with_a_scenario_file(tmp_path, capsys):
    path = write_scenarios(tmp_path / "set.json", ScenarioSet(GRID, STEADY, (SHAPED, CUBIC)))
    np.testing.assert_array_equal(read_scenarios(path).scenarios[0].sweep.differences,
                                  SWEEP.differences)
    np.testing.assert_array_equal(read_scenarios(path).scenarios[1].difference, CUBIC.difference)
    data = scan(0.2 * curve(SWEEP.at(0.5)), seed=3)
    rows = "\n".join(f"{a},{b},{NOISE}"
                     for a, b in zip(data.energy_eV, data.intensity, strict=True))
    (tmp_path / "transient.csv").write_text(f"energy_eV,signal,error\n{rows}\n")
    call = [
        "compare",
        str(tmp_path / "transient.csv"),
        "--study",
        str(path),
        "--edge",
        "13480eV",
        "--width-sigma",
        "0eV",
    ]
    assert main([*call, "--json", "--no-mixtures", "--figure", str(tmp_path / "c.png")]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["best"] == "polaron"
    assert {"name", "chi2", "delta_aic", "strength", "strength_err"} <= set(answer["scenarios"][0])
    assert (tmp_path / "c.png").stat().st_size > 1000
    assert main(call) == 0
    out = capsys.readouterr().out
    assert "excited fraction" in out
    assert "Interpolation between 3 computed amplitudes" in out
    (tmp_path / "bad.json").write_text("{}")
    assert main(["compare", str(tmp_path / "transient.csv"), "--study",
                 str(tmp_path / "bad.json")]) == 2
    assert "is no scenario file" in capsys.readouterr().err


@pytest.mark.parametrize("edge", ["Pb-L3", "Br-L1"])
def test_a_transient_of_another_edge_is_refused(tmp_path, capsys, edge):
    energy = np.arange(13440.0, 13500.0) if edge == "Pb-L3" else np.arange(1780.0, 1820.0)
    rows = "\n".join(f"{e},{np.sin(e):.4f},0.1" for e in energy)
    (tmp_path / "t.csv").write_text(f"energy_eV,signal,error\n{rows}\n")
    if edge == "Pb-L3":
        (tmp_path / "t.csv").write_text((tmp_path / "t.csv").read_text().replace("134", "130"))
    out = str(tmp_path / "t.xdi")
    assert main(["treat", str(tmp_path / "t.csv"), "--edge", edge, "--out", out]) == 0
    for words in (["compare", out], ["report", "--transient", out, "--out", str(tmp_path / "r")],
                  ["match", out, "--out", str(tmp_path / "m.toml")]):
        assert main(words) == 2
        assert f"is of the edge {edge.replace('-', ' ')}, the study of Br K" in (
            capsys.readouterr().err)
    assert not (tmp_path / "m.toml").exists()
    assert not (tmp_path / "r").exists()
