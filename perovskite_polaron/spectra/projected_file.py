"""The file of projected states that travels: ``pdos.npz``, from which every width and grid can be had again."""

import io
import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from perovskite_polaron.errors import InputError
from perovskite_polaron.files import write_atomically
from perovskite_polaron.spectra.projected import ProjectedStates, Shell

FORMAT = "perovskite_polaron projected states 1"
# What a record says at least: of what, how computed, and element -> the shells it was projected onto.
_KEYS = ("name", "space_group", "settings", "projected_onto")


def write_states(path: str | os.PathLike[str], states: ProjectedStates, record: Mapping[str, Any]) -> Path:
    """Write states (energies to 1 µeV, shares to 1e-6) and their record to one small .npz; equal input, equal bytes."""
    head = {
        "format": FORMAT,
        "electrons": states.electrons,
        "kpoint_names": states.kpoint_names,
        "shells": [asdict(s) for s in states.shells],
        "record": record,
    }
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        head=np.frombuffer(json.dumps(head).encode(), np.uint8),
        energies_eV=states.energies_eV.round(6),
        kpoints=states.kpoints.round(9),
        weights=states.weights,
        shares=states.shares.round(6),
    )
    return write_atomically(path, buffer.getvalue())


def read_states(path: str | os.PathLike[str]) -> tuple[ProjectedStates, dict[str, Any]]:
    """Read what write_states wrote. Raises InputError when the file is missing, damaged or of another kind."""
    try:
        with open(path, "rb") as handle, np.load(handle, allow_pickle=False) as file:
            head = json.loads(file["head"].tobytes())
            if head["format"] != FORMAT:
                raise ValueError(f"it is of format {head['format']!r}, this version reads {FORMAT!r}")
            arrays = {name: file[name] for name in ("energies_eV", "kpoints", "weights", "shares")}
        shells = tuple(Shell(**s) for s in head["shells"])
        states = ProjectedStates(
            **arrays, kpoint_names=tuple(head["kpoint_names"]), shells=shells, electrons=float(head["electrons"])
        )
        record = dict(head["record"])
        if [key for key in _KEYS if key not in record] or not isinstance(record["projected_onto"], dict):
            raise ValueError(f"its record does not say {', '.join(_KEYS)}")
        return states, record
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: give a file that polaron pdos wrote (.npz)") from None
    except (InputError, OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile, zlib.error) as why:
        raise InputError(f"{path} does not hold projected states ({why}): write it again with polaron pdos") from None
