"""What the report judges: published signs and numbers, from the chains, for any article or none."""

from dataclasses import replace

import numpy as np
import pytest

from perovskite_polaron.errors import InputError
from perovskite_polaron.published import Article, Claim, Feature
from perovskite_polaron.published_cspbbr3 import ARTICLE, FEATURES
from perovskite_polaron.report import claims, method_sections, subject as report_subject
from perovskite_polaron.report.blocks import Claims
from perovskite_polaron.report.page import figures, sections
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
    value = np.interp(other.anchor_eV, other.energy_eV, other.percent("lo@0.2"))
    assert gains[-1].verdict == (claims.AGREES if value > 0 else claims.DISAGREES)
    assert (found[-1].ours, found[-1].verdict) == ("2.96 Å", claims.DISAGREES)
    assert other.axis_eV[0] - other.energy_eV[0] == pytest.approx(100 - other.anchor_eV)


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


def test_features_near_the_edge_are_judged_with_carriers(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    def judged(of: Subject) -> list[claims.Finding]:
        return [f for f in claims.findings(of, "summary") if "with carriers" in f.published]

    found = judged(subject)
    assert [f.published.split(" at ")[1].split()[0] for f in found] == ["13.4675", "13.472",
                                                                          "13.4765"]
    assert {f.verdict for f in found} == {claims.OPEN}, "the bundled k points are too few"
    monkeypatch.setattr(claims, "coarser", lambda *_: [])
    dense = judged(subject)
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
