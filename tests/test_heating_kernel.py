"""From absorbed light to temperature: a 10 nm CsPbBr3 cube, laws, reference implementation, bad
input.
"""

import numpy as np
import pytest
from reference import heating as reference

from perovskite_polaron.errors import InputError
from perovskite_polaron.kernels import heating
from perovskite_polaron.units import BOLTZMANN_MEV_K

MASS, VOLUME = 579.82, 793.13 / 4
CUBE = 1e6 / VOLUME
JET = {"molar_mass_g_mol": MASS, "formula_volume_A3": VOLUME, "photon_energy_eV": 3.49,
       "start_K": 298.15}
TRANSITIONS = [(323.15, 332.15, 300.0), (381.15, 390.15, 200.0)]
TABLE = heating.tabulated(np.linspace(200, 600, 60), 115 + 9 * np.sin(np.linspace(0, 4, 60)),
                          TRANSITIONS)
UNCERTAIN = {"fluence_mJ_cm2": (8.8, 1.0), "absorption_per_cm": (40.0, 10.0),
             "thickness_A": (2e6, 4e5), "concentration_mg_mL": (5.8, 0.3), "size_A": (100.0, 20.0)}


DULONG_PETIT = heating.tabulated([0.0, 1e4], [15 * 8.314462618] * 2)


def temperature_rise(energy_eV, start_K, table):
    """The kernel's inversion: a jet that absorbs everything, and heats with all of it."""
    fluence = np.atleast_1d(energy_eV) * heating.CM_PER_A / (MASS * heating.EV_PER_J_MOL)
    return heating.heat(fluence, 1e40, 1.0, 1.0, 1.0, heat_fraction=1.0, table=table,
                        **JET | {"start_K": start_K})[0]


def harmonic(modes):
    kelvin = np.arange(5.0, 1500.25, 0.5)
    x = modes / (BOLTZMANN_MEV_K * kelvin[:, None])
    capacity = 8.314462618 * np.sum((x / 2 / np.sinh(np.minimum(x / 2, 300))) ** 2, axis=1)
    return heating.tabulated(kelvin, capacity)


def test_ten_nanometre_cube():
    """782 eV in a cube of 10 nm, whose heat capacity is 6.52 eV/K, are 120 K."""
    assert DULONG_PETIT.knots[2, 0] * CUBE == pytest.approx(6.52, abs=0.005)
    assert temperature_rise(782 / CUBE, 298.15, DULONG_PETIT) == pytest.approx(120, rel=1e-3)


@pytest.mark.parametrize(("thickness_um", "rise"), [(100, 220), (150, 147), (200, 110), (300, 73)])
def test_everything_absorbed_in_the_jet(thickness_um, rise):
    for size in (50.0, 100.0, 200.0):
        computed, photons = heating.heat(8.8, 1e9, thickness_um * 1e4, 5.8, size,
                                         heat_fraction=1 - 2.4 / 3.49, table=DULONG_PETIT,
                                         **JET)
        assert computed[0] == pytest.approx(rise, rel=0.01)
        energy = computed[0] * 15 * 8.314462 / 96485.33
        assert photons[0] == pytest.approx(energy * size**3 / VOLUME / 1.09, rel=1e-5)


def test_the_jet_is_the_mean_of_its_depths():
    """At each depth a thin jet in the light that Lambert and Beer leave there."""
    nodes, weights = np.polynomial.legendre.leggauss(20)
    light = 8.8 * np.exp(-40.0 * 1e6 * (nodes + 1) * heating.CM_PER_A)
    thin, _ = heating.heat(light, 40.0, 1e-9, 5.8, 100.0, heat_fraction=1.0, table=DULONG_PETIT,
                           **JET)
    front = 8.8 * 40.0 * MASS / 5.8 / (15 * 8.314462618)
    assert thin[0] / light[0] * 8.8 == pytest.approx(front, rel=1e-8)
    whole, _ = heating.heat(8.8, 40.0, 2e6, 5.8, 100.0, heat_fraction=1.0, table=DULONG_PETIT,
                            **JET)
    assert whole[0] == pytest.approx(thin @ weights / 2, rel=1e-12)


