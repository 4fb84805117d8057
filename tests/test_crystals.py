"""Nine crystals from CIF to difference spectrum: what is planned, what was recorded, done again."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import polaron

from perovskite_polaron.cli.main import main
from perovskite_polaron.cli.pdos import _lines
from perovskite_polaron.lattice.files import read_crystal
from perovskite_polaron.lattice.octahedra import bond_report
from perovskite_polaron.lattice.shells import find_shells
from perovskite_polaron.phonons.modes import read_modes
from perovskite_polaron.spectra.projected import BandEdge
from perovskite_polaron.workflow.jobs import plan
from perovskite_polaron.workflow.spectra import load_results, study_spectra
from perovskite_polaron.workflow.study import read_study

ROOT = Path(__file__).parent.parent
FOLDER = Path(__file__).parent / "data" / "crystals"
RECORD = {one["study"]: one for one in json.loads((FOLDER / "record.json").read_text())}
# Study -> the space group of the displaced crystal, and how many absorbers are on each of its sites
# and of those at rest. International Tables: the subgroup that keeps the pattern, and its orbits.
SITES = {
    "anatase": ("I4_1md", "2 × 4a", "2 × 4a"), "cs2agbibr6": ("Fm-3m", "6 × 24e", "6 × 24e"),
    "cspbbr2cl": ("P4mm", "1 × 1b", "1 × 1a"),
    "cspbi3": ("Pna2_1", "4 × 4c, 8 × 8d", "4 × 4a, 4 × 4a, 4 × 4a"),
    "cssnbr3": ("P4mm", "3 × 3d", "2 × 2c, 1 × 1a"),
    "mapbbr3": ("P1", "1 × 1b, 1 × 1a, 1 × 1b", "1 × 1a, 1 × 1a, 1 × 1a"),
    "nio": ("I4mm", "1 × 4a", "1 × 2a"), "srtio3-o": ("P4mm", "3 × 3d", "2 × 2c, 1 × 1a"),
    "srtio3-ti": ("P4mm", "1 × 1a", "1 × 1a"), "zno": ("P6_3mc", "2 × 2b", "2 × 2b")}
# The patterns that keep the symmetry of the crystal: their change begins with Q, not with Q².
FIRST_ORDER = {"cs2agbibr6", "zno"}


def curves(study: str) -> dict[str, np.ndarray]:
    """Return the recorded columns of a study."""
    with (FOLDER / f"{study}.csv").open() as text:
        head, *rows = csv.reader(text)
    return dict(zip(head, np.array(rows, dtype=float).T, strict=True))


def test_every_crystal_has_a_study_and_a_record() -> None:
    studies = {path.stem for path in FOLDER.glob("*.toml")}
    assert studies == set(SITES) == {path.stem for path in FOLDER.glob("*.csv")}
    assert set(RECORD) == studies
    crystals = {path.stem for path in FOLDER.glob("*.cif")}
    assert {read_study(FOLDER / f"{name}.toml").structures["ground"].crystal
            for name in studies} == {f"{name}.cif" for name in crystals}
    for name in ("srtio3", "cssnbr3"):
        assert (ROOT / "docs" / "files" / f"{name}.cif").read_text() == (
            FOLDER / f"{name}.cif").read_text()


def test_the_page_shows_what_was_recorded() -> None:
    lines = (ROOT / "docs" / "crystals.md").read_text().splitlines()
    for one in RECORD.values():
        change = one["differences"][-1]
        (line,) = [line for line in lines
                   if line.startswith(f"| {one['formula']} | {one['element']} {one['edge']} |")]
        said = f"| {change['largest_percent']:+.2f} at {change['at_eV']:.1f} |".replace("-", "−")
        assert said in line


def test_the_crystals_have_the_bonds_of_their_articles() -> None:
    # ZnO and Cs2AgBiBr6: by hand from cell and coordinate; CsPbI3: the range of Pb-I of others from
    # the same refinement; the rest follows from the lattice constant.
    zinc = next(s for s in find_shells(read_crystal(FOLDER / "zno.cif")) if s.element == "Zn")
    lengths = np.sort(zinc.lengths_A())
    assert lengths[-1] == pytest.approx(0.3821 * 5.2038, abs=1e-4)
    assert lengths[0] == pytest.approx(np.hypot(3.2494 / 3**0.5, 0.1179 * 5.2038), abs=1e-4)
    iodide = read_crystal(FOLDER / "cspbi3.cif")
    octahedra = bond_report(iodide).octahedra.lengths_A
    assert (octahedra.min(), octahedra.max()) == pytest.approx((3.148, 3.221), abs=6e-4)
    silver = find_shells(read_crystal(FOLDER / "cs2agbibr6.cif"))
    assert {s.element: s.lengths_A().mean() for s in silver if s.element in ("Ag", "Bi")
            and s.neighbour == "Br"} == pytest.approx({"Ag": 2.7595, "Bi": 2.8410}, abs=1e-4)
    for name, length in (("srtio3", 1.95264), ("cssnbr3", 2.8975), ("cspbbr2cl", 2.89115)):
        assert bond_report(read_crystal(FOLDER / f"{name}.cif")).axial_A == pytest.approx(length)


@pytest.mark.parametrize("name", SITES)
def test_a_study_computes_each_inequivalent_absorber_once(name: str) -> None:
    pytest.importorskip("feff10")
    group, *expected = SITES[name]
    ground, *moved = plan(read_study(FOLDER / f"{name}.toml"))
    for one, sites in zip((ground, moved[-1]), expected, strict=True):
        assert ", ".join(f"{a.absorber.multiplicity} × {a.absorber.site}"
                         for a in one.absorbers) == sites
    displaced = moved[-1].structure
    assert displaced.symmetry.symbol == group
    assert displaced.distortion is not None
    assert displaced.distortion.max_displacement_A == pytest.approx(0.10)
    # Sublattices move as a whole, and the centre of mass stays.
    crystal = displaced.crystal
    assert crystal.masses_amu @ displaced.distortion.displacement_A == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("name", SITES)
def test_the_recorded_curves_grow_as_their_symmetry_asks(name: str) -> None:
    energy, ground, *small, large = curves(name).values()
    assert ground.max() == pytest.approx(1, abs=0.02), "sampled at every half eV"
    size = np.abs(large).max()
    assert 0.1 < size < 60
    assert np.abs(large[energy < -8]).max() < 0.1 * size
    found = RECORD[name]["differences"][-1]
    assert size == pytest.approx(abs(found["largest_percent"]), rel=0.1)
    if small:
        ratio = float(small[0] @ large / (small[0] @ small[0]))
        assert ratio == pytest.approx(RECORD[name]["large_over_small"], rel=0.05)
        assert ratio == pytest.approx(2 if name in FIRST_ORDER else 4, rel=0.2), (
            "the law, and how far it holds at 0.1 Å")


@pytest.mark.feff
def test_a_crystal_computed_again_gives_the_recorded_curves(tmp_path: Path) -> None:
    pytest.importorskip("feff10")
    name = "cs2agbibr6"
    for path in FOLDER.glob(f"{name}.*"):
        shutil.copy(path, tmp_path)
    study = tmp_path / f"{name}.toml"
    study.write_text(study.read_text().replace("[0.05, 0.10]", "[0.10]"))
    done = polaron("run", study.name, "--jobs", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    results, settings, _ = load_results(study)
    spectra = study_spectra(results, settings)
    energy, ground, *_, change = curves(name).values()
    top = spectra.structures["ground"].average
    np.testing.assert_allclose(np.interp(energy, top.energy_eV, top.intensity)
                               / top.intensity.max(), ground, atol=1e-3)
    again = np.interp(energy, top.energy_eV, spectra.percent(list(spectra.differences)[-1]))
    np.testing.assert_allclose(again, change, atol=1e-3 * np.abs(change).max())


def test_a_pattern_without_an_energy_is_said_to_have_none(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mode = FOLDER / "srtio3.json"
    assert read_modes(mode).energy_words == "without an energy"
    assert read_modes("lo-c").energy_words == "22.25 meV"
    assert main(["view", str(mode), "--out", str(tmp_path / "page.html"), "--no-open"]) == 0
    page = (tmp_path / "page.html").read_text()
    assert "0.00 meV" not in page
    assert "without an energy" in page
    assert main(["distort", str(FOLDER / "srtio3.cif"), "--mode", str(mode), "--amplitude", "1zp",
                 "--out", str(tmp_path / "moved")]) == 2
    assert "has no energy" in capsys.readouterr().err


def test_what_is_said_of_lead_is_said_where_there_is_lead() -> None:
    def said(*shells: str) -> str:
        edges = [BandEdge(name, energy, (0.0, 0.0, 0.0), "Γ", 1, dict.fromkeys(shells, 0.5), 0.0)
                 for name, energy in (("VBM", 0.0), ("CBM", 2.0))]
        result = {"gap_eV": 2.0, "direct": True, "spilling": 0.0, "provenance": {
            "name": "crystal", "space_group": "Pm-3m", "settings": "", "projected_onto": {}}}
        return "\n".join(str(line) for line in _lines(result, edges))

    assert "lowers a conduction band of Pb 6p" in said("Pb 6p", "Br 4p")
    assert "Pb" not in said("Ti 3d", "O 2p")
