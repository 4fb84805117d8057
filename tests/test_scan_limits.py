"""Files that are too long, too deep or no files: bounded, and refused in one line."""

import os
import time
from contextlib import suppress

import pytest
from conftest import energies, written

from perovskite_polaron.errors import InputError
from perovskite_polaron.measured import text as text_module
from perovskite_polaron.measured.readers import read_scans, read_tables
from perovskite_polaron.measured.text import split_unit


@pytest.mark.parametrize("make", [
    lambda n: ("a" + " " * n + "b,mu\n1,2\n2,3\n", "s.csv"),
    lambda n: ("# a" + " " * n + "\nenergy_eV,mu\n1,2\n2,3\n", "s.csv"),
    lambda n: ("# " + "temperature " * (n // 10) + ": 1\nenergy_eV,mu\n1,2\n2,3\n", "s.csv"),
    lambda n: ("# Athena project file -- \n" + "@x = (" + "(" * n, "p.prj"),
    lambda n: ("# Athena project file -- \n$old_group = '" + "\\'" * n, "p.prj"),
    lambda n: ("# Athena project file -- \n@x =" + " " * n + "\n" + "$a" * n, "p.prj"),
    lambda n: ('{"_____header1": "# Athena project file -- ", "_____order": [' + '"a",' * (n // 4)
               + '"a"], "a": {"x": [1, 2], "y": [1, 2]}}', "p.prj"),
    lambda n: ("{" + '"# Athena project file -- ":' + "[" * n, "p.prj"),
    lambda n: ("#S 1 a\n" * (n // 7), "spec.dat"),
    lambda n: ("#S" + " " * n + "1\n1 2\n2 3\n", "spec.dat"),
], ids=range(10))
def test_long_inputs_take_linear_time(tmp_path, make):
    start = time.process_time()
    with suppress(InputError):
        read_scans([written(tmp_path, *make(400_000))], "mu")
    assert time.process_time() - start < 20
    assert split_unit("a" + " " * 10**6 + "b")[0] == "a b"


def test_numbers_of_many_digits(tmp_path):
    nines = "9" * 5000
    for text in (f"energy_eV,mu\n{nines},1\n2,3\n", f"energy_eV,mu\n1,{nines}\n2,3\n",
                 f"energy_eV,mu\n1,-{nines}e{nines}\n2,3\n"):
        with pytest.raises(InputError) as found:
            read_scans([written(tmp_path, text)])
        assert len(str(found.value)) < 1000
    long = written(tmp_path, f"# delay: {nines} ps\nenergy_eV,mu\n1,2\n2,3\n")
    assert energies(long)[0] == [1, 2]
    exact = written(tmp_path, f"energy_eV,mu\n1,0.{'3' * 5000}\n2,3\n")
    assert energies(exact)[1][0] == pytest.approx(1 / 3)


def test_streams_and_names_that_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    os.mkfifo(tmp_path / "pipe.h5")
    for path in (tmp_path / "pipe.csv", tmp_path / "pipe.h5", "/dev/zero", tmp_path, "a\0b.csv",
                 "a\0b.prj", "x" * 5000 + ".csv", "x" * 5000 + ".h5"):
        with pytest.raises(InputError, match=r"pipe or a device|cannot be read") as found:
            read_tables(path)
        assert len(str(found.value)) < 400


def test_tables_beyond_the_limits_are_refused(tmp_path, monkeypatch):
    with open(tmp_path / "large.csv", "wb") as file:
        file.truncate(text_module.MOST_BYTES + 1)
    with pytest.raises(InputError, match="more than the 64 that are read"):
        read_tables(tmp_path / "large.csv")
    monkeypatch.setattr(text_module, "MOST_ROWS", 10)
    with pytest.raises(InputError, match="more than 10 rows"):
        read_tables(written(tmp_path, "1 2\n" * 11))
