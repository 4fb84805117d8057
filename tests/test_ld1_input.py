"""Sets of a K edge from the ld1.x input that UPF files carry: what is taken over, what is refused,
and that the set made anew is the one in the file.

The files are those that come with Quantum ESPRESSO (PSlibrary); no other program reads their input.
"""

from pathlib import Path

import numpy as np
import pytest
from conftest import changed, polaron, written

from perovskite_polaron.errors import ComputationError, InputError
from perovskite_polaron.espresso.ld1_input import make_from_upf, recipe_from_upf
from perovskite_polaron.espresso.pseudo import (
    check_partial_waves, ld1_deck, load_recipe, make_pseudo)
from perovskite_polaron.espresso.upf import Pseudopotential, check_for_xspectra
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.files import write_crystal

LIBRARY = Path("/usr/share/espresso/pseudo")
NITROGEN = LIBRARY / "N.pbe-n-rrkjus_psl.1.0.0.UPF"
needs_library = [pytest.mark.espresso, pytest.mark.skipif(
    not LIBRARY.is_dir(), reason="Debian's files of Quantum ESPRESSO are not here")]
UPF = """<UPF version="2.0.1">
<PP_INFO>
<PP_INPUTFILE>
{deck}
</PP_INPUTFILE>
</PP_INFO>
<PP_HEADER element="N" pseudo_type="USPP" relativistic="scalar" functional="PBE" z_valence="5.0"
 wfc_cutoff="4.391E1" rho_cutoff="3.2027E2"/>
<PP_R> 0.1 0.2 </PP_R>
</UPF>
"""
DECK = """&amp;input
   title='N / a', zed=7.,  ! a comment = 1
   rel=1,
   config='[He] 2s2.00 2p3',
   iswitch=3, dft='PBE'
 /
 &amp;inputp
   lpaw=.false., use_xsd=.FALSE.,
   pseudotype=3, file_pseudopw='N.UPF', author='ADC',
   lloc=-1,
   rcloc=1.2d0
   which_augfun='PSQ', rmatch_augfun_nc=.true., nlcc=.true., new_core_ps=.true., rcore=0.725,
   tm=.true.
 /
4
2S  1  0  2.00  0.00  1.00  1.325  0.0
2S  1  0  0.00  2.00  1.00  1.30  0.0
2P  2  1  3.00  0.00  0.90  1.35
2P  2  1  0.00  0.05  0.90  1.35  0.0
"""


def file(folder: Path, deck: str = DECK) -> Path:
    """A UPF file with an input of ld1.x, and nothing else that is read here."""
    return written(folder, UPF.format(deck=deck), "N.UPF")


def test_an_input_becomes_a_recipe(tmp_path: Path) -> None:
    recipe = recipe_from_upf(file(tmp_path), "N")
    assert (recipe.core, recipe.valence, recipe.functional) == ("1s2", "2s2 2p3 3p-1", "PBE")
    assert recipe.cutoffs_Ry == (44, 321)
    assert recipe.inputp == {
        "pseudotype": 3, "lloc": -1, "rcloc": 1.2, "which_augfun": "PSQ", "rmatch_augfun_nc": True,
        "nlcc": True, "new_core_ps": True, "rcore": 0.725, "tm": True}
    assert recipe.channels[1] == ("2S", 1, 0, 0, 2, 1, 1.3)
    assert recipe.gipaw == (("2S", 1, 0, 2, 0, 1.325, 1.325), ("2P", 2, 1, 3, 0, 1.35, 1.35),
                            ("3P", 3, 1, -1, 0.2, 1.35, 1.35))
    deck = ld1_deck(recipe, "full")
    assert "config = '1s1 2s2 2p3 3p-1'" in deck
    assert "zval = 6" in deck
    # No digit of a radius is lost.
    assert "2S 1 0 2.00 0.00 1.00 1.325 0.0" in deck


def test_the_forms_of_an_input_are_one(tmp_path: Path) -> None:
    recipe = recipe_from_upf(file(tmp_path), "N")
    for old, new in (("&amp;input\n", ""), ("&amp;", "@"), ("&amp;", "&"), ("[He]", "1s2.0"),
                     ("lpaw=.false., ", ""), (" /\n4", " &end\n4"), ("1.2d0", "1.2 ,")):
        assert old in DECK
        assert recipe_from_upf(file(tmp_path, DECK.replace(old, new)), "N") == recipe, (old, new)
    # The ultrasoft partner of a PAW set, with a nearby word about it.
    paw = recipe_from_upf(file(tmp_path, DECK.replace("lpaw=.false.", "lpaw=.true.")), "N")
    assert ld1_deck(paw) == ld1_deck(recipe)
    assert "ultrasoft partner of a PAW set" in paw.description


