"""Columns are not repeats, and different samples are not averaged: a right value or a refusal."""

import h5py
import numpy as np
import pytest
from conftest import written

from perovskite_polaron.cli.main import main
from perovskite_polaron.errors import InputError
from perovskite_polaron.measured.readers import read_scans, read_tables
from perovskite_polaron.measured.repeats import combine
from perovskite_polaron.measured.text import Table
from perovskite_polaron.measured.traces import read_traces

XDI = ("# XDI/1.0\n# Column.1: energy eV\n{columns}# Element.symbol: {element}\n# Element.edge: K\n"
       "# Mono.d_spacing: 3.1355\n#---\n{rows}")


def xdi(names, rows="11634.89 4 2 1\n11644.908 9 3 1\n", element="As"):
    columns = "".join(f"# Column.{i}: {name}\n" for i, name in enumerate(names.split(), start=2))
    return XDI.format(columns=columns, rows=rows, element=element)


@pytest.mark.parametrize(("names", "remedy"), [
    ("time i0 itrans", r'choose with --signal "ln\(i0/itrans\)"'),
    ("i0 itrans irefer", r'choose with --signal "ln\(i0/itrans\)"'),
    ("counttime ifluor i0", r'choose with --signal "ifluor/i0"'),
    ("i0 I1 dwell_time", r'choose with --signal "ln\(i0/I1\)"'),
    ("epoch angle time", 'choose with --signal "NAME"'),
    ("mutrans mufluor i0", r"2 columns can be the signal \(mutrans, mufluor\)"),
    ("a b c", r"3 columns can be the signal \(a, b, c\)"),
])
def test_counts_and_open_choices_are_refused(tmp_path, names, remedy):
    with pytest.raises(InputError, match=remedy):
        read_scans([written(tmp_path, xdi(names), "a.xdi")])


@pytest.mark.parametrize("names", ["mutrans i0 itrans", "murefer mutrans i0", "time mutrans_se mu",
                                   "counttime mutrans irefer", "nder norm xmu", "xmu bkg preline",
                                   "mufluor mufluor_errors i0", "signal SE_signal stddev"])
def test_the_only_spectrum_is_read(tmp_path, names):
    (scan,) = read_scans([written(tmp_path, xdi(names), "a.xdi")])
    name = next(n for n in names.split() if n in ("mutrans", "mu", "xmu", "mufluor", "signal"))
    if names.startswith("time"):
        name = "mu"
    row = names.split().index(name)
    np.testing.assert_array_equal(scan.intensity, [[4, 9], [2, 3], [1, 1]][row])


def test_transmission_fluorescence_and_difference(tmp_path):
    path = written(tmp_path, xdi("i0 itrans irefer"), "a.xdi")
    for asked, value in (("ln(i0/itrans)", np.log([2, 3])), ("LN( 2 / 3 )", np.log([2, 3])),
                         ("itrans/i0", [0.5, 1 / 3]), ("i0-itrans", [2, 6]), ("3", [2, 3])):
        (scan,) = read_scans([path], asked)
        np.testing.assert_allclose(scan.intensity, value)
    assert scan.reading == "energy: column 1, eV; signal: itrans of column 3; 1 scan"
    with pytest.raises(InputError, match=r"has no column 'ln\(i0/i9\)'"):
        read_scans([path], "ln(i0/i9)")
    zero = written(tmp_path, "energy_eV,i0,itrans\n1,2,1\n2,0,1\n")
    with pytest.raises(InputError, match="is not finite"):
        read_scans([zero], "ln(i0/itrans)")


def test_counts_of_as2o3(tmp_path):
    """Row 200 of a public scan of As2O3: ln(547769/54463)."""
    rows = "11867 547769 54463 1\n11868 547769 54463 1\n"
    path = written(tmp_path, xdi("i0 itrans irefer", rows), "a.xdi")
    assert read_scans([path], "ln(i0/itrans)")[0].intensity[0] == pytest.approx(2.3083, abs=5e-5)


def test_errors_of_a_formula_are_propagated(tmp_path):
    path = written(tmp_path, "energy_eV,a,a_error,b,b_error\n1,4,.3,2,.4\n2,4,.3,2,.4\n")
    errors = [read_scans([path], s)[0].error[0] for s in ("a-b", "a/b", "ln(a/b)")]
    relative = np.hypot(0.3 / 4, 0.4 / 2)
    np.testing.assert_allclose(errors, [0.5, 2 * relative, relative])


