"""Sections 2 to 4 of a report: the spectra, what makes the difference, and how it grows with the amplitude."""

from collections.abc import Sequence

import numpy as np

from perovskite_polaron.analysis.heating import Heating
from perovskite_polaron.analysis.shape_ratio import EDGES
from perovskite_polaron.measured.scan import Scan
from perovskite_polaron.published_cspbbr3 import FEATURES, SOURCE
from perovskite_polaron.report.blocks import Block, Claims, Rows, Section, Table, Text, listed, meaning
from perovskite_polaron.report.claims import (
    PLACE_EV,
    FeatureRow,
    comparison_claims,
    extremum_eV,
    feature_rows,
    heating_claims,
)
from perovskite_polaron.report.study_charts import (
    amplitude_chart,
    by_site,
    comparison_chart,
    difference_chart,
    kinetics_chart,
    largest_displaced,
    parts_chart,
    site_title,
)
from perovskite_polaron.report.subject import Subject
from perovskite_polaron.spectra.amplitude import AmplitudeSpectra, quadratic_regime


def spectra_section(subject: Subject, transient: Scan | None, verdicts: Sequence[str]) -> Section:
    """Return steady states and differences with the published features judged, and a transient with its verdict."""
    blocks: list[Block] = [
        meaning(
            "An absorption spectrum says how strongly X-rays of each energy lift a core electron of the absorbing "
            "atom into empty states; "
            "its wiggles depend on where the neighbours are. The difference is the spectrum of the changed structure "
            "minus that of the "
            "ground state, in per cent of the ground state's maximum: what a pump-probe experiment sees if every "
            "unit cell were changed. A "
            "measured transient is smaller by the excited fraction."
        ),
        difference_chart(subject, transient),
    ]
    if subject.is_published_case:
        blocks += [
            meaning(
                f"Published signs are those of the measured transient ({SOURCE}); its curve is not public, so signs "
                f"are what can be "
                "compared. Energies count from the first maximum of the ground state, put at 13 472 eV. A sign is "
                "judged only above the edge, where moved "
                f"atoms make it, and only when it is larger than what the chains leave open (±). “~” means that the "
                f"sign changes within ±{PLACE_EV:g} eV."
            ),
            Table("Published features and ours", *_features(subject)),
        ]
    if transient is not None:
        blocks += [Text(f"Measured transient {transient.name}, as polaron compare judges it:"), *map(Text, verdicts)]
    return Section("spectra", "Spectra and differences", blocks)


def _features(subject: Subject) -> Rows:
    judged: dict[str, tuple[FeatureRow, ...]] = {name: feature_rows(subject, name) for name in subject.names}
    head = ["photon energy (keV)", "from the maximum (eV)", "steady state there; ours", "published"]
    for name in subject.names:
        head += [name, f"{name}: verdict"]
    rows = []
    for i, feature in enumerate(FEATURES):
        kind = {1: "maximum", -1: "minimum", 0: "–"}[feature.extremum]
        own = extremum_eV(subject, feature)
        row = [
            f"{feature.energy_eV / 1000:.4f}",
            f"{feature.offset_eV:+.1f}",
            kind if own is None else f"{kind}; {own / 1000:.4f}",
            "gains +" if feature.sign > 0 else "loses −",
        ]
        for found in (rows_[i] for rows_ in judged.values()):
            row += [f"{found.value:+.2f} ± {found.unconverged:.2f} %{'' if found.firm else ' ~'}", found.verdict]
        rows.append(row)
    return head, rows


def experiment_section(subject: Subject, heat: Heating) -> Section:
    """Return the article's figures 2 and 3 as far as they can be had without the measured curves."""
    windows = EDGES["Br-K"]
    top, bottom = ("–".join(f"{e / 1000:.3f}" for e in w) for w in (windows.numerator_eV, windows.denominator_eV))
    blocks: list[Block] = [
        meaning(
            "The curve is the published decay: two exponentials of 120 ± 20 ps (60 %) and 900 ± 300 ps (21 %) and a "
            "flat rest of 19 %, seen with "
            "an instrument of σ = 45 ps. The band is what the errors of the lifetimes allow. Below it, how a crystal "
            "heated to the upper limit estimated below cools. "
            "The measured points are not public."
        ),
        kinetics_chart(heat),
        Claims("Heating, published and ours", heating_claims(heat)),
        meaning(
            f"C is one number for the shape of a transient: the sum of its values at {top} keV over that at {bottom} "
            f"keV. Decay does not change it; another "
            "shape does. Both windows are at the edge, where excited carriers also change the spectrum: that part is "
            "not calculated, so C is a weaker "
            "test than the signs above."
        ),
        comparison_chart(subject),
        Claims("C, published and ours", comparison_claims(subject)),
    ]
    return Section("experiment", "Decay, heating and the comparison parameter", blocks)