@pytest.mark.parametrize(("old", "new", "why"), [
    ("rel=1", "rel=2", "has rel = 2, not 1: only scalar relativistic"),
    ("rel=1,", "", "has rel = no value"),
    ("iswitch=3", "iswitch=1", "iswitch = 1"),
    ("rel=1", "rel=1, lsd=1, xmin=-8", "sets lsd in &input, xmin in &input"),
    ("tm=", "nlc=.true., tm=", "sets nlc in &inputp"),
    ("rel=1", "rel=1 oops", "'oops' in &input is no key"),
    ("dft='PBE'", "dft='PBESOL'", "has dft = 'PBESOL', its header 'PBE'"),
    (", dft='PBE'", "", "has dft = ''"),
    ("[He]", "[Ne]", r"of which '2s2.00' cannot be read"),
    ("2s2.00", "2s2 3s2", r"\(1s2 3s2\) leaves 3 valence electrons, its header says 5"),
    ("[He]", "[Hf]", r"of which '\[Hf\]' cannot be read"),
    ("2p3", "2p3,1", "of which '2p3,1' cannot be read"),
    ("[He]", "1s1", "1s is not a full core level"),
    ("\n4\n", "\n5\n", "a table of waves is incomplete"),
    (" /\n4", "\n4", "the namelist &inputp has no end"),
    (DECK, "# ATOM\nN 7.0", "is of another program than ld1.x"),
    ("pseudotype=3", "pseudotype=2, lpaw=.true.", "lpaw without pseudotype = 3"),
    ("2P  2  1", "2P  2  2", "no bound wave of l = 1")])
def test_what_cannot_be_taken_over_is_named(
        tmp_path: Path, old: str, new: str, why: str) -> None:
    assert old in DECK
    with pytest.raises(InputError, match=why) as said:
        recipe_from_upf(file(tmp_path, DECK.replace(old, new).replace(
            "lpaw=.false., ", "" if "lpaw" in new else "lpaw=.false., ")), "N")
    assert "\n" not in str(said.value)


def test_a_file_without_an_input_or_of_another_element_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is for N, not O"):
        recipe_from_upf(file(tmp_path), "O")
    bare = changed(file(tmp_path), tmp_path, r"(?s)<PP_INPUTFILE>.*</PP_INPUTFILE>", "", "bare.UPF")
    with pytest.raises(InputError, match="no section PP_INPUTFILE"):
        recipe_from_upf(bare, "N")
    with pytest.raises(InputError, match="no wfc_cutoff in its header"):
        recipe_from_upf(changed(file(tmp_path), tmp_path, "wfc_cutoff", "x", "bare.UPF"), "N")


def test_two_bound_p_waves_need_no_third(tmp_path: Path) -> None:
    # As nickel with 3p in the valence: 3p and 4p at their levels.
    deck = DECK.replace("[He] 2s2.00 2p3", "1s2 2s2 2p3 3p0").replace(
        "2P  2  1  0.00  0.05", "3P  3  1  0.00  7.00")
    recipe = recipe_from_upf(file(tmp_path, deck), "N")
    assert recipe.valence == "2s2 2p3 3p0"
    assert [row[:5] for row in recipe.gipaw if row[2] == 1] == [
        ("2P", 2, 1, 3, 0), ("3P", 3, 1, 0, 0)]


@pytest.mark.espresso
@pytest.mark.parametrize("element", ["Br", "Cl"])
def test_a_set_of_a_recipe_gives_that_recipe(element: str) -> None:
    recipe = recipe_from_upf(make_pseudo(element).path, element)
    assert ld1_deck(recipe) == ld1_deck(load_recipe(element))
    assert recipe.cutoffs_Ry == (0, 0)
    with pytest.raises(InputError, match="1s is not a full core level there"):
        recipe_from_upf(make_pseudo(element, "full").path, element)


