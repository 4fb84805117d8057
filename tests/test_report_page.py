"""The report: numbers come from the chains, parts add up, and a browser shows it without help."""

import csv
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import chromium
import numpy as np
import pytest
from conftest import polaron

from perovskite_polaron.errors import InputError
from perovskite_polaron.files import write_sealed
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.files import read_crystal
from perovskite_polaron.lattice.symmetry import absorbers, find_symmetry
from perovskite_polaron.phonons.distortion import distort
from perovskite_polaron.phonons.modes import read_modes
from perovskite_polaron.published import Article, Claim, Feature
from perovskite_polaron.published_cspbbr3 import ARTICLE, FEATURES
from perovskite_polaron.report import (
    claims, method_sections, spectra_sections, subject as report_subject)
from perovskite_polaron.report.blocks import WORDS, Claims, Text
from perovskite_polaron.report.page import figures, inline, sections
from perovskite_polaron.report.subject import Subject
from perovskite_polaron.spectra.amplitude import AmplitudeSpectra, quadratic_regime
from perovskite_polaron.spectra.resolved import Orbits, atom_spectra, parts
from perovskite_polaron.workflow.results import read_results
from perovskite_polaron.workflow.scenarios import BUILT_IN
from perovskite_polaron.workflow.spectra import load_results

WIDTHS = (400, 1280)
MODE = Path(__file__).parent.parent / "examples" / "modes" / "cubic_polar.json"


@pytest.fixture(scope="module")
def subject() -> Subject:
    results, settings, folder = load_results(BUILT_IN)
    return Subject(results, settings, folder, folder)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    done = polaron("report", cwd=folder)
    assert done.returncode == 0, done.stderr
    page = folder / "polaron-report" / "report.html"
    assert done.stdout == "report: polaron-report/report.html\n"
    return page


def table(path: Path) -> dict[str, list[str]]:
    with path.open(newline="", encoding="utf-8") as handle:
        rows = list(csv.reader(handle))
    return {name: [row[i] for row in rows[1:]] for i, name in enumerate(rows[0])}


# Parts


def test_the_parts_of_every_displaced_structure_add_up_to_its_difference(subject: Subject) -> None:
    displaced = [n for n in subject.names if subject.result(n).amplitude_sqrt_amu_A]
    assert displaced
    for name in displaced:
        found = subject.parts(name)
        assert {p.polarisation for p in found} == {"x", "y", "z"}
        np.testing.assert_allclose(
            np.sum([p.difference for p in found], axis=0), subject.percent(name), rtol=0, atol=1e-11
        )
    assert subject.parts("cubic") == (), "atoms of another phase have no partners"


def orbits(crystal: Crystal, seed: int, tolerance_A: float = 1e-3) -> tuple[Orbits, np.ndarray]:
    """Random spectra for each orbit, and their average weighted by multiplicity."""
    symmetry, rng = find_symmetry(crystal, tolerance_A), np.random.default_rng(seed)
    found = absorbers(crystal, "Br", symmetry)
    spectra = {a.index: rng.random((3, 7)) for a in found}
    weights = [a.multiplicity for a in found]
    mean = np.average([spectra[a.index].mean(axis=0) for a in found], axis=0, weights=weights)
    return Orbits(crystal, symmetry, spectra), mean


def test_parts_add_up_where_the_symmetry_permutes_the_axes() -> None:
    cubic = read_crystal("cspbbr3-pm3m")
    polar = distort(cubic, read_modes(MODE), [0.1], unit="max_A")[0].crystal
    (before, old), (after, new) = orbits(cubic, 0), orbits(polar, 1)
    found = parts(after, before)
    assert {p.polarisation for p in found} == {"x", "y", "z"}
    np.testing.assert_allclose(np.sum([p.difference for p in found], axis=0), new - old, atol=1e-14)


def test_the_tensor_of_an_equivalent_atom_is_the_rotated_one() -> None:
    # Br on the three faces of the cube: what is along the bond on one is along another axis on
    # the next.
    cubic = read_crystal("cspbbr3-pm3m")
    symmetry = find_symmetry(cubic)
    first = absorbers(cubic, "Br", symmetry)[0].index
    bond = int((cubic.positions[first] == 0.5).argmax())
    diagonal = np.ones((3, 1))
    diagonal[bond] = 5.0
    found, apart = atom_spectra(Orbits(cubic, symmetry, {first: diagonal}))
    assert apart
    for atom, tensor in found.items():
        np.testing.assert_allclose(tensor[:, 0], np.where(cubic.positions[atom] == 0.5, 5.0, 1.0))


