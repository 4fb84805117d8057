"""Modes from forces: force constants, directions, irreducible representations, the choice and
thermal properties.
"""

import json
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import polaron
from phonon_cases import harmonic, longitudinal, rocksalt, setting, springs, stored

from perovskite_polaron.errors import ComputationError, InputError
from perovskite_polaron.lattice.files import read_crystal
from perovskite_polaron.phonons.canonical import diagonalise
from perovskite_polaron.phonons.forces import ForceConstants, displaced_cells, force_constants
from perovskite_polaron.phonons.readers import Calculation, from_file, from_forces
from perovskite_polaron.phonons.response import crystal_direction, neutral_response, phonon_modes
from perovskite_polaron.phonons.selection import (
    heat_capacity, mode_table, select, thermal_displacements_A2, transverse_partner)
from perovskite_polaron.phonons.symmetry import irreps
from perovskite_polaron.units import HBAR2_PER_AMU_A2_EV

pytest.importorskip("phonopy")


@pytest.fixture(scope="module")
def pbnm() -> Calculation:
    return longitudinal("Pbnm")


def test_displacements_are_reduced_by_symmetry_and_give_the_force_constants_back() -> None:
    crystal, phi = stored()
    cells, phonon = displaced_cells(crystal)
    assert len(cells) == 17  # 60 without symmetry, 120 with both signs
    found = force_constants(crystal, phonon, harmonic(crystal, phi)(cells))
    assert np.abs(found.values_eV_A2 - phi).max() < 1e-9
    assert found.acoustic_residual_eV_A2 < 1e-9
    assert found.symmetry_residual_eV_A2 < 1e-9
    assert found.reciprocity_residual_eV_A2 < 1e-9
    assert len(displaced_cells(read_crystal("cspbbr3-pm3m"))[0]) == 3


def test_sum_rules_are_enforced_and_how_far_they_were_missed_is_told() -> None:
    crystal, phi = stored()
    cells, phonon = displaced_cells(crystal)
    # A spring to the laboratory on each atom.
    pinned = phi + 0.01 * np.einsum("ij,ab->ijab", np.eye(20), np.eye(3))
    found = force_constants(crystal, phonon, harmonic(crystal, pinned)(cells))
    assert found.acoustic_residual_eV_A2 == pytest.approx(0.01, rel=1e-6)
    modes = phonon_modes(found)
    assert np.abs(np.sort(np.abs(modes.energies_meV))[:3]).max() < 1e-4
    # Pb answers Cs by 2 % more than Cs answers Pb, as when a moving atom feels the grid of the
    # density.
    one_sided = phi.copy()
    one_sided[:4, 4:8] *= 1.02
    found = force_constants(crystal, phonon, harmonic(crystal, one_sided)(cells))
    assert found.reciprocity_residual_eV_A2 == pytest.approx(
        0.02 * np.abs(phi[:4, 4:8]).max(), rel=1e-6
    )
    assert np.abs(found.values_eV_A2 - found.values_eV_A2.transpose(1, 0, 3, 2)).max() < 1e-12
    with pytest.raises(ComputationError, match="17 displaced cells"):
        force_constants(crystal, phonon, harmonic(crystal, phi)(cells)[:-1])
    with pytest.raises(InputError, match="displacement of 0 Å"):
        displaced_cells(crystal, 0.0)


def test_positions_outside_the_cell_give_the_same_modes() -> None:
    crystal, phi = stored()
    outside = crystal.with_positions(crystal.positions + np.arange(60).reshape(20, 3) % 3 - 1)
    found = [from_forces(c, harmonic(c, phi)).modes.energies_meV for c in (crystal, outside)]
    assert np.abs(found[0] - found[1]).max() < 1e-4


def test_the_published_mode_comes_out(pbnm: Calculation) -> None:
    """Cannelli et al., J. Am. Chem. Soc. 143, 9048: LO along c, 18 meV; axial Br 6 × equatorial,
    2.5 × Pb, little Cs."""
    rows = mode_table(pbnm.modes, pbnm.response, 0.17)
    index, why = select(rows)
    assert index is not None
    row = rows[index]
    assert index == max(i for i, r in enumerate(rows) if r.kind == "LO")
    assert (row.irrep, row.kind) == ("B1u", "LO")
    assert "a priori" in why
    assert row.energy_meV == pytest.approx(18, abs=2)
    assert row.ratio is not None
    assert row.ratio["axial_to_equatorial"] == pytest.approx(6, abs=1.5)
    assert row.ratio["axial_to_B"] == pytest.approx(2.5, abs=0.3)
    assert row.a_to_axial is not None
    assert row.a_to_axial < 0.25
    norms = np.linalg.norm(pbnm.modes.patterns[index], axis=1)
    largest = int(norms.argmax())
    assert pbnm.modes.crystal.species[largest] == "Br"
    assert np.abs(pbnm.modes.patterns[index][largest][2]) > 0.99 * norms[largest]
    # Measured: Puppin et al., Phys. Rev. Lett. 124, 206402.
    assert row.alpha == pytest.approx(1.82, rel=0.1)
    by_alpha = max(range(len(rows)), key=lambda i: rows[i].alpha or 0.0)
    by_charge = max(range(len(rows)), key=lambda i: rows[i].mode_charge or 0.0)
    assert index == by_alpha == by_charge


