"""Measured data: what the package and other programs find, and whether that is the same.

A table is its names and columns; a scan is energies in eV and the spectrum.
"""

import contextlib
import gzip
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from corpus_kinds.common import head_of, text

HC_EV_A = 12398.419843
_FLOAT = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[EeDd][-+]?\d+)?")
# Names of columns that are no spectrum, in lower case.
_NO_SIGNAL = re.compile(
    r"i_?[0-4tfr]|itrans|i?fluor|if|iref\w*|murefer|.*(time|epoch|angle|theta|clock|second|dwell)"
    r".*|(pre|post|der|sec|bkg|nbkg|flat|nder|chie|norm|nnorm)\w*|index|point|k|energy|e|i1|i2|i0")
_SPECTRUM = ("mutrans", "xmu", "mufluor", "mu", "mu(e)", "absorption", "mux", "norm")


def ours(path: Path, options: dict[str, str]) -> dict[str, Any]:
    """Return the tables and the scans of a file of measured data."""
    from perovskite_polaron.measured.readers import read_scans, read_tables

    tables, scans = read_tables(path), read_scans([path], **options)
    return {"tables": [(list(t.names), np.array(t.columns), t.label) for t in tables],
            "scans": [(s.label, np.array(s.energy_eV), np.array(s.intensity)) for s in scans],
            "options": options, "said": [w for t in tables for w in t.warnings]}


def plain_table(path: Path) -> dict[str, Any]:
    """Parse a table: the rows of numbers, and the names that the header gives them."""
    content = text(path)
    rows, header, blocks, comma = [], [], 0, False
    for line in content.splitlines():
        words = [w for w in re.split(r"[,;\t\s]+", line.strip()) if w]
        try:
            values = [float(w) for w in words]
        except ValueError:
            values = []
        if values and (not rows or len(values) == len(rows[-1])):
            rows.append(values)
        elif words and rows and len(values) > 2:
            blocks += 1
        elif words and not rows:
            header.append(line.strip())
    columns = np.array(rows).T
    named = dict(re.findall(r"^#\s*Column\.(\d+):\s*(.*?)\s*$", content, re.M))
    names = [re.split(r"\s*\|\||\s*\(", named.get(str(k + 1), ""))[0] for k in range(len(columns))]
    if not all(names):
        last = header[-1] if header else ""
        last = re.sub(r"^(#L|#C|#|%|;|\*|!)\s*", "", last).strip().strip('"')
        for split in (r"[,;]", r"\t+", r"\s{2,}", r"\s+"):
            found = [w.strip(' "') for w in re.split(split, last) if w.strip()]
            if len(found) == len(columns):
                names = found
                break
        else:
            names = []
    units = [(re.search(r"[\s_(](k?eV|deg\w*)\b", name, re.I) or [""] * 2)[1] for name in names]
    names = [re.sub(r"[\s_(]+(k?eV|degrees?)\)?$", "", name, flags=re.I) for name in names]
    return {"names": names, "units": units, "columns": columns, "blocks": blocks + 1,
            "content": content, "comma": comma}


def is_table(path: Path) -> bool:
    """Tell a table from other text: most lines are rows of as many numbers, two or more."""
    if path.stat().st_size > 5_000_000 or b"\0" in path.read_bytes():
        return False
    table = plain_table(path)
    rows = table["columns"].shape[-1] if table["columns"].ndim == 2 else 0
    return bool(rows > 9 and len(table["columns"]) > 1 and table["blocks"] < 2 + rows / 10)


def energy_column(table: dict[str, Any]) -> int:
    """Return the column that is an energy by its name, or the first."""
    return next((i for i, n in enumerate(table["names"])
                 if re.match(r"e$|e\(|mono_?e|\w*energy", n.lower())), 0)


def expected_energy(table: dict[str, Any], unit: str | None) -> np.ndarray | None:
    """Return the energies of a table in eV, where its header or the unit asked for says so."""
    names = [n.lower() for n in table["names"]]
    column = energy_column(table)
    values = table["columns"][column]
    said = (table["units"][column] if names else "").lower()
    if said.startswith("deg") or (names and names[column] in ("angle", "theta")):
        spacing = re.search(r"d_spacing:\s*([\d.]+)", table["content"])
        return None if not spacing else HC_EV_A / 2 / float(spacing[1]) / np.sin(np.radians(values))
    return values * (1000 if (said or (unit or "").lower()) == "kev" else 1)


