"""The page in a browser: what it shows at every width, light and dark, what its controls do."""

import csv
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import chromium
import numpy as np
import pytest
from matplotlib.colors import to_hex

from perovskite_polaron.figures import style
from perovskite_polaron.report.live import POSITIONS
from perovskite_polaron.report.study_page import study_page
from perovskite_polaron.report.subject import Subject
from perovskite_polaron.workflow.scenarios import BUILT_IN_PB_L3

WIDTHS = (360, 1280, 3840)
pytestmark = pytest.mark.skipif(chromium.PROGRAM is None, reason="no Chromium here")


@pytest.fixture(scope="module")
def report(subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    page = study_page(subject, "a test", beside=[Subject.read(BUILT_IN_PB_L3)])
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page.html(), encoding="utf-8")
    assert path.stat().st_size < 5 * 2**20
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[chromium.Page]:
    with chromium.Page() as page:
        yield page


@pytest.fixture
def opened(browser: chromium.Page, report: Path) -> Iterator[chromium.Page]:
    """The report in a fresh state, its viewer there; nothing that follows may complain."""
    browser.messages.clear()
    browser.open(report, 1280)
    browser.wait_for("document.querySelector('.stage canvas') !== null")
    yield browser
    assert browser.complaints() == []


def move(page: chromium.Page, name: str, value: float) -> None:
    """Move a slider as its user does, by its name."""
    page.value(f"""(() => {{ const s = document.querySelector('input[name="{name}"]');
        s.value = {value}; s.dispatchEvent(new Event('input', {{ bubbles: true }})); }})()""")


def click(page: chromium.Page, words: str) -> None:
    """Press the button, or tick the box, with these words."""
    page.value(f"""[...document.querySelectorAll('button, .toggle')].find(
        (e) => e.textContent.trim().startsWith({words!r})).click()""")


def curve(page: chromium.Page, panel: int, number: int = 0) -> str:
    """What one curve of a panel is drawn by."""
    return str(page.value("[...document.querySelectorAll('.plot svg > g[clip-path]')]"
                          f"[{panel}].querySelectorAll('path')[{number}].getAttribute('d')"))


def downloaded(page: chromium.Page, folder: Path) -> dict[str, np.ndarray]:
    """The columns of the table that the button saves."""
    page.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    click(page, "Download curves")
    end = time.monotonic() + 60
    while not (found := list(folder.glob("*.csv"))):
        assert time.monotonic() < end, "nothing was saved"
        time.sleep(0.1)
    with found[0].open(newline="", encoding="utf-8") as handle:
        head, *rows = csv.reader(handle)
    found[0].unlink()
    return dict(zip(head, np.array(rows, dtype=float).T, strict=True))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_a_browser_shows_it(browser: chromium.Page, report: Path, width: int, dark: bool) -> None:
    browser.messages.clear()
    browser.open(report, width, dark=dark)
    browser.wait_for("document.querySelector('.stage canvas') !== null")
    assert browser.complaints() == []
    assert browser.requests() == [report.resolve().as_uri()]
    assert browser.value("document.documentElement.scrollWidth") <= width
    sticking_out = browser.value(
        "[...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll') && "
        "!e.closest('svg') && e.getBoundingClientRect().right > innerWidth + 1).length"
    )
    assert sticking_out == 0
    smallest = browser.value(
        "Math.min(...[...document.querySelectorAll('svg text')]"
        ".filter(t => t.textContent.trim() && !t.querySelector('tspan') && t.getScreenCTM()"
        " && t.getBoundingClientRect().width)"
        ".map(t => parseFloat(getComputedStyle(t).fontSize)"
        " * Math.hypot(t.getScreenCTM().a, t.getScreenCTM().b)))"
    )
    assert smallest >= 9
    # No label is cut by the edge of its figure.
    cut = browser.value(
        "[...document.querySelectorAll('svg text')].filter(t => { const b = "
        "t.getBoundingClientRect(), s = t.ownerSVGElement.getBoundingClientRect(); "
        "return b.width && (b.left < s.left - 1 || b.right > s.right + 1 || b.top < s.top - 1 || "
        "b.bottom > s.bottom + 1); }).map(t => t.textContent)"
    )
    assert cut == []
    paper, ink = (
        np.array(re.findall(r"\d+", browser.value(f"getComputedStyle(document.body).{name}"))[:3],
                 dtype=float) for name in ("backgroundColor", "color"))
    assert (paper.mean() < 60) == dark
    assert abs(paper.mean() - ink.mean()) > 180


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_curve_has_contrast(browser: chromium.Page, report: Path, dark: bool) -> None:
    browser.open(report, 1280, dark=dark)
    # Lines of data in the figures, and the curves and keys of the chart.
    drawn = browser.value(
        "[...new Set([...document.querySelectorAll('.plot .curve, svg [id*=\"-line2d_\"] > path')]"
        ".filter(p => (p.getAttribute('d') ?? '').split('L').length > 20)"
        ".map(p => getComputedStyle(p).stroke))]"
    )
    found = {to_hex(np.array(re.findall(r"\d+", c)[:3], dtype=float) / 255) for c in drawn}
    assert len(found) > 8
    paper = style.DARK_PAPER if dark else style.PAPER
    assert {c for c in found if style.contrast(c, paper) < style.CONTRAST} == set()


