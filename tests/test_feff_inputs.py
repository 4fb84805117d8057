"""FEFF without FEFF: clusters, inputs, the width added to a curve, and what a study may say."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from perovskite_polaron.cli.main import main
from perovskite_polaron.errors import ComputationError, InputError
from perovskite_polaron.feff.cluster import carried_positions_A, cluster_around
from perovskite_polaron.feff.deck import FeffSettings, energy_lines, geometry, with_all_atoms
from perovskite_polaron.feff.xmu import Absorption, read_absorption, read_xmu, write_absorption
from perovskite_polaron.lattice.crystal import Crystal, supercell
from perovskite_polaron.lattice.files import read_crystal
from perovskite_polaron.lattice.matching import match
from perovskite_polaron.report.claims import AGREES, OPEN, at, feature_rows
from perovskite_polaron.report.subject import Subject
from perovskite_polaron.spectra.broadening import lifetime_hwhm_eV
from perovskite_polaron.workflow.engines import agreements
from perovskite_polaron.workflow.feff_jobs import feff_jobs
from perovskite_polaron.workflow.scenarios import BUILT_IN, BUILT_IN_PB_L3
from perovskite_polaron.workflow.spectra import load_results
from perovskite_polaron.workflow.structures import study_structures
from perovskite_polaron.workflow.study import read_study, resolved

STUDY = """
element = "{element}"
edge = "{edge}"
reference = "ground"
[engine]
kind = "feff"
[structures.ground]
crystal = "cspbbr3-pbnm"
"""


def study_file(folder: Path, more: str = "", element: str = "Br", edge: str = "K") -> Path:
    path = folder / "s.toml"
    path.write_text(STUDY.format(element=element, edge=edge) + more)
    return path


def energies(inside: float) -> np.ndarray:
    lines = [line.split()[1:] for line in energy_lines(FeffSettings(), inside)]
    parts, last = [], 0.0
    for low, high, step in lines:
        first = last + float(step) if low == "last" else float(low)
        parts.append(np.arange(first, float(high) + 1e-9, float(step)))
        last = parts[-1][-1]
    return np.concatenate(parts)


def test_a_cluster_is_whole_shells_with_nothing_between_it_and_its_radius() -> None:
    crystal = read_crystal("cspbbr3-pm3m")
    lead = crystal.species.index("Pb")
    found = cluster_around(crystal, lead, 5.9, 1.5)
    assert found.species[:7] == ("Pb", *["Br"] * 6)
    # Eight Cs at a √3/2, then six Pb at a; beyond, twenty-four Br at a √5/2.
    assert found.inner == 1 + 6 + 8 + 6
    distances = np.linalg.norm(found.positions_A, axis=1)
    assert (np.diff(distances) > -1e-3).all()
    assert distances[1:7] == pytest.approx(np.full(6, 5.871 / 2))
    assert distances[7:15] == pytest.approx(np.full(8, 5.871 * np.sqrt(3) / 2))
    assert distances[15:21] == pytest.approx(np.full(6, 5.871))
    assert distances[21:45] == pytest.approx(np.full(24, 5.871 * np.sqrt(5) / 2))
    assert found.radius_A == pytest.approx(5.871 * (1 + np.sqrt(5) / 2) / 2)
    assert distances.max() <= 7.4


def test_a_radius_that_leaves_out_an_element_is_refused_with_the_one_that_does_not() -> None:
    crystal = read_crystal("cspbbr3-pm3m")
    with pytest.raises(InputError, match=r"\(Cs, Pb\): set \[feff\] cluster_radius_A to 5\.9 or"):
        cluster_around(crystal, crystal.species.index("Pb"), 5.0, 3.2)


def test_other_descriptions_of_a_crystal_have_the_same_cluster() -> None:
    crystal = read_crystal("cspbbr3-pbnm")
    site = crystal.species.index("Br")
    cluster = cluster_around(crystal, site, 6.5, 3.0)
    order = np.random.default_rng(1).permutation(len(crystal))
    shuffled = Crystal(crystal.lattice_A, tuple(crystal.species[k] for k in order),
                       crystal.positions[order] + [1, -2, 0])
    for other in (crystal, shuffled, supercell(crystal, (2, 1, 1))):
        found = match(other, crystal)
        for mine in np.flatnonzero(found.atoms == site):
            there = carried_positions_A(cluster, found, other, int(mine))
            np.testing.assert_allclose(there, cluster.positions_A, atol=1e-9)


def test_no_atom_enters_or_leaves_and_none_changes_its_place() -> None:
    crystal = read_crystal("cspbbr3-pbnm")
    site = crystal.species.index("Br")
    cluster, found = cluster_around(crystal, site, 6.5, 3.0), match(crystal, crystal)
    moved = np.random.default_rng(2).normal(0, 0.4, crystal.positions.shape)
    other = crystal.with_positions(crystal.positions + moved @ np.linalg.inv(crystal.lattice_A))
    there = carried_positions_A(cluster, found, other, site)
    wanted = cluster.positions_A + moved[cluster.atoms] - moved[site]
    np.testing.assert_allclose(there, wanted, atol=1e-9)
    rows = geometry(cluster, there).splitlines()
    assert len(rows) == 4 + cluster.inner
    # FEFF's radius is beyond every atom, however far it went.
    text = with_all_atoms(" mfms\n  1\nrfms2, rdirec, toler1, toler2\n 6.5 13.0 0.001 0.001\nx\n",
                          there)
    radius, direct, *rest = text.splitlines()[3].split()
    assert float(radius) > np.linalg.norm(there, axis=1).max()
    assert float(direct) > 2 * np.linalg.norm(there, axis=1).max()
    assert rest == ["0.001", "0.001"]
    with pytest.raises(ComputationError, match="no line rfms2"):
        with_all_atoms("mfms\n1\n", there)


@pytest.mark.parametrize(("whole", "error"), [(0.63, 0.03), (0.8, 0.012), (1.26, 2e-3), (3, 2e-3)])
def test_a_width_added_to_a_width_is_their_sum(whole: float, error: float) -> None:
    # A step at the edge and a line 8 eV above it, seen with one half width, are known at any.
    def seen(energy: np.ndarray, hwhm: float) -> np.ndarray:
        line = hwhm / ((energy - 8) ** 2 + hwhm**2)
        return np.asarray(0.5 + np.arctan(energy / hwhm) / np.pi + line)

    inside, grid = 0.63, np.linspace(-8, 40, 300)
    energy = energies(inside)
    curve = Absorption(13000 + energy, seen(energy, inside), 13000.0, inside)
    wanted = seen(grid, whole)
    # Beyond 20 eV its points are as far apart as the losses of the photoelectron allow.
    assert np.abs(curve.broadened(grid, whole, "x") - wanted).max() < error * wanted.max()
    with pytest.raises(InputError, match=r"half width of 0\.63 eV inside"):
        curve.broadened(grid, 0.5, "x")
    with pytest.raises(InputError, match=r"computed up to \d\d\.\d eV above"):
        curve.broadened(np.array([80.0]), whole, "x")


def test_curves_travel_without_loss(tmp_path: Path) -> None:
    energy = energies(0.63)
    curves = {name: Absorption(energy + 5, np.sin(energy + k), 5.0, 0.63)
              for k, name in enumerate("ab")}
    path = write_absorption(tmp_path / "a.npz", curves)
    back = read_absorption(path)
    assert list(back) == ["a", "b"]
    np.testing.assert_array_equal(back["b"].cross_section_A2, curves["b"].cross_section_A2)
    assert (back["a"].edge_eV, back["a"].inside_hwhm_eV) == (5.0, 0.63)


@pytest.mark.parametrize("text", ["", "# Gam_ch=1.0E+00\n 1 2 3 4 5 6\n", "# nothing\n1 NaN\n"])
def test_what_is_no_whole_curve_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "xmu.dat").write_text(text)
    with pytest.raises((ComputationError, InputError), match=r"xmu\.dat"):
        read_xmu(tmp_path / "xmu.dat")


@pytest.mark.parametrize(("more", "said"), [
    ("[pw]\necutwfc_Ry = 30\n", r"\[pw\] is of the engine xspectra"),
    ('[core_hole]\nkind = "half"\n', "FEFF has no hole of the kind half"),
    ("[feff]\ninside_hwhm_eV = 0.03\n", "need .* energies, FEFF keeps 400"),
    ("[feff]\nradius = 3\n", "unknown key 'radius'"),
    ("[feff]\nl_max_of = { Br = 9 }\n", "l_max_of = .'Br': 9. is not possible: give 1 to 8"),
    ("kpoints = [2, 2, 2]\n", "FEFF has no k points"),
    ('[feff]\nexchange = "none"\n', "is not one of hedin-lundqvist")])
def test_what_feff_cannot_do_is_refused_before_any_work(more: str, said: str,
                                                        tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        read_study(study_file(tmp_path, more))


def test_waves_by_element_reach_the_input_and_elements_that_are_not_there_are_refused(
        tmp_path: Path) -> None:
    def rows(more: str) -> dict[str, str]:
        study = read_study(study_file(tmp_path, more))
        (ground, *_) = feff_jobs(study, study_structures(study))
        lines = ground.absorbers[0].hole.deck.splitlines()
        first = lines.index("POTENTIALS") + 1
        return {f"{row.split()[0]} {row.split()[2]}": row.split()[4]
                for row in lines[first : lines.index("ATOMS")]}

    plain, mixed = rows(""), rows("[feff]\nl_max_of = { Br = 4, Cs = 3 }\n")
    assert set(plain.values()) == {"5"}
    assert mixed == {name: {"Br": "4", "Cs": "3"}.get(name[2:], "5") for name in plain}
    with pytest.raises(InputError, match="l_max_of names Cl, which is in no structure: its"):
        rows("[feff]\nl_max_of = { Cl = 4 }\n")


def test_an_l_edge_is_for_feff_and_its_table_is_its_own(tmp_path: Path) -> None:
    path = study_file(tmp_path, element="Pb", edge="L3")
    assert read_study(path).spectra.core_hole_hwhm_eV == lifetime_hwhm_eV("Pb", "L3")
    path.write_text(path.read_text().replace('kind = "feff"', 'kind = "xspectra"'))
    with pytest.raises(InputError, match=r'edge = "L3" is not computed with XSpectra'):
        read_study(path)
    path.write_text(path.read_text().replace('"L3"', '"K"') + "[feff]\nl_max = 2\n")
    with pytest.raises(InputError, match=r"\[feff\] is of the engine feff"):
        read_study(path)


def test_a_study_agrees_with_itself_and_with_no_other_edge() -> None:
    results, *_ = load_results(BUILT_IN)
    one = replace(results, structures=tuple(
        replace(s, name="lo") if s.name == "lo@0.1" else s for s in results.structures
        if s.name in ("ground", "lo@0.1")))
    assert [(a.name, a.ratio) for a in agreements(one, results)] == [("lo", pytest.approx(1))]
    found = agreements(results, results)
    assert [one.name for one in found if one.name.startswith("lo")]
    for one in found:
        assert one.correlation == pytest.approx(1)
        assert one.ratio == pytest.approx(1)
        assert one.same_sign_percent == 100
    other = replace(results, study=replace(results.study, edge="L3"))
    with pytest.raises(InputError, match="the one study is of Br K, the other of Br L3"):
        agreements(results, other)


def test_the_record_of_a_study_holds_the_tables_of_its_engine(tmp_path: Path) -> None:
    path = study_file(tmp_path)
    table = resolved(read_study(path))
    assert "feff" in table
    assert not {"pw", "xspectra", "pseudopotentials"} & set(table)
    path.write_text(path.read_text().replace('kind = "feff"', 'kind = "xspectra"'))
    table = resolved(read_study(path))
    assert "feff" not in table
    assert {"pw", "xspectra"} <= set(table)


def test_the_built_in_pb_l3_set_keeps_the_law_and_has_its_budget() -> None:
    subject = Subject.read(BUILT_IN_PB_L3)
    differences = {name: subject.percent(name) for name in subject.displaced}
    small, large = differences["lo@0.02"], differences["lo@0.05"]
    assert (large @ small) / (small @ small) == pytest.approx(6.25, rel=0.02)
    assert np.corrcoef(small, large)[0, 1] > 0.999
    for name, curve in differences.items():
        rows = subject.spectra.budget[name]
        assert set(rows) == {"cluster-radius", "scf-radius", "l-max"}
        # Converged: each step moves it by less than 3 % above the edge, 10 % anywhere.
        above = subject.energy_eV > subject.scenarios.first_maximum_eV + 8
        for row in rows.values():
            assert np.abs(row).max() < 0.10 * np.abs(curve).max()
            assert np.abs(row[above]).max() < 0.03 * np.abs(curve[above]).max()
    assert "cubic" not in subject.spectra.budget
    # Gains where the edge rises, loses at its top, gains above: as published, wherever the edge is
    # put within 2 eV.
    signs = [(-7.8, 1), (3.4, -1), (14.0, 1), (25.0, 1)]
    curve = differences["lo@0.1"]
    assert all(np.sign(at(subject, curve, place + moved)) == sign
               for place, sign in signs for moved in (-2.0, 0.0, 2.0))
    assert {row.verdict for row in feature_rows(subject, "lo@0.1")} == {AGREES, OPEN}


def test_two_edges_are_refused_before_anything_is_written(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    words = ["spectra", str(BUILT_IN_PB_L3), "--engines", str(BUILT_IN), "--out", str(out)]
    assert main(words) == 2
    assert "the one study is of Pb L3, the other of Br K" in capsys.readouterr().err
    assert not out.exists()
