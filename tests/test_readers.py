"""Readers: units are said or refused, errors found, broken files refused with their place."""

import gzip
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import written
from fuzz_readers import PRJ_JSON_SEED, PRJ_SEED, fuzz, read, seeds

from perovskite_polaron.errors import InputError
from perovskite_polaron.measured import hdf5
from perovskite_polaron.measured.hdf5 import read_hdf5_tables
from perovskite_polaron.measured.readers import read_scans, read_tables
from perovskite_polaron.measured.traces import read_traces


def test_units_are_converted_and_the_error_column_found(tmp_path):
    path = written(tmp_path, "energy_keV,signal,error\n13.470,1,0.1\n13.471,2,0.2\n")
    (scan,) = read_scans([path])
    np.testing.assert_allclose(scan.energy_eV, [13470, 13471])
    np.testing.assert_allclose(scan.error, [0.1, 0.2])


def test_unit_missing_is_refused_unless_given(tmp_path):
    path = written(tmp_path, "13470 1\n13471 2\n", "scan.dat")
    with pytest.raises(InputError, match="does not say its unit"):
        read_scans([path])
    assert read_scans([path], energy_unit="eV")[0].energy_eV[0] == 13470


def test_delay_and_temperature_from_header_or_name(tmp_path):
    one = written(tmp_path, "# delay: 10.1 ns\nenergy (eV);mu\n1;2\n2;3\n", "a.csv")
    two = written(tmp_path, "# energy_eV mu\n1 2\n2 3\n", "br_60C.dat")
    assert read_scans([one])[0].delay_ps == pytest.approx(10100)
    assert read_scans([two])[0].temperature_C == 60
    assert read_scans([two])[0].delay_ps is None


def test_traces_with_several_signals(tmp_path):
    path = written(tmp_path, "delay_ns br br_error pb pb_error\n0 1 .1 2 .2\n1 .5 .1 1 .2\n",
                   "k.dat")
    br, pb = read_traces([path])
    np.testing.assert_allclose(br.delay_ps, [0, 1000])
    np.testing.assert_allclose(pb.signal, [2, 1])
    np.testing.assert_allclose(pb.error, 0.2)
    assert br.label == "k:br"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("energy_eV,mu\n1,2\n2\n", r"scan.csv:3: 1 numbers where"),
        ("energy_eV,mu\n1,nan\n", "none of its columns"),
        ("energy_eV,mu,x\n1,2\n", "the header names 3 columns but the rows have 2"),
        ("energy_eV,mu\n1,2\n1,3\n", "the energy 1 eV stands twice"),
        ("energy_eV,mu,error\n1,2,0\n2,2,1\n", "not positive"),
        ("energy_parsec,mu\n1,2\n2,3\n", "does not say its unit"),
        ("# nothing\n", "no row of numbers"),
        ("", "is empty"),
    ],
)
def test_bad_tables_are_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read_scans([written(tmp_path, text)])


def test_hdf5_groups_are_scans(tmp_path):
    with h5py.File(tmp_path / "f.h5", "w") as file:
        for name in ("a", "b"):
            group = file.create_group(name)
            group.attrs["delay_ps"] = 100.0
            group["mu"] = [1.0, 2.0]
            group["energy"] = [13.47, 13.48]
            group["energy"].attrs["units"] = "keV"
    scans = read_scans([tmp_path / "f.h5"])
    assert [s.label for s in scans] == ["a", "b"]
    np.testing.assert_allclose(scans[0].energy_eV, [13470, 13480])
    assert scans[0].delay_ps == 100
    (tmp_path / "g.h5").write_bytes((tmp_path / "f.h5").read_bytes()[:900])
    with pytest.raises(InputError, match="cannot be read as HDF5"):
        read_scans([tmp_path / "g.h5"])


PROJECT = Path(__file__).parent / "data" / "larch_2026.3.1_two_groups.prj"


def test_athena_project_written_by_larch():
    """data/larch_2026.3.1_two_groups.prj was written by larch 2026.3.1: two groups of 175 points of
    an arctangent edge.
    """
    tables = read_tables(PROJECT)
    assert [(t.label, t.names, t.columns.shape) for t in tables] == [
        (label, ("energy", "mu", "numerator"), (3, 175)) for label in ("br_a", "br_b")
    ]
    scans = read_scans([PROJECT])
    assert len(scans) == 2
    for scan, edge in zip(scans, (13474.0, 13474.5), strict=True):
        e = scan.energy_eV
        np.testing.assert_array_equal(e, np.arange(13350, 13700, 2.0))
        expected = 0.1 + 0.5 * (np.arctan((e - edge) / 2) / np.pi
                                + 0.5) + 0.2 * np.exp(-(((e - edge) / 3) ** 2))
        np.testing.assert_allclose(scan.intensity, expected, rtol=1e-14)


