"""Widths, alignment, averages and differences: limits and laws that hold whatever the numbers are.
"""

from dataclasses import replace

import numpy as np
import pytest

from perovskite_polaron.errors import InputError
from perovskite_polaron.kernels.convolution import broaden_lorentzian
from perovskite_polaron.spectra.alignment import SiteEnergies, shifts
from perovskite_polaron.spectra.broadening import MODELS, half_width, resolve
from perovskite_polaron.spectra.spectrum import (
    NORMALISATIONS, SiteSpectrum, Spectrum, average_structures, differences, mean, norm)

ENERGY = np.linspace(-10, 60, 701)
FDMNES = {"Gamma_max": 15.0, "E_cent": 30.0, "E_larg": 30.0}


def step(position=0.0, height=1.0, label="step"):
    return Spectrum(ENERGY, height * (0.5 + np.arctan((ENERGY - position) / 1.3) / np.pi), label)


# widths


def test_constant_and_linear_widths():
    np.testing.assert_array_equal(half_width("constant", ENERGY, 1.26, {}), np.full(701, 1.26))
    width = half_width("linear", ENERGY, 1.26, {"slope": 0.1, "start_eV": 5})
    np.testing.assert_allclose(width, 1.26 + 0.1 * np.clip(ENERGY - 5, 0, None), rtol=1e-14)
    np.testing.assert_array_equal(
        half_width("linear", ENERGY, 1.26, {"slope": 0}), half_width("constant", ENERGY, 1.26, {})
    )


def test_table_interpolates_and_stops_at_its_ends():
    width = half_width("table", [-5, 0, 5, 10, 99], 1.0,
                       {"energies_eV": [0, 10], "hwhm_eV": [1, 3]})
    np.testing.assert_allclose(width, [1, 1, 2, 3, 3])


def test_arctangent_has_the_limits_of_the_manual():
    at = [-50.0, 0.0, 1e-9, 30.0, 1e9]
    width = half_width("arctangent", at, 1.26, FDMNES)
    # Full widths: Gamma_hole, half the rise at E_cent, all of it far above.
    np.testing.assert_allclose(2 * width, [2.52, 2.52, 2.52, 2.52 + 7.5, 2.52 + 15], rtol=1e-6)
    assert (np.diff(half_width("arctangent", ENERGY, 1.26, FDMNES)) >= 0).all()


def test_arctangent_one_number_by_hand():
    """E = 20, E_cut = -5, E_cent = 30: e = 5/6, e - 1/e² = -0.60667; times π/3 · 10/40: -0.158825.
    """
    width = half_width("arctangent", [20.0], 9.9,
                       FDMNES | {"Gamma_max": 10, "E_larg": 40, "E_cut": -5, "Gamma_hole": 4})
    assert 2 * width[0] == pytest.approx(4 + 10 * (0.5 - 0.1575095 / np.pi), rel=1e-6)


def test_arctangent_slope_at_its_centre():
    """Derivative of the formula at e = 1: Gamma_max² / (E_larg E_cent)."""
    h = 1e-4
    low, high = half_width("arctangent", [30 - h, 30 + h], 1.26, FDMNES | {"E_larg": 45})
    assert (high - low) / h == pytest.approx(15**2 / (45 * 30), rel=1e-6)


def test_arctangent_follows_its_cut():
    shifted = half_width("arctangent", ENERGY + 3, 1.26, FDMNES | {"E_cut": 3})
    np.testing.assert_allclose(shifted, half_width("arctangent", ENERGY, 1.26, FDMNES), rtol=1e-12)
    np.testing.assert_allclose(half_width("arctangent", ENERGY, 1.26, FDMNES | {"Gamma_max": 0}),
                               1.26)


@pytest.mark.parametrize("model", MODELS)
def test_every_width_is_positive_float64(model):
    parameters = {"linear": {"slope": 1}, "arctangent": FDMNES,
                  "table": {"energies_eV": [0], "hwhm_eV": [1]}}
    width = half_width(model, np.arange(-3, 4), 0.01, parameters.get(model, {}))
    assert width.dtype == np.float64
    assert width.shape == (7,)
    assert (width > 0).all()


