"""Lanczos spectra: XSpectra's own output, exact diagonalisation, plain NumPy, and bad input."""

import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest
from reference import lanczos as numpy_lanczos
from save_files import write_save, xspectra_plot

import perovskite_polaron
from perovskite_polaron.cli.main import main
from perovskite_polaron.errors import InputError
from perovskite_polaron.espresso.lanczos import XSPECTRA_FINE_STRUCTURE, evaluate
from perovskite_polaron.espresso.savefile import read_chains, read_save
from perovskite_polaron.kernels import lanczos as kernel
from perovskite_polaron.units import RYDBERG_EV

REFERENCES = Path("/usr/share/doc/quantum-espresso/examples/XSpectra/reference")
ROUNDING = 0.51e-8

# name of the .dat, of the .sav, half width (eV), cut, xcheck_conv: as in the inputs beside them
EXAMPLES = [
    ("diamond.xspectra", "diamond.xspectra", 0.8, False, 50),
    ("diamond.xspectra_replot", "diamond.xspectra", 0.8, True, 50),
    ("diamondh.xspectra", "diamondh.xspectra", 0.8, True, 10),
    ("SiO2.xspectra_dip_c", "SiO2.xspectra_dip_c", 0.8, True, 50),
    ("SiO2.xspectra_dip_restart_2", "SiO2.xspectra_dip_restart_2", 0.8, True, 50),
    ("SiO2.xspectra_dip_plane", "SiO2.xspectra_dip_plane", 0.8, True, 50),
    ("NiO.xspectra_dip", "NiO.xspectra_dip", 0.8, True, 50),
    ("NiO.xspectra_dip_replot", "NiO.xspectra_dip", 1.5, True, 50),
]


def reference(name, tmp_path):
    """Unpack a file that comes with Quantum ESPRESSO's examples."""
    packed, plain = REFERENCES / f"{name}.gz", REFERENCES / name
    target = tmp_path / name
    if packed.exists():
        target.write_bytes(gzip.decompress(packed.read_bytes()))
    elif plain.exists():
        shutil.copy(plain, target)
    else:
        pytest.fail(f"{packed} is missing: reinstall quantum-espresso with its documentation (dpkg"
                    " leaves out /usr/share/doc)")
    return target


def deviation(ours, theirs):
    """Largest difference, beyond the rounding of eight decimals, over the maximum."""
    return np.maximum(np.abs(ours - theirs) - ROUNDING, 0).max() / np.abs(theirs).max()


@pytest.mark.espresso
@pytest.mark.parametrize(("dat", "sav", "hwhm", "cut", "conv"), EXAMPLES,
                         ids=[e[0] for e in EXAMPLES])
def test_references_of_xspectra(tmp_path, dat, sav, hwhm, cut, conv):
    save = read_save(reference(f"{sav}.sav", tmp_path))
    energy, *columns = np.loadtxt(reference(f"{dat}.dat", tmp_path)).T
    ours = evaluate(save, energy, hwhm, cut_occupied=cut, terminator=conv)
    assert deviation(ours.total, columns[0]) < 2e-6
    if save.spin_polarised:
        assert deviation(ours.up, columns[1]) < 2e-6
        assert deviation(ours.down, columns[2]) < 2e-6


# name of the .dat and of the .sav of copper's L2 edge
COPPER = [("Cuhalfh_xanes_L2", "Cuhalfh_xanes_L2"),
          ("Cuhalfh_xanes_L2_xonlyplot", "Cuhalfh_xanes_L2"),
          ("Cu_xanes_L2_lplus", "Cu_xanes_L2_lplus"), ("Cu_xanes_L2", "Cu_xanes_L2")]


@pytest.mark.espresso
@pytest.mark.parametrize(("dat", "sav"), COPPER, ids=[e[0] for e in COPPER])
def test_copper_l2_references_of_xspectra(tmp_path, dat, sav):
    """The half width is 0.5 eV and occupied states are cut.

    XSpectra's integral over the occupied states makes the reference differ (the next test); it has
    a stray value just below the Fermi energy. Of the chains of 113 steps xcheck_conv=500 averages
    what lies before them in the memory, which is felt where the chains end, beyond 60 eV.
    """
    save = read_save(reference(f"{sav}.sav", tmp_path), "L2")
    assert save.core_states == 2
    energy, theirs = np.loadtxt(reference(f"{dat}.dat", tmp_path)).T
    fair = (np.abs(energy + 0.09) > 0.01) & (energy < 60)
    ours = evaluate(save, energy, 0.5, cut_occupied=True, cut_smooth_eV=0.01, terminator=100).total
    assert deviation(ours[fair], theirs[fair]) < 4.3e-5
    far = fair & (np.abs(energy) > 8)
    assert deviation(ours[far], theirs[far]) < 4.5e-6


