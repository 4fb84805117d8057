"""Projected densities of states: laws on real files of projwfc.x, its own curves, and hostile
input.
"""

import json
import os
import re
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import polaron

from perovskite_polaron.cli.main import main
from perovskite_polaron.errors import ComputationError, InputError
from perovskite_polaron.espresso.projwfc import (
    Projections, load_projections, read_projections, write_projections)
from perovskite_polaron.figures.spectra import draw_pdos, seen_shells
from perovskite_polaron.figures.style import save
from perovskite_polaron.lattice.crystal import Crystal, supercell
from perovskite_polaron.lattice.files import read_crystal
from perovskite_polaron.lattice.symmetry import find_symmetry, grid_for, kpoint_names
from perovskite_polaron.spectra.projected import (
    ProjectedStates, Shell, band_edges, density_of_states, read_states, write_states)
from perovskite_polaron.workflow.pdos import projected_states

DATA = Path(__file__).parent / "data" / "pdos"
CUBIC = read_crystal("cspbbr3-pm3m")
# Place in the UPF file -> shell, as generated: projwfc.x leaves out the empty 5s and 5p of Br.
LABELS = {
    "Pb": {1: "6s", 2: "6p", 3: "5d"},
    "Cs": {1: "5s", 2: "6s", 3: "5p"},
    "Br": {1: "4s", 2: "5s", 3: "4p", 4: "5p"},
}


RECORD = {"name": "Γ", "space_group": "Pm-3m (221)", "settings": "",
          "projected_onto": {"Pb": "6s 6p 5d"}}