def test_axes_that_the_symmetry_mixes_leave_the_trace() -> None:
    # The cubic crystal turned by 45 degrees: its fourfold axes no longer permute x, y and z.
    cubic = read_crystal("cspbbr3-pm3m")
    c = np.sqrt(0.5)
    rotated_A = cubic.lattice_A @ np.array([[c, c, 0], [-c, c, 0], [0, 0, 1]])
    turned = Crystal(rotated_A, cubic.species, cubic.positions)
    one, mean = orbits(turned, 2)
    found, apart = atom_spectra(one)
    assert not apart
    np.testing.assert_allclose(np.mean([t.mean(axis=0) for t in found.values()], axis=0), mean)


# The Q² law


def test_the_law_and_its_end_are_found() -> None:
    q, energy = np.array([0.5, 1.0, 1.5, 2.0]), np.linspace(0, 10, 40)
    shape, beta = np.sin(energy), 0.02
    sweep = AmplitudeSpectra(energy, q, np.outer(q**2 + beta * q**4, shape))
    found = quadratic_regime(sweep)
    np.testing.assert_allclose(found.law, shape, atol=1e-10)
    # Deviation βQ²/(1 + βQ²) = 5 %.
    assert found.fails_at_sqrt_amu_A == pytest.approx(np.sqrt(0.05 / 0.95 / beta), abs=0.01)
    np.testing.assert_allclose(found.computed, beta * q**2 / (1 + beta * q**2), atol=1e-10)
    pure = quadratic_regime(AmplitudeSpectra(energy, q, np.outer(q**2, shape)))
    assert pure.fails_at_sqrt_amu_A is None
    assert pure.deviation.max() < 1e-10
    with pytest.raises(InputError, match="one amplitude says nothing"):
        quadratic_regime(AmplitudeSpectra(energy, q[:1], shape[None]))


# Verdicts


def test_published_signs_are_judged_from_the_chains(subject: Subject) -> None:
    for name in subject.names:
        if name == "cubic":
            continue
        rows = claims.feature_rows(subject, name)
        assert [r.feature for r in rows] == list(FEATURES)
        assert claims.signs(rows) == claims.AGREES, name
        assert all(r.verdict == claims.OPEN for r in rows if not r.feature.structural)
    cubic = {r.feature.energy_eV: r.verdict for r in claims.feature_rows(subject, "cubic")}
    assert cubic[13497.0] == claims.DISAGREES


def test_the_opposite_difference_is_judged_the_opposite_way(subject: Subject) -> None:
    study = replace(subject.results.study, reference="lo@0.2")
    turned = replace(subject, results=replace(subject.results, study=study))
    there = [r for r in claims.feature_rows(subject, "lo@0.2") if r.feature.structural]
    back = [r for r in claims.feature_rows(turned, "ground") if r.feature.structural]
    assert [np.sign(r.value) for r in back] == [-np.sign(r.value) for r in there]
    assert claims.signs(back) == claims.DISAGREES


def test_a_value_that_the_chains_leave_open_is_not_judged(subject: Subject) -> None:
    study = subject.results.study
    # Chains cut to a quarter: what is left to converge is larger than the smallest difference.
    chains = {name: replace(save, a=tuple(x[:90] for x in save.a), b=tuple(x[:90] for x in save.b))
              for name, save in subject.results.chains.items()}
    study = replace(study, xspectra=replace(study.xspectra, check_every=30))
    short = replace(subject, results=replace(subject.results, study=study, chains=chains))
    rows = claims.feature_rows(short, "lo@0.02")
    whole = claims.feature_rows(subject, "lo@0.02")
    assert max(r.unconverged for r in rows) > 5 * max(r.unconverged for r in whole)
    assert claims.signs(rows) == claims.OPEN
    assert all(r.verdict == claims.OPEN for r in rows if abs(r.value) <= r.unconverged)


# The page and its figures


