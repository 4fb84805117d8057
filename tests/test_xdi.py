"""XDI 1.0: what the specification demands is demanded, what it allows is read, and writing loses
nothing.
"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from perovskite_polaron.errors import InputError
from perovskite_polaron.measured.readers import read_tables
from perovskite_polaron.measured.text import Table
from perovskite_polaron.measured.xdi import format_xdi, parse_xdi, write_xdi

GOOD = """# XDI/1.0 GSE/1.0
# Column.1: energy eV
# Column.2: mutrans
# Element.edge: K
# ELEMENT.symbol: Br
# Mono.d_spacing: 3.13553
# GSE.EXTRA:  config 1
# ///
#  two blanks, one kept
#
# Not.a: field
#----
# energy mutrans
 13470 .5

 13471.0 5e-1
"""


def content(table):
    """What a file keeps: everything but where it is and what the reader objected to."""
    return (table.names, table.units, table.columns.tolist(), dict(table.metadata), table.comments,
            table.applications)


def test_reads_what_is_allowed():
    record = parse_xdi(GOOD, "f")
    assert record.names == ("energy", "mutrans")
    assert record.units == ("eV", "")
    assert record.applications == ("GSE/1.0",)
    assert record.comments == (" two blanks, one kept", "", "Not.a: field")
    assert record.get("element.SYMBOL") == "Br"
    assert record.get("GSE.EXTRA") == "config 1"
    np.testing.assert_array_equal(record.columns, [[13470, 13471], [0.5, 0.5]])


def changed(old, new):
    assert old in GOOD
    return GOOD.replace(old, new)


@pytest.mark.parametrize(("text", "message"),
                         [(changed("# XDI/1.0 GSE/1.0\n", ""),
                           r"f:1: the first line must be '# XDI/1\.0'"),
                          (changed("XDI/1.0", "XDI/2.0"), "f:1: XDI version 2"),
                          (changed("#----\n", ""), "f: the header has no end"),
                          (changed("# Column.2: mutrans\n", "Column.2: mutrans\n"),
                           "f:3: a header line must begin with '#'"), (changed("# Column.1: energy"
                                                                               " eV\n", ""),
                                                                       "f: Column.1 is missing"),
                          (changed("energy eV", "energy"),
                           "f:2: Column.1 must give a label and a unit"),
                          (changed("energy eV", "energy miles"),
                           "f:2: 'miles' is not a unit of energy"),
                          (changed("# Element.edge: K\n", ""), "f: Element.Edge is missing"),
                          (changed("symbol: Br", "symbol: Xx"),
                           "f:5: ELEMENT.symbol must be a chemical symbol"),
                          (changed("edge: K", "edge: Q"),
                           "f:4: Element.edge must be an absorption edge"),
                          (changed("energy eV", "angle degrees").replace("# Mono.d_spacing:"
                                                                         " 3.13553\n", ""),
                           "f: Mono.d_spacing is missing"),
                          (changed("# energy mutrans", "# energy"),
                           "f:13: 1 column labels for 2 columns"),
                          (changed("# energy mutrans", "# energy i0"),
                           "f:13: column 2 is labelled 'i0' but Column.2 says 'mutrans'"),
                          (changed("13471.0 5e-1", "13471.0"),
                           "f:16: 1 numbers where the lines above have 2"),
                          (changed("13471.0 5e-1", "13471.0 5,0"),
                           "f:16: '5,0' is not a finite number: the decimal mark must be a dot"),
                          (changed("13471.0 5e-1", "13471.0 nan"),
                           "f:16: 'nan' is not a finite number"),
                          (changed("13471.0 5e-1", "13471.0 1e999"), "f:16: '1e999' is too large"),
                          (changed("13471.0 5e-1", "# Outer.value: 1"),
                           "f:16: a line that begins with '#' stands among the data"),
                          (GOOD.split(" 13470")[0], "f: no data after the header")])
def test_refuses_what_is_invalid(text, message):
    with pytest.raises(InputError, match=message):
        parse_xdi(text, "f")


@pytest.mark.parametrize(("text", "warning"),
                         [(changed("# Mono.d_spacing: 3.13553\n", ""), "Mono.d_spacing is missing"),
                          (changed("# Mono.d_spacing", "# 1Mono.d_spacing"),
                           "f:6: ignored, not a header field"),
                          (changed("# Column.2", "# Column.two"),
                           "f:3: ignored, a Column field is named by an integer"),
                          (changed("# Column.2: mutrans", "# Column.2: mutrans\n# Column.7: i0"),
                           "f:4: ignored, Column.7 names a column"),
                          (changed("3.13553", "wide"),
                           "f:6: ignored, Mono.d_spacing must be a finite number"),
                          (changed("# ///", "# Scan.start_time: yesterday\n# ///"),
                           "f:8: Scan.start_time is not a time"),
                          (changed("XDI/1.0", "XDI/1.12"), "f:1: written for XDI 1.12")])
def test_warns_where_the_specification_asks(text, warning):
    assert any(warning in w for w in parse_xdi(text, "f").warnings)


def test_last_occurrence_wins_and_is_said():
    record = parse_xdi(changed("# ///", "# element.edge: L3\n# ///"), "f")
    assert record.get("Element.edge") == "L3"
    assert any("stands twice" in w for w in record.warnings)


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_line_ends_of_three_systems(tmp_path, end):
    path = tmp_path / "f.xdi"
    path.write_bytes(GOOD.replace("\n", end).encode())
    (found,) = read_tables(path)
    assert content(found) == content(parse_xdi(GOOD, "f"))


word = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
line = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp", "Zs"),
                             max_codepoint=0x2FF), max_size=20).map(str.strip)
finite = st.floats(allow_nan=False, allow_infinity=False)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.data())
def test_write_then_read_is_lossless(data):
    n = data.draw(st.integers(1, 4))
    labels = ("energy", *data.draw(st.lists(word, min_size=n, max_size=n)))
    extra = data.draw(st.dictionaries(word.map(lambda w: f"App.{w}"), line, max_size=4))
    rows = data.draw(st.lists(st.lists(finite, min_size=n + 1, max_size=n + 1), min_size=1,
                              max_size=5))
    comments = data.draw(st.lists(line.filter(lambda c: not c.startswith("---")), max_size=4))
    fields = {"Element.symbol": "Pb", "Element.edge": "L3", "Mono.d_spacing": "3.1355", **extra}
    record = Table(labels, ("keV", *[""] * n), np.array(rows).T, metadata=fields,
                   comments=tuple(comments), applications=("App/1",))
    assert content(parse_xdi(format_xdi(record), "f")) == content(record)


def test_write_refuses_what_would_not_come_back(tmp_path):
    record = parse_xdi(GOOD, "f")
    for wrong in ({"comments": ("a\rb\x0b", "two  ")}, {"names": ("energy", "two words")},
                  {"comments": ("-----",)}):
        with pytest.raises(InputError, match="cannot be kept"):
            write_xdi(tmp_path / "f.xdi", replace(record, **wrong))
    write_xdi(tmp_path / "g.xdi", record)
    assert content(read_tables(tmp_path / "g.xdi")[0]) == content(record)
