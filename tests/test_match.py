"""A calculated steady state on a measured axis: the truth is found, from far off too, with errors
that hold; the file goes where it should, and nowhere else.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from coverage_match import CALCULATED, E, fitted, pair, pulls

from perovskite_polaron.analysis.matched import (
    Axis, Matched, MatchFit, Width, read_matched, write_matched)
from perovskite_polaron.analysis.scenario_curves import Curves, Grid, Priors, Template
from perovskite_polaron.analysis.scenarios import Scenario, computed
from perovskite_polaron.analysis.steady_curve import LAWS, SteadyCurve, broadened
from perovskite_polaron.analysis.steady_state import match
from perovskite_polaron.analysis.verdict import judge
from perovskite_polaron.analysis.weights import weigh
from perovskite_polaron.cli.main import main
from perovskite_polaron.errors import ComputationError, InputError
from perovskite_polaron.measured.calculated import read_calculated
from perovskite_polaron.measured.readers import read_scans
from perovskite_polaron.measured.scan import Scan
from perovskite_polaron.report.subject import Subject
from perovskite_polaron.spectra.spectrum import Spectrum
from perovskite_polaron.workflow.scenarios import BUILT_IN
from perovskite_polaron.workflow.spectra import load_results, site_spectra
from perovskite_polaron.workflow.steady_state import reference_curve, reference_id

DATA = Path(__file__).parent / "data" / "measured"


@pytest.mark.parametrize("law", LAWS)
def test_exact_data_give_the_parameters(law):
    truth, measured, off_eV = pair(law, 1)
    exact = SteadyCurve.of(CALCULATED, law, truth).at(E)
    found = fitted(law, replace(measured, intensity=truth["scale"] * exact + 0.3,
                                variance=np.full(len(E), 1e-10)), truth["e0_eV"] + off_eV).found
    assert found.axis.e0_eV == pytest.approx(truth["e0_eV"], abs=1e-4)
    assert found.axis.stretch == pytest.approx(truth["stretch"], abs=1e-5)
    assert found.width.resolution_fwhm_eV == pytest.approx(truth["resolution_fwhm_eV"], rel=1e-3)
    for name, value in found.width.parameters.items():
        assert value == pytest.approx(truth[name], rel=1e-3), name
    assert found.fit.scale == pytest.approx(truth["scale"], rel=1e-4)
    assert found.fit.widened == 1.0


def test_errors_hold_the_truth():
    """A small part of coverage_match.py: the sum of squared pulls is that of a χ²."""
    off = np.array([list(pulls("arctangent", seed).values()) for seed in range(12)])
    assert 0.6 < (off**2).mean() < 1.5
    assert np.abs(off).max() < 4


def test_the_start_does_not_matter():
    truth, measured, _ = pair("constant", 5)
    places = [fitted("constant", measured, edge).found.axis.e0_eV
              for edge in (truth["e0_eV"] - 10, truth["e0_eV"] + 10, None)]
    np.testing.assert_allclose(places, places[0], atol=2e-4)
    assert abs(places[0] - truth["e0_eV"]) < 0.05


def test_unknown_errors_and_a_misfit_widen_the_errors():
    _, measured, _ = pair("constant", 3)
    known, unknown = (fitted("constant", scan, 8980.0).found
                      for scan in (measured, replace(measured, variance=None)))
    # White noise is its own measure of its size, within its autocorrelation by chance.
    assert 0.7 < unknown.e0_err_eV / known.e0_err_eV < 2
    wave = 0.02 * np.sin(E / 4)
    wrong = fitted("constant", replace(measured, intensity=measured.intensity + wave), 8980.0).found
    assert wrong.fit.widened > 3 * np.sqrt(wrong.chi2_red) / 2
    assert wrong.chi2_red > 3


def test_chains_and_the_kernel_broaden_alike():
    """Widening chains is the convolution of their narrower curve, but for the photon energy."""
    results, settings, _ = load_results(BUILT_IN)
    curve = reference_curve(results, replace(settings, points=701))
    narrow, wide = (curve("constant", hwhm, {}) for hwhm in (1.0, 2.0))
    again = broadened(narrow)("constant", 1.0, {})
    inside = (wide.energy_eV > 5) & (wide.energy_eV < 40)
    there = np.interp(wide.energy_eV, again.energy_eV, again.intensity)
    miss = np.abs(there - wide.intensity)[inside].max() / wide.intensity.max()
    assert miss < 0.02


def test_a_stretched_study_is_the_study_at_stretched_energies():
    results, settings, _ = load_results(BUILT_IN)
    one = replace(results, structures=results.structures[:1])
    settings = replace(settings, points=141, resolution_fwhm_eV=0.0)
    plain, longer = (site_spectra(one, s)[1][0].spectrum
                     for s in (replace(settings, points=1401), replace(settings, stretch=0.02)))
    inside = longer.energy_eV / 1.02
    expected = np.interp(inside, plain.energy_eV, plain.intensity)
    np.testing.assert_allclose(longer.intensity, expected, rtol=2e-4,
                               atol=2e-4 * plain.intensity.max())


def matched(identity="x", **changed):
    """A match with correlated errors of zero and stretch."""
    errors = {"e0_eV": 0.05, "stretch": 0.002, "resolution_fwhm_eV": 0.1, "scale": 1.0}
    correlation = np.eye(4)
    correlation[0, 1] = correlation[1, 0] = -0.6
    fit = MatchFit("steady.xdi", "ground", identity, (13458.0, 13520.0), 100, 95.0, 1.0, True, 3.0,
                   (0.1, 0.01), tuple(errors), tuple(errors.values()),
                   tuple(map(tuple, correlation.tolist())))
    width = {"model": "constant", "core_hole_hwhm_eV": 1.26, "resolution_fwhm_eV": 1.0,
             "parameters": {}} | changed
    return Matched(Axis(13465.5, 0.01), Width(**width), fit,
                   correlation * np.outer(list(errors.values()), list(errors.values())))


def test_the_file_gives_back_what_was_found(tmp_path):
    found = matched()
    again = read_matched(write_matched(found, tmp_path / "match.toml"))
    assert (again.axis, again.width, again.fit) == (found.axis, found.width, found.fit)
    np.testing.assert_allclose(again.covariance, found.covariance, rtol=1e-12)


@pytest.mark.parametrize(("old", "new", "said"), [
    ("e0_eV = 13465.5", "", "e0_eV is missing"), ("[axis]", "[axes]", "'axes' is not one of"),
    ("-0.6", "-1.6", "no correlation"), ("0.002", "", "do not match"),
    ('model = "constant"', 'model = "steep"', "unknown")])
def test_a_damaged_file_is_refused(tmp_path, old, new, said):
    path = write_matched(matched(), tmp_path / "match.toml")
    text = path.read_text()
    assert old in text
    if old == "0.002":
        new, old = "", "    0.002,\n"
    path.write_text(text.replace(old, new))
    with pytest.raises(InputError, match=said):
        read_matched(path)


def test_the_priors_of_a_match_are_its_covariance():
    """The prior of zero and stretch is the quadratic form of their inverse covariance."""
    found = matched()
    priors = Priors(found.pivot_err_eV, 0.0, 0.0, found.error("stretch"), found.pivot_eV)
    own = np.arange(-30.0, 80.0, 0.1)
    scenario = Scenario("one", own, np.exp(-((own - 20) ** 2) / 50))
    measured = np.arange(13470.0, 13510.0, 1.0)
    template = Template([Curves(scenario, measured, found.axis.e0_eV, priors)])
    axes = np.linspace(-0.1, 0.1, 5), np.linspace(-0.004, 0.004, 5), np.zeros(1), np.ones(1)
    noise = weigh(np.ones(len(measured)), np.zeros((0, len(measured), 1)), np.ones(1))
    grid = Grid(template, noise, priors, axes)
    moved = np.column_stack([grid.shift_eV(grid.points), grid.points[:, 1]])
    inverse = np.linalg.inv(found.part(("e0_eV", "stretch")))
    expected = np.einsum("pi,ij,pj->p", moved, inverse, moved)
    inside = np.isfinite(grid.prior)
    assert inside.sum() > 5
    np.testing.assert_allclose(grid.prior[inside], expected[inside], rtol=1e-9)


@pytest.fixture(scope="module")
def matched_file(tmp_path_factory):
    results, settings, _ = load_results(BUILT_IN)
    return write_matched(matched(reference_id(results, settings)),
                         tmp_path_factory.mktemp("match") / "match.toml")


def test_compare_takes_zero_stretch_and_widths(matched_file):
    subject = Subject.read(BUILT_IN, matched_file)
    found = read_matched(matched_file)
    theory = subject.scenarios
    wider, step_eV = theory.wider
    # One error of the resolution, as the FWHM of a Voigt profile of 2.52 and 1.0 eV feels it.
    assert 0.02 < step_eV < 0.1
    energy = np.arange(13474.0, 13510.0, 0.5)
    # The truth has the wider final states, and the zero off by one error along the correlation.
    truth = wider.scenarios[0]
    clean = 0.1 * np.interp(energy - 13465.5 - 0.04, truth.energy_eV, truth.sweep.differences[2])
    noise = 1e-3 * np.abs(clean).max()
    rng = np.random.default_rng(1)
    scan = Scan(energy, clean + noise * rng.normal(size=len(energy)),
                np.full(len(energy), noise**2))
    best = judge(scan, theory, shifted=False, matched=found).found.best
    assert best.name == truth.name
    assert best.width_fwhm_eV == pytest.approx(step_eV, rel=0.3)
    assert best.shift_eV == pytest.approx(0.04, abs=0.03)
    low, high = best.interval95
    expected = 0.1 * (truth.sweep.amplitudes_sqrt_amu_A[2] / truth.amplitude_sqrt_amu_A) ** 2
    assert low < expected < high


def test_carriers_are_as_wide_as_the_match_says(matched_file):
    """The line of an opened channel, wider by one error of the match, is lower."""
    theory = Subject.read(BUILT_IN, matched_file).electronic_scenarios
    wider, step_eV = theory.wider
    own, wide = theory.scenarios[-1], wider.scenarios[-1]
    assert (own.kind, wide.name) == ("carriers", "filling")
    assert wide.difference.max() < own.difference.max()
    filling = next(s for s in computed(theory) if s.kind == "carriers")
    np.testing.assert_allclose(filling.per_width[0], (wide.difference - own.difference) / step_eV)


def test_the_verbs_take_the_file_and_refuse_what_contradicts_it(matched_file, tmp_path, capsys):
    out = tmp_path / "spectra"
    assert main(["spectra", str(BUILT_IN), "--match", str(matched_file), "--out", str(out)]) == 0
    energy = np.loadtxt(out / "spectra.csv", delimiter=",", skiprows=1)[:, 0]
    assert (energy[0], energy[-1]) == (-10, 60)
    capsys.readouterr()
    for call, said in ((["spectra", str(BUILT_IN), "--edge", "13465eV"], "leave out --edge"),
                       (["compare", "x.csv", "--width-sigma", "0.1eV"], "leave out --width-sigma")):
        assert main([*call, "--match", str(matched_file)]) == 2
        assert said in capsys.readouterr().err
    other = write_matched(matched("another"), tmp_path / "other.toml")
    assert main(["spectra", str(BUILT_IN), "--match", str(other)]) == 2
    assert "made with another calculation" in capsys.readouterr().err


@pytest.mark.parametrize(("changed", "said"), [
    ({"law": "steep"}, "unknown"), ({"order": 9}, "order of the background"),
    ({"hold": {"slope": 1.0}}, "no parameter"), ({"hold": {"stretch": 0.3}}, "outside"),
    ({"hold": {"stretch": 0.0}, "free": {"stretch": None}}, "cannot be held and free"),
    ({"window": (8975.0, 8977.0)}, "no place|too few"), ({"edge_eV": 9500.0}, "no place")])
def test_refusals(changed, said):
    _, measured, _ = pair("constant", 1)
    with pytest.raises(InputError, match=said):
        match(measured, CALCULATED, ("made up", "-"), **{"core_hole_hwhm_eV": 1.0} | changed)


def test_what_fits_only_upside_down_fails():
    _, measured, _ = pair("constant", 1)
    with pytest.raises((InputError, ComputationError), match=r"upside down|no place"):
        match(replace(measured, intensity=-measured.intensity), CALCULATED, ("made up", "-"),
              core_hole_hwhm_eV=1.0, edge_eV=8980.0, reach_eV=1.0)


def test_files_of_other_programs_say_their_zero(tmp_path):
    feff = read_calculated(DATA / "cu-feff10-xmu.dat")
    # The Fermi energy, where k is zero: the absorption rises there.
    rise = feff.energy_eV[np.argmax(np.gradient(feff.intensity, feff.energy_eV))]
    assert abs(rise) < 10
    fdmnes = tmp_path / "cu_conv.txt"
    fdmnes.write_text("    Energy    <xanes>\n" + "".join(
        f"{e:10.3f} {1 / (1 + np.exp(-e)):15.7e}\n" for e in np.arange(-10, 30, 0.5)))
    assert read_calculated(fdmnes).energy_eV[0] == -10
    table = tmp_path / "two.dat"
    table.write_text("".join(f"{8970 + k} {k}\n" for k in range(50)))
    with pytest.raises(InputError, match="does not say its unit"):
        read_calculated(table)
    with pytest.raises(InputError, match="--zero"):
        read_calculated(table, energy_unit="eV")
    moved = Spectrum(np.arange(50.0) - 9, np.arange(50.0))
    np.testing.assert_array_equal(
        read_calculated(table, energy_unit="eV", zero_eV=8979.0).energy_eV, moved.energy_eV)


def test_a_copper_foil_and_feff_from_ten_eV_off(tmp_path, capsys):
    """A measured standard: the place does not depend on the start, and is the edge of copper."""
    places = []
    for edge in ("8969eV", "8989eV"):
        out = tmp_path / f"{edge}.toml"
        call = ["match", str(DATA / "cu_10k.xmu"), "--energy-unit", "eV", "--calculated",
                str(DATA / "cu-feff10-xmu.dat"), "--edge", edge, "--hold", "stretch=0",
                "--window", "8955eV:9035eV", "--out", str(out), "--json"]
        assert main(call) == 0
        found = json.loads(capsys.readouterr().out)
        places.append(found["e0_eV"])
        assert read_matched(out).axis.e0_eV == pytest.approx(found["e0_eV"])
    assert places[0] == pytest.approx(places[1], abs=0.01)
    assert places[0] == pytest.approx(8979, abs=3)
    assert read_scans([DATA / "cu_10k.xmu"], energy_unit="eV")[0].energy_eV[0] > 8000
