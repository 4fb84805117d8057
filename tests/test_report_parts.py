"""What the report splits: a difference into the atoms and polarisations it comes from, a sweep into
the Q² law and what is left of it.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from perovskite_polaron.errors import InputError
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.files import read_crystal
from perovskite_polaron.lattice.symmetry import absorbers, find_symmetry
from perovskite_polaron.phonons.distortion import distort
from perovskite_polaron.phonons.modes import read_modes
from perovskite_polaron.report import spectra_sections
from perovskite_polaron.report.blocks import Text
from perovskite_polaron.report.subject import Subject
from perovskite_polaron.spectra.amplitude import AmplitudeSpectra, leading_regime
from perovskite_polaron.spectra.resolved import Orbits, atom_spectra, parts

MODE = Path(__file__).parent.parent / "examples" / "modes" / "cubic_polar.json"


def test_the_parts_of_every_displaced_structure_add_up_to_its_difference(subject: Subject) -> None:
    displaced = [n for n in subject.names if subject.result(n).amplitude_sqrt_amu_A]
    assert displaced
    for name in displaced:
        found = subject.parts(name)
        assert {p.polarisation for p in found} == {"x", "y", "z"}
        np.testing.assert_allclose(
            np.sum([p.difference for p in found], axis=0), subject.percent(name), rtol=0, atol=1e-11
        )
    assert subject.parts("cubic") == (), "atoms of another phase have no partners"


def orbits(crystal: Crystal, seed: int, tolerance_A: float = 1e-3) -> tuple[Orbits, np.ndarray]:
    """Random spectra for each orbit, and their average weighted by multiplicity."""
    symmetry, rng = find_symmetry(crystal, tolerance_A), np.random.default_rng(seed)
    found = absorbers(crystal, "Br", symmetry)
    spectra = {a.index: rng.random((3, 7)) for a in found}
    weights = [a.multiplicity for a in found]
    mean = np.average([spectra[a.index].mean(axis=0) for a in found], axis=0, weights=weights)
    return Orbits(crystal, symmetry, spectra), mean


def test_parts_add_up_where_the_symmetry_permutes_the_axes() -> None:
    cubic = read_crystal("cspbbr3-pm3m")
    polar = distort(cubic, read_modes(MODE), [0.1], unit="max_A")[0].crystal
    (before, old), (after, new) = orbits(cubic, 0), orbits(polar, 1)
    found = parts(after, before)
    assert {p.polarisation for p in found} == {"x", "y", "z"}
    np.testing.assert_allclose(np.sum([p.difference for p in found], axis=0), new - old, atol=1e-14)


def test_the_tensor_of_an_equivalent_atom_is_the_rotated_one() -> None:
    # Br on the three faces of the cube: what is along the bond on one is along another axis on
    # the next.
    cubic = read_crystal("cspbbr3-pm3m")
    symmetry = find_symmetry(cubic)
    first = absorbers(cubic, "Br", symmetry)[0].index
    bond = int((cubic.positions[first] == 0.5).argmax())
    diagonal = np.ones((3, 1))
    diagonal[bond] = 5.0
    found, apart = atom_spectra(Orbits(cubic, symmetry, {first: diagonal}))
    assert apart
    for atom, tensor in found.items():
        np.testing.assert_allclose(tensor[:, 0], np.where(cubic.positions[atom] == 0.5, 5.0, 1.0))


def test_axes_that_the_symmetry_mixes_leave_the_trace() -> None:
    # The cubic crystal turned by 45 degrees: its fourfold axes no longer permute x, y and z.
    cubic = read_crystal("cspbbr3-pm3m")
    c = np.sqrt(0.5)
    rotated_A = cubic.lattice_A @ np.array([[c, c, 0], [-c, c, 0], [0, 0, 1]])
    turned = Crystal(rotated_A, cubic.species, cubic.positions)
    one, mean = orbits(turned, 2)
    found, apart = atom_spectra(one)
    assert not apart
    np.testing.assert_allclose(np.mean([t.mean(axis=0) for t in found.values()], axis=0), mean)


def test_the_law_and_its_end_are_found() -> None:
    q, energy = np.array([0.5, 1.0, 1.5, 2.0]), np.linspace(0, 10, 40)
    shape, beta = np.sin(energy), 0.02
    sweep = AmplitudeSpectra(energy, q, np.outer(q**2 + beta * q**4, shape))
    found = leading_regime(sweep)
    np.testing.assert_allclose(found.law, shape, atol=1e-10)
    # Deviation βQ²/(1 + βQ²) = 5 %.
    assert found.fails_at_sqrt_amu_A == pytest.approx(np.sqrt(0.05 / 0.95 / beta), abs=0.01)
    np.testing.assert_allclose(found.computed, beta * q**2 / (1 + beta * q**2), atol=1e-10)
    pure = leading_regime(AmplitudeSpectra(energy, q, np.outer(q**2, shape)))
    assert pure.fails_at_sqrt_amu_A is None
    assert pure.deviation.max() < 1e-10
    with pytest.raises(InputError, match="one amplitude says nothing"):
        leading_regime(AmplitudeSpectra(energy, q[:1], shape[None]))


def test_a_single_amplitude_shows_no_law(subject: Subject) -> None:
    kept = tuple(s for s in subject.results.structures
                 if not s.name.startswith("lo@") or s.name == "lo@0.1")
    one = replace(subject, results=replace(subject.results, structures=kept))
    section = spectra_sections.amplitude_section(one)
    words = [block.text for block in section.blocks if isinstance(block, Text)]
    assert any("has one amplitude only" in text for text in words)