def test_the_first_screen_says_what_a_reader_must_know(opened: chromium.Page) -> None:
    seen = opened.value(
        "[...document.querySelectorAll('h1, .lead, .unknown, .box h3, .verdict, .box li')]"
        ".filter(e => e.getBoundingClientRect().top < 900).map(e => e.innerText).join('\\n')"
    )
    seen = seen.replace("\xa0", " ")
    for words in ("CsPbBr3", "lo-c (B1u LO, 22.25 meV)", "Br K edge", "axial Br by 0.20 Å",
                  "Pb 0.08 Å", "calculation error not estimated", "Not known:",
                  "no transient was given", "What would change the answer most", "disagrees",
                  "3 disagree, 4 open, 3 agree; 2 inputs not counted"):
        assert words in seen, words
    assert "✓" not in seen, "disagreements come first"
    assert opened.value("document.querySelector('.plot').getBoundingClientRect().bottom") < 900
    assert opened.value("document.querySelector('.stage').getBoundingClientRect().bottom") < 900


def test_the_amplitude_follows_the_law_of_the_package(
    opened: chromium.Page, subject: Subject, tmp_path: Path
) -> None:
    before = curve(opened, 1)
    sweep = subject.sweeps["lo"]
    scale = 100 / float(subject.scenarios.steady_state.max())
    for position in (0, 90, 200):
        move(opened, "amplitude-0", position)
        q = sweep.amplitudes_sqrt_amu_A[-1] * position / (POSITIONS - 1)
        (column,) = [v for n, v in downloaded(opened, tmp_path).items() if n.startswith("lo ")
                     and "− ground" in n]
        np.testing.assert_allclose(column, scale * sweep.at(q), atol=1e-4)
    assert curve(opened, 1) == before
    assert opened.value("document.querySelector('input[name=\"amplitude-0\"]').max") == "200"
    move(opened, "amplitude-0", 500)
    assert curve(opened, 1) == before, "nothing beyond the largest amplitude"
    text = opened.value("document.querySelector('input[name=\"amplitude-0\"]')"
                        ".getAttribute('aria-valuetext')")
    assert text.startswith("0.200 Å: axial Br 0.200 Å, Pb 0.082 Å")
    assert "Q² times an even spline" in opened.value(
        "document.querySelector('.controls').innerText")


def test_an_added_width_is_one_more_gaussian(
    opened: chromium.Page, subject: Subject, tmp_path: Path
) -> None:
    move(opened, "width", 1.5)
    table = downloaded(opened, tmp_path)
    (wide,) = [v for n, v in table.items() if n.startswith("cubic − ground")]
    assert any(name.endswith(", +1.5 eV FWHM") for name in table)
    energy, y = subject.energy_eV, subject.percent("cubic")
    sigma = 1.5 / np.sqrt(8 * np.log(2))
    weights = np.exp(-0.5 * ((energy[:, None] - energy) / sigma) ** 2)
    inside = (energy > energy[0] + 6 * sigma) & (energy < energy[-1] - 6 * sigma)
    expected = (weights @ y / weights.sum(axis=1))[inside]
    np.testing.assert_allclose(wide[inside], expected, atol=2e-3 * np.abs(y).max() / 10)