def expected_signal(table: dict[str, Any], asked: str | None,
                    known: list[str]) -> np.ndarray | None:
    """Return the spectrum of a table: what was asked for, else the only one its header allows.

    Parameters
    ----------
    table : dict
        Of plain_table.
    asked : str or None
        A column by name or number, or ``ln(A/B)``, ``A/B``, ``A-B``.
    known : list of str
        Names by which the columns may be asked for.
    """
    columns = dict(zip([n.lower() for n in known], table["columns"], strict=False))
    if asked and asked.isdigit():
        return table["columns"][int(asked) - 1]
    if asked:
        inner = re.fullmatch(r"ln\((.*)\)", asked)
        for sign, make in (("/", np.divide), ("-", np.subtract)):
            for cut in re.finditer(sign, inner[1] if inner else asked):
                body = (inner[1] if inner else asked).lower()
                a, b = body[:cut.start()].strip(), body[cut.end():].strip()
                if a in columns and b in columns:
                    with np.errstate(all="ignore"):
                        value = make(columns[a], columns[b])
                        return np.log(value) if inner else value
        return columns.get(asked.lower())
    names = [n.lower() for n in table["names"]]
    if len(table["columns"]) == 2:
        return table["columns"][1]
    named = [i for i, n in enumerate(names) if n in _SPECTRUM]
    if len(named) == 1:
        return table["columns"][named[0]]
    left = [i for i, n in enumerate(names) if i and not _NO_SIGNAL.fullmatch(n)]
    return table["columns"][left[0]] if len(left) == 1 else None


def by_lines_project(path: Path) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Parse an Athena project: label, x and y of every group of spectra (not chi, not pixels)."""
    raw = path.read_bytes()
    content = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8", "replace")
    groups: list[tuple[dict[str, Any], Any, Any]] = []
    if "____header" in content[:500]:
        groups = [(g.get("args", {}), g["x"], g["y"]) for g in json.loads(content).values()
                  if isinstance(g, dict) and "x" in g and "y" in g]
        groups = [(a if isinstance(a, dict) else dict(zip(a[::2], a[1::2], strict=False)), x, y)
                  for a, x, y in groups]
    else:
        for record in content.split("[record]"):
            found = {name: re.findall(r"'((?:[^'\\]|\\.)*)'|([-+.\deE]+)", body) for name, body in
                     re.findall(r"^[@%$](\w+) = \((.*?)\);\s*$", record, re.M | re.S)}
            flat = {name: [a or b for a, b in words] for name, words in found.items()}
            if {"args", "x", "y"} <= flat.keys():
                args = dict(zip(flat["args"][::2], flat["args"][1::2], strict=False))
                groups.append((args, flat["x"], flat["y"]))
    # k and pixels begin near 0, energies mostly do not; k ends before 100, pixels are counted.
    return [(str(args.get("label")), np.array(x, dtype=float), np.array(y, dtype=float))
            for args, x, y in groups if len(x) and (float(x[0]) > 10 or (
                float(x[-1]) > 100 and [float(e) for e in x[:3]] != [0, 1, 2]))]


def by_larch_project(path: Path) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Read an Athena project with larch: label, energy and µ of each group."""
    from larch.io.athena_project import AthenaProject

    project = AthenaProject()
    project.read(str(path), do_preedge=False, do_bkg=False, use_hashkey=True)
    found = []
    for group in project.groups.values():
        energy, mu = getattr(group, "energy", None), getattr(group, "mu", None)
        if energy is not None and mu is not None and len(energy):
            found.append((str(group.label), np.array(energy), np.array(mu)))
    return found


def by_larch_table(path: Path) -> np.ndarray:
    """Read the numbers of a text table with larch, (columns, rows)."""
    from larch.io import read_ascii

    with contextlib.redirect_stdout(io.StringIO()):
        return np.array(read_ascii(str(path)).data)


