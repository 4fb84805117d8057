"""Studies of ensembles: keys, absorbers, averages, paired errors, controls, the heated lattice."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xraydb
from hot_results import HOT, LO, SERIES, ensembles, made, study_file
from numpy.typing import NDArray

from perovskite_polaron.cli.main import main
from perovskite_polaron.errors import InputError
from perovskite_polaron.lattice.crystal import supercell
from perovskite_polaron.lattice.diffraction import powder_pattern
from perovskite_polaron.lattice.ensemble import read_ensemble
from perovskite_polaron.lattice.files import read_crystal
from perovskite_polaron.lattice.octahedra import bond_report
from perovskite_polaron.lattice.statistics import bond_distributions
from perovskite_polaron.report.blocks import Claims
from perovskite_polaron.report.claims import (
    AGREES, DISAGREES, OPEN, shape_ratio_range, shape_ratio_sigma)
from perovskite_polaron.report.hot_section import hot_section, strength
from perovskite_polaron.report.subject import Subject
from perovskite_polaron.workflow.control import controlled
from perovskite_polaron.workflow.results import read_results, write_results
from perovskite_polaron.workflow.scenarios import on_top, study_scenarios
from perovskite_polaron.workflow.spectra import study_spectra, write_tables
from perovskite_polaron.workflow.structures import study_structures
from perovskite_polaron.workflow.study import read_study


@pytest.fixture(scope="module")
def hot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ensembles(tmp_path_factory.mktemp("hot"))


def test_snapshots_are_displaced_alike_and_share_their_absorbers(hot: Path) -> None:
    text = (HOT.format(name="hot", folder="hot/25C")
            + HOT.format(name="hot_lo", folder="hot/25C") + LO + 'minus = "hot"\n'
            + HOT.format(name="hotter", folder="hot/140C"))
    found = study_structures(read_study(study_file(hot, text)))
    parts: dict[str, list[Any]] = {}
    for one in found:
        parts.setdefault(one.entry, []).append(one)
    assert {name: len(these) for name, these in parts.items()} == {
        "ground": 1, "hot": 8, "hot_lo": 8, "hotter": 8}
    for plain, moved, other in zip(parts["hot"], parts["hot_lo"], parts["hotter"], strict=True):
        change = (moved.crystal.positions - plain.crystal.positions) @ plain.crystal.lattice_A
        assert np.linalg.norm(change, axis=1).max() == pytest.approx(0.10)
        assert np.abs(change - moved.distortion.displacement_A).max() < 1e-9
        labels = [[s.absorber_label(a) for a in s.absorbers] for s in (plain, moved, other)]
        assert labels[0] == labels[1] == labels[2]
        assert [a.site for a in plain.absorbers] == ["4c", "8d", "8d"]
        assert [a.multiplicity for a in plain.absorbers] == [4, 4, 4]
        assert moved.undisplaced is moved.rest
    drawn = [tuple(a.index for a in s.absorbers) for s in parts["hot"]]
    assert drawn[::2] == drawn[1::2]  # a pair has the same atoms
    assert len(set(drawn)) > 1


@pytest.mark.parametrize(("text", "why"), [
    ("[structures.hot]\nabsorbers = 2\n", "crystal is missing"),
    ('[structures.hot]\nensemble = "hot/25C"\ncrystal = "cspbbr3-pbnm"\n', "crystal does not go"),
    ('[structures.hot]\ncrystal = "cspbbr3-pbnm"\nsnapshots = 4\n',
     "snapshots is for the snapshots"),
    ('[structures.hot]\nensemble = "hot/25C"\nseed = 4\n', "say how many"),
    ('[structures.hot]\nensemble = "hot/25C"\nminus = "none"\n', "not another structure")])
def test_contradictions_are_told(hot: Path, text: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        read_study(study_file(hot, text))


def test_a_study_says_which_folder_is_no_ensemble_and_what_cannot_be_selected(hot: Path) -> None:
    for text, why in (('ensemble = "hot"', "is no ensemble"),
                      ('ensemble = "hot/25C"\nsnapshots = 3', "even number"),
                      ('ensemble = "hot/25C"\nsnapshots = 30', "cannot be selected"),
                      ('ensemble = "hot/25C"\nabsorbers = 1', "leaves out a class")):
        study = read_study(study_file(hot, f"[structures.hot]\n{text}\n"))
        with pytest.raises(InputError, match=why):
            study_structures(study)


def test_averages_and_errors_are_those_of_the_snapshots(hot: Path, tmp_path: Path) -> None:
    results = made(hot, SERIES)
    spectra = study_spectra(results, results.study.spectra)
    assert list(spectra.structures) == ["ground", "hot", "hot_lo", "warm", "hotter", "lo"]
    assert list(spectra.structures["hot"].sites) == ["Br-4c"]
    assert spectra.base_of("hot_lo") == "hot"
    assert spectra.base_of("hot") == "ground"
    assert {n for n, e in spectra.errors.items() if e.paired} == {"hot_lo", "warm", "hotter"}
    error = spectra.errors["hotter"]
    assert (error.samples, error.effective) == (40, 20)
    # The rows are the covariance, so their squares are the variance.
    assert np.sqrt((error.rows**2).sum(axis=0)) == pytest.approx(error.sigma, rel=1e-6, abs=1e-12)
    # By hand: the sum of both random features scales with the temperature.
    assert spectra.percent("hotter").min() < -5
    records = {r.absorber: r.spectrum.intensity for r in spectra.records if r.structure == "hot"}
    assert np.mean(list(records.values()), axis=0) == pytest.approx(
        spectra.structures["hot"].average.intensity)
    written = {p.name: p.read_text() for p in write_tables(spectra, tmp_path)}
    head = written["differences.csv"].splitlines()[0]
    assert "hot_lo minus hot (over" in head
    assert "hot_lo standard error" in head
    assert "hot standard error" in written["spectra.csv"].splitlines()[0]
    write_results(results, tmp_path)
    again = study_spectra(read_results(tmp_path), results.study.spectra)
    assert np.array_equal(again.errors["hotter"].sigma, error.sigma)


def test_other_absorbers_or_other_draws_are_not_subtracted_one_by_one(hot: Path) -> None:
    results = made(hot, SERIES)
    rows = list(results.structures)
    other = rows[4]
    assert other.ensemble is not None
    rows[4] = replace(other, ensemble={**other.ensemble, "draws": "others"})
    spectra = study_spectra(replace(results, structures=tuple(rows)), results.study.spectra)
    assert not spectra.errors["hotter"].paired
    both = [spectra.mean_errors[n].sigma for n in ("hot", "hotter")]
    assert spectra.errors["hotter"].sigma == pytest.approx(np.hypot(*both))


def test_a_reference_may_be_an_ensemble(hot: Path) -> None:
    text = SERIES.replace('minus = "hot"\n', "")
    path = study_file(hot, text)
    path.write_text(path.read_text().replace('reference = "ground"', 'reference = "hot"'))
    results = made(hot, text)
    results = replace(results, study=replace(results.study, reference="hot"))
    spectra = study_spectra(results, results.study.spectra)
    assert spectra.errors["hotter"].paired
    assert not spectra.errors["ground"].paired


def test_a_heated_lattice_is_a_scenario_with_its_temperature(hot: Path) -> None:
    results = made(hot, SERIES, noise=0.01)
    found = study_scenarios(results, results.study.spectra)
    names = [s.name for s in found.scenarios]
    heat = next(s for s in found.scenarios if s.kind == "heat")
    assert heat.name == "calculated heated lattice (up to 140 °C, from 25 °C)"
    assert heat.sweep is not None
    assert heat.sweep.amplitudes_sqrt_amu_A == pytest.approx([55, 115])
    spectra = study_spectra(results, results.study.spectra)
    assert np.array_equal(heat.sweep.at(115.0), spectra.differences["hotter"].intensity)
    # The rule is linear in the temperature, so what is between is known.
    between, largest = heat.sweep.at(80.0), heat.sweep.at(115.0)
    assert between == pytest.approx(largest * 80 / 115, abs=0.02 * np.abs(between).max())
    for beyond in (120.0, -10.0):
        with pytest.raises(InputError, match=r"ΔT = .* K is beyond the largest computed amplitude"):
            heat.sweep.at(beyond)
    assert "snapshots 1" in heat.errors
    assert "hotter" not in names
    still = next(s for s in found.scenarios if s.name == "polaron lo")
    changed = spectra.differences["hot_lo"].intensity - spectra.differences["lo"].intensity
    assert still.errors["thermal average"] == pytest.approx(changed)


def test_compare_finds_the_temperature_that_was_put_in(
        hot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = made(hot, SERIES, noise=0.01)
    write_results(results, tmp_path)
    found = study_scenarios(results, results.study.spectra)
    heat = next(s for s in found.scenarios if s.kind == "heat")
    assert heat.sweep is not None
    rng, sigma = np.random.default_rng(0), 1e-4
    energy = np.linspace(-5, 55, 200)
    signal = np.interp(energy, heat.energy_eV, heat.sweep.at(80.0))
    rows = [f"{e:.4f},{y + sigma * rng.standard_normal():.8f},{sigma}"
            for e, y in zip(energy, signal, strict=True)]
    (tmp_path / "transient.csv").write_text("energy_eV,signal,error\n" + "\n".join(rows) + "\n")
    words = ["compare", str(tmp_path / "transient.csv"), "--study", str(tmp_path), "--edge", "0eV",
             "--shift-sigma", "0eV", "--width-sigma", "0eV", "--stretch-sigma", "0", "--fraction",
             "1", "--no-mixtures", "--json"]
    assert main(words) == 0
    record = json.loads(capsys.readouterr().out)
    row = next(s for s in record["scenarios"] if s["name"] == heat.name)
    assert record["best"] == heat.name
    assert row["delta_T_K"]["value"] == pytest.approx(80, abs=5)
    assert row["amplitude_sqrt_amu_A"] is None
    assert row["f_q_A_sqrt_amu"] is None
    assert row["f_delta_T_K"] == pytest.approx(80, rel=0.1)
    assert any("ΔT = " in line for line in record["statements"])


def test_a_cheap_engine_saves_variance_where_it_shares_snapshots(hot: Path) -> None:
    fine = made(hot, SERIES, samples=8)
    cheap = made(hot, SERIES, samples=60, quality=0.6)
    one = next(c for c in controlled(fine, cheap) if c.name == "hot_lo")
    assert (one.snapshots, one.more, one.minus) == (8, 52, "hot")
    # Four pairs of both and 26 of the cheap one can save 1 + 26/4 at most, and β is from three.
    assert 2 < one.found.saved < 7.5
    assert one.found.sigma.max() < one.found.plain_sigma.max()
    exact = made(hot, SERIES, samples=300)
    truth = study_spectra(exact, exact.study.spectra)
    best = np.abs(truth.percent("hot_lo")).max()
    assert np.abs(one.found.mean).max() == pytest.approx(best, rel=0.15)
    other = made(hot, SERIES.replace("seed = 4", "seed = 5"), samples=4)
    with pytest.raises(InputError, match="lacks snapshots"):
        controlled(fine, other)


def test_a_report_beside_says_what_heat_does_and_what_it_leaves_of_a_displacement(
        hot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = made(hot, SERIES, noise=0.01)
    subject = Subject(results, results.study.spectra, tmp_path, hot)
    assert subject.ensembles == pytest.approx({"hot": 25, "warm": 80, "hotter": 140})
    assert list(subject.heated) == ["warm", "hotter"]
    assert on_top(results, subject.spectra) == {"lo": "hot_lo"}
    # The rule: the same feature at rest and when hot, so as strong within its error.
    ((still, moved),) = on_top(results, subject.spectra).items()
    error = subject.spectra.errors[moved]
    factor, alike, sigma = strength(subject.percent(still), subject.percent(moved),
                                    error.rows * 100 / subject.maximum)
    assert sigma is not None
    assert 0 < sigma < 0.2
    assert abs(factor - 1) < 4 * sigma
    assert alike > 0.99
    assert strength(np.array([1.0, 2]), np.array([-2.0, -4]), None) == pytest.approx((-2, -1, None))
    # C and its error, by a small change of the curve along each principal error.
    spectra, name, h = subject.spectra, "hotter", 1e-6
    average = spectra.structures[name].average
    rows = 1e-4 * np.random.default_rng(0).standard_normal((3, len(average.energy_eV)))

    def seen(change: NDArray[np.float64]) -> Subject:
        again = Subject(results, results.study.spectra, tmp_path, hot)
        moved = replace(spectra.structures[name],
                        average=replace(average, intensity=average.intensity + change))
        again.__dict__["spectra"] = replace(
            spectra, structures={**spectra.structures, name: moved},
            errors={name: replace(spectra.errors[name], rows=rows)})
        return again

    value = shape_ratio_range(subject, name)[0]
    turned = [(shape_ratio_range(seen(h * row), name)[0] - value) / h for row in rows]
    assert shape_ratio_sigma(seen(0 * rows[0]), name) == pytest.approx(
        np.linalg.norm(turned), rel=1e-3)
    section = hot_section(subject)
    assert section.title == "Hot crystals at the Br K edge, with FEFF10"
    claims = [f for b in section.blocks if isinstance(b, Claims) for f in b.claims]
    judged = [f for f in claims if "C of the sample at" in f.published]
    assert len(judged) == 2
    # In this rule all temperatures have one shape: C has no error, and its sign stands.
    expected = AGREES if value > 0 else DISAGREES
    low, high = shape_ratio_range(subject, name)[1:]
    assert {f.verdict for f in judged} == {OPEN if low < 0 < high else expected}
    (tmp_path / "series").mkdir()
    write_results(results, tmp_path / "series")
    assert main(["report", "--beside", str(tmp_path / "series"), "--out", str(tmp_path / "r")]) == 0
    assert capsys.readouterr().out.endswith(f"report: {tmp_path / 'r' / 'report.html'}\n")
    page = (tmp_path / "r" / "report.html").read_text()
    assert "Hot crystals at the Br K edge" in page
    assert "strength when hot" in page
    assert (tmp_path / "r" / "figures" / "hot-br-k-feff.csv").exists()
    capsys.readouterr()
    assert main(["report", str(tmp_path / "series"), "--out", str(tmp_path / "s")]) == 2
    assert "--beside" in capsys.readouterr().err


# Statistics of structure.

def test_distributions_of_bonds_widen_with_the_temperature(hot: Path) -> None:
    cold, warm = (bond_distributions(read_ensemble(hot / "hot" / t)) for t in ("25C", "140C"))
    report = bond_report(read_crystal("cspbbr3-pbnm"))
    assert cold["axial_A"].reference == pytest.approx(report.axial_A)
    assert cold["axial_angle_deg"].reference == pytest.approx(report.axial_angle_deg)
    for name, one in cold.items():
        assert len(one.values) == len(warm[name].values)
        assert one.percentile(5) < one.mean < one.percentile(95)
    # Classical: widths grow with the root of the temperature.
    ratio = warm["axial_A"].sigma / cold["axial_A"].sigma
    assert ratio == pytest.approx(np.sqrt(413.15 / 298.15), rel=0.1)


def test_powder_patterns_are_those_of_gemmi(hot: Path) -> None:
    gemmi = pytest.importorskip("gemmi")
    crystal = read_crystal("cspbbr3-pbnm")
    found = powder_pattern([crystal], 10, 40)
    small = gemmi.SmallStructure()
    lengths = np.linalg.norm(crystal.lattice_A, axis=1)
    small.cell = gemmi.UnitCell(*lengths, 90, 90, 90)
    small.spacegroup_hm = "P 1"
    for k, (s, x) in enumerate(zip(crystal.species, crystal.positions, strict=True)):
        site = gemmi.SmallStructure.Site()
        site.label, site.element, site.fract = f"{s}{k}", gemmi.Element(s), gemmi.Fractional(*x)
        site.occ = 1.0
        small.add_site(site)
    small.setup_cell_images()
    calculator = gemmi.StructureFactorCalculatorX(small.cell)
    for s in dict.fromkeys(crystal.species):
        energy_eV = 12398.42 / 1.540598
        calculator.addends.set(gemmi.Element(s), float(xraydb.f1_chantler(s, energy_eV)))
    strong = found.intensity > 0.05 * found.intensity.max()
    sizes = []
    for hkl, t in zip(found.hkl[strong].tolist(), found.two_theta_deg[strong], strict=True):
        theta = np.radians(t / 2)
        lorentz = (1 + np.cos(2 * theta) ** 2) / (np.sin(theta) ** 2 * np.cos(theta))
        f = abs(calculator.calculate_sf_from_small_structure(small, hkl))
        count = 2 ** sum(index != 0 for index in hkl)
        sizes.append(f**2 * lorentz * count)
    theirs = np.array(sizes) / max(sizes)
    mine = found.intensity[strong] / found.intensity[strong].max()
    # The imaginary anomalous terms are in ours alone, and its form factors are of another table.
    assert mine == pytest.approx(theirs, rel=0.04)


def test_a_supercell_has_the_pattern_of_its_cell_and_heat_takes_from_high_angles(
        hot: Path) -> None:
    crystal = read_crystal("cspbbr3-pm3m")
    one, many = (powder_pattern(c, 10, 60) for c in ([crystal], [supercell(crystal, (2, 2, 2))]))
    seen = many.intensity > 1e-9 * many.intensity.max()
    assert many.two_theta_deg[seen] == pytest.approx(one.two_theta_deg)
    assert many.intensity[seen] == pytest.approx(8 * one.intensity / 8, rel=1e-9)
    assert one.hkl[0].tolist() == [1, 0, 0]
    bragg = 2 * np.degrees(np.arcsin(1.540598 / 2 / crystal.lattice_A[0, 0]))
    assert one.two_theta_deg[0] == pytest.approx(bragg)
    rest = powder_pattern([read_crystal("cspbbr3-pbnm")], 10, 60)
    warm = powder_pattern(read_ensemble(hot / "hot" / "140C").snapshots, 10, 60)
    strong = rest.intensity > 0.3 * rest.intensity.max()
    left = warm.intensity[strong] / rest.intensity[strong]
    assert np.corrcoef(rest.two_theta_deg[strong], left)[0, 1] < -0.5
    assert left[-1] < 0.85
    grid = np.linspace(10, 60, 20_001)
    area = np.trapezoid(rest.curve(grid, 0.1), grid)
    inside = (rest.two_theta_deg > 10.3) & (rest.two_theta_deg < 59.7)
    assert area == pytest.approx(rest.intensity[inside].sum(), rel=0.05)


def test_the_commands_print_what_is_measured_of_snapshots(
        hot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(hot / "hot" / "25C")
    assert main(["bonds", folder, "--csv", str(tmp_path / "b.csv"), "--figure",
                 str(tmp_path / "b.png"), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["snapshots"] == 8
    assert record["distributions"]["axial_A"]["sigma"] > 0.03
    assert main(["xrd", "cspbbr3-pbnm", folder, "--csv", str(tmp_path / "x.csv"), "--figure",
                 str(tmp_path / "x.png"), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert [p["source"] for p in record["patterns"]] == ["cspbbr3-pbnm", folder]
    assert (tmp_path / "x.csv").read_text().startswith("two_theta_deg,cspbbr3-pbnm")