@pytest.mark.parametrize("count", [1, 127, 128, 129, 1500])
@pytest.mark.parametrize("number", UNCERTAIN)
def test_a_number_is_as_many_equal_draws(number, count):
    draws = heating.draw(UNCERTAIN, count, seed=2)
    value = UNCERTAIN[number][0]
    one = heating.heat(**draws | {number: value}, heat_fraction=1.0, table=TABLE, **JET)
    many = heating.heat(**draws | {number: np.full(count, value)}, heat_fraction=1.0, table=TABLE,
                        **JET)
    for a, b in zip(one, many, strict=True):
        assert a.shape == (count,)
        np.testing.assert_array_equal(a, b)
    with pytest.raises(InputError, match=number):
        heating.heat(**draws | {number: -value}, heat_fraction=1.0, table=TABLE, **JET)


def test_rise_inverts_the_enthalpy_with_latent_heats():
    target = np.r_[np.linspace(299, 1000, 300), 323.15, 332.15]
    energy = [TABLE.enthalpy_eV(t) - TABLE.enthalpy_eV(298.15) for t in target]
    np.testing.assert_allclose(298.15 + temperature_rise(energy, 298.15, TABLE), target,
                               rtol=1e-13)


def test_latent_heat_at_one_temperature_holds_it():
    table = heating.tabulated([200, 400], [100.0, 100.0], [(350.0, 350.0, 1000.0)])
    per_eV = heating.EV_PER_J_MOL
    rise = temperature_rise(np.array([4999.0, 5500.0, 6000.0, 6100.0]) * per_eV, 300.0,
                                    table)
    np.testing.assert_allclose(rise, [49.99, 50, 50, 51], rtol=1e-12)
    # already at the transition, not yet through it
    np.testing.assert_allclose(temperature_rise([500 * per_eV, 1100 * per_eV], 350.0,
                                                        table), [0, 1], atol=1e-10)


def test_latent_heat_costs_exactly_its_energy():
    without = heating.tabulated(np.linspace(200, 600, 60), 115 + 9 * np.sin(np.linspace(0, 4, 60)))
    assert TABLE.enthalpy_eV(500) - without.enthalpy_eV(500) == pytest.approx(
        500 * heating.EV_PER_J_MOL, rel=1e-10)
    energy = 20000 * heating.EV_PER_J_MOL
    with_it = heating.tabulated([0.0, 1e4], [15 * 8.314462618] * 2, TRANSITIONS)
    lost = temperature_rise(energy, 298.15, DULONG_PETIT) - temperature_rise(energy, 298.15,
                                                                             with_it)
    assert lost == pytest.approx(500 / (15 * 8.314462), rel=1e-6)


def test_harmonic_modes_follow_the_bose_sum_and_reach_dulong_petit():
    modes = np.linspace(2.0, 19.0, 15)
    table = harmonic(modes)

    def bose(kelvin):
        return np.sum(modes * 1e-3 / np.expm1(modes / (BOLTZMANN_MEV_K * kelvin)))

    for kelvin in (150.0, 300.0, 420.0):
        energy = table.enthalpy_eV(kelvin) - table.enthalpy_eV(100.0)
        assert energy == pytest.approx(bose(kelvin) - bose(100.0), rel=1e-6)
    classical = harmonic(np.full(15, 1e-3))
    assert temperature_rise(0.1, 298.15, classical) == pytest.approx(
        temperature_rise(0.1, 298.15, DULONG_PETIT), rel=1e-6)
    ratio = np.interp(300, table.knots[0], table.knots[2]) / (15e-3 * BOLTZMANN_MEV_K)
    assert 0.95 < ratio < 0.995


def test_monte_carlo_equals_the_reference_implementation():
    draws = heating.draw(UNCERTAIN, 20_001, seed=3)
    rise, photons = heating.heat(**draws, heat_fraction=0.7, table=TABLE, **JET)
    scale = 579.82 * heating.EV_PER_J_MOL
    expected = reference.heat(*(draws[name] * (1e-8 if name == "thickness_A" else 1)
                           for name in UNCERTAIN), scale, 0.7, 1 / (VOLUME * 3.49), TABLE.knots,
                         298.15, TABLE.enthalpy_eV(298.15))
    np.testing.assert_allclose(rise, expected[0], rtol=1e-12)
    np.testing.assert_allclose(photons, expected[1], rtol=1e-12)


@pytest.mark.parametrize("first", [1, 3, 600])
def test_a_draw_depends_on_neither_its_neighbours_nor_its_address(first):
    draws = heating.draw(UNCERTAIN, 1700, seed=5)
    whole = heating.heat(**draws, heat_fraction=0.7, table=TABLE, **JET)
    later = heating.heat(**{name: x[first:] for name, x in draws.items()}, heat_fraction=0.7,
                         table=TABLE, **JET)
    np.testing.assert_array_equal(later, [x[first:] for x in whole])
    alone = heating.heat(**{name: x[1000] for name, x in draws.items()}, heat_fraction=0.7,
                         table=TABLE, **JET)
    np.testing.assert_array_equal(np.ravel(alone), [x[1000] for x in whole])


@pytest.mark.parametrize("value",
                         [np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, -5e-324, -1.0, -1e300])
@pytest.mark.parametrize("name", UNCERTAIN)
def test_no_bad_draw_hides(name, value):
    """Wherever it stands, and also where a second bad number would hide the first."""
    good = heating.draw(UNCERTAIN, 1300, seed=2)
    for at in (0, 5, 700, 1299):
        for other in (None, *UNCERTAIN):
            for with_it in (0.0, np.inf, -np.inf, -2.0, np.nan) if other not in (None,
                                                                                 name) else (value,
                                                                                             ):
                draws = {key: x.copy() for key, x in good.items()}
                if other:
                    draws[other][at] = with_it
                draws[name][at] = value
                with pytest.raises(InputError, match=r"must be positive|contains NaN or infinity"):
                    heating.heat(**draws, heat_fraction=0.7, table=TABLE, **JET)


@pytest.mark.parametrize("value", [5e-324, 1e-200, 1e200, np.finfo(float).max])
@pytest.mark.parametrize("name", UNCERTAIN)
def test_extreme_but_valid_draws_are_not_refused(name, value):
    draws = heating.draw(UNCERTAIN, 100, seed=2)
    draws[name][50] = value
    rise, photons = heating.heat(**draws, heat_fraction=0.7, table=TABLE, **JET)
    assert np.isfinite(np.delete([rise, photons], 50, axis=1)).all()


@pytest.mark.parametrize("latent", [[], TRANSITIONS, [(350.0, 350.0, 1000.0)]])
@pytest.mark.parametrize("capacity",
                         [[1e-3, 100.0], [100.0, 1.0], [5.0, 5.0 + 1e-9],
                          [1.0, 120.0, 110.0, 3.0, 90.0]])
def test_steep_heat_capacities_are_inverted_to_rounding(capacity, latent):
    """Also where a segment or a cell of the guide begins."""
    table = heating.tabulated(np.linspace(200.0, 600.0, len(capacity)), capacity, latent)
    energy = np.geomspace(1e-3, 2, 5000) * table.enthalpy_eV(600.0)
    expected = reference.temperatures(energy, table.knots) - 200.0
    np.testing.assert_allclose(temperature_rise(energy, 200.0, table), expected, rtol=1e-12)
    _, guide, per_eV = table.search
    starts = np.r_[table.knots[1, 1:], np.arange(1, len(guide)) / per_eV]
    around = np.sort(np.r_[starts, np.nextafter(starts, 0), np.nextafter(starts, 1)])
    rise = temperature_rise(around, 200.0, table)
    # A rise is a difference of temperatures: the last place of 600 K remains.
    np.testing.assert_allclose(rise, reference.temperatures(around, table.knots) - 200.0,
                               rtol=1e-12, atol=1.2e-13)
    assert np.all(np.diff(rise) > -1e-11)


