"""Records in a notebook: their HTML, their figures, and the manual's notebook as it is stored."""

import re
import subprocess
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coverage_kinetics import MODEL, traces
from matplotlib.figure import Figure
from PIL import Image

from perovskite_polaron.analysis.heating import Exposure, heating
from perovskite_polaron.analysis.kinetics import fit_kinetics
from perovskite_polaron.analysis.verdict import judge
from perovskite_polaron.errors import InputError
from perovskite_polaron.figures.style import png
from perovskite_polaron.lattice.crystal import Crystal
from perovskite_polaron.lattice.files import read_crystal
from perovskite_polaron.lattice.octahedra import bond_report, compare
from perovskite_polaron.measured.scan import Scan
from perovskite_polaron.notebook import as_html, plot
from perovskite_polaron.phonons.distortion import distort
from perovskite_polaron.phonons.modes import Modes, read_modes
from perovskite_polaron.report.subject import Subject
from perovskite_polaron.workflow.scenarios import BUILT_IN

ROOT = Path(__file__).parent.parent
NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?")


class Seen(HTMLParser):
    """What a browser shows of the HTML: texts and rows; every tag must be closed in its order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


@cache
def records() -> dict[str, Any]:
    """One record of each kind that shows itself."""
    crystal, mode = read_crystal("cspbbr3-pbnm"), read_modes("lo-c")
    (moved,) = distort(crystal, mode, [0.1], unit="max_A")
    study = Subject.read(BUILT_IN)
    energy_eV, change = np.arange(0.0, 40.0, 0.5), study.spectra.differences["cubic"]
    signal = 0.1 * np.interp(energy_eV, change.energy_eV, change.intensity)
    transient = Scan(energy_eV, signal, np.full_like(signal, 1e-2 * abs(signal).max()) ** 2)
    return {
        "crystal": crystal, "mode": mode, "distortion": moved, "bonds": bond_report(moved.crystal),
        "displacements": compare(moved.crystal, crystal), "spectra": study.spectra,
        "kinetics": fit_kinetics(traces(0), MODEL),
        "judgement": judge(transient, study.scenarios, edge_eV=0.0),
        "heating": heating(Exposure(8.8, 3.49, 100, 5.8, 2e6))}


def expected() -> dict[str, list[list[str]]]:
    """Cells that must stand in one row, from the records' own attributes."""
    r = records()
    crystal, spectra, fit = r["crystal"], r["spectra"], r["kinetics"]
    best = r["judgement"].found.best
    return {
        "crystal": [["Br", "8d", "8", "13"]],
        "mode": [[f"{r['mode'].energies_meV[0]:.3f}", "B1u", "7.848"]],
        "distortion": [[crystal.name, f"{r['distortion'].amplitude_sqrt_amu_A[0]:.4f}", "0.1000"]],
        "bonds": [["Pb-Br axial, Å", f"{r['bonds'].axial_A:.4f}"]],
        "displacements": [["axial_X", "0.10000"],
                          ["axial to B", f"{r['displacements'].ratio['axial_to_B']:.3f}"]],
        "spectra": [["cubic", f"{np.abs(spectra.percent('cubic')).max():.2f}"]],
        "kinetics": [["lifetime 1 (ps)", f"{fit.lifetimes_ps[0]:.4g}"]],
        "judgement": [[best.name, f"{best.strength:.4g}", f"{best.strength_err:.2g}"]],
        "heating": [["temperature rise after the pulse", f"{r['heating'].delta_T_K:.1f}", "K"]]}


@pytest.mark.parametrize("name", expected())
def test_a_record_shows_its_numbers_and_its_figure(name: str) -> None:
    record = records()[name]
    seen = Seen(as_html(record))
    for cells in expected()[name]:
        assert [row for row in seen.rows if set(cells) <= set(row)], (cells, seen.rows)
    if name == "displacements":
        with pytest.raises(InputError, match="plot\\(bonds after, bonds before"):
            plot(record)
        return
    figure = plot(record)
    assert isinstance(figure, Figure)
    assert figure.axes


