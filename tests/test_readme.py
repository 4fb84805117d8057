"""What the README and the help texts show is what works."""

import time
from pathlib import Path

import pytest
from blocks import commands, read_blocks, run_python, run_shell
from conftest import polaron

from perovskite_polaron.cli.main import VERBS

ROOT = Path(__file__).parent.parent
README = read_blocks(ROOT / "README.md")
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda p: p.name)
def test_example_scripts_run_and_stand_in_the_readme(script: Path, tmp_path: Path) -> None:
    assert script.read_text() in [b.text for b in README if b.language == "python"]
    assert run_python(script.read_text(), tmp_path)


def shell_lines() -> list[str]:
    lines = [command for block in README if block.language == "sh" for command, _ in commands(block)]
    # The full study takes most of an hour; its dry run is here, the small real ones are in test_run.py.
    slow = ("polaron run examples/cspbbr3.toml", "polaron spectra examples/cspbbr3.toml")
    return [line for line in lines if line.startswith("polaron ") and line not in slow]


@pytest.mark.espresso
@pytest.mark.parametrize("command", shell_lines())
def test_commands_of_the_readme_work(command: str, tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "perovskite_polaron").symlink_to(ROOT / "perovskite_polaron")
    run_shell(command, tmp_path)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_with_an_example(verb: str, tmp_path: Path) -> None:
    done = polaron(verb, "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"example:\n  polaron {verb}" in done.stdout


def test_help_is_instant(tmp_path: Path) -> None:
    fastest = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        polaron("--help", cwd=tmp_path)
        fastest = min(fastest, time.perf_counter() - start)
    assert fastest < 0.3


def test_an_unknown_verb_or_file_is_one_line_and_status_two(tmp_path: Path) -> None:
    for words in (("run", "missing.toml"), ("spectra", "missing"), ("lanczos", "missing.sav"), ("bonds", "missing.cif")):
        extra = ("--emin", "-1eV", "--emax", "5eV", "--points", "5", "--hwhm", "1eV", "--out", "x.dat") if words[0] == "lanczos" else ()
        done = polaron(*words, *extra, cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr.startswith("polaron: ")
        assert len(done.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())
