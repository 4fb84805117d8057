"""What a person sees in a terminal of 80 columns, and what a pipe gets."""

import argparse
import io
import json
import os
import pty
import subprocess
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import smoke
from conftest import POLARON, polaron

import perovskite_polaron
from perovskite_polaron.cli.main import VERBS, load, main
from perovskite_polaron.cli.tables import Table, print_lines
from perovskite_polaron.workflow.execute import Event
from perovskite_polaron.workflow.progress import Progress

DATA = Path(perovskite_polaron.__file__).parent / "data"
#: What tests/smoke.py alone runs: FEFF10's, and what prints the name of a folder.
_ELSEWHERE = ("run study.toml", "spectra study.toml", "converge", "export", "report", "gc",
              "doctor")
CASES = [case for case in smoke.CASES if not " ".join(case).startswith(_ELSEWHERE)]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("terminal")
    smoke.write_inputs(path)
    before = Path.cwd()
    os.chdir(path)
    yield path
    os.chdir(before)


def printed(*words: str) -> tuple[int, list[str]]:
    with redirect_stdout(Terminal()) as stream:
        status = main(words)
    return status, stream.getvalue().splitlines()


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("case", [
    *(pytest.param(c, marks=pytest.mark.feff) if "study.toml" in c else c for c in CASES),
    ("doctor",)], ids=lambda case: " ".join(case)[:40])
