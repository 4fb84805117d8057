"""The electric field of a direction: charges and ε∞, their files, longitudinal modes, and the
command that reads them.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import polaron
from numpy.typing import NDArray
from phonon_cases import DATA, rocksalt, setting, springs, stored

from perovskite_polaron.errors import ComputationError, InputError
from perovskite_polaron.lattice.files import read_crystal
from perovskite_polaron.phonons.forces import displaced_cells, force_constants
from perovskite_polaron.phonons.matdyn_files import read_dynamical_matrices
from perovskite_polaron.phonons.modes import read_modes
from perovskite_polaron.phonons.readers import from_file, from_forces
from perovskite_polaron.phonons.response import (
    COULOMB_EV_A, assumed_response, crystal_direction, neutral_response, read_born)
from perovskite_polaron.phonons.selection import (
    froehlich_eV_A, inverse_kappa, mode_table, static_dielectric)
from perovskite_polaron.units import HBAR2_PER_AMU_A2_EV, MEV_PER_THZ

pytest.importorskip("phonopy")


@pytest.mark.parametrize("direction", [(0, 0, 1), (1, 1, 0), (1, 2, 3)])
def test_longitudinal_and_transverse_modes_of_rocksalt_are_phonopys(
    direction: tuple[int, int, int]
) -> None:
    """The conventional cell of NaCl with springs, and the charges and ε∞ of phonopy's NaCl
    example."""
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms

    crystal = rocksalt()
    born = np.array([1.08703 * np.eye(3)] * 4 + [-1.08672 * np.eye(3)] * 4)
    response = neutral_response(crystal, 2.43533967 * np.eye(3), born)
    ours = from_forces(crystal, springs(crystal), [float(v) for v in direction], response)
    cells, phonon = displaced_cells(crystal)
    constants = force_constants(crystal, phonon, springs(crystal)(cells))
    phonon = Phonopy(PhonopyAtoms(symbols=list(crystal.species), cell=crystal.lattice_A,
                                  scaled_positions=crystal.positions, masses=crystal.masses_amu),
                     np.eye(3), primitive_matrix=np.eye(3), log_level=0)
    phonon.force_constants = constants.values_eV_A2
    phonon.nac_params = {"born": response.born_e, "dielectric": response.epsilon_inf,
                         "factor": COULOMB_EV_A}
    phonon.run_qpoints(
        [[0, 0, 0]], nac_q_direction=crystal.lattice_A @ crystal_direction(crystal, list(direction))
    )
    theirs = np.sort(phonon.qpoints.frequencies[0])
    mine = ours.modes.energies_meV / MEV_PER_THZ
    assert abs((mine[-1] - mine[-2]) - (theirs[-1] - theirs[-2])) < 1e-6
    # phonopy's constants of nature are older: they scale all frequencies by 1.2e-7. Apart from
    # that:
    assert np.abs(mine / theirs * theirs[10] / mine[10] - 1)[3:].max() < 1e-9
    assert mine[10] == pytest.approx(theirs[10], rel=3e-7)
    assert ours.transverse is not None
    # One LO branch: ω_LO² − ω_TO² = 4π e² Z²/(ε∞ μ Ω_pair), Lyddane, Sachs and Teller.
    mu = 1 / (1 / crystal.masses_amu[0] + 1 / crystal.masses_amu[4])
    z = (1.08703 + 1.08672) / 2
    split = 4 * np.pi * COULOMB_EV_A * z**2 / (2.43533967 * mu
                                               * crystal.volume_A3 / 4) * HBAR2_PER_AMU_A2_EV * 1e6
    rows = mode_table(ours.modes, response)
    lo = [r.energy_meV for r in rows if r.kind == "LO"]
    to = [r.energy_meV for r in rows if r.kind == "TO"]
    assert len(lo) == 1
    assert lo[0] ** 2 - to[0] ** 2 == pytest.approx(split, rel=1e-9)


def test_the_couplings_add_up_to_the_lattice_screening() -> None:
    """Σ over LO modes of Fröhlich's 1/ε∞ − 1/ε0 equals what the TO modes say of ε0, for every
    direction."""
    crystal, forces, _, _ = setting("Pbnm")
    response = assumed_response(crystal)
    assert response is not None
    for direction in ([1.0, 0.0, 0.0], [0.3, 1.0, -0.4], [1.0, 1.0, 1.0]):
        found = from_forces(crystal, forces, direction, response)
        assert found.transverse is not None
        q = found.modes.direction
        assert q is not None
        parts = inverse_kappa(found.modes, response, froehlich_eV_A(found.modes, response))
        static = static_dielectric(found.transverse, response)
        assert parts.sum() == pytest.approx(
            1 / (q @ response.epsilon_inf @ q) - 1 / (q @ static @ q), rel=1e-9
        )


def test_the_charges_of_cspbbr3_are_neutral_and_those_of_no_other_compound() -> None:
    for name in ("cspbbr3-pbnm", "cspbbr3-pnma", "cspbbr3-p4mbm", "cspbbr3-pm3m"):
        crystal = read_crystal(name)
        found = assumed_response(crystal)
        assert found is not None
        assert np.abs(found.born_e.sum(axis=0)).max() < 1e-12
        assert found.residual < 1e-9
        assert "approximate" in found.source
    cubic = assumed_response(read_crystal("cspbbr3-pm3m"))
    assert cubic is not None
    assert np.diag(cubic.born_e[2]) == pytest.approx([-4.2, -0.84, -0.84])
    assert assumed_response(rocksalt()) is None


def test_charges_that_miss_neutrality_are_refused() -> None:
    crystal, _ = stored()
    good = assumed_response(crystal)
    assert good is not None
    born = np.array(good.born_e)
    born[16:, 2, 2] += 2.7 / 4  # what a single plane of k points along c did
    with pytest.raises(ComputationError, match=r"miss neutrality by 2\.70 e \(zz"):
        neutral_response(crystal, good.epsilon_inf, born)
    with pytest.raises(ComputationError, match="below 1"):
        neutral_response(crystal, 0.5 * np.eye(3), good.born_e)
    with pytest.raises(InputError, match="NaN"):
        neutral_response(crystal, good.epsilon_inf * np.nan, good.born_e)


def test_a_born_file_may_list_the_inequivalent_atoms_only(tmp_path: Path) -> None:
    crystal, _ = stored()
    good = assumed_response(crystal)
    assert good is not None

    def write(name: str, atoms: list[int]) -> Path:
        rows = [good.epsilon_inf, *good.born_e[atoms]]
        text = "\n".join(" ".join(f"{v:.12f}" for v in row.ravel()) for row in rows)
        path = tmp_path / name
        path.write_text(f"14.400\n{text}\n")
        return path

    first = [crystal.species.index(s) for s in ("Pb", "Cs", "Br")] + [12]
    for atoms in (list(range(20)), first):
        found = read_born(write("BORN", atoms), crystal)
        assert np.abs(found.born_e - good.born_e).max() < 1e-9
        assert np.abs(found.epsilon_inf - good.epsilon_inf).max() < 1e-9
    with pytest.raises(InputError, match="7 atoms"):
        read_born(write("BORN", list(range(7))), crystal)
    # As phonopy-vasp-born writes it: the first line is a comment, whatever stands in it.
    text = write("BORN", first).read_text()
    (tmp_path / "BORN").write_text(text.replace("14.400", "# epsilon and Z* of atoms 1 5 9 13"))
    assert np.abs(read_born(tmp_path / "BORN", crystal).born_e - good.born_e).max() < 1e-9
    (tmp_path / "BORN").write_text("14.4\n1 0 0 0 1 0 0 0\n")
    with pytest.raises(InputError, match="BORN:2"):
        read_born(tmp_path / "BORN", crystal)


def test_a_direction_without_charges_is_refused_before_any_force() -> None:
    crystal = rocksalt()

    def never(crystals: object) -> list[NDArray[np.float64]]:
        raise AssertionError

    with pytest.raises(InputError, match="Born charges"):
        from_forces(crystal, never, "c")


def neutral_born(folder: Path) -> Path:
    """The charges in the .dyn file of AlAs, made neutral as dynmat.x does: as they stand they miss
    it by far."""
    matrix = read_dynamical_matrices(DATA / "alas-gamma.dyn")[0]
    assert matrix.epsilon_inf is not None
    assert matrix.born_charges is not None
    rows = [matrix.epsilon_inf, *(matrix.born_charges - matrix.born_charges.mean(axis=0))]
    path = folder / "BORN"
    path.write_text("14.4\n" + "\n".join(" ".join(f"{v:.9f}" for v in row.ravel()) for row in rows)
                    + "\n")
    return path


def test_a_dynamical_matrix_with_charges_gives_dynmats_longitudinal_mode(tmp_path: Path) -> None:
    """dynmat.x enforced its sum rules, which moves the transverse modes: the splitting is what both
    must agree on."""
    along_z = [1.0, 1.0, -1.0]  # that is how dynmat.x was run
    ours = from_file(DATA / "alas-gamma.dyn", along_z, neutral_born(tmp_path))
    theirs = from_file(DATA / "alas-gamma-lo-dynmat.modes", along_z,
                       crystal=DATA / "alas-gamma.dyn").modes
    splitting = [m.energies_meV[5] ** 2 - m.energies_meV[4] ** 2 for m in (ours.modes, theirs)]
    assert splitting[0] == pytest.approx(splitting[1], rel=2e-3)
    assert [r.kind for r in mode_table(ours.modes, ours.response)][3:] == ["TO", "TO", "LO"]


def test_the_command_on_a_file_prints_one_object_and_writes_a_mode_file(tmp_path: Path) -> None:
    source = str(DATA / "alas-gamma.dyn")
    born = str(neutral_born(tmp_path))
    done = polaron("modes", source, "--direction", "0", "0", "1", "--born", born, "--out", "m.json",
                   "--figure", "m.svg", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["selected"] == 5
    assert record["modes"][5]["kind"] == "LO"
    assert record["modes"][5]["mode_charge"] > 1
    assert read_modes(tmp_path / "m.json").energies_meV[0] == record["modes"][5]["energy_meV"]
    assert (tmp_path / "m.svg").stat().st_size > 1000
    table = polaron("modes", source, "--born", born, cwd=tmp_path)
    assert "no mode is chosen" in table.stdout
    unconverged = polaron("modes", source, "--direction", "c", cwd=tmp_path)
    assert unconverged.returncode == 1
    assert "miss neutrality by 1.29 e" in unconverged.stderr
    refused = polaron("modes", str(DATA / "phonopy.yaml"), "--direction", "c", cwd=tmp_path)
    assert refused.returncode == 2
    assert "Born charges" in refused.stderr
    assert "--forces mlip" in polaron("modes", "cspbbr3-pbnm", cwd=tmp_path).stderr
