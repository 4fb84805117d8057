"""Screening by carriers: its template, its prior in a fit, told apart from the rigid shift or named
as not, the larger family, the command.
"""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import quad
from test_electronic import ENERGY, FILLING, FIXED, GRID, STEADY, STRUCTURE, THEORY, problem, seen

from perovskite_polaron.analysis.scenario_fit import Problem
from perovskite_polaron.analysis.scenarios import mixtures, named, rigid_shift
from perovskite_polaron.analysis.screening import Screening
from perovskite_polaron.analysis.verdict import judge
from perovskite_polaron.cli.main import main
from perovskite_polaron.errors import InputError
from perovskite_polaron.measured.scan import Scan
from perovskite_polaron.workflow.jobs import plan
from perovskite_polaron.workflow.scenarios import BUILT_IN, study_scenarios
from perovskite_polaron.workflow.spectra import load_results
from perovskite_polaron.workflow.study import read_study

# With fine structure beyond the edge, which a rigid shift moves and screening does not.
RICH = replace(THEORY, steady_state=STEADY + 0.3 * np.cos(GRID / 2.5) / (1 + np.exp(12 - GRID)))
SCREENING, SHIFT = Screening()(RICH), rigid_shift(RICH)
# The rise alone, where shift and screening are one.
RISE = np.arange(-8.0, 0.0, 0.25)


def test_the_template_is_the_rigid_shift_near_the_edge_and_nothing_beyond():
    beyond_eV = GRID - RICH.first_maximum_eV
    near, far = beyond_eV <= 0, beyond_eV > 15
    np.testing.assert_array_equal(SCREENING.difference[near], SHIFT.difference[near])
    assert np.abs(SCREENING.difference[far]).max() < 2e-4 * np.abs(SHIFT.difference[far]).max()
    wide = Screening(reach_eV=1000.0)(RICH)
    np.testing.assert_allclose(wide.difference, SHIFT.difference, rtol=1e-2)
    at_edge = np.interp(-1.0, GRID, SCREENING.difference)
    assert at_edge < 0, "an edge that moves up absorbs less where it rises"
    for wrong in ({"sigma_eV": -0.1}, {"sigma_eV": 6.0}, {"reach_eV": 0.0}):
        with pytest.raises(InputError, match="screening"):
            Screening(**wrong)


def test_its_prior_is_in_strengths_errors_chi2_and_evidence():
    """Of a linear model all are known in closed form, the evidence by quadrature."""
    error, sigma = 3e-3, 0.02
    part = Screening(sigma)(RICH)
    data = seen({part: 0.03})
    (fit,) = problem([(part,)], error).fit(data).fits
    column = np.interp(ENERGY, GRID, part.difference) / error
    precision = column @ column + sigma**-2
    best = column @ data / error / precision
    assert fit.strength == pytest.approx(best, rel=1e-6)
    assert fit.strength_err == pytest.approx(precision**-0.5, rel=1e-3)

    def lost(value):
        return float(np.sum((data / error - column * value) ** 2) + (value / sigma) ** 2)

    assert fit.chi2 == pytest.approx(lost(best), rel=1e-9)
    whole = quad(lambda value: np.exp(-lost(value) / 2), 0, 1, epsrel=1e-10,
                 points=[best])[0] * 2 / sigma / np.sqrt(2 * np.pi)
    assert fit.ln_evidence == pytest.approx(np.log(whole), abs=1e-6)


def test_an_edge_that_moves_down_is_no_screening():
    (fit,) = problem([(STRUCTURE, SCREENING)], 3e-4).fit(
        seen({STRUCTURE: 0.2, SCREENING: -0.02})).fits
    assert fit.strengths[1] == 0.0
    assert fit.intervals95[1, 0] == 0.0 < fit.intervals95[1, 1]
    assert not fit.possible


def test_it_goes_with_what_carriers_fill():
    every = [STRUCTURE, FILLING, SCREENING, SHIFT]
    names = [" + ".join(p.name for p in h) for h in mixtures(every)]
    assert len({*names}) == len(names)
    joined = {n for n in names if "screening" in n}
    assert joined == {
        "screening", "filling + screening", "bend + filling + screening",
        "filling + screening + rigid edge shift",
        "bend + filling + screening + rigid edge shift"}
    (one,) = named("shift+screening+filling+bend", every)
    assert one == (STRUCTURE, FILLING, SCREENING, SHIFT)