@pytest.mark.espresso
def test_xspectra_plots_copper_alike_when_its_integral_begins_closer(tmp_path):
    path = reference("Cuhalfh_xanes_L2.sav", tmp_path)
    energy, sigma = xspectra_plot(path, tmp_path, hwhm=0.5, points=301, emin=-10.0, emax=80.0,
                                  conv=100, cut=True, smooth=0.01, tinf=1e-10, edge="L2")
    ours = evaluate(read_save(path), energy, 0.5, cut_occupied=True, cut_smooth_eV=0.01,
                    terminator=100).total
    fair = (energy < -0.15) | (energy > 0.05)
    assert deviation(ours[fair], sigma[fair]) < 1e-7


@pytest.mark.espresso
@pytest.mark.parametrize(("edge", "states"), [("L2", 2), ("L3", 4)])
def test_xspectra_adds_the_states_of_an_l_edge(tmp_path, edge, states):
    """Of different chains, so that a state with another weight is seen."""
    rows = [random_chain(seed, 60) for seed in range(states)]
    path = write_save(tmp_path / "l.sav", [r[0] for r in rows], [r[1] for r in rows],
                      norms=[0.11, 0.12, 0.13, 0.14][:states], core_eV=950.0, fermi_eV=4.25,
                      states=states)
    energy, sigma = xspectra_plot(path, tmp_path, hwhm=0.8, points=241, emin=-8.0, emax=22.0,
                                  conv=20, edge=edge)
    ours = evaluate(read_save(path, edge), energy, 0.8, terminator=20).total
    assert deviation(ours, sigma) < 1e-6


@pytest.mark.espresso
def test_copper_l3_is_twice_l2(tmp_path):
    """As long as both edges have the same final states, for any polarisation of a cubic crystal."""
    path = reference("Cu_xanes_L2.sav", tmp_path)
    energy = np.linspace(-10, 60, 141)
    l2, l3 = (evaluate(read_save(path, edge), energy, 0.5, terminator=100).total
              for edge in ("L2", "L3"))
    np.testing.assert_allclose(l3, 2 * l2, atol=1e-5 * l2.max(), rtol=0)


def random_chain(seed, n, dimension=400):
    """A chain as of a real calculation: Lanczos on a dense spectrum, so that the coefficients
    settle.
    """
    rng = np.random.default_rng(seed)
    return textbook_lanczos(np.diag(np.sort(rng.beta(2, 2, dimension) * 3 - 0.7)),
                            rng.normal(size=dimension), n)


def textbook_lanczos(matrix, start, n):
    """Coefficients a (n,), b (n,) and the norm of start; every vector is orthogonalised twice
    against all earlier.
    """
    norm = np.linalg.norm(start)
    basis = [start / norm]
    a, b = [], []
    for _ in range(n):
        w = matrix @ basis[-1]
        a.append(np.vdot(basis[-1], w).real)
        for _ in range(2):
            for v in basis:
                w = w - np.vdot(v, w) * v
        b.append(np.linalg.norm(w))
        basis.append(w / b[-1] if b[-1] > 1e-13 else w * 0)
    return np.array(a), np.array(b), norm


@pytest.mark.espresso
@pytest.mark.parametrize(("hwhm", "conv", "cut", "smooth"),
                         [(0.8, 10, False, 0.1), (2.5, 50, False, 0.1), (0.3, 20, True, 0.1),
                          (1.26, 20, True, 0.3), (2.5, 11, True, 0.01)])
def test_xspectra_plots_the_same_file_alike(tmp_path, hwhm, conv, cut, smooth):
    rows = [random_chain(seed, 60) for seed in (1, 2)]
    path = write_save(
        tmp_path / "two.sav",
        [r[0] for r in rows],
        [r[1] for r in rows],
        norms=[0.15, 0.12],
        core_eV=1782.3,
        fermi_eV=4.25,
    )
    energy, sigma = xspectra_plot(path, tmp_path, hwhm=hwhm, points=241, emin=-8.0, emax=22.0, k=2,
                                  conv=conv, cut=cut, smooth=smooth, tinf=1e-10)
    ours = evaluate(read_save(path), energy, hwhm, cut_occupied=cut, cut_smooth_eV=smooth,
                    terminator=conv).total
    assert sigma.max() > 0.005
    assert deviation(ours, sigma) < 1e-6


