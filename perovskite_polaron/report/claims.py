"""Published statements against what was calculated: rules that give each a number and a verdict.

The statements are data (``published_cspbbr3.py``); a rule is a function here, named in ``RULES``.
The verdict is computed, never written.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from perovskite_polaron.analysis.shape_ratio import EDGES, window_weights
from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import InputError
from perovskite_polaron.published import Claim, Feature
from perovskite_polaron.report.subject import Subject
from perovskite_polaron.units import CM3_PER_A3
from perovskite_polaron.workflow.carriers import PER_CM3
from perovskite_polaron.workflow.needed import coarser
from perovskite_polaron.workflow.spectra import StudySpectra

#: The last is what a study was given and not found: it counts as no agreement.
AGREES, DISAGREES, OPEN, INPUT = "agrees", "disagrees", "open", "input"
#: Calibration and the place of the anchor are uncertain by about this much.
PLACE_EV = 1.0
#: A calculated extremum farther from a published one is another.
EXTREMUM_REACH_EV = 6.0
#: Geometry of the reference, which a study takes from a file.
_GIVEN = ("axial_A", "equatorial_A")
#: How far the edge is moved either way to see what C depends on.
EDGE_SHIFT_EV = 0.5


@dataclass(frozen=True)
class FeatureRow:
    """One published feature in one calculated difference.

    Attributes
    ----------
    feature
        The published one.
    value
        Our difference there, in % of the reference's maximum.
    unconverged
        Change of the value when the chains lose their last steps, and what the settings may still
        change; None where neither is known.
    firm
        Whether the sign is the same within ``PLACE_EV``.
    verdict
        Agrees or disagrees with the published sign; open where the value is not larger than
        ``unconverged``, where its sign is not firm, or where carriers that are not calculated make
        the feature.
    """

    feature: Feature
    value: float
    unconverged: float | None
    firm: bool
    verdict: str


@dataclass(frozen=True)
class Finding:
    """A published statement, what was calculated for it, and the verdict.

    Attributes
    ----------
    published, ours, verdict
        The statement, our numbers, and one of ``ORDER``.
    label
        Words in place of the verdict's own, where "agrees" could be misread.
    """

    published: str
    ours: str
    verdict: str
    label: str = ""


#: In this order findings are shown.
ORDER = (DISAGREES, OPEN, AGREES, INPUT)


def ordered(found: Sequence[Finding]) -> list[Finding]:
    """Return findings with the disagreements first, then what is open."""
    return sorted(found, key=lambda one: ORDER.index(one.verdict))


def counted(found: Sequence[Finding]) -> str:
    """Return how many statements disagree, are open, agree; inputs stand apart."""
    number = {verdict: sum(f.verdict == verdict for f in found) for verdict in ORDER}
    words = (f"{number[DISAGREES]} disagree, {number[OPEN]} open, {number[AGREES]} agree")
    return words + (f"; {number[INPUT]} inputs not counted" if number[INPUT] else "")


def at(subject: Subject, curve: Array, offset_eV: float) -> float:
    """Return a curve's value at an energy counted from the published anchor."""
    return float(np.interp(subject.origin_eV + offset_eV, subject.energy_eV, curve))


def _firm(subject: Subject, curves: Sequence[Array], offset_eV: float, sign: float) -> bool:
    """Return whether curves have this sign everywhere within PLACE_EV of a published place."""
    away = np.abs(subject.energy_eV - subject.origin_eV - offset_eV)
    seen = np.concatenate([curve[away <= PLACE_EV + 1e-9] for curve in curves])
    return bool((np.sign(seen) == sign).all())