def test_parts_add_up_whatever_is_chosen(opened: chromium.Page, tmp_path: Path) -> None:
    def difference() -> np.ndarray:
        return next(v for n, v in downloaded(opened, tmp_path).items()
                    if n.startswith("lo ") and "− ground" in n)

    table = downloaded(opened, tmp_path)
    parts = [v for n, v in table.items() if n.startswith("lo axial") or n.startswith("lo equat")]
    assert len(parts) == 9
    whole = curve(opened, 1)
    np.testing.assert_allclose(np.sum(parts, axis=0), next(
        v for n, v in table.items() if "lo 0.200 Å − ground" in n), atol=1e-4)
    click(opened, "axial Br9")
    click(opened, "x")
    assert curve(opened, 1) != whole
    # The table has every curve, and says of what the shown difference is.
    (shown,) = [v for n, v in downloaded(opened, tmp_path).items() if "(chosen parts)" in n]
    chosen = [v for n, v in table.items() if re.match(r"lo equatorial.* [yz] ", n)]
    np.testing.assert_allclose(shown, np.sum(chosen, axis=0), atol=1e-4)
    click(opened, "cubic")
    assert opened.value("document.querySelectorAll('.legend .key').length") == 3
    opened.value("""(() => { const s = document.querySelector('select[name="edge"]');
        s.value = 'pb-l3'; s.dispatchEvent(new Event('change')); })()""")
    assert opened.value("document.querySelectorAll('input[name^=\"site/\"]').length") == 0
    assert "13030" in opened.value("document.querySelector('.plot').textContent")


def test_values_are_read_and_zoomed_with_mouse_and_keys(opened: chromium.Page) -> None:
    box = opened.value("JSON.parse(JSON.stringify("
                       "document.querySelector('.plot').getBoundingClientRect()))")
    middle, height = box["left"] + box["width"] / 2, box["top"] + 60
    opened.mouse("mouseMoved", middle, height)
    read = "document.querySelector('.readout').textContent"
    said = opened.value(read)
    assert re.match(r"134\d\d\.\d eV: ground 0\.\d{4}; lo 0\.200 Å 0\.\d{4}; lo .*−?\d\.\d{3} %",
                    said)
    opened.mouse("mousePressed", middle, height)
    opened.mouse("mouseMoved", middle + 80, height)
    opened.mouse("mouseReleased", middle + 80, height)
    narrow = opened.value("document.querySelectorAll('.plot .tick')[0].textContent + "
                          "document.querySelector('.plot').textContent")
    assert "13460" not in narrow
    opened.value("document.querySelector('.plot').focus()")
    opened.press("Escape")
    assert "13460" in opened.value("document.querySelector('.plot').textContent")
    opened.press("Home")
    first = opened.value(read)
    opened.press("ArrowRight", 5)
    assert opened.value(read) != first
    # What a screen reader hears comes when the cursor rests.
    opened.wait_for(f"document.querySelector('[aria-live]').textContent === {read}")
    opened.press("+")
    assert "13510" not in opened.value("document.querySelector('.plot').textContent")


def test_everything_is_reached_and_named(opened: chromium.Page) -> None:
    named = opened.value(
        "[...document.querySelectorAll('main input, main button, main select, [tabindex]')]"
        ".filter(e => !(e.labels?.length || e.getAttribute('aria-label') || e.textContent.trim()))"
        ".length")
    assert named == 0
    opened.value("document.activeElement.blur()")
    seen = set()
    for _ in range(30):
        opened.press("Tab")
        seen.add(opened.value("document.activeElement.name || document.activeElement.className ||"
                              " document.activeElement.textContent"))
    assert {"plot", "edge", "amplitude-0", "width", "structure/lo", "stage", "Play the mode",
            "Download curves (CSV)"} <= seen


