"""The page: whole in itself, its figures and data the same, bad input, and what a browser shows."""

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import polaron

from perovskite_polaron.analysis.scenarios import Scenario
from perovskite_polaron.analysis.verdict import judge
from perovskite_polaron.cli.main import main
from perovskite_polaron.files import write_sealed
from perovskite_polaron.measured.scan import Scan
from perovskite_polaron.report import claims, method_sections, subject as report_subject
from perovskite_polaron.report.answer import answer
from perovskite_polaron.report.blocks import WORDS
from perovskite_polaron.report.live import live
from perovskite_polaron.report.page import inline, typeset
from perovskite_polaron.report.study_page import study_page, write_figure
from perovskite_polaron.report.subject import Subject
from perovskite_polaron.workflow.scenarios import BUILT_IN


def swept(subject: Subject) -> Scenario:
    return next(s for s in subject.scenarios.scenarios if s.sweep is not None)


MEASURED_EV = np.arange(13462.0, 13512.0, 0.5)


@pytest.fixture(scope="module")
def made(subject: Subject, tmp_path_factory: pytest.TempPathFactory
         ) -> tuple[Path, dict[str, Any]]:
    """The page of the built-in set with a transient, as the command writes it, and its record."""
    folder = tmp_path_factory.mktemp("report")
    rng = np.random.default_rng(1)
    curve = 0.1 * np.interp(MEASURED_EV, subject.axis_eV, swept(subject).difference)
    error = 0.05 * np.abs(curve).max()
    signal = curve + rng.normal(0, error, len(MEASURED_EV))
    rows = [f"{e},{v},{error}" for e, v in zip(MEASURED_EV, signal, strict=True)]
    (folder / "t.csv").write_text("\n".join(["energy_eV,signal,error", *rows]) + "\n")
    done = polaron("report", "--transient", "t.csv", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "polaron-report" / "report.html", json.loads(done.stdout)


@pytest.fixture(scope="module")
def report(made: tuple[Path, dict[str, Any]]) -> Path:
    return made[0]


def table(path: Path) -> dict[str, list[str]]:
    with path.open(newline="", encoding="utf-8") as handle:
        rows = list(csv.reader(handle))
    return {name: [row[i] for row in rows[1:]] for i, name in enumerate(rows[0])}


# The page and its figures


def test_the_page_is_whole_and_needs_nothing_else(report: Path) -> None:
    # What the scripts ask for is held in a browser.
    text = re.sub("<script.*?</script>", "", report.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert report.stat().st_size < 5 * 2**20
    attribute = r"""(?:src|href|action|data)\s*=\s*["'](?!#|data:)[^"']+"""
    outside = re.findall(attribute + r"|@import|url\((?!#)[^)]+", text)
    assert not outside
    ids = re.findall(r'\sid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', text))
    assert used <= set(ids)
    drawn = {p.stem for p in (report.parent / "figures").glob("*.svg")}
    assert drawn == {"structure", "pb-l3", "figure-2", "figure-3", "figure-4", "sites", "amplitude",
                     "bonds", "alignment", "heating", "hot-br-k-feff", "hot-pb-l3-feff",
                     "hot-br-k-xspectra"}
    assert text.count("<svg ") == len(drawn)
    for name in drawn:
        for suffix in (".png", ".pdf", ".csv"):
            assert (report.parent / "figures" / f"{name}{suffix}").stat().st_size > 100


def test_the_page_answers_how_it_was_calculated(report: Path, subject: Subject) -> None:
    text = report.read_text(encoding="utf-8")
    study = subject.study
    for word in (
        "Pna2_1 (33)", "Pm-3m (221)", f"{study.pw.ecutwfc_Ry:g}", f"{study.pw.ecutrho_Ry:g}",
        "2 × 2 × 1", "6.7MaX",
        *(h for s in subject.results.structures for h in s.ground["pseudopotentials"].values()),
        *(f"{s.shift_eV:+.3f}" for s in subject.spectra.shifts),
        *(f"{s.ground['scf_error_Ry']:.1e}" for s in subject.results.structures),
        f"{subject.result('lo@0.2').amplitude_sqrt_amu_A:.3f}",
        "8.20 Å from its nearest periodic image", "The Q² law of lo: it fails",
        "Br with the core hole",
    ):
        assert typeset(word) in text, word


def test_thorium_is_no_atom_with_a_core_hole(subject: Subject) -> None:
    study = replace(subject.results.study, element="Th")
    first = subject.results.structures[0]
    site = replace(first.sites[0], hole={"pseudopotentials": {"Th": "a", "Thh": "b", "Rh": "c"}})
    one = replace(first, ground={"pseudopotentials": {"Th": "a"}}, sites=(site,))
    results = replace(subject.results, study=study, structures=(one,))
    found = method_sections._pseudopotentials(replace(subject, results=results))
    assert found == [("Rh", "c"), ("Th", "a"), ("Th with the core hole", "b")]


def test_every_sentence_is_used() -> None:
    room = Path(report_subject.__file__).parent
    code = "".join(path.read_text(encoding="utf-8") for path in room.glob("*_section*.py"))
    for kind in ("meaning", "plain"):
        assert [name for name in WORDS[kind] if f'"{name}"' not in code] == []


# Data and inputs


def test_the_data_beside_a_figure_are_the_figure(report: Path, subject: Subject) -> None:
    found = table(report.parent / "figures" / "figure-4.csv")
    energy = np.array(found["photon_energy_eV"], dtype=float)
    assert energy[np.array(found["ground (reference maximum = 1)"], dtype=float).argmax()] > 13472
    for row in claims.feature_rows(subject, "lo@0.2"):
        values = np.array(found["lo@0.2 - ground (% of maximum)"], dtype=float)
        here = np.interp(row.feature.energy_eV, energy, values)
        assert here == pytest.approx(row.value, abs=1e-6)
    sites = table(report.parent / "figures" / "sites.csv")
    polarised = [np.array(v, dtype=float) for n, v in sites.items() if re.search(r" [xyz] \(", n)]
    whole = np.array(sites["lo@0.2 - ground (% of maximum)"], dtype=float)
    assert len(polarised) == 9
    np.testing.assert_allclose(np.sum(polarised, axis=0), whole, atol=1e-8)


def test_results_without_their_crystals_are_reported_all_the_same(tmp_path: Path) -> None:
    for name in ("results.json", "chains.npz"):
        shutil.copy(BUILT_IN / name, tmp_path)
    record = json.loads((tmp_path / "results.json").read_text())
    record["study"] = record["study"].replace('crystal = "cspbbr3-pbnm"', 'crystal = "gone.cif"')
    write_sealed(tmp_path / "results.json", record)
    text = study_page(Subject.read(tmp_path), "a test").html()
    assert "its crystal is not beside the results" in text
    assert "so nothing is split" in text


def test_a_transient_is_drawn_and_judged(made: tuple[Path, dict[str, Any]],
                                         subject: Subject) -> None:
    report, record = made
    text = report.read_text(encoding="utf-8")
    judged = text.split("as polaron compare judges it:")[1].split("</section>")[0]
    assert swept(subject).name in judged
    assert "measured: " in text
    lead, unknown = (re.findall(f'<p class="{kind}">(.*?)</p>', text)[0]
                     for kind in ("lead", "unknown"))
    size = re.search(r"f·Q² = ([\d.]+) ± ([\d.]+) \(statistical", lead)
    assert size
    largest = subject.amplitude("lo@0.2")
    assert abs(float(size[1]) - 0.1 * largest**2) < 4 * float(size[2])
    assert "the data fix only their product" in unknown
    assert "excited fraction only when" in unknown
    # The same as one object.
    assert typeset(record["answer"]) == lead
    assert record["files"][0] == record["report"] == "polaron-report/report.html"
    assert all((report.parent.parent / path).exists() for path in record["files"])
    assert record["transient"]["best"] == swept(subject).name
    boxes = {one["about"] for one in record["claims"]}
    assert boxes == {"Published statements", "Published and ours", "Heating, published and ours",
                     "C, published and ours",
                     *(f"Heated crystals at {one}, published and ours" for one in (
                         "Br K with FEFF10", "Br K with XSpectra", "Pb L3 with FEFF10"))}
    assert {one["verdict"] for one in record["claims"]} <= set(claims.ORDER)
    measured = table(report.parent / "figures" / "figure-4-transient.csv")
    np.testing.assert_allclose(np.array(measured["photon_energy_eV"], dtype=float),
                               MEASURED_EV)


def test_a_transient_that_tells_the_amplitude_says_how_far_which_atoms_move(
        subject: Subject) -> None:
    scale = 0.1 * subject.scenarios.steady_state.max() / 100
    curve = scale * np.interp(MEASURED_EV, subject.axis_eV, subject.percent("lo@0.1"))
    variance = np.full(len(curve), (0.05 * np.abs(curve).max()) ** 2)
    transient = Scan(MEASURED_EV, curve, variance, "one")
    theory = replace(subject.scenarios, scenarios=(swept(subject),))
    judged = judge(transient, theory, subject.published_maximum_eV, fraction=0.1, shifted=False)
    said = answer(subject, transient, judged, [])
    size = re.search(r"axial Br moved by ([\d.]+) Å \(68 %: ([\d.]+) to ([\d.]+); Pb 0.04 Å",
                     said.lead)
    assert size
    assert float(size[2]) < 0.1 < float(size[3])
    assert "in the fraction 0.1 that was given" in said.lead
    assert "calculation was not estimated" in said.lead
    assert said.moves
    assert said.moves.rows[0] == ("axial Br", size[1], f"{size[2]} to {size[3]}")
    sweep = live([subject], transient, judged)["edges"][0]["sweeps"][0]
    assert sweep["displacement"][sweep["start"]] == pytest.approx(float(size[1]), abs=1e-3)


def test_numbers_have_the_sign_of_minus_and_stay_with_their_unit() -> None:
    for text in ("Br13-8d, Pm-3m, 1e-11, 2021-03-04, figures/figure-4", "a -b"):
        assert typeset(text) == text
    assert typeset("-1.5 % (-2 eV) at 3 Ågström") == "−1.5\xa0% (−2\xa0eV) at 3 Ågström"


def test_each_figure_is_one_command(tmp_path: Path, subject: Subject) -> None:
    done = polaron("report", "--figure", "figure-4", "--out", "x.pdf", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "figure: x.pdf\n"
    for name, path in (("figure-3", "x.svg"), ("figure-2", "x.png")):
        write_figure(subject, name, tmp_path / path)
    assert {p.name: p.read_bytes()[:4] for p in tmp_path.iterdir()} == {
        "x.pdf": b"%PDF", "x.svg": b"<?xm", "x.png": b"\x89PNG"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--figure", "figure-4"), "add --out"),
        (("--figure", "amplitudes", "--out", "x.png"), "is not one of this study's: choose from"),
        (("--figure", "figure-2", "--out", "x.jpg"), "name it .png, .svg or .pdf"),
        (("nowhere.toml",), "does not exist"),
        (("--transient", "nowhere.csv"), "does not exist"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    tmp_path: Path, words: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["report", *words]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert len(said.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_ids_of_a_figure_become_the_page_s_own() -> None:
    use = '<use xlink:href="#a" clip-path="url(#a)"/>'
    svg = f'<?xml?><svg width="1pt" viewBox="0 0 1 1"><g id="a">{use}</g></svg>'
    text = inline(svg, "one", 'a "b" <c>')
    assert text.count("one-a") == 3
    assert 'aria-label="a &quot;b&quot; &lt;c>"' in text
    assert 'width="1pt"' not in text


@pytest.mark.espresso
def test_several_amplitudes_of_a_real_study_show_the_law(tiny_study: Path, tmp_path: Path) -> None:
    text = tiny_study.read_text().replace("[0.10, -0.10]", "[0.05, 0.10, 0.20]")
    text += f'\n[run]\nstore = "{tiny_study.parent / "tiny-results"}"\n'
    (tmp_path / "sweep.toml").write_text(text)
    done = polaron("run", "sweep.toml", "--ranks", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = polaron("report", "sweep.toml", "--out", "r", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "r" / "report.html").read_text(encoding="utf-8")
    assert "The Q² law of polar:" in page
    assert "left out, one is missed by at most" in page
    collapse = table(tmp_path / "r" / "figures" / "amplitude.csv")
    curves = [np.array(v, dtype=float) for n, v in collapse.items() if n.startswith("Q = ")]
    assert len(curves) == 3
    # The two smaller amplitudes are nearer to one shape than the largest is to it.
    law = np.array(collapse["law (% of maximum per A2 amu)"], dtype=float)
    misses = [np.abs(c - law).max() / np.abs(c).max() for c in curves]
    assert misses[1] < misses[2] < 0.6
    deviation = table(tmp_path / "r" / "figures" / "amplitude-deviation.csv")
    assert float(deviation["deviation_percent"][-1]) == pytest.approx(100 * misses[2], abs=1e-3)
