"""One amplitude from two edges: synthetic transients of the bundled Br K and Pb L3 sets.

Truth and fit share one calculation, and places and widths of the axes are held: this tests the
statistics of what is common.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import polaron
from coverage_joint import ENERGY as ENERGY_OF_COVERAGE, built_in, coverage

from perovskite_polaron.analysis.joint_fit import JointFit, joint_fits, statements
from perovskite_polaron.analysis.matched import Axis, Matched, MatchFit, Width, write_matched
from perovskite_polaron.analysis.scenarios import ScenarioSet
from perovskite_polaron.analysis.verdict import judge
from perovskite_polaron.cli.main import main
from perovskite_polaron.errors import InputError
from perovskite_polaron.measured.scan import Scan
from perovskite_polaron.workflow.edges import need_other_edge
from perovskite_polaron.workflow.scenarios import BUILT_IN, BUILT_IN_PB_L3, study_scenarios
from perovskite_polaron.workflow.spectra import load_results
from perovskite_polaron.workflow.steady_state import reference_id

FOLDERS = {"Br-K": BUILT_IN, "Pb-L3": BUILT_IN_PB_L3}
ENERGY = np.arange(-6.0, 48.0, 0.75)
FRACTION = 0.1


@pytest.fixture(scope="module")
def theories() -> dict[str, ScenarioSet]:
    found = {}
    for edge, folder in FOLDERS.items():
        results, settings, _ = load_results(folder)
        theory = study_scenarios(results, settings)
        lead = theory.scenarios[0]
        # The errors of the calculation are the subject of other tests.
        found[edge] = replace(theory, scenarios=(replace(lead, errors={}),))
    return found


def transient(theory: ScenarioSet, seed: int, ratio: float, fraction: float = FRACTION,
              row: int = -1) -> Scan:
    """The change at one computed amplitude, with noise: so much smaller than its largest value."""
    lead = theory.scenarios[0]
    assert lead.sweep is not None
    clean = fraction * np.interp(ENERGY, lead.energy_eV, lead.sweep.differences[row])
    error = np.full(len(ENERGY), np.abs(clean).max() / ratio)
    noise = np.random.default_rng([seed, 3]).normal(size=len(ENERGY))
    return Scan(ENERGY, clean + error * noise, error**2)


def fitted(theories: dict[str, ScenarioSet], scans: dict[str, Scan], **priors: float) -> JointFit:
    known = {"shift_sigma_eV": 0.0, "width_sigma_eV": 0.0, "stretch_sigma": 0.0} | priors
    (found,) = joint_fits({edge: judge(scans[edge], theories[edge], edge_eV=0.0, shifted=False,
                                       **known) for edge in theories})  # type: ignore[arg-type]
    return found


def test_without_own_parameters_it_is_the_weighted_mean(theories: dict[str, ScenarioSet]) -> None:
    single = {}
    for edge, theory in theories.items():
        lead = theory.scenarios[0]
        assert lead.sweep is not None
        last = replace(lead.sweep, amplitudes_sqrt_amu_A=lead.sweep.amplitudes_sqrt_amu_A[-1:],
                       differences=lead.sweep.differences[-1:])
        single[edge] = replace(theory, scenarios=(replace(lead, sweep=last),))
    scans = {edge: transient(single[edge], seed, 6.0) for seed, edge in enumerate(single)}
    found = fitted(single, scans)
    # Least squares by hand, in f·Q².
    unit = single["Br-K"].scenarios[0].amplitude_sqrt_amu_A ** 2  # type: ignore[operator]
    means, weights = [], []
    for edge, scan in scans.items():
        lead = single[edge].scenarios[0]
        column = np.interp(ENERGY, lead.energy_eV, lead.difference) / unit
        assert scan.variance is not None
        weights.append((column**2 / scan.variance).sum())
        means.append((column * scan.intensity / scan.variance).sum() / weights[-1])
    mean, error = np.average(means, weights=weights), np.sum(weights) ** -0.5
    assert found.product == pytest.approx(mean, abs=0.01 * error)
    assert found.error == pytest.approx(error, rel=0.01)
    assert found.interval95 == pytest.approx((mean - 1.96 * error, mean + 1.96 * error),
                                             abs=0.02 * error)
    for one, own, weight in zip(found.edges, means, weights, strict=True):
        assert (one.product, one.error) == pytest.approx((own, weight**-0.5), rel=0.01)
    chi2 = (means[0] - means[1]) ** 2 / (1 / weights[0] + 1 / weights[1])
    assert found.p_agree == pytest.approx(_chance(chi2), abs=0.02)


def _chance(chi2: float) -> float:
    """How often the square of a normal number is larger."""
    return float((np.random.default_rng(0).normal(size=200_000) ** 2 > chi2).mean())


def test_the_interval_covers_the_truth_and_is_narrower_than_either(
        theories: dict[str, ScenarioSet]) -> None:
    lead = theories["Br-K"].scenarios[0]
    assert lead.sweep is not None
    # The third of five amplitudes, where the law of Q² alone would not do.
    truth = FRACTION * lead.sweep.amplitudes_sqrt_amu_A[2] ** 2
    inside, count = {"68": 0, "95": 0}, 20
    for seed in range(count):
        found = fitted(theories, {edge: transient(theory, 2 * seed + k, 12.0, row=2)
                                  for k, (edge, theory) in enumerate(theories.items())})
        inside["68"] += found.interval68[0] <= truth <= found.interval68[1]
        inside["95"] += found.interval95[0] <= truth <= found.interval95[1]
        half = (found.interval68[1] - found.interval68[0]) / 2
        assert half < min(one.error for one in found.edges)
    # Within three standard deviations of a binomial law.
    assert inside["68"] >= 8
    assert inside["95"] >= 16


def test_the_interval_covers_the_truth_with_what_is_drawn_of_both_axes() -> None:
    """Place, stretch and width of each edge as their priors have them; tests/coverage_joint.py has
    ten times as many.
    """
    found = coverage(built_in(), ENERGY_OF_COVERAGE[::2], 20, 20)
    # Within three standard deviations of a binomial law.
    assert (found.count, found.refused) == (20, 0)
    assert 8 <= found.inside68 <= 19
    assert found.inside95 >= 16
    assert found.contradict <= 4


def test_edges_that_contradict_each_other_are_told(theories: dict[str, ScenarioSet]) -> None:
    scans = {"Br-K": transient(theories["Br-K"], 1, 20.0),
             "Pb-L3": transient(theories["Pb-L3"], 2, 20.0, fraction=0.2)}
    found = fitted(theories, scans)
    assert found.p_agree < 1e-6
    assert "contradict each other" in statements([found])[1]
    assert "agree: alone" in statements([fitted(theories, scans | {
        "Pb-L3": transient(theories["Pb-L3"], 2, 20.0)})])[1]


def write(path: Path, scan: Scan, head: str = "") -> None:
    assert scan.error is not None
    np.savetxt(path, np.column_stack([scan.energy_eV, scan.intensity, scan.error]), delimiter=",",
               header=f"{head}energy (eV),mu,error", comments="")


def test_compare_fits_both_from_files_and_prints_one_number(
        theories: dict[str, ScenarioSet], tmp_path: Path) -> None:
    for k, (edge, theory) in enumerate(theories.items()):
        write(tmp_path / f"{edge}.csv", transient(theory, k, 15.0, row=2))
    fixed = ["--shift-sigma", "0eV", "--width-sigma", "0eV", "--stretch-sigma", "0",
             "--no-mixtures", "--edge", "0eV", "--beside-edge", "0eV"]
    command = ["compare", "Br-K.csv", "--beside", "Pb-L3.csv", str(BUILT_IN_PB_L3), *fixed]
    done = polaron(*command, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lo = next(one for one in json.loads(done.stdout)["joint"] if one["name"] == "polaron lo")
    sweep = theories["Br-K"].scenarios[0].sweep
    assert sweep is not None
    assert lo["f_q2_A2_amu"] == pytest.approx(
        FRACTION * sweep.amplitudes_sqrt_amu_A[2] ** 2, abs=4 * lo["f_q2_err"])
    # Of Pb L3 the settings are known; of Br K what another engine says, of the cubic phase too.
    assert lo["f_q2_err_calculation"] > 0
    assert lo["f_q2_err"] < min(one["error"] for one in lo["edges"])
    assert [one["edge"] for one in lo["edges"]] == ["Br-K", "Pb-L3"]
    said = polaron(*command, cwd=tmp_path).stdout
    said = " ".join(said.split())
    assert "polaron lo at Br-K and Pb-L3 together: excited fraction × Q²" in said
    assert "(calculation: of Br-K engine and thermal average only)" in said


def test_each_edge_has_a_match_of_its_own(
        tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
        theories: dict[str, ScenarioSet]) -> None:
    monkeypatch.chdir(tmp_path)
    lead_edge = 13035.0
    scans = [transient(theories[edge], k, 15.0, row=2) for k, edge in enumerate(FOLDERS)]
    write(Path("br.csv"), scans[0])
    moved = replace(scans[1], energy_eV=scans[1].energy_eV + lead_edge)
    write(Path("pb.csv"), moved)
    results, settings, _ = load_results(BUILT_IN_PB_L3)
    errors = {"e0_eV": 0.01, "stretch": 1e-4, "scale": 0.01}
    fit = MatchFit("pb.xdi", "ground", reference_id(results, settings), (13025.0, 13090.0), 80,
                   75.0, 1.0, True, 1.0, (0.0, 0.0), tuple(errors), tuple(errors.values()),
                   tuple(map(tuple, np.eye(3).tolist())))
    width = Width("constant", settings.core_hole_hwhm_eV, settings.resolution_fwhm_eV)
    write_matched(Matched(Axis(lead_edge, 0.0), width, fit, np.diag(np.square(list(
        errors.values())))), Path("pb.toml"))
    words = ["compare", "br.csv", "--edge", "0eV", "--no-mixtures", "--beside", "pb.csv",
             str(BUILT_IN_PB_L3)]
    assert main([*words, "--beside-match", "pb.toml", "--json"]) == 0
    lo = next(one for one in json.loads(capsys.readouterr().out)["joint"]
              if one["name"] == "polaron lo")
    sweep = theories["Pb-L3"].scenarios[0].sweep
    assert sweep is not None
    truth = FRACTION * sweep.amplitudes_sqrt_amu_A[2] ** 2
    pb = next(one for one in lo["edges"] if one["edge"] == "Pb-L3")
    assert pb["product"] == pytest.approx(truth, abs=3 * pb["error"])
    for more, said in ((["--beside-match", "pb.toml", "--beside-edge", "0eV"],
                        "leave out --beside-edge"),
                       (["--like-steady"], "give --beside-match too")):
        assert main([*words, *more]) == 2
        assert said in capsys.readouterr().err
    assert main(["compare", "br.csv", "--beside-match", "pb.toml"]) == 2
    assert "place the transient of --beside" in capsys.readouterr().err


def test_other_edges_and_other_displacements_are_refused(
        tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
        theories: dict[str, ScenarioSet]) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("br.csv"), transient(theories["Br-K"], 1, 15.0))
    (bromine, _, _), (lead, _, _) = (load_results(one) for one in FOLDERS.values())
    assert main(["compare", "br.csv", "--edge", "0eV", "--beside", "br.csv", str(BUILT_IN)]) == 2
    assert "both studies are of the edge Br K" in capsys.readouterr().err
    # Q over a cell twice as large is √2 times as much for the same displacement.
    doubled = replace(lead, structures=tuple(
        s if s.amplitude_sqrt_amu_A is None
        else replace(s, amplitude_sqrt_amu_A=2**0.5 * s.amplitude_sqrt_amu_A)
        for s in lead.structures))
    with pytest.raises(InputError, match="lo is another displacement in the study of Pb L3"):
        need_other_edge(bromine, doubled)
    assert main(["compare", "br.csv", "--beside-edge", "0eV"]) == 2
    assert "give that too" in capsys.readouterr().err
