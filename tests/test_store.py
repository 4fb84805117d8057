"""The store is not trusted blindly: what was changed, lost or damaged in it is found, told in one
line and computed again, and looking at it changes nothing.
"""

import errno
import fcntl
import json
import os
import random
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import flips
import pytest
from conftest import polaron, write_tiny_study

from perovskite_polaron.cli.main import main
from perovskite_polaron.errors import ComputationError, DamagedError, InputError
from perovskite_polaron.espresso.program import program_version
from perovskite_polaron.espresso.pseudo import cache_folder, make_pseudo
from perovskite_polaron.files import SEAL, read_sealed, write_sealed
from perovskite_polaron.programs import PLAIN
from perovskite_polaron.workflow.attempt import attempt
from perovskite_polaron.workflow.execute import run_jobs
from perovskite_polaron.workflow.jobs import Job, plan, study_jobs
from perovskite_polaron.workflow.prepare import record_study
from perovskite_polaron.workflow.records import recorded_inputs
from perovskite_polaron.workflow.results import collect, read_results
from perovskite_polaron.workflow.scenarios import BUILT_IN
from perovskite_polaron.workflow.store import Store, find_garbage, needed_densities
from perovskite_polaron.workflow.study import read_study

espresso = pytest.mark.espresso


@pytest.fixture(scope="module")
def looked_at(tiny_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The small study, whole, with projections, what travels, and a cache of its own."""
    folder, before = tmp_path_factory.mktemp("looked-at"), os.environ["POLARON_CACHE"]
    shutil.copy(tiny_study, folder)
    shutil.copytree(tiny_study.parent / flips.STORE, folder / flips.STORE)
    # Other tests have other studies in this store.
    own = {job.digest[:12] for job in study_jobs(plan(read_study(folder / tiny_study.name)))}
    for job in (folder / flips.STORE / "jobs").iterdir():
        if job.name.rpartition("-")[2] not in own:
            shutil.rmtree(job)
    for other in (folder / flips.STORE).glob("plan-*.json"):
        if other.stem != f"plan-{tiny_study.stem}":
            other.unlink()
    flips.prepare(folder / tiny_study.name)
    yield folder / tiny_study.name
    os.environ["POLARON_CACHE"] = before


@pytest.fixture
def played(player: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small study, run with the programs that play the recording."""
    monkeypatch.setenv("POLARON_ESPRESSO_BIN", str(player))
    program_version.cache_clear()
    path = write_tiny_study(tmp_path)
    assert main(["run", str(path), "--ranks", "1"]) == 0
    return path


def parts(path: Path) -> tuple[list[Job], Store]:
    study = read_study(path)
    return study_jobs(plan(study)), Store(study.store_folder)


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    found = ((path, path.lstat()) for path in folder.rglob("*"))
    return {str(path): (one.st_mtime_ns, one.st_size) for path, one in found}


@espresso
def test_no_changed_byte_changes_a_number_in_silence(looked_at: Path) -> None:
    table, wrong = flips.try_flips(looked_at, 500, seed=2026)
    assert wrong == []
    for kind in ("chain", "pseudopotential", "chains.npz", "projections", "set in the cache"):
        assert table[kind]["harmless"] == 0, kind
    assert table["record of pw.x"]["detected"] > 20


@espresso
@pytest.mark.parametrize("sealed", [True, False], ids=["new", "before checksums"])
def test_damaged_json_is_told_in_one_line(looked_at: Path, tmp_path: Path, sealed: bool) -> None:
    """Cut, of another type, nested a thousand times, with keys missing: with and without the
    checksum that a store of an earlier version does not have.
    """
    shutil.copytree(looked_at.parent, tmp_path / "s")
    study = tmp_path / "s" / looked_at.name
    looks = flips.Looks(study)
    more = {"results.json": ["travelled"], "inputs.json": ["plan_without_programs"]}
    truth = {name: getattr(looks, name)()
             for name in (*flips.ALWAYS, "travelled", "plan_without_programs")}
    rng, wrong = random.Random(7), []
    files = [*study.parent.glob(f"{flips.STORE}/*.json"), study.parent / "out" / "results.json",
             *(next(study.parent.glob(f"{flips.STORE}/jobs/{kind}-*/result.json"))
               for kind in ("ground", "hole", "xas", "bands", "pdos"))]
    for path in files:
        whole = path.read_text()
        record = json.loads(whole)
        if not sealed:
            del record[SEAL]
        wrecks = ["", "{", whole[: len(whole) // 2], "null", "[]", "3", '"x"', "{}", "[" * 100_000,
                  '{"a":' * 100_000, "9" * 5000, '{"digest": ' + "9" * 5000 + "}", "\0", "\xff"]
        for key in record:
            for value in (None, [], {}, "abc", 1e400, [[]], {"a": []}):
                wrecks.append(json.dumps({**record, key: value}))
            wrecks.append(json.dumps({k: v for k, v in record.items() if k != key}))
        for text in rng.sample(wrecks, min(len(wrecks), 20)):
            path.write_text(text)
            for name in (*flips.ALWAYS, *more.get(path.name, ())):
                answer = flips.judge(getattr(looks, name), truth[name])
                # Without a checksum a wrong number is not seen; a wrong type is.
                if answer not in ("same", "less", "refused") and (
                        sealed or answer != "another answer, in silence"):
                    wrong.append(f"{path.name}, {name}, {text[:60]!r}: {answer}")
        path.write_text(whole)
    assert wrong == []


@espresso
def test_results_of_an_earlier_version_are_used_with_a_warning(looked_at: Path,
                                                               tmp_path: Path) -> None:
    shutil.copytree(looked_at.parent, tmp_path / "s")
    study = tmp_path / "s" / looked_at.name
    truth = flips.Looks(study).spectra()
    for path in study.parent.rglob("*.json"):
        record = json.loads(path.read_text())
        for key in (SEAL, "files_sha256", "density_sha256"):
            record.pop(key, None)
        path.write_text(json.dumps(record))
    with pytest.warns(UserWarning, match="earlier version, without a checksum"):
        assert flips.Looks(study).spectra() == truth
    with pytest.warns(UserWarning, match="earlier version, without a checksum"):
        assert flips.Looks(study).travelled() == truth
    before = snapshot(study.parent)
    done = polaron("status", study.name, "--json", cwd=study.parent)
    assert json.loads(done.stdout)["done"] == 14
    assert done.stderr.count("without a checksum") == 1
    assert snapshot(study.parent) == before, "reading does not seal what it cannot vouch for"


def test_the_results_in_the_package_are_sealed(recwarn: pytest.WarningsRecorder) -> None:
    assert len(read_results(BUILT_IN).structures) > 3
    assert not [w for w in recwarn if "checksum" in str(w.message)]


@espresso
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("how", ["lost", "cut", "of another job", "a wrong energy", "wrong digest"])
def test_what_is_not_sound_is_told_and_computed_again(
        played: Path, how: str, capsys: pytest.CaptureFixture[str]) -> None:
    jobs, store = parts(played)
    first, second = [job for job in jobs if job.kind == "xas"][:2]
    folder, truth = store.folder(first), store.result(first)
    chain, result = folder / "chain.sav", folder / "result.json"
    whole = chain.read_bytes()
    if how == "lost":
        chain.unlink()
    elif how == "cut":
        chain.write_bytes(whole[:-500])
    elif how == "of another job":
        shutil.copy(store.folder(second) / "chain.sav", chain)
    elif how == "wrong digest":
        write_sealed(result, read_sealed(result, "") | {"digest": second.digest})
    else:
        result.write_text(result.read_text().replace('"fermi_eV": 2', '"fermi_eV": 12'))
    capsys.readouterr()
    assert main(["status", str(played), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["done"] == len(jobs) - 1
    study = read_study(played)
    structures, fresh = plan(study), Store(study.store_folder)
    with pytest.warns(UserWarning, match=f"polaron run computes {first.label} again"):
        assert fresh.result(first) is None
    with pytest.raises(ComputationError, match="1 of 14 jobs have no result yet"):
        collect(study, structures, fresh)
    assert main(["run", str(played), "--ranks", "1"]) == 0
    assert "12 done" not in capsys.readouterr().err
    again = Store(store.root).result(first)
    assert again is not None
    assert truth is not None
    assert chain.read_bytes() == whole
    assert {k: v for k, v in again.items() if "_eV" in k or k == "digest"} == {
        k: v for k, v in truth.items() if "_eV" in k or k == "digest"}


@espresso
def test_a_changed_pseudopotential_is_never_used(played: Path) -> None:
    jobs, store = parts(played)
    job = next(one for one in jobs if one.kind == "hole")
    kept = next(store.pseudo_root.glob("Pb-*.UPF"))
    text = kept.read_text()
    at = text.index("<PP_LOCAL") + 200
    digit = next(k for k in range(at, at + 100) if text[k].isdigit())
    kept.chmod(0o644)
    kept.write_text(text[:digit] + str((int(text[digit]) + 1) % 10) + text[digit + 1 :])
    with pytest.raises(DamagedError, match=r"Pb-\w+\.UPF was changed on the disk .*delete it"):
        Store(store.root).prepare(job)
    kept.unlink()
    Store(store.root).prepare(job)
    assert kept.read_text() == text


@espresso
def test_a_changed_core_orbital_is_written_again(played: Path) -> None:
    jobs, store = parts(played)
    job = next(one for one in jobs if one.kind == "xas")
    used = store.folder(job) / "core.wfc"
    text = used.read_bytes()
    used.chmod(0o644)
    used.write_bytes(text.replace(b"1", b"2", 1))
    assert (Store(store.root).prepare(job) / "core.wfc").read_bytes() == text


@espresso
def test_a_changed_set_in_the_cache_is_refused(tmp_path: Path,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLARON_CACHE", str(tmp_path))
    made = make_pseudo("Cl")
    text, digest = made.path.read_text(), made.path.with_suffix(".sha256")
    changed = text.replace("<PP_LOCAL", "<PP_LOCAL ", 1)
    made.path.write_text(changed)
    with pytest.raises(DamagedError, match="delete it"):
        make_pseudo("Cl")
    digest.unlink()  # as an earlier version left it: made again and compared
    with pytest.raises(DamagedError, match="delete it"):
        make_pseudo("Cl")
    made.path.write_text(text)
    digest.unlink(missing_ok=True)
    assert make_pseudo("Cl").digest == made.digest == digest.read_text()


@espresso
def test_a_changed_density_is_not_worked_on(player: Path, tmp_path: Path,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLARON_ESPRESSO_BIN", str(player))
    program_version.cache_clear()
    jobs, store = parts(write_tiny_study(tmp_path))
    hole = next(job for job in jobs if job.kind == "hole")
    child = next(job for job in jobs if job.parent is hole)
    attempt(hole, [child], store, 1)
    density = store.folder(hole) / "outdir" / "polaron.save" / "charge-density.dat"
    text = density.read_text()
    density.write_text(text + "x")
    with pytest.raises(ComputationError, match=r"was changed since .* wrote it: delete"):
        attempt(child, [], store, 1)
    density.write_text(text)
    assert attempt(child, [], store, 1).what == "finished"


@espresso
@pytest.mark.parametrize("left", ["half", "changed"])
def test_a_density_whose_second_run_was_killed_is_made_again(
        player: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str) -> None:
    """As after Ctrl-C in a study that got further spectra of a core hole that had been done."""
    monkeypatch.setenv("POLARON_ESPRESSO_BIN", str(player))
    program_version.cache_clear()
    jobs, store = parts(write_tiny_study(tmp_path))
    run_jobs(jobs, store, ranks=1, jobs_at_once=1)
    hole = next(job for job in jobs if job.kind == "hole")
    child = next(job for job in jobs if job.parent is hole)
    assert not store.has_density(hole)
    chain = (store.folder(child) / "chain.sav").read_bytes()
    store.forget(child)
    half = store.folder(hole) / "outdir" / "polaron.save"
    half.mkdir(parents=True)
    if left == "changed":
        (half / "charge-density.dat").write_bytes(b"half")
    run_jobs(jobs, store, ranks=1, jobs_at_once=1)
    assert (store.folder(child) / "chain.sav").read_bytes() == chain


@espresso
@pytest.mark.parametrize("text", ["", "[]", '{"jobs": 3}', '{"jobs": [[1]]}', '{"jobs": null}',
                                  "[" * 100_000, '{"key": {}, "jobs": [["a", 2]]}'])
def test_the_damaged_plan_of_another_study_stops_nobody(played: Path, text: str) -> None:
    jobs, store = parts(played)
    (store.root / "plan-other.json").write_text(text)
    assert needed_densities(store) == set()
    assert find_garbage(store, jobs) == []
    assert main(["run", str(played), "--ranks", "1"]) == 0


@espresso
def test_looking_at_a_store_changes_nothing_in_it(looked_at: Path, tmp_path: Path) -> None:
    shutil.copytree(looked_at.parent, tmp_path / "s")
    study = tmp_path / "s" / looked_at.name
    out, store = tmp_path / "out", tmp_path / "s" / flips.STORE
    before = snapshot(store)
    for words in (["status", "S"], ["run", "S", "--dry-run"], ["gc", "S"], ["spectra", "S"],
                  ["spectra", "S", "--out", f"{out}/s"], ["spectra", f"{out}/s"],
                  ["export", "S", "--out", f"{tmp_path}/a.h5", "--archive", f"{tmp_path}/a.tgz"],
                  ["report", "S", "--figure", "sites", "--out", f"{tmp_path}/sites.png"]):
        assert main([str(study) if word == "S" else word for word in words]) == 0, words
        assert snapshot(store) == before, words
    # What travels lies with the tables.
    assert {"results.json", "chains.npz", "spectra.csv"} <= {p.name for p in (out / "s").iterdir()}
    assert (study.with_name("tiny-spectra") / "spectra.csv").exists()
    assert (tmp_path / "out" / "s-spectra" / "spectra.csv").read_bytes() == (
        out / "s" / "spectra.csv").read_bytes()


@espresso
def test_an_archive_holds_plain_files_that_were_not_changed(looked_at: Path,
                                                            tmp_path: Path) -> None:
    shutil.copytree(looked_at.parent, tmp_path / "s")
    study, store = tmp_path / "s" / looked_at.name, tmp_path / "s" / flips.STORE
    (store / "pseudo").rename(tmp_path / "elsewhere")
    (store / "pseudo").symlink_to(tmp_path / "elsewhere")
    output = next(store.glob("jobs/hole-*/pw.out"))
    output.rename(tmp_path / "pw.out")
    output.symlink_to(tmp_path / "pw.out")
    next(store.glob("structures/*.cif")).write_text("changed")
    words = ["export", str(study), "--out", f"{tmp_path}/a.h5", "--archive", f"{tmp_path}/a.tgz"]
    assert main(words) == 0
    with tarfile.open(tmp_path / "a.tgz") as tar:
        members = {one.name: one for one in tar}
        assert all(one.isreg() or one.isdir() for one in members.values())
        assert sum(name.endswith(".UPF") for name in members) == 4
        assert f"results/jobs/{output.parent.name}/pw.out" in members
        for name in members:
            if name.startswith("results/structures/"):
                found = tar.extractfile(name)
                assert found is not None
                assert b"changed" not in found.read()
    (tmp_path / "pw.out").write_text("other words")
    with pytest.raises(DamagedError, match=r"pw\.out is not the file that this job wrote"):
        flips.Looks(study).export()


@espresso
def test_another_study_in_the_store_leaves_what_the_first_needs(played: Path) -> None:
    study = read_study(played)
    store = Store(study.store_folder)
    before = recorded_inputs(store.root)
    assert set(before.pseudopotentials) == {"Pb-none", "Cs-none", "Br-none", "Br-full"}
    other = replace(study, core_hole=replace(study.core_hole, kind="none"))
    record_study(other, plan(other), store)
    assert recorded_inputs(store.root) == before


@espresso
@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_without_locks_nothing_starts_and_looking_goes_on(
        played: Path, number: int, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    jobs, store = parts(played)
    xas = [job for job in jobs if job.kind == "xas"]
    for job in xas:
        (store.folder(job) / "result.json").unlink()

    def refuse(*words: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    events: list[str] = []
    with pytest.raises(ComputationError, match=r"keeps no locks .*another disk"):
        run_jobs(jobs, store, ranks=1, jobs_at_once=1, report=lambda e: events.append(e.what))
    assert events == []
    capsys.readouterr()
    assert main(["status", str(played), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["failed"] == len(xas)
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out
    row = next(line for line in said.splitlines() if "locks in this" in line)
    assert row.startswith("MISSING")
    assert "another disk" in " ".join(said.split())


def test_without_a_home_or_a_cache_one_line_says_what_to_set(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("POLARON_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nobody)
    with pytest.raises(InputError, match="set POLARON_CACHE"):
        cache_folder()
    assert main(["doctor"]) == 1
    assert "no home folder" in " ".join(capsys.readouterr().out.split())
    # Root may write anywhere but below a file.
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("POLARON_CACHE", str(tmp_path / "file"))
    assert main(["doctor"]) == 1
    assert "cannot be written: set POLARON_CACHE" in " ".join(capsys.readouterr().out.split())


@espresso
def test_a_cache_that_may_not_be_written_is_told_in_one_line(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("POLARON_CACHE", str(tmp_path / "file"))
    with pytest.raises(ComputationError, match="cannot be written: set POLARON_CACHE"):
        make_pseudo("Cl")


@espresso
def test_a_curve_of_half_the_intensity_does_not_stay(played: Path) -> None:
    jobs, store = parts(played)
    xas = next(job for job in jobs if job.kind == "xas")
    folder = store.folder(xas)
    # As xspectra.x leaves a run in which k went without -k.
    whole = (folder / "chain.sav").read_text()
    lines = whole.split("\n")
    head, words = lines[:6], " ".join(lines[6:]).split()
    norm, length, chain = words[14], words[15], words[16:]
    half = len(chain) // 2
    rows = [*words[:3], "2", *words[4:14], norm, "0.0", length, length,
            *chain[:half], *chain[:half], *chain[half:], *chain[half:]]
    (folder / "chain.sav").write_text("\n".join([*head, " ".join(rows)]) + "\n")
    (folder / "xanes.dat").write_text("half of it")
    calculation = xas.calculation
    object.__setattr__(calculation.settings, "kpoints", (2, 1, 1))
    object.__setattr__(calculation.settings, "kpoint_shift", (1, 0, 0))
    calculation.read_result(folder, "", {"fermi_eV": 2.409309550541231})
    assert not (folder / "xanes.dat").exists()
    # One that an earlier version left is garbage; that of a whole run is not.
    (folder / "chain.sav").write_text(whole)
    (folder / "xanes.dat").write_text("half of it")
    assert find_garbage(store, jobs) == []
    (folder / "xspectra.run.in").write_text(calculation.deck(PLAIN))
    assert [one.path for one in find_garbage(store, jobs)] == [folder / "xanes.dat"]
