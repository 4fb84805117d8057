"""The heating estimate: reference numbers, phases, units, ranges."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import constants

from perovskite_polaron import units
from perovskite_polaron.analysis.heated_crystal import (
    Transition, cspbbr3, material, read_heat_capacity)
from perovskite_polaron.analysis.heating import Exposure, Recombination, heating
from perovskite_polaron.cli.main import main
from perovskite_polaron.errors import InputError
from perovskite_polaron.phonons.modes import Modes, read_modes, write_modes

PAPER = ["heat", "--fluence", "8.8mJ/cm2", "--pump", "3.49eV", "--size", "10nm", "--concentration",
         "5.8mg/mL"]


def answer(capsys, *options):
    assert main([*PAPER, *options, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(("jet", "rise"),
                         [("100um", 220), ("150um", 147), ("200um", 110), ("300um", 73)])
def test_rise_of_the_paper_inputs(capsys, jet, rise):
    assert answer(capsys, "--jet", jet)["delta_T_K"] == pytest.approx(rise, rel=0.01)


def test_photons_at_120_kelvin():
    """120 K in a 10 nm cube of 5043 formula units need 718 photons of 1.09 eV excess."""
    at = heating(Exposure(8.8, 3.49, 100.0, 5.8, 2e6), draws=10)
    assert at.photons_per_nc * 120 / at.delta_T_K == pytest.approx(718, rel=0.01)


@pytest.mark.parametrize(("celsius", "phase"),
                         [(25, "orthorhombic"), (55, "transition orthorhombic to tetragonal"),
                          (60, "tetragonal"), (107, "tetragonal"), (110, "transition tetragonal to"
                                                                    " cubic"), (118, "cubic")])
def test_phases(celsius, phase):
    assert cspbbr3().phase_at(celsius) == phase


def test_phase_is_that_of_the_final_temperature(capsys):
    assert answer(capsys, "--jet", "300um")["phase"] == "tetragonal"
    assert answer(capsys, "--jet", "200um")["phase"] == "cubic"


def test_latent_heat_lowers_the_rise_by_its_share(capsys):
    without = answer(capsys, "--jet", "200um")["delta_T_K"]
    with_latent = answer(capsys, "--jet", "200um", "--transition",
                         "tetragonal=50C:59C:500J/mol", "--transition",
                         "cubic=108C:117C:0.4kJ/mol")["delta_T_K"]
    assert without - with_latent == pytest.approx(900 / 124.717, rel=1e-6)


def test_units_change_nothing(capsys):
    same = ("--fluence 88J/m2 --pump 3490meV --size 100A --concentration 5.8g/L --jet 0.2mm --gap"
            " 2400meV --start 298.15K")
    same += (" --absorption 5000m-1 --saturation 0.04J/cm2 --heat-capacity 0.12kJ/mol/K"
             " --transition cubic=381.15K:390.15K:5eV/fu --cooling 0.3ns")
    latent = f"{5 * 96485.33212}J/mol"
    one = answer(capsys, "--jet", "200um", "--absorption", "50cm-1", "--saturation", "40mJ/cm2",
                 "--heat-capacity", "120J/mol/K", "--transition", f"cubic=108C:117C:{latent}")
    assert main(["heat", *same.split(), "--json"]) == 0
    two = json.loads(capsys.readouterr().out)
    for key in ("delta_T_K", "delta_T_low_K", "delta_T_high_K", "photons_per_nc"):
        assert two[key] == pytest.approx(one[key], rel=1e-9)
    for key in ("phase", "temperature_C"):
        assert str(two[key])[:60] == str(one[key])[:60]


def test_cooling_and_range(capsys):
    result = heating(Exposure(8.8, 3.49, 100.0, 5.8, 2e6), draws=2000)
    left = (result.temperature_C(np.array([600.0]), 300.0)[0] - 25) / result.delta_T_K
    assert 25 + 120 * left == pytest.approx(41.2, abs=0.05)
    assert result.delta_T_low_K < result.delta_T_K < result.delta_T_high_K
    assert result.tornado[0][0] == "jet"
    assert any(choice.startswith("jet 184") or choice.startswith("jet 183")
               for choice in result.equivalent)
    assert result.exposure.start_C + result.temperature_C(np.array([0.0]), 300.0)[0] > 0


ARTICLE = Exposure(8.8, units.HC_EV_A / 3550, 100.0, 5.8, 2e6)
AUGER = Recombination(0.6, 120.0)


def test_recombination_heats_while_one_measures():
    """The article's numbers: 658 photons, 60 % of the pairs in 120 ps, cooling in 300 ps."""
    alone = heating(ARTICLE, draws=10)
    counted = heating(replace(ARTICLE, recombination=(AUGER,)), draws=10)
    assert counted.photons_per_nc == pytest.approx(658, abs=0.5)
    assert counted.delta_T_K == alone.delta_T_K
    np.testing.assert_allclose(alone.temperature_C([100.0, 600.0], 300.0), [104, 40], atol=0.5)
    np.testing.assert_allclose(counted.temperature_C([100.0, 600.0], 300.0), [172, 71], atol=0.5)


