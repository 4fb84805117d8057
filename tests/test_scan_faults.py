"""Files of scans as others write them: read rightly, or refused in one line."""

import json

import h5py
import numpy as np
import pytest
from conftest import energies, written

from perovskite_polaron.cli.main import main
from perovskite_polaron.errors import InputError
from perovskite_polaron.measured.edges import check_edge
from perovskite_polaron.measured.readers import read_scans, read_tables
from perovskite_polaron.measured.repeats import combine
from perovskite_polaron.measured.scan import Scan
from perovskite_polaron.measured.treatment import rebin
from perovskite_polaron.units import HC_EV_A

ANGLE = ("# XDI/1.0\n# Column.1: angle {unit}\n# Column.2: mutrans\n# Element.symbol: Br\n"
         "# Element.edge: K\n# Mono.d_spacing: 3.13555\n#---\n{rows}")


def test_energy_from_angle_and_spacing(tmp_path):
    """Bragg's law; the angle of the first row is that of 13470.2 eV."""
    rows = "8.440 0.10\n8.439 0.11\n8.438 0.12\n"
    (scan,) = read_scans([written(tmp_path, ANGLE.format(unit="degrees", rows=rows), "a.xdi")])
    expected = HC_EV_A / (2 * 3.13555 * np.sin(np.radians([8.440, 8.439, 8.438])))
    np.testing.assert_allclose(scan.energy_eV, expected)
    assert scan.energy_eV[0] == pytest.approx(13470.2, abs=0.05)
    assert "from angle and d = 3.13555" in scan.reading
    radians = "".join(f"{float(np.radians(float(angle)))!r} {mu}\n"
                      for angle, mu in map(str.split, rows.splitlines()))
    again = read_scans([written(tmp_path, ANGLE.format(unit="radians", rows=radians), "r.xdi")])
    np.testing.assert_allclose(again[0].energy_eV, expected)
    for unit, bad, why in (("degrees", "98 1\n97 2\n", "between 0 and 90"),
                           ("steps", rows, "has the unit 'steps'")):
        with pytest.raises(InputError, match=why):
            read_scans([written(tmp_path, ANGLE.format(unit=unit, rows=bad), "b.xdi")])


@pytest.mark.parametrize("head", ["# temperature: room temperature", "# delay stage: 3",
                                  "# temperature controller: 25 C", "# Temperature: off",
                                  "# delay_line: 7 mm"])
def test_header_fields_that_say_no_condition_are_ignored_with_a_warning(tmp_path, head):
    (scan,) = read_scans([written(tmp_path, f"{head}\nenergy_eV,mu\n1,2\n2,3\n")])
    assert (scan.delay_ps, scan.temperature_C) == (None, None)
    assert "ignored, '" in scan.warnings[0]
    assert scan.intensity.tolist() == [2, 3]


def test_the_next_field_that_says_it_counts(tmp_path):
    text = "# temperature controller: on\n# temperature: 60 C\nenergy_eV,mu\n1,2\n2,3\n"
    assert read_scans([written(tmp_path, text)])[0].temperature_C == 60


@pytest.mark.parametrize("text", ["# temperature: 4000 C", "# temperature: -300 C",
                                  "# delay: 2000000 us"])
def test_conditions_that_cannot_be(tmp_path, text):
    with pytest.raises(InputError, match=r"correct the unit|check the unit"):
        read_scans([written(tmp_path, f"{text}\nenergy_eV,mu\n1,2\n2,3\n")])


def test_missing_numbers_matter_where_they_are_asked_for(tmp_path):
    path = written(tmp_path, "energy_eV,mu,other\n1,2,nan\n2,3,\n3,4,inf\n")
    assert energies(path, signal="mu") == ([1, 2, 3], [2, 3, 4])
    # A column of nothing is no choice.
    assert energies(path) == ([1, 2, 3], [2, 3, 4])
    with pytest.raises(InputError, match="other contains NaN or infinity"):
        read_scans([path], "other")
    holes = written(tmp_path, "energy_eV,mu,b\n1,,5\n2,3,\n3,4,5\n4,5,\n")
    assert energies(holes, signal="mu") == ([2, 3, 4], [3, 4, 5])
    assert "1 row at the ends" in read_scans([holes], "mu")[0].warnings[-1]
    with pytest.raises(InputError, match=r"b is not a finite number in row 2"):
        read_scans([holes], "b")


