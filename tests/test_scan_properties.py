"""One scan, written in many ways: the same result or a refusal, never another number."""

import gzip
import json

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from perovskite_polaron.errors import InputError
from perovskite_polaron.measured.readers import read_scans
from perovskite_polaron.measured.repeats import combine
from perovskite_polaron.measured.traces import read_traces
from perovskite_polaron.units import HC_EV_A

E = 13440.0 + 3 * np.arange(12)
MU = np.array([.1, .12, .11, .2, .5, 1.1, 1.3, 1.2, 1.25, 1.3, 1.27, 1.31])
I0 = 1e5 + 100 * np.arange(12.0)
EXTRA = {"time": np.ones(12), "i0": I0, "itrans": I0 * np.exp(-MU), "irefer": I0 / 3,
         "dwell_time": np.ones(12) / 2, "energy_readback": E + 0.01, "ring_current": I0 / 7,
         "a": MU + 1, "mutrans": MU * 2, "error": MU / 9, "": np.arange(12.0), "100": MU / 3}
WITHIN = settings(max_examples=150, deadline=None, derandomize=True,
                  suppress_health_check=[HealthCheck.function_scoped_fixture])
names = st.lists(st.sampled_from(sorted(EXTRA)), unique=True, max_size=5)


def said(path, **options):
    """The one scan, or None where it is refused."""
    try:
        (scan,) = read_scans([path], **options)
    except InputError:
        return None
    return scan


def right(scan, values=MU, tolerance=1e-9):
    return (len(scan.energy_eV) == len(E) and np.allclose(scan.energy_eV, E, rtol=1e-7, atol=1e-4)
            and np.allclose(scan.intensity, values, rtol=tolerance, atol=1e-12))


@WITHIN
@given(st.data())
def test_text_in_any_dress(tmp_path, data):
    columns = {"mu": MU} | {name: EXTRA[name] for name in data.draw(names)}
    order = data.draw(st.permutations(["energy", *columns]))
    unit = data.draw(st.sampled_from(["eV", "keV"]))
    columns["energy"] = E / (1000 if unit == "keV" else 1)
    style = data.draw(st.sampled_from(["energy_{}", "energy ({})", "Energy [{}]", "energy/{}"]))
    mark = data.draw(st.sampled_from([",", ";", "\t", ", "]))
    comma = data.draw(st.booleans()) and mark in ";\t"
    head = [style.format(unit) if name == "energy" else name for name in order]
    rows = np.transpose([columns[name] for name in order])
    mixed = np.random.default_rng(1).permutation(rows)
    rows = data.draw(st.sampled_from([rows, rows[::-1], mixed]))
    sign = data.draw(st.sampled_from(["", "# ", "%", "#"]))
    lines = [f"{sign}{mark.join(head)}", *(mark.join(map(repr, row)) for row in rows.tolist())]
    if comma:
        lines[1:] = [line.replace(".", ",") for line in lines[1:]]
    remark = data.draw(st.sampled_from(["", "# probe: 25 °C", "# temperature: warm", "# a  b c",
                                        "Ring energy= 2.5 GeV"]))
    text = data.draw(st.sampled_from(["\n", "\r\n", "\r"])).join([remark, *lines]) + data.draw(
        st.sampled_from(["", "\n", "\r\n\r\n", "\x1a"]))
    path = tmp_path / "s.csv"
    path.write_bytes(text.encode(data.draw(st.sampled_from(
        ["utf-8", "utf-8-sig", "utf-16", "cp1252"]))))
    scan = said(path, decimal_comma=comma)
    assert scan is None or right(scan) or (
        # The file says a spectrum of another name, and says it alone.
        "mu" not in scan.reading.split("signal: ")[1].split(" of")[0].split(","))
    asked = said(path, signal="mu", decimal_comma=comma)
    assert asked is None or right(asked)
    if len(np.unique(np.sign(np.diff(rows[:, order.index("energy")])))) == 1 and "" not in order:
        assert asked is not None
    formula = said(path, signal="ln(i0/itrans)", decimal_comma=comma)
    assert formula is None or right(formula)