def by_h5py(path: Path) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Read the signal and axis of every NXdata group of an HDF5 file: label, energy, spectrum."""
    import h5py

    found: list[tuple[str, np.ndarray, np.ndarray]] = []

    def keep(name: str, group: Any) -> None:
        signal, axes = group.attrs.get("signal"), np.ravel(group.attrs.get("axes", []))
        if signal is not None and len(axes) == 1 and group[signal].ndim == 1:
            x, y = (np.array(group[n], dtype=float) for n in (axes[0], signal))
            good, said = np.isfinite(x) & np.isfinite(y), group[axes[0]].attrs
            unit = f"{said.get('units', '')} {said.get('long_name', '')}".lower()
            if good.sum() > 1:  # an interrupted counter ends in NaN
                found.append((name, x[good] * (1000 if "kev" in unit else 1), y[good]))

    with h5py.File(path) as file:
        file.visititems(lambda name, item: keep(name, item) if hasattr(item, "keys") else None)
    if not found:
        raise ValueError("no NXdata")
    return found


def not_xdi(table: dict[str, Any]) -> str:
    """Return which rule of the specification of XDI a file breaks, or nothing."""
    from ase.data import atomic_numbers

    content = table["content"]
    head, ruled, body = content.partition("\n#---")
    head = head if ruled else re.match(r"(#.*\n)*", content)[0]  # type: ignore[index]
    fields = {k.lower(): v.strip() for k, v in re.findall(r"^#\s*([\w.]+):(.*)", head, re.M)}
    rows = [line.split() for line in body.splitlines()[1:] if line[:1] not in ("#", "")]
    labels = next((line[1:].split() for line in body.splitlines() if line[:1] == "#"), [])
    named = [re.split(r"\s", fields.get(f"column.{k + 1}", "") + " ")[0]
             for k in range(len(rows[0]) if rows else 0)]
    rules = {
        "first line": re.match(r"#\s*XDI/\d", content),
        "element": fields.get("element.symbol", "").capitalize() in atomic_numbers,
        "edge": re.fullmatch(r"[KLMNO]\d?(,\d)?|[LM]\d,\d", fields.get("element.edge", ""), re.I),
        "end of header": ruled, "header": all(line[:1] == "#" for line in head.splitlines()),
        "rows": len({len(row) for row in rows}) == 1,
        "comments among the data": not re.search(r"\n#.*\n\s*[-\d.].*\n#", body),
        "numbers": all(_FLOAT.fullmatch(w) for row in rows for w in row),
        "labels": all(not n or n.lower() == lab.lower()
                      for n, lab in zip(named, labels, strict=False)),
        "spacing": "angle" not in named or "energy" in named or "mono.d_spacing" in fields}
    return ", ".join(rule for rule, held in rules.items() if not held)


def facts(path: Path) -> set[str]:
    """Return what stands against a table: several scans, NaN, doubled energies, no spectrum."""
    if path.suffix.lower() in (".prj", ".h5", ".hdf5", ".nxs"):
        return set()
    table, found = plain_table(path), set()
    found |= {"bad XDI"} if path.suffix.lower() == ".xdi" and not_xdi(table) else set()
    content, names = table["content"], [n.lower() for n in table["names"]]
    if not len(table["columns"]):
        return {"no numbers"}
    found |= {"several"} if table["blocks"] > 1 or len(re.findall(r"^#S ", content, re.M)) > 1 \
        else set()
    found |= {"not finite"} if re.search(r"^[^#\n]*\bnan\b", content, re.M | re.I) else set()
    energies = np.sort(table["columns"][energy_column(table)])
    found |= {"zero"} if (table["columns"] <= 0).any() else set()
    back = -np.diff(table["columns"][energy_column(table)]).min()
    found |= {"again"} if back > 0.1 * np.ptp(energies) else set()
    found |= {"twice"} if (np.diff(energies) <= 0).any() else set()
    said = any(u for u in table["units"])
    found |= set() if said else {"no unit"}
    found |= {"no spectrum"} if "mag[feff]" in content or names[:1] in (["k"], ["r"], ["q"]) \
        or energies[0] < 0.1 else set()
    found |= {"open"} if expected_signal(table, None, table["names"]) is None else set()
    found |= set() if all(names) and names else {"no names"}
    found |= {"angle"} if names and not any(n.startswith("e") for n in names) else set()
    return found


def differ(ours: dict[str, Any], other: Any) -> str:
    """Compare columns, or spectra of groups, with those of another program."""
    if isinstance(other, dict):
        return _differ_table(ours, other)
    if isinstance(other, np.ndarray):
        columns = ours["tables"][0][1]
        same = other.shape == columns.shape and np.allclose(columns, other, 1e-9, 0, True)
        return "" if same else f"columns {columns.shape}, not {other.shape}"
    left = list(other)
    for label, energy, mu in ours["scans"]:
        fits = [one for one in left if one[1].shape == energy.shape and np.allclose(
            np.sort(one[1]), energy, 0, 1e-3) and np.allclose(
                one[2][np.argsort(one[1], kind="stable")], mu, 1e-6, 1e-9)]
        if not fits:
            return f"the group {label} is not as there"
        left.remove(fits[0])
    return f"{len(left)} spectra are not read" if left else ""


def _differ_table(ours: dict[str, Any], table: dict[str, Any]) -> str:
    names = ours["tables"][0][0]
    # The scans of a SPEC file are tables that follow each other.
    columns = np.concatenate([t[1] for t in ours["tables"]], axis=1)
    if columns.shape != table["columns"].shape:
        return f"columns {columns.shape}, not {table['columns'].shape}"
    if not np.allclose(columns, table["columns"], 1e-9, 0, True):
        return "other numbers in the columns"
    energies = expected_energy(table, ours["options"].get("energy_unit"))
    signals = expected_signal(table, ours["options"].get("signal"), names)
    if energies is None or signals is None:
        return "a signal or energy taken that the header does not single out"
    ends = np.cumsum([t[1].shape[1] for t in ours["tables"]])[:-1]
    if len(ours["scans"]) != len(ends) + 1:
        return f"{len(ours['scans'])} scans in {len(ends) + 1} tables"
    for (_, got, intensity), energy, signal in zip(
            ours["scans"], np.split(energies, ends), np.split(signals, ends), strict=True):
        whole = np.flatnonzero(np.isfinite(energy + signal))  # rows at the ends may be left out
        energy, signal = (x[whole[0]:whole[-1] + 1] for x in (energy, signal))
        order = np.argsort(energy, kind="stable")
        if got.shape != energy.shape or not np.allclose(energy[order], got, 1e-6):
            return f"energies from {got[0]:g}, not {energy[order][0]:g} eV"
        if not np.allclose(signal[order], intensity, 1e-7, 1e-12):
            return "another column is taken"
    return ""


FORMATS = {
    "XDI": {"a parse": plain_table, "larch": by_larch_table},
    "Athena project": {"a parse": by_lines_project, "larch": by_larch_project},
    "column file": {"a parse": plain_table, "larch": by_larch_table}, "HDF5": {"h5py": by_h5py}}
NEEDFUL = (
    (r"several", "several", "several scans in one file"),
    (r"", "bad XDI", "not XDI by its specification"),
    (r"NaN|finite|infinity", "not finite", "NaN in it"),
    (r"go back", "again", "energies that begin again"),
    (r"stands twice|doubl", "twice", "an energy stands twice"),
    (r"signal|column|unit|spectrum|number", "no spectrum", "chi(k), chi(r) or a FEFF path"),
    (r"not finite where", "zero", "counts of zero where ln(I0/I) was asked for"),
    (r"unit", "no unit", "no unit in it"),
    (r"signal|column", "open", "several columns could be the signal"))


def format_of(path: Path) -> str:
    """Return the format of a file, by its name and its first lines; "" where it is another."""
    known = {".xdi": "XDI", ".prj": "Athena project", **dict.fromkeys((".h5", ".hdf5", ".nxs"),
                                                                     "HDF5")}
    if path.suffix.lower() in known:
        return known[path.suffix.lower()]
    if head_of(path).startswith("# XDI/"):
        return "XDI"
    return "column file" if is_table(path) else ""


def asked_for(message: str, options: dict[str, str], path: Path) -> dict[str, str]:
    """Return the option that a refusal asks for, as someone who knows the file would answer."""
    signal = re.search(r'--signal "(.*?)"', message)
    if path.suffix != ".prj" and format_of(path) != "HDF5" and "no spectrum" in facts(path):
        return {}
    if signal and "signal" not in options:  # where the message leaves it open: the second column
        return {"signal": "2" if signal[1].startswith("NAME") else signal[1]}
    if "--energy NAME" in message and "energy" not in options:
        return {"energy": "1"}
    if "unit" in message and "energy_unit" not in options:
        if format_of(path) == "HDF5":  # by_h5py has read what the long name says
            return {"energy_unit": "keV" if b"(keV)" in path.read_bytes() else "eV"}
        table = plain_table(path)
        size = np.median(table["columns"][energy_column(table)])
        return {"energy_unit": "keV" if 0 < size < 150 else "eV"}
    return {}
