import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from perovskite_polaron.errors import InputError
from perovskite_polaron.lattice.crystal import Crystal, supercell
from perovskite_polaron.lattice.files import read_crystal
from perovskite_polaron.lattice.symmetry import absorbers, find_symmetry
from perovskite_polaron.phonons.distortion import distort, real_patterns, sign_equivalent
from perovskite_polaron.phonons.modes import Modes, read_modes, write_modes

LO = read_modes("lo-c-sevennet")


def shuffled(crystal, seed=0):
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(crystal))
    positions = crystal.positions[order] + rng.integers(-2, 3, (len(crystal), 3))
    return Crystal(crystal.lattice_A, tuple(crystal.species[i] for i in order), positions,
                   "shuffled")


def settings():
    pbnm, pnma = read_crystal("cspbbr3-pbnm"), read_crystal("cspbbr3-pnma")
    return {"Pbnm": pbnm, "Pnma": pnma, "shuffled": shuffled(pbnm), "Pnma shuffled": shuffled(pnma),
            "2x2x1": supercell(pbnm, (2, 2, 1)),
            "shuffled 1x2x1 Pnma": shuffled(supercell(pnma, (1, 2, 1)))}


@pytest.mark.parametrize("name", settings())
def test_lo_mode_splits_bromine_into_three_sites_that_know_their_parents(name):
    crystal = settings()[name]
    cells = len(crystal) // 20
    point = distort(crystal, LO, [0.10], "max_A")[0]
    assert point.symmetry.number == 33
    found = sorted((a.parent, a.multiplicity)
                   for a in absorbers(point.crystal, "Br", point.symmetry))
    assert found == [("4c", 4 * cells), ("8d", 4 * cells), ("8d", 4 * cells)]
    assert point.max_displacement_A == pytest.approx(0.10, abs=1e-12)
    mass_weighted = (crystal.masses_amu[:, None] * point.displacement_A**2).sum() / cells
    assert mass_weighted == pytest.approx(point.amplitude_sqrt_amu_A[0] ** 2)
    assert sign_equivalent(crystal, point.displacement_A)


def test_symmetry_is_found_below_the_smallest_displacement():
    for point in distort(read_crystal("cspbbr3-pbnm"), LO, [1e-3, 1e-2, 0.1], "max_A"):
        assert point.symmetry.number == 33
        assert point.symmetry.symprec_A <= 0.1 * np.linalg.norm(
            point.displacement_A, axis=1
        ).min() + 1e-12


def fully_symmetric_mode(crystal):
    """Any pattern, averaged over the operations of the crystal: an Ag mode, whose −Q is not the
    image of +Q."""
    pattern = np.random.default_rng(5).normal(size=(len(crystal), 3))
    symmetry, total = find_symmetry(crystal), np.zeros((len(crystal), 3))
    for r, t in zip(symmetry.rotations, symmetry.translations, strict=True):
        moved = crystal.positions @ r.T + t
        delta = moved[:, None] - crystal.positions[None]
        image = np.abs(delta - np.rint(delta)).max(axis=2).argmin(axis=1)
        cartesian = np.linalg.inv(crystal.lattice_A) @ r.T @ crystal.lattice_A
        total[image] += pattern @ cartesian
    return Modes(crystal, crystal.masses_amu, [10.0], [total], names=["Ag"])


def test_a_fully_symmetric_mode_keeps_the_group_and_has_no_equivalent_sign():
    crystal = read_crystal("cspbbr3-pbnm")
    point = distort(crystal, fully_symmetric_mode(crystal), [0.1], "max_A")[0]
    assert point.symmetry.number == 62
    assert not sign_equivalent(crystal, point.displacement_A)


def test_amplitudes_in_three_units_agree_and_zero_is_the_identity():
    crystal = read_crystal("cspbbr3-pbnm")
    first = distort(crystal, LO, [0.1], "max_A")[0]
    second = distort(crystal, LO, first.amplitude_sqrt_amu_A)[0]
    third = distort(crystal, LO, first.amplitude_zero_point, "zero_point")[0]
    for other in (second, third):
        np.testing.assert_allclose(other.displacement_A, first.displacement_A, atol=1e-13)
    # sqrt(hbar/2 omega) of 19.4 meV, from hbar^2 = 4.18016e-3 eV amu Å^2
    assert LO.zero_point_sqrt_amu_A == pytest.approx(np.sqrt(4.18016e-3 / 2 / 0.0194), rel=1e-4)
    np.testing.assert_array_equal(distort(crystal, LO, [0.0])[0].crystal.positions,
                                  crystal.positions)


def test_displacing_back_is_the_identity_and_modes_add():
    crystal = read_crystal("cspbbr3-pbnm")
    ag = fully_symmetric_mode(crystal)
    there = distort(crystal, LO, [1.0])[0]
    both = distort(crystal, (LO, ag), [[1.0, 0.5]])[0]
    alone = distort(crystal, ag, [0.5])[0]
    np.testing.assert_allclose(both.displacement_A, there.displacement_A + alone.displacement_A,
                               atol=1e-12)
    back = there.crystal.cartesian_A - there.displacement_A
    np.testing.assert_allclose(back, crystal.cartesian_A, atol=1e-12)


def cubic_wave(q):
    crystal = read_crystal("cspbbr3-pm3m")
    pattern = np.random.default_rng(1).normal(size=(5, 3))
    return crystal, Modes(crystal, crystal.masses_amu, [5.0], [pattern], q, ["wave"])


