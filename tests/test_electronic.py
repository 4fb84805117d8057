"""Filling beside structure and shift: hypotheses, correlations, collinear explanations, calibration
of the larger family, the command.
"""

import json
import shutil

import numpy as np
import pytest

from perovskite_polaron.analysis.scenario_curves import Priors
from perovskite_polaron.analysis.scenario_fit import Problem
from perovskite_polaron.analysis.scenarios import Scenario, ScenarioSet, mixtures, rigid_shift
from perovskite_polaron.analysis.verdict import judge
from perovskite_polaron.cli.main import main
from perovskite_polaron.figures.correlation import draw_correlation
from perovskite_polaron.measured.scan import Scan
from perovskite_polaron.spectra.spectrum import norm
from perovskite_polaron.workflow import carriers
from perovskite_polaron.workflow.scenarios import BUILT_IN, study_scenarios
from perovskite_polaron.workflow.spectra import load_results, study_spectra

GRID = np.linspace(-30, 80, 1101)
STEADY = 0.5 + np.arctan(GRID) / np.pi + 0.3 * np.exp(-((GRID - 3) ** 2) / 8)
ENERGY = np.arange(-8.0, 40.0, 0.5)
FIXED = Priors(0.0, 0.0, 0.0, 0.0)


def line(at, hwhm=1.3):
    return hwhm**2 / ((GRID - at) ** 2 + hwhm**2)


STRUCTURE = Scenario("bend", GRID, 0.03 * np.sin(GRID / 3) * np.exp(-((GRID - 15) ** 2) / 200))
OTHER = Scenario("twist", GRID, 0.03 * np.cos(GRID / 2) * np.exp(-((GRID - 15) ** 2) / 200))
FILLING = Scenario("filling", GRID, 0.01 * (line(-4) - 0.5 * line(-1.5)), kind="carriers")
THEORY = ScenarioSet(GRID, STEADY, (STRUCTURE, OTHER, FILLING))
SHIFT = rigid_shift(THEORY)
TRUTH = {STRUCTURE: 0.2, FILLING: 0.5, SHIFT: 0.02}


def seen(truth, energy=ENERGY):
    return sum(s * np.interp(energy, GRID, part.difference) for part, s in truth.items())


def problem(hypotheses, error, energy=ENERGY, priors=FIXED):
    return Problem(Scan(energy, seen(TRUTH, energy), np.full(len(energy), error**2)), hypotheses,
                   priors)


def test_every_change_is_also_joined_with_its_carriers():
    names = [" + ".join(p.name for p in h)
             for h in mixtures([*THEORY.scenarios, SHIFT])]
    assert names == [
        "bend", "twist", "filling", "rigid edge shift", "bend + filling", "twist + filling",
        "bend + rigid edge shift", "twist + rigid edge shift", "filling + rigid edge shift",
        "bend + filling + rigid edge shift", "twist + filling + rigid edge shift"]
    assert [tuple(p.name for p in h) for h in mixtures([STRUCTURE, FILLING], ["filling+bend"])] == [
        ("bend",), ("filling",), ("bend", "filling")]


def test_correlations_of_a_linear_model_are_those_of_least_squares():
    error = 3e-4
    (fit,) = problem([(STRUCTURE, FILLING, SHIFT)], error).fit(seen(TRUTH)).fits
    design = np.array([np.interp(ENERGY, GRID, p.difference) for p in TRUTH]).T / error
    covariance = np.linalg.inv(design.T @ design)
    size = np.sqrt(covariance.diagonal())
    assert fit.correlated == ("bend", "filling", "rigid edge shift")
    np.testing.assert_allclose(fit.correlation, covariance / np.outer(size, size), atol=1e-6)
    np.testing.assert_allclose(fit.strengths, [*TRUTH.values()], rtol=1e-3)
    np.testing.assert_allclose(fit.errors, size, rtol=1e-3)


def test_correlations_are_those_of_repeated_measurements():
    """Also where the place of the axis is free: of 300 transients the strengths scatter together as
    each of them says.
    """
    error, rng = 3e-4, np.random.default_rng(4)
    one = problem([(STRUCTURE, FILLING)], error, priors=Priors(0.2, 0.0, 0.0, 0.0))
    clean = seen({STRUCTURE: 0.2, FILLING: 0.5})
    (fit,) = one.fit(clean).fits
    assert fit.correlated == ("bend", "filling", "place of the axis")
    found = []
    for _ in range(300):
        (again,) = one.fit(clean + error * rng.normal(size=len(clean))).fits
        found.append([*again.strengths, again.shift_eV])
    scatter = np.corrcoef(np.array(found).T)
    assert np.abs(scatter - fit.correlation).max() < 0.15
    assert np.abs(fit.correlation[0, 2]) > 0.05 or np.abs(fit.correlation[1, 2]) > 0.05


def test_one_shape_twice_is_flagged_and_two_are_not():
    double = Scenario("double", GRID, FILLING.difference + 0.0002 * line(10))
    for other, flagged in ((double, True), (STRUCTURE, False)):
        clean = seen({other: 0.2, FILLING: 0.5})
        found = problem([(other, FILLING)], 1e-4).fit(clean)
        assert [names[:2] for names in found.collinear()] == (
            [(other.name, "filling")] if flagged else [])
    (_, _, value), = problem([(double, FILLING)], 1e-4).fit(seen({FILLING: 0.5})).collinear()
    assert value < -0.9