def test_first_cell_of_the_header_may_be_empty(tmp_path):
    for mark in ",;\t":
        text = "\nenergy_eV,mu\n0,13470,.5\n1,13471,.6\n".replace("\nenergy", ",energy", 1)
        assert energies(written(tmp_path, text.replace(",", mark))) == ([13470, 13471], [.5, .6])
    with pytest.raises(InputError, match="names 2 columns but the rows have 3"):
        read_scans([written(tmp_path, "energy_eV,mu\n0,13470,.5\n1,13471,.6\n")])


def test_encodings(tmp_path):
    text = "# Probe: 25 °C\r\nenergy_eV,mu\r\n1,2\r\n2,3\r\n"
    for name in ("utf-8", "utf-8-sig", "utf-16", "latin-1", "cp1252"):
        (scan,) = read_scans([written(tmp_path, text.encode(name))])
        assert scan.intensity.tolist() == [2, 3]
        assert [("Latin-1" in w) for w in scan.warnings] == ([True] if name[0] in "lc" else [])
    with pytest.raises(InputError, match="is not text"):
        read_scans([written(tmp_path, b"\x89PNG\0\0")])


def test_decimal_comma_by_option(tmp_path, capsys):
    path = written(tmp_path, "energy_eV;mu\n13470,5;0,25\n13471,5;-0,5\n")
    assert energies(path, decimal_comma=True) == ([13470.5, 13471.5], [0.25, -0.5])
    for text in ("13470,5\t0,25\n13471,5\t-0,5\n", "13470,5 0,25\n13471,5 -0,5\n"):
        plain = written(tmp_path, text, "p.txt")
        assert energies(plain, decimal_comma=True, energy_unit="eV")[1] == [0.25, -0.5]
        with pytest.raises(InputError, match=r"is not a finite number|3 numbers|no row"):
            read_scans([plain], energy_unit="eV")
    with pytest.raises(InputError, match=r"scan.csv:\d: '13471,5' .*give --decimal-comma"):
        read_scans([path])
    assert main(["treat", str(path), "--decimal-comma", "--edge", "Br-K", "--out",
                 str(tmp_path / "o.xdi")]) == 0


@pytest.mark.parametrize(("names", "remedy"), [
    ("Energy I0 It Ir IntTime", r"ln\(I0/It\)"), ("Energy Io It DTC1", r"ln\(Io/It\)"),
    ("energy i0 itrans ROI1", r"ln\(i0/itrans\)"), ("energy monitor diode", "NAME")])
def test_what_is_left_among_counters_is_no_spectrum(tmp_path, names, remedy):
    rows = "".join(" ".join([f"{e}", *"4231"[: names.count(" ")]]) + "\n" for e in (1000, 1001))
    path = written(tmp_path, f"{names}\n{rows}", "s.dat")
    with pytest.raises(InputError, match=f'is a spectrum by its name; .* --signal "{remedy}"'):
        read_scans([path], energy_unit="eV")


def test_the_spectrum_among_counters_is_read(tmp_path):
    for names in ("energy i0 it mu mu_ref DTC1", "energy i0 it xmu IntTime ROI1"):
        path = written(tmp_path, f"{names}\n1 2 3 7 5 6\n2 2 3 8 5 6\n", "s.dat")
        assert energies(path, energy_unit="eV")[1] == [7, 8]


BEAMLINE = ("XDAC V1.2 Datafile V1\n\"fe.060\" created on 10/3/02 on X-11A\nRing energy= 2.58 GeV\n"
            "E0= 7112.00\n SRB= -200 -20\n\nOffsets= 9925.80 9914.40\n{names}{rule}{rows}")
ROWS = "".join(f"  {6900 + 5 * k}.5  {k}.25 {k + 1}\n" for k in range(20))


def test_headers_of_beamlines(tmp_path):
    for names, rule in ((" Energy   Mu  I0\n", ""), (" Energy Mu I0\n", "-----\n"),
                        ("3000 x 806\n Energy Mu I0\n", "")):
        text = BEAMLINE.format(names=names, rule=rule, rows=ROWS)
        (scan,) = read_scans([written(tmp_path, text, "fe.060")], energy_unit="eV")
        assert (scan.energy_eV[0], scan.intensity[1], len(scan.energy_eV)) == (6900.5, 1.25, 20)
    ended = written(tmp_path, BEAMLINE.format(names=" Energy Mu I0\n", rule="", rows=ROWS)
                    + " END OF DATA\n", "fe.060")
    (scan,) = read_scans([ended], energy_unit="eV")
    assert (len(scan.energy_eV), "END OF DATA" in scan.warnings[0]) == (20, True)
    unnamed = written(tmp_path, BEAMLINE.format(names="", rule="", rows=ROWS), "fe.060")
    (scan,) = read_scans([unnamed], "2", "eV")
    assert scan.reading.startswith("energy: column 1, eV; signal: column2 of column 2")


