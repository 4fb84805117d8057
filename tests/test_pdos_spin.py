"""Projected densities of states of two spins: laws on real files of an antiferromagnet, projwfc.x's
own curves and charges, and magnets and non-magnets through the real programs.
"""

import csv
import json
import re
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import polaron
from test_magnetism import LIBRARY, OXIDE

from perovskite_polaron.cli.main import main
from perovskite_polaron.errors import ComputationError, InputError
from perovskite_polaron.espresso.projwfc import (
    Projections, load_projections, read_projections, write_projections)
from perovskite_polaron.figures.spectra import draw_pdos, seen_shells
from perovskite_polaron.figures.style import save
from perovskite_polaron.files import open_npz, write_npz
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.files import write_crystal
from perovskite_polaron.lattice.symmetry import find_symmetry
from perovskite_polaron.spectra.projected import (
    ProjectedStates, band_edges, density_of_states, read_states, write_states)
from perovskite_polaron.workflow.carriers import read_edges
from perovskite_polaron.workflow.pdos import projected_states
from perovskite_polaron.workflow.scenarios import BUILT_IN
from perovskite_polaron.workflow.spectra import load_results

LABELS = {"Ni": {1: "4s", 2: "3d"}, "O": {1: "2s", 2: "2p"}}
RECORD = {"name": "nio", "space_group": "R-3m (166)", "settings": "",
          "projected_onto": {"Ni": "4s 3d"}}
NIO_TOML = f"""
[crystal]
moments_muB = [2, -2, 0, 0]
[pw]
ecutwfc_Ry = 25
ecutrho_Ry = 200
kpoints = [2, 2, 2]
conv_thr_Ry = 1e-6
hubbard_U_eV = {{ Ni = 6 }}
mixing_beta = 0.3
[pseudopotentials]
Ni = "{LIBRARY}/Ni.pbe-nd-rrkjus.UPF"
O = "{LIBRARY}/O.pbe-rrkjus.UPF"
"""
needs_library = pytest.mark.skipif(
    not LIBRARY.is_dir(), reason="Debian's files of Quantum ESPRESSO are not here")