def test_a_constant_heat_capacity_cools_by_the_closed_form():
    """dT/dt = -(T - T0)/τc + Q/(C τ) exp(-t/τ), solved by hand."""
    counted = heating(replace(ARTICLE, recombination=(AUGER,)), draws=10)
    time, cooling = np.linspace(0, 3000, 61), 300.0
    later = counted.delta_T_K * 0.6 * 2.4 / (ARTICLE.photon_energy_eV - 2.4)
    exact = counted.delta_T_K * np.exp(-time / cooling) + later * cooling / (120 - cooling) * (
        np.exp(-time / 120) - np.exp(-time / cooling))
    np.testing.assert_allclose(counted.temperature_C(time, cooling) - 25, exact, atol=1e-7)


@pytest.fixture
def cold(tmp_path):
    """From 60 °C with a heat capacity that rises and a transition with latent heat."""
    (tmp_path / "c.csv").write_text("T (K),C (J/mol/K)\n200,90\n330,130\n420,120\n900,140\n")
    of = replace(cspbbr3(), transitions=(Transition("cubic", 108.0, 117.0, 900.0),))
    channels = Recombination(0.5, 20.0), Recombination(0.3, 900.0, 0.4)
    return heating(replace(ARTICLE, start_C=60.0, material=of, recombination=channels,
                           heat_capacity=read_heat_capacity(tmp_path / "c.csv", of)), draws=10)


def test_delayed_heat_against_an_independent_integration(cold):
    """In the temperature instead of the heat, the pairs of each channel beside it: C(T) dT/dt =
    -G (T - T0) + Σ (1 - q) P/τ. G is the heat that could come over the rise it would make.
    """
    from scipy.integrate import quad, solve_ivp
    from scipy.optimize import brentq

    kelvin, table = np.array([200.0, 330, 420, 900]), np.array([90.0, 130, 120, 140])
    inside = 108 + 273.15, 117 + 273.15
    joule = 1.602176634e-19 * 6.02214076e23 / cold.exposure.formula_units

    def capacity(t):
        latent = 100.0 * (inside[0] <= t < inside[1])
        return (np.interp(t, kelvin, table) + latent) / joule

    def heat(t):
        return quad(capacity, 333.15, t, points=[*inside, 420.0], limit=200, epsabs=1e-9)[0]

    pairs = 2.4 * cold.photons_per_nc * np.array([0.5, 0.3])
    part, life = np.array([1.0, 0.6]), np.array([20.0, 900.0])
    at_once = (ARTICLE.photon_energy_eV - 2.4) * cold.photons_per_nc
    most = at_once + pairs @ part
    flow = most / (brentq(lambda t: heat(t) - most, 334.0, 890.0, xtol=1e-11) - 333.15) / 300.0

    def rate(_, y):
        gone = y[1:] / life
        return [(-flow * (y[0] - 333.15) + gone @ part) / capacity(y[0]), *-gone]

    begin = brentq(lambda t: heat(t) - at_once, 334.0, 890.0, xtol=1e-11)
    times = np.linspace(0, 2500, 26)
    path = solve_ivp(rate, (0, 2500), [begin, *pairs], "RK45", times, rtol=1e-9, atol=1e-9,
                     max_step=0.5)
    found = cold.temperature_C(times, 300.0)
    assert np.ptp(found) > 100
    np.testing.assert_allclose(found, path.y[0] - 273.15, rtol=1e-6)


