"""tools/corpus.py: it says what is read rightly, refused and wrong, and notices each."""

import csv
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import corpus  # noqa: E402
from corpus_kinds import measured, phonons, structures  # noqa: E402

CIF = """data_{name}
_cell_length_a 5.6
_cell_length_b 5.6
_cell_length_c 5.6
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P m -3 m'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Pb1 Pb 0 0 0 1.0
Cl1 Cl 0.5 0 0 {occupancy}
Cs1 Cs 0.5 0.5 0.5 1.0
"""
PW_INPUT = """&SYSTEM
 ibrav = 0, nat = 1, ntyp = 1
/
ATOMIC_SPECIES
 Si 28.086 Si.upf
CELL_PARAMETERS angstrom
 3.0 0 0
 0 3.0 0
 0 0 3.0
ATOMIC_POSITIONS crystal
 Si 0 0 0
"""
# The cell that pw.x would print for another input: 3.1750 Å.
PW_OUTPUT = """     Program PWSCF v.7.0
     lattice parameter (alat)  =       6.0000  a.u.
     number of atoms/cell      =            1
     crystal axes: (cart. coord. in units of alat)
               a(1) = (   1.000000   0.000000   0.000000 )
               a(2) = (   0.000000   1.000000   0.000000 )
               a(3) = (   0.000000   0.000000   1.000000 )
     site n.     atom                  positions (alat units)
         1           Si  tau(   1) = (   0.0000000   0.0000000   0.0000000  )
     JOB DONE.
"""
ROWS = "\n".join(f"{8979 + e:.1f} 1000.0 {900 - 5 * e:.2f}" for e in range(20))
XDI = ("# XDI/1.0\n# Element.symbol: Cu\n# Element.edge: K\n# Mono.d_spacing: 3.13555\n"
       "# Column.1: energy eV\n# Column.2: i0\n# Column.3: itrans\n#-----\n"
       f"# energy i0 itrans\n{ROWS}\n")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """File name -> row of a corpus of tiny files."""
    folder = tmp_path_factory.mktemp("corpus")
    for kind in corpus.KINDS:
        (folder / kind).mkdir()
    files = {"structures/right.cif": CIF.format(name="right", occupancy="1.0"),
             "structures/half.cif": CIF.format(name="half", occupancy="0.5"),
             "structures/other.in": PW_INPUT, "structures/other.out": PW_OUTPUT,
             "measured/asks.xdi": XDI, "measured/notes.txt": "no table here\n",
             "measured/bare.xdi": XDI.replace("Element.symbol: Cu", "Element.symbol: Foo"),
             "measured/open.dat": f"# energy_eV one other\n{ROWS}\n",
             "measured/kspace.dat": "# k chi\n" + "\n".join(f"{k} 0.1" for k in range(20)),
             "measured/two.dat": f"# energy_eV xmu\n{ROWS.replace(' 1000.0', '')}\n"}
    for name, content in files.items():
        (folder / name).write_text(content)
    dyn = (ROOT / "docs" / "files" / "alas.dyn1").read_text()
    (folder / "phonons" / "right.dyn1").write_text(dyn)
    (folder / "phonons" / "wrong.dyn1").write_text(dyn.replace("11.123585 [THz]", "12.0 [THz]"))
    shutil.copy(ROOT / "docs" / "files" / "phonopy_params.yaml", folder / "phonons")
    status = corpus.main([str(folder), "--csv", str(folder / "rows.csv"),
                          "--markdown", str(folder / "table.md")])
    assert status == 1  # two files are wrong
    with open(folder / "rows.csv", newline="") as handle:
        found = {Path(row["file"]).name: row for row in csv.DictReader(handle)}
    table = (folder / "table.md").read_text()
    assert f"| all | {len(found)} | {len(found)} |" in table
    assert "| disordered structure | 1 |" in table
    return found


@pytest.mark.parametrize(("name", "verdict"), [
    ("right.cif", "right"), ("half.cif", "refused"), ("asks.xdi", "asked"), ("bare.xdi", "refused"),
    ("two.dat", "right"), ("open.dat", "asked"), ("kspace.dat", "refused"),
    ("right.dyn1", "right"), ("phonopy_params.yaml", "right")])
def test_verdicts(rows: dict[str, dict[str, str]], name: str, verdict: str) -> None:
    assert rows[name]["verdict"] == verdict, rows[name]["why"]


def test_what_another_program_finds_otherwise_is_wrong(rows: dict[str, dict[str, str]]) -> None:
    assert rows["wrong.dyn1"]["verdict"] == "wrong"
    assert "46.003, not 49.628 meV" in rows["wrong.dyn1"]["why"]
    assert rows["other.in"]["verdict"] == "wrong"
    assert "edges [3. 3. 3.], not [3.175" in rows["other.in"]["why"]