@WITHIN
@given(extra=names, angle=st.booleans(), backwards=st.booleans(),
       factor=st.sampled_from([1, 1e3, 1e-7]))
def test_xdi_in_any_dress(tmp_path, extra, angle, backwards, factor):
    extra = [name for name in extra if name and name != "mutrans"]
    first = "angle degrees" if angle else "energy keV"
    spacing = 3.13555
    x = np.degrees(np.arcsin(HC_EV_A / (2 * spacing * E))) if angle else E / 1000
    columns = [x, *(EXTRA[name] for name in extra), MU * factor]
    head = "".join(f"# Column.{i}: {name}\n"
                   for i, name in enumerate([first, *extra, "mutrans"], start=1))
    rows = np.transpose(columns)[:: -1 if backwards else 1].tolist()
    (tmp_path / "s.xdi").write_text(
        f"# XDI/1.0\n{head}# Element.symbol: Br\n# Element.edge: K\n# Mono.d_spacing: {spacing}\n"
        "#---\n" + "\n".join(" ".join(map(repr, row)) for row in rows))
    scan = said(tmp_path / "s.xdi")
    assert scan is None or right(scan, MU * factor)
    asked = said(tmp_path / "s.xdi", signal="mutrans")
    if "energy_readback" not in extra:
        assert right(asked, MU * factor)


@settings(WITHIN, max_examples=6)
@given(extra=names, keV=st.booleans(), backwards=st.booleans(), signal=st.booleans())
def test_hdf5_in_any_dress(tmp_path, extra, keV, backwards, signal):
    step = -1 if backwards else 1
    with h5py.File(tmp_path / "s.h5", "w") as file:
        group = file.create_group("entry/data")
        group["energy"] = (E / 1000 if keV else E)[::step]
        group["energy"].attrs["units"] = "keV" if keV else "eV"
        group["mu"] = MU[::step]
        for name in filter(None, extra):
            group[name] = EXTRA[name][::step]
        if signal:
            group.attrs["signal"], group.attrs["axes"] = "mu", ["energy"]
    scan = said(tmp_path / "s.h5")
    assert right(scan) if signal else scan is None or right(scan) or "mutrans" in extra
    assert right(said(tmp_path / "s.h5", signal="mu"))


@WITHIN
@given(extra=st.lists(st.sampled_from(["i0", "signal", "stddev"]), unique=True),
       short=st.booleans(), packed=st.booleans(), perl=st.booleans(),
       shift=st.sampled_from(["0", "", "1.5"]))
def test_projects_in_any_dress(tmp_path, extra, short, packed, perl, shift):
    arrays = {"x": E, "y": MU} | dict.fromkeys(extra, I0[:3 if short else None])
    args = {"label": "Br", "bkg_eshift": shift, "bkg_z": "Br", "fft_edge": "K"}
    if perl:
        lists = "".join(f"@{key} = ({','.join(map(repr, v.tolist()))});\n"
                        for key, v in arrays.items())
        listed = ",".join(f"'{k}','{v}'" for k, v in args.items())
        text = ("# Athena project file -- Demeter version 0.9.26\n$old_group = 'a';\n"
                f"@args = ({listed});\n{lists}[record]\n")
    else:
        group = {"args": args} | {key: v.tolist() for key, v in arrays.items()}
        text = json.dumps({"_____header1": "# Athena project file -- 1", "_____order": ["a"],
                           "a": group})
    content = text.encode()
    (tmp_path / "p.prj").write_bytes(gzip.compress(content) if packed else content)
    assert right(said(tmp_path / "p.prj"))