@pytest.mark.parametrize(("model", "parameters", "hole", "message"),
                         [("voigt", {}, 1, "width model 'voigt' is unknown: choose from constant,"
                           " linear, arctangent, table"),
                          ("constant", {"slope": 1}, 1,
                           "'constant' does not know slope: it takes no parameters"),
                          ("linear", {}, 1,
                           r"'linear' lacks slope: it takes slope, start_eV \(optional\)"),
                          ("linear", {"slope": -1}, 1, "slope is -1"),
                          ("linear", {"slope": "steep"}, 1,
                           "slope is not a number"),
                          ("linear", {"slope": np.nan}, 1, "slope is NaN or infinite"),
                          ("arctangent", {"Gamma_max": 1}, 1,
                           "'arctangent' lacks E_cent, E_larg: it takes Gamma_max, E_cent, E_larg"),
                          ("arctangent", FDMNES | {"Gmax": 1}, 1, "does not know Gmax"),
                          ("arctangent", FDMNES | {"E_larg": 0}, 1, "E_larg is 0"),
                          ("arctangent", FDMNES | {"E_cent": -1}, 1, "E_cent is -1"),
                          ("arctangent", FDMNES | {"Gamma_hole": 0}, 1, "Gamma_hole is 0"),
                          ("arctangent", FDMNES | {"Gamma_max": -1}, 1, "Gamma_max is -1"),
                          ("table", {"energies_eV": [0, 1], "hwhm_eV": [1]}, 1,
                           r"hwhm_eV has shape \(1,\)"),
                          ("table", {"energies_eV": [1, 0], "hwhm_eV": [1, 1]}, 1,
                           "do not increase"),
                          ("table", {"energies_eV": [0, 1], "hwhm_eV": [1, 0]}, 1,
                           "not positive everywhere"),
                          ("constant", {}, 0, "core_hole_hwhm_eV is 0"),
                          ("constant", {}, np.nan, "core_hole_hwhm_eV is nan")])
def test_width_refuses(model, parameters, hole, message):
    with pytest.raises(InputError, match=message):
        half_width(model, ENERGY, hole, parameters)


def test_resolution_widens_a_line_in_quadrature_and_keeps_its_area():
    line = Spectrum(ENERGY, np.exp(-((ENERGY - 25) ** 2) / 8), "line")
    seen = resolve(line, 4.0)
    area, mean = np.trapezoid(seen.intensity, ENERGY), np.trapezoid(seen.intensity * ENERGY, ENERGY)
    assert area == pytest.approx(np.trapezoid(line.intensity, ENERGY), rel=1e-9)
    variance = np.trapezoid(seen.intensity * (ENERGY - mean / area) ** 2, ENERGY) / area
    assert variance == pytest.approx(4 + 16 / (8 * np.log(2)), rel=1e-3)
    assert resolve(line, 0) is line
    flat = Spectrum(ENERGY, np.full(701, 2.5), "flat")
    np.testing.assert_allclose(resolve(flat, 3.0).intensity, 2.5, rtol=1e-12)


def test_resolution_twice_is_once_with_the_sum_of_squares():
    line = Spectrum(ENERGY, np.exp(-((ENERGY - 25) ** 2) / 8), "line")
    np.testing.assert_allclose(resolve(resolve(line, 3.0), 4.0).intensity,
                               resolve(line, 5.0).intensity, atol=2e-4)


def test_lorentzian_then_resolution_is_resolution_then_lorentzian():
    line = Spectrum(ENERGY, np.exp(-((ENERGY - 25) ** 2) / 8), "line")
    one = resolve(line, 2.0)
    a = broaden_lorentzian(ENERGY, one.intensity, ENERGY, 1.5)
    b = resolve(Spectrum(ENERGY, broaden_lorentzian(ENERGY, line.intensity, ENERGY, 1.5)),
                2.0).intensity
    np.testing.assert_allclose(a[100:-100], b[100:-100], atol=1e-3)


