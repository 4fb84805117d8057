"""The heating estimate: reference numbers, phases, units, ranges."""

import json

import numpy as np
import pytest

from perovskite_polaron.cli.main import main
from perovskite_polaron.errors import InputError
from perovskite_polaron.heating import Exposure, heating, phase_at

PAPER = ["heat", "--fluence", "8.8mJ/cm2", "--pump", "3.49eV", "--size", "10nm", "--concentration", "5.8mg/mL"]


def answer(capsys, *options):
    assert main([*PAPER, *options, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(("jet", "rise"), [("100um", 220), ("150um", 147), ("200um", 110), ("300um", 73)])
def test_rise_of_the_paper_inputs(capsys, jet, rise):
    assert answer(capsys, "--jet", jet)["delta_T_K"] == pytest.approx(rise, rel=0.01)


def test_photons_at_120_kelvin():
    """120 K in a 10 nm cube of 5043 formula units need 718 photons of 1.09 eV excess."""
    at = heating(Exposure(8.8, 3.49, 100.0, 5.8, 2e6), draws=10)
    assert at.photons_per_nc * 120 / at.delta_T_K == pytest.approx(718, rel=0.01)


@pytest.mark.parametrize(
    ("celsius", "phase"),
    [(25, "orthorhombic"), (55, "transition orthorhombic to tetragonal"), (60, "tetragonal"), (107, "tetragonal"),
     (110, "transition tetragonal to cubic"), (118, "cubic")],
)  # fmt: skip
def test_phases(celsius, phase):
    assert phase_at(celsius) == phase


def test_phase_is_that_of_the_final_temperature(capsys):
    assert answer(capsys, "--jet", "300um")["phase"] == "tetragonal"
    assert answer(capsys, "--jet", "200um")["phase"] == "cubic"


def test_latent_heat_lowers_the_rise_by_its_share(capsys):
    without = answer(capsys, "--jet", "200um")["delta_T_K"]
    with_latent = answer(capsys, "--jet", "200um", "--latent-tetragonal", "500J/mol", "--latent-cubic", "0.4kJ/mol")[
        "delta_T_K"
    ]
    assert without - with_latent == pytest.approx(900 / 124.717, rel=1e-6)


def test_units_change_nothing(capsys):
    same = "--fluence 88J/m2 --pump 3490meV --size 100A --concentration 5.8g/L --jet 0.2mm --gap 2400meV --start 298.15K"
    one = answer(capsys, "--jet", "200um")
    assert main(["heat", *same.split(), "--json"]) == 0
    two = json.loads(capsys.readouterr().out)
    for key in ("delta_T_K", "delta_T_low_K", "delta_T_high_K", "photons_per_nc"):
        assert two[key] == pytest.approx(one[key], rel=1e-9)


def test_cooling_and_range(capsys):
    result = heating(Exposure(8.8, 3.49, 100.0, 5.8, 2e6), draws=2000)
    left = (result.temperature_C(np.array([600.0]), 300.0)[0] - 25) / result.delta_T_K
    assert 25 + 120 * left == pytest.approx(41.2, abs=0.05)
    assert result.delta_T_low_K < result.delta_T_K < result.delta_T_high_K
    assert result.tornado[0][0] == "jet"
    assert any(choice.startswith("jet 184") or choice.startswith("jet 183") for choice in result.equivalent)
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