@pytest.mark.parametrize("name", ["Pnma", "rotated"])
def test_the_direction_is_the_crystals_own_in_every_setting(name: str, pbnm: Calculation) -> None:
    other = longitudinal(name)
    rotation = setting(name)[2]
    assert np.abs(other.modes.energies_meV[3:] - pbnm.modes.energies_meV[3:]).max() < 1e-6
    a, b = pbnm.modes.patterns[-1] @ rotation, other.modes.patterns[-1]
    assert abs(np.einsum("k,ka,ka->", pbnm.modes.masses_amu, a, b.conj())) == pytest.approx(
        1, abs=1e-9
    )
    assert other.modes.direction == pytest.approx(pbnm.modes.direction @ rotation)
    wrong = longitudinal(name, "a")
    assert abs(wrong.modes.energies_meV[-1] - pbnm.modes.energies_meV[-1]) > 1e-4


def test_directions_are_direct_lattice_directions_of_the_crystal_as_given() -> None:
    crystal = setting("rotated")[0]
    for i, name in enumerate("abc"):
        unit = crystal.lattice_A[i] / np.linalg.norm(crystal.lattice_A[i])
        assert crystal_direction(crystal, name) == pytest.approx(unit)
        assert crystal_direction(crystal, np.eye(3)[i].tolist()) == pytest.approx(unit)
    for wrong in ("d", [0.0, 0.0], [0.0, 0.0, 0.0], [0.0, np.nan, 1.0]):
        with pytest.raises(InputError, match="direction"):
            crystal_direction(crystal, wrong)


def test_without_the_field_the_transverse_partner_shows(pbnm: Calculation) -> None:
    assert pbnm.transverse is not None
    top = len(pbnm.modes) - 1
    partner, overlap = transverse_partner(pbnm.modes, top, pbnm.transverse)
    assert pbnm.transverse.energies_meV[partner] < pbnm.modes.energies_meV[top] - 5
    assert overlap > 0.5
    assert irreps(pbnm.transverse)[partner] == "B1u"
    assert not any(r.kind == "LO" for r in mode_table(pbnm.transverse, pbnm.response))


def test_irreducible_representations_are_those_of_the_space_group(pbnm: Calculation) -> None:
    """Γ of an ABX3 perovskite in Pbnm: 7Ag 7B1g 5B2g 5B3g 8Au 8B1u 10B2u 10B3u; the settings
    permute the B."""
    assert pbnm.transverse is not None
    count = Counter(irreps(pbnm.transverse))
    acoustic = count.pop("B1u+B2u+B3u")
    assert acoustic == 3
    assert count == {"Ag": 7, "B1g": 7, "B2g": 5, "B3g": 5, "Au": 8, "B1u": 7, "B2u": 9, "B3u": 9}
    assert irreps(longitudinal("Pnma").modes)[-1] == "B2u"
    cubic = read_crystal("cspbbr3-pm3m")
    cells, phonon = displaced_cells(cubic)
    names = Counter(irreps(phonon_modes(force_constants(cubic, phonon,
                                                        springs(cubic, reach_A=4.3)(cells)))))
    assert names == {"T1u": 12, "T2u": 3}


def test_imaginary_modes_are_told_and_never_chosen(pbnm: Calculation) -> None:
    crystal, phi = stored()
    weighted = pbnm.modes.weighted[-1].real
    kick = weighted * np.repeat(np.sqrt(crystal.masses_amu), 3)
    square = (pbnm.modes.energies_meV[-1] * 1e-3) ** 2 / HBAR2_PER_AMU_A2_EV
    matrix = phi.transpose(0, 2, 1, 3).reshape(60, 60) - 2 * square * np.outer(kick, kick)
    modes = diagonalise(crystal, crystal.masses_amu, matrix, direction=(0, 0, 1))
    rows = mode_table(modes, pbnm.response)
    assert rows[0].unstable
    assert rows[0].energy_meV < 0
    assert rows[0].froehlich_meV_A == 0
    assert select(rows)[0] != 0


