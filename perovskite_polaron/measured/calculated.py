"""A calculated steady state of another program: two columns of a text file.

FEFF's ``xmu.dat`` has the energy of the photoelectron in its column ``e``, the absorption in
``mu``, and its zero, the Fermi energy, where ``k`` is zero. FDMNES writes ``Energy`` and
``<xanes>``, from the Fermi energy. Both are in eV (the manuals of the two programs). Of any other
file, as OCEAN's ``absspct``, the unit is said by its header or by the user, and so are the columns
where there are more than two.
"""

import os
import re

import numpy as np

from perovskite_polaron.errors import require
from perovskite_polaron.measured.readers import read_scans, read_tables
from perovskite_polaron.spectra.spectrum import Spectrum

_FEFF = re.compile(r"^#\s*omega\s+e\s+k\s+mu\s+mu0\s+chi\b", re.MULTILINE)
#: From here on energies are those of photons, whose zero is no edge.
_PHOTON_EV = 500.0


def read_calculated(path: str | os.PathLike[str], energy: str | None = None,
                    signal: str | None = None, energy_unit: str | None = None,
                    zero_eV: float | None = None) -> Spectrum:
    """Return a calculated spectrum, its energies (eV) from its zero.

    Parameters
    ----------
    path
        FEFF's ``xmu.dat``, a file of FDMNES, or any table.
    energy, signal, energy_unit
        As ``read_scans``, for files that do not say it.
    zero_eV
        Where the file's own axis has the edge, from which stretch and widths count (default: the
        Fermi energy in FEFF's file, else 0).

    Raises
    ------
    InputError
        As ``read_scans``; for several spectra; for energies of photons without zero_eV.
    """
    table, *more = read_tables(path)
    require(not more, f"{path} holds {len(more) + 1} spectra: give a file with the calculated one")
    if table.columns.shape[0] == 6 and _is_feff(path):
        energy, signal, energy_unit = "2", "4", "eV"
        e, k = table.columns[1:3]
        zero_eV = float(np.interp(0.0, k, e)) if zero_eV is None else zero_eV
    elif [name.lower() for name in table.names] == ["energy", "<xanes>"]:
        energy, signal, energy_unit = "1", "2", "eV"
    scans = read_scans([path], signal, energy_unit, energy=energy)
    require(len(scans) == 1, f"{path} holds {len(scans)} spectra: name the column of the calculated"
            " one")
    own, y = scans[0].energy_eV, scans[0].intensity
    require(zero_eV is not None or own[0] < _PHOTON_EV, f"{path} has energies from {own[0]:g} eV"
            " on: say with --zero where its edge is, from which widths and stretch count")
    require(np.ptp(y) > 0, f"{path}: the calculated spectrum is constant; choose another column")
    return Spectrum(own - (zero_eV or 0.0), y, scans[0].label)


def _is_feff(path: str | os.PathLike[str]) -> bool:
    with open(path, encoding="utf-8", errors="replace") as file:
        return _FEFF.search(file.read(20_000)) is not None