def feature_rows(subject: Subject, name: str) -> tuple[FeatureRow, ...]:
    """Judge every published feature in the difference of one structure."""
    curve, shorter = subject.percent(name), subject.percent(name, subject.shortened)
    budget, rows = subject.spectra.budget.get(name, {}).values(), []
    for feature in subject.features:
        value = at(subject, curve, feature.offset_eV)
        errors = [] if not subject.results.chains else [
            at(subject, shorter, feature.offset_eV) - value]
        errors += [at(subject, row, feature.offset_eV) for row in budget]
        unconverged = float(np.hypot.reduce(errors)) if errors else None
        firm = _firm(subject, [curve], feature.offset_eV, np.sign(value))
        verdict = AGREES if np.sign(value) == feature.sign else DISAGREES
        if not feature.structural or not firm or abs(value) <= (unconverged or 0.0):
            verdict = OPEN
        rows.append(FeatureRow(feature, value, unconverged, firm, verdict))
    return tuple(rows)


def extremum_eV(subject: Subject, feature: Feature,
                spectra: StudySpectra | None = None) -> float | None:
    """Return the photon energy of our extremum nearest to a feature that is said to be one.

    None beyond ``EXTREMUM_REACH_EV``. The anchor of these spectra (default: the study's own) lies
    at the published one, unless the place of the edge was given.
    """
    spectra = spectra or subject.spectra
    average = spectra.structures[subject.reference].average
    y = average.intensity * feature.extremum
    peaks = 1 + np.flatnonzero((y[1:-1] >= y[:-2]) & (y[1:-1] > y[2:]))
    offsets = average.energy_eV[peaks] - subject.origin_in(spectra)
    away = np.abs(offsets - feature.offset_eV)
    if not feature.extremum or not (away <= EXTREMUM_REACH_EV).any():
        return None
    return float(feature.energy_eV - feature.offset_eV + offsets[away.argmin()])


def signs(rows: Sequence[FeatureRow]) -> str:
    """Return the overall verdict on the structural features: agrees only when every one does."""
    verdicts = [r.verdict for r in rows if r.feature.structural]
    return next((word for word in (DISAGREES, OPEN) if word in verdicts), AGREES)


def _windows(subject: Subject, shift_eV: float = 0.0) -> tuple[Array, Array]:
    """Return the weights (n,) of the sums in C, with the edge moved."""
    windows, axis = EDGES[subject.edge], subject.axis_eV + shift_eV
    return (window_weights(axis, windows.numerator_eV, 0.1),
            window_weights(axis, windows.denominator_eV, 0.1))


def shape_ratio_range(subject: Subject, name: str) -> tuple[float, float, float]:
    """Return C of a difference, its lowest and its highest value as the edge moves a little."""
    curve, values = subject.percent(name), []
    for shift in np.linspace(-EDGE_SHIFT_EV, EDGE_SHIFT_EV, 11):
        top, bottom = (float(weights @ curve) for weights in _windows(subject, shift))
        values.append(top / bottom if bottom else float("nan"))
    return values[5], float(np.nanmin(values)), float(np.nanmax(values))


def shape_ratio_sigma(subject: Subject, name: str) -> float | None:
    """Return the standard error of C over snapshots, to first order; None without snapshots."""
    error = subject.spectra.errors.get(name)
    if error is None:
        return None
    curve, (top, bottom) = subject.percent(name), _windows(subject)
    low = float(bottom @ curve)
    gradient = (top - float(top @ curve) / low * bottom) / low
    return float(np.linalg.norm(error.rows @ gradient)) * 100 / subject.maximum


def quantities(subject: Subject) -> dict[str, float]:
    """Return the calculated numbers that claims are about, by name; those not known are missing."""
    found: dict[str, float] = {}
    bonds = subject.bonds(subject.reference)
    if bonds is not None:
        found |= {"axial_A": bonds.axial_A, "equatorial_A": bonds.equatorial_A}
    moved = next((m for n in subject.names if (m := subject.moved(n)) is not None), None)
    if moved is not None:
        found |= {name: ratio for name, ratio in moved.ratio.items() if ratio is not None}
    return found


