"""An article's archive to its figures and our numbers: files of the documented layout, mapped once.

The archive itself has not been seen; ``archive_files`` says what the files here are made of.
"""

import csv
import io
import json
import re
import shlex
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from archive_files import AMPLITUDE_SQRT_AMU_A, DELAYS, FRACTION, ZERO_EV, write_archive

from perovskite_polaron.analysis.mapping import ROLES, draft, read_mapping
from perovskite_polaron.analysis.reproduction import Step, numbers
from perovskite_polaron.analysis.scenarios import ENGINE, THERMAL
from perovskite_polaron.cli import compare
from perovskite_polaron.cli.main import main
from perovskite_polaron.errors import InputError
from perovskite_polaron.measured import archive as archive_room
from perovskite_polaron.measured.archive import look, unpacked
from perovskite_polaron.measured.raw import Raw
from perovskite_polaron.measured.readers import read_scans
from perovskite_polaron.published_cspbbr3 import ARCHIVE, ARTICLE, PUMP_PROBE

EDGES = ARCHIVE.edges
MAPPING = """
[[steady]]
files = ["Fig2/Br_K_steady_state.txt"]
edge = "Br-K"

[[transient]]
files = ["Fig2/raw/*.asc"]
edge = "Br-K"
on = "*BoxcarON*"
off = "*BoxcarOFF*"

[[thermal]]
files = ["Fig3/*.dat"]
edge = "Br-K"
energy-unit = "eV"
reference = "Fig3/BrK_temperature_25C.dat"
preset = "thermal"
pre-edge = "13456eV:13460eV"

[[heated]]
files = ["Fig3/*.dat"]
edge = "Br-K"
energy-unit = "eV"

[[kinetics]]
files = ["Fig2/kinetics.csv"]

[match]
hold = ["resolution_fwhm_eV=0.7eV"]

[compare]
like-steady = true
window = "13475eV:13520eV"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_archive(tmp_path_factory.mktemp("archive"))


def packed(folder, path):
    """Return the folder as .zip or .tar.gz."""
    files = [p for p in sorted(folder.rglob("*")) if p.is_file()]
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in files:
                archive.write(file, f"dataset/{file.relative_to(folder)}")
    else:
        with tarfile.open(path, "w:gz") as tar:
            for file in files:
                tar.add(file, f"dataset/{file.relative_to(folder)}")
    return path


def test_a_folder_is_looked_at_and_nothing_is_computed(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", "cannelli2021", str(folder), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    roles = {f["path"]: f["role"] for f in said["files"]}
    assert len(roles) == sum(p.is_file() for p in folder.rglob("*"))
    assert roles["Fig2/Br_K_steady_state.txt"] == "steady"
    assert roles["Fig2/raw/BrK_laser_100ps_0003.asc"] == "transient"
    assert roles["Fig3/BrK_temperature_60C.dat"] == "thermal"
    assert roles["Fig2/kinetics.csv"] == "kinetics"
    assert roles["Fig4/xspectra_polaron.dat"] == "calculation"
    words = {f["path"]: f["words"] for f in said["files"] if not f["role"]}
    assert set(words) == {"README.txt", "Fig2/plot.py", "Fig2/figure.png", "Fig4/origin.opj"}
    assert "export its columns" in words["Fig4/origin.opj"]
    assert said["steps"] is None
    assert [p.name for p in tmp_path.iterdir()] == ["cannelli2021.toml"]
    # All of the draft is comments, so running again computes nothing either.
    text = Path("cannelli2021.toml").read_text()
    assert all(line.startswith("#") for line in text.splitlines() if line)
    assert main(["reproduce", "cannelli2021", str(folder)]) == 2
    assert "maps no file" in capsys.readouterr().err
    assert not Path("cannelli2021").exists()


def test_a_confirmed_draft_is_a_mapping(folder, tmp_path):
    """Removing one # from each line of every guess leaves a mapping of the same files."""
    found = look(folder, EDGES)
    text = draft(found, ARTICLE)
    start = text.index("## steady?")
    lines = [line.removeprefix("#") for line in text[start:].splitlines()]
    path = tmp_path / "m.toml"
    path.write_text("\n".join(lines).replace("LOW:HIGH", "13456eV:13460eV"))
    mapped = read_mapping(path, folder)
    for role in ROLES:
        files = {str(Path(f).relative_to(folder)) for e in mapped.of(role) for f in e.files}
        assert files == {f.path for f in found if f.role == role}
    (transient,) = mapped.of("transient")
    assert transient.options["on"] == "7idb:userCalc12.VAL, BoxcarON (3s)"
    raw = Raw(on=transient.options["on"], off=transient.options["off"])
    (scan,) = read_scans(transient.files[:1], raw=raw)
    rows = np.loadtxt(transient.files[0], comments="#")
    np.testing.assert_allclose(scan.intensity, rows[:, 2] - rows[:, 3], atol=1e-12)
    assert mapped.of("thermal")[0].options["reference"] == [
        str(folder / "Fig3" / "BrK_temperature_25C.dat")]
    assert mapped.of("thermal")[0].options["energy-unit"] == "eV"
    assert "energy-unit" not in mapped.of("steady")[0].options
    assert mapped.later == {"compare": {"like-steady": True, "window": "13475eV:13520eV"}}


