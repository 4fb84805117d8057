"""What the README and the help texts show is what works."""

import sys
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
from blocks import commands, read_blocks, run_python, run_shell
from conftest import polaron, two_at_a_time

from perovskite_polaron.cli.main import VERBS, main

ROOT = Path(__file__).parent.parent
README = read_blocks(ROOT / "README.md")
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda p: p.name)
def test_example_scripts_run_and_stand_in_the_readme(script: Path, tmp_path: Path) -> None:
    assert script.read_text() in [b.text for b in README if b.language == "python"]
    assert run_python(script.read_text(), tmp_path)


def shell_lines() -> list[str]:
    blocks = [block for block in README if block.language == "sh"]
    lines = [command for block in blocks for command, _ in commands(block)]
    # The full study takes most of an hour; its dry run is here, the small real ones are in
    # test_run.py.
    slow = ("polaron run examples/cspbbr3.toml", "polaron spectra examples/cspbbr3.toml")
    return [line for line in lines if line.startswith("polaron ") and line not in slow]


def run_line(command: str, folder: Path) -> None:
    (folder / "examples").symlink_to(ROOT / "examples")
    (folder / "perovskite_polaron").symlink_to(ROOT / "perovskite_polaron")
    run_shell(command, folder)


@pytest.fixture(scope="module")
def begun(request: pytest.FixtureRequest,
          tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[None]]]:
    """The commands that were asked for, two at a time: most use one core."""
    lines = [item.callspec.params["command"] for item in request.session.items
             if getattr(item, "function", None) is test_commands_of_the_readme_work]
    with two_at_a_time() as pool:
        yield {line: pool.submit(run_line, line, tmp_path_factory.mktemp("line"))
               for line in lines}


@pytest.mark.espresso
@pytest.mark.parametrize("command", shell_lines())
def test_commands_of_the_readme_work(command: str, begun: dict[str, Future[None]]) -> None:
    begun[command].result()


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_with_an_example(
        verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([verb, "--help"])
    assert stopped.value.code == 0
    assert f"example:\n  polaron {verb}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "code", ["import perovskite_polaron", "from perovskite_polaron.cli.main import main; main([])"])
def test_help_and_import_load_nothing_slow(code: str, tmp_path: Path) -> None:
    # What makes a command start slowly is what it imports: that can be counted on a busy machine.
    shown = run_python(f"{code}\nimport sys\nprint('loaded:', *sys.modules)", tmp_path)
    loaded = shown.partition("loaded:")[2].split()
    outside = {name.split(".")[0] for name in loaded} - set(sys.stdlib_module_names)
    # Files that an installation runs at every start of Python are nobody's import.
    own = {name for name in outside if not name.startswith(("_", "sitecustomize", "usercustomize"))}
    assert own == {"perovskite_polaron"}
    mine = {name for name in loaded if name.startswith("perovskite_polaron.")}
    assert mine <= {f"perovskite_polaron.{m}" for m in ("cli", "cli.main", "errors")}


@pytest.mark.parametrize("words", [
    ("run", "missing.toml"), ("spectra", "missing"), ("bonds", "missing.cif"),
    ("lanczos", "missing.sav", "--emin", "-1eV", "--emax", "5eV", "--points", "5", "--hwhm", "1eV",
     "--out", "x.dat")])
def test_an_unknown_file_is_one_line_and_status_two(
        words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("polaron: ")
    assert not list(tmp_path.iterdir())


def test_a_process_that_fails_shows_no_traceback_and_ends_with_its_status(tmp_path: Path) -> None:
    done = polaron("bonds", "missing.cif", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("polaron: ")
    assert len(done.stderr.splitlines()) == 1