def test_no_line_is_wider_than_80_columns(case: tuple[str, ...], folder: Path,
                                          monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    status, lines = printed(*(word.replace("@", str(DATA)) for word in case))
    # The doctor's status is that of the machine.
    assert status == 0 or case[0] == "doctor"
    # A path is not cut: it stands alone on its line.
    assert not [line for line in lines if len(line) > 80 and len(line.split()) > 1]


def test_a_wide_table_narrows_then_folds_then_parts() -> None:
    rows = [("a", 1.0, "some words that say much more than one line of the table could hold"),
            ("b/" + 90 * "c", 2.0, "/" + 60 * "d")]
    lines = list(Table({"name": "40s", "a number": "40.1f", "remark": "40s"}, rows))
    assert lines == [
        "name              a number  remark",
        "a                      1.0  some words that say much more than one line of the",
        "                            table could hold",
        "b/" + 90 * "c",
        "                       2.0",
        "    /" + 60 * "d"]
    numbers = {f"quantity {i}": "12.3f" for i in range(20)}
    blocks = "\n".join(Table({"site": "8s", **numbers}, [("Br", *map(float, range(20)))]))
    first, *others = blocks.split("\n\n")
    assert others
    assert all(len(line) <= 80 for line in blocks.split("\n"))
    assert all(block.splitlines()[-1].startswith("Br") for block in (first, *others))
    values = [w for line in blocks.split("\n") if line.startswith("Br") for w in line.split()[1:]]
    assert values == [f"{i:.3f}" for i in range(20)]


def test_a_wide_terminal_is_used_and_a_pipe_gets_whole_sentences(
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    columns = {"site": "8s", **{f"number {i}": "12.3f" for i in range(8)}}
    monkeypatch.setenv("COLUMNS", "120")
    with redirect_stdout(Terminal()):
        assert len(list(Table(columns, [("Br", *map(float, range(8)))]))) == 2
    sentence = "word " * 40 + "end"
    print_lines([sentence])
    assert capsys.readouterr().out == sentence + "\n"
    with redirect_stdout(Terminal()) as stream:
        print_lines(["  " + sentence])
    folded = stream.getvalue().splitlines()
    assert all(len(line) <= 80 and line.startswith("  ") for line in folded)
    assert " ".join(" ".join(folded).split()) == sentence


class _Job:
    digest, kind, label, cost = "1", "hole", "a-very-long-structure-name-" * 4 + "Br9-4c", 1.0


def shown(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, term: str) -> str:
    monkeypatch.setenv("TERM", term)
    job = _Job()
    progress = Progress([job], {}, stream=stream)  # type: ignore[list-item]
    for what in ("started", "running", "finished"):
        progress(Event(what, job, "12 iterations", 3.0))  # type: ignore[arg-type]
    return stream.getvalue()


def test_live_lines_are_cut_and_only_where_a_terminal_can_take_them_back(
        monkeypatch: pytest.MonkeyPatch) -> None:
    on_terminal = shown(monkeypatch, Terminal(), "xterm")
    assert on_terminal.count("\r\x1b[K") == 2
    assert all(len(line) < 80 for line in on_terminal.replace("\n", "").split("\r\x1b[K"))
    for stream, term in ((Terminal(), "dumb"), (io.StringIO(), "xterm")):
        plain = shown(monkeypatch, stream, term)
        assert "\r" not in plain
        assert "\x1b" not in plain
        assert plain.count("\n") == 1
        assert _Job.label in plain


def test_nothing_is_coloured_in_a_pipe_or_with_no_color() -> None:
    for words in (["bonds", "cspbbr3-pbnm"], ["--help"], ["bonds", "missing.cif"]):
        done = subprocess.run([*POLARON, *words], capture_output=True, check=False)
        assert b"\x1b" not in done.stdout + done.stderr
        here, there = pty.openpty()
        try:
            subprocess.run([*POLARON, *words], stdout=there, stderr=there, check=False,
                           env=os.environ | {"NO_COLOR": "1", "TERM": "xterm"})
            assert b"\x1b" not in os.read(here, 100_000)
        finally:
            os.close(here)
            os.close(there)


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_has_json(verb: str) -> None:
    parser = argparse.ArgumentParser()
    load(verb).add_arguments(parser)
    assert "--json" in parser._option_string_actions


@pytest.mark.feff
def test_a_run_and_its_listing_print_one_object(folder: Path) -> None:
    listed = polaron("run", "study.toml", "--dry-run", "--json", cwd=folder)
    jobs = json.loads(listed.stdout)["jobs"]
    assert {job["state"] for job in jobs} == {"to do"}
    assert all(job["kind"] and job["label"] for job in jobs)


def test_the_version_says_what_a_report_of_a_mistake_needs(tmp_path: Path) -> None:
    start = time.monotonic()
    short = polaron("--version", cwd=tmp_path).stdout
    assert time.monotonic() - start < 3
    assert short.startswith(f"polaron {perovskite_polaron.__version__}")
    assert short.count("\n") == 1
    full = polaron("--version", "full", cwd=tmp_path).stdout
    assert full.startswith(short)
    for name in ("Python 3.", "numpy ", "scipy ", "spglib ", "pw.x", "feff10-rs", "Linux"):
        assert name in full, name
    none = polaron("--version", "full", cwd=tmp_path,
                   env=os.environ | {"POLARON_ESPRESSO_BIN": str(tmp_path)}).stdout
    assert f"pw.x was not found in {tmp_path}" in none


COMPLETE = """
. ./polaron.bash
COMP_WORDS=(polaron {words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
last="${{COMP_WORDS[$COMP_CWORD]}}"; before="${{COMP_WORDS[$((COMP_CWORD - 1))]}}"
$(complete -p polaron | sed 's/.*-F \\([^ ]*\\).*/\\1/') polaron "$last" "$before"
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def test_a_shell_completes_verbs_options_choices_and_files(tmp_path: Path) -> None:
    script = subprocess.run([*POLARON, "--completion", "bash"], capture_output=True, check=True)
    (tmp_path / "polaron.bash").write_bytes(script.stdout)
    (tmp_path / "transient.csv").write_text("")

    def completed(words: str) -> list[str]:
        return subprocess.run(["bash", "-c", COMPLETE.format(words=words)], cwd=tmp_path,
                              capture_output=True, text=True, check=True).stdout.split()

    assert completed("ki") == ["kinetics"]
    assert completed("kinetics --comp") == ["--components"]
    assert completed("match --law ''") == ["constant", "linear", "arctangent"]
    assert completed("compare tr") == ["transient.csv"]
    assert "kinetics" in polaron("--completion", "zsh", cwd=tmp_path).stdout