def test_the_page_is_whole_and_needs_nothing_else(report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    attribute = r"""(?:src|href|action|data)\s*=\s*["'](?!#|data:)[^"']+"""
    outside = re.findall(attribute + r"|@import|url\((?!#)[^)]+", text)
    assert not outside
    ids = re.findall(r'\sid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', text))
    assert used <= set(ids)
    drawn = {p.stem for p in (report.parent / "figures").glob("*.svg")}
    assert drawn == {"figure-2", "figure-3", "figure-4", "sites", "amplitude", "bonds",
                     "alignment", "heating"}
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
        assert word in text, word


def test_a_single_amplitude_shows_no_law(subject: Subject) -> None:
    kept = tuple(s for s in subject.results.structures
                 if not s.name.startswith("lo@") or s.name == "lo@0.1")
    one = replace(subject, results=replace(subject.results, structures=kept))
    section = spectra_sections.amplitude_section(one)
    words = [block.text for block in section.blocks if isinstance(block, Text)]
    assert any("has one amplitude only" in text for text in words)


def test_variations_say_what_turns_a_sign(subject: Subject) -> None:
    found = method_sections._variations(subject)
    as_reported = {v.structure: v for v in found if v.words == "as reported"}
    for name in subject.principal:
        rows = [r.value for r in claims.feature_rows(subject, name) if r.feature.structural]
        np.testing.assert_allclose(as_reported[name].values, rows, atol=1e-12)
        assert as_reported[name].similarity == pytest.approx(1.0)


def test_what_turns_a_sign_is_named() -> None:
    def made(words: str, similarity: float, *values: float) -> method_sections._Variation:
        return method_sections._Variation(words, "lo", 1.0, similarity, values)

    reported, wider = made("as reported", 1.0, -2.0, 1.0), made("wider", 0.9, -1.0, 0.5)
    moved = made("moved", 0.4, -2.0, -0.1)
    assert method_sections._turned([reported, wider, moved]) == (
        "The sign at a published feature is turned by: moved (lo). The shape changes most with: "
        "moved (lo, cosine similarity 0.40)."
    )
    assert method_sections._turned([reported, wider]).startswith("None of these turns the sign")
    # Without an article there are no features to turn.
    assert method_sections._turned([made("as reported", 1.0), made("wider", 0.9)]).startswith(
        "The shape changes most with: wider"
    )


def test_thorium_is_no_atom_with_a_core_hole(subject: Subject) -> None:
    study = replace(subject.results.study, element="Th")
    first = subject.results.structures[0]
    site = replace(first.sites[0], hole={"pseudopotentials": {"Th": "a", "Thh": "b", "Rh": "c"}})
    one = replace(first, ground={"pseudopotentials": {"Th": "a"}}, sites=(site,))
    results = replace(subject.results, study=study, structures=(one,))
    found = method_sections._pseudopotentials(replace(subject, results=results))
    assert found == [("Rh", "c"), ("Th", "a"), ("Th with the core hole", "b")]


# Articles