@WITHIN
@given(count=st.integers(2, 5), order=st.randoms(use_true_random=False), spec=st.booleans())
def test_repeats_in_any_order(tmp_path, count, order, spec):
    """The mean of repeats does not depend on their order, nor on whether one file holds them."""
    numbers = list(range(count))
    order.shuffle(numbers)
    if spec:
        text = "".join(f"#S {k + 1} ascan E\n#L energy_eV  mu\n" + "".join(
            f"{e!r} {m + k!r}\n" for e, m in zip(E.tolist(), MU.tolist(), strict=True))
            for k in numbers)
        (tmp_path / "s.dat").write_text(text)
        paths = [tmp_path / "s.dat"]
    else:
        paths = [tmp_path / f"{k}.csv" for k in numbers]
        for k, path in zip(numbers, paths, strict=True):
            path.write_text("energy_eV,mu\n" + "".join(
                f"{e!r},{m + k!r}\n" for e, m in zip(E.tolist(), MU.tolist(), strict=True)))
    mean = combine(read_scans(paths))
    assert right(mean, MU + np.mean(numbers))
    with pytest.raises(InputError, match="has no group 'x'"):
        read_scans(paths, group="x")


DELAY = np.array([-200.0, -50, 0, 20, 60, 150, 400, 900, 2000])
TRACE = np.array([0.0, 0.01, 0.4, 0.9, 0.8, 0.6, 0.35, 0.15, 0.02])
BESIDE = {"i0": 1e5 + DELAY, "time_s": DELAY + 3e3, "shots": np.full(9, 50.0), "s2": 3 - TRACE,
          "delay_stage_mm": 0.15 * DELAY, "s_std": TRACE + 1.0, "s_sem": TRACE + 0.1}


@WITHIN
@given(st.data())
def test_traces_in_any_dress(tmp_path, data):
    """Renamed, reordered, in other units, upside down, in other encodings: the trace, or none."""
    unit, size = data.draw(st.sampled_from([("fs", 1e3), ("ps", 1), ("ns", 1e-3), ("µs", 1e-6)]))
    factor = data.draw(st.sampled_from([1, 1e3, -1e-7]))
    extra = data.draw(st.lists(st.sampled_from(sorted(BESIDE)), unique=True, max_size=5))
    order = data.draw(st.permutations(["delay", "s", *extra]))
    columns = {"delay": DELAY * size, "s": TRACE * factor} | {name: BESIDE[name] for name in extra}
    style = data.draw(st.sampled_from(["{}_{}", "{} ({})", "{} [{}]", "{}/{}"]))
    head = [style.format("delay", unit) if name == "delay" else name for name in order]
    rows = np.transpose([columns[name] for name in order])
    mixed = np.random.default_rng(2).permutation(rows)
    rows = data.draw(st.sampled_from([rows, rows[::-1], mixed]))
    mark = data.draw(st.sampled_from([",", ";", "\t"]))
    comma = data.draw(st.booleans()) and mark != ","
    lines = [mark.join(map(repr, row)) for row in rows.tolist()]
    lines = [line.replace(".", ",") for line in lines] if comma else lines
    text = data.draw(st.sampled_from(["\n", "\r\n", "\r"])).join([
        data.draw(st.sampled_from(["", "# "])) + mark.join(head), *lines])
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode(data.draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))))
    errors = {"s_sem": TRACE + 0.1, "s_std": TRACE + 1.0}
    error = next((errors[name] for name in ("s_sem", "s_std") if name in extra), None)
    for asked in (None, "s"):
        found = read_traces([path], asked, decimal_comma=comma)
        assert len(found) == (2 if asked is None and "s2" in extra else 1)
        (trace,) = [one for one in found if len(found) == 1 or one.label.endswith(":s")]
        at = np.argsort(trace.delay_ps)
        np.testing.assert_allclose(trace.delay_ps[at], DELAY, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(trace.signal[at], TRACE * factor, rtol=1e-9)
        assert (trace.error is None) == (error is None)
        if error is not None:
            np.testing.assert_allclose(trace.error[at], error)