def test_energy_is_conserved(cold):
    """Crystal, surroundings, pairs and light hold what was absorbed, at all times; what the crystal
    holds is the enthalpy at its temperature, and what it passes on is the flow summed up.
    """
    from perovskite_polaron.analysis.heating import _table

    course = cold.course(np.r_[0, np.geomspace(0.1, 1e5, 60)], 300.0)
    total = course.crystal_eV + course.passed_eV + course.held_eV + course.light_eV
    np.testing.assert_allclose(total, cold.total_energy_eV, rtol=1e-12)
    table = _table(cold.exposure)
    enthalpy = [table.enthalpy_eV(t + 273.15) - table.enthalpy_eV(333.15)
                for t in course.temperature_C]
    np.testing.assert_allclose(np.multiply(enthalpy, cold.exposure.formula_units),
                               course.crystal_eV, atol=1e-12 * cold.total_energy_eV)
    assert course.passed_eV[-1] == pytest.approx(
        cold.total_energy_eV - 2.4 * cold.photons_per_nc * (1 - 0.5 - 0.3 * 0.6), rel=1e-8)
    early = cold.course(np.linspace(0, 1, 2001), 300.0)
    flow = np.gradient(early.passed_eV, early.time_ps)[1:-1] / (early.temperature_C[1:-1] - 60)
    np.testing.assert_allclose(flow, flow[0], rtol=1e-6)