def test_matrix_of_delays(tmp_path):
    rows = "\n1,.4,.2,.1\n2,.5,.3,.2\n"
    with pytest.raises(InputError, match=r"3 columns .*100, 1000, 5000"):
        read_scans([written(tmp_path, "energy_eV,100,1000,5000" + rows)])
    for head in ("100ps,1ns,5000 ps", "100_ps,1_ns,5_ns", "100 (ps),1000 (ps),5000 (ps)"):
        scans = read_scans([written(tmp_path, f"# delay: 3 ps\nenergy_eV,{head}{rows}", "m.csv")])
        assert [s.delay_ps for s in scans] == pytest.approx([100, 1000, 5000])
        assert [s.intensity[0] for s in scans] == [0.4, 0.2, 0.1]
    with pytest.raises(InputError, match="3 columns can be the signal"):
        read_scans([written(tmp_path, "energy_eV,100ps,100ps_b,off" + rows, "n.csv")])
    assert len(read_traces([written(tmp_path, "delay_ps,7,3,2" + rows, "t.csv")])) == 3


def test_traces_with_numbers_for_names_are_in_order(tmp_path):
    traces = read_traces([written(tmp_path, "delay_ps,3,2\n1,5,6\n2,7,8\n")])
    assert [(t.label, t.signal[0]) for t in traces] == [("scan:3", 5), ("scan:2", 6)]


def test_on_and_off_are_no_repeats_and_a_wildcard_names_repeats(tmp_path, capsys):
    path = written(tmp_path, "energy_eV,laser_on,laser_off\n13471,1.5,1\n13472,2.5,1\n")
    out = ["--edge", "Br-K", "--out", str(tmp_path / "o.xdi")]
    assert main(["treat", str(path), *out]) == 2
    said = capsys.readouterr().err
    assert "laser_on, laser_off" in said
    assert '--signal "laser_on-laser_off"' in said
    assert main(["treat", str(path), "--signal", "laser_on-laser_off", *out]) == 0
    assert f"{path}: energy: column 1, eV; signal: laser_on-laser_off of columns 2, 3; 1 scan" in (
        capsys.readouterr().err)
    np.testing.assert_array_equal(read_scans([tmp_path / "o.xdi"])[0].intensity, [0.5, 1.5])
    assert combine(read_scans([path], "laser_*")).intensity[0] == 1.25
    with pytest.raises(InputError, match=r"no signal column fits 'x\*'"):
        read_scans([path], "x*")


def test_column_output_of_athena(tmp_path):
    text = ("# Saving fe\n# -----\n# ee xmu bkg i0 preline postline\n"
            "7000 .048 1 9 1 2\n7001 1 1 9 1 2\n")
    (scan,) = read_scans([written(tmp_path, text, "fe.300.xmu")], energy_unit="eV")
    assert scan.intensity[0] == 0.048


@pytest.mark.parametrize("axes", ["energy", ["energy"]])
def test_nexus_says_its_signal(tmp_path, axes):
    with h5py.File(tmp_path / "n.h5", "w") as file:
        data = file.create_group("entry/data")
        data.attrs.update({"signal": "beam", "axes": axes})
        data["beam"], data["beam_errors"], data["other"] = [49.0, 50], [0.1, 0.1], [7.0, 7]
        data["energy"] = [13.498, 13.5]
        data["energy"].attrs["units"] = "keV"
    (scan,) = read_scans([tmp_path / "n.h5"])
    assert scan.energy_eV[0] == pytest.approx(13498)
    assert (scan.intensity[0], scan.error[0]) == (49, pytest.approx(0.1))


@pytest.mark.parametrize("link", [h5py.SoftLink, None])
def test_linked_scans_count_once(tmp_path, link):
    with h5py.File(tmp_path / "n.h5", "w") as file:
        for k in range(1, 4):
            scan = file.create_group(f"scan{k}")
            scan["energy"], scan["intensity"] = [1.0, 2], [1.0, k]
            scan["energy"].attrs["units"] = "eV"
            plot = scan.create_group("plot")
            for name in ("energy", "intensity"):
                plot[name] = link(f"/scan{k}/{name}") if link else scan[name]
    scans = read_scans([tmp_path / "n.h5"])
    assert [s.intensity[1] for s in scans] == [1, 2, 3]
    assert combine(scans).intensity[1] == 2


@pytest.mark.parametrize(("name", "value"), [
    ("rep 7 K-edge", None), ("rep 7 K_edge", None), ("7K edge", None), ("12 K XANES", None),
    ("br 300 K", 26.85), ("br_300K-2", 26.85), ("br_60C", 60)])
def test_the_k_of_an_edge_is_no_kelvin(tmp_path, name, value):
    (scan,) = read_scans([written(tmp_path, "energy_eV,mu\n1,2\n2,3\n", f"{name}.csv")])
    assert scan.temperature_C == (value if value is None else pytest.approx(value))


