"""The manual: what its pages show works, and it builds without a warning.

A page without notes is run in order in a folder of its own. Where blocks need Quantum ESPRESSO or
an extra, the page is run twice: without those blocks, and whole, under the marks that they name.
tests/blocks.py explains the notes.
"""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from blocks import Block, commands, read_blocks, run_python, run_shell
from conftest import environment, two_at_a_time

from perovskite_polaron.cli.main import VERBS, build_parser, main
from perovskite_polaron.errors import InputError
from perovskite_polaron.espresso.pseudo import load_recipe
from perovskite_polaron.workflow.executors import read_executor
from perovskite_polaron.workflow.forces import read_force_settings
from perovskite_polaron.workflow.pdos import read_pdos_settings
from perovskite_polaron.workflow.study import read_study

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(p for p in DOCS.rglob("*.md")
               if any(not b.language.startswith("{") for b in read_blocks(p)))
# What a file on a page must pass when it is read, besides the commands that use it.
CHECKS: dict[str, Callable[[Path], object]] = {
    "study": read_study, "executor": read_executor, "settings": read_force_settings,
    "pdos-settings": read_pdos_settings, "recipe": lambda path: [load_recipe(element, str(path))
                            for element in tomllib.loads(path.read_text())],
}


def parsed(command: str) -> None:
    """Accept a command by its parser, or a target of the Makefile, without running it."""
    words = shlex.split(command, comments=True)
    if words[0] == "polaron":
        verb = next(w for w in words if w in VERBS)
        build_parser(verb).parse_args(words[1:])
    elif words[0] == "make":
        assert f"\n{words[1]}:" in (ROOT / "Makefile").read_text(), command
    else:
        assert words in ([".", ".venv/bin/activate"], ["pip", "install", words[-1]]), command


def prepared(folder: Path) -> Path:
    """Return a folder as a reader has it: the page's files, the parts of the repository."""
    for file in (DOCS / "files").iterdir():
        shutil.copy(file, folder)
    for name in ("examples", "perovskite_polaron", "tests"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def run_block(block: Block, folder: Path) -> None:
    """Run one block, or keep and check the file that it is."""
    check = block.notes.get("check")
    if block.language in ("console", "sh"):
        for command, shown in commands(block):
            parsed(command) if check == "parser" else run_shell(command, folder, shown)
    elif block.language == "python":
        run_python(block.text, folder)
    elif "file" in block.notes:
        path = folder / block.notes["file"]
        path.write_text(block.text, encoding="utf-8")
        if check:
            CHECKS[check](path)
    else:
        what = f"{block.where}: a {block.language!r} block that nothing runs or checks"
        assert block.language.startswith("{"), what


def pages() -> list[object]:
    found: list[object] = []
    for page in PAGES:
        name = str(page.relative_to(DOCS))
        needs = sorted({mark for block in read_blocks(page) for mark in block.needs})
        found.append(pytest.param(page, [], id=name))
        if needs:
            marks = [getattr(pytest.mark, mark) for mark in needs]
            found.append(pytest.param(page, needs, id=f"{name}, whole", marks=marks))
    return found


def show(page: Path, present: list[str], folder: Path) -> None:
    """Run the blocks of a page that can be run."""
    if "mlip" in present:
        pytest.importorskip("sevenn")
    prepared(folder)
    for block in read_blocks(page):
        if set(block.needs) <= set(present):
            run_block(block, folder)


def build(folder: Path) -> Path:
    """Build the manual, with warnings as errors, and return its folder."""
    pytest.importorskip("sphinx")
    built = subprocess.run([sys.executable, "-m", "sphinx", "-E", "-W", "--keep-going", "-q", "-b",
                            "html", str(DOCS), str(folder)], env=environment(),
                           capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return folder


@pytest.fixture(scope="module")
def begun(request: pytest.FixtureRequest,
          tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Any]]]:
    """What the tests that were asked for need, two at a time: most commands use one core."""
    work: dict[str, tuple[Any, ...]] = {}
    for item in request.session.items:
        test = getattr(item, "function", None)
        if test is test_the_manual_builds_without_a_warning_and_its_links_lead_somewhere:
            work[item.name] = (build,)
        elif test is test_what_a_page_shows_works:
            work[item.name] = (show, *item.callspec.params.values())
    with two_at_a_time() as pool:
        yield {name: pool.submit(*words, tmp_path_factory.mktemp("page"))
               for name, words in work.items()}


@pytest.mark.parametrize(("page", "present"), pages())
def test_what_a_page_shows_works(page: Path, present: list[str], begun: dict[str, Future[Any]],
                                 request: pytest.FixtureRequest) -> None:
    begun[request.node.name].result()


@pytest.mark.parametrize("verb", VERBS)
def test_the_examples_of_the_command_reference_are_accepted(
        verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for block in (b for page in PAGES for b in read_blocks(page) if "file" in b.notes):
        Path(block.notes["file"]).write_text(block.text, encoding="utf-8")
    if verb == "treat":  # whose example is done again as for another file
        Path("scan.csv").write_text("energy (eV),mu,error\n13471,2,1\n13472,3,1\n13473,5,1\n")
        assert main(["treat", "scan.csv", "--edge", "Br-K", "--out", "br_100ps.xdi"]) == 0
    verbs = build_parser(verb)._subparsers
    example = verbs._group_actions[0].choices[verb].epilog  # type: ignore[union-attr]
    lines = re.sub(r"\n +--", " --", str(example)).splitlines()[1:]
    mine = [line.strip() for line in lines if line.strip().startswith("polaron ")]
    assert mine
    for line in mine:
        parsed(line)


def test_the_manual_builds_without_a_warning_and_its_links_lead_somewhere(
        begun: dict[str, Future[Any]], request: pytest.FixtureRequest) -> None:
    manual = begun[request.node.name].result()
    checked = subprocess.run([sys.executable, str(ROOT / "tools" / "check_links.py"), str(manual)],
                             capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout
    reference = (manual / "commands.html").read_text()
    for verb in VERBS:
        assert f'id="polaron-{verb}"' in reference
    assert "--min-image" not in reference
    assert "--max-displacement" in reference


def test_files_that_pages_name_exist() -> None:
    missing = []
    folders = "tests|docs|examples|benchmarks|tools|perovskite_polaron"
    for page in DOCS.rglob("*.md"):
        for name in re.findall(rf"`((?:{folders})/[\w./-]+)`", page.read_text()):
            if not (ROOT / name).exists() and "results" not in name:
                missing.append(f"{page.name}: {name}")
    assert not missing


def test_a_block_that_fails_is_a_failure_of_the_test(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    for text in (
        "```console\n$ polaron bonds nothing.cif\n```\n",
        "```console\n$ echo one\ntwo\n```\n",
        "```python\nassert 1 == 2\n```\n",
        "```toml\na = 1\n```\n",
        '<!-- file: s.toml -->\n<!-- check: study -->\n```toml\nelemental = "Br"\n```\n',
        "<!-- check: parser -->\n```sh\nmake nonsense\n```\n",
    ):
        page.write_text(text)
        (block,) = read_blocks(page)
        with pytest.raises((AssertionError, InputError)):
            run_block(block, tmp_path)


def test_no_paragraph_is_long() -> None:
    pages = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs"]
    checked = subprocess.run([sys.executable, "tools/check_prose.py", *pages], cwd=ROOT,
                             capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout
