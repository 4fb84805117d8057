"""The recipes: made with the real ld1.x, and the atom in a box with the real pw.x against the
all-electron atom.
"""

import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from perovskite_polaron.errors import ComputationError, InputError
from perovskite_polaron.espresso.atom_box import BoxCheck, check_levels_in_box, levels_in_box
from perovskite_polaron.espresso.program import program_version
from perovskite_polaron.espresso.pseudo import (
    HOLES, Level, check_partial_waves, ld1_deck, load_recipe, make_pseudo, read_levels)
from perovskite_polaron.espresso.upf import Pseudopotential, check_for_xspectra

ABSORBERS = ("Br", "Cl")
# Sets whose levels are off -> why they are refused.
OFF = {"Cl, wrong levels": "level 3S of .* a ghost state, or radii too large",
       "Pb, small radii": "level 5D of Pb"}
Arguments = tuple[Pseudopotential, tuple[Level, ...], tuple[float, float]]


@pytest.mark.parametrize("element", ABSORBERS)
def test_a_hole_changes_the_core_and_the_valence_charge_and_nothing_else(element: str) -> None:
    decks = [ld1_deck(load_recipe(element), hole) for hole in HOLES]
    changed = [{a for a, b in zip(deck.splitlines(), decks[0].splitlines(), strict=True) if a != b}
               for deck in decks]
    assert not changed[0]
    for lines, hole, left in zip(changed[1:], ("half", "full"), ("1s1.5 ", "1s1 "), strict=True):
        assert len(lines) == 2
        assert any(left in line for line in lines), hole
        assert f"zval = {7 + HOLES[hole]:g}" in {line.strip() for line in lines}, hole


def test_an_element_without_projectors_is_no_absorber() -> None:
    with pytest.raises(InputError, match="no GIPAW projectors"):
        ld1_deck(load_recipe("Pb"), "full")


@pytest.mark.espresso
@pytest.mark.parametrize(("element", "valence"),
                         [("C", 4), ("N", 5), ("O", 6), ("F", 7), ("S", 6), ("Se", 6)])
def test_more_elements_have_sets_for_a_k_edge(element: str, valence: int) -> None:
    for hole in ("none", "full"):
        pseudo = make_pseudo(element, hole)
        assert pseudo.z_valence == valence + HOLES[hole]
        check_for_xspectra(pseudo)
        ratios = [w.ratio_at_cutoff for w in check_partial_waves(pseudo) if w.label.endswith("P")]
        assert ratios == pytest.approx([1, 1], abs=0.05)


@pytest.mark.espresso
@pytest.mark.parametrize("hole", HOLES)
@pytest.mark.parametrize("element", ABSORBERS)
def test_two_projectors_follow_the_all_electron_waves(element: str, hole: str) -> None:
    pseudo = make_pseudo(element, hole)
    assert pseudo.z_valence == 7 + HOLES[hole]
    assert "1S" in [o.label for o in pseudo.core_orbitals]
    waves = [w for w in check_partial_waves(pseudo) if w.label.endswith("P")]
    assert len(waves) == 2
    for wave in (w for w in pseudo.partial_waves if w.l == 1):
        outside = (pseudo.radius_bohr >= wave.cutoff_bohr) & (pseudo.radius_bohr <= wave.cutoff_bohr
                                                              + 0.7)
        off = np.abs(wave.pseudo
                     - wave.all_electron)[outside].max() / np.abs(wave.all_electron)[outside].max()
        assert off < 0.08, wave.label


@pytest.mark.espresso
@pytest.mark.parametrize(("element", "hole"), [
    ("Br", "none"), ("Br", "full"), ("Cs", "none"), ("Pb", "none")])
def test_a_set_that_comes_with_the_package_is_what_ld1_makes(
        element: str, hole: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if program_version("ld1.x") != "6.7MaX":
        pytest.skip("the sets were made by ld1.x 6.7")
    # The kernels of OpenBLAS for processors with AVX-512 round otherwise: 3e-6 in a few values.
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setenv("POLARON_CACHE", str(tmp_path / "unpacked"))
    kept = make_pseudo(element, hole).path.read_text()
    monkeypatch.setenv("POLARON_CACHE", str(tmp_path / "made"))
    monkeypatch.setattr("perovskite_polaron.espresso.pseudo._unpack", lambda stem, folder: False)
    made = make_pseudo(element, hole).path.read_text()
    numbers = [np.array(re.findall(r"-?\d\.\d+E[+-]\d+", text), float) for text in (kept, made)]
    assert len(numbers[0]) > 10_000
    np.testing.assert_allclose(*numbers, rtol=1e-6, atol=1e-6)


@pytest.fixture(scope="module")
def in_box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[BoxCheck]]]:
    """The check of each atom in its box, two at a time: they take most of this module's seconds."""
    def arguments(element: str, hole: str = "none", recipe: str | None = None) -> Arguments:
        pseudo = make_pseudo(element, hole, recipe_file=recipe)
        levels = read_levels(Path(pseudo.path).with_suffix(".ld1.out").read_text())
        return pseudo, levels, load_recipe(element).cutoffs_Ry

    checks = {f"Cl {hole}": arguments("Cl", hole) for hole in HOLES} | {"Pb": arguments("Pb")}
    # The set held against another atom's levels, and with the radii of PSlibrary: the check can
    # say no.
    pseudo, levels, cutoffs = checks["Cl full"]
    wrong = tuple(replace(v, all_electron_Ry=v.all_electron_Ry - 0.1 * (v.label == "3S"))
                  for v in levels)
    checks["Cl, wrong levels"] = pseudo, wrong, cutoffs
    recipes = resources.files("perovskite_polaron") / "data" / "pseudo" / "recipes.toml"
    small = tmp_path_factory.mktemp("recipes") / "small.toml"
    small.write_text(recipes.read_text().replace("1.8, 2.2]", "1.4, 1.6]"))
    narrow, _, _ = arguments("Pb", recipe=str(small))
    assert narrow.digest != checks["Pb"][0].digest
    checks["Pb, small radii"] = narrow, checks["Pb"][1], (35.0, 200.0)
    with ThreadPoolExecutor(2) as pool:
        yield {name: pool.submit(check_levels_in_box if name in OFF else levels_in_box, *check)
               for name, check in checks.items()}


@pytest.mark.espresso
@pytest.mark.parametrize(("atom", "labels", "within_eV"), [
    *((f"Cl {hole}", ["3S", "3P"], 0.06) for hole in HOLES), ("Pb", ["5D", "6S", "6P"], 0.02)])
def test_an_atom_in_a_box_has_its_levels(
        in_box: dict[str, Future[BoxCheck]], atom: str, labels: list[str],
        within_eV: float) -> None:
    check = in_box[atom].result()
    assert check.agrees
    assert [level.label for level in check.levels] == labels
    assert check.worst.error_eV < within_eV


@pytest.mark.espresso
@pytest.mark.parametrize(("atom", "why"), OFF.items())
def test_levels_that_are_off_are_refused(
        in_box: dict[str, Future[BoxCheck]], atom: str, why: str) -> None:
    with pytest.raises(ComputationError, match=why):
        in_box[atom].result()
