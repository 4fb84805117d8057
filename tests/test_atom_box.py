"""The atom in a box at several cut-offs: one that is too low is told from a ghost.

The boxes of these tests are of 6 Å instead of 12, in which the levels are the same within 0.02 eV.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from perovskite_polaron.cli.main import main
from perovskite_polaron.errors import ComputationError
from perovskite_polaron.espresso.atom_box import (
    BoxCheck, BoxLevel, check_levels_in_box, sufficient, why_off)
from perovskite_polaron.espresso.ld1_input import make_from_upf
from perovskite_polaron.espresso.pseudo import Level, make_pseudo, read_levels
from perovskite_polaron.espresso.upf import Pseudopotential

NICKEL = Path("/usr/share/espresso/pseudo/Ni.pbesol-n-rrkjus_psl.0.1.UPF")


def checks(*pairs: tuple[float, float]) -> tuple[BoxCheck, ...]:
    """Checks with one level at each cut-off, so much off."""
    return tuple(BoxCheck(wave, 4 * wave, (BoxLevel("2S", -10.0, -10.0 - off),
                                           BoxLevel("2P", 0.0, 0.0, 0.02)))
                 for wave, off in pairs)


@pytest.mark.parametrize(("pairs", "enough_Ry", "words"), [
    (((30, 2.8), (50, 0.3), (80, 0.0)), 80, r"-12.80 eV in a box at 30 Ry, -10.00 eV in the all-"
     r"electron atom: the cut-off is too low; 80 / 320 Ry suffice \(off by 0.02 eV there\)"),
    (((30, 2.8), (50, 0.3)), None, r"and levels still move by 2.50 eV from 30 to 50 Ry: the cut-off"
     " is too low to judge the set; look"),
    # From 40 to 41 Ry 0.03 eV is as much as 0.57 eV from 40 to 64 Ry.
    (((40, 0.50), (41, 0.47)), None, "still move by 0.03 eV from 40 to 41 Ry"),
    (((30, 1.16), (50, 1.10)), None, r"-11.10 eV in a box at 50 Ry, -10.00 .*, and a higher cut-off"
     r" does not help \(levels move by 0.06 eV from 30 to 50 Ry\): a ghost state, or radii too"),
    # Iodine with a local 5d at 0.1 Ry: a ghost so deep that it moves, but by a small share.
    (((35, 158.6), (56, 157.9)), None, "levels move by 0.70 eV from 35 to 56 Ry.: a ghost state"),
    # A ghost that only a good basis finds.
    (((30, 0.0), (50, 1.1), (80, 1.1)), None, r"-11.10 eV in a box at 80 Ry.*: a ghost state"),
    (((30, 1.2),), None, "one cut-off does not tell whether it is too low or the set wrong")])
def test_a_cut_off_suffices_from_which_on_all_agree(
        pairs: tuple[tuple[float, float], ...], enough_Ry: float | None, words: str) -> None:
    found = sufficient(checks(*pairs))
    assert (found.ecutwfc_Ry if found else None) == enough_Ry
    with pytest.raises(ComputationError, match=words):
        raise ComputationError(why_off("O.UPF", checks(*pairs)))


def test_a_split_shell_is_off() -> None:
    check = BoxCheck(30, 120, (BoxLevel("2S", -10.0, -10.05), BoxLevel("2P", 0.0, 0.0, 0.3)))
    assert not check.agrees
    assert "2P of O.UPF is split by 0.30 eV in a box at 30 Ry" in why_off("O.UPF", [check])


@pytest.fixture
def small_box(monkeypatch: pytest.MonkeyPatch) -> None:
    """A box in which a check takes a second."""
    monkeypatch.setattr("perovskite_polaron.espresso.atom_box._BOX_A", 6.0)


def with_levels(element: str) -> tuple[Pseudopotential, tuple[Level, ...]]:
    """A set of the package and what ld1.x printed for it."""
    pseudo = make_pseudo(element)
    return pseudo, read_levels(pseudo.path.with_suffix(".ld1.out").read_text())


@pytest.mark.espresso
@pytest.mark.usefixtures("small_box")
def test_oxygen_at_50_ry_is_no_ghost() -> None:
    pseudo, levels = with_levels("O")
    with pytest.raises(ComputationError, match=r"2S of O-none.*\.UPF lies at -15\.2\d eV in a box"
                       r" at 50 Ry, -14\.93 eV.*: the cut-off is too low; 80 / 320 Ry suffice"):
        check_levels_in_box(pseudo, levels, (50, 200))


@pytest.mark.espresso
@pytest.mark.usefixtures("small_box")
def test_a_level_that_no_cut_off_moves_is_a_ghost() -> None:
    pseudo, levels = with_levels("Cl")
    assert check_levels_in_box(pseudo, levels, (25, 100)).agrees
    # The set held against another atom's levels.
    wrong = tuple(replace(v, all_electron_Ry=v.all_electron_Ry - 0.1 * (v.label == "3S"))
                  for v in levels)
    with pytest.raises(ComputationError, match=r"3S of Cl.* at 40 Ry.*, and a higher cut-off does"
                       " not help .*: a ghost state, or radii too large"):
        check_levels_in_box(pseudo, wrong, (25, 100))


@pytest.mark.espresso
@pytest.mark.usefixtures("small_box")
@pytest.mark.skipif(not NICKEL.exists(), reason="Debian's files of Quantum ESPRESSO are not here")
def test_an_open_d_shell_keeps_its_electrons() -> None:
    # 3d8 4s2 with 3d below 4s: a smearing makes 3d10 of it, with 3d 3.2 eV higher.
    recipe, pseudo = make_from_upf(NICKEL, "Ni")
    levels = read_levels(pseudo.path.with_suffix(".ld1.out").read_text())
    check = check_levels_in_box(pseudo, levels, recipe.cutoffs_Ry)
    assert check.levels[0].all_electron_eV == pytest.approx(-3.238, abs=0.001)
    assert check.worst.error_eV < 0.05


@pytest.mark.espresso
@pytest.mark.usefixtures("small_box")
def test_a_scan_says_which_cut_off_suffices(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "Cl.UPF"
    assert main(["pseudo", "Cl", "--cutoffs", "340.142eV,15Ry", "--json", "--out", str(out)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [(c["ecutwfc_Ry"], c["ecutrho_Ry"], c["agrees"], c["level"]) for c in said["cutoffs"]
            ] == [(15, 60, False, "3S"), (pytest.approx(25, abs=1e-4), pytest.approx(100, abs=1e-3),
                                          True, "3S")]
    assert said["cutoffs"][0]["largest_error_eV"] == pytest.approx(0.5, abs=0.1)
    assert said["sufficient_Ry"] == pytest.approx(25, abs=1e-4)
    assert out.exists()
    out.unlink()
    assert main(["pseudo", "Cl", "--cutoffs", "12Ry,15Ry", "--out", str(out)]) == 1
    table, wrong = capsys.readouterr()
    assert "largest level error (eV)" in table
    assert "15 Ry" in wrong
    assert "from 12 to 15 Ry: the cut-off is too low to judge" in wrong
    assert not out.exists()


@pytest.mark.parametrize(("words", "why"), [
    (["--cutoffs", "35"], "has no unit"), (["--cutoffs=-5Ry"], "is not positive"),
    (["--cutoffs", "35Ry", "--check", "x.UPF"], "leave out --check")])
def test_cut_offs_that_make_no_sense_are_refused(
        words: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pseudo", "Cl", *words]) == 2
    assert why in capsys.readouterr().err
