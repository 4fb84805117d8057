"""What the records of a store must hold to be used, whoever wrote them.

What is written here carries a checksum (``files.write_sealed``) and is what was written. Records of
earlier versions carry none, and of them this much is asked.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from perovskite_polaron.errors import DamagedError
from perovskite_polaron.files import SEAL, read_sealed
from perovskite_polaron.settings import fill

INPUTS = "inputs.json"
_ENERGIES = ("total_energy_eV", "fermi_eV", "highest_occupied_eV")
# Kind of job -> what its record must hold as finite numbers, and what as such if it is there.
_NUMBERS = {"ground": _ENERGIES, "hole": _ENERGIES, "force": ("total_energy_eV", "forces_eV_A"),
            "response": ("epsilon_inf", "born_e")}
_OPTIONAL = ("lowest_empty_eV", "wall_seconds", "ranks")


def lacking(record: Mapping[str, Any], kind: str) -> str:
    """Return a key that a job's record should hold as finite numbers and does not; "" if none."""
    there = (key for key in _OPTIONAL if record.get(key) is not None)
    for key in (*_NUMBERS.get(kind, ()), *there):
        try:
            values = np.array(record.get(key))
        except ValueError:
            return key
        if values.dtype.kind not in "if" or not np.isfinite(values).all():
            return key
    return ""


@dataclass(frozen=True)
class RecordedInputs:
    """What ``polaron run`` notes of a study: versions of programs, and ``element-hole`` -> UPF file
    in the store.
    """

    versions: Mapping[str, str] = field(default_factory=dict)
    pseudopotentials: Mapping[str, str] = field(default_factory=dict)


def recorded_inputs(store_folder: Path) -> RecordedInputs:
    """Return what ``polaron run`` noted, nothing where it did not.

    Raises
    ------
    DamagedError
        When it is not what was written.
    """
    path, problems = store_folder / INPUTS, list[str]()
    remedy = "polaron run writes it again where Quantum ESPRESSO is installed"
    try:
        record = read_sealed(path, remedy)
    except (FileNotFoundError, NotADirectoryError):
        return RecordedInputs()
    record.pop(SEAL, None)
    found = fill(RecordedInputs, record, "inputs", problems)
    if found is None:
        raise DamagedError(f"{path} is damaged ({problems[0]}): {remedy}")
    return found