@pytest.mark.espresso
def test_xspectra_plots_a_bundled_cspbbr3_chain_alike(tmp_path):
    """Nearly all of what differs is XSpectra's integral over the occupied states, begun at tinf:
    closer, it agrees.
    """
    chains = read_chains(Path(perovskite_polaron.__file__).parent / "data" / "cspbbr3"
                         / "chains.npz")
    kept = chains[min(chains)]
    path = write_save(
        tmp_path / "br.sav",
        kept.a,
        kept.b,
        # A hundred times the amplitude, so that eight decimals are enough.
        norms=100 * kept.norms.ravel(),
        core_eV=kept.core_energy_eV,
        fermi_eV=kept.fermi_energy_eV,
    )
    read = read_save(path)
    for tinf, tolerance in ((1e-6, 5e-6), (1e-10, 1e-7)):
        for points, unfair in ((401, -1.0), (400, 1.01 * 70 / 399)):
            energy, sigma = xspectra_plot(path, tmp_path, hwhm=1.26, points=points, emin=-10.0,
                                          emax=60.0, k=len(kept.a), conv=20, cut=True, tinf=tinf)
            ours = evaluate(read, energy, 1.26, cut_occupied=True, terminator=20).total
            # With 400 points one energy is on the Fermi energy but for rounding: XSpectra prints a
            # stray value beside it.
            compared = np.abs(energy) > unfair
            assert (~compared).sum() <= 3
            assert deviation(ours[compared], sigma[compared]) < tolerance


@pytest.fixture(scope="module")
def exact():
    """A random Hermitian matrix (eV), its levels, the weights of a random start vector, and its
    whole Lanczos chain.
    """
    rng = np.random.default_rng(7)
    n = 24
    matrix = rng.normal(size=(n, n)) + 1j * rng.normal(size=(n, n))
    matrix = 2 * (matrix + matrix.conj().T)
    start = rng.normal(size=n) + 1j * rng.normal(size=n)
    levels, vectors = np.linalg.eigh(matrix)
    return matrix, levels, np.abs(vectors.conj().T @ start) ** 2, textbook_lanczos(matrix, start, n)


def saved(tmp_path, exact, fermi_eV):
    a, b, norm = exact[3]
    path = write_save(tmp_path / "x.sav", [a / RYDBERG_EV], [b / RYDBERG_EV], norms=[norm],
                      core_eV=500.0, fermi_eV=fermi_eV)
    return read_save(path)


def prefactor(energy, fermi_eV):
    return 4 * np.pi * XSPECTRA_FINE_STRUCTURE * (energy + fermi_eV + 500) * 2


def test_whole_chain_is_the_sum_over_states(tmp_path, exact):
    _, levels, weights, _ = exact
    energy = np.linspace(-40, 40, 401)
    hwhm = 0.5 + 0.02 * np.abs(energy)
    lines = hwhm[:, None] / ((energy[:, None] + 3.0 - levels) ** 2 + hwhm[:, None] ** 2) @ weights
    ours = evaluate(saved(tmp_path, exact, 3.0), energy, hwhm).total
    np.testing.assert_allclose(ours, prefactor(energy, 3.0) * lines, rtol=1e-10)


@pytest.mark.parametrize(("fermi", "above"),
                         [(-3.0, 0.0), (0.0, 0.0), (6.0, 0.0), (0.0, 2.5), (6.0, -9.0)])
def test_cut_is_the_sum_over_empty_states(tmp_path, exact, fermi, above):
    """Only levels above the cut, for a width that is its own at each energy."""
    _, levels, weights, _ = exact
    energy = np.linspace(-40, 40, 401)
    hwhm = 0.4 + 0.05 * np.abs(energy)
    empty = levels > fermi + above
    lines = hwhm[:,
                 None] / ((energy[:, None] + fermi - levels) ** 2 + hwhm[:, None] ** 2) @ (weights
                                                                                           * empty)
    ours = evaluate(saved(tmp_path, exact, fermi), energy, hwhm, cut_occupied=True, cut_smooth_eV=0,
                    cut_above_eV=above).total
    expected = prefactor(energy, fermi) * lines
    assert np.abs(ours - expected).max() < 1e-10 * expected.max()