def test_settings_among_the_words_of_a_header(tmp_path):
    text = f"Weights:\n 1.0 1.0 1.0\nOffsets:\n 0.0 0.1 0.2\nData:\n{ROWS}"
    (scan,) = read_scans([written(tmp_path, text, "s.dat")], "2", "eV")
    assert len(scan.energy_eV) == 20
    assert "taken for settings" in scan.warnings[0]
    for text in (f"energy mu b\n{ROWS}energy mu b\n{ROWS}", "e mu\n1 2\n2 3\ne mu\n1 2\n2 3\n"):
        with pytest.raises(InputError, match=r"finite number|words stand among"):
            read_scans([written(tmp_path, text, "two.dat")], "mu", "eV")


@pytest.mark.parametrize("text", ["energy_eV,mu\n1,2x\n2,3\n3,4\n", "1,2x\n2,3\n3,4\n",
                                  "energy_eV,mu\n1,2\n2,3x\n3,4\n", "energy_eV,mu\n1,2\n2,x\n3,4\n",
                                  "energy_eV mu\n1 2\n1e 3\n3 4\n"])
def test_damaged_rows_are_no_header(tmp_path, text):
    with pytest.raises(InputError, match=r"scan.csv:\d: '\w+' is not a finite number"):
        read_scans([written(tmp_path, text)])


def test_two_scans_in_one_table_are_no_zigzag(tmp_path):
    up = "".join(f"{e},{e % 7}\n" for e in range(100, 150))
    down = "".join(f"{e}.5,{e % 5}\n" for e in range(149, 99, -1))
    for more in (up.replace(",", ".5,"), down):
        with pytest.raises(InputError, match="several scans in one table"):
            read_scans([written(tmp_path, f"energy_eV,mu\n{up}{more}")])
    rows = down.splitlines()
    assert energies(written(tmp_path, f"energy_eV,mu\n{down}")) == energies(
        written(tmp_path, "energy_eV,mu\n" + "\n".join(rows[::-1])))
    # An encoder that trembles.
    rows[30:32] = rows[31], rows[30].replace("119.5", "118.9")
    assert len(energies(written(tmp_path, "energy_eV,mu\n" + "\n".join(rows)))[0]) == 50


def test_numbers_as_names_are_delays_where_the_user_says_so(tmp_path):
    path = written(tmp_path, "energy_eV,100,1000,5000\n1,.4,.2,.1\n2,.5,.3,.2\n")
    with pytest.raises(InputError, match=r'--signal "NAME" or --signal "{delay_ps}"'):
        read_scans([path])
    scans = read_scans([path], "{delay_ps}")
    assert [(s.delay_ps, s.temperature_C, s.intensity[0]) for s in scans] == [
        (100, None, 0.4), (1000, None, 0.2), (5000, None, 0.1)]
    with pytest.raises(InputError, match="5000 C is no temperature of a sample"):
        read_scans([path], "{temperature_C}")
    path = written(tmp_path, "energy_eV,d10,d20,off\n1,1,2,3\n2,1,2,3\n")
    scans = read_scans([path], "d{delay_ns}")
    assert [s.delay_ps for s in scans] == [10_000, 20_000]
    with pytest.raises(InputError, match="no signal column fits"):
        read_scans([path], "x{delay_ps}")
    with pytest.raises(InputError, match=r"has no place for a number|knows"):
        read_scans([path], "{}")


@pytest.mark.parametrize(("names", "column"), [
    ("time energy mu", 1), ("energy requested_energy mu", 0), ("Mono_Energy time mu", 0),
    ("ee i0 mu", 0), ("E i0 mu", 0), ("time ZapEnergy mu", 1), ("x_eV i0 mu", 0)])
def test_energies_by_their_name(tmp_path, names, column):
    path = written(tmp_path, names + "\n1 2 9\n3 4 9\n", "s.dat")
    assert energies(path, energy_unit="eV")[0] == [[1, 3], [2, 4]][column]


@pytest.mark.parametrize("names", ["time counts mu", "time Requested_Energy Achieved_Energy",
                                   "a b c"])