def test_many_segments_in_one_cell():
    """Far below the modes' energies the heat capacity spans a hundred decades within the first cell
    of enthalpy.
    """
    table = harmonic(np.full(15, 60.0))
    _, guide, _ = table.search
    assert guide[0] == 0
    assert guide[1] > 20
    energy = np.geomspace(1e-25, 10, 20_000) * table.enthalpy_eV(300.0)
    found = 5.0 + temperature_rise(energy, 5.0, table)
    np.testing.assert_allclose(found, reference.temperatures(energy, table.knots), rtol=1e-12)


def test_rise_is_monotone_in_fluence_and_proportional_for_dulong_petit():
    fluence = np.linspace(0.1, 30, 500)
    rise, _ = heating.heat(fluence, 40.0, 2e6, 5.8, 100.0, heat_fraction=0.5, table=TABLE, **JET)
    assert np.all(np.diff(rise) > 0)
    rise, _ = heating.heat(fluence, 40.0, 2e6, 5.8, 100.0, heat_fraction=0.5,
                           table=DULONG_PETIT, **JET)
    np.testing.assert_allclose(rise / fluence, rise[0] / fluence[0], rtol=1e-11)


def test_draw_k_does_not_depend_on_count_or_company():
    few, many = heating.draw(UNCERTAIN, 10, 7), heating.draw(UNCERTAIN, 1000, 7)
    alone = heating.draw({"size_A": UNCERTAIN["size_A"]}, 10, 7)
    for name in UNCERTAIN:
        np.testing.assert_array_equal(few[name], many[name][:10])
    np.testing.assert_array_equal(alone["size_A"], few["size_A"])
    assert heating.draw({"a": (5.0, 0.0)}, 3, 1)["a"].tolist() == [5.0] * 3
    wide = heating.draw({"a": (1.0, 2.0)}, 5000, 1)["a"]
    assert np.all(wide > 0)
    assert np.all(np.isfinite(wide))


@pytest.mark.parametrize(("call", "message"),
                         [(lambda: heating.tabulated([300], [100]), "at least two temperatures"),
                          (lambda: heating.tabulated([300, 200], [100, 100]),
                           "increasing strictly"),
                          (lambda: heating.tabulated([200, 300], [100, -1]),
                           "capacity_J_mol_K must be positive"),
                          (lambda: heating.tabulated([200, 300], [100, np.nan]), "contains NaN"),
                          (lambda: heating.tabulated([200, 300], [100, 100], [(250, 240, 1)]),
                           "latent heat"),
                          (lambda: heating.tabulated([200, 300], [100, 100],
                                                     [(210, 260, 1), (250, 270, 1)]),
                           "do not overlap"),
                          (lambda: temperature_rise([1.0], 100, TABLE),
                           "below the heat-capacity table"),
                          (lambda: heating.heat(-8.8, 40, 2e6, 5.8, 100, heat_fraction=1,
                                                table=TABLE, **JET), "fluence_mJ_cm2 must be"),
                          (lambda: heating.heat([1, 2], [1, 2, 3], 2e6, 5.8, 100, heat_fraction=1,
                                                table=TABLE, **JET), "broadcast"),
                          (lambda: heating.heat(8.8, 40, 2e6, 5.8, 100, heat_fraction=2,
                                                table=TABLE, **JET), "from 0 to 1"),
                          (lambda: heating.draw({"a": (0.0, 1.0)}, 3, 1), "positive mean")])
def test_bad_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