def test_the_error_of_the_calculation_stands_beside_each_number_of_a_comparison():
    row = {"name": "polaron lo", "posterior": 1.0, "strength": 0.1, "strength_err": 0.003,
           "strength_err_calculation": 0.03, "f_q2_A2_amu": 1.9, "f_q2_err": 0.06,
           "f_q2_err_calculation": 0.57}
    record = {"best": "polaron lo", "scenarios": [row]}
    strength, product = numbers([Step("compare-t", "compare", record)], ARTICLE)
    assert strength.words == "polaron lo, probability 1, ± 0.03 of the calculation"
    assert (product.value, product.err, product.words) == (1.9, 0.06, "± 0.57 of the calculation")


def test_the_mapped_archive_gives_back_what_its_files_were_made_of(folder, tmp_path, monkeypatch,
                                                                  capsys):
    """The transients are of the built-in calculation itself: no error of it is allowed for."""
    monkeypatch.setattr(compare, "BUILT_IN_ROWS", {THERMAL: {}, ENGINE: {}})
    monkeypatch.chdir(tmp_path)
    Path("m.toml").write_text(MAPPING)
    archive = packed(folder, tmp_path / "dataset.tar.gz")
    words = ["reproduce", "cannelli2021", archive.name, "--mapping", "m.toml", "--out", "r"]
    assert main([*words, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["archive"]["is_the_published_file"] is False
    number = {n["name"]: n for n in said["numbers"]}

    def near(name, truth, most_errors=3.5):
        row = number[name]
        assert abs(row["value"] - truth) < most_errors * row["err"], row
        return row

    near("zero of the calculation (eV)", ZERO_EV)
    for delay, share in DELAYS.items():
        product = share * FRACTION * AMPLITUDE_SQRT_AMU_A**2
        row = near(f"BrK_laser_{delay}: f·Q² (Å²·amu)", product)
        assert row["err"] < 0.05 * product
        assert row["words"] == ""
        assert number[f"BrK_laser_{delay}: strength"]["words"].startswith("polaron lo")
    for i, (lifetime, error) in enumerate(PUMP_PROBE.lifetimes_ps, start=1):
        row = near(f"lifetime {i} (ps)", lifetime)
        assert (row["published"], row["published_err"]) == (lifetime, error)
    near("fraction 1 of kinetics:Br_13.472keV", PUMP_PROBE.fractions[0])
    assert number["C of Br-K, pump-probe"]["words"].startswith("constant")
    assert len([name for name in number if "temperature" in name]) == 4
    assert number["rise right after the pulse (K)"]["published"] == 120
    # The heated sample was made another shape: it is not what made the transients.
    heat = " ".join(said["heat_verdict"])
    hot = re.findall(r"heated lattice [^:]* has the probability ([^,]*),", heat)
    assert len(hot) == len(DELAYS)
    assert all(float(p) < 1e-6 for p in hot)
    assert float(heat.split("standard errors")[0].split()[-1]) > 5
    with open("r/numbers.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == len(number)
    for name in ("steady-and-transients", "match", "compare-BrK_laser_100ps", "C-Br-K", "kinetics",
                 "heat"):
        assert Path(f"r/{name}.png").stat().st_size > 10_000
    assert set(said["not_used"]) == {"README.txt", "Fig2/plot.py", "Fig2/figure.png",
                                     "Fig4/origin.opj", "Fig4/xspectra_polaron.dat"}

    # Each step is a command line that makes the same files again.
    before = Path("r/transient-Br-K/BrK_laser_100ps.xdi").read_bytes()
    lines = Path("r/commands.sh").read_text().splitlines()
    command = next(line for line in lines if "--out r/transient-Br-K" in line)
    Path("r/transient-Br-K/BrK_laser_100ps.xdi").unlink()
    assert main(shlex.split(command)[1:]) == 0
    assert Path("r/transient-Br-K/BrK_laser_100ps.xdi").read_bytes() == before
    capsys.readouterr()

    # Without a match nothing tells the unit of the steady state.
    scan = "r/transient-Br-K/BrK_laser_100ps.xdi"
    assert main(["compare", scan, "--like-steady", "--window", "13475eV:13520eV"]) == 2
    assert "the unit of the steady state is not known" in capsys.readouterr().err

    # Results are not replaced unasked; a step that is refused leaves the others standing.
    assert main(words) == 2
    assert "exists already" in capsys.readouterr().err
    Path("m.toml").write_text(MAPPING.replace('"13475eV:13520eV"', '"13300eV:13400eV"'))
    assert main([*words, "--overwrite"]) == 2
    captured = capsys.readouterr()
    assert "2 of 10 steps were refused (first: compare-BrK_laser_10.1ns)" in captured.err
    assert captured.out.count("refused: compare") == 2
    assert "lifetime 2 (ps)" in captured.out


def test_a_mapping_says_all_that_is_wrong_with_it(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("m.toml").write_text('[[steady]]\nfiles = ["Fig9/*.dat"]\n[[transients]]\nfiles = "a"\n'
                              '[[kinetics]]\nsignal = "2"\n[match]\nlaw = "constant"\n'
                              'study = 3\nthermal = "x"\n')
    with pytest.raises(InputError) as error:
        read_mapping(Path("m.toml"), folder)
    for part in ("steady: no file in", "steady: say the edge", "did you mean 'transient'",
                 "kinetics: name its files"):
        assert part in str(error.value)
    Path("m.toml").write_text('[[steady]]\nfiles = "README.txt"\nedge = "Br-K"\n'
                              'energy-units = "eV"\nmap = "up"\n')
    assert main(["reproduce", "cannelli2021", str(folder), "--mapping", "m.toml"]) == 2
    said = capsys.readouterr().err
    assert "did you mean 'energy-unit'" in said
    assert "one of down, across" in said


def test_packed_archives_are_looked_at_alike(folder, tmp_path):
    found = look(folder, EDGES)
    for name in ("a.zip", "a.tar.gz"):
        archive = packed(folder, tmp_path / name)
        into = tmp_path / f"{name}-files"
        for _ in range(2):
            assert look(unpacked(archive, into), EDGES) == found
    with pytest.raises(InputError, match="from another archive"):
        unpacked(tmp_path / "a.zip", tmp_path / "a.tar.gz-files")


def test_an_archive_that_is_none_or_reaches_outside_is_refused(folder, tmp_path, monkeypatch):
    def refused(path, words):
        with pytest.raises(InputError, match=words):
            unpacked(path, tmp_path / "into")
        assert not (tmp_path / "into").exists()
        assert not list(tmp_path.glob(".tmp-*"))

    refused(tmp_path / "none.zip", "does not exist")
    (tmp_path / "words.zip").write_text("no archive")
    refused(tmp_path / "words.zip", "neither a folder nor")
    for name in ("../out.txt", "/out.txt", "a/../../out.txt"):
        with tarfile.open(tmp_path / "bad.tar", "w") as tar:
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
        refused(tmp_path / "bad.tar", "outside of its folder")
        with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
            archive.writestr(name, "x")
        refused(tmp_path / "bad.zip", "outside of its folder")
    whole = packed(folder, tmp_path / "whole.tar.gz").read_bytes()
    (tmp_path / "cut.tar.gz").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path / "cut.tar.gz", "cannot be unpacked")
    monkeypatch.setattr(archive_room, "MOST_BYTES", 1000)
    refused(tmp_path / "whole.tar.gz", "holds more than")


def test_a_packed_archive_inside_and_an_edge_in_kev_descending_are_seen(tmp_path):
    (tmp_path / "dataset.tar.gz").write_bytes(b"\x1f\x8b")
    energy = np.linspace(13.06, 13.02, 81)
    np.savetxt(tmp_path / "pb_pump.dat", np.column_stack(
        [np.arange(81), energy, np.sin(energy * 300), np.cos(energy * 300)]))
    inner, lead = look(tmp_path, EDGES)
    assert inner.words.startswith("packed")
    assert (lead.edge, lead.unit, lead.energy, lead.role) == ("Pb-L3", "keV", "2", "transient")
    text = draft((inner, lead), ARTICLE)
    odd = replace(lead, words="a\nb\x00", path='q"\n.dat')
    assert all(line.startswith("#") for line in draft((odd,), ARTICLE).split("\n") if line)
    for line in ('#energy = "2"', '#energy-unit = "keV"', '#signal = "1"', '#at = "100ps"'):
        assert line in text


def test_a_table_for_each_delay_that_no_name_says(tmp_path, monkeypatch, capsys):
    """Of lead nothing is calculated: the transients are treated, drawn, and their C is taken."""
    energy = np.arange(13020.0, 13060, 0.5)
    shape = np.exp(-(((energy - 13045) / 3) ** 2)) - 2 * np.exp(-(((energy - 13038) / 3) ** 2))
    rng = np.random.default_rng(4)
    (tmp_path / "a").mkdir()
    for name, size in (("one", 1.0), ("two", 0.4)):
        for run in range(4):
            noisy = size * shape + 0.01 * rng.normal(size=len(energy))
            np.savetxt(tmp_path / "a" / f"{name}_{run}.dat", np.column_stack([energy, noisy]))
    monkeypatch.chdir(tmp_path)
    Path("cannelli2021.toml").write_text("".join(
        f'[[transient]]\nfiles = "{name}_*.dat"\nedge = "Pb-L3"\nenergy-unit = "eV"\n'
        f'at = "{at}"\n' for name, at in (("one", "100ps"), ("two", "10.1ns"))))
    assert main(["reproduce", "cannelli2021", "a", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [s["name"] for s in said["steps"]] == ["transient-Pb-L3-1", "transient-Pb-L3-2",
                                                  "C-Pb-L3", "heat"]
    points = said["steps"][2]["record"]["points"]
    assert [p["delay_ps"] for p in points] == [100, 10_100]
    assert said["steps"][2]["record"]["series"]["pump-probe"]["constant"]
    assert Path("cannelli2021/steady-and-transients.png").exists()


def test_a_condition_that_no_file_says_is_said_by_an_option(tmp_path, capsys):
    np.savetxt(tmp_path / "a.dat", np.column_stack([np.arange(13460.0, 13470), np.ones(10)]))
    for at, wanted in (("10.1ns", (10_100.0, None)), ("60C", (None, 60.0)),
                       ("-50 ps", (-50.0, None))):
        (scan,) = read_scans([tmp_path / "a.dat"], energy_unit="eV", raw=Raw(at=at))
        assert (scan.delay_ps, scan.temperature_C) == wanted
    with pytest.raises(InputError, match="--at 5: write a delay"):
        Raw(at="5")
    # What was said is kept, and replayed.
    out = tmp_path / "a.xdi"
    assert main(["treat", str(tmp_path / "a.dat"), "--energy-unit", "eV", "--edge", "Br-K", "--at",
                 "60C", "--out", str(out)]) == 0
    assert main(["treat", str(tmp_path / "a.dat"), "--replay", str(out), "--out",
                 str(tmp_path / "b.xdi")]) == 0
    assert out.read_bytes() == (tmp_path / "b.xdi").read_bytes()
    capsys.readouterr()


def test_nothing_says_that_the_article_s_data_are_not_public():
    root = Path(__file__).parent.parent
    pages = [root / "README.md", root / "CHANGELOG.md", *(root / "docs").rglob("*.md"),
             *(p for kind in ("py", "toml", "html")
               for p in (root / "perovskite_polaron").rglob(f"*.{kind}"))]
    wrong = re.compile(r"(data|curves?|points|spectra|transients?|measure\w+) (is|are) not (yet )?"
                       r"(public|published|available)")
    assert wrong.search("their measured points are not public")
    assert len(pages) > 150
    for page in pages:
        words = " ".join(page.read_text(encoding="utf-8").split())
        assert not wrong.search(words), page
