"""Dynamical matrices of ph.x, as text and as XML: lattices, damage, what contradicts itself."""

import re
from pathlib import Path

import numpy as np
import pytest
from conftest import changed

from perovskite_polaron.errors import InputError
from perovskite_polaron.phonons.matdyn_files import DynamicalMatrix, read_dynamical_matrices
from perovskite_polaron.phonons.readers import from_file, read_phonons

pytest.importorskip("phonopy")
DATA = Path(__file__).parent / "data" / "phonons"
FILES = Path(__file__).parent.parent / "docs" / "files"
DYN = DATA / "alas-333.dyn1"


def as_xml(matrix: DynamicalMatrix) -> str:
    """A .dyn.xml as ph.x writes it: arrays in Fortran's order, masses in amu, alat in bohr."""
    n, alat_bohr = len(matrix.crystal), matrix.alat_A / 0.529177210544
    unit = 13.60569312299 / 0.529177210544**2

    def tag(name: str, values: object) -> str:
        rows = np.asarray(values).T.ravel()
        text = "\n".join(f"{v.real:.15E}, {v.imag:.15E}" if np.iscomplexobj(rows) else f"{v:.15E}"
                         for v in rows)
        return f'<{name} type="real" size="{rows.size}">\n{text}\n</{name}>\n'

    kinds = list(dict.fromkeys(matrix.crystal.species))
    phi = matrix.force_constants_eV_A2.reshape(n, 3, n, 3) / unit
    tau = matrix.crystal.cartesian_A / matrix.alat_A
    head = tag("CELL_DIMENSIONS", [alat_bohr, 0, 0, 0, 0, 0])
    head += tag("AT", matrix.crystal.lattice_A.T / matrix.alat_A)
    for number, kind in enumerate(kinds, 1):
        mass = matrix.masses_amu[matrix.crystal.species.index(kind)]
        head += f"<TYPE_NAME.{number}>\n{kind} \n</TYPE_NAME.{number}>\n"
        head += tag(f"MASS.{number}", [mass])
    for k, kind in enumerate(matrix.crystal.species):
        place = " ".join(f"{v:.15E}" for v in tau[k])
        head += f'<ATOM.{k + 1} SPECIES="{kind} " INDEX="{kinds.index(kind) + 1}" TAU="{place}"/>\n'
    field = ""
    if matrix.epsilon_inf is not None and matrix.born_charges is not None:
        charges = "".join(tag(f"Z_AT_.{k + 1}", z) for k, z in enumerate(matrix.born_charges))
        field = tag("EPSILON", matrix.epsilon_inf) + f"<ZSTAR>\n{charges}</ZSTAR>\n"
    q = matrix.q @ np.linalg.inv(matrix.crystal.lattice_A.T / matrix.alat_A)
    blocks = "".join(tag(f"PHI.{i + 1}.{j + 1}", phi[i, :, j]) for i in range(n) for j in range(n))
    return (f'<?xml version="1.0"?>\n<Root>\n<GEOMETRY_INFO>\n{head}</GEOMETRY_INFO>\n'
            f"<DIELECTRIC_PROPERTIES>\n{field}</DIELECTRIC_PROPERTIES>\n"
            f"<DYNAMICAL_MAT_.1>\n{tag('Q_POINT', q)}{blocks}</DYNAMICAL_MAT_.1>\n</Root>\n")


@pytest.mark.parametrize("name", ["alas-333.dyn1", "alas-333.dyn2", "alas-gamma.dyn",
                                  "alas-wz.dyn"])
def test_the_xml_of_ph_says_the_same_as_its_text(tmp_path: Path, name: str) -> None:
    text = read_dynamical_matrices(DATA / name)[0]
    path = tmp_path / f"{name}.xml"
    path.write_text(as_xml(text))
    (xml,) = read_dynamical_matrices(path)
    assert xml.crystal.species == text.crystal.species
    for attribute in ("q", "masses_amu", "epsilon_inf", "born_charges", "force_constants_eV_A2"):
        one, other = getattr(xml, attribute), getattr(text, attribute)
        assert (one is None) == (other is None)
        if other is not None:
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)
    if not text.q.any():
        np.testing.assert_allclose(from_file(path).modes.energies_meV,
                                   from_file(DATA / name).modes.energies_meV, atol=1e-6)


