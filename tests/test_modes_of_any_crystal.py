"""Modes of crystals that are no CsPbBr3: coordinates anywhere, unstable modes, no charges."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from conftest import polaron

from perovskite_polaron.errors import InputError
from perovskite_polaron.lattice.crystal import Crystal, supercell
from perovskite_polaron.lattice.files import read_crystal, write_crystal
from perovskite_polaron.lattice.matching import match
from perovskite_polaron.lattice.symmetry import find_symmetry, primitive
from perovskite_polaron.phonons.distortion import distort
from perovskite_polaron.phonons.forces import ase_forces
from perovskite_polaron.phonons.modes import mode_of, read_mode_file, read_modes
from perovskite_polaron.phonons.readers import from_forces
from perovskite_polaron.phonons.response import nominal_response
from perovskite_polaron.workflow.structures import study_structures
from perovskite_polaron.workflow.study import read_study

TITANATE = Crystal(3.9 * np.eye(3), ("Sr", "Ti", "O", "O", "O"),
                   [[0, 0, 0], [.5, .5, .5], [.5, .5, 0], [.5, 0, .5], [0, .5, .5]], "titanate")
CU3AU = Crystal(3.75 * np.eye(3), ("Au", "Cu", "Cu", "Cu"),
                [[0, 0, 0], [0, .5, .5], [.5, 0, .5], [.5, .5, 0]], "Cu3Au")


def elpasolite() -> Crystal:
    """Cs2AgBiBr6, Fm-3m, 40 atoms [Slavney et al., J. Am. Chem. Soc. 138, 2138 (2016)]."""
    face = np.array([[0, 0, 0], [0, .5, .5], [.5, 0, .5], [.5, .5, 0]])
    axes = np.vstack([np.eye(3), -np.eye(3)]) * 0.2513
    sites = {"Ag": [[.5, .5, .5]], "Bi": [[0, 0, 0]], "Cs": [[.25] * 3, [.75] * 3], "Br": axes}
    rows = [(s, (np.array(x) + f) % 1) for s, xs in sites.items() for x in xs for f in face]
    species = tuple(s for s, _ in rows)
    return Crystal(11.2711 * np.eye(3), species, [x for _, x in rows], "Cs2AgBiBr6")


@pytest.fixture(scope="module")
def parameters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The force constants of a perovskite of noble-gas atoms, as phonopy writes them: far from
    equilibrium, so that some of its modes are unstable.
    """
    from ase import Atoms
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms

    unit = PhonopyAtoms(symbols=list(TITANATE.species), cell=TITANATE.lattice_A,
                        scaled_positions=TITANATE.positions)
    phonon = Phonopy(unit, np.eye(3), primitive_matrix=np.eye(3))
    phonon.generate_displacements(distance=0.01)
    forces = []
    for cell in phonon.supercells_with_displacements:
        atoms = Atoms(cell.symbols, cell=cell.cell, scaled_positions=cell.scaled_positions,
                      pbc=True)
        atoms.calc = LennardJones(sigma=1.75, epsilon=0.1, rc=6.0, smooth=True)
        forces.append(atoms.get_forces())
    phonon.forces = np.array(forces)
    phonon.produce_force_constants()
    path = tmp_path_factory.mktemp("titanate") / "phonopy_params.yaml"
    phonon.save(path, settings={"force_constants": True})
    return path


def test_coordinates_outside_the_cell_change_nothing() -> None:
    moved = np.array([[-1e-17, 0, 1], [0, 1.5, .5], [-.5, 0, .5], [.5, .5, -3e-17]])
    elsewhere = replace(CU3AU, positions=moved)
    inside, outside = (from_forces(one, ase_forces(EMT())).modes for one in (CU3AU, elsewhere))
    assert inside.energies_meV[-1] > 10
    np.testing.assert_allclose(outside.energies_meV, inside.energies_meV, atol=1e-6)
    at = distort(elsewhere, outside[-1], [0.05], "max_A")[0]
    assert at.max_displacement_A == pytest.approx(0.05)


def test_degenerate_modes_are_turned_to_the_axes() -> None:
    """In a cubic crystal each of three polar modes of one energy moves atoms along one axis."""
    modes = from_forces(CU3AU, ase_forces(EMT())).modes
    triples = [g for g in modes.degenerate_groups if g.stop - g.start == 3]
    assert len(triples) >= 3
    for group in triples:
        for one in modes[group]:
            along = np.abs(one.patterns[0]).max(axis=0)
            assert np.sort(along)[1] < 1e-6 * along.max()


