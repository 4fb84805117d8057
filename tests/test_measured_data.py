"""Public measurements, raw, with what others found in them; tests/data/measured says whose."""

import ast
import gzip
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from perovskite_polaron.analysis.scenario_curves import Priors
from perovskite_polaron.analysis.scenario_fit import Problem
from perovskite_polaron.analysis.scenarios import Scenario
from perovskite_polaron.cli.main import main
from perovskite_polaron.measured.drift import align
from perovskite_polaron.measured.raw import Raw
from perovskite_polaron.measured.readers import read_scans
from perovskite_polaron.measured.scan import Scan

DATA = Path(__file__).parent / "data" / "measured"
PROJECT = DATA / "bromoadamantane.prj"
FOLDER = Path(os.environ.get("POLARON_MEASURED", "/nowhere"))
# Of the laser on/off table of [Fe(terpy)2]2+: keV, on, off, on minus off; descending, no header.
FE_TERPY = """   7.2729000e+00   1.4288010e-01   1.4204303e-01   8.3707332e-04
   7.2716362e+00   1.4290768e-01   1.4171262e-01   1.1950658e-03
   7.2703796e+00   1.4302096e-01   1.4118733e-01   1.8336257e-03
   7.2691274e+00   1.4323965e-01   1.4076420e-01   2.4754512e-03
   7.2678806e+00   1.4332720e-01   1.4020910e-01   3.1180985e-03
   7.2666390e+00   1.4339054e-01   1.3991089e-01   3.4796535e-03
   7.2654027e+00   1.4320163e-01   1.3951225e-01   3.6893825e-03
"""


