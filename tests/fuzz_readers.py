"""Fuzz every reader, and what looks into archives: ``python tests/fuzz_readers.py 600`` runs ten
minutes; the test suite runs a few seconds of it.

``python tests/fuzz_readers.py 600 .xdi .csv`` runs those formats only. A reader may read, or refuse
with InputError; any other exception, a number that is not finite, or a file that takes too long is
a failure, whose bytes are printed.
"""

import collections
import contextlib
import functools
import gzip
import io
import json
import math
import shutil
import sys
import tarfile
import tempfile
import time
import tomllib
import warnings
import zipfile
from pathlib import Path

import h5py
import numpy as np

from perovskite_polaron.analysis.mapping import draft, read_mapping
from perovskite_polaron.cli.main import build_parser
from perovskite_polaron.cli.options import read_measured
from perovskite_polaron.errors import InputError
from perovskite_polaron.measured.archive import look, unpacked
from perovskite_polaron.measured.hdf5 import read_hdf5_tables
from perovskite_polaron.measured.raw import Raw
from perovskite_polaron.measured.readers import read_scans, read_tables
from perovskite_polaron.measured.traces import read_traces
from perovskite_polaron.measured.treated import treat
from perovskite_polaron.published_cspbbr3 import ARTICLE

XDI_SEED = (b"# XDI/1.0 GSE/1.0\n# Column.1: energy eV\n# Column.2: i0\n# Element.edge: K\n"
            b"# Element.symbol: Br\n"
            b"# Mono.d_spacing: 3.1\n# Sample.temperature: 60 C\n# ///\n# text\n#----\n"
            b"# energy i0\n13470 1.5\n13471 2.5e3\n13472 -1\n")
CSV_SEED = (b"# delay: 100 ps\n# temperature: 25 C\nenergy_eV,signal,error\n13470,0.1,0.01\n"
            b"13471.5,-.2,0.02\n1.3473e4,3,1\n")
TEXT_SEED = b"# delay_ps  a  a_error\n-100 0 1\n0 0.5 1\n50 .7 1\n1e3 0.1 1\n"
WORDS = (
    b"nan",
    b"inf",
    b"1e999",
    b"-",
    b"#",
    b"%",
    b",",
    b";",
    b"\t",
    b"\r",
    b"\n",
    b"\x00",
    b"\xff",
    b"1_0",
    b"Column.1:",
    b"///",
    b"---",
    b"'",
    b"\xc2\xb5",
    b"0x1p3",
)


PRJ_SEED = (b"# Athena project file -- Demeter version 0.9.26\n# made for a test\n\n"
            b"$old_group = 'abcde';\n"
            b"@args = ('label', 'It\\'s \\x{e4}', 'titles', ['a', \"b\"], 'bkg_eshift', '0.5',"
            b" 'is_chi', undef);\n"
            b"@x = ('13470','13471.5',\n'1.3473e4');\n@y = ('0.1','.2','-3');\n@stddev = (1,2,3);\n"
            b"[record]   # ready\n\n"
            b"@journal = ('of (the); day');\n\n1;\n")
PRJ_JSON_SEED = json.dumps({"_____header1": "# Athena project file -- Demeter version 0.9.26",
                            "_____journal": ["one"], "_____order": ["abcde"],
                            "abcde": {"args": {"label": "one", "npts": 3},
                                      "x": ["13470", "13471", "13472"],
                                      "y": [0.1, 0.2, 3e-1]}}).encode()


MDA_SEED = (b"## mda2ascii 1.2 generated output\n\n# MDA File Version = 1.3\n"
            b'# Extra PV 1: 7idb:t.VAL, temperature, "25", C\n\n# 1-D Scan\n'
            b"#  Column Descriptions:\n#    1  [     Index      ]\n"
            b"#    2  [1-D Positioner 1]  7id:E.VAL, Energy, TABLE, keV, 7id:E.RBV, Energy, keV\n"
            b"#    3  [1-D Detector   1]  7idb:c12.VAL, BoxcarON (3s), \n"
            b"#    4  [1-D Detector   2]  7idb:c13.VAL, BoxcarOFF (3s), \n\n# 1-D Scan Values\n"
            b"1 13.470 105 95\n2 13.4705 110 99\n3 13.471 120 101\n")
MAP_SEED = b"Energy(keV)/Time(s),-1e-07,0.0,2.5e-7\n13.47,0,1,2\n13.471,1,2,.3\n13.472,5,6,7\n"
SPEC_SEED = (b"#F f\n#S 3  exafs_scan 1 2\n#N 4\n#L Energy  Seconds  on  off\n7100 1 10 9\n"
             b"7101 1 12 10\n7102 1 15 12\n\n#S 4  exafs_scan 1 2\n#L Energy  Seconds  on  off\n"
             b"7100 1 10 9\n7101 1 12 10\n7102 1 15 12\n")