def mean_radius(pseudo: Pseudopotential) -> float:
    """<r> of the 1s orbital, bohr."""
    core = next(o for o in pseudo.core_orbitals if o.label == "1S")
    radius = pseudo.radius_bohr
    weight = core.values**2
    return float(np.trapezoid(weight * radius, radius) / np.trapezoid(weight, radius))


def pairs() -> list[pytest.param]:
    """Real files, their valence, and <r> of 1s with and without the hole, by Slater's rules."""
    return [pytest.param(name, valence, marks=needs_library) for name, valence in (
        ("N.pbe-n-rrkjus_psl.1.0.0.UPF", 5), ("Si.pbe-nl-rrkjus_psl.1.0.0.UPF", 4),
        ("Ni.pbesol-n-rrkjus_psl.0.1.UPF", 10))]


@pytest.mark.parametrize(("name", "valence"), pairs())
def test_a_pair_for_a_k_edge_from_a_library(name: str, valence: int) -> None:
    element = name.partition(".")[0]
    # The set without a hole is held to the file within this.
    made = {hole: make_from_upf(LIBRARY / name, element, hole)[1] for hole in
            ("none", "half", "full")}
    assert [one.z_valence - valence for one in made.values()] == [0, 0.5, 1]
    for one in made.values():
        check_for_xspectra(one)
        waves = [w for w in check_partial_waves(one) if w.label.endswith("P")]
        assert [w.ratio_at_cutoff for w in waves] == pytest.approx([1, 1], abs=1e-3)
    radii = {w.cutoff_bohr for one in made.values() for w in one.partial_waves if w.l == 1}
    assert len(radii) == 1
    # One 1s electron screens the other by 0.3 (Slater, Phys. Rev. 36, 57 (1930)).
    number = {"N": 7, "Si": 14, "Ni": 28}[element]
    assert mean_radius(made["full"]) / mean_radius(made["none"]) == pytest.approx(
        (number - 0.3) / number, abs=0.01)


@pytest.mark.espresso
@pytest.mark.skipif(not LIBRARY.is_dir(), reason="Debian's files of Quantum ESPRESSO are not here")
def test_a_paw_set_gives_its_ultrasoft_partner() -> None:
    # The library has both of nitrogen, and they are one set here.
    paw, soft = (make_from_upf(NITROGEN.with_name(NITROGEN.name.replace("rrkjus", kind)), "N")[1]
                 for kind in ("kjpaw", "rrkjus"))
    assert paw.digest == soft.digest


@pytest.mark.espresso
@pytest.mark.skipif(not LIBRARY.is_dir(), reason="Debian's files of Quantum ESPRESSO are not here")
@pytest.mark.parametrize(("old", "new", "part"), [
    ("rcloc=1.2", "rcloc=1.25", "projectors"), ("rcore=0.7,", "rcore=0.75,", "core charge"),
    ("2.00  1.00  1.30", "2.50  1.00  1.30", "projectors")])
def test_an_input_of_another_set_is_noticed(
        tmp_path: Path, old: str, new: str, part: str) -> None:
    with pytest.raises(ComputationError, match=f"{part} of the set made from the input in"):
        make_from_upf(changed(NITROGEN, tmp_path, old, new), "N")


@pytest.mark.espresso
@pytest.mark.skipif(not LIBRARY.is_dir(), reason="Debian's files of Quantum ESPRESSO are not here")
def test_a_study_takes_the_pair(tmp_path: Path) -> None:
    for hole in ([], ["--core-hole", "1s"]):
        done = polaron("pseudo", "N", "--from", str(NITROGEN), *hole, "--no-box", "--out",
                       f"N{len(hole)}.UPF", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "made from the ld1.x input of N.pbe-n-rrkjus_psl.1.0.0.UPF, GIPAW 2S 2P 3P" in (
            " ".join(done.stdout.split()))
    cell = Crystal(1.81 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]), ("B", "N"),
                   [[0, 0, 0], [.25, .25, .25]], "BN")
    write_crystal(cell, tmp_path / "bn.cif")
    study = written(tmp_path, 'element = "N"\nreference = "rest"\n[structures.rest]\ncrystal ='
                    ' "bn.cif"\n[pseudopotentials]\nB ='
                    f' "{LIBRARY}/B.pbe-n-rrkjus_psl.1.0.0.UPF"\nN = "N0.UPF"\nN-hole = "N2.UPF"\n',
                    "bn.toml")
    done = polaron("run", study.name, "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "hole" in done.stdout
