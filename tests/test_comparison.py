"""The comparison parameter: hand-calculated cases, error bars against Monte Carlo, constancy."""

import json
from dataclasses import replace

import numpy as np
import pytest

from perovskite_polaron.analysis.shape_ratio import (
    EDGES, Windows, compare_repeats, comparison_parameter, constancy, window_weights)
from perovskite_polaron.cli.main import main
from perovskite_polaron.errors import InputError
from perovskite_polaron.measured.recipe import Recipe
from perovskite_polaron.measured.scan import Scan, Step
from perovskite_polaron.measured.treatment import average_adjacent

BR = EDGES["Br-K"]
E = np.arange(13460.0, 13480.01, 0.5)


def transient(scale=1.0, tilt=0.0):
    return scale * (1 + 0.3 * (E - 13470) + tilt * (E - 13460))


def test_by_hand():
    # Numerator 13471, 13471.5, 13472: 1.3 + 1.45 + 1.6; denominator 13468, 13468.5, 13469: 0.4 +
    # 0.55 + 0.7.
    c = comparison_parameter(Scan(E, transient(), np.full(len(E), 0.01)), BR)
    assert c.value == pytest.approx(4.35 / 1.65, rel=1e-12)
    assert c.err == pytest.approx(0.1 * np.sqrt(3) / 1.65 * np.sqrt(1 + c.value**2), rel=1e-12)


def test_uneven_grid_is_interpolated_at_equally_spaced_points():
    uneven = np.array([13460, 13467.9, 13468.3, 13469.2, 13470.9, 13471.4, 13472.1, 13480])
    value = comparison_parameter(Scan(uneven, 1 + 0.3 * (uneven - 13470)), BR, step_eV=0.5).value
    assert value == pytest.approx(4.35 / 1.65, rel=1e-9)


def test_pb_windows():
    e = np.arange(13030.0, 13050.5, 1.0)
    assert comparison_parameter(Scan(e, e - 13000),
                                EDGES["Pb-L3"]).value == pytest.approx(4 * 45.5 / (4 * 38.5))


@pytest.mark.parametrize("smooth", [False, True])
def test_error_bar_against_monte_carlo(smooth):
    scan = Scan(E, transient(), np.full(len(E), 0.03**2))
    rng = np.random.default_rng(1)
    treated = average_adjacent(scan) if smooth else scan
    quoted = comparison_parameter(treated, BR).err
    draws = np.array([scan.intensity + 0.03 * rng.normal(size=len(E)) for _ in range(10_000)])
    values = []
    for y in draws:
        drawn = Scan(E, y)
        values.append(comparison_parameter(average_adjacent(drawn) if smooth else drawn, BR).value)
    assert quoted == pytest.approx(np.std(values), rel=0.03)


def test_decay_is_constant_and_sign_change_is_not():
    rng = np.random.default_rng(3)

    def points(shapes):
        return [comparison_parameter(Scan(E, y + 0.01 * rng.normal(size=len(E)),
                                          np.full(len(E), 1e-4)), BR) for y in shapes]

    assert constancy(points([transient(s) for s in (1, 0.5, 0.3)])).constant
    heated = [transient() - k * np.exp(-((E - 13471.5) ** 2)) for k in (0.5, 1.0, 2.5)]
    series = points(heated)
    assert series[0].value > 0 > series[-1].value
    assert not constancy(series).constant


SUBTRACT = Recipe((Step("subtract", {"reference": "dark"}),))
DRIFT = 0.12


def _thermal(noise):
    """Four points of one reference, C drifting by 12 % from the first to the last."""
    steady = 1 / (1 + np.exp(-(E - 13470) / 1.5)) + 0.3
    errors = noise**2 * steady
    up = [0.1 * (1 + 0.3 * (E - 13470)) + 0.1 * DRIFT * k / 3 * 4.35 / 3 * ((E > 13470.9)
          & (E < 13472.1)) for k in range(4)]
    dark = Scan(E, steady, errors, "dark")
    found = compare_repeats([[Scan(E, steady + one, errors)] for one in up], BR, SUBTRACT, [dark])
    return found, np.array([window_weights(E, w) for w in (BR.numerator_eV, BR.denominator_eV)]
                           ), errors


def test_points_of_one_reference_have_its_covariance():
    found, (above, below), errors = _thermal(0.004)
    c = np.array([p.value for p in found.points])
    np.testing.assert_allclose(c, 4.35 / 1.65 * (1 + DRIFT * np.arange(4) / 3), rtol=1e-9)
    slopes = (above - c[:, None] * below) / 0.165
    shared = slopes * errors @ slopes.T
    np.testing.assert_allclose(found.covariance, shared + np.diag(np.diag(shared)), rtol=1e-5)