def test_energies_without_a_name_are_asked_for(tmp_path, names):
    path = written(tmp_path, names + "\n1 2 9\n3 4 9\n", "s.dat")
    with pytest.raises(InputError, match="choose with --energy NAME"):
        read_scans([path], energy_unit="eV")
    assert energies(path, signal="3", energy="2", energy_unit="eV") == ([2, 4], [9, 9])
    with pytest.raises(InputError, match="has no column '7' for --energy"):
        read_scans([path], energy="7")


def test_columns_of_one_name_are_chosen_by_number(tmp_path):
    path = written(tmp_path, "energy_eV,mu,mu\n1,2,5\n2,3,6\n")
    with pytest.raises(InputError, match="several columns are called 'mu'"):
        read_scans([path], "mu")
    assert energies(path, signal="3")[1] == [5, 6]
    case = written(tmp_path, "energy_eV,a,A\n1,2,5\n2,3,6\n")
    assert energies(case, signal="A")[1] == [5, 6]


@pytest.mark.parametrize(("element", "edge", "low", "high", "fits"), [
    ("Br", "K", 13300, 14500, True), ("Br", "K", 13500, 13600, True),
    ("br", "k", 13300, 13400, True), ("Br", "K", 13.3, 14.5, False),
    ("Br", "K", 12500, 13100, False), ("Pb", "L3", 13000, 13100, True),
    ("Pb", "L2", 13000, 13100, False), ("C", "K", 275, 300, True), ("O", "K", 275, 300, False),
    ("Xx", "K", 1, 2, True), ("Br", "Q", 1, 2, True)])
def test_energies_belong_to_the_edge_that_is_named(element, edge, low, high, fits):
    if fits:
        check_edge(np.array([low, high]), element, edge, "f")
    else:
        with pytest.raises(InputError, match=r"f: .* are not energies of the"):
            check_edge(np.array([low, high]), element, edge, "f")


def test_a_far_edge_is_refused_by_the_verbs(tmp_path, capsys):
    path = written(tmp_path, "energy_eV,mu\n13470,1\n13480,2\n")
    assert main(["treat", str(path), "--edge", "Pb-L2", "--out", str(tmp_path / "o.xdi")]) == 2
    assert "the Pb-L2 edge, which lies at 15200 eV" in capsys.readouterr().err
    named = written(tmp_path, "# Element: Pb\n# Edge: L2\nenergy_eV,mu\n13470,1\n13480,2\n")
    with pytest.raises(InputError, match="not energies of the pb-L2 edge"):
        read_scans([named])


def grids(*shifts):
    e = np.r_[np.arange(5360.0, 5400, 2.5), np.arange(5400, 5440, 0.25)]
    moved = [e + s * np.cos(e) for s in shifts]
    return [Scan(one, 1 / (1 + np.exp(-(one - 5415) / 3))) for one in moved]


def test_repeats_whose_encoder_reads_a_little_otherwise(tmp_path):
    """As twelve public scans of V do, 8.5 meV apart at most; each has the same spectrum."""
    scans = grids(0.004, -0.004, 0.0)
    mean = combine(scans)
    np.testing.assert_allclose(mean.energy_eV, scans[2].energy_eV, atol=1e-9)
    np.testing.assert_allclose(mean.intensity, scans[2].intensity, atol=5e-6)
    assert mean.error.max() < 5e-6
    with pytest.raises(InputError, match="--rebin WIDTH"):
        combine(grids(0.2, -0.2))


def test_rebinned_scans_are_on_one_grid():
    rng = np.random.default_rng(0)
    scans = []
    for _ in range(4):
        e = np.sort(rng.uniform(13400, 13500, 2000))
        scans.append(rebin(Scan(e, 3 + 0.01 * e, np.ones(2000)), step_eV=1.0))
    mean = combine([Scan(s.energy_eV[1:98], s.intensity[1:98]) for s in scans])
    np.testing.assert_array_equal(mean.energy_eV, mean.energy_eV[0] + np.arange(97))
    np.testing.assert_allclose(mean.intensity, 3 + 0.01 * mean.energy_eV, rtol=1e-12)
    assert scans[0].variance.ndim == 2