def test_unit_before_the_name_of_a_process_variable(tmp_path):
    text = xdi("mutrans i0 itrans").replace("energy eV", "energy eV || 13BMA:E:Energy.VAL")
    assert read_scans([written(tmp_path, text, "a.xdi")])[0].energy_eV[0] == 11634.89


def test_scans_of_spec_have_the_names_of_their_columns(tmp_path):
    scan = ("#F x\n#S 1 ascan E\n#D now\n#N 3\n#L Energy  Ring mA  my mu\n#C remark\n"
            "1 300 2\n@A 7 8\\\n 9\n 2 300 3\n")
    second = scan.replace("#S 1", "#S 2").replace("\n1 ", "\n1.7 ")
    path = written(tmp_path, scan + second + "#S 3 ascan th\n#L th  my mu\n1 2\n2 3\n"
                   "#S 4 ascan E\n", "two.dat")
    scans = read_scans([path], "my mu", energy_unit="keV")
    assert [(s.label, len(s.energy_eV), s.energy_eV[0], s.intensity.tolist()) for s in scans] == [
        ("1", 2, 1000, [2, 3]), ("2", 2, 1700, [2, 3])]
    assert "#S 3: no column is an energy by its name" in scans[0].warnings[-1]
    with pytest.raises(InputError, match=r"2 columns can be the signal \(Ring mA, my mu\)"):
        read_scans([path], energy_unit="eV")
    (one,) = read_scans([path], "my mu", "keV", group="2")
    assert one.energy_eV[0] == 1700
    other = written(tmp_path, scan + second.replace("ascan E", "ascan E 9"), "other.dat")
    with pytest.raises(InputError, match="different samples"):
        combine(read_scans([other], "my mu", "eV"))
    with pytest.raises(InputError, match=r"x.dat#S 1:4: '1x' is not a finite number"):
        read_tables(written(tmp_path, "#F\n\n#S 1 a\n#L E  mu\n1 2\n1x 3\n", "x.dat"))
    with pytest.raises(InputError, match="no scan of SPEC has points"):
        read_tables(written(tmp_path, "#S 4 ascan E\n", "none.dat"))


def project(*labels, more=""):
    groups = [f"$old_group = 'g{i}';\n@args = ('label','{label}');\n@x = ('1','2');\n"
              f"@y = ('{i}','2');\n{more}[record]\n" for i, label in enumerate(labels)]
    return "# Athena project file -- Demeter version 0.9.25\n" + "".join(groups)


def test_auxiliary_array_of_another_length_is_dropped(tmp_path):
    (table,) = read_tables(written(tmp_path, project("Br", more="@stddev = ('1','1','1');\n"),
                                   "p.prj"))
    assert table.names == ("energy", "mu")
    assert "stddev is left out" in table.warnings[0]


@pytest.mark.parametrize(("labels", "same"), [
    (("Br foil scan 1", "Br foil, scan 12"), True), (("foil run.001", "foil run.002"), True),
    (("Br foil 1", "Br foil 12"), False), (("foil.001", "foil.002"), False), (("a", "a"), True),
    (("scan1", "scan2"), True), (("FeO", "Fe2O3"), False), (("Fe2O3", "Fe2O4"), False),
    (("sample 1", "sample 2"), False), (("br_a", "br_b"), False)])
def test_groups_of_different_samples_are_not_averaged(tmp_path, labels, same):
    path = written(tmp_path, project(*labels), "p.prj")
    if same:
        assert combine(read_scans([path])).intensity[0] == 0.5
    else:
        with pytest.raises(InputError, match=r"different samples .* --group"):
            combine(read_scans([path]))
    assert combine(read_scans([path], group="*")).intensity[0] == 0.5
    assert len(read_scans([path], group=labels[0])) in (1, 2)
    with pytest.raises(InputError, match="has no group 'none'"):
        read_scans([path], group="none")


@pytest.mark.parametrize(("names", "same"), [
    (("entry1/data", "entry2/data"), True), (("1.1/measurement", "2.1/measurement"), True),
    (("FeO/data", "Fe2O3/data"), False), (("100ps_01", "100ps_02"), False),
    (("100ps_rep01", "100ps_rep02"), True), (("1/fluo0", "1/fluo1"), False)])
def test_paths_of_groups_are_names_of_samples(tmp_path, names, same):
    with h5py.File(tmp_path / "n.h5", "w") as file:
        for name in names:
            file[f"{name}/energy"], file[f"{name}/mu"] = [1.0, 2], [1.0, 2]
            file[f"{name}/energy"].attrs["units"] = "eV"
    scans = read_scans([tmp_path / "n.h5"])
    assert len(scans) == 2
    if same:
        combine(scans)
    else:
        with pytest.raises(InputError, match="different samples"):
            combine(scans)
    assert len(read_scans([tmp_path / "n.h5"], group=names[0])) == 1


