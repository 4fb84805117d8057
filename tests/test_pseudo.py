"""The recipes: made with the real ld1.x, and the atom in a box with the real pw.x against the
all-electron atom.
"""

from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from perovskite_polaron.errors import ComputationError, InputError
from perovskite_polaron.espresso.pseudo import (
    HOLES, Level, check_levels_in_box, check_partial_waves, ld1_deck, load_recipe, make_pseudo,
    read_levels)

ABSORBERS = ("Br", "Cl")


@pytest.mark.parametrize("element", ABSORBERS)
def test_a_hole_changes_the_core_and_the_valence_charge_and_nothing_else(element: str) -> None:
    decks = [ld1_deck(load_recipe(element), hole) for hole in HOLES]
    changed = [{a for a, b in zip(deck.splitlines(), decks[0].splitlines(), strict=True) if a != b}
               for deck in decks]
    assert not changed[0]
    for lines, hole, left in zip(changed[1:], ("half", "full"), ("1s1.5 ", "1s1 "), strict=True):
        assert len(lines) == 2
        assert any(left in line for line in lines), hole
        assert any(f"zval={7 + HOLES[hole]:g}," in line for line in lines), hole


def test_an_element_without_projectors_is_no_absorber() -> None:
    with pytest.raises(InputError, match="no GIPAW projectors"):
        ld1_deck(load_recipe("Pb"), "full")


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
@pytest.mark.parametrize("hole", HOLES)
def test_chlorine_in_a_box_has_the_levels_of_the_atom(hole: str) -> None:
    pseudo = make_pseudo("Cl", hole)
    levels = read_levels(Path(pseudo.path).with_suffix(".ld1.out").read_text())
    rows = check_levels_in_box(pseudo, levels, load_recipe("Cl").cutoffs_Ry)
    assert [r.label for r in rows] == ["3S", "3P"]
    assert max(abs(r.plane_wave_eV - r.all_electron_eV) for r in rows) < 0.06
    if hole == "full":
        # The same set held against another atom's levels: the check can say no.
        wrong = tuple(Level(v.label, v.occupation, v.all_electron_Ry - 0.1 * (v.label == "3S"),
                            v.pseudo_Ry) for v in levels)
        with pytest.raises(ComputationError, match="a ghost state, or radii too large"):
            check_levels_in_box(pseudo, wrong, load_recipe("Cl").cutoffs_Ry)


@pytest.mark.espresso
def test_lead_has_the_levels_of_the_atom_at_its_cut_off_where_pslibrarys_radii_have_not(
    tmp_path: Path) -> None:
    made = make_pseudo("Pb")
    levels = read_levels(Path(made.path).with_suffix(".ld1.out").read_text())
    rows = check_levels_in_box(made, levels, load_recipe("Pb").cutoffs_Ry)
    assert [r.label for r in rows] == ["5D", "6S", "6P"]
    assert max(abs(r.plane_wave_eV - r.all_electron_eV) for r in rows) < 0.02
    recipes = (resources.files("perovskite_polaron") / "data" / "pseudo"
               / "recipes.toml").read_text()
    (tmp_path / "small.toml").write_text(recipes.replace("1.8, 2.2]", "1.4, 1.6]"))
    small = make_pseudo("Pb", recipe_file=str(tmp_path / "small.toml"))
    assert small.digest != made.digest
    with pytest.raises(ComputationError, match="level 5D of Pb"):
        check_levels_in_box(small, levels, (35, 200))
