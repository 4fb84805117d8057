"""What the report judges: published signs and numbers, from the chains, for any article or none."""

from dataclasses import replace

import numpy as np
import pytest

from perovskite_polaron.errors import InputError
from perovskite_polaron.published import Article, Claim, Feature
from perovskite_polaron.published_cspbbr3 import ARTICLE, FEATURES
from perovskite_polaron.report import claims, subject as report_subject, variations
from perovskite_polaron.report.blocks import Claims
from perovskite_polaron.report.study_page import figures, sections
from perovskite_polaron.report.subject import Subject


def test_published_signs_are_judged_from_the_chains(subject: Subject) -> None:
    for name in subject.names:
        if name == "cubic":
            continue
        rows = claims.feature_rows(subject, name)
        assert [r.feature for r in rows] == list(FEATURES)
        assert claims.signs(rows) == claims.AGREES, name
        assert all(r.verdict == claims.OPEN for r in rows if not r.feature.structural)
    cubic = {r.feature.energy_eV: r.verdict for r in claims.feature_rows(subject, "cubic")}
    # Its sign there is another one half an electronvolt away.
    assert cubic[13497.0] == claims.OPEN
    # One verdict for all amplitudes of a sweep, and none on a phase that is not displaced.
    (sweep,) = [f for f in claims.findings(subject, "summary") if "post-edge signs" in f.published]
    assert sweep.verdict == claims.AGREES
    assert sweep.ours.endswith("at 0.2 Å; the same at all 5 amplitudes")


def test_findings_begin_with_what_disagrees_and_inputs_are_no_agreement(subject: Subject) -> None:
    found = claims.findings(subject, "summary")
    places = [claims.ORDER.index(f.verdict) for f in found]
    assert places == sorted(places)
    assert {f.published.split(" ")[1] for f in found if f.verdict == claims.INPUT} == {
        "axial", "equatorial"}
    assert claims.counted(found) == "3 disagree, 4 open, 3 agree; 2 inputs not counted"


def test_a_given_edge_is_the_axis_of_every_number(subject: Subject) -> None:
    moved = replace(subject, given_edge_eV=subject.edge_eV + 2.0)
    assert moved.axis_eV[0] == pytest.approx(subject.axis_eV[0] + 2.0)
    # The published places lie 2 eV lower on the calculated axis.
    for old, new in zip(claims.feature_rows(subject, "lo@0.2"),
                        claims.feature_rows(moved, "lo@0.2"), strict=True):
        curve = subject.percent("lo@0.2")
        assert new.value == pytest.approx(np.interp(old.feature.energy_eV - 2.0, subject.axis_eV,
                                                    curve))
    labels = {axes.get_xlabel() for axes in figures(moved)["alignment"]().figure.axes}
    assert labels == {"", "photon energy (eV)"}


def test_a_mismatch_has_words_of_its_own(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "PLACE_EV", 0.1)
    (found,) = [f for f in claims.findings(subject, "summary") if "not to fit" in f.published]
    assert (found.verdict, found.label) == (claims.AGREES, "does not fit here either")


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


def test_variations_say_what_turns_a_sign(subject: Subject) -> None:
    found = variations.variations(subject)
    as_reported = {v.structure: v for v in found if v.words == "as reported"}
    for name in subject.principal:
        rows = [r.value for r in claims.feature_rows(subject, name) if r.feature.structural]
        np.testing.assert_allclose(as_reported[name].values, rows, atol=1e-12)
        assert as_reported[name].similarity == pytest.approx(1.0)


def test_what_turns_a_sign_is_named() -> None:
    def made(words: str, similarity: float, *values: float) -> variations.Variation:
        return variations.Variation(words, "lo", 1.0, similarity, values)

    reported, wider = made("as reported", 1.0, -2.0, 1.0), made("wider", 0.9, -1.0, 0.5)
    moved = made("moved", 0.4, -2.0, -0.1)
    assert variations.turned([reported, wider, moved]) == (
        "The sign at a published feature is turned by: moved (lo). The shape changes most with: "
        "moved (lo, cosine similarity 0.40)."
    )
    assert variations.turned([reported, wider]).startswith("None of these turns the sign")
    # Without an article there are no features to turn.
    assert variations.turned([made("as reported", 1.0), made("wider", 0.9)]).startswith(
        "The shape changes most with: wider"
    )


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
    assert [f.published.split(":")[0] for f in gains] == ["lo"]
    rows = claims.feature_rows(other, "lo@0.2")
    assert gains[0].verdict == rows[0].verdict
    assert [f.verdict for f in found if f.ours == "2.96 Å"] == [claims.DISAGREES]
    assert other.axis_eV[0] - other.energy_eV[0] == pytest.approx(100 - other.anchor_eV)


def test_without_an_article_nothing_is_judged(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_subject, "ARTICLES", ())
    other = replace(subject)
    found = sections(other, varied=variations.variations(other))
    assert [s.key for s in found] == ["spectra", "sites", "amplitude", "structures", "method"]
    assert not [b for s in found for b in s.blocks if isinstance(b, Claims)]
    assert set(figures(other)) == {
        "figure-4", "structure", "alignment", "sites", "bonds", "amplitude"}
    labels = {axes.get_xlabel() for axes in figures(other)["sites"]().figure.axes}
    assert labels == {"", "energy above the reference edge (eV)"}


def test_every_claim_is_judged_by_a_rule_and_stands_in_a_table() -> None:
    assert {claim.rule for claim in ARTICLE.claims} <= set(claims.RULES)
    assert {claim.topic for claim in ARTICLE.claims} == {"summary", "heating", "shape", "hot"}


def test_features_near_the_edge_are_judged_with_carriers(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    def judged(of: Subject) -> list[claims.Finding]:
        return [f for f in claims.findings(of, "summary") if "with carriers" in f.published]

    found = judged(subject)
    assert sorted(f.published.split(" at ")[1].split()[0] for f in found) == ["13.4675", "13.472",
                                                                                  "13.4765"]
    assert {f.verdict for f in found} == {claims.OPEN}, "the bundled k points are too few"
    monkeypatch.setattr(claims, "coarser", lambda *_: [])
    dense = sorted(judged(subject), key=lambda f: f.published.split(" at ")[1])
    # Where holes open states the sign is a matter of density; the white line is not explained.
    assert [f.verdict for f in dense] == [claims.OPEN, claims.DISAGREES, claims.AGREES]
    assert "depends on the density" in dense[0].ours
    theory = subject.electronic_scenarios
    filling = 100 * theory.scenarios[-1].difference / theory.steady_state.max()
    heats = subject.experiment[1].values() if subject.experiment else ()
    most = max(h.photons_per_nc for h in heats) / 1e-18 / 1e19
    curve = subject.percent("lo@0.2") + most * filling
    assert f"{claims.at(subject, curve, -4.5):+.2f} % with 6.6e+20" in dense[0].ours
    monkeypatch.undo()
    monkeypatch.setattr(report_subject, "read_edges", _nothing)
    without = judged(replace(subject))
    assert {f.verdict for f in without} == {claims.OPEN}
    assert all("no pdos.npz" in f.ours for f in without)


def _nothing(*_: object) -> None:
    raise InputError("no pdos.npz")
