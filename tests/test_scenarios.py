"""The built-in CsPbBr3 set as scenarios, and ``polaron compare`` on a transient alone."""

import json
from dataclasses import replace

import numpy as np
import pytest

from perovskite_polaron.analysis.scenario_curves import Priors
from perovskite_polaron.analysis.scenario_fit import Problem
from perovskite_polaron.analysis.scenarios import ENGINE, THERMAL
from perovskite_polaron.analysis.verdict import statements
from perovskite_polaron.cli import compare
from perovskite_polaron.cli.main import main
from perovskite_polaron.errors import InputError
from perovskite_polaron.lattice.files import read_crystal, write_crystal
from perovskite_polaron.measured.scan import Scan
from perovskite_polaron.phonons.distortion import distort
from perovskite_polaron.phonons.modes import read_modes
from perovskite_polaron.workflow import scenarios, spectra as spectra_room
from perovskite_polaron.workflow.scenarios import BUILT_IN, study_scenarios
from perovskite_polaron.workflow.spectra import load_results, study_spectra, write_tables
from perovskite_polaron.workflow.structures import study_structures
from perovskite_polaron.workflow.study import read_study


@pytest.fixture(scope="module")
def built_in():
    return load_results(BUILT_IN)[:2]


@pytest.fixture(scope="module")
def theory(built_in):
    return study_scenarios(*built_in)


def test_every_structure_but_the_reference_is_a_scenario(built_in, theory):
    results, settings = built_in
    spectra = study_spectra(results, settings)
    assert [s.name for s in theory.scenarios] == ["polaron lo", "cubic"]
    amplitudes = [s.amplitude_sqrt_amu_A for s in results.structures if s.name.startswith("lo@")]
    assert len(amplitudes) == 5
    np.testing.assert_array_equal(theory.scenarios[0].sweep.amplitudes_sqrt_amu_A, amplitudes)
    assert theory.scenarios[0].amplitude_sqrt_amu_A == amplitudes[-1]
    assert theory.scenarios[1].amplitude_sqrt_amu_A is None
    average = {name: s.average.intensity for name, s in spectra.structures.items()}
    norm = np.trapezoid(np.abs(average["ground"]), theory.energy_eV)
    np.testing.assert_allclose(theory.steady_state, average["ground"] / norm, rtol=1e-12)
    for scenario, name in zip(theory.scenarios, ("lo@0.2", "cubic"), strict=True):
        np.testing.assert_allclose(scenario.difference, (average[name] - average["ground"]) / norm,
                                   atol=1e-12)


def test_the_first_maximum_is_the_published_feature(theory):
    """The 1s-4p maximum that docs/validation.md puts on 13.472 keV."""
    assert theory.first_maximum_eV == pytest.approx(6.55, abs=0.01)


def _with_points(results, settings, monkeypatch, factors, sign_equivalent=True):
    """The study's LO entry replaced by a sweep whose differences are the LO one times
    factors[amplitude].
    """
    real = study_spectra(results, settings)
    own = next(s for s in results.structures if s.name == "lo@0.2")
    points = {f"lo@{q:g}": (q, real.differences["lo@0.2"] * f) for q, f in factors.items()}
    structures = tuple(replace(own, name=n, amplitude_sqrt_amu_A=q, sign_equivalent=sign_equivalent)
                       for n, (q, _) in points.items())
    monkeypatch.setattr(scenarios, "powder_spectra",
                        lambda *_: replace(real,
                                           differences={n: d for n, (_, d) in points.items()}))
    return study_scenarios(replace(results, structures=structures), settings)


def test_a_sweep_is_one_polaron(built_in, monkeypatch):
    (one,) = _with_points(*built_in, monkeypatch,
                          {0.1: 0.01, -0.1: 0.01, 0.5: 0.25, 1.0: 1.0}).scenarios
    assert one.name == "polaron lo"
    np.testing.assert_allclose(one.sweep.amplitudes_sqrt_amu_A, [0.1, 0.5, 1.0])
    np.testing.assert_allclose(one.sweep.at(0.7), 0.49 * one.difference, atol=1e-12)


def test_signs_that_differ_are_two_polarons_whose_change_begins_linear(built_in, monkeypatch):
    """Half of the amplitude gives half of the change, not a quarter; where both signs were
    computed, the even part is known too.
    """
    plus, minus = _with_points(*built_in, monkeypatch, {0.5: 0.5, -0.5: -0.4}, False).scenarios
    assert [plus.name, minus.name] == ["polaron lo", "polaron lo (−Q)"]
    unit = plus.difference / 0.5
    for q in (0.1, 0.25, 0.4):
        np.testing.assert_allclose(plus.sweep.at(q), (0.9 * q + 0.2 * q**2) * unit, atol=1e-12)
        np.testing.assert_allclose(minus.sweep.at(q), (-0.9 * q + 0.2 * q**2) * unit, atol=1e-12)
    (alone,) = _with_points(*built_in, monkeypatch, {0.5: 0.5}, False).scenarios
    np.testing.assert_allclose(alone.sweep.at(0.05), 0.1 * alone.difference, atol=1e-12)


