"""The extrema of the calculated steady state, judged by those of the measured one."""

from dataclasses import replace

import numpy as np
import pytest

from perovskite_polaron.published import Article, Claim, Feature
from perovskite_polaron.report import claims, subject as report_subject
from perovskite_polaron.report.subject import Subject
from perovskite_polaron.workflow.scenarios import BUILT_IN
from perovskite_polaron.workflow.spectra import load_results


@pytest.fixture(scope="module")
def subject():
    results, settings, folder = load_results(BUILT_IN)
    return Subject(results, settings, folder, folder)


def judged(subject, monkeypatch, offset_eV, extremum):
    """The verdict on one published extremum, so far above a first maximum at 100 eV."""
    feature = Feature(100.0 + offset_eV, offset_eV, 0, extremum, structural=False)
    claim = Claim("summary", "has a {extremum}", "", "steady", (2.0,))
    article = Article("somebody, 2030", "CsPbBr3", "Br", 100.0, (feature,), (claim,))
    monkeypatch.setattr(report_subject, "ARTICLES", (article,))
    (found,) = claims.findings(replace(subject), "summary")
    return found


def own_extremum_eV(subject, kind):
    """The first extremum more than 12 eV above the first maximum, counted from it."""
    average = subject.lifetime_broadened.structures[subject.reference].average
    slope = np.sign(np.diff(average.intensity))
    turns = average.energy_eV[1:-1][slope[:-1] * slope[1:] < 0]
    kinds = np.where(slope[:-1][slope[:-1] * slope[1:] < 0] > 0, 1, -1)
    offsets = turns - subject.anchor_in(subject.lifetime_broadened)
    return offsets[(kinds == kind) & (offsets > 12)][0]


@pytest.mark.parametrize("kind", [1, -1])
def test_an_extremum_agrees_within_its_tolerance_only(subject, monkeypatch, kind):
    place = own_extremum_eV(subject, kind)
    for away, verdict in ((0.0, claims.AGREES), (1.9, claims.AGREES), (-1.9, claims.AGREES),
                          (2.3, claims.DISAGREES)):
        found = judged(subject, monkeypatch, place + away, kind)
        assert found.verdict == verdict
        assert found.ours == f"{(100 + place) / 1000:.4f} keV"
    name = {1: "maximum", -1: "minimum"}[kind]
    assert found.published == f"has a {name} at {(102.3 + place) / 1000:g} keV"


def test_no_extremum_in_reach_disagrees(subject, monkeypatch):
    found = judged(subject, monkeypatch, -12.0, 1)
    assert (found.ours, found.verdict) == ("no maximum within 6 eV", claims.DISAGREES)


def test_final_states_widen_with_energy(subject):
    """At its first maximum the spectrum hardly knows; 40 eV higher its contrast falls."""
    narrow, wide = (s.structures[subject.reference].average
                    for s in (subject.spectra, subject.lifetime_broadened))
    energy = narrow.energy_eV - subject.anchor_eV
    far = (energy > 25) & (energy < 50)
    assert np.ptp(wide.intensity[far]) < 0.6 * np.ptp(narrow.intensity[far])
    assert subject.anchor_in(subject.lifetime_broadened) == pytest.approx(
        subject.anchor_eV, abs=0.3)