def test_counters_of_long_names_take_no_time():
    for name, left in (("1)" * 50_000, "1)" * 100), ("_" * 10**5, "_" * 200),
                       ("scan " * 9999, ("scan " * 40).strip()), ("a" + " " * 10**5, "a"),
                       ("sample  2", "sample  2"), ("Br, run  2", "br")):
        identity = Table(("energy",), ("eV",), np.ones((1, 1)), sample=name).identity["sample"]
        assert identity == left


def test_different_elements_and_edges_are_not_averaged(tmp_path):
    # Both between the L3 edges of Po and Rn, and on the K edge of As.
    rows = "11800 4 2 1\n14500 9 3 1\n"
    a, b, c = (written(tmp_path, text, f"{n}.xdi") for n, text in (
        ("a", xdi("mu i0 i1", rows)), ("b", xdi("mu i0 i1", rows, "Se")),
        ("c", xdi("mu i0 i1", rows, "Rn").replace("edge: K", "edge: L3"))))
    for other, what in ((b, "elements"), (c, "elements|edges")):
        with pytest.raises(InputError, match=f"different {what}"):
            combine(read_scans([a, other]))


@pytest.mark.parametrize(("read", "options", "table"), [
    (read_scans, {"energy_unit": "eV"}, "energy,mu\n13460,1\n13461,2\n"),
    (read_traces, {"delay_unit": "ps"}, "delay,signal\n1,1\n2,2\n")])
def test_a_missing_unit_names_the_option_that_gives_it(tmp_path, read, options, table):
    (tmp_path / "a.csv").write_text(table)
    option = "--" + next(iter(options)).replace("_", "-")
    with pytest.raises(InputError, match=f"or give {option}$"):
        read([tmp_path / "a.csv"])
    read([tmp_path / "a.csv"], **options)
    other = "ps" if "energy" in table else "eV"
    (tmp_path / "b.csv").write_text(table.replace(",", f"_{other},", 1))
    with pytest.raises(InputError, match=f"has the unit .{other}.") as refusal:
        read([tmp_path / "b.csv"], **options)
    assert option not in str(refusal.value)


@pytest.mark.parametrize(("names", "error"), [
    ("mu,mu_std,mu_sem", 3), ("mu,mu_sem,mu_std", 2), ("mu,std,sem", 3), ("mu,stddev,error", 3),
    ("mu,std", 2), ("mu,error", 2)])
def test_the_error_of_a_mean_comes_before_the_scatter(tmp_path, names, error):
    count = names.count(",")
    row = ",".join(str(k) for k in range(2, count + 2))
    (scan,) = read_scans([written(tmp_path, f"energy_eV,{names}\n13470,1,{row}\n13471,1,{row}\n")])
    assert scan.error == pytest.approx([float(error), float(error)])


@pytest.mark.parametrize(("names", "delay"), [
    ("time_s,delay_ps,s", 2), ("s,delay_ps", 2), ("delay_stage_mm,delay_ps,s,i0", 2),
    ("shots,t_ps,s,n", 2), ("energy_eV,time_ps,s", 2)])
def test_traces_are_no_times_stages_or_counters(tmp_path, names, delay):
    listed = names.split(",")
    rows = [[10.0 * k if i == delay - 1 else 0.5 * k if name == "s" else 7.0 + i
             for i, name in enumerate(listed)] for k in range(1, 4)]
    path = written(tmp_path, names + "\n" + "".join(
        ",".join(map(str, row)) + "\n" for row in rows))
    (trace,) = read_traces([path])
    assert trace.delay_ps.tolist() == [10, 20, 30]
    assert trace.signal.tolist() == [0.5, 1.0, 1.5]
    assert f"delay: column {delay}, ps; signal: s of column" in trace.reading


def test_traces_with_and_without_laser_are_asked_for(tmp_path):
    path = written(tmp_path, "delay_ps,laser_on,laser_off\n1,1.5,1\n2,2.5,1\n")
    with pytest.raises(InputError, match='choose with --signal "laser_on-laser_off"'):
        read_traces([path])
    (trace,) = read_traces([path], "laser_on-laser_off")
    assert trace.signal.tolist() == [0.5, 1.5]
    with pytest.raises(InputError, match=r"no signal column beside 'delay'.*--signal"):
        read_traces([written(tmp_path, "delay_ps,i0\n1,1.5\n2,2.5\n", "n.csv")])


def test_a_matrix_whose_delays_run_across_is_refused(tmp_path):
    path = written(tmp_path, "0 -1 0 1 2\n400 1 2 3 4\n410 1 2 3 4\n")
    with pytest.raises(InputError, match="transpose"):
        read_traces([path], delay_unit="ps", matrix=True)