def answer(capsys, *words):
    assert main([*map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def read_plainly(path):
    """Return (energies, values) of every group of a file, without this package."""
    if path.suffix != ".prj":
        return [tuple(np.loadtxt(path, comments="#", encoding="latin-1")[:, :2].T)]
    data = path.read_bytes()
    text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("latin-1")
    x, y = ([np.array(ast.literal_eval(f"[{row}]"), float)
             for row in re.findall(rf"^@{name} = \((.*?)\);", text, re.MULTILINE | re.DOTALL)]
            for name in "xy")
    return list(zip(x, y, strict=True))


_FILES = [("cu_10k.xmu", "Cu-K"), ("cu_50k.xmu", "Cu-K"), ("cu_150k.xmu", "Cu-K"),
          ("cu_rt01.xmu", "Cu-K"), ("bromoadamantane.prj", "Br-K"), ("Cl_CAMD.prj", "Cl-K"),
          ("fe_terpy_exp_ground.txt", "Fe-K"), ("fe_terpy_exp_excited.txt", "Fe-K")]
EXCERPTS = [(DATA / name, edge) for name, edge in _FILES if (DATA / name).exists()]
WHOLE = [pytest.param(FOLDER / name, edge, marks=pytest.mark.skipif(
    not (FOLDER / name).exists(), reason="POLARON_MEASURED names no folder with this file"))
    for name, edge in _FILES]


def test_no_excerpt_is_missing():
    assert len(EXCERPTS) == 6


@pytest.mark.parametrize(("path", "edge"), [*EXCERPTS, *WHOLE])
def test_every_file_goes_to_xdi_with_one_command(path, edge, tmp_path, capsys):
    unit = () if path.suffix == ".prj" else ("--energy-unit", "eV")
    said = answer(capsys, "treat", path, "--each", "--edge", edge, *unit, "--out", tmp_path / "o")
    expected = read_plainly(path)
    assert len(said["outputs"]) == len(expected)
    for row, (energy, values) in zip(said["outputs"], expected, strict=True):
        order = np.argsort(energy)
        written = np.loadtxt(row["path"], comments="#")
        np.testing.assert_array_equal(written[:, 0], energy[order])
        np.testing.assert_array_equal(written[:, 1], values[order])


def test_optical_traces_have_the_lifetimes_that_two_other_programs_find(tmp_path, capsys):
    """tests/reference_kinetics.py made what is expected, with lmfit and with pyglotaran."""
    found = answer(capsys, "kinetics", DATA / "hippius_2007_579nm.csv", "--irf-sigma", "58fs",
                   "--fit-sigma", "--t0", "1.2ps", "--fit-t0", "--components", 2, "--no-offset")
    expected = json.loads((DATA / "hippius-kinetics.json").read_text())
    assert set(expected) == {"lmfit", "pyglotaran"}
    points = len((DATA / "hippius_2007_579nm.csv").read_text().splitlines()) - 1
    for theirs in expected.values():
        error = np.array(theirs["lifetimes_err_ps"])
        # A thousandth of the error apart: one optimum, found in three ways.
        np.testing.assert_allclose(found["lifetimes_ps"], theirs["lifetimes_ps"],
                                   atol=1e-3 * error.min())
        np.testing.assert_allclose(found["lifetimes_err_ps"], error, rtol=0.02)
        assert found["irf_sigma_ps"] == pytest.approx(theirs["sigma_ps"], rel=1e-4)
        assert found["t0_ps"] == pytest.approx(theirs["t0_ps"], abs=1e-6)
        np.testing.assert_allclose([row["value"][0] for row in found["fractions"]],
                                   theirs["fractions"], atol=1e-5)
        # 3 traces, of each 2 amplitudes and a baseline; 2 lifetimes, width and time zero.
        dof = 3 * points - 13
        assert found["chi2_red"] * dof == pytest.approx(theirs["residual_sum"], rel=1e-6)


def copper_sigma2_A2(temperature_K):
    """Return the mean square of the change of the shortest distance in fcc copper: the correlated
    Debye model [Sevillano, Meuth and Rehr, Phys. Rev. B 20, 4908 (1979)], Debye temperature 315 K
    [Ashcroft and Mermin, Solid State Physics, chapter 23], a = 3.61 angstrom.
    """
    hbar, boltzmann, mass = 1.054571817e-34, 1.380649e-23, 63.546 * 1.66053907e-27
    a = 3.61e-10
    largest = boltzmann * 315 / hbar
    phase = (6 * np.pi**2 * 4 / a**3) ** (1 / 3) * a / np.sqrt(2)
    w = np.linspace(1e-6, 1, 20001) * largest
    z = phase * w / largest
    density = 3 * w**2 / largest**3 * (1 - np.sin(z) / z)
    inside = density / w / np.tanh(hbar * w / (2 * boltzmann * temperature_K))
    return float(hbar / mass * np.trapezoid(inside, w) * 1e20)


def test_copper_at_four_temperatures_goes_to_xdi(tmp_path, capsys):
    files = sorted(DATA.glob("cu_*.xmu"))
    said = answer(capsys, "treat", *files, "--energy-unit", "eV", "--edge", "Cu-K", "--pre-edge",
                  "8950eV:8970eV", "--normalise", "edge-step", "--interval", "9100eV:9500eV",
                  "--out", tmp_path / "cu")
    assert [row["temperature_C"] for row in said["outputs"]] == [
        pytest.approx(t - 273.15) for t in (10, 150, 50)] + [None]
    size = {}
    for row in said["outputs"]:
        (scan,) = read_scans([row["path"]])
        raw = np.loadtxt(DATA / f"{Path(row['path']).stem}.xmu", comments="#")
        np.testing.assert_array_equal(scan.energy_eV, raw[:, 0])
        # The fine structure between k = 5 and 10 per angstrom, as a smooth line leaves it over.
        k = np.sqrt(0.262468 * np.clip(scan.energy_eV - 8979, 0, None))
        part = (k > 5) & (k < 10)
        smooth = np.polyval(np.polyfit(k[part], scan.intensity[part], 5), k[part])
        at = np.linspace(5.1, 9.9, 100)
        size[scan.label] = np.std(np.interp(at, k[part], scan.intensity[part] / smooth))
    # Heat damps the fine structure by exp(-2 k^2 (sigma^2(T) - sigma^2(10 K))), here at k = 7.
    for name, temperature_K in (("cu_50k", 50), ("cu_150k", 150), ("cu_rt01", 295)):
        grown = copper_sigma2_A2(temperature_K) - copper_sigma2_A2(10)
        assert size[name] / size["cu_10k"] == pytest.approx(np.exp(-2 * 7**2 * grown), abs=0.02)


def test_the_drift_of_six_scans_is_what_athena_found(tmp_path, capsys):
    """Athena's own alignment of the same reference channels is in the project (bkg_eshift)."""
    group = "*1bromoadamantane.*"
    scans = read_scans([PROJECT], group=group, raw=Raw(align_by="scans:Ref *"))
    assert [s.label for s in scans] == [f"1bromoadamantane.{n}"
                                        for n in ("000", "001", "002", "010", "011", "012")]
    assert all(s.companion.label.endswith(s.label[-4:]) for s in scans)
    athena = np.array([float(s.table.get("bkg_eshift")) for s in scans])
    found = np.array([s.drift_eV for s in align(scans, from_eV=13440, to_eV=13520)])
    assert np.ptp(athena) > 0.8
    np.testing.assert_allclose(found, athena - athena[0], atol=0.03)

    words = ["treat", PROJECT, "--group", group, "--align-by", "scans:Ref *", "--align",
             "13440eV:13520eV", "--crop", "13445eV:13522eV", "--rebin", "2eV", "--pre-edge",
             "13445eV:13460eV", "--normalise", "edge-step", "--edge", "Br-K"]
    said = answer(capsys, *words, "--out", tmp_path / "br.xdi")
    assert said["outputs"][0]["scans"] == 6
    np.testing.assert_allclose(said["outputs"][0]["drifts_eV"], found)
    answer(capsys, "treat", PROJECT, "--replay", tmp_path / "br.xdi", "--out", tmp_path / "b.xdi")
    assert (tmp_path / "b.xdi").read_bytes() == (tmp_path / "br.xdi").read_bytes()
    # Aligned, the six scatter less about their mean at the edge than as they were measured.
    words[words.index("--align"):words.index("--crop")] = []
    assert main([*map(str, words), "--out", str(tmp_path / "plain.xdi")]) == 2
    assert "energy shifts" in capsys.readouterr().err


def fe_terpy(folder):
    (folder / "fe.dat").write_text(FE_TERPY)
    (scan,) = read_scans([folder / "fe.dat"], energy_unit="keV", raw=Raw(on="2", off="3"))
    return scan


def test_laser_on_and_off_of_an_iron_complex(tmp_path):
    scan = fe_terpy(tmp_path)
    rows = np.array([line.split() for line in FE_TERPY.splitlines()], float)[::-1]
    np.testing.assert_allclose(scan.energy_eV, rows[:, 0] * 1000)
    # The table's own difference has more digits than its columns.
    np.testing.assert_allclose(scan.intensity, rows[:, 3], atol=1.5e-8)
    np.testing.assert_array_equal(scan.companion.intensity, rows[:, 2])


@pytest.mark.skipif(not (FOLDER / "fe_terpy_exp_ground.txt").exists(),
                    reason="POLARON_MEASURED names no folder with the spectra of Fe(terpy)2")
def test_the_excited_fraction_of_an_iron_complex_is_the_published_one(tmp_path):
    """Two states: on minus off is the fraction times excited minus ground, in the height of off."""
    ground, excited = read_scans([FOLDER / f"fe_terpy_exp_{state}.txt"
                                  for state in ("ground", "excited")], energy_unit="eV")
    seen = fe_terpy(tmp_path)
    at = np.interp(seen.energy_eV, ground.energy_eV, ground.intensity)
    height = at @ seen.companion.intensity / (at @ at)
    # The references have five digits; with the last of each as error of the transient.
    transient = Scan(seen.energy_eV, seen.intensity / height, np.full(len(at), 1e-4) ** 2)
    high_spin = Scenario("high spin", ground.energy_eV, excited.intensity - ground.intensity,
                         kind="measured")
    found = Problem(transient, [high_spin], Priors(0.0, 0.0)).fit(transient.intensity)
    (fit,) = found.fits
    assert found.best is fit
    assert fit.strengths[0] == pytest.approx(0.76, abs=0.01)
    assert fit.chi2 < 3 * found.points
