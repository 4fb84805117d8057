"""A delay × energy map in one fit: against another program, finite differences, planted maps, and
through the command.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from reference_map import DELAY, ENERGY, ERROR, SHAPES, SHIFT_SIGMA_EV, SIGMA_PS

from perovskite_polaron.analysis.kinetic_model import KineticModel
from perovskite_polaron.analysis.map_fit import fit_map, follow
from perovskite_polaron.analysis.map_model import MapModel
from perovskite_polaron.analysis.map_verdict import statements
from perovskite_polaron.analysis.part_shapes import PartShapes
from perovskite_polaron.analysis.scenario_curves import Curves, Priors
from perovskite_polaron.analysis.scenarios import Scenario
from perovskite_polaron.cli.main import main
from perovskite_polaron.errors import ComputationError, InputError
from perovskite_polaron.figures.delays import draw_delays
from perovskite_polaron.kernels.convolution import exponential_gaussian
from perovskite_polaron.measured.delay_map import DelayMap, delay_map
from perovskite_polaron.measured.scan import Scan
from perovskite_polaron.workflow.scenarios import BUILT_IN, study_scenarios
from perovskite_polaron.workflow.spectra import load_results

GRID = np.linspace(-20, 25, 1801)
PARTS = tuple(Scenario(name, GRID, np.exp(-((GRID - centre) ** 2) / 2 / width**2), kind=kind)
              for (centre, width), name, kind in zip(SHAPES, ("lattice", "filling"),
                                                     ("structure", "carriers"), strict=True))
FREE = Priors(0.3, 0.4, 0.0, 0.01)


def as_map(signal, error=ERROR, energy=ENERGY, delay=DELAY):
    """A map with independent errors, or with a covariance over energy."""
    variance = np.full(len(energy), error**2) if np.isscalar(error) else error
    return delay_map([Scan(energy, row, variance, delay_ps=t)
                      for t, row in zip(delay, signal, strict=True)])


def planted(lifetimes, priors=FREE, point=(0.1, 0.003, 0.04), strengths=(1.0, 0.5), offset=0.1):
    """A map without noise, and its shapes."""
    shapes = PartShapes(PARTS, ENERGY, 0.0, priors)
    curves, _ = shapes.at(np.array(point))
    laws = exponential_gaussian(DELAY, [*lifetimes, np.inf], SIGMA_PS)
    return sum(s * np.outer((1 - offset) * laws[:, i] + offset * laws[:, -1], curves[:, i])
               for i, s in enumerate(strengths)), shapes


def test_another_program_finds_the_same():
    """lmfit: values within a hundredth of their errors, errors, correlations and χ² alike."""
    stored = json.loads((Path(__file__).parent / "data" / "map-lmfit.json").read_text())
    data = as_map(np.array(stored["signal"]))
    shapes = PartShapes(PARTS, ENERGY, 0.0, Priors(SHIFT_SIGMA_EV, 0.0, 0.0, 0.0))
    kinetics = KineticModel(1, SIGMA_PS)
    for groups, name in ((((0,), (1,)), "own"), (((0, 1),), "one")):
        theirs = stored[name]
        fit = fit_map(data, shapes, kinetics, groups, np.zeros(3))
        assert fit.chi2 == pytest.approx(theirs["chi2"], rel=1e-6)
        value, error = theirs["values"], theirs["errors"]
        for part in range(2):
            key = f"tau{part}" if name == "own" else "tau0"
            (tau,), (tau_error,) = fit.lifetimes_ps(part)
            assert tau == pytest.approx(value[key], abs=0.01 * error[key])
            assert tau_error == pytest.approx(error[key], rel=0.01)
            amplitudes, by = fit.decays(part)
            for k, letter in enumerate("ac"):
                if f"{letter}{part}" in value:
                    at = f"{letter}{part}"
                    assert amplitudes[k] == pytest.approx(value[at], abs=0.01 * error[at])
                    assert fit.errors(by)[k] == pytest.approx(error[at], rel=0.01)
        assert fit.point[0] == pytest.approx(value["shift"], abs=0.01 * error["shift"])
        if name == "own":
            order = [theirs["names"].index(n) for n in
                     ("tau0", "tau1", "shift", "a0", "c0", "a1", "c1")]
            covariance = np.array(theirs["covariance"])[np.ix_(order, order)]
            size = np.sqrt(covariance.diagonal())
            np.testing.assert_allclose(fit.correlation, covariance / np.outer(size, size),
                                       atol=0.01)


@pytest.mark.parametrize("correlated", [False, True])
@pytest.mark.parametrize("groups", [((0, 1),), ((0,), (1,))])
def test_gradients_are_exact(groups, correlated):
    """Half the gradient of χ², of every searched parameter, against central differences; also that
    of the strengths' laws, which gives their errors.
    """
    rng = np.random.default_rng(3)
    signal, shapes = planted((300.0, 900.0))
    signal = signal + ERROR * rng.normal(size=signal.shape)
    root = np.eye(len(ENERGY)) + 0.3 * np.eye(len(ENERGY), k=1)
    data = as_map(signal, ERROR**2 * root @ root.T if correlated else ERROR)
    kinetics = KineticModel(2, SIGMA_PS, sigma_free=True, t0_free=True, baseline=True,
                            period_ps=2e4)
    model = MapModel(data, shapes, kinetics, groups)
    theta = model.start([200.0, 1500.0], np.array([0.1, 0.004, 0.05]))
    theta += 0.03 * rng.normal(size=len(theta)) * np.r_[np.ones(model.times), 0.1, 0.1, 0.1]
    found = model.solve(theta)
    gradient = found.jacobian.T @ found.residual
    assert len(found.residual) < data.signal.size / 3
    for i in range(model.searched):
        step = np.zeros(model.searched)
        step[i] = 1e-5 * max(1.0, abs(theta[i]))
        up, down = (float(np.sum(model.solve(theta + s * step).residual ** 2)) for s in (1, -1))
        assert (up - down) / (4 * step[i]) == pytest.approx(gradient[i], rel=2e-4, abs=1e-5), (
            model.names()[i])
    # χ² in few rows is that of all points.
    curves = model.white(shapes.at(theta[model.times :])[0][None])
    laws = model.laws(theta, data.delay_ps).columns
    whole = sum(np.einsum("tm,t->tm", curves[:, :, i], laws[i] @ a)
                for i, a in enumerate(found.amplitudes))
    prior = shapes.prior(theta[model.times :])[0]
    assert np.sum((model.data - whole) ** 2) + prior @ prior == pytest.approx(
        found.residual @ found.residual, rel=1e-10)


def test_shapes_are_those_of_compare_and_their_slopes_exact():
    """At nodes of the width, for a sweep between its amplitudes."""
    results, settings, _ = load_results(BUILT_IN)
    theory = study_scenarios(results, settings)
    offset = 13472 - theory.first_maximum_eV
    energy = np.arange(13470.0, 13511.0, 0.5)
    priors = Priors(0.2, 0.3, 0.0, 0.02)
    part = theory.scenarios[0]
    q = 0.6 * part.amplitude_sqrt_amu_A
    shapes = PartShapes([part], energy, offset, priors, q)
    curves = Curves(part, energy, offset, priors)
    for node in (0, 3):
        point = np.array([0.13, -0.01, curves.nodes[node]])
        expected = curves.at(*point[:2, None], np.sqrt(point[2:]), np.array([q]))[0, 0, 0, 0]
        values, slopes = shapes.at(point)
        assert np.abs(values[:, 0] - expected).max() < 1e-3 * np.abs(expected).max()
        assert shapes.width_fwhm_eV(point) == pytest.approx(np.sqrt(curves.nodes[node]))
        np.testing.assert_allclose(shapes.point(0.13, -0.01, shapes.width_fwhm_eV(point)), point)
    for i, step in enumerate((1e-4, 1e-5, 1e-4)):
        move = step * np.eye(3)[i]
        by = (shapes.at(point + move)[0] - shapes.at(point - move)[0]) / (2 * step)
        np.testing.assert_allclose(slopes[i], by, atol=1e-5 * np.abs(by).max())


def test_a_planted_map_is_recovered():
    signal, shapes = planted((300.0, 900.0))
    data = as_map(signal, 1e-5)
    found = follow(data, shapes, KineticModel(1, SIGMA_PS), np.zeros(3))
    assert found.best is found.own
    assert found.best.chi2 < 1.0
    for part, tau in enumerate((300.0, 900.0)):
        assert found.best.lifetimes_ps(part)[0] == pytest.approx([tau], rel=1e-3)
    np.testing.assert_allclose(found.best.decays(0)[0], [0.9, 0.1], atol=1e-3)
    np.testing.assert_allclose(found.best.point, [0.1, 0.003, 0.04], rtol=0.05, atol=1e-3)
    np.testing.assert_allclose(found.strengths, found.best.strengths(DELAY)[0], atol=1e-3)
    assert np.abs(found.residuals).max() < 1.0


@pytest.mark.parametrize("same", [True, False])
def test_who_follows_whom(same):
    """One law or own ones of two decays: BIC and likelihood ratio say it, and the difference of the
    mean lifetimes with its error.
    """
    rng, error = np.random.default_rng(7), 0.004
    signal, shapes = planted((500.0, 500.0) if same else (350.0, 650.0))
    data = as_map(signal + error * rng.normal(size=signal.shape), error)
    found = follow(data, shapes, KineticModel(1, SIGMA_PS), np.zeros(3))
    (answer,) = found.answers
    words = " ".join(statements(found))
    assert answer.freedom == 2
    assert found.best is (found.together if same else found.own)
    if same:
        assert answer.p > 1e-3
        assert answer.delta_bic < -6
        assert "filling and lattice follow one time law" in words
    else:
        assert answer.p < 1e-6
        assert answer.delta_bic > 6
        assert "filling and lattice do not follow one time law" in words
    true = 0.0 if same else 300.0
    assert abs(answer.difference_ps[0] - true) < 3 * answer.difference_err_ps[0]
    assert answer.difference_err_ps[0] < 60
    assert "calculation may be wrong by multiplies" in words


def test_a_shared_law_gives_the_amplitudes_of_own_ones():
    """Of two decays, without noise: decays, mean lifetimes, and their derivatives."""
    signal, shapes = planted((500.0, 500.0))
    extra = exponential_gaussian(DELAY, 90.0, SIGMA_PS)
    curves, _ = shapes.at(np.array([0.1, 0.003, 0.04]))
    signal = signal + np.outer(0.3 * extra, curves @ [1.0, 0.5])
    data, kinetics = as_map(signal, 1e-4), KineticModel(2, SIGMA_PS)
    one = fit_map(data, shapes, kinetics, ((0, 1),), np.zeros(3))
    own = fit_map(data, shapes, kinetics, ((0,), (1,)), np.zeros(3))
    for part, size in enumerate((1.0, 0.5)):
        for fit in (one, own):
            np.testing.assert_allclose(fit.lifetimes_ps(part)[0], [90, 500], rtol=0.02)
            np.testing.assert_allclose(fit.decays(part)[0], size * np.array([0.3, 0.9, 0.1]),
                                       rtol=0.03)
            assert fit.mean_lifetime_ps(part)[0] == pytest.approx((0.3 * 90 + 0.9 * 500) / 1.2,
                                                                  rel=0.01)
    for fit in (one, own):
        _, by = fit.mean_lifetime_ps(1)
        moved = fit.theta.copy()
        at = fit.model.lifetimes_at(fit.group(1)).start
        moved[at] += 1e-5
        other = type(fit)(fit.model, moved, *(getattr(fit, n) for n in (
            "amplitudes", "chi2", "points", "parameters", "names", "covariance", "gradient")))
        slope = (other.mean_lifetime_ps(1)[0] - fit.mean_lifetime_ps(1)[0]) / 1e-5
        assert by[at] == pytest.approx(slope, rel=1e-3)


def test_errors_of_a_map_are_found_from_its_scatter():
    rng = np.random.default_rng(1)
    signal, _ = planted((300.0, 900.0))
    noisy = signal + ERROR * rng.normal(size=signal.shape)
    scans = [Scan(ENERGY, row, delay_ps=t) for t, row in zip(DELAY, noisy, strict=True)]
    found = delay_map(scans[::-1])
    assert found.scatter == pytest.approx(ERROR, rel=0.1)
    np.testing.assert_array_equal(found.delay_ps, DELAY)
    np.testing.assert_array_equal(found.signal, noisy)
    mean = found.mean(0.0)
    assert mean.intensity == pytest.approx(noisy[DELAY > 0].mean(axis=0))
    assert mean.error == pytest.approx(found.scatter / np.sqrt((DELAY > 0).sum()))


def test_what_is_refused():
    signal, shapes = planted((300.0, 900.0))
    scans = list(as_map(signal).scans)
    other = Scan(ENERGY + 0.1, signal[0], delay_ps=9e3)
    for wrong, message in (
            ([*scans, Scan(ENERGY, signal[0], label="x")], "x: its delay is not known"),
            ([*scans, scans[0]], "three delays or more, each once"),
            ([*scans, other], "has other energies"),
            ([*scans, Scan(ENERGY, signal[0], delay_ps=9e3)], "27 of 28 spectra"),
            ([Scan(ENERGY, s.intensity, delay_ps=s.delay_ps) for s in scans[:8]], "too few")):
        with pytest.raises(InputError, match=message):
            delay_map(wrong)
    with pytest.raises(InputError, match="no delay of the map is beyond"):
        as_map(signal).mean(1e5)
    one_decay = KineticModel(1, SIGMA_PS)
    with pytest.raises(InputError, match="2 delays cannot fix"):
        fit_map(DelayMap(tuple(scans[:2])), shapes, one_decay, ((0, 1),), np.zeros(3))
    with pytest.raises(InputError, match="starting lifetimes: give 1 between"):
        fit_map(as_map(signal), shapes, one_decay, ((0, 1),), np.zeros(3), [1.0, 2.0])
    noise = ERROR * np.random.default_rng(2).normal(size=signal.shape)
    with pytest.raises(ComputationError):
        fit_map(as_map(noise), shapes, KineticModel(2, SIGMA_PS), ((0,), (1,)), np.zeros(3))
    # A part that is not there has no lifetime: the question stays open.
    lone, _ = planted((300.0, 900.0), strengths=(1.0, 0.0))
    found = follow(as_map(lone + noise), shapes, one_decay, np.zeros(3))
    assert found.own is None
    assert "stays open" in next(statements(found))


def test_command(tmp_path, capsys):
    """A map of the built-in set as one table, its errors beside; then without errors, as a map;
    then a file for each delay: the same parts and lifetimes.
    """
    results, settings, _ = load_results(BUILT_IN)
    theory = study_scenarios(results, settings)
    offset = 13472 - theory.first_maximum_eV
    energy = np.arange(13464.0, 13511.0, 0.5)
    delay = np.array([-300, -250, -200, -50, 0, 50, 100, 150, 200, 300, 400, 500, 700, 1000, 1500,
                      2500, 5000.0])
    law = exponential_gaussian(delay, 600.0, 45.0)
    lattice = np.interp(energy - offset, theory.energy_eV, theory.scenarios[0].difference)
    signal = 0.1 * np.outer(law, lattice)
    error = float(np.abs(signal).max()) / 20
    signal = signal + error * np.random.default_rng(2).normal(size=signal.shape)
    table = np.column_stack([energy, *(c for row in signal for c in (row, 0 * row + error))])
    names = ["energy_eV", *(n for t in delay for n in (f"{t:g}ps", f"{t:g}ps_error"))]
    np.savetxt(tmp_path / "map.csv", table, delimiter=",", header=",".join(names), comments="")
    np.savetxt(tmp_path / "plain.csv", table[:, [0, *range(1, table.shape[1], 2)]], delimiter=",",
               header=",".join(names[:1] + names[1::2]), comments="")
    for t, row in zip(delay, signal, strict=True):
        np.savetxt(tmp_path / f"br_{t:g}ps.csv", np.column_stack([energy, row, 0 * row + error]),
                   delimiter=",", header="energy_eV,signal,error", comments="")
    law_options = ["--irf-sigma", "45ps", "--components", "1", "--no-offset", "--shift-sigma",
                   "0.05eV", "--stretch-sigma", "0", "--json"]
    each = [str(tmp_path / f"br_{t:g}ps.csv") for t in delay]
    figure = tmp_path / "map.png"
    for files, more in (([str(tmp_path / "map.csv")], ["--figure", str(figure)]),
                        ([str(tmp_path / "plain.csv")], []), (each, [])):
        assert main(["compare", *files, *law_options, *more]) == 0
        record = json.loads(capsys.readouterr().out)
        assert record["best"] == "polaron lo"
        found = record["delays"]
        (part,) = found["best"]["parts"]
        (tau,), (tau_error,) = part["lifetimes_ps"], part["lifetimes_err_ps"]
        assert abs(tau - 600) < 4 * tau_error < 200
        assert found["same_time_law"] == []
        assert (found["error_from_scatter"] is None) == ("plain" not in files[0])
        assert len(found["strengths"][0]["value"]) == len(delay)
    assert figure.stat().st_size > 10_000
    call = ["compare", str(tmp_path / "map.csv"), *law_options[:-1], "--parts", "lo+shift"]
    assert main(call) == 0
    text = capsys.readouterr().out.split(" energies, chi2 ")[1]
    assert "\nrigid edge shift" in text
    assert main([*call[:-1], "cubic+"]) == 2
    assert "'cubic+' does not name two different scenarios" in capsys.readouterr().err
    assert main([*call[:-1], "i"]) == 2
    assert "--parts 'i' names" in capsys.readouterr().err
    assert main(["compare", str(tmp_path / "map.csv")]) == 2
    assert "or follow them with --irf-sigma" in capsys.readouterr().err


def test_figure():
    signal, shapes = planted((300.0, 900.0))
    rng = np.random.default_rng(4)
    found = follow(as_map(signal + ERROR * rng.normal(size=signal.shape)), shapes,
                   KineticModel(1, SIGMA_PS), np.zeros(3))
    figure = draw_delays(found)
    titles = [title for axes in figure.axes if (title := axes.get_title(loc="left"))]
    assert [t.split(":")[0] for t in titles] == ["lattice", "filling"]
    points = figure.axes[0].containers[0].lines[0].get_xydata()
    np.testing.assert_allclose(points[:, 1], found.strengths[0])