def _signs(subject: Subject, claim: Claim) -> Iterator[Finding]:
    """Judge each sweep: every structural feature has the published sign.

    One verdict for all its amplitudes: disagrees where one does, and open only where none is large
    enough to be told from its error.
    """
    for entry, names in subject.entries.items():
        rows = {n: [r for r in feature_rows(subject, n) if r.feature.structural] for n in names}
        verdicts = {name: signs(found) for name, found in rows.items()}
        overall = next((v for v in (DISAGREES, AGREES) if v in verdicts.values()), OPEN)
        # The largest amplitude speaks, or the one that disagrees.
        shown = [n for n in names if verdicts[n] == overall][-1]
        ours = ", ".join(f"{r.value:+.2f}" for r in rows[shown])
        ours += f" % at {shown.rpartition('@')[2]} Å" if "@" in shown else " %"
        if others := [n for n in names if verdicts[n] != overall]:
            ours += "; " + ", ".join(f"{n}: {verdicts[n]}" for n in others)
        elif len(names) > 1:
            ours += f"; the same at all {len(names)} amplitudes"
        yield Finding(claim.statement.format(name=entry), ours, overall)


def _near_edge(subject: Subject, claim: Claim) -> Iterator[Finding]:
    """Judge the features near the edge with structure and carriers together.

    The largest displacement of each sweep, all of the crystal excited, and from one pair in a
    nanocrystal to as many as it absorbs photons: agrees or disagrees where the sign is the same at
    both ends and within ``PLACE_EV``, open where it depends on either, or where the k points are
    further apart than a difference near the edge needs.
    """
    if subject.experiment is None:
        return
    heats = subject.experiment[1].values()
    volume_cm3 = next(iter(heats)).exposure.size_A ** 3 * CM3_PER_A3
    ends = (1.0, max(h.photons_per_nc for h in heats))
    try:
        filling = subject.electronic_scenarios.scenarios[-1]
    except InputError:
        filling = None
    coarse = coarser(subject.study, {s.name: s.lattice_A for s in subject.results.structures})
    for name in [n for n in subject.principal if n in subject.displaced]:
        structure = subject.percent(name)
        for feature in (f for f in subject.features if not f.structural):
            said = claim.statement.format(name=name, sign="gained" if feature.sign > 0 else "lost",
                                          place=f"{feature.energy_eV / 1000:g} keV")
            alone = at(subject, structure, feature.offset_eV)
            if filling is None:
                yield Finding(said, f"{alone:+.2f} % without carriers; no pdos.npz says where the"
                              " band edges are", OPEN)
                continue
            per = 100 * filling.difference / subject.steady_maximum / PER_CM3
            sums = [structure + pairs / volume_cm3 * per for pairs in ends]
            values = [at(subject, curve, feature.offset_eV) for curve in sums]
            verdict = next((word for word, sign in ((AGREES, 1), (DISAGREES, -1)) if _firm(
                subject, sums, feature.offset_eV, sign * feature.sign)), OPEN)
            low, high = (f"{pairs / volume_cm3:.2g}" for pairs in ends)
            why = "" if verdict != OPEN else (
                ", which depends on the density" if np.sign(values[0]) != np.sign(values[1])
                else f", but not within {PLACE_EV:g} eV")
            if coarse and verdict != OPEN:
                why, verdict = f", which {verdict}, but k points too far apart", OPEN
            yield Finding(said, f"{values[0]:+.2f} % with {low}, {values[1]:+.2f} % with {high}"
                          f" pairs per cm3 ({alone:+.2f} % without){why}", verdict)


def _steady(subject: Subject, claim: Claim) -> Iterator[Finding]:
    """Judge the extrema of the ground state above its first maximum, each by its place.

    ``values``: how far (eV) ours may be from the published one. The final states are as wide as
    ``Subject.lifetime_broadened`` has them, for a width that does not grow with energy keeps
    extrema that a measurement does not show.
    """
    yield from _extrema(subject, subject.lifetime_broadened, claim)