def test_interrupted_counters_and_detectors_of_an_entry(tmp_path):
    with h5py.File(tmp_path / "b.h5", "w") as file:
        for number in (1, 2):
            entry = file.create_group(f"{number}.1")
            entry.attrs["NX_class"] = "NXentry"
            entry["sample/name"], entry["element/symbol"] = "CsPbBr3", "Br"
            entry["edge/name"] = "K"
            for k, y in (("trans", [1.0, 2, 3]), ("fluo0", [np.nan, 5, 6])):
                plot = entry.create_group(f"{k}/plot")
                plot.attrs["signal"], plot.attrs["axes"] = "y", "energy"
                plot["energy"], plot["y"] = [13470.0, 13471, 13472], y
                plot["energy"].attrs["long_name"] = "Energy (eV)"
            entry["trans/plot/short"] = [1.0, 2]
            entry["instrument/a/x"], entry["instrument/a/y"] = [1.0, 2], [1.0, 2]
    scans = read_scans([tmp_path / "b.h5"], group="*/fluo0/plot")
    assert [s.intensity.tolist() for s in scans] == [[5, 6], [5, 6]]
    assert scans[0].table.identity["element"] == "br"
    whole = read_scans([tmp_path / "b.h5"], group="*trans/plot")
    assert "left out, not as long as the others (3): short (2)" in " ".join(whole[0].warnings)
    with pytest.raises(InputError, match="different samples"):
        combine(read_scans([tmp_path / "b.h5"]))
    with h5py.File(tmp_path / "b.h5", "a") as file:
        del file["1.1/fluo0"], file["2.1/fluo0"]
    assert combine(read_scans([tmp_path / "b.h5"])).intensity.tolist() == [1, 2, 3]
    with h5py.File(tmp_path / "b.h5", "a") as file:
        del file["2.1/sample/name"]
        file["2.1/sample/name"] = "CsPbCl3"
    with pytest.raises(InputError, match="different samples"):
        combine(read_scans([tmp_path / "b.h5"]))


def test_other_files_are_not_followed(tmp_path):
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["mu"] = [1.0, 2]
    (tmp_path / "raw").write_bytes(np.array([1.0, 2]).tobytes())
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["energy"] = [1.0, 2]
        file["energy"].attrs["units"] = "eV"
        file["out"] = h5py.ExternalLink("secret.h5", "/")
        file["soft"], file["hard"] = h5py.SoftLink("/out/mu"), h5py.ExternalLink("secret.h5", "/mu")
        layout = h5py.VirtualLayout((2,), "f8")
        layout[:] = h5py.VirtualSource(tmp_path / "secret.h5", "mu", (2,))
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset("stored", (2,), "f8", external=[(str(tmp_path / "raw"), 0, 16)])
        file["mu"] = [7.0, 8]
    (table,) = read_tables(tmp_path / "f.h5")
    assert table.names == ("energy", "mu")


def test_zero_scatter_is_no_error_of_a_mean(tmp_path):
    text = ("# Athena project file -- Demeter version 0.9.25\n$old_group = 'a';\n@args = ('label',"
            "'Br');\n@x = ('1','2');\n@y = ('1','2');\n@stddev = ('0','1');\n[record]\n")
    (scan,) = read_scans([written(tmp_path, text, "p.prj")])
    assert (scan.intensity.tolist(), scan.error) == ([1, 2], None)


def shifted(*shifts):
    return "# Athena project file -- Demeter version 0.9.25\n" + "".join(
        f"$old_group = 'g{i}';\n@args = ('label','a','bkg_eshift','{s}');\n@x = ('1','2');\n"
        "@y = ('1','2');\n[record]\n" for i, s in enumerate(shifts))


def test_groups_of_other_energy_shifts_are_not_averaged(tmp_path):
    for shifts in (("0", "-0.000"), ("0.50", "0.5"), ("", "0")):
        combine(read_scans([written(tmp_path, shifted(*shifts), "p.prj")]))
    with pytest.raises(InputError, match="different energy shifts"):
        combine(read_scans([written(tmp_path, shifted("0", "0.5"), "p.prj")]))


# Limits. Time is measured by the processor, generously: what was quadratic took minutes.


def test_what_is_read_is_in_the_result(tmp_path, capsys):
    path = written(tmp_path, "energy_eV,i0,itrans\n13470,4,2\n13480,9,3\n")
    assert main(["treat", str(path), "--signal", "ln(i0/itrans)", "--edge", "Br-K", "--json",
                 "--out", str(tmp_path / "o.xdi")]) == 0
    found = json.loads(capsys.readouterr().out)
    reading = "energy: column 1, eV; signal: ln(i0/itrans) of columns 2, 3; 1 scan"
    assert found["outputs"][0]["reading"] == reading
    assert read_tables(tmp_path / "o.xdi")[0].get("Polaron.reading") == reading


