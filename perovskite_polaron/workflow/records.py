"""What the records of a store must hold to be used, whoever wrote them.

What is written here carries a checksum (``files.write_sealed``) and is what was written. Records of
earlier versions carry none, and of them this much is asked.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from perovskite_polaron.errors import DamagedError, require
from perovskite_polaron.files import read_sealed

INPUTS = "inputs.json"
_ENERGIES = ("total_energy_eV", "fermi_eV", "highest_occupied_eV")
# Kind of job -> what its record must hold as finite numbers, and what as such if it is there; those
# that are tables have so many dimensions.
_NUMBERS = {"ground": _ENERGIES, "hole": _ENERGIES, "force": ("total_energy_eV", "forces_eV_A"),
            "response": ("epsilon_inf", "born_e"), "potentials": ("fermi_eV",),
            "absorption": ("edge_eV",)}
# Of a core hole it must be there, and is null where no empty band was computed.
_EMPTY = "lowest_empty_eV"
_OPTIONAL = (_EMPTY, "wall_seconds", "ranks")
_DIMENSIONS = {"forces_eV_A": 2, "epsilon_inf": 2, "born_e": 3}


def lacking(record: Mapping[str, Any], kind: str) -> str:
    """Return a key that a job's record should hold as finite numbers and does not; "" if none."""
    if kind == "hole" and _EMPTY not in record:
        return _EMPTY
    there = [key for key in _OPTIONAL if key in record]
    for key in (*_NUMBERS.get(kind, ()), *there):
        if key == _EMPTY and record[key] is None:
            continue
        try:
            values = np.array(record.get(key))
        except ValueError:
            return key
        number = values.dtype.kind in "if" and values.ndim == _DIMENSIONS.get(key, 0)
        if not (number and np.isfinite(values).all()):
            return key
    return ""


class RecordedInputs(NamedTuple):
    """What ``polaron run`` notes of a study: versions of programs, and ``element-hole`` -> UPF file
    in the store.
    """

    versions: Mapping[str, str]
    pseudopotentials: Mapping[str, str]


def recorded_inputs(store_folder: Path) -> RecordedInputs:
    """Return what ``polaron run`` noted, nothing where it did not.

    Raises
    ------
    DamagedError
        When it is not what was written.
    """
    path, remedy = store_folder / INPUTS, "polaron run writes it again with Quantum ESPRESSO"
    try:
        record = read_sealed(path, remedy)
    except (FileNotFoundError, NotADirectoryError):
        record = {}
    found = RecordedInputs(*(record.get(key, {}) for key in RecordedInputs._fields))
    for one in found:
        sound = isinstance(one, dict) and all(isinstance(value, str) for value in one.values())
        require(sound, f"{path} is damaged: {remedy}", DamagedError)
    return found