def test_a_taper_keeps_what_has_settled_and_moves_nothing_else_far(tmp_path):
    """A chain that is constant already stays as it is; another changes less the more of its
    terminator it has reached.
    """
    energy = np.linspace(-1, 3, 81)
    a, b = np.full(60, 0.2), np.full(60, 0.4)
    a[:20] += 0.1 * np.cos(np.arange(20))
    settled = read_save(write_save(tmp_path / "s.sav", [a], [b], norms=[1.0], core_eV=500.0))
    plain = evaluate(settled, energy, 0.1, terminator=10).total
    np.testing.assert_allclose(evaluate(settled, energy, 0.1, terminator=10, taper=0.5).total,
                               plain, rtol=1e-12)
    a, b, norm = random_chain(3, 100)
    whole = read_save(write_save(tmp_path / "w.sav", [a], [b], norms=[norm], core_eV=500.0))
    plain = evaluate(whole, energy, 2.0, terminator=20).total
    off = [np.abs(evaluate(whole, energy, 2.0, terminator=20, taper=t).total / plain - 1).max()
           for t in (0.0, 0.1, 0.5, 1.0)]
    assert off[0] == 0 < off[1] < off[2] < off[3]
    assert off[1] < 1e-6, "a width above the resolution of the chain sees no end"


def test_moments_and_area(exact):
    """The chain's resolvent has the moments <H^n> of the start vector; the area of the spectrum is
    its weight.
    """
    _, levels, weights, (a, b, norm) = exact
    chains = kernel.join([a[:8]], [b[:8]], [norm**2], [0])
    theta = 2 * np.pi * np.arange(256) / 256
    upper = theta[(theta > 0) & (theta < np.pi)]
    radius = 1.3 * np.abs(levels).max()
    g = kernel.resolvent(chains, radius * np.cos(upper), radius * np.sin(upper))[0]
    # The lower half plane mirrors the upper one; on the real axis the same chain is a plain
    # rational function.
    ends = [numpy_lanczos.resolvent(chains, [r], [0.0])[0, 0] for r in (radius, -radius)]
    circle = np.concatenate([[ends[0]], g, [ends[1]], g[::-1].conj()])
    for order in range(16):
        z = radius * np.exp(1j * theta)
        moment = (circle * z ** (order + 1)).mean().real
        expected = (weights * levels**order).sum()
        assert moment == pytest.approx(expected, rel=1e-9,
                                       abs=1e-9 * norm**2 * np.abs(levels).max() ** order)
    x = np.linspace(-np.pi / 2, np.pi / 2, 200_002)[1:-1]
    energy = 20 * np.tan(x)
    area = np.sum(-kernel.resolvent(chains, energy, np.full_like(x, 1.0))[0].imag * 20 / np.cos(x)
                  ** 2) * (x[1] - x[0])
    assert area == pytest.approx(np.pi * norm**2, rel=1e-5)


def test_broadening_twice_is_broadening_by_the_sum(exact):
    """Lorentzian semigroup: G at E + i(a + b) is the spectrum of width a broadened by b."""
    a, b, norm = exact[3]
    chains = kernel.join([a[:12]], [b[:12]], [norm**2], [0], tail=4)
    x = np.linspace(-np.pi / 2, np.pi / 2, 100_002)[1:-1]
    source, jacobian = 5 * np.tan(x), 5 / np.cos(x) ** 2 * (x[1] - x[0])
    narrow = kernel.resolvent(chains, source, np.full_like(x, 0.7))[0].imag
    for energy in (-11.0, 0.4, 9.0):
        wide = kernel.resolvent(chains, [energy], [2.0])[0, 0].imag
        broadened = (narrow * 1.3 / np.pi / ((source - energy) ** 2 + 1.3**2) * jacobian).sum()
        assert broadened == pytest.approx(wide, rel=1e-6)


@pytest.mark.parametrize(("hwhm", "options", "message"),
                         [(-1.0, {}, "hwhm_eV is not positive"),
                          ([1.0, 1.0], {}, r"hwhm_eV has shape \(2,\)"),
                          (np.nan, {}, "hwhm_eV contains NaN"),
                          (1.0, {"cut_smooth_eV": -0.1}, "cut_smooth_eV is -0.1"),
                          (1.0, {"cut_above_eV": float("nan")}, "cut_above_eV is nan"),
                          (1.0, {"terminator": 46}, "terminator 46 averages 23 coefficients before"
                           " the last two, but the shortest chain has 24: "
                           "give a number from 2 to 44"),
                          (1.0, {"terminator": 1}, "terminator 1 averages"),
                          (1.0, {"taper": 0.1},
                           "taper is 0.1: give a share of a chain from 0 to 1, and a terminator"),
                          (1.0, {"terminator": 4, "taper": 1.5}, "taper is 1.5: give a share")])
def test_evaluate_refuses(tmp_path, exact, hwhm, options, message):
    with pytest.raises(InputError, match=message):
        evaluate(saved(tmp_path, exact, 0.0), [0.0, 1.0, 2.0], hwhm, **options)


def command(*words):
    return main(["lanczos", *map(str, words)])