def test_the_test_of_constancy_has_its_size_and_finds_a_drift():
    """Errors taken as independent hide a drift of 12 % behind the noise of the reference."""
    found, *_ = _thermal(0.004)
    values, rng = np.array([p.value for p in found.points]), np.random.default_rng(0)
    draws = rng.multivariate_normal(0 * values, found.covariance, size=2000)

    def called(of, covariance):
        return np.mean([not constancy([replace(p, value=v) for p, v in zip(
            found.points, of + noise, strict=True)], covariance).constant for noise in draws])

    # 0.27 by the noncentral chi-square; three standard deviations of 2000 draws are 0.03.
    assert called(values, found.covariance) == pytest.approx(0.267, abs=0.03)
    assert called(values, None) < 0.05
    assert called(values.mean(), found.covariance) == pytest.approx(0.01, abs=0.007)


def test_errors_from_four_repeats_do_not_make_c_change():
    """As exact errors they called a constant C not constant in 23 % at the nominal 1 %."""
    rng = np.random.default_rng(1)
    point = comparison_parameter(Scan(E, transient(), np.full(len(E), 0.01)), BR)

    def called(dof):
        wrong = 0
        for _ in range(2000):
            errors = np.sqrt(rng.chisquare(3, size=6) / 3)
            points = [replace(point, value=v, err=e, dof=dof)
                      for v, e in zip(rng.normal(size=6), errors, strict=True)]
            wrong += not constancy(points).constant
        return wrong / 2000

    assert called(np.inf) > 0.15
    assert called(3) < 0.025


def test_a_tilt_that_each_scan_has_of_its_own_is_in_the_error():
    """It moves the points of a window together, so that their scatter shows only a part of it."""
    rng = np.random.default_rng(2)
    recipe, tilts = Recipe((Step("combine"),)), 0.03 * rng.normal(size=8)
    scans = [Scan(E, transient() + t * (E - 13470) + 0.003 * rng.normal(size=len(E)))
             for t in tilts]
    (point,) = compare_repeats([scans], BR, recipe).points
    slope = 4.5 * (1 + point.value) / (1.65 - 4.5 * tilts.mean())
    assert (point.err_from, point.dof) == ("scans", 7)
    assert point.err == pytest.approx(slope * np.std(tilts, ddof=1) / np.sqrt(8), rel=0.1)
    quiet = [Scan(E, transient() + 0.05 * rng.normal(size=len(E))) for _ in range(6)]
    assert compare_repeats([quiet], BR, recipe).points[0].err_from == "points"


def test_refusals():
    with pytest.raises(InputError, match="spans 13460 to 13480 eV and not the window"):
        comparison_parameter(Scan(E, transient()), EDGES["Pb-L3"])
    with pytest.raises(InputError, match="cannot be told from zero"):
        comparison_parameter(Scan(E, transient(0.01), np.full(len(E), 1.0)), BR)
    with pytest.raises(InputError, match="is empty"):
        Windows((2.0, 1.0), (0.0, 1.0))


def test_command(tmp_path, capsys):
    files = []
    for delay, scale in (("100ps", 1.0), ("10.1ns", 0.4)):
        path = tmp_path / f"br_{delay}.csv"
        rows = "\n".join(f"{e},{y},0.01" for e, y in zip(E, transient(scale), strict=True))
        path.write_text(f"energy_eV,signal,error\n{rows}\n")
        files.append(str(path))
    assert main(["cparam", *files, "--edge", "Br-K", "--json", "--figure",
                 str(tmp_path / "c.png")]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [p["label"] for p in answer["points"]] == ["br_100ps", "br_10.1ns"]
    assert answer["points"][1]["value"] == pytest.approx(4.35 / 1.65)
    assert answer["constant_p"] == pytest.approx(1.0)
    assert (tmp_path / "c.png").stat().st_size > 1000
    assert main(["cparam", *files]) == 2


def test_command_says_the_warnings_of_the_reader(tmp_path, capsys):
    head = ("# XDI/1.0\n# Column.1: energy eV\n# Column.2: mutrans\n# Element.symbol: Br\n"
            "# Element.edge: K\n# ---\n")
    (tmp_path / "a.xdi").write_text(head
                                    + "\n".join(f"{e} {y}"
                                                for e, y in zip(E, transient(), strict=True)))
    assert main(["cparam", str(tmp_path / "a.xdi"), "--edge", "Br-K"]) == 0
    assert "warning: " in (captured := capsys.readouterr()).err
    assert "Mono.d_spacing is missing" in captured.err
    assert "constancy not tested" in captured.out