def test_heat_capacity_goes_from_nothing_to_dulong_and_petit(pbnm: Calculation) -> None:
    modes = pbnm.modes
    cold, hot = heat_capacity(modes, [0.0, 1e5])
    assert cold < 1e-100
    assert hot == pytest.approx(15 * 8.314462618, rel=1e-6)
    t = np.linspace(50, 600, 20)
    assert (np.diff(heat_capacity(modes, t)) > 0).all()
    # One energy only: Einstein's formula, written as he did.
    one = diagonalise(modes.crystal, np.ones(20), np.eye(60))
    x = one.energies_meV[0] / (0.08617333262 * 100)
    assert heat_capacity(one, 100.0)[0] == pytest.approx(
        15 * 8.314462618 * x**2 * np.exp(x) / (np.exp(x) - 1) ** 2, rel=1e-9
    )
    with pytest.raises(InputError, match="negative"):
        heat_capacity(modes, -1.0)


def test_thermal_displacements_have_their_two_limits(pbnm: Calculation) -> None:
    assert pbnm.transverse is not None
    modes = pbnm.transverse
    stable = modes.translation_share < 0.5
    zero_point = modes.stable().zero_point_sqrt_amu_A
    total = np.einsum("k,kaa->", modes.masses_amu, thermal_displacements_A2(modes, 0.0))
    assert total == pytest.approx((zero_point**2).sum(), rel=1e-12)
    # Classical limit: ⟨u u⟩ = kT Φ⁻¹ away from the rigid translations.
    matrix = np.einsum("m,mi,mj->ij", 1 / modes.energies_meV[stable] ** 2, modes.weighted[stable],
                       modes.weighted[stable].conj()).real * HBAR2_PER_AMU_A2_EV * 1e6
    t = 1e4
    expected = 8.617333262e-5 * t * matrix.reshape(20, 3, 20, 3)[np.arange(20), :, np.arange(20)]
    expected /= modes.masses_amu[:, None, None]
    assert np.abs(thermal_displacements_A2(modes, t) - expected).max() < 1e-4 * expected.max()


@pytest.mark.mlip
def test_from_a_structure_file_to_the_published_mode_in_one_command(tmp_path: Path) -> None:
    pytest.importorskip("sevenn")
    polaron("structure", "cspbbr3-pnma", "--out", "cspbbr3.cif", cwd=tmp_path)
    done = polaron("modes", "cspbbr3.cif", "--forces", "mlip", "--direction", "b", "--json",
                   cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    chosen = record["modes"][record["selected"]]
    assert chosen["energy_meV"] == pytest.approx(19.31, abs=0.05)
    assert chosen["ratio"]["axial_to_equatorial"] == pytest.approx(6.0, abs=0.2)
    assert "approximate" in record["charges"]
    assert record["paper"]["energy_meV"] == 18


def test_force_constants_of_another_cell_are_refused() -> None:
    crystal, phi = stored()
    with pytest.raises(InputError, match="do not fit"):
        diagonalise(crystal, np.ones(5), np.eye(60))
    modes, other = phonon_modes(ForceConstants(crystal, phi, 0.0, 0.0, 0.0)), neutral_response(
        rocksalt(), 2 * np.eye(3), np.zeros((8, 3, 3))
    )
    with pytest.raises(InputError, match="not those of the 20 atoms"):
        mode_table(modes, other)


def test_a_phonopy_file_whose_primitive_cell_has_permuted_axes_keeps_the_users_direction(
    tmp_path: Path, pbnm: Calculation
) -> None:
    """phonopy's own choice of primitive cell for Pbnm turns c into another axis; the direction
    stays that of the file."""
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms

    crystal, phi = stored()
    cell = PhonopyAtoms(symbols=list(crystal.species), cell=crystal.lattice_A,
                        scaled_positions=crystal.positions)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # phonopy says that it permuted the axes
        phonon = Phonopy(cell, np.eye(3), log_level=0, symprec=1e-3)
    assert np.abs(np.asarray(phonon.primitive_matrix) - np.eye(3)).max() > 0.5
    phonon.force_constants = phi
    phonon.save(tmp_path / "phonopy_params.yaml", settings={"force_constants": True})
    response = pbnm.response
    assert response is not None
    rows = [response.epsilon_inf, *response.born_e]
    text = "\n".join(" ".join(f"{v:.12f}" for v in row.ravel()) for row in rows)
    (tmp_path / "charges").write_text(f"14.4\n{text}\n")
    for direction in ("c", [0.0, 0.0, 1.0]):
        found = from_file(tmp_path / "phonopy_params.yaml", direction, tmp_path / "charges").modes
        assert found.energies_meV[-1] == pytest.approx(pbnm.modes.energies_meV[-1], rel=1e-6)
        assert irreps(found)[-1] == "B1u"