def parts_section(subject: Subject) -> Section:
    """Return the difference split into sites and polarisations, or why it is not."""
    section = Section("sites", "Which atoms make the signal")
    name = largest_displaced(subject)
    if name is None:
        section.blocks.append(
            Text(
                "No displaced structure has its crystal, its parent's and all three polarisations here, so nothing "
                "is split."
            )
        )
        return section
    sites, total = by_site(subject.parts(name)), subject.percent(name)
    place = subject.energy_eV - subject.white_line_eV
    inside = (place >= -12) & (place <= 44)
    whole = float(total[inside] @ total[inside])
    polarisations = [p.polarisation or "x, y, z together" for p in next(iter(sites.values()))]
    rows = []
    sums = np.zeros(len(polarisations))
    for first, found in sites.items():
        shares = np.array([float(p.difference[inside] @ total[inside]) / whole for p in found])
        sums += shares
        count = f"{found[0].atoms} of {sum(f[0].atoms for f in sites.values())}"
        rows.append(
            (site_title(subject, name, first), count, *(f"{100 * s:.1f}" for s in shares), f"{100 * shares.sum():.1f}")
        )
    rows.append(("all", "", *(f"{100 * s:.1f}" for s in sums), f"{100 * sums.sum():.1f}"))
    miss = float(np.abs(sum(p.difference for f in sites.values() for p in f) - total).max())
    section.blocks += [
        meaning(
            "The average spectrum is a sum over atoms and over the three directions of the X-ray's electric field, "
            "each with weight one third. So its "
            "change is the sum of theirs. A share is how much of the whole difference, from 12 eV below the first "
            "maximum to 44 eV above it, one part explains (the product of part and whole over "
            "the whole squared): shares add up to 100 %, and a negative one works against the sum."
        ),
        parts_chart(subject, name),
        Table(f"Shares of the difference of {name} (%)", ("site", "atoms", *polarisations, "sum"), rows),
        Text(f"The parts add up to the difference within {miss:.0e} % of the maximum: rounding."),
    ]
    if len(polarisations) == 1:
        section.blocks.append(
            Text(
                "The polarisations are not told apart: this crystal's symmetry mixes them in these axes, and only "
                "their sum is known for each atom."
            )
        )
    if other := [n for n in subject.names if not subject.parts(n)]:
        section.blocks.append(
            Text(f"Not split: {listed(other)}. Its atoms have no one-to-one partners in the ground state.")
        )
    return section


def sweeps(subject: Subject) -> dict[str, AmplitudeSpectra]:
    """Return the amplitude sweeps of a study by the name of their entry; single amplitudes are among them."""
    if not subject.names:
        return {}
    return {s.name.removeprefix("polaron "): s.sweep for s in subject.scenarios.scenarios if s.sweep is not None}


def amplitude_section(subject: Subject) -> Section:
    """Return the Q² law with the amplitude at which it fails and the error of interpolation, for any number of amplitudes."""
    section = Section(
        "amplitude",
        "How the difference grows with the amplitude",
        [
            meaning(
                "Moving the atoms of a polar mode forwards or backwards gives crystals that are images of each "
                "other, so the averaged difference does "
                "not know the sign of Q. It begins with Q²: twice the amplitude, four times the signal. While that "
                "holds, a measurement fixes only the "
                "excited fraction times Q²."
            )
        ],
    )
    found = sweeps(subject)
    if not found:
        section.blocks.append(Text("Nothing here is displaced along one odd mode, so the law does not apply."))
    for entry, sweep in found.items():
        amplitudes = sweep.amplitudes_sqrt_amu_A
        if len(amplitudes) < 2:
            section.blocks.append(
                Text(
                    f"{entry} has one amplitude only, Q = {amplitudes[0]:.3f} Å√amu: the law is assumed for it, not "
                    f"shown, and nothing is known of its error."
                )
            )
            continue
        section.blocks += _law(subject, entry, sweep)
    return section


def _law(subject: Subject, entry: str, sweep: AmplitudeSpectra) -> list[Block]:
    regime, amplitudes = quadratic_regime(sweep), sweep.amplitudes_sqrt_amu_A
    missed = [*(f"{100 * m:.2f}" for m in sweep.left_out()), "–"]
    largest = {
        round(abs(s.amplitude_sqrt_amu_A), 9): s.max_displacement_A
        for s in subject.results.structures if s.amplitude_sqrt_amu_A and s.name.split("@")[0] == entry
    }  # fmt: skip
    sizes = [min(largest.items(), key=lambda item: abs(item[0] - q))[1] for q in amplitudes]
    per_A = float(sizes[-1] or 0.0) / float(amplitudes[-1])
    scale = 100 / float(subject.scenarios.steady_state.max())
    rows = [
        (f"{q:.3f}", f"{abs(size or 0.0):.3f}", f"{scale * np.abs(curve).max():.2f}", f"{100 * deviation:.1f}", miss)
        for q, size, curve, deviation, miss in zip(
            amplitudes, sizes, sweep.differences, regime.computed, missed, strict=True
        )
    ]
    fails = regime.fails_at_sqrt_amu_A
    said = (
        f"it holds within {100 * regime.tolerance:g} % up to the largest computed amplitude."
        if fails is None
        else f"it fails by more than {100 * regime.tolerance:g} % already at the smallest computed amplitude."
        if fails <= amplitudes[0]
        else f"it fails by more than {100 * regime.tolerance:g} % from Q = {fails:.3f} Å√amu on "
        f"(largest displacement {abs(per_A) * fails:.3f} Å)."
    )
    worst = 100 * float(sweep.left_out().max())
    return [
        amplitude_chart(subject, entry, sweep, regime),
        Text(
            f"The Q² law of {entry}: {said} Between computed amplitudes the difference is interpolated; left out, "
            f"one is missed by at most {worst:.2f} % of its largest change."
        ),
        Table(
            f"Amplitudes of {entry}",
            (
                "Q (Å√amu)",
                "largest displacement (Å)",
                "largest difference (% of maximum)",
                "deviation from the law (%)",
                "missed when left out (%)",
            ),
            rows,
        ),
    ]
