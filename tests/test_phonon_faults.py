"""Files of phonons as other programs, other versions and other options write them: read rightly, or
refused in one line."""

import json
import re
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import changed, polaron

from perovskite_polaron.errors import ComputationError, InputError
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.files import read_crystal, write_crystal
from perovskite_polaron.phonons.distortion import distort
from perovskite_polaron.phonons.matdyn_files import read_dynamical_matrices
from perovskite_polaron.phonons.modes import Modes, read_modes, write_modes
from perovskite_polaron.phonons.phonopy_files import load_yaml
from perovskite_polaron.phonons.readers import from_file, read_phonons
from perovskite_polaron.phonons.response import crystal_direction, neutral_response, read_born
from perovskite_polaron.phonons.selection import (
    direction_table, held_by_field, mode_table, select, spherical_alpha)
from perovskite_polaron.units import MEV_PER_THZ

pytest.importorskip("phonopy")
DATA = Path(__file__).parent / "data" / "phonons"
FILES = Path(__file__).parent.parent / "docs" / "files"
PARAMETERS, BORN = FILES / "phonopy_params.yaml", FILES / "BORN"
DYN = DATA / "alas-333.dyn1"


# --- charges ---


def test_charges_of_other_atoms_are_refused_though_they_are_neutral(tmp_path: Path) -> None:
    """The three Cl in the order z x y instead of x y z: neutral, and 1.9 e off the symmetry."""
    lead, caesium, chlorine = ([float(w) for w in line.split()] for line in
                               BORN.read_text().splitlines()[2:5])
    along, across = chlorine[0], chlorine[4]
    assert along < -4 < across < 0
    rows = [lead, caesium, *(np.diag([across] * k + [along] + [across] * (2 - k)).ravel()
                             for k in (2, 0, 1))]
    head = "\n".join(BORN.read_text().splitlines()[:2])
    body = "\n".join(" ".join(map(str, row)) for row in rows)
    (tmp_path / "BORN").write_text(f"{head}\n{body}\n")
    with pytest.raises(ComputationError, match=r"symmetry of phonopy_params\.yaml by 1\.9 e"):
        from_file(PARAMETERS, "c", tmp_path / "BORN")
    right = from_file(PARAMETERS, "c", BORN)
    assert right.modes.energies_meV[-1] == pytest.approx(38.04, abs=0.01)
    # Beside the parameters, where phonopy itself would make them symmetric without a word:
    for source in (PARAMETERS, tmp_path / "BORN"):
        (tmp_path / source.name).write_text(source.read_text())
    with pytest.raises(ComputationError, match="break the symmetry"):
        from_file(tmp_path / "phonopy_params.yaml", "c")
    assert right.response is not None
    crystal = right.modes.crystal
    with pytest.raises(ComputationError, match=r"dielectric tensor of .* breaks the symmetry"):
        neutral_response(crystal, np.diag([2.0, 3.0, 4.0]), right.response.born_e)


def test_charges_that_nobody_asked_for_do_not_stop_transverse_modes(tmp_path: Path) -> None:
    """As ph.x leaves them for diamond on few k points: not neutral."""
    dyn = DATA / "alas-gamma.dyn"
    matrix = read_dynamical_matrices(dyn)[0]
    assert matrix.born_charges is not None
    assert np.abs(matrix.born_charges.sum(axis=0)).max() > 0.1
    found = from_file(dyn)
    assert found.response is None
    assert "charges are not used" in found.reading
    np.testing.assert_allclose(found.modes.energies_meV, matrix.modes().energies_meV)
    with pytest.raises(ComputationError, match="miss neutrality"):
        from_file(dyn, "c")


