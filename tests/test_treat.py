"""``polaron treat`` and treated C: repeats, presets, references, what is recorded and replayed."""

import json

import numpy as np
import pytest

from perovskite_polaron.analysis.shape_ratio import EDGES, compare_repeats, comparison_parameter
from perovskite_polaron.cli.main import main
from perovskite_polaron.errors import InputError
from perovskite_polaron.measured.readers import read_scans, read_tables
from perovskite_polaron.measured.recipe import Recipe, conditions, format_steps, parse_steps
from perovskite_polaron.measured.repeats import combine, outliers_among
from perovskite_polaron.measured.scan import Scan, Step
from perovskite_polaron.measured.treatment import normalise, pump_probe, thermal

BR = EDGES["Br-K"]
E = np.arange(13440.0, 13520.01, 1.0)
STEADY = 0.3 + 1 / (1 + np.exp(-(E - 13472) / 1.5))
NOISE = 0.005


def transient(shape=1.0):
    return np.exp(-(((E - 13468.5) / 1.5) ** 2)) - shape * np.exp(-(((E - 13472) / 1.5) ** 2))


def written(folder, name, y, rng, repeats=5):
    files = []
    for k in range(repeats):
        noisy = y + NOISE * rng.normal(size=len(E))
        path = folder / f"{name}_{k}.csv"
        path.write_text("energy_eV,signal\n"
                        + "\n".join(f"{e},{v!r}"
                                    for e, v in zip(E.tolist(), noisy.tolist(), strict=True)))
        files.append(str(path))
    return files


def answer(capsys, *words):
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_pump_probe_by_hand_and_replayed(tmp_path, capsys):
    rng = np.random.default_rng(0)
    pumped = written(tmp_path, "pumped_100ps", STEADY + 0.1 * transient(), rng)
    unpumped = written(tmp_path, "unpumped", STEADY, rng)
    out = tmp_path / "br.xdi"
    said = answer(
        capsys,
        "treat",
        *pumped,
        "--preset",
        "pump-probe",
        "--reference",
        *unpumped,
        "--edge",
        "Br-K",
        "--out",
        str(out),
    )
    assert [step["step"] for step in said["treatment"]] == ["combine", "subtract", "normalise"]
    (scan,) = read_scans([out])
    difference = combine(read_scans(pumped)).intensity - combine(read_scans(unpumped)).intensity
    np.testing.assert_allclose(scan.intensity, difference / np.trapezoid(np.abs(difference), E),
                               atol=1e-12)
    assert scan.delay_ps == 100
    assert scan.error is not None
    (record,) = read_tables(out)
    assert record.get("Polaron.scans") == "5"
    assert record.get("Element.edge") == "K"
    assert "unpumped_4.csv" in record.get("Polaron.reference")

    again = tmp_path / "again.xdi"
    answer(capsys, "treat", *pumped, "--steps", str(out), "--reference", *unpumped, "--edge",
           "Br-K", "--out", str(again))
    assert again.read_bytes() == out.read_bytes()
    assert main(["treat", *pumped, "--steps", str(out), "--edge", "Br-K", "--out", str(again)]) == 2
    assert "give the files of the reference" in capsys.readouterr().err


def test_thermal_series_into_a_folder(tmp_path, capsys):
    rng = np.random.default_rng(1)
    files = [f for t in (25, 60, 140)
             for f in written(tmp_path, f"br_{t}C",
                              STEADY * (1 + 0.001 * t) + 0.001 * t * transient(), rng)]
    said = answer(capsys, "treat", *files, "--preset", "thermal", "--pre-edge", "13440eV:13455eV",
                  "--reference", *files[:5], "--edge", "Br-K", "--out", str(tmp_path / "out"),
                  "--figure", str(tmp_path / "t.png"))
    # The reference is no member of its own series.
    assert [row["temperature_C"] for row in said["outputs"]] == [60, 140]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["br_140C.xdi", "br_60C.xdi"]
    assert all(row["errors_correlated"] for row in said["outputs"])
    assert (tmp_path / "t.png").stat().st_size > 1000
    recipe = Recipe((Step("combine"), *thermal("any", (13440, 13455))))
    (expected,) = recipe.apply(read_scans(files[5:10]), read_scans(files[:5]))
    np.testing.assert_array_equal(read_scans([tmp_path / "out" / "br_60C.xdi"])[0].intensity,
                                  expected.intensity)