def test_collinear_structures_without_carriers_are_named_when_claimed_only():
    copy = Scenario("copy", GRID, STRUCTURE.difference + 1e-4 * line(10))
    found = problem([STRUCTURE, (STRUCTURE, copy)], 1e-4).fit(seen({STRUCTURE: 0.2}))
    assert found.best is not None
    assert found.best.parts == (STRUCTURE,)
    assert found.collinear() == []


def test_the_larger_family_finds_what_is_there_and_claims_nothing_from_noise():
    """Of 60 transients each: the true mixture of three; the structure alone, which no mixture with
    carriers may take over; noise.
    """
    error = 4e-4
    hypotheses = mixtures([*THEORY.scenarios, SHIFT])
    one, rng = problem(hypotheses, error), np.random.default_rng(8)
    cases = ((seen(TRUTH), (STRUCTURE, FILLING, SHIFT)), (seen({STRUCTURE: 0.2}), (STRUCTURE,)),
             (np.zeros(len(ENERGY)), None))
    for clean, truth in cases:
        best = [one.fit(clean + error * rng.normal(size=len(clean))).best for _ in range(60)]
        right = sum((b and b.parts) == truth for b in best)
        assert right >= 57, truth


def test_what_is_said(monkeypatch):
    error = 2e-4
    scan = Scan(ENERGY, seen(TRUTH), np.full(len(ENERGY), error**2))
    judged = judge(scan, THEORY, edge_eV=0.0, shift_sigma_eV=0.0, width_sigma_eV=0.0,
                   stretch_sigma=0.0)
    assert judged.found.best is not None
    assert judged.found.best.name == "bend + filling + rigid edge shift"
    words = " ".join(judged.words)
    assert "filling 0.5 ± " in words
    assert "× 1e19 pairs/cm3 (68 %" in words
    assert "is known to an order of magnitude" in words
    assert "as screening of the core hole by carriers makes it" in words
    narrow = np.arange(-8.0, -6.0, 0.1)
    scan = Scan(narrow, seen(TRUTH, narrow), np.full(len(narrow), 1e-10))
    judged = judge(scan, THEORY, edge_eV=0.0, shift_sigma_eV=0.0, width_sigma_eV=0.0,
                   stretch_sigma=0.0)
    assert any("are collinear in this window" in w for w in judged.words)
    first = judged.found.fits[0]
    figure = draw_correlation(first.name, first.correlated, first.correlation, len(first.parts))
    labels = [t.get_text() for t in figure.axes[0].get_xticklabels()]
    assert labels == [*first.correlated]


@pytest.fixture(scope="module")
def bundled():
    results, settings, folder = load_results(BUILT_IN)
    edges = carriers.read_edges(results, folder)
    return results, settings, study_scenarios(results, settings, edges)


def test_filling_is_what_carriers_change_over_the_norm_of_the_steady_state(bundled):
    results, settings, theory = bundled
    edges = carriers.read_edges(results, BUILT_IN)
    change = carriers.filling(results, settings, edges)
    steady = study_spectra(results, settings).structures["ground"].average
    one = theory.scenarios[-1]
    assert (one.name, one.kind) == ("filling", "carriers")
    np.testing.assert_allclose(one.difference,
                               change.difference / norm(steady, settings.normalisation))
    assert one.difference.max() > 0 > one.difference.min()
    assert len(study_scenarios(results, settings).scenarios) == len(theory.scenarios) - 1


def test_command(tmp_path, capsys, bundled):
    theory = bundled[2]
    offset = 13472 - theory.first_maximum_eV
    energy = np.arange(13462.0, 13511.0, 1.0)
    parts = {s.name: s for s in theory.scenarios}
    clean = sum(s * np.interp(energy - offset, theory.energy_eV, parts[name].difference)
                for name, s in (("polaron lo", 0.1), ("filling", 20.0)))
    error = np.abs(clean).max() / 20
    signal = clean + error * np.random.default_rng(2).normal(size=len(energy))
    path = tmp_path / "transient.csv"
    np.savetxt(path, np.column_stack([energy, signal, np.full(len(energy), error)]), delimiter=",",
               header="energy_eV,signal,error", comments="")
    assert main(["compare", str(path), "--electronic", "--json", "--correlation",
                 str(tmp_path / "c.png")]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["best"] == "polaron lo + filling"
    best = next(s for s in record["scenarios"] if s["name"] == record["best"])
    assert best["correlation"]["names"][:2] == ["polaron lo", "filling"]
    assert np.array(best["correlation"]["matrix"]).shape[0] == len(best["correlation"]["names"])
    filled = best["parts"][1]
    assert filled["per_1e19_pairs_cm3"]
    assert filled["interval95"][0] < 20 < filled["interval95"][1]
    assert record["collinear"] == []
    assert (tmp_path / "c.png").stat().st_size > 5000
    copy = tmp_path / "study"
    shutil.copytree(BUILT_IN, copy, ignore=shutil.ignore_patterns("pdos.npz", "jobs*"))
    assert main(["compare", str(path), "--study", str(copy), "--electronic"]) == 2
    assert "which says where the band edges are" in capsys.readouterr().err
    (tmp_path / "set.json").write_text("{}")
    assert main(["compare", str(path), "--study", str(tmp_path / "set.json"), "--electronic"]) == 2
    assert "--electronic needs a study" in capsys.readouterr().err