@pytest.mark.parametrize("style", ["nac", "top"])
def test_charges_inside_phonopys_file_are_found_in_old_and_new_places(tmp_path: Path,
                                                                      style: str) -> None:
    response = from_file(PARAMETERS, "c", BORN).response
    assert response is not None
    charges = {"dielectric_constant": response.epsilon_inf.tolist(),
               "born_effective_charge": response.born_e.tolist()}
    entry = {"nac": charges} if style == "nac" else charges
    text = "".join(f"{key}: {json.dumps(value)}\n" for key, value in entry.items())
    path = tmp_path / "params.yaml"
    path.write_text(PARAMETERS.read_text() + text)
    assert from_file(path, "c").modes.energies_meV[-1] == pytest.approx(38.040, abs=0.001)


def test_the_stiffer_mode_of_a_stronger_field_is_not_chosen() -> None:
    """α ∝ g²/ω^(3/2): here the softer mode has the smaller field and the larger α. A mode that only
    the field keeps from being unstable has the largest, which means nothing."""
    found = from_file(PARAMETERS, "c", BORN)
    rows = mode_table(found.modes, found.response)
    soft = held_by_field(found.modes, found.transverse)
    assert soft == {8}
    assert rows[8].energy_meV == pytest.approx(1.073, abs=0.001)
    assert select(rows, soft)[0] == 14
    assert select(rows)[0] == 8
    strong = replace(rows[14], energy_meV=90.0, froehlich_meV_A=80.0)
    weak = replace(rows[11], energy_meV=20.0, froehlich_meV_A=50.0)
    assert select([strong, weak])[0] == 1
    assert found.transverse is not None
    assert found.response is not None
    assert spherical_alpha(found.transverse, found.response, 0.17) is None  # unstable modes
    table = direction_table(found.transverse, found.response)
    assert [row["relative_alpha"] for row in table] == pytest.approx([1, 1, 1])


# --- phonopy ---


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """band.yaml in THz and in cm⁻¹, and qpoints.yaml of Γ with the field along a* and without."""
    import phonopy

    folder = tmp_path_factory.mktemp("tables")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ph = phonopy.load(PARAMETERS, log_level=0, is_nac=False)
        ph.run_band_structure([[[0, 0, 0]]], with_eigenvectors=True)
        ph.write_yaml_band_structure(filename=folder / "band.yaml")
        ph.run_qpoints([[0, 0, 0]], with_eigenvectors=True)
        ph.qpoints.write_yaml(folder / "plain.yaml")
        response = read_born(BORN, from_file(PARAMETERS).modes.crystal)
        ph.nac_params = {"born": response.born_e, "dielectric": response.epsilon_inf,
                         "factor": 14.399652}
        ph.run_qpoints([[0, 0, 0]], nac_q_direction=[0, 1, 1], with_eigenvectors=True)
        ph.qpoints.write_yaml(folder / "field.yaml")
    in_cm = re.sub(r"frequency: +([-\d.]+)", lambda m: f"frequency: {float(m[1]) * 33.3564095:.9f}",
                   (folder / "band.yaml").read_text())
    (folder / "band_cm.yaml").write_text(in_cm)
    return folder