def test_unstable_modes_are_kept_and_nothing_is_chosen_without_charges(
    parameters: Path, tmp_path: Path) -> None:
    done = polaron("modes", str(parameters), "--out", "m.json", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    table = json.loads(done.stdout)
    unstable = [i for i, row in enumerate(table["modes"]) if row["unstable"]]
    assert unstable
    assert table["selected"] is None
    file = read_mode_file(tmp_path / "m.json")
    assert not file.chosen
    assert len(file.modes) == 12
    for i, energy in zip(file.modes.numbers, file.modes.energies_meV, strict=True):
        assert energy == table["modes"][i]["energy_meV"]

    write_crystal(TITANATE, tmp_path / "crystal.cif")
    words = ("distort", "crystal.cif", "--mode", "m.json", "--max-displacement", "0.05A", "--json")
    done = polaron(*words, "--out", "none", cwd=tmp_path)
    assert done.returncode == 2
    assert "none of them was chosen: say which by its number" in done.stderr
    done = polaron(*words, "--out", "soft", "--select", str(unstable[0]), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (point,) = json.loads(done.stdout)["structures"]
    assert point["max_displacement_A"] == pytest.approx(0.05)
    assert point["amplitude_zero_point"] is None
    soft = mode_of(tmp_path / "m.json", unstable[0])
    with pytest.raises(InputError, match="has no energy, and so no zero-point motion"):
        distort(TITANATE, soft, [1.0], "zero_point")
    with pytest.raises(InputError, match=r"there is no mode 99: .* has \d+"):
        read_modes(tmp_path / "m.json").numbered([99])
    moved = read_crystal(tmp_path / "soft" / "000.cif").cartesian_A - TITANATE.cartesian_A
    pattern = soft.patterns[0].real
    np.testing.assert_allclose(moved, pattern * 0.05 / np.linalg.norm(pattern, axis=1).max(),
                               atol=1e-10)


def test_a_mode_chosen_by_hand_goes_into_a_study(parameters: Path, tmp_path: Path) -> None:
    words = ("modes", str(parameters), "--nominal-charges", "Sr=2,Ti=4,O=-2",
             "--epsilon-inf", "5.2", "--direction", "c", "--json")
    table = json.loads(polaron(*words, "--out", "rule.json", cwd=tmp_path).stdout)
    assert "nominal charges, an approximation: Sr +2, Ti +4, O -2" in table["charges"]
    rule = table["selected"]
    assert table["modes"][rule]["kind"] == "LO"
    other = next(i for i, row in enumerate(table["modes"])
                 if i != rule and row["kind"] != "acoustic" and row["energy_meV"] > 0)
    done = polaron(*words, "--select", str(other), "--out", "hand.json", cwd=tmp_path)
    assert f"mode {other} is chosen by hand" in json.loads(done.stdout)["chosen_because"]
    assert mode_of(tmp_path / "rule.json").numbers == (rule,)
    assert mode_of(tmp_path / "hand.json").numbers == (other,)

    (tmp_path / "study.toml").write_text(f"""element = "Ti"
reference = "rest"
[engine]
kind = "feff"
[structures.rest]
crystal = "rule.json"
[structures.moved]
crystal = "rule.json"
modes = ["rule.json"]
select = [{other}]
max_displacement_A = [0.05]
""")
    rest, moved = study_structures(read_study(tmp_path / "study.toml"))
    assert rest.crystal.species == TITANATE.species
    shift = moved.crystal.cartesian_A - rest.crystal.cartesian_A
    pattern = mode_of(tmp_path / "hand.json").patterns[0].real
    assert abs((shift * pattern).sum()) == pytest.approx(
        np.linalg.norm(shift) * np.linalg.norm(pattern))


@pytest.mark.parametrize(("charges", "epsilon", "message"), [
    ({"Sr": 2, "Ti": 4}, 5.0, "O stands in only one of"), ({"Sr": 2, "Ti": 3, "O": -2}, 5.0,
     "add up to -1 e"), ({"Sr": 2, "Ti": 4, "O": -2}, 0.5, "is not possible")])
def test_nominal_charges_are_those_of_a_neutral_crystal(
    charges: dict[str, float], epsilon: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        nominal_response(TITANATE, charges, epsilon)


def test_the_primitive_cell_is_the_same_crystal(tmp_path: Path) -> None:
    conventional = elpasolite()
    small = primitive(conventional)
    assert len(small) == 10
    assert len(primitive(small)) == 10
    assert find_symmetry(small).number == find_symmetry(conventional).number == 225
    # Every atom of the cell given is one of the small one's, moved by its lattice vectors.
    shift = (conventional.cartesian_A[:, None] - small.cartesian_A) @ np.linalg.inv(small.lattice_A)
    near = np.abs(shift - np.rint(shift)).max(axis=2) < 1e-9
    assert (near.sum(axis=1) == 1).all()
    assert [small.species[i] for i in near.argmax(axis=1)] == list(conventional.species)
    assert len(set(match(supercell(small, (2, 2, 2)), small).atoms)) == 10

    write_crystal(conventional, tmp_path / "cs2agbibr6.cif")
    (tmp_path / "study.toml").write_text("""element = "Br"
reference = "rest"
[engine]
kind = "feff"
[structures.rest]
crystal = "cs2agbibr6.cif"
primitive = true
""")
    (rest,) = study_structures(read_study(tmp_path / "study.toml"))
    assert [(a.multiplicity, a.element) for a in rest.absorbers] == [(6, "Br")]
    done = polaron("structure", "cs2agbibr6.cif", "--primitive", "--out", "p.cif", "--json",
                   cwd=tmp_path)
    assert json.loads(done.stdout)["atoms"] == 10


def test_a_primitive_cell_does_not_mix_isotopes() -> None:
    heavy = np.full(40, np.nan)
    heavy[0] = 109.0
    with pytest.raises(InputError, match="isotopes"):
        primitive(replace(elpasolite(), isotopes_amu=heavy))


def test_isotopes_of_modes_stay_with_their_crystal(parameters: Path, tmp_path: Path) -> None:
    assert polaron("modes", str(parameters), "--out", "m.json", cwd=tmp_path).returncode == 0
    record = json.loads((tmp_path / "m.json").read_text())
    record["masses_amu"][2] = 17.999
    (tmp_path / "heavy.json").write_text(json.dumps(record))
    assert read_crystal(tmp_path / "heavy.json").masses_amu[2] == 17.999
    assert read_crystal(tmp_path / "m.json").isotopes_amu is None
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(InputError, match="holds no crystal"):
        read_crystal(tmp_path / "other.json")
