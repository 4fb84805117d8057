"""Projects of Athena (and of larch's own graphical programs): one table of energy and absorption for every group.

The file is read by larch [M. Newville, J. Phys.: Conf. Ser. 430, 012007 (2013)], an optional dependency.
"""

import os
from pathlib import Path

import numpy as np

from perovskite_polaron.errors import InputError, MissingExtraError
from perovskite_polaron.experiment.table import Table


def read_athena_tables(path: str | os.PathLike[str]) -> tuple[Table, ...]:
    """Read every group of a ``.prj`` file, in the file's order.

    Energies in eV as Athena keeps them, its energy shift not applied. Raises MissingExtraError without larch, and
    InputError when the file is no Athena project.
    """
    if not Path(path).is_file():
        raise InputError(f"{path} does not exist: give the path of an Athena project")
    try:
        from larch.io import read_athena
    except ImportError:
        raise MissingExtraError("xraylarch", "athena") from None
    try:
        project = read_athena(str(path), do_preedge=False, do_bkg=False, do_fft=False)
        groups = [(name, group) for name, group in project.groups.items()]
    except Exception as error:  # larch lets any of its parsing errors through
        raise InputError(f"{path} cannot be read as an Athena project: {error}; check that the file is whole") from None
    tables = []
    for name, group in groups:
        energy = getattr(group, "energy", None)
        absorption = getattr(group, "mu", getattr(group, "ydat", None))
        if energy is None or absorption is None:
            raise InputError(f"{path}: the group {name!r} has no energy or no absorption; save it as mu(E) in Athena")
        label = str(getattr(group, "label", None) or getattr(group, "filename", None) or name)
        columns = np.array([energy, absorption], dtype=np.float64)
        tables.append(Table(("energy", "mu"), ("eV", ""), columns, f"{path}#{name}", label))
    if not tables:
        raise InputError(f"{path} holds no group: it is empty or no Athena project")
    return tuple(tables)