def unpack(name: str, folder: Path) -> Path:
    with tarfile.open(DATA / f"cspbbr3-pm3m-{name}-qe-6.7.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


def raw_of(folder: Path) -> Projections:
    return read_projections(folder, (folder / "projwfc.out").read_text())


@pytest.fixture(scope="module")
def reduced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack("reduced", tmp_path_factory.mktemp("reduced"))


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack("full", tmp_path_factory.mktemp("full"))


def states_of(folder: Path) -> ProjectedStates:
    return projected_states(CUBIC, find_symmetry(CUBIC), raw_of(folder), LABELS)


def test_electrons_are_counted(reduced: Path) -> None:
    states = states_of(reduced)
    assert states.electrons == 44
    assert states.spilling() == pytest.approx(raw_of(reduced).printed_spilling, abs=6e-5)
    assert 0 < states.spilling() < 0.01
    _, conduction = band_edges(states)
    energy = np.linspace(-25, conduction.energy_eV / 2, 20001)
    curves = density_of_states(states, energy, 0.05)
    assert np.trapezoid(curves["total"], energy) == pytest.approx(44, abs=1e-3)
    shells = sum(curves[label] for label in curves if label != "total")
    assert np.trapezoid(shells, energy) == pytest.approx(44 * (1 - states.spilling()), abs=1e-3)
    # Ten electrons of the 5d, six of the 5p shell: what is a closed shell holds what its name says.
    assert np.trapezoid(curves["Pb 5d"], energy) == pytest.approx(10, abs=0.1)
    assert np.trapezoid(curves["Cs 5p"], energy) == pytest.approx(6, abs=0.1)


def test_shells_add_up_to_the_projections_of_each_state(reduced: Path) -> None:
    raw, states = raw_of(reduced), states_of(reduced)
    np.testing.assert_allclose(states.shares.sum(axis=2), raw.shares.sum(axis=2), atol=1e-12)
    np.testing.assert_allclose(sum(states.merged().values()), states.shares.sum(axis=2), atol=1e-12)
    assert [s.label() for s in states.shells if s.element == "Br"] == ["Br 4s", "Br 4p"]
    assert {s.atoms for s in states.shells if s.element == "Br"} == {3}
    # What is printed of the lowest state: Cs 5s and a little Cs 6s.
    assert states.merged()["Cs 5s"][0, 0] == pytest.approx(0.998, abs=2e-3)


def test_the_curves_are_those_of_projwfc_itself(reduced: Path) -> None:
    states = states_of(reduced)
    top = float(states.top_eV)
    total = np.loadtxt(reduced / "outdir" / "pdos.pdos_tot")
    ours = density_of_states(states, total[:, 0] - top, 0.1)
    scale = total[:, 1].max()
    np.testing.assert_allclose(ours["total"], total[:, 1], atol=2e-3 * scale)
    np.testing.assert_allclose(sum(v for k, v in ours.items() if k != "total"), total[:, 2],
                               atol=2e-3 * scale)
    for element, places in LABELS.items():
        for place, label in places.items():
            files = list((reduced / "outdir").glob(f"*({element})_wfc#{place}(*"))
            if not files:
                assert label in ("5s", "5p")
                assert element == "Br"
                continue
            theirs = sum(np.loadtxt(f)[:, 1] for f in files)
            # They print three digits, and symmetrise each atom; we sum over the equivalent ones.
            np.testing.assert_allclose(ours[f"{element} {label}"], theirs, atol=2e-3 * scale)


def test_equivalent_atoms_have_the_same_curve(full: Path, reduced: Path) -> None:
    raw = raw_of(full)
    assert raw.kpoints.shape == (8, 3)
    apart = replace(find_symmetry(CUBIC), equivalent_atoms=np.arange(5))
    energy = np.linspace(-20, 6, 1301)
    curves = density_of_states(projected_states(CUBIC, apart, raw, LABELS), energy, 0.1,
                               by_site=True)
    br = [curves[f"Br{n}-3d 4p"] for n in (3, 4, 5)]
    for one in br[1:]:
        np.testing.assert_allclose(one, br[0], atol=1e-4 * br[0].max())
    # Four irreducible points know of the other four through the sum over equivalent atoms alone.
    whole, few = (density_of_states(states_of(f), energy, 0.1) for f in (full, reduced))
    for label, curve in whole.items():
        np.testing.assert_allclose(few[label], curve, atol=1e-4 * whole["total"].max())
    np.testing.assert_allclose(sum(br), few["Br 4p"], atol=1e-4 * br[0].max())
    single = density_of_states(projected_states(CUBIC, apart, raw_of(reduced), LABELS), energy, 0.1,
                               by_site=True)
    assert np.abs(single["Br3-3d 4p"]
                  - single["Br5-3d 4p"]).max() > 0.1 * br[0].max(), "one atom alone means nothing"


def test_the_edges_of_cubic_cspbbr3(reduced: Path) -> None:
    valence, conduction = band_edges(states_of(reduced))
    assert valence.kpoint_name == conduction.kpoint_name == "R"
    assert (valence.energy_eV, valence.degeneracy, conduction.degeneracy) == (0, 1, 3)
    assert valence.shares["Br 4p"] > valence.shares["Pb 6s"] > 0.2
    assert conduction.shares["Pb 6p"] > 0.8
    # R is a point of inversion about Pb: the even 6s and the odd 6p never meet in one state.
    assert valence.shares["Pb 6p"] < 1e-6
    assert conduction.shares["Pb 6s"] < 1e-6
    for edge in (valence, conduction):
        assert sum(edge.shares.values()) + edge.unprojected == pytest.approx(1)


def test_the_figure_shows_what_the_edges_are_made_of(reduced: Path, tmp_path: Path) -> None:
    states = states_of(reduced)
    edges, energy = band_edges(states), np.linspace(-6, 5, 551)
    curves = density_of_states(states, energy, 0.1)
    seen = seen_shells(curves, edges)
    assert seen[:3] == ["Pb 6p", "Br 4p",
                        "Pb 6s"], "by their part in an edge, however low the curve"
    assert "Pb 5d" not in seen
    figure = draw_pdos(energy, curves, edges)
    assert save(figure, tmp_path / "pdos.svg").read_text().count("<path") > 10
    assert save(figure, tmp_path / "pdos.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(InputError, match=r"\.png"):
        save(figure, tmp_path / "pdos.txt")


@pytest.mark.parametrize(("names", "said"), [
    ({}, ": it splits the p states of heavy atoms and lowers a conduction band of Pb 6p by about"
         " 1 eV"),
    ({"Pb 6p": "Sn 5p"}, ": it splits the p states of heavy atoms"),
    ({"Pb 6p": "Ti 3d", "Br 4p": "O 2p", "Pb 6s": "Sr 5s"}, "")])
@pytest.mark.parametrize("more", [[], ["--by-site"]])
def test_what_spin_orbit_coupling_does_is_said_of_the_shells_that_are_there(
        names: dict[str, str], said: str, more: list[str], reduced: Path, tmp_path: Path,
        capsys: pytest.CaptureFixture[str]) -> None:
    states = states_of(reduced)
    shells = []
    for shell in states.shells:
        element, label = names.get(shell.label(), shell.label()).split()
        shells.append(Shell(element, label, shell.site.replace(shell.element, element),
                            shell.atoms))
    path = write_states(tmp_path / "pdos.npz", replace(states, shells=tuple(shells)), RECORD)
    assert main(["pdos", str(path), *more]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[-1] == f"spin-orbit coupling is not included{said}"


def test_names_of_k_points_follow_the_cell_and_its_symmetry() -> None:
    points = [[0, 0, 0], [0, 0, 0.5], [0.5, 0, 0], [0.5, 1.5, 0], [-0.5, 0.5, 0.5], [0.1, 0, 0],
              [2, -1, 0]]
    assert kpoint_names(CUBIC, find_symmetry(CUBIC), points) == ("Γ", "X", "X", "M", "R", "", "Γ")
    pbnm = read_crystal("cspbbr3-pbnm")
    assert kpoint_names(pbnm, find_symmetry(pbnm), points[:5]) == ("Γ", "Z", "X", "S", "R")


def test_a_grid_follows_the_cell() -> None:
    assert grid_for(CUBIC.lattice_A) == (2, 2, 2)
    assert grid_for(read_crystal("cspbbr3-pbnm").lattice_A) == (2, 2, 1)
    # The same points in a cell of another shape: half as many along a doubled axis.
    assert grid_for(supercell(CUBIC, (1, 2, 4)).lattice_A) == (2, 1, 1)
    fcc = Crystal([[0, 3, 3], [3, 0, 3], [3, 3, 0]], ("Pb",), [[0, 0, 0]], "fcc")
    assert len(set(grid_for(fcc.lattice_A))) == 1


def synthetic(seed: int = 0) -> ProjectedStates:
    draw = np.random.default_rng(seed)
    energies = np.sort(draw.uniform(-5, 5, (7, 12)), axis=1)
    energies[:, 6:] += 12
    shells = (Shell("Br", "4p", "Br1-4c", 4), Shell("Br", "4p", "Br5-8d", 8),
              Shell("Pb", "6p", "Pb13-4a", 4))
    return ProjectedStates(
        energies, draw.uniform(-0.5, 0.5, (7, 3)), ("",) * 7, draw.dirichlet(np.ones(7)),
        draw.dirichlet(np.ones(4), (7, 12))[:, :, :3], shells, 12,
    )  # fmt: skip


@pytest.mark.parametrize("sigma", [0.02, 0.1, 0.5])
def test_curves_are_sums_of_gaussians(sigma: float) -> None:
    states = synthetic()
    x = np.linspace(-12, 14, 2001)
    at = states.energies_eV - states.energies_eV[:, :6].max()
    bells = np.exp(-((x[:, None, None] - at) ** 2) / (2 * sigma**2)) / (sigma * np.sqrt(2 * np.pi))
    curves = density_of_states(states, x, sigma)
    for label, share in (("total", np.ones(at.shape)), ("Pb 6p", states.shares[:, :, 2])):
        expected = 2 * (bells * states.weights[:, None] * share).sum(axis=(1, 2))
        np.testing.assert_allclose(curves[label], expected, atol=1e-4 * expected.max())
    sites = density_of_states(states, x, sigma, by_site=True)
    np.testing.assert_allclose(sites["Br1-4c 4p"] + sites["Br5-8d 4p"], curves["Br 4p"], atol=1e-12)
    np.testing.assert_array_equal(sites["total"], curves["total"])


def test_curves_where_nothing_is() -> None:
    curves = density_of_states(synthetic(), [100.0, 101.0], 0.1)
    assert all((c == 0).all() for c in curves.values())


def test_degenerate_states_are_judged_together() -> None:
    states = synthetic()
    energies, shares = states.energies_eV.copy(), states.shares.copy()
    energies[3, 6:8] = energies[:, 6:].min() - 1
    edge = band_edges(replace(states, energies_eV=energies))[1]
    assert edge.degeneracy == 2
    # Another combination of the two states: parts move between them, the sum stays.
    shares[3, 6], shares[3, 7] = 0.8 * shares[3, 6] + 0.2 * shares[3,
                                                                   7], 0.2 * shares[
                                                                       3, 6] + 0.8 * shares[3, 7]
    again = band_edges(replace(states, energies_eV=energies, shares=shares))[1]
    assert again.shares == pytest.approx(dict(edge.shares))
    assert edge.kpoint == tuple(states.kpoints[3])


@pytest.mark.parametrize(("change", "word"),
                         [({"electrons": 11}, "insulator"), ({"electrons": 24}, "no empty"),
                          ({"weights": np.ones(7)}, "sum is 1"),
                          ({"shares": np.full((7, 12, 3), 0.5)}, "more than 1"),
                          ({"shares": np.full((7, 12, 3), np.nan)}, "NaN"),
                          ({"kpoint_names": ("",)}, "names"),
                          ({"energies_eV": np.zeros((7, 11))}, "shape")])
def test_states_that_cannot_be_are_refused(change: dict[str, object], word: str) -> None:
    with pytest.raises(InputError, match=word):
        replace(synthetic(), **change)


def test_a_metal_has_no_edges() -> None:
    states = synthetic()
    energies = states.energies_eV.copy()
    energies[0, 6:] -= 30
    with pytest.raises(ComputationError, match="overlap"):
        band_edges(replace(states, energies_eV=np.sort(energies, axis=1)))


@pytest.mark.parametrize("sigma", [0.0, -1.0, float("nan"), 1e9])
def test_a_width_that_is_none_is_refused(sigma: float) -> None:
    with pytest.raises(InputError, match="sigma_eV"):
        density_of_states(synthetic(), [0.0, 1.0], sigma)


def in_xml(change: Callable[[str], str]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / "outdir" / "polaron.save" / "atomic_proj.xml"
        path.write_text(change(path.read_text()))

    return apply


def in_output(change: Callable[[str], str]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / "projwfc.out"
        path.write_text(change(path.read_text()))

    return apply


def drop(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "outdir" / "polaron.save" / name).unlink()


FIRST = re.compile(r'(<ATOMIC_WFC index="1" spin="1">\s*)\S+')
DAMAGE = {"missing": drop("atomic_proj.xml"), "no cell": drop("data-file-schema.xml"),
          "empty": in_xml(lambda t: ""), "cut off": in_xml(lambda t: t[: len(t) // 2]),
          "not XML": in_xml(lambda t: "\x00\x01 garbage"),
          "NaN": in_xml(lambda t: FIRST.sub(r"\1NaN", t, count=1)),
          "infinity": in_xml(lambda t: FIRST.sub(r"\1Infinity", t, count=1)),
          "stars": in_xml(lambda t: FIRST.sub(r"\1**********", t, count=1)),
          "one number less": in_xml(lambda t: FIRST.sub(r"\1", t, count=1)),
          "too much of a state": in_xml(lambda t: FIRST.sub(r"\g<1>1.5", t, count=1)),
          "no k point": in_xml(lambda t: re.sub(r"<EIGENSTATES>.*</EIGENSTATES>", "", t,
                                                flags=re.DOTALL)),
          "one k point less": in_xml(lambda t: t.replace('NUMBER_OF_K-POINTS="4"',
                                                         'NUMBER_OF_K-POINTS="5"')),
          "no head": in_xml(lambda t: re.sub(r"<HEADER[^>]*>", "", t)),
          "no bands in the head": in_xml(lambda t: t.replace('NUMBER_OF_BANDS="26"', "")),
          "two spins": in_xml(lambda t: t.replace('SPIN_COMPONENTS="1"', 'SPIN_COMPONENTS="2"')),
          "a weight below zero": in_xml(lambda t: t.replace('Weight="', 'Weight="-', 1)),
          "a weight that is none": in_xml(
              lambda t: re.sub(r'Weight="[^"]*"', 'Weight="NaN"', t, count=1)),
          "nothing printed": in_output(lambda t: ""),
          "no spilling printed": in_output(lambda t: t.replace("Spilling", "")),
          "a state not printed": in_output(lambda t: re.sub(r"     state #  12.*\n", "", t)),
          "the last states not printed": in_output(
              lambda t: re.sub(r"     state #  26.*\n", "", t))}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_output_is_one_line_with_its_path(damage: str, tmp_path: Path) -> None:
    unpack("reduced", tmp_path)
    DAMAGE[damage](tmp_path)
    with pytest.raises(ComputationError, match=r"atomic_proj\.xml.*run this job again") as error:
        raw_of(tmp_path)
    assert "\n" not in str(error.value)


def test_projections_and_states_survive_their_files(reduced: Path, tmp_path: Path) -> None:
    raw = raw_of(reduced)
    again = load_projections(write_projections(tmp_path / "p.npz", raw))
    for name, value in vars(raw).items():
        np.testing.assert_array_equal(getattr(again, name), value)
    states = states_of(reduced)
    first = write_states(tmp_path / "a.npz", states, RECORD).read_bytes()
    assert write_states(tmp_path / "b.npz", states, RECORD).read_bytes() == first
    back, record = read_states(tmp_path / "a.npz")
    assert (record, back.shells, back.kpoint_names) == (RECORD, states.shells, states.kpoint_names)
    np.testing.assert_allclose(back.shares, states.shares, atol=1e-6)
    x = np.linspace(-6, 6, 301)
    for label, curve in density_of_states(states, x, 0.1).items():
        np.testing.assert_allclose(density_of_states(back, x, 0.1)[label], curve, atol=1e-3)


@pytest.mark.parametrize("damage", ["energies_eV", "weights", "record", "shells"])
def test_states_that_were_tampered_with_are_refused(damage: str, reduced: Path,
                                                    tmp_path: Path) -> None:
    path = write_states(tmp_path / "a.npz", states_of(reduced), RECORD)
    with np.load(path) as file:
        arrays = dict(file)
    head = json.loads(arrays["head"].tobytes())
    if damage in head:
        head[damage] = {"name": "Γ"} if damage == "record" else [{"element": "Br"}]
        arrays["head"] = np.frombuffer(json.dumps(head).encode(), np.uint8)
    else:
        arrays[damage] = arrays[damage] * np.nan
    np.savez(path, **arrays)
    with pytest.raises(InputError,
                       match=r"a\.npz does not hold projected states \(.*write it again"):
        read_states(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a zip", b"text", None])
def test_a_damaged_file_of_states_is_refused(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "pdos.npz"
    if content is None:
        np.savez(path, head=np.frombuffer(b'{"format": "another"}', np.uint8))
    else:
        path.write_bytes(content)
    done = polaron("pdos", path.name, cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (2, 1, "")
    assert "polaron: pdos.npz" in done.stderr
    assert os.listdir(tmp_path) == ["pdos.npz"]
    with pytest.raises(ComputationError, match="run again"):
        load_projections(path)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    for words, word in ((("no.npz",), "does not exist"), (("no.toml",), "does not exist"),
                        (("no.cif",), "no.cif")):
        done = polaron("pdos", *words, cwd=tmp_path)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert word in done.stderr


def test_another_atom_or_wave_function_is_noticed(reduced: Path) -> None:
    raw = raw_of(reduced)
    for change in ({"atom": raw.atom + 1}, {"shell": raw.shell + 4}):
        with pytest.raises(ComputationError, match="do not have"):
            projected_states(CUBIC, find_symmetry(CUBIC), replace(raw, **change), LABELS)
