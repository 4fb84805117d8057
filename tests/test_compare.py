"""Scenarios against transients: coverage, the right winner, no claim from noise, plain words."""

import json

import numpy as np
import pytest

from perovskite_polaron.cli.main import main
from perovskite_polaron.errors import ComputationError, InputError
from perovskite_polaron.experiment.fit import compare, statements
from perovskite_polaron.experiment.scan import Scan
from perovskite_polaron.experiment.scenario import (
    Scenario,
    ScenarioSet,
    read_scenarios,
    with_rigid_shift,
    write_scenarios,
)

GRID = np.arange(-30.0, 60.0, 0.1)
E = np.arange(13470.0, 13510.0, 0.5)
OFFSET = 13480.0


def bump(*parts):
    return sum(a * np.exp(-((GRID - c) ** 2) / 2 / w**2) for a, c, w in parts)


STEADY = 0.5 + np.arctan(GRID + 8) / np.pi + bump((0.4, -7, 1.5), (0.1, 5, 3), (-0.08, 17, 3), (0.07, 28, 3))
POLARON = Scenario(
    "polaron",
    GRID,
    bump((0.1, -12, 1.5), (-0.12, -8, 1.2), (0.08, -4, 1.5), (-0.04, 5, 3), (0.05, 17, 3), (-0.04, 28, 3)),
    0.5,
)
CUBIC = Scenario("cubic", GRID, bump((-0.1, -8, 2), (0.09, 15, 4), (-0.08, 22, 3)))
THEORY = with_rigid_shift(ScenarioSet(GRID, STEADY, (POLARON, CUBIC)))
NOISE = 0.002


def measured(seed, strength, scenario=POLARON):
    rng = np.random.default_rng([seed, 7])
    shift = 0.2 * rng.normal()
    clean = strength * np.interp(E - OFFSET - shift, GRID, scenario.difference)
    return Scan(E, clean + NOISE * rng.normal(size=len(E)), np.full(len(E), NOISE**2), "transient")


def test_coverage_winner_and_no_claim_from_noise():
    """500 transients of known strength, and 500 of noise alone."""
    inside68 = inside95 = won = claimed = 0
    for seed in range(500):
        fits = compare(measured(seed, 0.1), THEORY.scenarios, 0.2, OFFSET)
        own = next(f for f in fits.fits if f.scenario.name == "polaron")
        inside68 += own.interval68[0] <= 0.1 <= own.interval68[1]
        inside95 += own.interval95[0] <= 0.1 <= own.interval95[1]
        won += fits.best is not None and fits.best.scenario.name == "polaron"
        claimed += compare(measured(seed, 0.0), THEORY.scenarios, 0.2, OFFSET).best is not None
    assert abs(inside68 / 500 - 0.68) <= 0.05
    assert abs(inside95 / 500 - 0.95) <= 0.025
    assert won >= 475
    assert claimed == 0


def test_exact_data_give_the_strength():
    scan = Scan(E, 0.1 * np.interp(E - OFFSET - 0.05, GRID, POLARON.difference), np.full(len(E), 1e-12))
    best = compare(scan, THEORY.scenarios, 0.2, OFFSET).best
    assert best.scenario.name == "polaron"
    assert best.strength == pytest.approx(0.1, rel=1e-4)
    assert best.shift_eV == pytest.approx(0.05, abs=1e-3)
    assert best.f_q2 == pytest.approx(0.1 * 0.25, rel=1e-4)


def test_words_name_the_degeneracy_and_the_absence():
    words = " ".join(statements(compare(measured(1, 0.2), THEORY.scenarios, 0.2, OFFSET)))
    assert "only excited fraction × Q²" in words
    assert "hotter mode" in words
    assert "No scenario is claimed" in statements(compare(measured(1, 0.0), THEORY.scenarios, 0.2, OFFSET))[0]


def test_negative_strength_is_not_claimed():
    assert compare(measured(1, -0.3), [POLARON], 0.2, OFFSET).best is None


def test_refusals():
    with pytest.raises(InputError, match="errors of the points are unknown"):
        compare(Scan(E, E), THEORY.scenarios, 0.2, OFFSET)
    with pytest.raises(InputError, match="and not the transient with its shifts"):
        compare(measured(1, 0.1), THEORY.scenarios)
    with pytest.raises(InputError, match="is zero everywhere"):
        Scenario("nothing", GRID, 0 * GRID)
    far = Scan(E, 0.5 * np.interp(E - OFFSET - 2.0, GRID, POLARON.difference), np.full(len(E), 1e-10))
    with pytest.raises(ComputationError, match="sits on its bound"):
        compare(far, [POLARON], 0.2, OFFSET)


def test_command_with_a_scenario_file(tmp_path, capsys):
    path = write_scenarios(tmp_path / "set.json", ScenarioSet(GRID, STEADY, (POLARON, CUBIC)))
    np.testing.assert_array_equal(read_scenarios(path).scenarios[0].difference, POLARON.difference)
    scan = measured(3, 0.2)
    rows = "\n".join(f"{a},{b},{NOISE}" for a, b in zip(scan.energy_eV, scan.intensity, strict=True))
    (tmp_path / "transient.csv").write_text(f"energy_eV,signal,error\n{rows}\n")
    call = ["compare", str(tmp_path / "transient.csv"), "--study", str(path), "--edge", "13480eV"]
    assert main([*call, "--json", "--figure", str(tmp_path / "c.png")]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["best"] == "polaron"
    assert {"name", "chi2", "delta_aic", "strength", "strength_err"} <= set(answer["scenarios"][0])
    assert (tmp_path / "c.png").stat().st_size > 1000
    assert main(call) == 0
    assert "excited fraction" in capsys.readouterr().out
    (tmp_path / "bad.json").write_text("{}")
    assert main(["compare", str(tmp_path / "transient.csv"), "--study", str(tmp_path / "bad.json")]) == 2
    assert "is no scenario file" in capsys.readouterr().err