def test_damaged_xml_is_refused(tmp_path: Path) -> None:
    text = as_xml(read_dynamical_matrices(DYN)[0])
    path = tmp_path / "d.xml"
    for content in (text[: len(text) // 2], text.replace("<PHI.2.1", "<PHI.9.9").replace(
            "</PHI.2.1", "</PHI.9.9"), text.replace("DYNAMICAL_MAT_", "s_s1_m1_m2_m3"),
            text.replace('version="1.0"?>', 'version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]>'),
            re.sub(r"E-01, ", "E+99999, ", text)):
        assert content != text
        path.write_text(content)
        with pytest.raises(InputError, match=re.escape(str(path))):
            read_dynamical_matrices(path)


@pytest.mark.parametrize("changed", ["mass", "printed", "matrix"])
def test_a_matrix_that_is_not_that_of_the_printed_modes_is_said(tmp_path: Path,
                                                                changed: str) -> None:
    text = (FILES / "alas.dyn1").read_text()
    (tmp_path / "alas.dyn1").write_text(text)
    right = read_phonons(tmp_path / "alas.dyn1")[0].energies_meV  # without a word
    old, new = {"mass": (r"('Al +' +)\d", r"\g<1>9"),
                "printed": (r"= +11\.\d+ \[THz\]", "= 12.0 [THz]"),
                "matrix": (r"(\n +1 +1\n +)0\.(\d)", r"\g<1>0.9")}[changed]
    damaged, count = re.subn(old, new, text, count=1)
    assert count
    (tmp_path / "alas.dyn1").write_text(damaged)
    with pytest.warns(UserWarning, match=r"matrix and masses give a mode of .* meV, ph.x printed"):
        found = read_phonons(tmp_path / "alas.dyn1")[0].energies_meV
    assert np.allclose(found, right) == (changed == "printed")


def test_a_blank_title_is_a_title(tmp_path: Path) -> None:
    lines = DYN.read_text().splitlines(keepends=True)
    blank = tmp_path / "blank.dyn1"
    blank.write_text("".join([lines[0], " " * 75 + "\n", *lines[2:]]))
    np.testing.assert_array_equal(from_file(blank).modes.energies_meV,
                                  from_file(DYN).modes.energies_meV)


@pytest.mark.parametrize(("ibrav", "celldm"), [
    (5, "10.0 0.0 0.0 0.3 0.0 0.0"), (-3, "10.0 0.0 0.0 0.0 0.0 0.0"),
    (9, "10.0 1.1 1.3 0.0 0.0 0.0"), (-12, "10.0 1.1 1.3 0.0 0.2 0.0"),
    (13, "10.0 1.1 1.3 0.2 0.0 0.0"), (14, "10.0 1.1 1.3 0.1 0.2 0.3")])
def test_every_lattice_of_quantum_espresso(tmp_path: Path, ibrav: int, celldm: str) -> None:
    path = changed(DYN, tmp_path, r"(?m)^  2    2   2 .*$", f"  2    2  {ibrav}  {celldm}")
    (matrix,) = read_dynamical_matrices(path)
    lattice = matrix.crystal.lattice_A / matrix.alat_A
    if ibrav == 5:
        cosines = lattice @ lattice.T
        np.testing.assert_allclose(cosines[~np.eye(3, dtype=bool)], 0.3, atol=1e-12)
    if ibrav == 14:
        np.testing.assert_allclose(np.linalg.norm(lattice, axis=1), [1, 1.1, 1.3])
        assert lattice[1] @ lattice[2] == pytest.approx(1.1 * 1.3 * 0.1)
    assert np.abs(matrix.crystal.cartesian_A[1] - matrix.alat_A / 4).max() < 1e-9
    wrong = changed(DYN, tmp_path, r"(?m)^  2    2   2 .*$", f"  2    2  77  {celldm}", "77.dyn")
    with pytest.raises(InputError, match="ibrav = 77"):
        read_dynamical_matrices(wrong)
