"""Starting and watching programs: what a failure is taken for, and which BLAS is slow."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import polaron, write_tiny_study

from perovskite_polaron.errors import ComputationError, InterruptedRunError
from perovskite_polaron.espresso.program import program_version
from perovskite_polaron.programs import environment, run_program
from perovskite_polaron.workflow.attempt import attempt
from perovskite_polaron.workflow.jobs import plan
from perovskite_polaron.workflow.store import Store
from perovskite_polaron.workflow.study import read_study

pytestmark = pytest.mark.espresso


@pytest.mark.parametrize(("folder", "slow"), [("blas", True), ("openblas-serial", False)])
def test_the_doctor_sees_the_slow_blas(folder: str, slow: bool, tmp_path: Path) -> None:
    # Debian tells the two apart by their folders alone, so that any BLAS will do here.
    given = next(Path("/usr/lib").glob("*/libblas.so.3"), None)
    if given is None:
        pytest.skip("the BLAS is not where Debian has it")
    (tmp_path / folder).mkdir()
    shutil.copy(given, tmp_path / folder / "libblas.so.3")
    there = polaron("doctor", "--json", cwd=tmp_path,
                    env=os.environ | {"LD_LIBRARY_PATH": str(tmp_path / folder)})
    found = json.loads(there.stdout)["components"].get("BLAS of pw.x", {"version": None})
    assert found["version"] == ("reference" if slow else None)


@pytest.mark.parametrize(("said", "kind"), [
    ("mpirun noticed that rank 0 exited on signal 9 (Killed).", InterruptedRunError),
    ("  orte_session_dir failed\n  --> Returned value Error (-1)", InterruptedRunError),
    ("%%%\n Error in routine readpp (1):\n wrong file\n%%%", ComputationError)])
def test_what_ends_a_program_from_outside_is_tried_again(
    tmp_path: Path, said: str, kind: type[Exception]) -> None:
    program, deck = tmp_path / "pw.x", tmp_path / "pw.in"
    program.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{said}\nEND\nexit 1\n")
    program.chmod(0o755)
    deck.write_text("&control\n/\n")
    with pytest.raises(kind) as raised:
        run_program([str(program)], deck, tmp_path / "pw.out")
    assert type(raised.value) is kind


def test_programs_keep_their_memory_unless_the_user_says_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Arrays of 48 MB: without the setting each is mapped, zeroed and unmapped again.
    program, faults = tmp_path / "arrays", {}
    (tmp_path / "arrays.c").write_text(
        "#include <stdlib.h>\n#include <string.h>\n#include <stdio.h>\n"
        "#include <sys/resource.h>\n"
        "int main(void) { struct rusage u; volatile char *p;\n"
        "for (int k = 0; k < 20; k++) { p = malloc(48 << 20); memset((char *)p, k, 48 << 20);"
        " free((char *)p); }\n"
        'getrusage(RUSAGE_SELF, &u); printf("%ld\\n", u.ru_minflt); return 0; }\n')
    subprocess.run(["cc", "-O0", "-o", str(program), str(tmp_path / "arrays.c")], check=True)
    for given in (None, "glibc.malloc.hugetlb=0"):
        if given is None:
            monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
        else:
            monkeypatch.setenv("GLIBC_TUNABLES", given)
            assert environment()["GLIBC_TUNABLES"] == given
        done = subprocess.run([str(program)], env=environment(), capture_output=True, text=True,
                              check=True)
        faults[given] = int(done.stdout)
    assert faults[None] < faults["glibc.malloc.hugetlb=0"] / 5


def test_a_program_ended_while_asked_for_its_version_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "xspectra.x"
    program.write_text("#!/bin/sh\nkill -TERM $$\n")
    program.chmod(0o755)
    monkeypatch.setenv("POLARON_ESPRESSO_BIN", str(tmp_path))
    program_version.cache_clear()
    with pytest.raises(InterruptedRunError, match="signal 15 before it told its version"):
        program_version("xspectra.x")
    # What answered once is not held against the program.
    monkeypatch.delenv("POLARON_ESPRESSO_BIN")
    assert program_version("xspectra.x")[0].isdigit()


@pytest.mark.parametrize(("fails", "expected"), [(2, "9.9"), (9, "")])
def test_a_version_is_asked_for_again_and_never_made_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: int, expected: str) -> None:
    # As an MPI program whose start fails beside others.
    program = tmp_path / "pw.x"
    program.write_text(f"""#!/bin/sh
echo x >> {tmp_path}/asked
[ $(wc -l < {tmp_path}/asked) -gt {fails} ] || {{ echo "PMIX ERROR" >&2; exit 1; }}
echo "     Program PWSCF v.9.9 starts on 1Jan2026"
""")
    program.chmod(0o755)
    monkeypatch.setenv("POLARON_ESPRESSO_BIN", str(tmp_path))
    program_version.cache_clear()
    if expected:
        assert program_version("pw.x") == expected
    else:
        with pytest.raises(ComputationError, match=r"pw.x tells no version \(exit status 1: PMIX"):
            program_version("pw.x")
    program_version.cache_clear()


def test_a_disk_that_fails_in_a_job_is_told_in_one_line(tmp_path: Path) -> None:
    study = read_study(write_tiny_study(tmp_path))
    job, store = plan(study)[0].ground, Store(study.store_folder)
    # A folder where the output should go: opening or removing it fails as on a disk that has become
    # read-only.
    (store.folder(job) / "pw.out").mkdir(parents=True)
    complaint = r"^cubic: .*pw\.out\); free the disk or correct its rights, and run again$"
    with pytest.raises(ComputationError, match=complaint):
        attempt(job, [], store, 1)
