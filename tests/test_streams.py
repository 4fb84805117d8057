"""What surrounds a command: streams that are closed, full or of another encoding, files that do not
end, names and numbers beyond all limits. Each is one line, and none is a traceback.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import write_tiny_study

from perovskite_polaron.cli.main import main
from perovskite_polaron.errors import InputError
from perovskite_polaron.espresso.program import namelist
from perovskite_polaron.espresso.pw import PwSettings
from perovskite_polaron.files import open_npz, read_text, read_toml, write_atomically
from perovskite_polaron.workflow.structures import study_structures
from perovskite_polaron.workflow.study import read_study


def shell(line: str, **environment: str) -> "subprocess.CompletedProcess[bytes]":
    """Run a line in which ``polaron`` is the command, as a user's shell does."""
    line = line.replace("polaron ", f"{sys.executable} -m perovskite_polaron.cli.main ")
    return subprocess.run(["bash", "-c", line], capture_output=True, check=False,
                          env=os.environ | environment)


@pytest.mark.parametrize(("line", "status", "said"), [
    ("polaron bonds cspbbr3-pm3m >&-", 1, b"polaron: standard output: Bad file descriptor"),
    ("polaron bonds cspbbr3-pm3m >/dev/full", 1, b"polaron: standard output: No space left"),
    ("polaron --version >/dev/full", 1, b"polaron: standard output: No space left"),
    ("polaron bonds no.cif >&- 2>&-", 2, b""), ("polaron bonds no.cif 2>/dev/full", 2, b""),
    ("polaron bonds cspbbr3-pm3m <&- >/dev/null 2>&-", 0, b""),
    ("polaron run --help | head -1 >/dev/null; exit ${PIPESTATUS[0]}", 0, b""),
    ("polaron bonds cspbbr3-pm3m | true; exit ${PIPESTATUS[0]}", 0, b""),
    ("polaron status /dev/zero", 2, b"/dev/zero is a device, which need not end"),
    ("polaron status $'a\\xff.toml'", 2, b"a\\udcff.toml does not exist"),
    (f"polaron status {'a' * 5000}.toml", 2, b"cannot be read: File name too long"),
    (f"polaron distort {'a' * 5000} --mode lo-c --max-displacement 1A --out x", 2,
     b"File name too long")])
def test_every_end_is_one_line(line: str, status: int, said: bytes) -> None:
    done = shell(line)
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr
    assert done.returncode == status, done.stderr
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == bool(said)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_a_terminal_that_knows_few_characters_gets_the_others_spelled(encoding: str) -> None:
    done = shell("polaron structure cspbbr3-pbnm; polaron modes --help", PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode(encoding).strip()


def test_the_work_goes_on_when_nobody_reads_the_progress() -> None:
    code = ("import sys; from perovskite_polaron.cli.main import _ready_streams;"
            "_ready_streams(); [print('x' * 99, file=sys.stderr) for _ in range(9999)];"
            "print('done')")
    done = subprocess.run(["bash", "-c", f'{sys.executable} -c "{code}" 2> >(true)'],
                          capture_output=True, text=True, check=False)
    assert done.stdout == "done\n"


@pytest.mark.parametrize(("text", "why"), [
    ("n = " + "9" * 5000, "4300 digits"), ("n = 0x" + "f" * 40, "more than 64 bits"),
    ("n = " + "[" * 5000, "not valid TOML"), ("[" + "a." * 400 + "a]\n", "nested too deeply"),
    ("a = " + "{ a = " * 40 + "1" + " }" * 40, "nested too deeply"),
    ('a = "\\u0000"', "holds a NUL"), ('["\\u0000"]\n', "holds a NUL")])
def test_toml_beyond_all_settings_is_refused(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "s.toml").write_text(text)
    with pytest.raises(InputError, match=why) as raised:
        read_toml(tmp_path / "s.toml", "study")
    assert "\n" not in str(raised.value)


def test_names_no_disk_can_have_are_refused() -> None:
    for name in ("a\0b", "a" * 5000):
        with pytest.raises(InputError, match="cannot be read"):
            read_text(name, "file")


def test_a_name_that_is_no_text_can_be_written_into_one(tmp_path: Path) -> None:
    written = write_atomically(tmp_path / "x", f"of {os.fsdecode(b'a' + bytes([255]))}")
    assert written.read_text() == "of a\\udcff"


@pytest.mark.parametrize("value", ["points = 1e10", "points = 10000000000", "energy_max_eV = 1e300",
                                   "points = " + "9" * 400])
def test_numbers_out_of_all_bounds_are_refused(tmp_path: Path, value: str,
                                               capsys: pytest.CaptureFixture[str]) -> None:
    path = write_tiny_study(tmp_path)
    path.write_text(path.read_text() + f"\n[spectra]\n{value}\n")
    assert main(["status", str(path)]) == 2
    said = capsys.readouterr().err
    assert len(said) < 300
    assert value.split()[0] in said or "64 bits" in said


def test_too_many_points_and_atoms_are_refused(tmp_path: Path,
                                               capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--emin", "0eV", "--emax", "9eV", "--hwhm", "1eV", "--out", "x"]
    assert main(["lanczos", "x.sav", *words, "--points", "10000000000"]) == 2
    assert "at most 1000000" in capsys.readouterr().err
    path = write_tiny_study(tmp_path)
    path.write_text(path.read_text().replace('"cspbbr3-pm3m"\n',
                                             '"cspbbr3-pm3m"\nsupercell = [20, 20, 20]\n', 1))
    with pytest.raises(InputError, match="has 40000 atoms, more than 2000"):
        study_structures(read_study(path))


@pytest.mark.parametrize("key", ["nbnd = 3\n/", "a b", "", "1a", "x!", "x" * 80, "é", "a=1, b"])
def test_what_is_no_key_of_a_namelist_is_refused(key: str) -> None:
    with pytest.raises(InputError, match="no key of a Fortran namelist"):
        namelist("system", {key: 1})
    assert namelist("a", {"ns(1,2)": 1, "x": "a"}) == "&a\n  ns(1,2) = 1\n  x = 'a'\n/"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "a'b", "a\nb", "a\0b", [1], {}])
def test_what_is_no_value_of_a_namelist_is_refused(value: object) -> None:
    with pytest.raises(InputError, match="cannot stand in a Fortran namelist"):
        namelist("system", {"a": value})


@pytest.mark.parametrize(("table", "key"), [
    ("system", "ecutwfc"), ("system", "Tot_Charge"), ("system", "ibrav"), ("electrons", "CONV_THR"),
    ("electrons", "startingpot")])
def test_a_key_that_a_setting_writes_is_not_written_twice(table: str, key: str) -> None:
    with pytest.raises(InputError, match=f"pw.{table}.{key} is written from the other settings"):
        PwSettings(**{table: {key: 1}}).given()  # type: ignore[arg-type]


def test_a_damaged_npz_is_never_unpacked(tmp_path: Path) -> None:
    import numpy as np

    path = tmp_path / "x.npz"
    np.savez_compressed(path, a=np.arange(50), meta=np.frombuffer(b"{}", np.uint8))
    whole = path.read_bytes()
    for at in range(len(whole)):
        for bit in (0, 3, 7):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << bit)]) + whole[at + 1 :])
            try:
                with open_npz(path, "numbers") as arrays:
                    values = arrays["a"]
            except InputError:
                continue
            np.testing.assert_array_equal(values, np.arange(50))