def test_told_apart_from_the_rigid_shift_or_named():
    """Over the whole window their strengths are found; in the rise alone every transient has the
    pair named, also where the prior alone fixes the strength of screening.
    """
    rng = np.random.default_rng(5)
    parts = (FILLING, SCREENING, SHIFT)
    truth = dict(zip(parts, (0.5, 0.03, -0.02), strict=True))
    whole = problem([parts], 1e-4)
    (fit,) = whole.fit(seen(truth)).fits
    np.testing.assert_allclose(fit.strengths, [*truth.values()], rtol=2e-2)
    assert whole.fit(seen(truth)).collinear() == []
    for error in (1e-5, 1e-2):
        narrow = Problem(Scan(RISE, seen(truth, RISE), np.full(len(RISE), error**2)), [parts],
                         FIXED)
        named_pairs = [narrow.fit(seen(truth, RISE) + error * rng.normal(size=len(RISE)))
                       .collinear() for _ in range(20)]
        flagged = sum(("screening", "rigid edge shift") in [row[:2] for row in rows]
                      for rows in named_pairs)
        assert flagged >= 19


def test_the_larger_family_finds_screening_and_claims_none_that_is_not_there():
    """Of 8 transients each; docs/validation.md has 60."""
    error, rng = 1e-4, np.random.default_rng(9)
    one = problem(mixtures([STRUCTURE, FILLING, SCREENING, SHIFT]), error)
    cases = ((STRUCTURE, FILLING, SCREENING), (STRUCTURE, FILLING, SHIFT), (STRUCTURE, FILLING), ())
    size = {STRUCTURE: 0.2, FILLING: 0.5, SCREENING: 0.03, SHIFT: -0.03}
    for truth in cases:
        clean = seen({part: size[part] for part in truth}) if truth else np.zeros(len(ENERGY))
        best = [one.fit(clean + error * rng.normal(size=len(clean))).best for _ in range(8)]
        assert sum((b.parts if b else ()) == truth for b in best) >= 7, truth


def test_the_others_of_a_strength_at_zero_may_still_have_it():
    """Two shapes of nearly one form, one of them at zero: the interval of the other is that of the
    profile in which the first is anything from zero on, by a scan of bounded least squares.
    """
    from scipy.optimize import brentq, lsq_linear
    from scipy.stats import chi2

    error, near = 3e-4, np.arange(-8.0, 3.0, 0.25)
    parts = (FILLING, SHIFT)
    design = np.array([np.interp(near, GRID, p.difference) for p in parts]).T / error
    data = seen({FILLING: -0.004, SHIFT: 0.02}, near)
    scan = Scan(near, data, np.full(len(near), error**2))
    (fit,) = Problem(scan, [parts], FIXED).fit(data).fits
    assert fit.strengths[0] == 0.0

    def profile(value):
        left = data / error - design[:, 1] * value
        return 2 * lsq_linear(design[:, :1], left, (0, np.inf), tol=1e-14).cost

    start = fit.strengths[1]
    for ends, level in ((fit.intervals68[1], 0.6827), (fit.intervals95[1], 0.95)):
        goal = profile(start) + chi2.ppf(level, 1)
        low, high = (brentq(lambda v, g=goal: profile(v) - g, start, start + side)
                     for side in (-0.1, 0.1))
        np.testing.assert_allclose(ends, (low, high), rtol=2e-3)