@pytest.mark.parametrize("width", [-1.0, np.nan, np.inf])
def test_resolution_refuses(width):
    with pytest.raises(InputError, match="resolution_fwhm_eV is"):
        resolve(step(), width)


# alignment

CELL = ((8.2, 0.0, 0.0), (0.0, 8.25, 0.0), (0.0, 0.0, 11.7))


def sites(hole="full"):
    lumo = {"lumo_eV": 5.5} if hole == "excited-electron" else {}
    rows = [
        ("ground", "Br1", 4, -1000.0, -990.0, 4.0),
        ("ground", "Br2", 8, -1000.0, -989.4, 3.9),
        ("polar", "Br1", 4, -999.8, -989.9, 4.1),
        ("polar", "Br2", 4, -999.8, -989.0, 3.7),
    ]
    return [SiteEnergies(s, a, m, hole, ground, core, fermi, CELL, **lumo)
            for s, a, m, ground, core, fermi in rows]


def values(rows, reference="ground", alignment="delta-scf"):
    return np.array([s.shift_eV for s in shifts(rows, reference, alignment)])


HOLES = ("full", "half", "excited-electron", "none")


@pytest.mark.parametrize("hole", HOLES)
def test_reference_has_mean_zero(hole):
    assert np.average(values(sites(hole))[:2], weights=[4, 8]) == pytest.approx(0, abs=1e-12)


def test_full_hole_is_the_total_energy_and_the_fermi_energy():
    # onsets 14.0, 14.5; 14.0, 14.5 with the mean (4·14 + 8·14.5)/12
    np.testing.assert_allclose(values(sites()), np.array([14.0, 14.5, 14.0, 14.5]) - 172 / 12,
                               atol=1e-9)


def test_half_hole_doubles_the_total_energy():
    np.testing.assert_allclose(values(sites("half")),
                               np.array([24, 25.1, 23.9, 25.3]) - (4 * 24 + 8 * 25.1) / 12,
                               atol=1e-9)


def test_excited_electron_counts_from_the_level_that_holds_it():
    rows = [replace(s, lumo_eV=s.fermi_eV + 1.0) for s in sites("excited-electron")]
    np.testing.assert_allclose(values(rows), np.array([9, 9.6, 8.9, 9.8]) - (4 * 9 + 8 * 9.6) / 12,
                               atol=1e-9)


def test_no_hole_moves_by_the_band_edge_alone():
    changed = [replace(s, hole_energy_eV=s.hole_energy_eV + i) for i, s in enumerate(sites("none"))]
    np.testing.assert_allclose(values(changed),
                               np.array([4, 3.9, 4.1, 3.7]) - (4 * 4 + 8 * 3.9) / 12, atol=1e-9)


@pytest.mark.parametrize("hole", HOLES)
def test_a_constant_in_every_core_hole_energy_changes_nothing(hole):
    moved = [replace(s, hole_energy_eV=s.hole_energy_eV + 1234.5) for s in sites(hole)]
    np.testing.assert_allclose(values(moved), values(sites(hole)), atol=1e-9)


@pytest.mark.parametrize(("hole", "charge"),
                         [("full", 1.0), ("half", 0.5), ("excited-electron", 0.0)])
def test_zero_of_the_potential_does_not_matter(hole, charge):
    """Raise the potential of electrons by v in one core-hole cell: levels rise by v, its energy by
    -charge·v.
    """
    rows, v = sites(hole), 0.37
    site = rows[2]
    rows[2] = replace(
        site,
        fermi_eV=site.fermi_eV + v,
        hole_energy_eV=site.hole_energy_eV - charge * v,
        lumo_eV=None if site.lumo_eV is None else site.lumo_eV + v,
    )
    np.testing.assert_allclose(values(rows), values(sites(hole)), atol=1e-12)


