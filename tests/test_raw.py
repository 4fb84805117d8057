"""Raw two-state scans: pairs, counts, angles, maps, drift, robust mean, profile and replay."""

import json

import h5py
import numpy as np
import pytest

from perovskite_polaron.cli.main import main
from perovskite_polaron.errors import InputError
from perovskite_polaron.measured.drift import align
from perovskite_polaron.measured.raw import Raw
from perovskite_polaron.measured.readers import read_scans
from perovskite_polaron.measured.repeats import combine
from perovskite_polaron.measured.scan import Scan
from perovskite_polaron.measured.traces import read_traces
from perovskite_polaron.units import HC_EV_A

E = np.arange(13450.0, 13500.01, 0.5)
EDGE = 1 / (1 + np.exp(-(E - 13472) / 1.5)) + 0.3 * np.exp(-(((E - 13476) / 3) ** 2))
CHANGE = 0.05 * np.exp(-(((E - 13468) / 1.5) ** 2)) - 0.05 * np.exp(-(((E - 13473) / 1.5) ** 2))
HEAD = """## mda2ascii 1.2 generated output

# MDA File Version = 1.3
# Scan number = 130
# Extra PV 1: 7idb:lakeshore.VAL, temperature, "25", C

# 1-D Scan
# Points completed = 101 of 101

#  Positioner: name, descr, step mode, unit, rdbk name, rdbk descr, rdbk unit
#  Detector: name, descr, unit

#  Column Descriptions:
#    1  [     Index      ]
#    2  [1-D Positioner 1]  7id:E.VAL, Energy, a motor, TABLE, keV, 7id:E.RBV, read, keV
#    3  [1-D Detector   1]  7idb:userCalc12.VAL, BoxcarON (3s), """ + """
#    4  [1-D Detector   2]  7idb:userCalc13.VAL, BoxcarOFF (3s),
#    5  [1-D Detector   3]  7idb:scaler1.S2, monitor, cts

# 1-D Scan Values
"""
ON_OFF = {"on": "*BoxcarON*", "off": "*BoxcarOFF*"}


def table(path, *columns, head="", form="%.10g", delimiter=" "):
    np.savetxt(path, np.column_stack(columns), form, delimiter, header=head, comments="")
    return path


def asc(folder, count, drift=0.0, noise=0.002, seed=0, spike=None):
    """Scans of one beamtime as mda2ascii writes them, their energies read too high by a drift."""
    rng, files = np.random.default_rng(seed), []
    for k in range(count):
        on, off = (np.interp(E + k * drift, E, y) * 5 + noise * rng.normal(size=len(E))
                   for y in (EDGE + CHANGE, EDGE))
        if k == spike:
            on[40] += 3
        rows = [np.arange(1, len(E) + 1), E / 1000, on, off, np.full(len(E), 1e5)]
        files.append(str(table(folder / f"run_{k:03d}.asc", *rows, head=HEAD.rstrip("\n"))))
    return files