def test_fields_of_xdi_without_a_value(tmp_path):
    text = ANGLE.format(unit="degrees", rows="8.44 1\n8.43 2\n")
    for old, new, why in (("3.13555", "", "spacing is positive"),
                          ("angle degrees", "|| PV", "must give a label and a unit")):
        with pytest.raises(InputError, match=why):
            read_scans([written(tmp_path, text.replace(old, new), "a.xdi")])


@pytest.mark.parametrize(("unit", "energies", "why"), [
    ("keV", (13440, 13443, 13446), "beyond those of every absorption edge"),
    ("eV", (13.440, 13.443, 13.446), "are they in keV"),
    ("eV", (33.160, 33.1605, 33.161), "are they in keV")])
def test_energies_that_no_edge_has_are_in_another_unit(tmp_path, unit, energies, why):
    path = tmp_path / "s.csv"
    path.write_text(f"energy_{unit},mu\n" + "".join(f"{e},1\n" for e in energies))
    with pytest.raises(InputError, match=why):
        read_scans([path])
    path.write_text("energy,mu\n" + "".join(f"{e},1\n" for e in energies))
    other = {"eV": "keV", "keV": "eV"}[unit]
    assert len(read_scans([path], energy_unit=other)[0].energy_eV) == 3


@pytest.mark.parametrize("energies", [(-30, 0.001, 30), (55.1, 55.2, 55.3), (99.8, 99.81, 99.82)])
def test_soft_edges_and_energies_from_an_edge_are_read(tmp_path, energies):
    path = tmp_path / "s.csv"
    path.write_text("energy_eV,mu\n" + "".join(f"{e},1\n" for e in energies))
    assert read_scans([path])[0].energy_eV.tolist() == list(energies)


@pytest.mark.parametrize(("head", "column"), [
    ("energy,mu\neV,a.u.\n", 1), ("energy,mu\n(eV),()\n", 1), ("mu,energy\n,eV\n", 2),
    ("# energy,mu\n# keV,\n", 1)])
def test_units_may_have_a_row_of_their_own(tmp_path, head, column):
    rows = np.array([[13470.0, 0.5], [13471.0, 0.6]])
    rows[:, 0] /= 1000 if "keV" in head else 1
    path = tmp_path / "s.csv"
    path.write_text(head + "".join(f"{a},{b}\n" for a, b in (
        rows if column == 1 else rows[:, ::-1])))
    (scan,) = read_scans([path])
    assert scan.energy_eV == pytest.approx([13470, 13471])
    assert scan.intensity.tolist() == [0.5, 0.6]
    assert f"energy: column {column}" in scan.reading


def test_a_column_called_s_under_a_remark_is_no_unit(tmp_path):
    path = tmp_path / "s.csv"
    for remark, head in (("my sample", "energy_eV s"), ("two words", "energy_eV K"),
                         ("one two three", "energy_eV s mu")):
        path.write_text(f"# {remark}\n# {head}\n" + "".join(
            f"{e} {' '.join(['1'] * head.count(' '))}\n" for e in (13470, 13471)))
        (scan,) = read_scans([path], head.split()[-1])
        assert scan.energy_eV.tolist() == [13470, 13471]
    path.write_text("energy_eV mu\nnan 1\nnan 2\n")
    with pytest.raises(InputError, match="NaN or infinity"):
        read_scans([path])


@pytest.mark.parametrize("mark", [";", "\t", " "])
def test_a_decimal_comma_is_named_whatever_parts_the_columns(tmp_path, mark):
    path = tmp_path / "s.csv"
    path.write_text(f"energy_eV{mark}mu\n13470,5{mark}0,5\n13471,5{mark}0,6\n")
    with pytest.raises(InputError, match="--decimal-comma"):
        read_scans([path])
    assert read_scans([path], decimal_comma=True)[0].energy_eV.tolist() == [13470.5, 13471.5]


@pytest.mark.parametrize("value", ["-9999", "9.9e37", "9.91E+37", "2147483647", "-21.47483648"])
def test_what_an_instrument_writes_for_no_value_is_no_signal(tmp_path, value):
    path = tmp_path / "s.csv"
    path.write_text(f"energy_eV,mu,other\n13470,1,1\n13471,{value},1\n13472,2,1\n")
    with pytest.raises(InputError, match="writes for no value"):
        read_scans([path], "mu")
    with pytest.raises(InputError, match="writes for no value"):
        read_scans([path], "mu/other")
    assert len(read_scans([path], "other")) == 1