def test_energy_of_the_structure_itself_cancels():
    moved = [
        replace(s, ground_energy_eV=s.ground_energy_eV - 7, hole_energy_eV=s.hole_energy_eV - 7)
        if s.structure == "polar"
        else s
        for s in sites()
    ]
    np.testing.assert_allclose(values(moved), values(sites()), atol=1e-9)


def test_fermi_alignment_moves_nothing_and_says_so():
    result = shifts(sites(), "ground", "fermi")
    assert [s.shift_eV for s in result] == [0] * 4
    assert all("own Fermi energy" in s.caveat for s in result)


def test_caveats():
    other = [replace(s, cell_A=((5.87, 0, 0), (0, 5.87, 0), (0, 0, 5.87))) if s.structure == "polar"
             else s for s in sites()]
    caveats = [s.caveat for s in shifts(other, "ground")]
    assert caveats[:2] == ["", ""]
    assert all("finite-size constant does not cancel" in c for c in caveats[2:])
    assert all("core-level shifts are not included" in s.caveat
               for s in shifts(sites("none"), "ground"))
    assert all("half of the relaxation" in s.caveat for s in shifts(sites("half"), "ground"))
    assert all(s.caveat == "" for s in shifts(sites("excited-electron"), "ground"))


@pytest.mark.parametrize(
    ("rows", "reference", "alignment", "message"),
    [
        (sites(), "cubic", "delta-scf", "reference structure 'cubic' has no site"),
        (sites(), "ground", "edge", "'edge' is no alignment: choose delta-scf or fermi"),
        (
            sites("third"),
            "ground",
            "delta-scf",
            "'third' is no kind of core hole: choose from full, half, excited-electron, none",
        ),
        (sites()[:2] + sites("half")[2:], "ground", "delta-scf", "different kinds of core hole"),
        (
            [replace(s, lumo_eV=None) for s in sites("excited-electron")],
            "ground",
            "delta-scf",
            "ground Br1: an excited electron needs",
        ),
        (
            [replace(s, fermi_eV=np.nan) for s in sites()],
            "ground",
            "delta-scf",
            "ground Br1: its energies are not all finite",
        ),
    ],
)
def test_alignment_refuses(rows, reference, alignment, message):
    with pytest.raises(InputError, match=message):
        shifts(rows, reference, alignment)


# averages


def records(structure, absorbers, shift=0.0):
    """absorbers: {label: (multiplicity, (x, y, z))}."""
    return [
        SiteSpectrum(structure, label, multiplicity, axis, spectrum, shift)
        for label, (multiplicity, parts) in absorbers.items()
        for axis, spectrum in zip("xyz", parts, strict=True)
    ]


def test_powder_is_a_third_of_the_trace_in_any_axes():
    rng = np.random.default_rng(0)
    tensor = rng.normal(size=(701, 3, 3))
    tensor = tensor @ tensor.transpose(0, 2, 1)
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turned = rotation @ tensor @ rotation.T
    one, two = (mean([Spectrum(ENERGY, t[:, i, i]) for i in range(3)], "p")
                for t in (tensor, turned))
    np.testing.assert_allclose(one.intensity, np.trace(tensor, axis1=1, axis2=2) / 3, rtol=1e-13)
    np.testing.assert_allclose(two.intensity, one.intensity, rtol=1e-12)


def test_multiplicities_weigh_the_average():
    one, two = step(0), step(2)
    split = average_structures(records("s", {"Br1": (4, [one] * 3), "Br2": (8, [two] * 3)}))["s"]
    np.testing.assert_allclose(split.average.intensity, (one.intensity + 2 * two.intensity) / 3,
                               rtol=1e-13)
    assert split.multiplicities == {"Br1": 4, "Br2": 8}
    assert list(split.sites) == ["Br1", "Br2"]
    # Splitting an orbit into equal parts, or taking a supercell, changes nothing.
    parts = {"Br1": (8, [one] * 3), "Br2": (8, [two] * 3), "Br3": (8, [two] * 3)}
    again = average_structures(records("s", parts))["s"]
    np.testing.assert_allclose(again.average.intensity, split.average.intensity, rtol=1e-13)