def test_the_structure_turns_and_its_mode_plays(opened: chromium.Page) -> None:
    view_of = "document.getElementById('live-structure').viewer.view"

    def view() -> list[float]:
        return list(opened.value(f"{view_of}.getView()"))

    start = view()
    opened.value("document.querySelector('.stage').focus()")
    opened.press("ArrowLeft")
    assert view() != start
    x, y = opened.value("(({ left, top }) => [left + 60, top + 60])("
                        "document.querySelector('.stage').getBoundingClientRect())")
    turned = view()
    for kind, way in (("mousePressed", 0), ("mouseMoved", 50), ("mouseReleased", 50)):
        opened.mouse(kind, x + way, y)
    assert view() != turned
    click(opened, "Reset the view")
    np.testing.assert_allclose(view(), start, atol=1e-6)
    arrows = opened.value(f"{view_of}.pngURI()")
    click(opened, "arrows")
    assert opened.value(f"{view_of}.pngURI()") != arrows
    click(opened, "arrows")
    assert opened.value(f"{view_of}.pngURI()") == arrows
    atoms = f"{view_of}.selectedAtoms({{}}).map((a) => a.z)"
    rest = opened.value(atoms)
    click(opened, "Play the mode")
    opened.wait_for(f"JSON.stringify({atoms}) !== {str(rest).replace(' ', '')!r}")
    assert opened.value("document.querySelector('[aria-pressed]').ariaPressed") == "true"
    click(opened, "Stop")
    np.testing.assert_allclose(opened.value(atoms), rest, atol=1e-9)


def test_paper_has_everything(opened: chromium.Page, report: Path) -> None:
    path = report.with_name("page.pdf")
    opened.pdf(path)
    assert path.read_bytes()[:5] == b"%PDF-"
    # A4 without its margins, as the printer lays it out.
    opened.call("Emulation.setDeviceMetricsOverride", width=718, height=1000, deviceScaleFactor=1,
                mobile=False)
    opened.call("Emulation.setEmulatedMedia", media="print")
    opened.value("dispatchEvent(new Event('beforeprint'))")
    try:
        assert opened.value("document.querySelectorAll('details:not([open])').length") == 0
        over = opened.value(
            "[...document.querySelectorAll('main table, main td, main th')].filter(e => "
            "e.getBoundingClientRect().right > 718 || e.scrollWidth > e.clientWidth + 1)"
            ".map(e => e.textContent.slice(0, 60))")
        assert over == []
        assert opened.value("document.querySelector('#chart-figure-4 svg').getBoundingClientRect()"
                            ".bottom + scrollY") < 1000, "the answer's figure is on the first page"
        assert opened.value("getComputedStyle(document.querySelector('.plot').parentElement)"
                            ".display") == "none"
        assert opened.value("[...document.querySelectorAll('.static svg')]"
                            ".every((e) => e.getBoundingClientRect().width > 100)")
    finally:
        opened.call("Emulation.setEmulatedMedia", media="")
    if (text := subprocess.run(["sh", "-c", f"pdftotext -layout {path} - 2>/dev/null"],
                               capture_output=True, text=True, check=False).stdout):
        assert re.search(r"cubic \(%\)\s+−2\.10", text)


def test_without_a_script_the_figures_stay(browser: chromium.Page, report: Path) -> None:
    browser.messages.clear()
    browser.open(report, 1280, script=False)
    tree = browser.call("DOMSnapshot.captureSnapshot", computedStyles=["display"])
    assert "Spectra and difference spectra" in str(tree["strings"])
    assert "Play the mode" not in tree["strings"]
    browser.open(report, 1280)
    assert browser.complaints() == []


def test_without_webgl_the_drawing_stays(report: Path) -> None:
    with chromium.Page(webgl=False) as page:
        page.open(report, 1280)
        page.wait_for("document.readyState === 'complete'")
        time.sleep(0.5)
        assert page.complaints() == []
        assert page.value("document.querySelector('.stage')") is None
        assert page.value("document.querySelector('#chart-structure svg')"
                          ".getBoundingClientRect().width") > 100
        assert page.value("document.querySelector('.plot svg') !== null")


def test_it_can_be_used_within_two_seconds_of_work(browser: chromium.Page, report: Path) -> None:
    # The processor's time, for other processes may have the cores.
    browser.open(Path("/dev/null"), 1280)
    browser.call("Performance.disable")
    browser.call("Performance.enable", timeDomain="threadTicks")
    browser.open(report, 1280)
    browser.wait_for("document.querySelector('.stage canvas') !== null")
    metrics = {m["name"]: m["value"] for m in browser.call("Performance.getMetrics")["metrics"]}
    assert 0 < metrics["TaskDuration"] < 2
