"""Readers: units are said or refused, errors found, broken files refused with their place."""

import h5py
import numpy as np
import pytest
from fuzz_readers import fuzz

from perovskite_polaron.errors import InputError, MissingExtraError
from perovskite_polaron.experiment.readers import read_scans, read_tables, read_traces


def written(tmp_path, text, name="scan.csv"):
    path = tmp_path / name
    path.write_text(text)
    return path


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
    path = written(tmp_path, "delay_ns br br_error pb pb_error\n0 1 .1 2 .2\n1 .5 .1 1 .2\n", "k.dat")
    br, pb = read_traces([path])
    np.testing.assert_allclose(br.delay_ps, [0, 1000])
    np.testing.assert_allclose(pb.signal, [2, 1])
    np.testing.assert_allclose(pb.error, 0.2)
    assert br.label == "k:br"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("energy_eV,mu\n1,2\n2\n", r"scan.csv:3: 1 numbers where"),
        ("energy_eV,mu\n1,nan\n", r"scan.csv:2: 'nan' is not a finite number"),
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


def test_athena_project_written_by_larch(request):
    """data/larch_2026.3.1_two_groups.prj was written by larch 2026.3.1: two groups of 175 points of an arctangent edge."""
    path = next((request.path.parent / "data").glob("*.prj"))
    try:
        scans = read_scans([path], signal="mu")
    except MissingExtraError as error:
        pytest.skip(str(error))
    assert len(scans) == 2
    assert {len(s.energy_eV) for s in scans} == {175}
    e = scans[0].energy_eV
    expected = 0.1 + 0.5 * (np.arctan((e - 13474) / 2) / np.pi + 0.5) + 0.2 * np.exp(-(((e - 13474) / 3) ** 2))
    np.testing.assert_allclose(scans[0].intensity, expected, atol=1e-6)


def test_fuzz_for_a_moment():
    tried, read = fuzz(3.0, skip=(".h5",))
    assert tried > 20
    assert read > 0


def test_missing_file_is_said(tmp_path):
    for suffix in (".prj", ".h5", ".xdi", ".csv"):
        with pytest.raises(InputError, match="does not exist"):
            read_tables(tmp_path / f"none{suffix}")