def test_points_whose_sign_symmetry_is_not_known_stand_alone(built_in, monkeypatch):
    found = _with_points(*built_in, monkeypatch, {0.5: 0.5, 1.0: 1.0}, None).scenarios
    assert [s.name for s in found] == ["lo@0.5", "lo@1"]
    assert all(s.sweep is None for s in found)


def test_a_known_fraction_gives_the_amplitude_of_a_linear_mode(built_in, monkeypatch):
    """The change of half the amplitude in a tenth of the sample is a twentieth; the Q² law made
    1.43 of this 1.
    """
    (one,) = _with_points(*built_in, monkeypatch, {2.0: 1.0}, False).scenarios
    energy = np.linspace(8.0, 50.0, 120)
    change = 0.1 * 0.5 * np.interp(energy, one.energy_eV, one.difference)
    error = np.full(len(energy), 0.01 * np.abs(change).max())
    fit = Problem(Scan(energy, change, error**2, label="linear"), [one],
                  Priors(0.0, 0.0), fraction=0.1).fit(change).best
    assert fit.amplitude.q == pytest.approx(1.0, rel=1e-3)
    assert fit.product == pytest.approx(0.1, rel=1e-3)
    free = Problem(Scan(energy, change, error**2, label="linear"), [one],
                   Priors(0.0, 0.0)).fit(change)
    assert any("excited fraction × Q: 0.1 ±" in words for words in statements(free))


def test_a_study_of_the_reference_alone_is_refused(built_in):
    results, settings = built_in
    with pytest.raises(InputError, match="no structure beside its reference"):
        study_scenarios(replace(results, structures=results.structures[:1]), settings)


def test_one_energy_has_one_width_in_every_cell(built_in, monkeypatch):
    """Widths count from the common axis: where a cell has its own zero does not matter."""
    results, settings = built_in
    widths, real = [], spectra_room.evaluate

    def evaluate(save, energy_eV, hwhm_eV, **rest):
        widths.append((energy_eV[0], hwhm_eV))
        return real(save, energy_eV, hwhm_eV, **rest)

    monkeypatch.setattr(spectra_room, "evaluate", evaluate)
    found = study_spectra(results, replace(settings, width_model="linear", width={"slope": 0.1}))
    assert len({own for own, _ in widths}) > 5, "the cells have zeros of their own"
    axis = found.records[0].spectrum.energy_eV
    for _, width in widths:
        np.testing.assert_allclose(width, 1.26 + 0.1 * np.clip(axis, 0, None))


def test_one_polarisation_alone_is_named_and_is_no_powder(built_in, tmp_path):
    results, settings = built_in
    structures = tuple(
        replace(s, sites=tuple(replace(a, chains={"z": a.chains["z"]}) for a in s.sites))
        for s in results.structures
    )
    part = replace(results, structures=structures,
                   study=replace(results.study, polarisations=("z",)))
    found, whole = study_spectra(part, settings), study_spectra(results, settings)
    assert (found.part, whole.part) == ("z only", "")
    z = {r.absorber: r.spectrum for r in whole.records if r.structure == "ground"
         and r.polarisation == "z"}
    for site, spectrum in found.structures["ground"].sites.items():
        np.testing.assert_array_equal(spectrum.intensity, z[site].intensity)
    write_tables(found, tmp_path)
    for name in ("spectra.csv", "sites.csv", "differences.csv"):
        head = (tmp_path / name).read_text().splitlines()[0].split(",")
        assert all("(z only)" in column for column in head[1:])
    with pytest.raises(InputError, match="z only, which no powder shows"):
        study_scenarios(part, settings)


@pytest.mark.parametrize("exact", [True, False])
def test_a_transient_alone_is_compared_with_the_built_in_set(theory, tmp_path, capsys, monkeypatch,
                                                             exact):
    """The transient is of this engine, without thermal motion: with the calculation taken as exact
    the strength is found within its statistical error, else within both.
    """
    if exact:
        monkeypatch.setattr(compare, "BUILT_IN_ROWS", {THERMAL: {}, ENGINE: {}})
    polaron, offset = theory.scenarios[0], 13472 - theory.first_maximum_eV
    energy = np.arange(13462, 13516, 0.5)
    clean = 0.1 * np.interp(energy - offset, polaron.energy_eV, polaron.difference)
    noise = np.abs(clean).max() / 20
    signal = clean + noise * np.random.default_rng(0).normal(size=len(energy))
    rows = "\n".join(f"{a},{b:.10g},{noise:.10g}" for a, b in zip(energy, signal, strict=True))
    (tmp_path / "t.csv").write_text(f"energy_eV,signal,error\n{rows}\n")
    call = ["compare", str(tmp_path / "t.csv"), "--json", "--no-mixtures", "--window", "above-edge"]
    assert main(call) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["best"] == "polaron lo"
    best = answer["scenarios"][0]
    if exact:
        assert best["calculation_error"] == "not estimated"
        assert best["strength"] == pytest.approx(0.1, abs=3 * best["strength_err"])
    else:
        assert best["calculation_error"] == "engine and thermal average only"
        error = np.hypot(best["strength_err"], best["strength_err_calculation"])
        assert best["strength"] == pytest.approx(0.1, abs=error)
        assert error < 0.05
    assert answer["edge_eV"] == pytest.approx(offset)
    assert answer["points"] == np.count_nonzero((energy >= 13480) & (energy <= offset + 60 - 2.5))
    assert best["fraction"] is None