def test_command(tmp_path, capsys):
    """The prior is printed and in the JSON object."""
    results, settings, _ = load_results(BUILT_IN)
    theory = study_scenarios(results, settings)
    energy = np.arange(13463.0, 13505.0, 2.0)
    clean = 0.1 * np.interp(energy - 13472 + theory.first_maximum_eV, theory.energy_eV,
                            theory.scenarios[1].difference)
    error = np.full(len(energy), np.abs(clean).max() / 20)
    path = tmp_path / "transient.csv"
    np.savetxt(path, np.column_stack([energy, clean, error]), delimiter=",",
               header="energy_eV,signal,error", comments="")
    axis = ["--edge", "13465.45eV", "--shift-sigma", "0eV", "--width-sigma", "0eV",
            "--stretch-sigma", "0"]
    call = ["compare", str(path), "--electronic", "--json", *axis]
    assert main([*call, "--screening-sigma", "0.05eV"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["screening"] == {"sigma_eV": 0.05, "reach_eV": 5.0}
    assert any("prior 0.05 eV (--screening-sigma)" in said for said in record["statements"])
    part = next(p for s in record["scenarios"] for p in s["parts"] if p["name"] == "screening")
    assert part["per_eV"]
    assert part["prior_sigma"] == 0.05
    assert main(["compare", str(path), "--electronic", "--screening-sigma", "9eV", *axis]) == 2
    assert "0 (left out) and 5 eV" in capsys.readouterr().err


def test_judge_has_screening_where_there_are_carriers_and_a_prior():
    scan = Scan(ENERGY, seen({STRUCTURE: 0.2}), np.full(len(ENERGY), 1e-7))
    options = {"edge_eV": 0.0, "shift_sigma_eV": 0.0, "width_sigma_eV": 0.0, "stretch_sigma": 0.0}
    bare = replace(THEORY, scenarios=(STRUCTURE,))
    assert judge(scan, bare, **options).screening is None
    without = judge(scan, THEORY, **options, screening=Screening(0.0))
    assert without.screening is None
    assert not any("screening" in fit.name for fit in without.found.fits)
    found = judge(scan, THEORY, **options, screening=Screening(0.2, 3.0))
    assert found.screening == Screening(0.2, 3.0)
    assert any("prior 0.2 eV" in said and "within 3 eV" in said for said in found.words)


def test_the_check_from_first_principles_is_what_the_manual_says() -> None:
    """tools/screening_check.py made the table, with pw.x and xspectra.x."""
    table = np.genfromtxt(Path(__file__).parent.parent / "docs" / "cspbbr3-screening.csv",
                          delimiter=",", names=True)
    x, neutral, *changes = (table[name] for name in table.dtype.names)
    electron, hole, pair = (np.array(changes[k::3]) for k in range(3))
    np.testing.assert_allclose(pair, electron + hole, atol=3e-6)
    assert neutral[np.abs(x).argmin()] == 1
    largest = np.abs(pair).max(axis=1)
    assert (largest < 0.03).all()
    # First order in the number of carriers; the two kinds work against each other.
    assert np.abs(pair[0] - pair[1]).max() < 0.115 * largest.max()
    for one, other in zip(electron, hole, strict=True):
        assert np.corrcoef(one, other)[0, 1] < -0.8
    # A shift of the edge: how far, in meV, and how much of the change it is.
    near = x <= 1
    slope = np.gradient(neutral, x)[near]
    for k, meV in enumerate((0.71, -0.93, -0.22)):
        curve = changes[k][near] / 100
        moved = -1e3 * float(curve @ slope) / float(slope @ slope)
        assert moved == pytest.approx(meV, abs=0.02)
    rest = curve + moved / 1e3 * slope
    assert 1 - rest @ rest / (curve @ curve) == pytest.approx(0.11, abs=0.01)


@pytest.mark.espresso
def test_the_check_adds_carriers_to_both_cells_and_to_nothing_else() -> None:
    root = Path(__file__).parent.parent
    spec = importlib.util.spec_from_file_location("check", root / "tools" / "screening_check.py")
    assert spec is not None
    assert spec.loader is not None
    check = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(check)
    (structure,) = plan(read_study(root / "examples" / "screening.toml"))
    (site,) = structure.absorbers
    for job, neutral in ((structure.ground, 0.0), (site.hole, 1.0)):
        added = check.charged(job, -0.05)
        (old, new), = {(a, b) for a, b in zip(job.deck.splitlines(), added.deck.splitlines(),
                                              strict=True) if a != b}
        assert float(old.split("=")[1]) == neutral
        assert (new.split("=")[0], float(new.split("=")[1])) == (old.split("=")[0], neutral - 0.05)
        assert added.digest != job.digest
        assert added.initial == (job,)
        assert check.charged(job, 0.0).digest == job.digest
    found = check.absorption(site.xas["z"], added)
    assert found.parent is added
    assert found.deck == site.xas["z"].deck
