"""The heating estimate: reference numbers, phases, units, ranges."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import constants

from perovskite_polaron import units
from perovskite_polaron.analysis.heating import Exposure, heating, phase_at
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
    assert phase_at(celsius) == phase


def test_phase_is_that_of_the_final_temperature(capsys):
    assert answer(capsys, "--jet", "300um")["phase"] == "tetragonal"
    assert answer(capsys, "--jet", "200um")["phase"] == "cubic"


def test_latent_heat_lowers_the_rise_by_its_share(capsys):
    without = answer(capsys, "--jet", "200um")["delta_T_K"]
    with_latent = answer(capsys, "--jet", "200um", "--latent-tetragonal", "500J/mol",
                         "--latent-cubic", "0.4kJ/mol")["delta_T_K"]
    assert without - with_latent == pytest.approx(900 / 124.717, rel=1e-6)


def test_units_change_nothing(capsys):
    same = ("--fluence 88J/m2 --pump 3490meV --size 100A --concentration 5.8g/L --jet 0.2mm --gap"
            " 2400meV --start 298.15K")
    same += (" --absorption 5000m-1 --saturation 0.04J/cm2 --heat-capacity 0.12kJ/mol/K"
             " --latent-cubic 5eV/fu --cooling 0.3ns")
    latent = f"{5 * 96485.33212}J/mol"
    one = answer(capsys, "--jet", "200um", "--absorption", "50cm-1", "--saturation", "40mJ/cm2",
                 "--heat-capacity", "120J/mol/K", "--latent-cubic", latent)
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


def test_words_are_said(capsys, tmp_path):
    assert main([*PAPER, "--jet", "200um", "--figure", str(tmp_path / "h.svg")]) == 0
    assert (tmp_path / "h.svg").read_text().startswith("<?xml")
    text = capsys.readouterr().out
    assert "upper limit" in text
    assert "identifies none of them" in text


def test_thin_absorption_matches_the_limit():
    """A jet that absorbs little is heated as its front face is."""
    result = heating(Exposure(8.8, 3.49, 100.0, 5.8, 1e4, absorption_per_cm=1.0), draws=10)
    assert result.delta_T_K == pytest.approx(result.front_face_delta_T_K, rel=1e-3)


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
    molar_mass = 132.905 + 207.2 + 3 * 79.904
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
