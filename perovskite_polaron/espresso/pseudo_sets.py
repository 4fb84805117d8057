"""Which pseudopotentials a calculation uses, and whether they go together: files of the user's, or
sets made here.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from ase.data import atomic_numbers

from perovskite_polaron.errors import InputError, require
from perovskite_polaron.espresso.pseudo import make_pseudo, recipe_elements
from perovskite_polaron.espresso.upf import Pseudopotential, read_upf

#: The key that names a folder instead of a file.
FOLDER = "folder"
_HOLE = "-hole"
# The element at the beginning of a file's name, as in Ti_ONCV_PBE-1.0.upf and o_pbe_v1.2.UPF.
_ELEMENT = re.compile(r"([A-Za-z]{1,2})(?![A-Za-z])")
# Words of Quantum ESPRESSO for exchange and correlation that are another name for the same.
_FUNCTIONALS = {
    "SLA PW PBX PBC": "PBE", "SLA PW PBE PBE": "PBE", "SLA PW PSX PSC": "PBESOL",
    "SLA PZ NOGX NOGC": "PZ", "SLA PZ": "PZ", "LDA": "PZ", "SLA PW NOGX NOGC": "LDA (Perdew-Wang)",
    "SLA PW": "LDA (Perdew-Wang)", "SLA PW RPB PBC": "REVPBE", "SLA LYP B88 BLYP": "BLYP",
    "SLA B88 LYP BLYP": "BLYP"}

File = Callable[[str], str]


def need_keys(named: Mapping[str, str], elements: Iterable[str], absorber: str = "") -> None:
    """Refuse keys that are no element of the calculation, nor the absorber's hole.

    Raises
    ------
    InputError
        Naming them.
    """
    known = {FOLDER, *elements} | ({absorber + _HOLE} if absorber else set())
    odd = sorted(set(named) - known)
    require(not odd, f"[pseudopotentials]: {', '.join(odd)} is not used: give {FOLDER},"
            f" {', '.join(sorted(known - {FOLDER}))}")


def need_sets(named: Mapping[str, str], file: File, wanted: Iterable[tuple[str, str]]) -> None:
    """Refuse a calculation for which sets are missing, all of them at once.

    Parameters
    ----------
    named, file
        As in ``pseudo_for``.
    wanted
        Pairs of an element and a hole.

    Raises
    ------
    InputError
        Naming each missing set by its key.
    """
    made = recipe_elements()
    missing = sorted({_key(element, hole) for element, hole in wanted
                      if _found(element, hole, named, file) is None and element not in made})
    where = f" ({named[FOLDER]} has no file for it)" if FOLDER in named else ""
    require(not missing, f"no pseudopotential for {', '.join(missing)}{where}: name UPF files in"
            " [pseudopotentials] under these keys, a folder with them, or make sets with polaron"
            " pseudo --recipe")


def pseudo_for(element: str, named: Mapping[str, str], file: File,
               hole: str = "none") -> Pseudopotential:
    """Return an element's pseudopotential: the file named for it, else that of the folder, else the
    one made from its recipe. A set with a hole is never taken from the folder.

    Parameters
    ----------
    element, hole
        Which one.
    named
        Element, or ``element-hole``, -> UPF file; ``folder`` -> a folder with files named by
        element.
    file
        Turns such a name into a path.

    Raises
    ------
    InputError
        When the file is of another element, or the folder has several for it; others as
        ``read_upf`` and ``make_pseudo``.
    """
    path = _found(element, hole, named, file)
    if path is None:
        return make_pseudo(element, hole)
    pseudo = read_upf(path)
    require(pseudo.element == element, f"[pseudopotentials]: {_key(element, hole)} names"
            f" {pseudo.path}, which is for {pseudo.element}; give one for {element}")
    return pseudo


def files_of(named: Mapping[str, str], file: File) -> set[str]:
    """Return every file that the names lead to, those of the folder with them."""
    files = {file(name) for key, name in named.items() if key != FOLDER}
    if FOLDER in named:
        files |= {str(path) for paths in _by_element(Path(file(named[FOLDER]))).values()
                  for path in paths}
    return files


def check_together(sets: Iterable[Pseudopotential], functional: str = "") -> None:
    """Refuse sets that do not go together: other functionals, or spin-orbit coupling.

    Parameters
    ----------
    sets
        Those of one cell.
    functional
        ``input_dft`` of pw.x, which overrides that of the files.

    Raises
    ------
    InputError
        Naming the files.
    """
    sets = list(sets)
    full = next((one for one in sets if one.spin_orbit), None)
    if full is not None:
        raise InputError(f"{full.path} is fully relativistic, for calculations with spin-orbit"
                         " coupling, which is not computed here (without it levels are wrong): give"
                         " a scalar relativistic set")
    said: dict[str, Pseudopotential] = {}
    for one in sets:
        said.setdefault(functional_of(one), one)
    if functional or len(said) < 2:
        return
    words = " and ".join(f"{one.path.name} {name}" for name, one in said.items())
    raise InputError(f"pseudopotentials of different functionals ({words}): give sets of one, or"
                     " name it with pw.system.input_dft")


def functional_of(pseudo: Pseudopotential) -> str:
    """Return the functional of a set in a form in which equal ones are equal."""
    words = " ".join(re.split(r"[\s+-]+", pseudo.functional.strip().upper()))
    return _FUNCTIONALS.get(words, words)


def _key(element: str, hole: str) -> str:
    return element if hole == "none" else element + _HOLE


def _found(element: str, hole: str, named: Mapping[str, str], file: File) -> str | None:
    key = _key(element, hole)
    if key in named:
        return file(named[key])
    if hole != "none" or FOLDER not in named:
        return None
    folder = Path(file(named[FOLDER]))
    found = _by_element(folder).get(element, [])
    require(len(found) < 2, f"[pseudopotentials]: {folder} has {len(found)} files for {element}"
            f" ({', '.join(path.name for path in found)}): name one, {element} ="
            f' "{named[FOLDER]}/{found[0].name if found else ""}"')
    return str(found[0]) if found else None


def _by_element(folder: Path) -> dict[str, list[Path]]:
    require(folder.is_dir(), f"[pseudopotentials]: {folder} is no folder: name one with UPF files")
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        match = _ELEMENT.match(path.name)
        if path.suffix.lower() == ".upf" and match:
            symbol = match[1].capitalize()
            if symbol in atomic_numbers:
                files.setdefault(symbol, []).append(path)
    return files