def test_command_writes_two_columns(tmp_path, exact, capsys):
    save = saved(tmp_path, exact, 1.0)
    out = tmp_path / "x.dat"
    grid = ("--emin", "-10eV", "--emax", "-1.5eV", "--points", "18", "--hwhm", "800meV", "--out",
            out)
    assert command(tmp_path / "x.sav", *grid, "--cut-occupied", "--terminator", "10") == 0
    assert capsys.readouterr().out == f"{out}: 18 energies, half width 0.8 eV\n"
    assert out.read_text().startswith("# energy_eV sigma\n")
    energy, sigma = np.loadtxt(out).T
    np.testing.assert_allclose(energy, np.linspace(-10, -1.5, 18), atol=1e-12)
    expected = evaluate(save, energy, 0.8, cut_occupied=True, terminator=10).total
    np.testing.assert_allclose(sigma, expected, rtol=1e-11)


def test_command_smooths_as_asked(tmp_path, exact):
    save = saved(tmp_path, exact, 1.0)
    out = tmp_path / "x.dat"
    grid = ("--emin", "-1eV", "--emax", "1eV", "--points", "21", "--hwhm", "0.8eV", "--out", out)
    assert command(tmp_path / "x.sav", *grid, "--cut-occupied", "--cut-smooth", "0.5eV",
                   "--cut-above", "0.3eV") == 0
    energy, sigma = np.loadtxt(out).T
    np.testing.assert_allclose(sigma,
                               evaluate(save, energy, 0.8, cut_occupied=True, cut_smooth_eV=0.5,
                                        cut_above_eV=0.3).total, rtol=1e-11)


def test_command_separates_spins(tmp_path):
    rows = [random_chain(seed, 20) for seed in (1, 2)]
    path = write_save(tmp_path / "s.sav", [r[0] for r in rows], [r[1] for r in rows],
                      norms=[0.1, 0.3], core_eV=500.0, spins=2)
    out = tmp_path / "s.dat"
    assert command(path, "--emin", "-5eV", "--emax", "20eV", "--points", "51", "--hwhm", "1eV",
                   "--out", out) == 0
    assert out.read_text().startswith("# energy_eV sigma sigma_up sigma_down\n")
    _, total, up, down = np.loadtxt(out).T
    np.testing.assert_allclose(total, up + down, rtol=1e-11)
    assert down.sum() / up.sum() == pytest.approx(9, rel=0.3)


GOOD = {"--emin": "-1eV", "--emax": "1eV", "--points": "3", "--hwhm": "1eV"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--hwhm": "-1eV"}, "hwhm_eV is not positive"),
        ({"--hwhm": "0eV"}, "hwhm_eV is not positive"),
        ({"--hwhm": "1"}, "1"),
        ({"--hwhm": "1A"}, "1A"),
        ({"--points": "1"}, "--points is 1: give at least 2"),
        ({"--emin": "2eV"}, "--emin 2eV is not below --emax 1eV"),
        ({"--cut-smooth": "0.1eV"}, "--cut-smooth has no effect without --cut-occupied"),
        ({"--cut-above": "0.3eV"}, "--cut-above has no effect without --cut-occupied"),
        ({"--terminator": "60"}, "terminator 60 averages 30 coefficients"),
        ({"--out": "no/such/x.dat"}, "no/such"),
    ],
)
def test_command_refuses(tmp_path, exact, capsys, change, message):
    saved(tmp_path, exact, 0.0)
    options = GOOD | {"--out": str(tmp_path / "x.dat")} | change
    if "--out" in change:
        options["--out"] = str(tmp_path / change["--out"])
    assert command(tmp_path / "x.sav", *[word for pair in options.items() for word in pair]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert len(captured.err.splitlines()) == 1
    assert captured.out == ""
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.sav"]


@pytest.mark.parametrize("missing", ["--emin", "--emax", "--points", "--hwhm"])
def test_command_needs_every_option(capsys, missing):
    options = {k: v for k, v in (GOOD | {"--out": "x.dat"}).items() if k != missing}
    with pytest.raises(SystemExit) as stop:
        command("x.sav", *[word for pair in options.items() for word in pair])
    assert stop.value.code == 2
    assert missing in capsys.readouterr().err


def test_command_reports_a_missing_file(tmp_path, capsys):
    options = [word for pair in (GOOD | {"--out": str(tmp_path / "x.dat")}).items()
               for word in pair]
    assert command(tmp_path / "none.sav", *options) == 2
    complaint = "none.sav does not exist: give the path of a save file of XSpectra"
    assert complaint in capsys.readouterr().err