def test_the_crystal_says_formula_group_and_cell() -> None:
    said = " ".join(Seen(as_html(records()["crystal"])).text)
    assert "CsPbBr3, 20 atoms in 8.1982 × 8.2440 × 11.7351 Å" in said
    assert "Pnma (62), here as Pbnm" in said


def test_figures_take_what_belongs_to_them() -> None:
    r = records()
    beside = plot(r["bonds"], bond_report(r["crystal"]), r["displacements"])
    assert len(beside.axes) == 2
    assert plot(r["spectra"], edge_eV=13465.45).axes[-1].get_xlabel() == "photon energy (eV)"
    assert plot(r["heating"], cooling_ps=100.0).axes[1].get_xlim()[1] == 500


def test_names_are_text_and_no_markup() -> None:
    cell = Crystal(4 * np.eye(3), ("Po",), np.zeros((1, 3)), "<script>alert(1)</script> & \"co\"")
    html = as_html(cell)
    assert "<script" not in html
    assert 'script>alert(1)</script> & "co": Po, 1 atoms' in "".join(Seen(html).text)


def test_what_cannot_be_told_or_drawn_says_why() -> None:
    mode = read_modes("lo-c")
    waves = Modes(mode.crystal, mode.masses_amu, mode.energies_meV, mode.patterns, (0, 0, 0.5))
    assert "is for the wave vector 0 0 0" in "".join(Seen(as_html(waves)).text)
    for show in (as_html, plot):
        with pytest.raises(InputError, match="a list does not show itself: give one of Crystal, "):
            show([mode])


def test_a_picture_has_few_colours_and_the_size_of_the_figure(tmp_path: Path) -> None:
    figure = plot(records()["distortion"])
    data, size = png(figure)
    (tmp_path / "one.png").write_bytes(data)
    with Image.open(tmp_path / "one.png") as image:
        assert size == {"width": image.width // 2, "height": image.height // 2}
        colours = np.asarray(image.convert("RGB")).reshape(-1, 3)
    with Image.open(tmp_path / "one.png") as image:
        assert image.mode == "P"
    # White paper, the orange of the arrows.
    for wanted in ((255, 255, 255), (213, 94, 0)):
        assert np.abs(colours - np.array(wanted)).max(axis=1).min() <= 4


def test_the_package_loads_neither_this_nor_ipython() -> None:
    code = ("import sys, perovskite_polaron; assert not {'numpy', 'IPython'} & set(sys.modules); "
            "import perovskite_polaron.notebook; "
            "assert not {'IPython', 'matplotlib'} & set(sys.modules)")
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_notebook_shows_what_is_stored() -> None:
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        from run_notebook import NOTEBOOK, executed
    finally:
        sys.path.pop(0)
    import nbformat

    stored, now = nbformat.read(NOTEBOOK, as_version=4), executed()
    nbformat.validate(stored)
    assert NOTEBOOK.stat().st_size < 400e3
    pictures = 0
    for old, new in zip(stored.cells, now.cells, strict=True):
        # What a library of this machine warns of is not the notebook's.
        outputs = [[o for o in cell.get("outputs", []) if o.get("name") != "stderr"]
                   for cell in (old, new)]
        for one, other in zip(*outputs, strict=True):
            assert one.data.keys() == other.data.keys()
            pictures += "image/png" in one.data
            for kind in {"text/plain", "text/html"} & one.data.keys():
                texts = one.data[kind], other.data[kind]
                assert len({NUMBER.sub("#", text) for text in texts}) == 1, texts
                found = [[float(x) for x in NUMBER.findall(text)] for text in texts]
                # The last digit may be another machine's.
                assert found[1] == pytest.approx(found[0], rel=1e-2, abs=1e-6), texts
    assert pictures == 4