def test_header_of_an_xdi_scan_is_kept(tmp_path, capsys):
    text = ("# XDI/1.0 GSE/1.0\n# Column.1: energy eV\n# Column.2: mutrans\n# Element.symbol: Br\n"
            "# Element.edge: K\n"
            "# Mono.d_spacing: 3.1\n# GSE.EXTRA: config 1\n# ///\n#  a comment\n#---\n")
    (tmp_path / "a_10ps.xdi").write_text(text
                                         + "\n".join(f"{e} {y}"
                                                     for e, y in zip(E, STEADY, strict=True)))
    answer(
        capsys,
        "treat",
        str(tmp_path / "a_10ps.xdi"),
        "--shift",
        "0.5eV",
        "--normalise",
        "last-point",
        "--out",
        str(tmp_path / "b.xdi"),
    )
    (record,) = read_tables(tmp_path / "b.xdi")
    assert record.get("GSE.EXTRA") == "config 1"
    assert record.comments == (" a comment",)
    assert record.applications[0] == "GSE/1.0"
    np.testing.assert_allclose(record.columns, [E + 0.5, STEADY / STEADY[-1]])
    assert json.loads(record.get("Polaron.treatment"))[0] == {"step": "calibrate", "shift_eV": 0.5}


def test_recipes_survive_as_text():
    recipe = Recipe((Step("rebin", {"step_eV": 0.1}), Step("combine"), *thermal("25C", (1.0, 2.0)),
                     *pump_probe(3.5, 4.25)))
    again = parse_steps(format_steps(recipe.steps), "f")
    assert [s.as_dict() for s in again.steps] == [s.as_dict() for s in recipe.steps]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "is a JSON list"),
        ("[", "is no JSON list"),
        ('[{"step": "polish"}]', "f: step 1: 'polish' is no step"),
        ('[{"step": "rebin"}]', "f: step 1: step_eV missing; rebin takes step_eV"),
        ('[{"step": "rebin", "step_eV": "one"}]', "must be a number"),
        ('[{"step": "rebin", "step_eV": 1, "width": 1}]', "width unknown"),
        ('[{"step": "average_adjacent", "points": 3.5}]', "must be a whole number"),
        ('[{"step": "scale", "factor": NaN}]', "must be a number"),
        ('[{"step": "combine"}, {"step": "combine"}]', "stands twice"),
    ],
)
def test_wrong_recipes_are_refused(text, message):
    with pytest.raises(InputError, match=message):
        parse_steps(text, "f")


def test_conditions_and_name_patterns(tmp_path):
    rng = np.random.default_rng(0)
    files = [written(tmp_path, name, STEADY, rng, 1)[0]
             for name in ("run7_250_x", "run8_250_y", "run9_1000_x")]
    scans = read_scans(files, name_pattern="run*_{delay_fs}_*")
    assert [s.delay_ps for s in scans] == [0.25, 0.25, 1.0]
    assert [len(group) for group in conditions(scans)] == [2, 1]
    assert read_scans(files[:1],
                      name_pattern="run7_{temperature_K}_*")[0].temperature_C == pytest.approx(
                          -23.15)
    with pytest.raises(InputError, match="does not fit the pattern"):
        read_scans(files, name_pattern="walk_{delay_ps}")
    with pytest.raises(InputError, match=r"it knows, once each, \{delay_fs\}"):
        read_scans(files, name_pattern="run_{delay_parsec}")


def test_a_spike_in_one_repeat_is_flagged_and_the_edge_is_not(tmp_path, capsys):
    rng = np.random.default_rng(4)
    scans = [Scan(E, 10 * STEADY * (1 + 0.0 * k) + NOISE * rng.normal(size=len(E)))
             for k in range(5)]
    assert not np.any(outliers_among(scans))
    spiked = scans[2].intensity.copy()
    spiked[30] += 12 * NOISE
    flags = outliers_among([*scans[:2], Scan(E, spiked), *scans[3:]])
    assert np.argwhere(flags).tolist() == [[2, 30]]


# The edge and both windows of C: errors propagated in matrices of this size need few operations.
NEAR = slice(10, 50)