def test_averages_refuse():
    rows = records("s", {"Br1": (4, [step()] * 3)})
    for wrong, message in ((rows[:2],
                            "s Br1: polarisations x, y found; x, y, z are needed, each once"),
                           ([*rows, rows[0]],
                            "s Br1: polarisations x, x, y, z found; x, y, z are needed, each once"),
                           ([replace(rows[0], multiplicity=8), *rows[1:]],
                            "differ in multiplicity or shift"),
                           ([replace(rows[0], shift_eV=1.0), *rows[1:]],
                            "differ in multiplicity or shift"),
                           ([replace(rows[0], spectrum=Spectrum(ENERGY + 1, ENERGY)), *rows[1:]],
                            "have different energies")):
        with pytest.raises(InputError, match=message):
            average_structures(wrong)


# differences


def study():
    return average_structures([*records("ground",
                                        {"Br1": (4, [step(0), step(0.3), step(0.1)]),
                                         "Br2": (8, [step(0.5)] * 3)}),
                               *records("polar", {"Br1": (12, [step(1.0), step(0.9), step(0.8)])})])


@pytest.mark.parametrize("kind", NORMALISATIONS)
def test_difference_with_itself_is_zero(kind):
    found = differences(study(), "ground", kind)
    np.testing.assert_array_equal(found["ground"].intensity, 0)
    assert np.abs(found["polar"].intensity).max() > 1e-3


def test_difference_changes_sign_with_the_reference():
    forward, back = (
        differences(study(), name, "area")[other].intensity * norm(study()[name].average, "area")
        for name, other in (("ground", "polar"), ("polar", "ground"))
    )
    np.testing.assert_allclose(forward, -back, rtol=1e-12)


@pytest.mark.parametrize("kind", NORMALISATIONS)
def test_over_its_norm_a_spectrum_does_not_depend_on_its_unit(kind):
    spectrum = step(3.0, 7.5)
    over = [one * (1 / norm(one, kind)) for one in (spectrum, spectrum * 1e-6)]
    assert norm(over[0], kind) == pytest.approx(1, rel=1e-13)
    np.testing.assert_allclose(over[1].intensity, over[0].intensity, rtol=1e-12)


def test_norms_of_a_known_spectrum():
    ramp = Spectrum([0, 1, 3, 10], [1.0, -1.0, 2.0, 6.0], "ramp")
    found = [norm(ramp, kind) for kind in ("last-point", "edge-step", "area", "absolute-area")]
    assert found == pytest.approx([6, 5, 0 + 1 + 28, 1 + 3 + 28])


def test_differences_refuse():
    with pytest.raises(InputError, match="reference 'cubic' is not among ground, polar"):
        differences(study(), "cubic", "area")
    with pytest.raises(InputError,
                       match="'peak' is no normalisation: choose from last-point, edge-step"):
        norm(step(), "peak")
    with pytest.raises(InputError, match="'zero' cannot be normalised by its area: that is zero"):
        norm(step(height=0.0, label="zero"), "area")


@pytest.mark.parametrize(
    ("energy", "intensity", "message"),
    [
        ([0, 1], [1, 2, 3], "intensity has shape"),
        ([0, 0], [1, 2], "do not increase"),
        ([0, 1], [1, np.nan], "intensity contains NaN"),
        ([], [], "energy_eV is empty"),
    ],
)
def test_spectrum_refuses(energy, intensity, message):
    with pytest.raises(InputError, match=message):
        Spectrum(energy, intensity)


def test_spectrum_keeps_its_own_frozen_copy():
    y = np.ones(701)
    spectrum = Spectrum(ENERGY, y)
    y[0] = 9
    assert spectrum.intensity[0] == 1
    with pytest.raises(ValueError, match="read-only"):
        spectrum.intensity[0] = 2
