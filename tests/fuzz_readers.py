"""Fuzz every reader: ``python tests/fuzz_readers.py 600`` runs ten minutes; the test suite runs a
few seconds of it.

``python tests/fuzz_readers.py 600 .xdi .csv`` runs those formats only. A reader may read, or refuse
with InputError; any other exception, a number that is not finite, or a file that takes too long is
a failure, whose bytes are printed.
"""

import collections
import functools
import gzip
import io
import json
import math
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

from perovskite_polaron.errors import InputError
from perovskite_polaron.measured.hdf5 import read_hdf5_tables
from perovskite_polaron.measured.raw import Raw
from perovskite_polaron.measured.readers import read_scans, read_tables
from perovskite_polaron.measured.traces import read_traces

XDI_SEED = (b"# XDI/1.0 GSE/1.0\n# Column.1: energy eV\n# Column.2: i0\n# Element.edge: K\n"
            b"# Element.symbol: Br\n"
            b"# Mono.d_spacing: 3.1\n# Sample.temperature: 60 C\n# ///\n# text\n#----\n"
            b"# energy i0\n13470 1.5\n13471 2.5e3\n13472 -1\n")
CSV_SEED = (b"# delay: 100 ps\n# temperature: 25 C\nenergy_eV,signal,error\n13470,0.1,0.01\n"
            b"13471.5,-.2,0.02\n1.3473e4,3,1\n")
TEXT_SEED = b"# delay_ps  a  a_error\n-100 0 1\n0 0.5 1\n50\t.7 1\n1e3 0.1 1\n"
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
# What the files of a suffix are read with besides nothing.
RAW = {".asc": Raw(on="*BoxcarON*", off="*BoxcarOFF*", counts="*boxcar*", dead_time_ps=1e6,
                   count_time="1s"),
       ".map": Raw(map="down", delay_unit="s"),
       ".spec": Raw(on="on", off="off", counts="o*", dead_time_ps=1e9, count_time="Seconds:s",
                    average_doubles=True)}


def seeds():
    """Return the sound files to damage, as (suffix, bytes)."""
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        group = file.create_group("scan_100ps")
        group.attrs["temperature"] = "25 C"
        group.create_dataset("energy", data=np.linspace(13460.0, 13470, 11)).attrs["units"] = "eV"
        group.create_dataset("mu", data=np.arange(11.0), chunks=(4,), compression="gzip")
    return [
        (".xdi", XDI_SEED), (".csv", CSV_SEED), (".dat", TEXT_SEED), (".h5", memory.getvalue()),
        (".prj", PRJ_SEED), (".prj", PRJ_JSON_SEED), (".prj", gzip.compress(PRJ_SEED)),
        (".asc", MDA_SEED), (".map", MAP_SEED), (".spec", SPEC_SEED),
    ]  # fmt: skip


def mutate(rng, data):
    """Return the bytes with a few of them changed, inserted, removed or repeated."""
    data = bytearray(data)
    # HDF5 is found by absolute position: half of the time only exchange bytes, so that damage
    # reaches deep into the file.
    kinds = 1 if data[:4] == b"\x89HDF" and rng.integers(2) else 4
    for _ in range(rng.integers(1, 4)):
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


def read(path):
    """Read a file every way there is; return how many tables it holds."""
    if path.suffix == ".h5":
        tables = read_hdf5_tables(path, 5.0)
    else:
        tables = read_tables(path)
        raw = functools.partial(read_scans, energy_unit="eV", raw=RAW.get(path.suffix))
        for reader in (read_scans, read_traces, raw):
            try:
                found = reader([path])
            except InputError:
                continue
            # A table may lack numbers; what is made of it may not.
            for one in found:
                y = one.signal if reader is read_traces else one.intensity
                assert np.isfinite(y).all()
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
                sound[suffix] += read(path) > 0
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
    tried, sound = fuzz(float(sys.argv[1]) if len(sys.argv) > 1 else 600, seed=int(time.time()),
                        only=sys.argv[2:])
    for suffix, count in tried.items():
        print(f"{suffix}: {count} files tried, {sound[suffix]} read, the others refused")