# Laws that the computed sweep keeps: real chains, so what is shown here is shown of the calculation


def test_an_amplitude_left_out_is_found_again_by_the_others(theory):
    assert theory.scenarios[0].sweep.left_out().max() < 0.02


def _per_square(results, settings, **changes):
    """Differences over Q² of 0.02 and 0.05 Å, in units of the largest of the latter."""
    spectra = study_spectra(results, replace(settings, **changes))
    amplitude = {s.name: s.amplitude_sqrt_amu_A for s in results.structures}
    small, more = (spectra.differences[n].intensity / amplitude[n] ** 2
                   for n in ("lo@0.02", "lo@0.05"))
    return small / np.abs(more).max(), more / np.abs(more).max(), spectra.differences[
        "lo@0.02"].energy_eV


def test_small_differences_grow_with_the_square_because_the_cut_is_in_the_gap(built_in):
    """The level on which XSpectra cuts moves with |Q|; a few tenths of an eV higher there is
    nothing to cut through.
    """
    small, more, energy = _per_square(*built_in)
    assert np.abs(small - more).max() < 0.04
    for above in (0.2, 0.6, 1.0):
        other, _, _ = _per_square(*built_in, cut_above_eV=above)
        assert np.abs(other - small).max() < 0.005
    small, more, _ = _per_square(*built_in, cut_above_eV=0.0)
    edge = np.abs(energy) < 2
    assert np.abs(small - more)[edge].max() > 0.3


def test_a_taper_makes_differences_of_short_chains_better(built_in):
    results, settings = built_in
    reference = study_spectra(results, settings).differences["lo@0.05"].intensity
    for steps in (240, 300):
        chains = {n: replace(s, a=tuple(x[:steps] for x in s.a), b=tuple(x[:steps] for x in s.b))
                  for n, s in results.chains.items()}
        short = replace(results, chains=chains)
        off = [np.abs(study_spectra(short,
                                    replace(settings, taper=taper)).differences["lo@0.05"].intensity
                      - reference).max() for taper in (0.0, 0.1)]
        assert off[1] < off[0] / 2


def _with_levels(results, **levels):
    """The results with other levels on record for every hole; levels count from the highest
    occupied one.
    """

    def other(site):
        return replace(site,
                       hole=site.hole
                       | {k: site.hole["highest_occupied_eV"] + v for k, v in levels.items()})

    structures = [replace(s, sites=tuple(map(other, s.sites))) for s in results.structures]
    return replace(results, structures=tuple(structures))


def test_a_cut_beyond_the_gap_is_refused_and_with_smearing_it_is_at_the_fermi_energy(built_in):
    results, settings = built_in
    complaint = r"hole on Br9-4c is 0\.20 eV, so cut_above_eV = 0\.3 would take empty"
    with pytest.raises(InputError, match=complaint):
        study_spectra(_with_levels(results, lowest_empty_eV=0.2), settings)
    study_spectra(_with_levels(results, lowest_empty_eV=0.7), settings)
    smeared = study_spectra(_with_levels(results, fermi_eV=0.01),
                            settings).differences["lo@0.02"].intensity
    at_fermi = study_spectra(results,
                             replace(settings, cut_above_eV=0.0)).differences["lo@0.02"].intensity
    # The shifts of the alignment count from the chains' own Fermi energy, which is what it was.
    np.testing.assert_array_equal(smeared, at_fermi)


def test_a_study_knows_whether_the_signs_of_its_sweep_are_equivalent(tmp_path):
    """By symmetry, before anything is computed: the LO mode of CsPbBr3 is odd, and no pattern of a
    polar crystal along its axis is.
    """
    crystal = read_crystal("cspbbr3-pbnm")
    polar = distort(crystal, read_modes("lo-c"), [0.2], "max_A")[0].crystal
    write_crystal(polar, tmp_path / "polar.cif")
    text = """element = "Br"
reference = "ground"
[structures.ground]
crystal = "{0}"
[structures.lo]
crystal = "{0}"
modes = ["lo-c"]
max_displacement_A = [0.1, -0.1]
"""
    for name, expected in (("cspbbr3-pbnm", True), ("polar.cif", False)):
        (tmp_path / "study.toml").write_text(text.format(name))
        found = study_structures(read_study(tmp_path / "study.toml"))
        assert [s.sign_equivalent for s in found] == [None, expected, expected]
        assert [s.opposite_sign for s in found] == [False, False, expected]
