"""CsPbBr3 with the forces of pw.x and the charges of ph.x, as computed by this project: what they show and do not show."""

import json
from pathlib import Path

import numpy as np
import pytest

from perovskite_polaron.crystal import read_crystal
from perovskite_polaron.errors import ComputationError
from perovskite_polaron.phonons.finite_displacement import displaced_cells
from perovskite_polaron.phonons.response import assumed_response, neutral_response
from perovskite_polaron.phonons.selection import mode_table, select
from perovskite_polaron.phonons.sources import from_forces

CRYSTAL = read_crystal("cspbbr3-pbnm")
DATA = json.loads((Path(__file__).parent / "data" / "phonons" / "cspbbr3_qe.json").read_text())


def test_charges_on_too_few_k_points_are_refused() -> None:
    born = np.array(DATA["born_e"])
    # In the plane they are sound, along c they miss neutrality by 3.8 e on two planes of k points.
    assert np.abs(born.sum(axis=0)[:2]).max() < 0.4
    with pytest.raises(ComputationError, match=r"miss neutrality by 3\.77 e \(zz.*denser k grid"):
        neutral_response(CRYSTAL, DATA["epsilon_inf"], born, "ph.x")


def test_forces_balance_and_restore() -> None:
    forces = np.array(DATA["forces_eV_A"])
    np.testing.assert_allclose(forces.sum(axis=1), 0, atol=1e-6)
    cells, _ = displaced_cells(CRYSTAL)
    assert len(cells) == len(forces) == 17
    for cell, row in zip(cells, forces, strict=True):
        moved = (cell.positions - CRYSTAL.positions) @ CRYSTAL.lattice_A
        assert (moved * (row - np.array(DATA["rest_forces_eV_A"]))).sum() < 0


def test_the_strongest_coupled_mode_along_c_moves_axial_bromine() -> None:
    forces = list(np.array(DATA["forces_eV_A"]))
    response = assumed_response(CRYSTAL)
    found = from_forces(CRYSTAL, lambda _: forces, "c", response)
    rows = mode_table(found.modes, response)
    index, _ = select(rows)
    assert index == len(rows) - 1, "the highest mode"
    row = rows[index]
    assert row.kind == "LO"
    assert row.ratio is not None
    assert row.a_to_axial is not None
    assert row.ratio["axial_to_B"] == pytest.approx(2.5, abs=0.3)
    assert row.a_to_axial < 0.25
    axial = [k for k in range(20) if abs(CRYSTAL.positions[k, 2] % 0.5 - 0.25) < 0.01 and CRYSTAL.species[k] == "Br"]
    assert int(np.linalg.norm(found.modes.patterns[index], axis=1).argmax()) in axial