@pytest.mark.parametrize(("q", "repeats"),
                         [((0.5, 0, 0), (2, 1, 1)), ((0.25, 0.5, 0), (4, 2, 1)),
                          ((0, 0, 1 / 3), (1, 1, 3))])
def test_waves_follow_bloch_and_are_normalised_over_the_primitive_cell(q, repeats):
    crystal, mode = cubic_wave(q)
    big = supercell(crystal, repeats)
    u = real_patterns(big, mode)[0]
    assert (big.masses_amu[:, None] * u**2).sum() / np.prod(repeats) == pytest.approx(1.0)
    for k, (first, second) in enumerate(pairwise(u.reshape(-1, 5, 3))):
        if np.prod(repeats) == 2:  # zone boundary: neighbouring cells move against each other
            np.testing.assert_allclose(first, -second, atol=1e-12, err_msg=str(k))


def test_a_wave_that_does_not_fit_the_cell_is_refused():
    crystal, mode = cubic_wave((0.5, 0, 0))
    with pytest.raises(InputError, match="does not fit the cell of cspbbr3-pm3m: use a supercell"):
        distort(crystal, mode, [1.0])


def test_a_mode_of_another_crystal_is_refused_by_name():
    pbnm = read_crystal("cspbbr3-pbnm")
    iodide = Crystal(pbnm.lattice_A, tuple("I" if s == "Br" else s for s in pbnm.species),
                     pbnm.positions, "iodide")
    with pytest.raises(InputError, match="different elements"):
        distort(iodide, LO, [1.0])
    with pytest.raises(InputError, match="not a multiple of the 20"):
        distort(read_crystal("cspbbr3-pm3m"), LO, [1.0])
    stretched = Crystal(pbnm.lattice_A * 1.1, pbnm.species, pbnm.positions, "stretched")
    with pytest.raises(InputError, match="the lattice of stretched is not made of"):
        distort(stretched, LO, [1.0])
    moved = pbnm.positions.copy()
    moved[8] += [0.1, 0, 0]
    with pytest.raises(InputError, match=r"farthest is 0.82 Å off.*within 0.3 Å"):
        distort(pbnm.with_positions(moved), LO, [1.0])
    heavy = Modes(LO.crystal, LO.masses_amu * 1.5, [19.4], LO.patterns)
    with pytest.raises(InputError, match="other masses"):
        distort(pbnm, heavy, [1.0])


@pytest.mark.parametrize(("amplitudes", "unit", "message"),
                         [([np.nan], "max_A", "not finite"), ([], "max_A", "not finite"),
                          ([1.0], "A", "not a unit"), ([[1.0, 2.0]], "zero_point", "shape")])
def test_bad_amplitudes_are_refused(amplitudes, unit, message):
    with pytest.raises(InputError, match=message):
        distort(read_crystal("cspbbr3-pbnm"), LO, amplitudes, unit)


def test_mode_files_come_back_to_the_last_digit(tmp_path):
    _, wave = cubic_wave((0.25, 0, 0))
    wave = replace(wave, patterns=wave.patterns * np.exp(0.3j), provenance="a test")
    back = read_modes(write_modes(wave, tmp_path / "m.json"))
    np.testing.assert_allclose(back.patterns, wave.patterns, rtol=1e-15, atol=1e-17)
    np.testing.assert_array_equal(back.q, wave.q)
    assert (back.energies_meV.tolist(), back.names, back.provenance) == ([5.0], ("wave",), "a test")


def test_chosen_modes_keep_every_digit_and_know_their_crystal():
    modes = read_modes("cspbbr3")
    chosen = modes[[3, 0]]
    assert (len(chosen), chosen.names) == (2, (modes.names[3], modes.names[0]))
    np.testing.assert_array_equal(chosen.patterns, modes.patterns[[3, 0]])
    assert chosen.crystal is modes.crystal
    assert [len(mode) for mode in chosen] == [1, 1]
    np.testing.assert_array_equal(read_modes("lo-c").patterns, modes[:1].patterns)
    with pytest.raises(ValueError, match="read-only"):
        chosen.patterns[0, 0, 0] = 1


@pytest.mark.parametrize(
    ("change", "message"),
    [({"format": "other"}, "is not a mode file"), ({"species": None}, "damaged"),
     ({"modes": []}, "at least one mode"),
     ({"modes": [{"energy_meV": 1, "pattern_real": [[0, 0, 1]], "number": n} for n in (3, 3)]},
      "same number"),
     ({"modes": [{"energy_meV": 1, "pattern_real": [[0, 0, 0]]}]}, "non-zero pattern"),
     ({"modes": [{"pattern_real": [[0, 0, 1]]}]}, "lacks the key 'energy_meV'")]
)
def test_damaged_mode_files_are_refused(tmp_path, change, message):
    good = {"format": "perovskite-polaron modes 1", "lattice_A": (5 * np.eye(3)).tolist(),
            "species": ["Pb"], "fractional_positions": [[0, 0, 0]],
            "modes": [{"energy_meV": 1, "pattern_real": [[0, 0, 1]]}]}
    path = tmp_path / "m.json"
    path.write_text(json.dumps(good))
    assert len(read_modes(path)) == 1
    path.write_text(json.dumps(good | change))
    with pytest.raises(InputError, match=message):
        read_modes(path)


def test_the_built_in_mode_has_no_net_momentum():
    # An optical mode at q = 0 leaves the centre of mass at rest (to the four decimals it is given
    # with).
    momentum = (LO.masses_amu[:, None] * LO.patterns[0].real).sum(axis=0)
    assert np.abs(momentum).max() < 2e-3 * (LO.masses_amu[:, None] * np.abs(LO.patterns[0])).sum()