def unpack(folder: Path) -> Path:
    with tarfile.open(Path(__file__).parent / "data" / "pdos" / "nio-qe-6.7.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


def raw_of(folder: Path) -> Projections:
    return read_projections(folder, (folder / "projwfc.out").read_text())


def states_of(raw: Projections) -> ProjectedStates:
    return projected_states(OXIDE, find_symmetry(OXIDE), raw, LABELS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(tmp_path_factory.mktemp("nio"))


@pytest.fixture(scope="module")
def states(folder: Path) -> ProjectedStates:
    return states_of(raw_of(folder))


def test_electrons_of_both_spins_are_all(states: ProjectedStates, folder: Path) -> None:
    assert (states.electrons, states.moment_muB) == (32, 0)
    assert states.spilling() == pytest.approx(raw_of(folder).printed_spilling, abs=6e-5)
    energy = np.linspace(-25, states.bottom_eV - states.top_eV - 1, 20001)
    curves = density_of_states(states, energy, 0.05)
    for spin in ("up", "down"):
        assert np.trapezoid(curves[f"total {spin}"], energy) == pytest.approx(16, abs=1e-3)
    held = sum(v for k, v in curves.items() if not k.startswith("total"))
    assert np.trapezoid(held, energy) == pytest.approx(32 * (1 - states.spilling()), abs=1e-3)


def test_up_on_one_nickel_is_down_on_the_other(states: ProjectedStates) -> None:
    energy = np.linspace(-10, 6, 1601)
    curves = density_of_states(states, energy, 0.1, by_site=True)
    scale = curves["Ni1-3a 3d up"].max()
    for a, b in (("Ni1-3a 3d up", "Ni2-3b 3d down"), ("Ni1-3a 3d down", "Ni2-3b 3d up"),
                 ("O3-6c 2p up", "O3-6c 2p down")):
        np.testing.assert_allclose(curves[a], curves[b], atol=2e-3 * scale)
    # And they differ within one atom: a reader that mixes the spins would not see that.
    assert np.abs(curves["Ni1-3a 3d up"] - curves["Ni1-3a 3d down"]).max() > 0.5 * scale


def test_moments_are_those_that_projwfc_prints(states: ProjectedStates, folder: Path) -> None:
    output = (folder / "projwfc.out").read_text()
    printed = re.findall(r"polarization =\s*(-?\d+\.\d+)", output)
    up = re.findall(r"spin up\s+=\s*(\d+\.\d+), s =", output)
    charges = states.charges()
    assert list(charges) == ["Ni1-3a", "Ni2-3b", "O3-6c"]
    # Atoms 1 and 2 are of their own sites, 3 and 4 of one.
    for atom, (site_up, site_down) in zip((0, 1, 2), charges.values(), strict=True):
        assert site_up == pytest.approx(float(up[atom]), abs=1.5e-4)
        assert site_up - site_down == pytest.approx(float(printed[atom]), abs=2e-4)
    assert charges["Ni1-3a"][0] - charges["Ni1-3a"][1] > 1.5


def test_the_curves_are_those_of_projwfc_itself(states: ProjectedStates, folder: Path) -> None:
    total = np.loadtxt(folder / "outdir" / "pdos.pdos_tot")
    ours = density_of_states(states, total[:, 0] - states.top_eV, 0.1, by_site=True)
    scale = total[:, 1].max()
    files = {"Ni1-3a 3d": ["1(Ni1)_wfc#2(d)"], "Ni2-3b 3d": ["2(Ni2)_wfc#2(d)"],
             "O3-6c 2p": ["3(O)_wfc#2(p)", "4(O)_wfc#2(p)"]}
    for column, spin in ((1, "up"), (2, "down")):
        np.testing.assert_allclose(ours[f"total {spin}"], total[:, column], atol=2e-3 * scale)
        for label, names in files.items():
            theirs = sum(np.loadtxt(folder / "outdir" / f"pdos.pdos_atm#{name}")[:, column]
                         for name in names)
            np.testing.assert_allclose(ours[f"{label} {spin}"], theirs, atol=2e-3 * scale)


def test_the_gap_is_that_of_both_spins(states: ProjectedStates) -> None:
    edges = band_edges(states, by_site=True)
    assert [(e.name, e.spin) for e in edges] == [("VBM", "up"), ("CBM", "up"), ("VBM", "down"),
                                                 ("CBM", "down")]
    # pw.x prints 10.8138 and 13.7555 eV for both spins together.
    assert states.top_eV == pytest.approx(10.8138, abs=1e-4)
    assert states.bottom_eV == pytest.approx(13.7555, abs=1e-4)
    assert max(e.energy_eV for e in edges if e.name == "VBM") == 0
    up, down = edges[1], edges[3]
    # The empty 3d of each spin are those of the nickel whose moment is the other.
    assert up.shares["Ni2-3b 3d"] > 0.8 > 1e-3 > up.shares["Ni1-3a 3d"]
    assert down.shares["Ni1-3a 3d"] == pytest.approx(up.shares["Ni2-3b 3d"], abs=1e-4)
    # Another band of spin down, raised over the others, closes the gap from its side alone.
    energies = states.energies_eV.copy()
    energies[4:, 15] += 1
    moved = replace(states, energies_eV=energies)
    assert band_edges(moved)[0].energy_eV == pytest.approx(-1, abs=1e-3)
    assert moved.bottom_eV - moved.top_eV == pytest.approx(1.942, abs=1e-3)
    energies[4:, 15] += 3
    with pytest.raises(ComputationError, match="overlap"):
        band_edges(replace(states, energies_eV=energies))


def test_a_spin_may_have_other_electrons_or_none(states: ProjectedStates) -> None:
    """Moments 2 and 32 of 32 electrons: 17 and 15 bands, and 22 bands cannot hold 32."""
    moved = replace(states, moment_muB=2)
    assert moved.occupied.sum(axis=1).tolist() == [17] * 4 + [15] * 4
    few = replace(states, electrons=10, moment_muB=10)
    assert [(e.name, e.spin) for e in band_edges(replace(few, energies_eV=np.where(
        few.occupied, -30, few.energies_eV)))] == [("VBM", "up"), ("CBM", "up"), ("CBM", "down")]
    for change, word in (({"moment_muB": 32}, "no empty one"), ({"moment_muB": 1}, "whole bands"),
                         ({"moment_muB": 34}, "whole bands"),
                         ({"spins": -states.spins}, "spin up and then"),
                         ({"spins": np.zeros(8), "moment_muB": 2}, "needs rows"),
                         ({"weights": np.r_[states.weights[:4] * 1.2, states.weights[4:] * 0.8]},
                          "spin up and then")):
        with pytest.raises(InputError, match=word):
            replace(states, **change)


def test_smeared_occupations_of_a_metal_are_told(folder: Path) -> None:
    raw = raw_of(folder)
    for moment in (0.37, 1.0):
        with pytest.raises(ComputationError, match=f"moment of {moment:.3f} µB.*a metal"):
            states_of(replace(raw, moment_muB=moment))
    assert states_of(replace(raw, moment_muB=2.0004)).moment_muB == 2


def test_files_keep_both_spins_and_older_ones_are_read(states: ProjectedStates, folder: Path,
                                                       tmp_path: Path) -> None:
    path = write_states(tmp_path / "a.npz", states, RECORD)
    back, record = read_states(path)
    assert record == RECORD
    assert back.moment_muB == 0
    np.testing.assert_array_equal(back.spins, [1] * 4 + [-1] * 4)
    np.testing.assert_allclose(back.shares, states.shares, atol=1e-6)
    with open_npz(path, "states") as arrays:
        head = json.loads(arrays["head"].tobytes())
    assert head["format"].endswith(" 2"), "older versions must not read it as eight k points"
    old, _ = read_states(BUILT_IN / "pdos.npz")
    assert not old.polarised
    del arrays["spins"]
    with pytest.raises(InputError, match="is of format"):
        read_states(write_npz(tmp_path / "b.npz", arrays))
    raw = raw_of(folder)
    again = load_projections(write_projections(tmp_path / "p.npz", raw))
    for name, value in vars(raw).items():
        np.testing.assert_array_equal(getattr(again, name), value)
    older = {k: v for k, v in vars(raw).items() if k not in ("spins", "moment_muB")}
    assert not load_projections(write_npz(tmp_path / "o.npz", older)).spins.any()


def test_the_figure_has_down_below_zero(states: ProjectedStates, tmp_path: Path) -> None:
    edges, energy = band_edges(states), np.linspace(-6, 5, 551)
    curves = density_of_states(states, energy, 0.1)
    shells = seen_shells(curves, edges)
    assert shells[:2] == ["Ni 3d", "O 2p"]
    figure = draw_pdos(energy, curves, edges)
    (axes,) = figure.axes
    low, high = axes.get_ylim()
    assert low == -high < 0
    lines = [line.get_ydata() for line in axes.get_lines() if len(line.get_ydata()) == 551]
    assert np.sign(np.sum(lines, axis=1)).tolist() == [1] * len(shells) + [-1] * len(shells)
    assert axes.get_legend_handles_labels()[1] == ["all states", *shells]
    text = save(figure, tmp_path / "pdos.svg").read_text()
    assert "spin up" in text
    assert "spin down" in text


def test_the_table_has_both_spins_and_moments(states: ProjectedStates, tmp_path: Path,
                                              capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pdos", str(write_states(tmp_path / "pdos.npz", states, RECORD)),
                 "--by-site"]) == 0
    out = capsys.readouterr().out
    # A wide table stands in blocks: the first has the energies.
    rows = {line[:8].strip(): line.split() for line in reversed(out.splitlines())}
    assert "gap 2.942 eV, indirect" in out
    assert rows["VBM down"][2:7] == ["0.000", "Z", "(-0.5,", "-0.5,", "-0.5)"]
    assert {"VBM up", "CBM up", "CBM down"} <= set(rows)
    assert rows["Ni1-3a"][1:] == ["5.184", "3.635", "1.550"]
    assert rows["Ni2-3b"][3] == "-1.550"
    assert out.rstrip().endswith("spin-orbit coupling is not included")
    assert "Pb" not in out
    with open(tmp_path / "pdos.csv") as handle:
        names = next(csv.reader(handle))
    assert names[:3] == ["energy_eV", "total up (1/eV)", "total down (1/eV)"]
    assert "Ni2-3b 3d down (1/eV)" in names
    found = json.loads((tmp_path / "pdos.json").read_text())
    assert [e["spin"] for e in found["edges"]] == ["up", "up", "down", "down"]
    assert found["moment_muB"] == 0


def test_carriers_are_not_told_of_two_spins(states: ProjectedStates, tmp_path: Path) -> None:
    path = write_states(tmp_path / "pdos.npz", states, RECORD)
    results = load_results(BUILT_IN)[0]
    with pytest.raises(InputError, match="two spins, of which carriers know nothing"):
        read_edges(results, tmp_path, path)


SPOILED = {"third": ('SPIN_COMPONENTS="2"', 'SPIN_COMPONENTS="4"'),
           "one": ('SPIN_COMPONENTS="2"', 'SPIN_COMPONENTS="1"'),
           "order": ('spin="2"', 'spin="1"')}


@pytest.mark.parametrize("damage", SPOILED)
def test_spins_that_do_not_fit_are_told(damage: str, tmp_path: Path) -> None:
    unpack(tmp_path)
    path = tmp_path / "outdir" / "polaron.save" / "atomic_proj.xml"
    path.write_text(path.read_text().replace(*SPOILED[damage]))
    with pytest.raises(ComputationError, match=r"atomic_proj\.xml.*run this job again"):
        raw_of(tmp_path)


def test_occupations_that_are_not_there_are_told(tmp_path: Path) -> None:
    unpack(tmp_path)
    path = tmp_path / "outdir" / "polaron.save" / "data-file-schema.xml"
    path.write_text(path.read_text().replace("nbnd_up>", "nbnd_none>"))
    with pytest.raises(ComputationError, match="no readable occupations"):
        raw_of(tmp_path)


def computed(folder: Path, name: str, *words: str) -> tuple[ProjectedStates, dict[str, Any]]:
    done = polaron("pdos", *words, "--ranks", "1", "--out", name, "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    return read_states(folder / name / "pdos.npz")[0], json.loads(done.stdout)


@pytest.mark.espresso
@needs_library
def test_an_antiferromagnet_for_real(tmp_path: Path) -> None:
    write_crystal(replace(OXIDE, moments_muB=None), tmp_path / "nio.cif")
    (tmp_path / "nio.toml").write_text(NIO_TOML)
    found, said = computed(tmp_path, "afm", "nio.cif", "--settings", "nio.toml", "--kpoints",
                           "2x2x2")
    assert found.moment_muB == 0
    assert said["provenance"]["settings"].endswith("2×2×2 from Γ, U of Ni 6 eV")
    assert found.energies_eV.shape[1] == 22, "16 filled bands of each spin, six empty ones"
    assert said["gap_eV"] == pytest.approx(2.942, abs=0.02)
    sites = {s["site"]: s["moment_muB"] for s in said["sites"]}
    assert sites["Ni1-3a"] == pytest.approx(-sites["Ni2-3b"], abs=1e-3)
    assert sites["Ni1-3a"] == pytest.approx(1.55, abs=0.02)
    assert sites["O3-6c"] == pytest.approx(0, abs=1e-3)


@pytest.mark.espresso
@needs_library
def test_a_triplet_has_two_electrons_more_of_one_spin(tmp_path: Path) -> None:
    """O2: two electrons in the π* orbitals of spin up, whose other two of spin down are empty."""
    write_crystal(Crystal(6 * np.eye(3), ("O", "O"), [[0, 0, 0], [0, 0, 1.21 / 6]], "O2"),
                  tmp_path / "o2.cif")
    (tmp_path / "o2.toml").write_text(
        f'[crystal]\nmoments_muB = [1, 1]\n[pw]\necutwfc_Ry = 25\necutrho_Ry = 200\n'
        f'kpoints = [1, 1, 1]\nkpoint_shift = [0, 0, 0]\n'
        f'[pseudopotentials]\nO = "{LIBRARY}/O.pbe-rrkjus.UPF"\n')
    found, said = computed(tmp_path, "triplet", "o2.cif", "--settings", "o2.toml", "--kpoints",
                           "1x1x1")
    assert (found.electrons, found.moment_muB) == (12, 2)
    assert found.occupied.sum(axis=1).tolist() == [7, 5]
    edges = {(e["edge"], e["spin"]): e for e in said["edges"]}
    assert edges["VBM", "up"]["energy_eV"] == 0
    assert edges["CBM", "down"]["energy_eV"] == said["gap_eV"] > 1
    for key in (("VBM", "up"), ("CBM", "down")):
        assert edges[key]["degeneracy"] == 2
        assert edges[key]["share_percent"]["O 2p"] > 95
    assert sum(s["moment_muB"] for s in said["sites"]) == pytest.approx(1, abs=0.02)


@pytest.mark.espresso
def test_without_moments_two_spins_are_one_twice(tmp_path: Path) -> None:
    """Each channel is half of what the calculation without spin gives, state by state."""
    write_crystal(Crystal(4.286 * np.eye(3), ("Cs", "Br"), [[0, 0, 0], [0.5, 0.5, 0.5]], "CsBr"),
                  tmp_path / "csbr.cif")
    pw = "[pw]\necutwfc_Ry = 15\necutrho_Ry = 90\nkpoints = [1, 1, 1]\nconv_thr_Ry = 1e-9\n"
    (tmp_path / "one.toml").write_text(pw)
    (tmp_path / "two.toml").write_text("[crystal]\nmoments_muB = [0, 0]\n" + pw)
    one, _ = computed(tmp_path, "one", "csbr.cif", "--settings", "one.toml")
    two, said = computed(tmp_path, "two", "csbr.cif", "--settings", "two.toml")
    assert (one.polarised, two.polarised, two.moment_muB) == (False, True, 0)
    count = len(one.weights)
    bands = one.energies_eV.shape[1] - 1
    for rows in (slice(count), slice(count, None)):
        np.testing.assert_allclose(two.energies_eV[rows, :bands] - two.top_eV,
                                   one.energies_eV[:, :bands] - one.top_eV, atol=1e-4)
    energy = np.linspace(-20, 5, 501)
    single, both = (density_of_states(s, energy, 0.1) for s in (one, two))
    for label, curve in single.items():
        for spin in ("up", "down"):
            np.testing.assert_allclose(2 * both[f"{label} {spin}"], curve,
                                       atol=1e-3 * single["total"].max())
    for site in said["sites"]:
        assert site["moment_muB"] == pytest.approx(0, abs=1e-4)
    assert two.spilling() == pytest.approx(one.spilling(), abs=1e-4)