def _extrema(subject: Subject, spectra: StudySpectra, claim: Claim) -> Iterator[Finding]:
    names = {1: "maximum", -1: "minimum"}
    for feature in subject.features:
        if not feature.extremum or not feature.offset_eV:
            continue
        said = f"{names[feature.extremum]} at {feature.energy_eV / 1000:g} keV"
        ours = extremum_eV(subject, feature, spectra)
        shown = (f"no {names[feature.extremum]} within {EXTREMUM_REACH_EV:g} eV" if ours is None
                 else f"{ours / 1000:.4f} keV")
        near = ours is not None and abs(ours - feature.energy_eV) <= claim.values[0]
        yield Finding(claim.statement.format(extremum=said), shown, AGREES if near else DISAGREES)


def _mismatch(subject: Subject, claim: Claim) -> Iterator[Finding]:
    """Judge each phase that is said not to fit: the sign at the gain is the wrong one.

    ``values``: photon energies between which it is said to mismatch.
    """
    low, high = claim.values
    inside = (subject.axis_eV >= low) & (subject.axis_eV <= high)
    turned = {AGREES: DISAGREES, DISAGREES: AGREES, OPEN: OPEN}
    labels = {AGREES: "does not fit here either", DISAGREES: "fits here, against the article",
              OPEN: ""}
    for name in subject.other_phases:
        gain = next(r for r in feature_rows(subject, name)
                    if r.feature.structural and r.feature.sign > 0)
        loses = 100 * float((subject.percent(name)[inside] < 0).mean())
        ours = (f"{gain.value:+.2f} % at {gain.feature.energy_eV / 1000:g} keV; loses in "
                f"{loses:.0f} % of that range")
        if not gain.firm:
            ours += f"; the sign is another within ±{PLACE_EV:g} eV"
        verdict = turned[gain.verdict]
        yield Finding(claim.statement.format(name=name), ours, verdict, labels[verdict])


def _constant_ratio(subject: Subject, claim: Claim) -> Iterator[Finding]:
    """Judge whether C depends on the amplitude; ``values``: the part of it that it may change."""
    values = [shape_ratio_range(subject, name)[0] for name in subject.displaced]
    if len(values) < 2:
        yield Finding(claim.statement, "needs two or more amplitudes", OPEN)
        return
    ours = f"C from {min(values):+.2f} to {max(values):+.2f} over {len(values)} amplitudes"
    same = max(values) - min(values) < claim.values[0] * abs(float(np.mean(values)))
    yield Finding(claim.statement, ours, AGREES if same else DISAGREES)


def _positive_ratio(subject: Subject, claim: Claim) -> Iterator[Finding]:
    """Judge the sign of C of each other phase; open where it depends on the place of the edge."""
    for name in subject.other_phases:
        value, low, high = shape_ratio_range(subject, name)
        verdict = AGREES if value > 0 else DISAGREES
        ours = (f"C = {value:+.2f}, from {low:+.2f} to {high:+.2f} as the edge moves by "
                f"±{EDGE_SHIFT_EV:g} eV")
        yield Finding(claim.statement.format(name=name), ours, OPEN if low < 0 < high else verdict)


def _heated_ratio(subject: Subject, claim: Claim) -> Iterator[Finding]:
    """Judge the sign of C of every ensemble above a temperature (``values``, °C); open where it
    depends on the place of the edge, or is within two of its standard errors.
    """
    for name, celsius in subject.heated.items():
        if celsius <= claim.values[0] + 0.5:
            continue
        value, low, high = shape_ratio_range(subject, name)
        sigma = shape_ratio_sigma(subject, name) or 0.0
        ours = (f"C = {value:+.2f} ± {sigma:.2f}, from {low:+.2f} to {high:+.2f} as the edge moves"
                f" by ±{EDGE_SHIFT_EV:g} eV")
        verdict = AGREES if value > 0 else DISAGREES
        unsure = low < 0 < high or abs(value) <= 2 * sigma
        yield Finding(claim.statement.format(name=f"{celsius:.0f} °C"), ours,
                      OPEN if unsure else verdict)