def test_athena_reading_is_larchs_own():
    pytest.importorskip("larch")
    from larch.io import read_athena

    groups = read_athena(str(PROJECT), do_preedge=False).groups
    tables = read_tables(PROJECT)
    assert [t.label for t in tables] == [g.label for g in groups.values()]
    for table, group in zip(tables, groups.values(), strict=True):
        for name, theirs in (("energy", group.energy), ("mu", group.mu),
                             ("numerator", group.signal)):
            assert np.array_equal(table.columns[table.names.index(name)], theirs)
        assert float(table.metadata["bkg_e0"]) == group.athena_params.bkg.e0


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dialect", [PRJ_SEED, PRJ_JSON_SEED], ids=["perl", "json"])
def test_athena_dialects(tmp_path, dialect, packed):
    path = tmp_path / "p.prj"
    path.write_bytes(gzip.compress(dialect) if packed else dialect)
    (table,) = read_tables(path)
    assert table.units[0] == "eV"
    if dialect is PRJ_SEED:
        assert table.label == "It's \u00e4"
        assert table.names == ("energy", "mu", "scatter")
        np.testing.assert_array_equal(table.columns,
                                      [[13470, 13471.5, 13473], [0.1, 0.2, -3], [1, 2, 3]])
        assert "energy shift of 0.5 eV is not applied" in table.warnings[0]
        assert len(read_scans([path])) == 1
    else:
        np.testing.assert_array_equal(table.columns, [[13470, 13471, 13472], [0.1, 0.2, 0.3]])
        assert table.warnings == ()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"# Athena project file", b"# A project file", "is no Athena project"),
        (b"[record]   # ready", b"", r"has no \[record\] line, so the file is cut off"),
        (b"'-3');", b"'-3'", "p.prj:8: the value that begins here has brackets that do not match"),
        (b"'-3'", b"'nan'", "p.prj#abcde: 'nan' is not a finite number"),
        (b"'.2',", b"", r"3 \(x\), 2 \(y\)"),
        (b"@y", b"@z", "has no energy or no absorption"),
    ],
)
def test_damaged_athena_projects_are_refused(tmp_path, old, new, message):
    assert old in PRJ_SEED
    (tmp_path / "p.prj").write_bytes(PRJ_SEED.replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        read_tables(tmp_path / "p.prj")
    (tmp_path / "q.prj").write_bytes(gzip.compress(PRJ_SEED)[:-20])
    with pytest.raises(InputError, match="check that the file is whole"):
        read_tables(tmp_path / "q.prj")


def test_athena_chi_groups_are_not_taken_for_spectra(tmp_path):
    (tmp_path / "p.prj").write_bytes(PRJ_SEED.replace(b"'is_chi', undef", b"'is_chi', '1'"))
    assert read_tables(tmp_path / "p.prj")[0].names[:2] == ("k", "chi")
    with pytest.raises(InputError, match="no column is an energy by its name of k, chi"):
        read_scans([tmp_path / "p.prj"])
    both = PRJ_SEED.replace(b"'is_chi', undef", b"'is_chi', '1'") + PRJ_SEED.split(b"\n", 2)[2]
    (tmp_path / "p.prj").write_bytes(both)
    (scan,) = read_scans([tmp_path / "p.prj"])
    assert scan.energy_eV[0] == 13470
    assert any("(left out)" in w for w in scan.warnings)


def test_counts_beside_a_spectrum_are_no_signals(tmp_path):
    path = written(tmp_path, "energy_eV,i0,itrans,mutrans\n1,10,5,0.7\n2,10,4,0.9\n")
    assert [s.intensity[0] for s in read_scans([path])] == [0.7]
    assert read_scans([path], signal="i0")[0].intensity[0] == 10


# A few bytes changed at random until the library (2.0, in h5py 3.16) never came back from reading
# an attribute.
HANGING = Path(__file__).parent / "data" / "hanging.h5"


def test_hdf5_file_on_which_the_library_hangs_is_one_error():
    with pytest.raises(InputError, match="cannot be read as HDF5"):
        read_hdf5_tables(HANGING, time_limit_s=1.0)


def test_hdf5_beyond_its_limits_is_one_error(tmp_path, monkeypatch):
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["energy"] = file["mu"] = np.arange(1000.0)
    with pytest.raises(InputError, match=r"did not finish within 0\.001 s"):
        read_hdf5_tables(tmp_path / "f.h5", time_limit_s=0.001)
    monkeypatch.setattr(hdf5, "MEMORY_LIMIT_BYTES", 2**20)
    with pytest.raises(InputError, match="cannot be read as HDF5"):
        read_tables(tmp_path / "f.h5")


def test_hdf5_from_threads(tmp_path):
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["energy"], file["mu"] = np.arange(1e5), np.arange(1e5) ** 0.5
    with ThreadPoolExecutor(4) as pool:
        for (table,) in pool.map(read_tables, [tmp_path / "f.h5"] * 6):
            np.testing.assert_array_equal(table.columns, [np.arange(1e5), np.arange(1e5) ** 0.5])


def test_fuzz_for_a_moment():
    text = (".xdi", ".csv", ".dat", ".prj", ".asc", ".map", ".spec", ".run.dat", ".toml",
            ".mapping.toml", ".zip", ".tar")
    tried, sound = fuzz(tries=900, only=text)
    assert set(tried) == set(text)
    for kind in text:
        assert 0 < sound[kind] < tried[kind], kind
    # Each of these is read in a process of its own, which takes a second.
    assert fuzz(tries=4, only=(".h5", ".map.h5"))[0] == {".h5": 2, ".map.h5": 2}


def test_what_is_damaged_by_the_fuzzer_is_sound_before(tmp_path):
    for kind, data in seeds():
        path = tmp_path / f"f{kind}"
        path.write_bytes(data)
        assert read(path, kind) > 0, kind


def test_missing_file_is_said(tmp_path):
    for suffix in (".prj", ".h5", ".xdi", ".csv"):
        with pytest.raises(InputError, match="does not exist"):
            read_tables(tmp_path / f"none{suffix}")