def draws_of_c(recipe, repeats, references, count, seed=0):
    """C of repeated experiments, each with fresh noise in every scan."""
    rng = np.random.default_rng(seed)
    e, ground, excited = E[NEAR], STEADY[NEAR], (STEADY + 0.1 * transient())[NEAR]
    values = []
    for _ in range(count):
        scans = [Scan(e, excited + NOISE * rng.normal(size=len(e))) for _ in range(repeats)]
        refs = [Scan(e, ground + NOISE * rng.normal(size=len(e))) for _ in range(references)]
        values.append(comparison_parameter(recipe.apply(scans, refs)[0], BR).value)
    return np.array(values), scans, refs


def test_errors_of_treated_repeats_are_those_of_repeated_experiments():
    """Propagated from the scatter of 3 and 12 repeats, against 300 repetitions of the whole
    experiment.
    """
    recipe = Recipe((Step("combine"), *thermal("cold", (13450, 13455))))
    for repeats in (3, 12):
        values, scans, references = draws_of_c(recipe, repeats, repeats, 300)
        (point,) = compare_repeats([scans], BR, recipe, references).points
        assert (point.scans, point.err_from) == (repeats, "points")
        # The draws' own spread is known to 4 %, and the scatter to 7 % from 3 repeats of 40 points.
        assert point.err == pytest.approx(values.std(), rel=0.25)
        variance = np.full(len(scans[0].energy_eV), NOISE**2 / repeats)
        exact = [[Scan(one.energy_eV, one.intensity, variance)]
                 for (one, *_) in (scans, references)]
        quoted = comparison_parameter(recipe.apply(*exact)[0], BR).err
        assert quoted == pytest.approx(values.std(), rel=0.15)


def test_c_does_not_care_for_the_scale_of_a_transient():
    scans = [Scan(E, transient() * s) for s in (1.0, 0.3)]
    plain, scaled = (comparison_parameter(s, BR).value for s in scans)
    assert scaled == pytest.approx(plain)
    assert comparison_parameter(normalise(scans[0], by="absolute-area"),
                                BR).value == pytest.approx(plain)


def test_cparam_of_repeats_and_the_double_axis(tmp_path, capsys):
    rng = np.random.default_rng(7)
    files = [f for d in ("100ps", "10.1ns") for f in written(tmp_path, f"br_{d}", transient(), rng)]
    files += [
        f
        for t, shape in ((35, -0.5), (60, 0.2), (140, 1.0))
        for f in written(tmp_path, f"br_{t}C", transient(shape), rng)
    ]
    said = answer(capsys, "cparam", *files, "--edge", "Br-K", "--combine", "--figure",
                  str(tmp_path / "c.svg"))
    assert [p["label"] for p in said["points"]] == ["br_100ps", "br_10.1ns", "br_35C", "br_60C",
                                                    "br_140C"]
    assert {p["err_from"] for p in said["points"]} == {"points"}
    assert said["series"]["pump-probe"]["constant"]
    assert not said["series"]["thermal"]["constant"]
    assert said["points"][2]["value"] > 0 > said["points"][4]["value"]
    assert (tmp_path / "c.svg").read_text().startswith("<?xml")
    each = answer(capsys, "cparam", *files, "--edge", "Br-K")
    assert len(each["points"]) == 25
    assert each["constant_p"] is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--preset", "thermal", "--edge", "Br-K", "--out", "x.xdi"), "needs --pre-edge"),
        (
            ("--preset", "pump-probe", "--normalise", "area", "--edge", "Br-K", "--out", "x.xdi"),
            "leave out --normalise",
        ),
        (("--interval", "1eV:2eV", "--edge", "Br-K", "--out", "x.xdi"), "--interval is that of"),
        (("--out", "x.xdi"), "give it, as --edge Br-K"),
        (("--edge", "BrK", "--out", "x.xdi"), "with a hyphen"),
        (("--edge", "Br-K", "--out", "x.dat"), "end the name with .xdi"),
        (("--edge", "Br-K", "--out", "x.xdi", "--outliers", "0"), "must be positive"),
    ],
)
def test_refusals_write_nothing(tmp_path, monkeypatch, capsys, words, message):
    files = written(tmp_path, "a", STEADY, np.random.default_rng(0), 2)
    monkeypatch.chdir(tmp_path)
    assert main(["treat", *files, *words]) == 2
    assert message in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a_0.csv", "a_1.csv"]
