"""``polaron view``: a page of one thing, whole in itself; and the drawing of a crystal."""

import json
import os
import re
from pathlib import Path

import chromium
import numpy as np
import pytest
from conftest import polaron

from perovskite_polaron.figures.structure import make_scene, movers
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.files import read_crystal
from perovskite_polaron.lattice.octahedra import find_framework
from perovskite_polaron.phonons.distortion import distort
from perovskite_polaron.phonons.modes import read_modes

SPECTRA = Path(__file__).parent / "data" / "measured" / "cu_10k.xmu"
MODES = Path(__file__).parent.parent / "examples" / "modes" / "cubic_polar.json"


def shown(folder: Path, *words: str) -> str:
    done = polaron("view", *words, "--no-open", "--out", "page.html", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "page: page.html\n"
    return (folder / "page.html").read_text(encoding="utf-8").replace("\xa0", " ")


def data(page: str) -> dict:
    return dict(json.loads(re.findall(r'id="data">(.*?)</script>', page)[0]))


def test_a_structure_says_symmetry_and_bonds(tmp_path: Path) -> None:
    page = shown(tmp_path, "cspbbr3-pbnm")
    for words in ("CsPbBr3, Pnma (62): 20 atoms", "axial 2.958 Å, equatorial 2.964 Å", "4c"):
        assert words in page
    scene = data(page)["structure"]
    assert {atom["element"] for atom in scene["atoms"]} == {"Cs", "Pb", "Br"}
    assert not any(np.any(atom["u"]) for atom in scene["atoms"])


def test_a_mode_says_who_moves(tmp_path: Path) -> None:
    page = shown(tmp_path, "lo-c")
    assert "B1u LO of CsPbBr3, 22.25 meV: axial Br moves most, Pb 0.41 times as far" in page
    longest = max(np.linalg.norm(atom["u"]) for atom in data(page)["structure"]["atoms"])
    assert longest == pytest.approx(0.1, abs=1e-5)
    assert "Pm-3m" in shown(tmp_path, "cspbbr3-pm3m", "--overwrite")
    assert "mode" in shown(tmp_path, str(MODES), "--overwrite")


def test_measured_spectra_are_all_there(tmp_path: Path) -> None:
    rows = "".join(f"{13460 + e},{e % 7},0.1\n" for e in range(60))
    for delay in (100, 1000):
        (tmp_path / f"br_{delay}ps.csv").write_text(f"energy_eV,signal,error\n{rows}")
    (edge,) = data(shown(tmp_path, "br_100ps.csv"))["edges"]
    (curve,) = edge["measured"]
    assert (curve["name"], curve["energy"][0], curve["curve"][:3]) == ("100 ps", 13460.0,
                                                                      [0.0, 1.0, 2.0])
    assert edge["range"] == [13460.0, 13519.0]


def test_a_page_opens_in_the_browser_of_the_user(tmp_path: Path) -> None:
    program = tmp_path / "browser"
    program.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/asked\n')
    program.chmod(0o755)
    done = polaron("view", "cspbbr3-pm3m", "--out", "p.html", cwd=tmp_path,
                   env=os.environ | {"BROWSER": f"{program} %s"})
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "asked").read_text().strip() == (tmp_path / "p.html").as_uri()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nowhere.cif",), "nowhere.cif"),
        (("nowhere",), "does not exist: give a file, or one of cspbbr3-pbnm"),
        (("words.txt",), "no row of numbers"),
        (("lo-c", "--mode", "2"), "there is no mode 2"),
        (("lo-c", "--out", "words.txt"), "words.txt"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    (tmp_path / "words.txt").write_text("only words\n")
    done = polaron("view", *words, "--no-open", cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["words.txt"]


@pytest.mark.skipif(chromium.PROGRAM is None, reason="no Chromium here")
def test_pages_of_one_thing_work_in_a_browser(tmp_path: Path) -> None:
    with chromium.Page() as page:
        for words in (("lo-c",), (str(SPECTRA), "--energy-unit", "eV")):
            shown(tmp_path, *words, "--overwrite")
            page.open(tmp_path / "page.html", 360)
            page.wait_for("document.querySelector('.stage canvas, .plot .curve') !== null")
            assert page.complaints() == []
            assert page.value("document.documentElement.scrollWidth") <= 360


# The scene


def test_a_scene_has_each_bond_of_the_octahedra_inside_and_atoms_on_every_face() -> None:
    scene = make_scene(read_crystal("cspbbr3-pm3m"))
    kinds = [scene.species.count(element) for element in ("Pb", "Br", "Cs")]
    # Eight corners, or the middle, whichever each element is at; halides on faces or edges.
    assert sorted(kinds) == [1, 6, 8] or sorted(kinds) == [1, 8, 12]
    assert len(scene.corners_A) == 12
    for i, j in scene.bonds:
        assert {scene.species[i], scene.species[j]} == {"Pb", "Br"}
        apart = np.linalg.norm(scene.positions_A[i] - scene.positions_A[j])
        assert apart == pytest.approx(2.9355, abs=1e-3)


def test_atoms_repeated_on_faces_move_alike_and_arrows_have_a_round_scale() -> None:
    crystal = read_crystal("cspbbr3-pbnm")
    moved = distort(crystal, read_modes("lo-c"), [0.2], unit="max_A")[0].displacement_A
    scene = make_scene(crystal, moved)
    np.testing.assert_allclose(scene.displacement_A, moved[list(scene.atoms)])
    assert scene.magnified == 5
    assert make_scene(crystal, moved / 1000).magnified == 5000
    assert make_scene(crystal).magnified == 1
    inside = scene.positions_A @ np.linalg.inv(crystal.lattice_A)
    assert (inside > -0.07).all()
    assert (inside < 1.07).all()


def test_who_moves_is_named_by_class_or_by_element() -> None:
    crystal = read_crystal("cspbbr3-pbnm")
    moved = np.zeros((20, 3))
    moved[list(find_framework(crystal).axial_x), 2] = 0.2
    assert next(iter(movers(crystal, moved).items())) == ("axial Br", pytest.approx(0.2))
    salt = Crystal(np.eye(3) * 5.6, ("Na", "Cl"), [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert movers(salt, np.array([[0.1, 0, 0], [0, 0.3, 0]])) == {"Cl": pytest.approx(0.3),
                                                                  "Na": pytest.approx(0.1)}