_RUN_KEV = np.arange(13.48, 13.4629, -0.0005)
_EDGE = 200 / (1 + np.exp((13.472 - _RUN_KEV) / 0.001)) + 20
RUN_SEED = b"BL 7\nnotes: 12 on\n" + b"".join(
    b"%.4f %d %d 1e3\n" % (e, 1.1 * y, y) for e, y in zip(_RUN_KEV, _EDGE, strict=True))
PROFILE_SEED = b"""# 7-ID
edge = "Br-K"
energy-unit = "keV"
on = "2"
off = "3"
counts = "column*"
dead-time = "2us"
count-time = "1s"
deglitch = ["13.4745keV:13.4747keV"]
align = "13.465keV:13.478keV"
robust = 5
average-doubles = true
"""
MAPPING_SEED = b"""[[steady]]
files = ["a.csv"]
edge = "Br-K"
energy-unit = "keV"

[[transient]]
files = ["*.dat", "a.csv"]
reference = "a.csv"
edge = "Br-K"
on = "2"

[[kinetics]]
files = "t.dat"
signal = "a*"

[compare]
like-steady = true
window = "13475eV:13520eV"
"""
# What an archive that is damaged holds when it is sound.
_MANY = b"\n".join(b"%d 0.5 0.%d" % (13460 + i, i) for i in range(30))
ARCHIVE = {"a/br_100ps.csv": b"energy_eV a b\n" + _MANY, "a/b/Br.xdi": XDI_SEED,
           "a/trace.dat": TEXT_SEED, "a/README.txt": b"words"}
# How the files of a kind are read besides without options.
READING = {
    ".asc": {"raw": Raw(on="*BoxcarON*", off="*BoxcarOFF*", counts="*boxcar*", dead_time_ps=1e6,
                        count_time="1s")},
    ".map": {"raw": Raw(map="down", delay_unit="s")},
    ".spec": {"raw": Raw(on="on", off="off", counts="o*", dead_time_ps=1e9, count_time="Seconds:s",
                         average_doubles=True)},
    ".map.h5": {"signal": "/diff", "energy": "/x_axis/value",
                "raw": Raw(map="across", delay="/t_axis", delay_unit="ns")}}


def seeds():
    """Return the sound files to damage, as (suffix, bytes)."""
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        group = file.create_group("scan_100ps")
        group.attrs["temperature"] = "25 C"
        group.create_dataset("energy", data=np.linspace(13460.0, 13470, 11)).attrs["units"] = "eV"
        group.create_dataset("mu", data=np.arange(11.0), chunks=(4,), compression="gzip")
    matrix = io.BytesIO()
    with h5py.File(matrix, "w") as file:
        file["x_axis/value"] = np.linspace(13460.0, 13470, 6)
        file["x_axis/value"].attrs["units"] = "eV"
        file["t_axis"] = np.array([-1.0, 0.5, 2])
        file.create_dataset("diff", data=np.arange(18.0).reshape(3, 6), chunks=(2, 3),
                            compression="gzip")
    packed, tarred = io.BytesIO(), io.BytesIO()
    with (zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive,
          tarfile.open(fileobj=tarred, mode="w") as tar):
        for name, data in ARCHIVE.items():
            archive.writestr(name, data)
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return [
        (".xdi", XDI_SEED), (".csv", CSV_SEED), (".dat", TEXT_SEED), (".h5", memory.getvalue()),
        (".prj", PRJ_SEED), (".prj", PRJ_JSON_SEED), (".prj", gzip.compress(PRJ_SEED)),
        (".asc", MDA_SEED), (".map", MAP_SEED), (".spec", SPEC_SEED),
        (".map.h5", matrix.getvalue()), (".run.dat", RUN_SEED), (".toml", PROFILE_SEED),
        (".mapping.toml", MAPPING_SEED), (".zip", packed.getvalue()), (".tar", tarred.getvalue()),
        (".tar", gzip.compress(tarred.getvalue())),
    ]  # fmt: skip


def mutate(rng, data):
    """Return the bytes with a few of them changed, inserted, removed or repeated."""
    data = bytearray(data)
    # HDF5 is found by absolute position: half of the time only exchange bytes, so that damage
    # reaches deep into the file. In text half of the time only exchange digits.
    binary = data[:4] == b"\x89HDF" or data[:2] in (b"PK", b"\x1f\x8b")
    shallow = rng.integers(2)
    kinds = 1 if binary and not shallow else 4
    digits = [] if binary or shallow else [i for i, c in enumerate(data) if c in b"0123456789"]
    for _ in range(rng.integers(1, 4)):
        if digits:
            data[digits[rng.integers(len(digits))]] = b"0123456789.-e "[rng.integers(14)]
            continue
        at = int(rng.integers(0, len(data) + 1))
        kind = rng.integers(kinds)
        if kind == 0 and data:
            data[min(at, len(data) - 1)] = int(rng.integers(256))
        elif kind == 1:
            data[at:at] = WORDS[rng.integers(len(WORDS))]
        elif kind == 2:
            del data[at : at + int(rng.integers(1, 30))]
        else:
            start = int(rng.integers(0, len(data) + 1))
            data[at:at] = data[start : start + int(rng.integers(1, 60))]
    return bytes(data)