def answer(capsys, *words):
    assert main([*map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_mda2ascii_by_names_of_its_header(tmp_path):
    (path,) = asc(tmp_path, 1)
    (scan,) = read_scans([path], energy="7id:E.VAL, Energy, a motor", raw=Raw(**ON_OFF))
    rows = np.loadtxt(path, comments="#")
    np.testing.assert_allclose(scan.energy_eV, rows[:, 1] * 1000)
    np.testing.assert_array_equal(scan.intensity, rows[:, 2] - rows[:, 3])
    assert scan.temperature_C == 25
    assert "BoxcarON (3s) minus" in scan.reading
    np.testing.assert_array_equal(scan.companion.intensity, rows[:, 3])
    damaged = tmp_path / "damaged.asc"
    damaged.write_text(HEAD.replace("#    4", "#    6") + "1 13.47 1 2 3\n2 13.48 1 2 3\n")
    with pytest.raises(InputError, match="not numbered"):
        read_scans([damaged])


def test_on_and_off_as_whole_scans_are_paired_by_name_or_in_order(tmp_path):
    values = {"a_on_1": 5.0, "a_on_2": 7.0, "a_off_2": 3.0, "a_off_1": 2.0}
    files = [table(tmp_path / f"{name}.dat", E, np.full(len(E), y), head="energy_eV mu")
             for name, y in values.items()]
    raw = Raw(on="scans:*_on_*", off="scans:*_off_*")
    assert [s.intensity[0] for s in read_scans(files, raw=raw)] == [3, 4]
    # Alternating numbers have nothing in common: in the order of the files.
    alternating = [table(tmp_path / f"s{k}_{state}.dat", E + 0.1 * (state == "off"),
                         E * (1 if state == "off" else 2), head="energy_eV mu")
                   for k, state in enumerate(("on", "off") * 2)]
    first, _ = read_scans(alternating, raw=Raw(on="scans:*_on", off="scans:*_off"))
    # A line is exact under interpolation; what lies below the first point of off has no pair.
    np.testing.assert_allclose(first.intensity, 2 * E[1:] - (E[1:] - 0.1))
    assert "1 points beyond its energies left out" in first.reading
    with pytest.raises(InputError, match="3 scans are"):
        read_scans(alternating[:3] + files[:1], raw=Raw(on="scans:*_on*", off="scans:*_off"))
    with pytest.raises(InputError, match="and 1 neither"):
        read_scans([*alternating, table(tmp_path / "dark.dat", E, E, head="energy_eV mu")],
                   raw=Raw(on="scans:*_on", off="scans:*_off"))


def test_detectors_are_summed_and_counts_have_their_errors(tmp_path):
    head = "energy_eV\tdet1\tdet2\tI0\tSeconds"
    n1, n2 = np.full(len(E), 400.0), np.full(len(E), 500.0)
    path = table(tmp_path / "a.dat", E, n1, n2, np.full(len(E), 3.0), np.full(len(E), 2.0),
                 head=head, delimiter="\t")
    (scan,) = read_scans([path], "sum(det*)/I0", raw=Raw(counts="det*"))
    np.testing.assert_allclose(scan.intensity, 300)
    np.testing.assert_allclose(scan.error, 10)
    (slow,) = read_scans([path], "det1", raw=Raw(counts="det*", dead_time_ps=1e9,
                                                 count_time="Seconds:s"))
    # 400 counts in 2 s, 1 ms each: dead for a fifth of the time (det2 for a quarter).
    np.testing.assert_allclose(slow.intensity, 500)
    np.testing.assert_allclose(slow.error, 20 / 0.8**2)
    assert "dead time corrected: up to 25 % of" in slow.reading
    # The energies are no counts, whatever the pattern.
    (every,) = read_scans([path], "det1", raw=Raw(counts="*", dead_time_ps=1e9, count_time="2s"))
    np.testing.assert_array_equal(every.energy_eV, E)
    (same,) = read_scans([path], "det1", raw=Raw(counts="det*", dead_time_ps=1e9, count_time="2s"))
    np.testing.assert_array_equal(same.intensity, slow.intensity)
    for raw, message in ((Raw(counts="det*", dead_time_ps=4e9, count_time="2s"), "is dead for"),
                         (Raw(counts="x*"), "no column fits"),
                         (Raw(counts="d*", dead_time_ps=1.0, count_time="soon"), "neither a time")):
        with pytest.raises(InputError, match=message):
            read_scans([path], "det1", raw=raw)


def test_counting_errors_and_scatter_agree_on_counted_data(tmp_path, capsys):
    rng = np.random.default_rng(3)
    files = [table(tmp_path / f"r{k}.dat", E, rng.poisson(1e4 * (0.2 + EDGE + CHANGE)),
                   rng.poisson(1e4 * (0.2 + EDGE)), head="energy_eV on off") for k in range(8)]
    said = answer(capsys, "treat", *files, "--on", "on", "--off", "off", "--counts", "o*",
                  "--edge", "Br-K", "--out", tmp_path / "a.xdi")
    # 101 points of 7 degrees of freedom know the ratio to 3 %.
    assert said["outputs"][0]["scatter_over_stated"] == pytest.approx(1, abs=0.08)
    (scan,) = read_scans([tmp_path / "a.xdi"])
    off = np.mean([np.loadtxt(f, skiprows=1)[:, 1:] @ [1, -1] for f in files], axis=0)
    np.testing.assert_allclose(scan.intensity, off)


def test_bragg_angles_become_energies(tmp_path):
    angle = np.degrees(np.arcsin(HC_EV_A / (2 * 3.1356 * E)))
    path = table(tmp_path / "a.dat", angle, EDGE)
    raw = Raw(d_spacing_A=3.1356)
    (scan,) = read_scans([path], "2", "degrees", raw=raw)
    np.testing.assert_allclose(scan.energy_eV, E, rtol=1e-7)
    np.testing.assert_array_equal(scan.intensity, np.loadtxt(path)[::1, 1])
    with pytest.raises(InputError, match="give --d-spacing"):
        read_scans([path], "2", "degrees")
    with pytest.raises(InputError, match="is for Bragg angles"):
        read_scans([path], "2", "eV", raw=raw)


def test_doubles_are_averaged_when_asked(tmp_path):
    path = table(tmp_path / "a.dat", [3, 2, 2, 1], [3, 5, 7, 1], [1, 3, 4, 1],
                 head="energy_eV mu mu_error")
    with pytest.raises(InputError, match="--average-doubles"):
        read_scans([path])
    (scan,) = read_scans([path], raw=Raw(average_doubles=True))
    assert scan.energy_eV.tolist() == [1, 2, 3]
    assert scan.intensity.tolist() == [1, 6, 3]
    assert scan.error.tolist() == [1, 2.5, 1]
    assert "were averaged" in scan.warnings[-1]


@pytest.mark.parametrize("way", ["down", "across", "corner"])
def test_maps_of_delay_and_energy_in_text(tmp_path, way):
    delays, energies = np.array([-1e-7, 0.0, 2.5e-7]), np.array([13.47, 13.471, 13.472, 13.473])
    values = np.arange(12.0).reshape(4, 3)
    whole = np.block([[np.zeros((1, 1)), delays[None]], [energies[:, None], values]])
    rows = [",".join(map(str, row)) for row in (whole.T if way == "across" else whole).tolist()]
    if way == "corner":
        rows[0] = "Energy(keV)/Time(s)" + rows[0][rows[0].index(","):]
    (tmp_path / "map.txt").write_text("\n".join(rows) + "\n")
    raw = Raw() if way == "corner" else Raw(map=way, delay_unit="s")
    scans = read_scans([tmp_path / "map.txt"], energy_unit="keV", raw=raw)
    assert [s.delay_ps for s in scans] == [-1e5, 0, 2.5e5]
    np.testing.assert_allclose(scans[2].energy_eV, energies * 1000)
    assert [s.intensity.tolist() for s in scans] == values.T.tolist()
    with pytest.raises(InputError):
        read_scans([tmp_path / "map.txt"], energy_unit="keV",
                   raw=Raw(map="down", delay_unit=None) if way != "corner" else Raw(on="x",
                                                                                   off="y"))
    if way == "corner":
        with pytest.raises(InputError, match="a map with its energies"):
            read_traces([tmp_path / "map.txt"])


def test_paths_and_maps_in_hdf5(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["/mono/energy"], file["/det/a"], file["/det/b"] = E, EDGE + 1, EDGE
        file["/x_axis/value"], file["/t_axis"] = E / 1000, np.array([0.0, 1e-9])
        file["/diff"] = np.column_stack([EDGE, 2 * EDGE])
    (scan,) = read_scans([tmp_path / "a.h5"], "/det/a//det/b", "eV", energy="/mono/energy")
    np.testing.assert_array_equal(scan.intensity, (EDGE + 1) / EDGE)
    scans = read_scans([tmp_path / "a.h5"], "/diff", "keV", energy="/x_axis/value",
                       raw=Raw(delay="/t_axis", delay_unit="s"))
    assert [s.delay_ps for s in scans] == [0, 1000]
    np.testing.assert_array_equal(scans[1].intensity, 2 * EDGE)
    with pytest.raises(InputError, match="no numbers at"):
        read_scans([tmp_path / "a.h5"], "/det/a", "eV", energy="/mono/e")


def test_drift_is_found_and_undone():
    rng, drifts = np.random.default_rng(5), np.array([0.0, 0.31, -0.4, 0.77])

    def seen(y, drift):
        return np.interp(E + drift, E, y) * (1 + drift) + 0.1 + 0.002 * rng.normal(size=len(E))

    scans = [Scan(E, CHANGE, companion=Scan(E, seen(EDGE, d)), label=f"{d}") for d in drifts]
    found = align(scans, from_eV=13455, to_eV=13495)
    np.testing.assert_allclose([s.drift_eV for s in found], drifts, atol=0.03)
    np.testing.assert_allclose(found[3].energy_eV - E, found[3].drift_eV)
    assert all(a.intensity is not None and (a.intensity == CHANGE).all() for a in found)
    with pytest.raises(InputError, match="nothing was measured with it"):
        align([Scan(E, CHANGE)], from_eV=13455, to_eV=13495)
    with pytest.raises(InputError, match="give an interval inside"):
        align(scans, from_eV=13400, to_eV=13495)


def test_a_robust_mean_leaves_a_spike_out():
    rng = np.random.default_rng(6)
    stack = EDGE + 0.01 * rng.normal(size=(6, len(E)))
    clean = combine([Scan(E, y) for y in stack], robust_sigmas=8.0)
    assert clean.history[-1].parameters["left_out"] == 0
    np.testing.assert_allclose(clean.intensity, stack.mean(axis=0), atol=1e-15)
    stack[2, 50] += 1
    robust = combine([Scan(E, y) for y in stack], robust_sigmas=8.0)
    assert robust.history[-1].parameters["left_out"] == 1
    np.testing.assert_allclose(robust.intensity[50], np.delete(stack[:, 50], 2).mean())
    assert combine([Scan(E, y) for y in stack]).intensity[50] > EDGE[50] + 0.1
    # One of six was left out there.
    assert robust.error[50] / robust.error[49] == pytest.approx(np.sqrt(6 / 5), rel=0.05)
    with pytest.raises(InputError, match="needs three scans"):
        combine([Scan(E, y) for y in stack[:2]], robust_sigmas=8.0)


def test_a_beamtime_in_one_command_and_again(tmp_path, capsys):
    files = asc(tmp_path, 6, drift=0.06, spike=4)
    (tmp_path / "7id.toml").write_text(
        'edge = "Br-K"\nenergy = "7id:E.VAL, Energy, a motor"\non = "*BoxcarON*"\n'
        'off = "*BoxcarOFF*"\nalign = "13455eV:13495eV"\ndeglitch = ["13490eV:13491eV"]\n'
        'crop = "13454eV:13494eV"\nrebin = "1eV"\nrobust = 8\n')
    out, again = tmp_path / "br.xdi", tmp_path / "again.xdi"
    said = answer(capsys, "treat", *files, "--profile", tmp_path / "7id.toml", "--out", out)
    assert said["outputs"][0]["drifts_eV"] == pytest.approx([0, 0.06, 0.12, 0.18, 0.24, 0.30],
                                                            abs=0.01)
    assert said["outputs"][0]["left_out"] in (1, 2)
    (scan,) = read_scans([out])
    expected = np.interp(scan.energy_eV, E, 5 * CHANGE)
    assert np.abs(scan.intensity - expected).max() < 0.024 < np.ptp(expected) / 10
    answer(capsys, "treat", *files, "--replay", out, "--out", again)
    assert again.read_bytes() == out.read_bytes()
    # The command line overrules the profile.
    other = answer(capsys, "treat", *files, "--rebin", "2eV", "--profile", tmp_path / "7id.toml",
                   "--out", tmp_path / "other.xdi")
    assert {"step": "rebin", "step_eV": 2.0} in other["treatment"]


def test_wrong_profiles_are_refused_with_all_that_is_wrong(tmp_path, capsys):
    (tmp_path / "p.toml").write_text('enrgy-unit = "keV"\nmap = "up"\nshift = "0.3"\n'
                                     'decimal-comma = "yes"\nout = "x"\n')
    path = table(tmp_path / "a.dat", E, EDGE)
    words = ["treat", str(path), "--edge", "Br-K", "--out", str(tmp_path / "a.xdi")]
    assert main([*words, "--profile", str(tmp_path / "p.toml")]) == 2
    said = capsys.readouterr().err
    for part in ("did you mean 'energy-unit'?", "map = 'up': it must be one of down, across",
                 "shift = '0.3': ", "decimal-comma = 'yes': write true or false",
                 "unknown key 'out'"):
        assert part in said
    assert main([*words, "--replay", str(path)]) == 2
    assert "does not say how it was made" in capsys.readouterr().err
    assert not (tmp_path / "a.xdi").exists()


@pytest.mark.parametrize(("given", "message"), [
    ({"on": "a"}, "belong together"), ({"on": "scans:a", "off": "b"}, "must both be columns"),
    ({"dead_time_ps": 1.0}, "needs --counts"), ({"d_spacing_A": -1.0}, "must be positive")])
def test_options_that_contradict_each_other(given, message):
    with pytest.raises(InputError, match=message):
        Raw(**given)