def test_the_front_of_the_jet(capsys):
    """Lambert and Beer: the front is µd/(1 - exp(-µd)) times the mean, the back exp(-µd) of it."""
    pulse = [*PAPER, "--pump", "355nm", "--jet", "200um"]
    assert main([*pulse, "--absorption", "500cm-1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["delta_T_K"] == pytest.approx(110.3, abs=0.1)
    assert found["front_face_delta_T_K"] == pytest.approx(1103, abs=1)
    assert found["back_face_delta_T_K"] == pytest.approx(1103.3 * np.exp(-10), rel=1e-3)
    assert found["absorption_decadic_per_cm"] == pytest.approx(500 / np.log(10))
    front = [point["value"] for point in found["front_temperature_C"]]
    assert front[0] == pytest.approx(1128, abs=1)
    assert main([*pulse, "--absorption", "500cm-1"]) == 0
    text = capsys.readouterr().out
    rows = {" ".join(line.split()) for line in text.splitlines()}
    assert {"at the jet's front 1103.3 K", "at the jet's back 0.1 K"} <= rows
    assert "absorption coefficient 500 /cm natural; 217.1 /cm decadic" in rows
    assert main([*PAPER, "--jet", "200um"]) == 0
    assert "front and back" in (out := capsys.readouterr().out)
    assert "not known without an" in out


def test_a_cold_crystal_has_its_own_heat_capacity(capsys):
    cold = "--pump", "355nm", "--jet", "200um", "--start", "10K"
    assert answer(capsys, *cold)["delta_T_K"] == pytest.approx(144, abs=0.5)
    classical = answer(capsys, *cold, "--heat-capacity", "124.717J/mol/K")
    assert classical["delta_T_K"] == pytest.approx(110, abs=0.5)


def test_another_crystal_is_not_cspbbr3(capsys, tmp_path):
    """Mass, density and atoms are the crystal's own; gap, heat capacity where Dulong and Petit
    fail, and transitions are asked for or not claimed.
    """
    from ase import Atoms
    from ase.io import write

    corners = [[0, 0, 0], [0.5] * 3, [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    for symbols, name in (("CsSnI3", "sn.cif"), ("SrTiO3", "o.cif")):
        write(tmp_path / name, Atoms(symbols, scaled_positions=corners, cell=[6.2] * 3, pbc=True))
    sn = [*PAPER, "--jet", "200um", "--crystal", str(tmp_path / "sn.cif")]
    assert main(sn) == 2
    assert "gap of CsSnI3 is not known" in capsys.readouterr().err
    assert main([*sn, "--gap", "1.3eV", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    mass = 132.905 + 118.710 + 3 * 126.904
    assert found["crystal"]["density_g_cm3"] == pytest.approx(mass / 0.602214 / 6.2**3, rel=1e-4)
    # The same energy for each gram, above another gap; 15 R for each mole.
    assert found["delta_T_K"] == pytest.approx(
        110.147 * mass / 579.82 * (3.49 - 1.3) / (3.49 - 2.4), rel=1e-3)
    assert found["phase"].startswith("not known")
    assert "120 K" not in " ".join(found["statements"])
    assert main([*sn, "--gap", "1.3eV", "--transition", "cubic=78C:80C", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["phase"] == "cubic"
    assert main([*sn, "--gap", "1.3eV", "--start", "10K"]) == 2
    assert "give --heat-capacity" in capsys.readouterr().err
    assert main([*sn, "--gap", "1.3eV", "--heat-capacity", "cspbbr3"]) == 2
    assert "the modes are of CsPbBr3, not of CsSnI3" in capsys.readouterr().err
    assert main([*sn[:-1], str(tmp_path / "o.cif"), "--gap", "3.2eV"]) == 2
    assert "Dulong-Petit is too high for SrTiO3 with light atoms" in capsys.readouterr().err
    with pytest.raises(InputError, match="overlap"):
        material(cspbbr3_crystal(), None, [Transition("cubic", 55.0, 117.0)])


def cspbbr3_crystal():
    from perovskite_polaron.lattice.files import read_crystal

    return read_crystal("cspbbr3-pbnm")


def test_few_photons_are_told_from_many(capsys):
    found = answer(capsys, "--pump", "355nm", "--jet", "200um", "--recombination", "60%:120ps")
    assert any("658 ± 26 pairs in one crystal" in s for s in found["statements"])
    assert found["pairs_per_formula"] == pytest.approx(658.3 / 5043, rel=1e-3)
    faint = [*PAPER, "--jet", "200um", "--json"]
    faint[2] = "0.001mJ/cm2"
    assert main(faint) == 0
    few = json.loads(capsys.readouterr().out)
    # 1.09 eV in a crystal of 6.52 eV/K.
    assert any("one photon warms the crystal that absorbs it by 0.2 K" in s
               for s in few["statements"])


def test_recombination_from_a_kinetic_fit(capsys, tmp_path):
    fit = {"lifetimes_ps": [120.0, 900.0], "fractions": [
        {"label": "br", "value": [0.6, 0.21]}, {"label": "pb", "value": None}]}
    path = tmp_path / "fit.json"
    path.write_text(json.dumps(fit))
    one = answer(capsys, "--jet", "200um", "--recombination", f"{path}:br")
    two = answer(capsys, "--jet", "200um", "--recombination", "0.6:120ps", "--recombination",
                 "21%:0.9ns:0")
    assert one["temperature_C"] == two["temperature_C"]
    half = answer(capsys, "--jet", "200um", "--recombination", "21%:900ps:0.5")
    assert half["temperature_C"][6]["value"] < answer(
        capsys, "--jet", "200um", "--recombination", "21%:900ps")["temperature_C"][6]["value"]
    for bad, why in ((str(path), "name one that has fractions"), (f"{path}:pb", "has the traces"),
                     ("60%:120", "has no unit"), ("160%:120ps", "fraction and a yield from 0 to 1"),
                     ("60%:ps", "is not a quantity"),
                     ("nothing.json", "nothing.json does not exist")):
        assert main([*PAPER, "--jet", "200um", "--recombination", bad]) == 2
        error = capsys.readouterr().err
        assert why in error, error
        assert error.count("\n") == 1
    assert main([*PAPER, "--jet", "200um", "--recombination", "60%:120ps", "--recombination",
                 "60%:1ns"]) == 2
    assert "add up to 120 %" in capsys.readouterr().err
    assert main([*PAPER, "--jet", "200um", "--recombination", "60%:120ps", "--all-heat"]) == 2
    assert "nothing is left for recombination" in capsys.readouterr().err


def test_words_are_said(capsys, tmp_path):
    assert main([*PAPER, "--jet", "200um", "--figure", str(tmp_path / "h.svg")]) == 0
    assert (tmp_path / "h.svg").read_text().startswith("<?xml")
    text = capsys.readouterr().out
    assert "upper limit" in text
    assert "identifies none of them" in text


def test_thin_absorption_matches_the_limit():
    """A jet that absorbs little is heated as its front face is."""
    result = heating(Exposure(8.8, 3.49, 100.0, 5.8, 1e4, absorption_per_cm=1.0), draws=10)
    assert result.delta_T_K == pytest.approx(result.front.delta_T_K, rel=1e-3)
    assert result.delta_T_K == pytest.approx(result.back.delta_T_K, rel=1e-3)


def test_refusals(capsys):
    with pytest.raises(InputError, match="not above the gap"):
        Exposure(8.8, 2.0, 100.0, 5.8, 2e6)
    with pytest.raises(InputError, match="no input is called"):
        heating(Exposure(8.8, 3.49, 100.0, 5.8, 2e6), {"luck": 0.1})
    assert main([*PAPER, "--jet", "200"]) == 2
    assert "has no unit" in capsys.readouterr().err


def test_heat_capacity_from_a_table(capsys, tmp_path):
    """A constant table gives what its number gives, whatever its units; a rising one is integrated.
    """
    one = answer(capsys, "--jet", "200um", "--heat-capacity", "120J/mol/K")
    molar_mass = 132.90545196 + 207.2 + 3 * 79.904
    for name, text in {
        "kelvin.csv": "temperature_K,Cp (J/mol/K)\n200,120\n700,120\n",
        "celsius.csv": f"T (C),Cp (J/g/K)\n400,{120 / molar_mass!r}\n-50,{120 / molar_mass!r}\n",
    }.items():
        (tmp_path / name).write_text(text)
        table = answer(capsys, "--jet", "200um", "--heat-capacity", str(tmp_path / name))
        assert table["delta_T_K"] == pytest.approx(one["delta_T_K"], rel=1e-9)
        assert table["delta_T_high_K"] == pytest.approx(one["delta_T_high_K"], rel=1e-9)
    (tmp_path / "rising.csv").write_text("temperature_K,Cp (J/mol/K)\n298.15,100\n498.15,140\n")
    rising = answer(capsys, "--jet", "200um", "--heat-capacity", str(tmp_path / "rising.csv"))
    heat = one["delta_T_K"] * 120  # J/mol, = 100 T + 0.1 T²
    assert rising["delta_T_K"] == pytest.approx((-100 + np.sqrt(100**2 + 0.4 * heat)) / 0.2,
                                                rel=1e-9)
    (tmp_path / "bad.csv").write_text("temperature_K,Cp\n300,120\n400,120\n")
    assert main([*PAPER, "--jet", "200um", "--heat-capacity", str(tmp_path / "bad.csv")]) == 2
    assert "name it 'Cp (J/mol/K)'" in capsys.readouterr().err


def modes(energies_meV):
    """All 60 modes of the built-in 20-atom cell, their patterns of no account."""
    mode = read_modes("lo-c")
    return Modes(mode.crystal, mode.masses_amu, energies_meV,
                 np.repeat(mode.patterns, len(energies_meV), axis=0))


def test_heat_capacity_from_modes_is_bose_and_einsteins(capsys, tmp_path):
    energies = np.linspace(2.0, 20.0, 60)
    path = write_modes(modes(energies), tmp_path / "modes.json")
    found = answer(capsys, "--jet", "200um", "--heat-capacity", str(path))
    thermal_meV = 8.617333262e-2 * 298.15

    x = energies / thermal_meV
    einstein = 8.314462618 / 4 * np.sum((x / 2 / np.sinh(x / 2)) ** 2)
    assert found["heat_capacity_at_start_J_mol_K"] == pytest.approx(einstein, rel=1e-5)
    assert found["delta_T_K"] > answer(capsys, "--jet", "200um")["delta_T_K"]
    soft = write_modes(modes(np.full(57, 0.01)), tmp_path / "soft.json")
    classical = answer(capsys, "--jet", "200um", "--heat-capacity",
                       str(soft))["heat_capacity_at_start_J_mol_K"]
    assert classical == pytest.approx(15 * 8.314462618, rel=1e-6)
    part = write_modes(modes(energies[:50]), tmp_path / "part.json")
    assert main([*PAPER, "--jet", "200um", "--heat-capacity", str(part)]) == 2
    assert "needs all 60 of its cell" in capsys.readouterr().err


def test_saturating_absorption_solves_its_own_equation():
    """dF/dz = -µ F / (1 + F/F_s), integrated numerically; without saturation it is Lambert and
    Beer.
    """
    from scipy.integrate import solve_ivp

    exposure = Exposure(8.8, 3.49, 100.0, 5.8, 2e6, absorption_per_cm=50.0, saturation_mJ_cm2=4.0)
    path = solve_ivp(lambda _, f: -50 * f / (1 + f / 4), (0, 0.02), [8.8], rtol=1e-10, atol=1e-12)
    saturated = heating(exposure, draws=10)
    assert saturated.absorbed_fraction == pytest.approx(1 - path.y[0, -1] / 8.8, rel=1e-8)
    linear = heating(replace(exposure, saturation_mJ_cm2=None), draws=10)
    assert linear.absorbed_fraction == pytest.approx(1 - np.exp(-1), rel=1e-12)
    assert saturated.delta_T_K / linear.delta_T_K == pytest.approx(
        saturated.absorbed_fraction / linear.absorbed_fraction, rel=1e-9
    )
    assert heating(replace(exposure, saturation_mJ_cm2=1e9), draws=10).delta_T_K == pytest.approx(
        linear.delta_T_K, rel=1e-6
    )
    with pytest.raises(InputError, match="only if it is known"):
        Exposure(8.8, 3.49, 100.0, 5.8, 2e6, saturation_mJ_cm2=4.0)


def test_energies_of_one_nanocrystal():
    result = heating(Exposure(8.8, 3.49, 100.0, 5.8, 2e6), draws=10)
    assert result.total_energy_eV == pytest.approx(3.49 * result.photons_per_nc)
    assert result.heat_eV == pytest.approx(1.09 * result.photons_per_nc)
    # 5043 formula units of 15 k each take up the heat: 6.52 eV/K.
    assert result.heat_eV / result.delta_T_K == pytest.approx(6.52, rel=0.01)


def test_the_range_holds_the_spread_of_a_single_uncertain_input():
    """With fluence alone uncertain the rise is proportional to it: 68 % of a normal distribution is
    one sigma each way.
    """
    result = heating(Exposure(8.8, 3.49, 100.0, 5.8, 2e6), {"fluence": 0.1}, draws=40_000)
    assert result.delta_T_low_K == pytest.approx(0.9 * result.delta_T_K, rel=5e-3)
    assert result.delta_T_high_K == pytest.approx(1.1 * result.delta_T_K, rel=5e-3)
    assert result.tornado == (
        ("fluence", pytest.approx(0.9 * result.delta_T_K), pytest.approx(1.1 * result.delta_T_K)),
    )


def test_the_constants_written_out_are_those_of_scipy():
    """Those that are measured may move by their uncertainty between CODATA's issues."""
    exact = {"PLANCK_J_S": constants.h, "LIGHT_M_S": constants.c, "CHARGE_C": constants.e,
             "BOLTZMANN_J_K": constants.k, "PER_MOL": constants.N_A, "GAS_J_MOL_K": constants.R,
             "ZERO_C_K": constants.zero_Celsius}
    assert {name: getattr(units, name) for name in exact} == pytest.approx(exact, rel=1e-14)
    measured = {"RYDBERG_EV": constants.value("Rydberg constant times hc in eV"),
                "BOHR_ANGSTROM": constants.value("Bohr radius") * 1e10,
                "AMU_KG": constants.atomic_mass, "ELECTRON_KG": constants.m_e,
                "EPSILON_0_F_M": constants.epsilon_0}
    assert {name: getattr(units, name) for name in measured} == pytest.approx(measured, rel=3e-9)
    assert units.UNITS["heat capacity"]["cal/mol/K"] == constants.calorie