def finite(scans):
    """Tell whether scans have finite numbers only, and rising energies."""
    for scan in scans:
        assert (np.diff(scan.energy_eV) > 0).all()
        assert np.isfinite(scan.intensity).all()
        assert scan.error is None or np.isfinite(scan.error).all()


def with_profile(runs, profile):
    """Return how many spectra ``polaron treat`` makes of a file of columns with a profile."""
    words = ["treat", str(runs), "--out", "o", "--profile", str(profile)]
    args = build_parser("treat").parse_args(words)
    done = treat(read_measured(args, combine=True), args.edge, args.read_by(args))
    finite(one.scan for one in done)
    return len(done)


def looked(path):
    """Return how many files of an archive have a place, once unpacked and mapped by its draft."""
    into = path.with_name("unpacked")
    shutil.rmtree(into, ignore_errors=True)
    found = look(unpacked(path, into), ARTICLE.archive.edges)
    assert not [p for p in path.parent.iterdir() if p.name.startswith(".tmp")]
    tomllib.loads("\n".join(line.removeprefix("#") for line in draft(found, ARTICLE).splitlines()
                            if line.startswith("#") and not line.startswith("# ")))
    return len(found)


def read(path, kind):
    """Read a file every way there is; return how many tables it holds."""
    if kind in (".zip", ".tar"):
        return looked(path)
    if kind == ".mapping.toml":
        for name in ("a.csv", "b.dat", "t.dat"):
            path.with_name(name).touch()
        return len(read_mapping(path, path.parent).entries)
    if kind in (".run.dat", ".toml"):
        with_ = {".run.dat": path, ".toml": path}
        for other, seed in ((".run.dat", RUN_SEED), (".toml", PROFILE_SEED)):
            if other != kind:
                with_[other] = path.with_name(f"sound{other}")
                with_[other].write_bytes(seed)
        with contextlib.redirect_stderr(io.StringIO()):
            return with_profile(with_[".run.dat"], with_[".toml"])
    if kind == ".map.h5":
        scans = read_scans([path], **READING[kind])
        finite(scans)
        return len(scans)
    if kind == ".h5":
        tables = read_hdf5_tables(path, 5.0)
    else:
        tables = read_tables(path)
        raw = functools.partial(read_scans, energy_unit="eV", **READING.get(kind, {}))
        for reader in (read_scans, read_traces, raw):
            try:
                found = reader([path])
            except InputError:
                continue
            # A table may lack numbers; what is made of it may not.
            if reader is not read_traces:
                finite(found)
                continue
            for one in found:
                assert np.isfinite(one.signal).all()
                assert one.error is None or np.isfinite(one.error).all()
    for table in tables:
        assert not np.isinf(table.columns).any()
    return len(tables)


def fuzz(seconds=math.inf, tries=math.inf, seed=0, only=()):
    """Return how many files of each suffix were tried until an end, and how many could be read."""
    rng, tried, sound = np.random.default_rng(seed), collections.Counter(), collections.Counter()
    files = [(suffix, data) for suffix, data in seeds() if not only or suffix in only]
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as folder:
        while time.monotonic() < end and tried.total() < tries:
            suffix, data = files[tried.total() % len(files)]
            data = mutate(rng, data)
            path = Path(folder) / f"f{suffix}"
            path.write_bytes(data)
            message = ""
            began, clock = time.process_time(), time.monotonic()
            try:
                sound[suffix] += read(path, suffix) > 0
            except InputError as error:
                message = str(error)
            except BaseException:
                print(suffix, data)
                raise
            tried[suffix] += 1
            assert "\n" not in message, (suffix, data)
            assert time.process_time() - began < 2, (suffix, data)
            assert time.monotonic() - clock < 60, (suffix, data)
    return tried, sound


if __name__ == "__main__":
    # As in the suite: an overflow is a failure.
    warnings.simplefilter("error")
    tried, sound = fuzz(float(sys.argv[1]) if len(sys.argv) > 1 else 600, seed=int(time.time()),
                        only=sys.argv[2:])
    for suffix, count in tried.items():
        print(f"{suffix}: {count} files tried, {sound[suffix]} read, the others refused")