def test_another_kind_of_file_is_no_row(rows: dict[str, dict[str, str]]) -> None:
    assert "notes.txt" not in rows


def test_the_option_that_a_refusal_names_is_tried(rows: dict[str, dict[str, str]]) -> None:
    assert "ln(i0/itrans)" in rows["asks.xdi"]["by"]


def test_one_number_changed_is_noticed() -> None:
    """Each comparison accepts equal numbers and refuses the same with one of them off by 1 %."""
    lattice, places = 5.0 * np.eye(3), np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]])
    ours = {"structure": (lattice, ["Cs", "Cl"], places), "group": 221}
    assert structures.differ(ours, (lattice, ["Cl", "Cs"], places[::-1])) == ""
    assert "edges" in structures.differ(ours, (1.01 * lattice, ["Cs", "Cl"], places))
    assert "Cl is" in structures.differ(ours, (lattice, ["Cs", "Cl"], 1.01 * places))
    assert "Br" in structures.differ(ours, (lattice, ["Cs", "Br"], places))
    assert "group" in structures.differ({**ours, "group": 99}, ours["structure"])

    energy, mu = np.linspace(9000, 9100, 20), np.linspace(0, 1, 20)
    group = {"scans": [("a", energy, mu)]}
    assert measured.differ(group, [("b", energy, mu)]) == ""
    assert "a is not" in measured.differ(group, [("b", energy + 1, mu)])
    assert "a is not" in measured.differ(group, [("b", energy, 1.01 * mu)])
    assert "1 spectra" in measured.differ(group, [("b", energy, mu), ("c", energy, 2 * mu)])

    meV, share = np.array([0.0, 10.0, 20.0]), np.array([200.0, 300.0])
    points = {"points": [(meV, share)]}
    assert phonons.differ(points, [(meV, None)]) == ""
    assert "20.000, not 20.200" in phonons.differ(points, [(meV * 1.01, None)])
    assert "atom" in phonons.differ(points, [(meV, share[::-1])])


def kept(path: Path) -> dict[str, dict[str, str]]:
    with open(path, newline="") as handle:
        return {Path(row["file"]).name: row for row in csv.DictReader(handle)}


def test_a_run_goes_on_where_one_ended(tmp_path: Path) -> None:
    """Rows of an earlier run are taken as they are, but for files that have changed since."""
    place, rows = tmp_path / "structures" / "one", tmp_path / "rows.csv"
    place.mkdir(parents=True)
    for name in ("a", "b", "c"):
        (place / f"{name}.cif").write_text(CIF.format(name=name, occupancy="1.0"))
    run = [str(tmp_path), "--csv", str(rows)]
    assert corpus.main(run) == 0
    assert {r["verdict"] for r in kept(rows).values()} == {"right"}
    # One row is lost, as where the run was killed, and one is marked, to be known again.
    lines = rows.read_text().splitlines()
    left = [line.replace(",right,", ",asked,") for line in lines if "b.cif" not in line]
    rows.write_text("\n".join([*left, lines[-1][:40]]))
    (place / "c.cif").write_text(CIF.format(name="c", occupancy="0.5"))
    assert corpus.main(run) == 0
    assert {name: r["verdict"] for name, r in kept(rows).items()} == {
        "a.cif": "asked", "b.cif": "right", "c.cif": "refused"}


def test_of_many_files_of_one_place_the_same_are_drawn_each_time(tmp_path: Path) -> None:
    for place, count in (("many", 9), ("few", 2)):
        (tmp_path / "structures" / place).mkdir(parents=True)
        for k in range(count):
            text = CIF.format(name=f"{place}{k}", occupancy="1.0")
            (tmp_path / "structures" / place / f"{place}{k}.cif").write_text(text)
    found = corpus.walk(tmp_path, None)
    assert len(found) == 11
    first = corpus.drawn(found, 3)
    assert [sum(one.place == place for one in first) for place in ("many", "few")] == [3, 2]
    assert first == corpus.drawn(corpus.walk(tmp_path, None), 3)
    assert corpus.drawn(found, 9) == found
    table = tmp_path / "table.md"
    assert corpus.main([str(tmp_path), "--at-most", "3", "--markdown", str(table)]) == 0
    assert "| CIF | 11 | 5 | 5 |" in table.read_text()


def test_a_reader_that_hangs_or_dies_is_said_and_the_next_goes_on() -> None:
    apart = corpus.Apart(seconds=5)
    assert apart(phonons.shares, np.ones(3), np.ones((3, 1, 3)))[0] == "read"
    apart.seconds = 0.2
    assert apart(_sleep)[0] == "hung"
    apart.seconds = 5
    assert apart(_die) == ("died", "exit status 3")
    assert apart(phonons.shares, np.ones(3), np.ones((3, 1, 3)))[0] == "read"


def _sleep() -> None:
    import time

    time.sleep(60)


def _die() -> None:
    import os

    os._exit(3)