def _hot_steady(subject: Subject, claim: Claim) -> Iterator[Finding]:
    """Judge the extrema of the coldest ensemble, the steady state of a measurement; ``values``: how
    far (eV) ours may be from the published one.
    """
    for name in list(subject.ensembles)[:1]:
        spectra = replace(subject.lifetime_broadened, reference=name)
        yield from _extrema(subject, spectra, claim)


def _assumed(statement: str, found: Mapping[str, tuple[str, str]]) -> Finding:
    """Return one finding on what was judged under several assumptions: words and verdict of each.

    Open where the verdict depends on what is assumed.
    """
    verdicts = {verdict for _, verdict in found.values()}
    ours = "; ".join(f"{words} if {assumed}" for assumed, (words, _) in found.items())
    if len(verdicts) == 1:
        return Finding(statement, ours, verdicts.pop())
    return Finding(statement, f"{ours}: it depends on what is assumed", OPEN)


def _heating(subject: Subject, claim: Claim) -> Iterator[Finding]:
    """Judge the published upper limit of the rise (``values``) under each assumption.

    Where no pair recombines by the range of the estimate; else by whether the temperature goes on
    rising: what was published as the limit is then passed, however thick the jet.
    """
    if subject.experiment is None:
        return
    pump, heats = subject.experiment
    published, found = claim.values[0], {}
    for assumed, heat in heats.items():
        time = np.linspace(0, 5 * pump.cooling_ps, 1501)
        rise = heat.temperature_C(time, pump.cooling_ps) - heat.exposure.start_C
        low, high = (part * rise.max() / heat.delta_T_K
                     for part in (heat.delta_T_low_K, heat.delta_T_high_K))
        ours = f"{rise.max():.0f} K (68 %: {low:.0f} to {high:.0f})"
        if (later := time[rise.argmax()]) > 0:
            ours += (f" at {later:.0f} ps ({published:g} K right after the pulse would become "
                     f"{published * rise.max() / heat.delta_T_K:.0f} K)")
        found[assumed] = ours, (
            AGREES if later == 0 and low <= published <= high else DISAGREES)
    yield _assumed(claim.statement, found)


def _cooled(subject: Subject, claim: Claim) -> Iterator[Finding]:
    """Judge the temperature after cooling under each assumption: the value and the tolerance."""
    if subject.experiment is None:
        return
    pump, heats = subject.experiment
    (value, tolerance), found = claim.values, {}
    for assumed, heat in heats.items():
        after = float(heat.temperature_C([pump.cooled_at_ps], pump.cooling_ps)[0])
        found[assumed] = (f"{after:.0f} °C",
                          AGREES if abs(after - value) <= tolerance else DISAGREES)
    yield _assumed(claim.statement, found)


def _within(subject: Subject, claim: Claim) -> Iterator[Finding]:
    """Judge one quantity by the published value and the tolerance in ``values``.

    What the study was given can disagree, but not agree.
    """
    ours = quantities(subject).get(claim.quantity)
    if ours is not None:
        value, tolerance = claim.values
        near = INPUT if claim.quantity in _GIVEN else AGREES
        verdict = near if abs(ours - value) <= tolerance + 1e-9 else DISAGREES
        yield Finding(claim.statement, claim.shown.format(ours), verdict)


RULES: dict[str, Callable[[Subject, Claim], Iterator[Finding]]] = {
    "signs": _signs, "near edge": _near_edge, "steady": _steady, "mismatch": _mismatch,
    "constant C": _constant_ratio,
    "positive C": _positive_ratio, "heating": _heating, "cooled": _cooled, "within": _within,
    "heated C": _heated_ratio, "hot steady": _hot_steady}


def findings(subject: Subject, topic: str) -> list[Finding]:
    """Judge the claims of one topic of the article on this study, disagreements first.

    None without an article.
    """
    claims = () if subject.article is None else subject.article.claims
    found = []
    for claim in claims:
        if claim.topic == topic:
            source = f" [{claim.source}]" if claim.source else ""
            found += [replace(f, published=f.published + source)
                      for f in RULES[claim.rule](subject, claim)]
    return ordered(found)