def test_another_article_is_data(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    made = (
        Claim("summary", "{name}: gains", "figure 1", "signs"),
        Claim("summary", "Pb–Br axial 3 Å", "", "within", (3.0, 0.01), "axial_A", "{:.2f} Å"),
        Claim("elsewhere", "not in this table", "", "within", (3.0, 0.01), "axial_A", "{:.2f}"),
    )
    feature = Feature(100.0, 0.0, +1, 0, structural=True)
    article = Article("somebody, 2030", "CsPbBr3", "Br", 100.0, (feature,), made)
    monkeypatch.setattr(report_subject, "ARTICLES", (replace(article, element="Pb"), article))
    other = replace(subject)
    assert other.article is article
    assert other.experiment is None
    found = claims.findings(other, "summary")
    gains = [f for f in found if f.published.endswith(": gains [figure 1]")]
    assert [f.published.split(":")[0] for f in gains] == list(other.displaced)
    value = np.interp(other.white_line_eV, other.energy_eV, other.percent("lo@0.2"))
    assert gains[-1].verdict == (claims.AGREES if value > 0 else claims.DISAGREES)
    assert (found[-1].ours, found[-1].verdict) == ("2.96 Å", claims.DISAGREES)
    assert other.axis_eV[0] - other.energy_eV[0] == pytest.approx(100 - other.white_line_eV)


def test_without_an_article_nothing_is_judged(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_subject, "ARTICLES", ())
    other = replace(subject)
    found = sections(other)
    assert [s.key for s in found] == ["summary", "spectra", "sites", "amplitude", "method"]
    assert not [b for s in found for b in s.blocks if isinstance(b, Claims)]
    assert set(figures(other)) == {"figure-4", "alignment", "sites", "bonds", "amplitude"}
    labels = {axes.get_xlabel() for axes in figures(other)["sites"]().figure.axes}
    assert labels == {"", "energy above the reference edge (eV)"}


def test_every_claim_is_judged_by_a_rule_and_stands_in_a_table() -> None:
    assert {claim.rule for claim in ARTICLE.claims} <= set(claims.RULES)
    assert {claim.topic for claim in ARTICLE.claims} == {"summary", "heating", "shape"}


def test_every_sentence_is_used() -> None:
    room = Path(report_subject.__file__).parent
    code = "".join(path.read_text(encoding="utf-8") for path in room.glob("*_sections.py"))
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
    assert read_results(tmp_path)
    done = polaron("report", str(tmp_path), "--out", "r", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "r" / "report.html").read_text(encoding="utf-8")
    assert "its crystal is not beside the results" in text
    assert "so nothing is split" in text


def test_a_transient_is_drawn_and_judged(tmp_path: Path, subject: Subject) -> None:
    rng = np.random.default_rng(1)
    energy = np.arange(13462.0, 13512.0, 0.5)
    scenario = next(s for s in subject.scenarios.scenarios if s.sweep is not None)
    curve = 0.1 * np.interp(energy, subject.axis_eV, scenario.difference)
    error = 0.05 * np.abs(curve).max()
    signal = curve + rng.normal(0, error, len(energy))
    rows = [f"{e},{v},{error}" for e, v in zip(energy, signal, strict=True)]
    (tmp_path / "t.csv").write_text("\n".join(["energy_eV,signal,error", *rows]) + "\n")
    done = polaron("report", "--transient", "t.csv", "--out", "r", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "r" / "report.html").read_text(encoding="utf-8")
    judged = text.split("as polaron compare judges it:")[1].split("</section>")[0]
    assert scenario.name in judged
    assert "measured: " in text
    measured = table(tmp_path / "r" / "figures" / "figure-4-transient.csv")
    np.testing.assert_allclose(np.array(measured["photon_energy_eV"], dtype=float), energy)


@pytest.mark.parametrize(
    ("name", "suffix"), [("figure-4", ".pdf"), ("figure-3", ".svg"), ("figure-2", ".png")]
)
def test_each_figure_is_one_command(tmp_path: Path, name: str, suffix: str) -> None:
    done = polaron("report", "--figure", name, "--out", f"x{suffix}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [p.name for p in tmp_path.iterdir()] == [f"x{suffix}"]
    assert (tmp_path / f"x{suffix}").read_bytes()[:5] in (b"%PDF-", b"<?xml", b"\x89PNG\r")


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
    tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    done = polaron("report", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
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


# In a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[chromium.Page]:
    if chromium.PROGRAM is None:
        pytest.skip("no Chromium here")
    with chromium.Page() as page:
        yield page


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_a_browser_shows_it(browser: chromium.Page, report: Path, width: int, dark: bool) -> None:
    browser.messages.clear()
    browser.open(report, width, dark=dark)
    assert browser.complaints() == []
    assert browser.requests() == [report.resolve().as_uri()]
    assert browser.value("document.documentElement.scrollWidth") <= width
    sticking_out = browser.value(
        "[...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll') && "
        "!e.closest('svg') && e.getBoundingClientRect().right > innerWidth + 1).length"
    )
    assert sticking_out == 0
    smallest = browser.value(
        "Math.min(...[...document.querySelectorAll('svg text')]"
        ".filter(t => t.textContent.trim() && !t.querySelector('tspan'))"
        ".map(t => parseFloat(getComputedStyle(t).fontSize)"
        " * Math.hypot(t.getScreenCTM().a, t.getScreenCTM().b)))"
    )
    assert smallest >= 9
    style = "getComputedStyle(document.body)"
    paper, ink = (
        np.array(re.findall(r"\d+", browser.value(f"{style}.{name}"))[:3], dtype=float)
        for name in ("backgroundColor", "color")
    )
    assert (paper.mean() < 60) == dark
    assert abs(paper.mean() - ink.mean()) > 180
    drawn = browser.value("getComputedStyle(document.querySelector('figure svg')).filter")
    assert ("invert" in drawn) == dark