def test_forces_of_the_working_directory_are_nobodys(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """phonopy itself prefers FORCE_CONSTANTS of the working directory to forces in its file."""
    import phonopy
    from phonopy.file_IO import write_FORCE_CONSTANTS, write_FORCE_SETS

    right = from_file(PARAMETERS).modes.energies_meV
    ph = phonopy.load(PARAMETERS, log_level=0, is_nac=False)
    write_FORCE_CONSTANTS(4 * ph.force_constants, tmp_path / "FORCE_CONSTANTS")
    write_FORCE_SETS(ph.dataset, filename=str(tmp_path / "FORCE_SETS"))
    monkeypatch.chdir(tmp_path)
    found = from_file(PARAMETERS.resolve())
    assert found.modes.energies_meV == pytest.approx(right, abs=1e-5)
    assert "the forces in it" in found.reading
    # What is not in the file is taken from its own folder, and that is said.
    no_forces = tmp_path / "apart" / "phonopy_disp.yaml"
    no_forces.parent.mkdir()
    no_forces.write_text(re.sub(r"  forces:\n(?:  - \[.*\n)+", "", PARAMETERS.read_text()))
    with pytest.raises(InputError, match="force"):
        from_file(no_forces)
    shutil.copy(PARAMETERS, tmp_path)
    beside = from_file(PARAMETERS.name)
    assert beside.modes.energies_meV == pytest.approx(2 * right, abs=1e-5)
    assert "the FORCE_CONSTANTS beside it" in beside.reading
    (tmp_path / "FORCE_CONSTANTS").unlink()
    shutil.copy(no_forces, tmp_path)
    of_sets = from_file(no_forces.name)
    assert of_sets.modes.energies_meV == pytest.approx(right, abs=1e-5)
    assert "the FORCE_SETS beside it" in of_sets.reading


@pytest.mark.parametrize("compact", [True, False])
def test_constants_in_the_file_are_those_that_phonopy_reads(tmp_path: Path, compact: bool) -> None:
    import phonopy

    ph = phonopy.load(PARAMETERS, log_level=0, is_nac=False, is_compact_fc=compact)
    ph.save(tmp_path / "params.yaml", settings={"force_constants": True, "force_sets": False,
                                                "displacements": False})
    found = from_file(tmp_path / "params.yaml")
    assert "the force constants in it" in found.reading
    theirs = phonopy.load(tmp_path / "params.yaml", log_level=0, is_nac=False)
    theirs.run_qpoints([[0, 0, 0]])
    assert found.modes.energies_meV == pytest.approx(
        np.sort(theirs.qpoints.frequencies[0]) * 4.135667696, abs=1e-6)
    text = (tmp_path / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(re.sub(r"shape: \[.*", "shape: [ 5, 4 ]", text))
    with pytest.raises(InputError, match="phonopy cannot read"):
        from_file(tmp_path / "params.yaml")


def test_frequencies_in_another_unit_are_refused_or_converted(tables: Path) -> None:
    right = from_file(tables / "band.yaml")
    assert "THz (assumed" in right.reading
    with pytest.raises(InputError, match=r"748 meV.*no vibration has more than 188\.1 meV.*--freq"):
        from_file(tables / "band_cm.yaml")
    found = from_file(tables / "band_cm.yaml", frequency_unit="cm-1")
    np.testing.assert_allclose(found.modes.energies_meV, right.modes.energies_meV, atol=1e-4)
    assert "in cm-1" in found.reading
    with pytest.raises(InputError, match="not a unit of frequencies"):
        from_file(tables / "band.yaml", frequency_unit="rad/ps")


def test_a_table_with_a_field_is_read_along_its_direction_and_no_other(tables: Path) -> None:
    with pytest.raises(InputError, match=r"direction that must be given \(--direction\)"):
        from_file(tables / "field.yaml", crystal=PARAMETERS)
    expected = from_file(PARAMETERS, [0.0, 1.0, 1.0], BORN)
    found = from_file(tables / "field.yaml", [0.0, 1.0, 1.0], crystal=PARAMETERS)
    assert found.transverse is None
    np.testing.assert_allclose(found.modes.energies_meV, expected.modes.energies_meV, atol=1e-3)
    # With charges the field can be taken out again.
    both = from_file(tables / "field.yaml", [0.0, 1.0, 1.0], BORN, PARAMETERS)
    assert both.transverse is not None
    assert expected.transverse is not None
    np.testing.assert_allclose(both.transverse.energies_meV, expected.transverse.energies_meV,
                               atol=0.02)
    for wrong in ("c", "a", [1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, -1.0]):
        with pytest.raises(InputError, match="another one; give that"):
            from_file(tables / "field.yaml", wrong, crystal=PARAMETERS)
    with pytest.raises(InputError, match=r"whole symmetry.*leave --direction out"):
        from_file(tables / "plain.yaml", "c", crystal=PARAMETERS)
    assert from_file(tables / "plain.yaml", crystal=PARAMETERS).transverse is not None


def test_a_direction_may_be_reciprocal() -> None:
    fcc = Crystal(5 * (np.ones((3, 3)) - np.eye(3)) / 2, ("Ar",), np.zeros((1, 3)))
    assert crystal_direction(fcc, "a*") @ [-1, 1, 1] == pytest.approx(np.sqrt(3))
    assert np.abs(fcc.lattice_A[1:] @ crystal_direction(fcc, "a*")).max() < 1e-12
    with pytest.raises(InputError, match="not understood"):
        crystal_direction(fcc, "d*")


def test_units_in_capital_letters_are_those_of_earlier_versions(tmp_path: Path) -> None:
    old = changed(PARAMETERS, tmp_path, "(?s)physical_unit:.*?\n\n",
                  'physical_unit:\n  atomic_mass: "AMU"\n  length: "Angstrom"\n'
                  '  force_constants: "eV/Angstrom^2"\n\n')
    np.testing.assert_array_equal(from_file(old).modes.energies_meV,
                                  from_file(PARAMETERS).modes.energies_meV)
    bohr = changed(old, tmp_path, '"Angstrom"', '"au"', "bohr.yaml")
    with pytest.raises(InputError, match="counts length in 'au', and VASP"):
        from_file(bohr)


def test_extended_symbols_and_isotopes_of_phonopy(tmp_path: Path) -> None:
    """Cl1 and Cl2 are chlorine; a mass of 37 stays one."""
    text = PARAMETERS.read_text()
    parts = text.split("symbol: Cl ")
    extended = tmp_path / "extended.yaml"
    extended.write_text(parts[0] + "".join(f"symbol: Cl{1 + k % 3} {part}"
                                           for k, part in enumerate(parts[1:])))
    found = from_file(extended).modes
    assert found.crystal.species == ("Pb", "Cs", "Cl", "Cl", "Cl")
    np.testing.assert_allclose(found.energies_meV, from_file(PARAMETERS).modes.energies_meV,
                               atol=1e-6)
    heavy = changed(PARAMETERS, tmp_path, r"mass: 35\.453000", "mass: 36.965903", "heavy.yaml")
    isotope = from_file(heavy, "c", BORN)
    np.testing.assert_allclose(isotope.modes.masses_amu[2:], 36.965903)
    highest = isotope.modes.energies_meV[-1]
    assert highest == pytest.approx(37.37, abs=0.02)
    path = write_modes(isotope.modes[isotope.modes.optical], tmp_path / "m.json")
    (point,) = distort(isotope.modes.crystal, read_modes(path)[-1], [0.1], unit="max_A")
    assert point.amplitude_zero_point[0] == pytest.approx(
        0.1 / (np.linalg.norm(isotope.modes.patterns[-1], axis=1).max()
               * isotope.modes[-1].zero_point_sqrt_amu_A[0]))


def test_masses_that_a_crystal_states_must_be_those_of_the_modes(tmp_path: Path) -> None:
    modes = read_modes("lo-c")
    first = modes.crystal
    stated = Crystal(first.lattice_A, first.species, first.positions, "79Br",
                     isotopes_amu=[78.918 if s == "Br" else np.nan for s in modes.crystal.species])
    assert distort(stated, modes, [0.1])[0].crystal.isotopes_amu is not None
    heavy = Modes(modes.crystal, [84.0 if s == "Br" else m for s, m in
                                  zip(modes.crystal.species, modes.masses_amu, strict=True)],
                  modes.energies_meV, modes.patterns)
    assert distort(modes.crystal, heavy, [0.1])
    with pytest.raises(InputError, match=r"84\.000 amu for Br 9, not 78\.918"):
        distort(stated, heavy, [0.1])
    iodine = Modes(modes.crystal, [127.0 if s == "Br" else m for s, m in
                                   zip(modes.crystal.species, modes.masses_amu, strict=True)],
                   modes.energies_meV, modes.patterns)
    with pytest.raises(InputError, match="other masses"):
        distort(modes.crystal, iodine, [0.1])


@pytest.mark.parametrize("name", ["cl", "deuterium"])
def test_one_isotope_among_like_atoms_lowers_the_symmetry_of_the_modes(name: str) -> None:
    """Modes with one heavy Cl of three are not those of a cube, and are not held to be."""
    phonons = from_file(PARAMETERS).modes
    masses = phonons.masses_amu.copy()
    masses[2] *= 1.04 if name == "cl" else 1.2
    from perovskite_polaron.phonons.canonical import diagonalise
    from perovskite_polaron.phonons.field import dynamical_matrix, require_symmetry

    root = np.sqrt(np.repeat(phonons.masses_amu, 3))
    phi = dynamical_matrix(phonons) * np.outer(root, root)
    mixed = diagonalise(phonons.crystal, masses, phi)
    require_symmetry(mixed, "isotopes")
    assert {g.stop - g.start for g in mixed.degenerate_groups} <= {1, 2, 3}
    assert "mixed" not in [r.irrep for r in mode_table(mixed) if r.kind != "acoustic"]


# --- Quantum ESPRESSO ---


def test_modes_of_version_4_call_a_frequency_omega(tmp_path: Path) -> None:
    modes = DATA / "alas-333-matdyn.modes"
    old = changed(modes, tmp_path, r"freq \(", "omega(")
    now, then = (from_file(path, crystal=DYN).modes for path in (modes, old))
    np.testing.assert_array_equal(now.energies_meV, then.energies_meV)
    np.testing.assert_array_equal(now.patterns, then.patterns)


def test_a_damaged_neighbour_does_not_stop_a_file_of_modes(tmp_path: Path) -> None:
    for name in ("alas-333.dyn1", "alas-333-matdyn.modes"):
        (tmp_path / name).write_text((DATA / name).read_text())
    (tmp_path / "cut.dyn").write_text("Dynamical matrix file\n\n 1 1 2\n")
    (tmp_path / "alas.fc.xml").write_text("<Root><GEOMETRY_INFO></GEOMETRY_INFO></Root>")
    assert len(from_file(tmp_path / "alas-333-matdyn.modes").modes) == 6


def test_a_label_with_a_hole_is_the_element_of_its_mass(tmp_path: Path) -> None:
    nitrogen = 14.0067 / (2 * 9.1093837139e-31 / 1.66053906892e-27)
    path = changed(DYN, tmp_path, r"'As  '    [\d.]+", f"'Nh  '    {nitrogen:.6f}")
    with pytest.warns(UserWarning, match="ph.x printed"):  # of another mass
        assert read_dynamical_matrices(path)[0].crystal.species == ("Al", "N")


# --- limits ---


def test_bombs_of_yaml_are_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "band.yaml"
    layers = "".join(f"{chr(98 + k)}: &{chr(98 + k)} [{','.join([f'*{chr(97 + k)}'] * 9)}]\n"
                     for k in range(9))
    for content, message in (
            (f"a: &a [1,1,1]\n{layers}phonon: *j\n", "alias"),
            ("phonon: " + "[" * 40 + "]" * 40 + "\n", "nested"),
            ("phonon: " + "[" * 100_000 + "\n", "band.yaml"),
            ("".join(f"{' ' * k}a:\n" for k in range(200)), "nested"),
            (f"phonon: []\nnatom: {'9' * 5000}\n", "damaged"),
            ("phonon: []\nnatom: .inf\n", "damaged"),
            ("phonon: []\nnatom: 2001-99-99\n", "damaged")):
        path.write_text(content)
        with pytest.raises(InputError, match=message) as error:
            read_phonons(path)
        assert len(str(error.value)) < 500
    assert load_yaml(PARAMETERS)["phonopy"]["version"]


def test_a_file_that_announces_a_huge_cell_is_refused(tmp_path: Path) -> None:
    huge = changed(PARAMETERS, tmp_path, r"(?s)supercell_matrix:.*?\n\n",
                   "supercell_matrix:\n- [ 90000, 0, 0 ]\n- [ 0, 90000, 0 ]\n- [ 0, 0, 90000 ]\n\n")
    with pytest.raises(InputError, match="more than 20000 atoms"):
        from_file(huge)
    header = "Dynamical matrix file\n\n 1 5000 1 10.0 0 0 0 0 0\n 1 'Al' 24590.7\n"
    atoms = "".join(f" {k} 1 0.0 0.0 {k / 5:.2f}\n" for k in range(5000))
    (tmp_path / "many.dyn").write_text(header + atoms)
    with pytest.raises(InputError, match=r"blocks of four lines|5000 atoms|overlapping"):
        read_dynamical_matrices(tmp_path / "many.dyn")


@pytest.mark.parametrize("content", [
    '{"format": "perovskite-polaron modes 1", "modes": ' + "[" * 100_000,
    '{"format": "perovskite-polaron modes 1", "lattice_A": ' + "9" * 5000 + "}"])
def test_bombs_in_mode_files_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "m.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"m\.json"):
        read_modes(path)


def test_a_mode_file_cannot_hold_what_no_vibration_is(tmp_path: Path) -> None:
    record = json.loads(write_modes(read_modes("lo-c"), tmp_path / "m.json").read_text())
    for energy in (1e9, 600.0, float("nan")):
        record["modes"][0]["energy_meV"] = energy
        (tmp_path / "bad.json").write_text(json.dumps(record))
        with pytest.raises(InputError, match=r"no vibration has more|finite"):
            read_modes(tmp_path / "bad.json")


@pytest.mark.parametrize(("option", "amount"), [
    ("--max-displacement", "46A"), ("--max-displacement", "0.1A,2A"), ("--amplitude", "1e6zp"),
    ("--amplitude", "1e300A*sqrt(amu)"), ("--amplitude", "-500A*sqrt(amu)")])
def test_displacements_that_no_vibration_makes_are_refused(tmp_path: Path, option: str,
                                                           amount: str) -> None:
    done = polaron("distort", "cspbbr3-pbnm", "--mode", "lo-c", f"{option}={amount}", "--out",
                   "out", cwd=tmp_path)
    assert done.returncode == 2
    assert "is no vibration" in done.stderr
    assert not (tmp_path / "out").exists()


def test_atoms_outside_the_cell_are_where_they_are_inside(tmp_path: Path) -> None:
    """An atom at z = −0.5, and one a rounding error below zero, through files and distort."""
    crystal = read_crystal("cspbbr3-pbnm")
    x = crystal.positions.copy()
    x[0] -= [0, 0, 1e-17]
    x[9] -= [1, 2, -3]
    moved = crystal.with_positions(x)
    path = write_crystal(moved, tmp_path / "moved.vasp")
    modes = read_modes("lo-c")
    one, other = (distort(c, modes, [0.1], unit="max_A")[0] for c in (crystal, read_crystal(path)))
    np.testing.assert_allclose(one.displacement_A, other.displacement_A, atol=1e-9)
    assert one.symmetry.symbol == other.symmetry.symbol


def test_phonopy_and_the_readers_agree_on_the_unit(tables: Path) -> None:
    """The frequencies of band.yaml are what phonopy printed, in meV."""
    document = load_yaml(tables / "band.yaml")
    thz = [band["frequency"] for band in document["phonon"][0]["band"]]
    np.testing.assert_allclose(from_file(tables / "band.yaml").modes.energies_meV,
                               np.sort(thz) * MEV_PER_THZ, atol=1e-6)
