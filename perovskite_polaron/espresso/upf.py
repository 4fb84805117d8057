"""Pseudopotential files (UPF versions 1 and 2): what XSpectra needs from them, and whether it is
there.
"""

import hashlib
import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.errors import DamagedError, InputError, require
from perovskite_polaron.files import read_text


@dataclass(frozen=True)
class Orbital:
    """A radial function u(r) = r R(r) on the file's mesh (bohr^-1/2), its label (``1S``) and
    angular momentum.
    """

    label: str
    l: int  # noqa: E741 - the field's own name
    values: NDArray[np.float64]


@dataclass(frozen=True)
class AtomicShell:
    """A pseudo-atomic wave function of PP_PSWFC.

    pw.x and projwfc.x use those whose occupation is not negative; a set generated with empty states
    holds others too.

    Attributes
    ----------
    index
        Its place in PP_PSWFC, from 1.
    label
        Such as ``4P``.
    l
        Angular momentum.
    """

    index: int
    label: str
    l: int  # noqa: E741
    occupation: float


@dataclass(frozen=True)
class PartialWave:
    """A GIPAW projector's radial functions, all-electron and pseudo.

    Attributes
    ----------
    cutoff_bohr
        Radius from which XSpectra takes its own sphere.
    ultrasoft_bohr
        Where the two meet, if that is beyond (PAW).
    """

    label: str
    l: int  # noqa: E741
    all_electron: NDArray[np.float64]
    pseudo: NDArray[np.float64]
    cutoff_bohr: float
    ultrasoft_bohr: float = 0.0


@dataclass(frozen=True)
class Pseudopotential:
    """What this project reads from a UPF file; radial mesh in bohr, shape (n,).

    Attributes
    ----------
    functional
        As the file has it, such as ``PBE`` or ``SLA PW PBX PBC``.
    spin_orbit
        Whether it is fully relativistic.
    """

    path: Path
    version: int
    element: str
    kind: str
    z_valence: float
    radius_bohr: NDArray[np.float64]
    core_orbitals: tuple[Orbital, ...]
    partial_waves: tuple[PartialWave, ...]
    has_gipaw: bool
    functional: str = ""
    spin_orbit: bool = False

    @cached_property
    def _text(self) -> str:
        return self.path.read_text(encoding="utf-8", errors="replace")

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the file without its date, so the same set made twice is the same set."""
        text = re.sub(r'date="[^"]*"|Generation date:.*', "", self._text)
        return hashlib.sha256(text.encode()).hexdigest()

    @cached_property
    def atomic_shells(self) -> tuple[AtomicShell, ...]:
        """What is in PP_PSWFC, in its order; InputError when it is damaged."""
        try:
            return (_shells_v2 if self.version == 2 else _shells_v1)(self._text)
        except (KeyError, ValueError) as error:
            raise InputError(f"{self.path} is damaged in PP_PSWFC: {error}; get the file again or"
                             " make it anew") from None


def read_upf(path: str | os.PathLike[str]) -> Pseudopotential:
    """Read a UPF file of version 1 or 2.

    Raises
    ------
    InputError
        Naming the section that is missing or damaged.
    """
    path = Path(path)
    text = read_text(path, "UPF pseudopotential")
    version = 2 if re.search(r"<UPF\s+version=", text) else 1
    require(version == 2 or "<PP_HEADER>" in text, f"{path} is not a UPF pseudopotential: it has no"
            " section PP_HEADER; give a UPF file")
    try:
        return (_read_v2 if version == 2 else _read_v1)(path, text)
    except (KeyError, ValueError, IndexError) as error:
        raise InputError(
            f"{path} is damaged: {error}; get the file again or make it anew") from None


def read_sealed_upf(path: Path, digest: str) -> Pseudopotential:
    """Read a UPF file that this package keeps under its digest, or the beginning of that.

    Raises
    ------
    DamagedError
        When it is another file now.
    """
    try:
        pseudo = read_upf(path)
        require(digest and pseudo.digest.startswith(digest), "its SHA-256 is not that of the set"
                " kept there")
    except InputError as error:
        raise DamagedError(f"{path} was changed on the disk ({error}): delete it, and what was"
                           " computed with it since, and run again") from None
    return pseudo


def _bodies(text: str, tag: str) -> list[str]:
    # UPF 2 embeds the generator's input with bare '&' signs, so it is not always XML; tags are
    # found as text.
    return re.findall(rf"<{tag}(?=[\s>])[^>]*>(.*?)</{tag}>", text, re.DOTALL)


def section(text: str, tag: str, path: Path) -> str:
    """Return what stands in the first tag of that name in the text of a UPF file."""
    found = _bodies(text, tag)
    require(found, f"{path} has no section {tag}: it is truncated or not a UPF file; get it again")
    return found[0]


def numbers(text: str) -> NDArray[np.float64]:
    """Return the finite numbers of a table."""
    values = np.array(text.split(), dtype=np.float64)
    require(np.isfinite(values).all(), "a table contains NaN or infinity", ValueError)
    values.setflags(write=False)
    return values


def _tagged(text: str, tag: str) -> list[tuple[dict[str, str], str]]:
    """Return attributes and body of the numbered tags of UPF 2."""
    found = re.findall(rf"<{tag}\.\d+\s([^>]*)>(.*?)</{tag}\.", text, re.DOTALL)
    return [(_attributes(opening), body) for opening, body in found]


def _attributes(tag_text: str) -> dict[str, str]:
    return {key: value.strip() for key, value in re.findall(r'([\w.]+)\s*=\s*"([^"]*)"', tag_text)}


def _read_v2(path: Path, text: str) -> Pseudopotential:
    headers = re.findall(r"<PP_HEADER\s([^>]*)>", text)
    require(headers, f"{path} has no section PP_HEADER: it is truncated or not a UPF file; get it"
            " again")
    head = _attributes(headers[0])
    core = tuple(Orbital(at["label"].upper(), round(float(at["l"])), numbers(body))
                 for at, body in _tagged(text, "PP_GIPAW_CORE_ORBITAL"))
    waves = tuple(PartialWave(
        at["label"].upper(), round(float(at["l"])), numbers(section(body, "PP_GIPAW_WFS_AE", path)),
        numbers(section(body, "PP_GIPAW_WFS_PS", path)), float(at["cutoff_radius"]))
        for at, body in _tagged(text, "PP_GIPAW_ORBITAL"))
    if _is_true(head.get("paw_as_gipaw", "")):
        waves = _paw_waves(text)
    spin_orbit = _is_true(head.get("has_so", "")) or head.get("relativistic", "") == "full"
    return Pseudopotential(
        path, 2, head["element"], head["pseudo_type"], float(head["z_valence"]),
        numbers(section(text, "PP_R", path)), core, waves, bool(re.search(r"<PP_GIPAW[ >]", text)),
        head.get("functional", ""), spin_orbit)


def _is_true(word: str) -> bool:
    return word.lower().strip(". ").startswith("t")


def _paw_waves(text: str) -> tuple[PartialWave, ...]:
    """Return the partial waves of a PAW set that XSpectra takes for GIPAW's (paw_as_gipaw)."""
    parts = zip(*(_tagged(text, f"PP_{tag}") for tag in ("BETA", "AEWFC", "PSWFC")), strict=True)
    return tuple(PartialWave(
        (beta.get("label") or at["label"]).upper(), round(float(beta["angular_momentum"])),
        numbers(all_electron), numbers(pseudo), float(beta["cutoff_radius"]),
        float(beta["ultrasoft_cutoff_radius"]))
        for (beta, _), (at, all_electron), (_, pseudo) in parts)


def _read_v1(path: Path, text: str) -> Pseudopotential:
    lines = [line.split() for line in section(text, "PP_HEADER", path).strip().splitlines()]

    def tables(tag: str) -> list[tuple[list[str], NDArray[np.float64]]]:
        """Return the words of the first line and the numbers after it, of every such section."""
        parted = [body.strip().split("\n", 1) for body in _bodies(text, tag)]
        return [(head.split(), numbers(rest)) for head, rest in parted]

    core = tuple(Orbital(words[4].upper(), int(words[1]), values)
                 for words, values in tables("PP_GIPAW_CORE_ORBITAL"))
    pairs = zip(tables("PP_GIPAW_AE_ORBITAL"), tables("PP_GIPAW_PS_ORBITAL"), strict=True)
    waves = tuple(PartialWave(words[0].upper(), int(words[1]), all_electron, pseudo,
                              float(cutoffs[0]))
                  for (words, all_electron), (cutoffs, pseudo) in pairs)
    return Pseudopotential(
        path, 1, lines[1][0], lines[2][0], float(lines[5][0]),
        numbers(section(text, "PP_R", path)), core, waves, "<PP_GIPAW_RECONSTRUCTION_DATA>" in text,
        " ".join(lines[4][:4]), "<PP_ADDINFO>" in text)


def _shells_v2(text: str) -> tuple[AtomicShell, ...]:
    found = map(_attributes, re.findall(r"<PP_CHI\.\d+\s([^>]*)>", text))
    return tuple(_shell(k, at["label"], at["l"], at["occupation"]) for k, at in enumerate(found, 1))


def _shells_v1(text: str) -> tuple[AtomicShell, ...]:
    body = "".join(_bodies(text, "PP_PSWFC")[:1])
    found = re.findall(r"^\s*(\S+)\s+(\d+)\s+(\S+)\s+Wavefunction", body, re.MULTILINE)
    return tuple(_shell(k, *words) for k, words in enumerate(found, 1))


def _shell(index: int, label: str, moment: str, occupation: str) -> AtomicShell:
    shell = AtomicShell(index, label.upper(), round(float(moment)), float(occupation))
    if shell.l not in range(4) or shell.label[-1:] != "SPDF"[shell.l]:
        raise ValueError(f"the wave function {label!r} has angular momentum {moment}")
    return shell


def check_for_projection(pseudo: Pseudopotential) -> None:
    """Refuse a set without atomic wave functions, onto which projwfc.x could project."""
    require(any(shell.occupation >= 0 for shell in pseudo.atomic_shells), f"{pseudo.path} has no"
            f" atomic wave function in PP_PSWFC, so nothing can be projected onto {pseudo.element}:"
            " make a set with polaron pseudo, or take one that has them")


def check_for_xspectra(pseudo: Pseudopotential) -> None:
    """Refuse a pseudopotential that cannot serve the absorbing atom of a K edge.

    XSpectra rebuilds the final states with GIPAW projectors: it needs at least two in the absorbed
    channel (l = 1) and the core orbital that is excited, 1s.

    Raises
    ------
    InputError
        Naming the section that is missing.
    """
    count = sum(w.l == 1 for w in pseudo.partial_waves)
    if not pseudo.has_gipaw:
        why = "no section PP_GIPAW, which XSpectra needs for the absorber"
    elif not any(o.label == "1S" for o in pseudo.core_orbitals):
        why = "no 1S orbital in PP_GIPAW_CORE_ORBITALS"
    elif count < 2:
        why = (f"{count} projector(s) with l = 1 in PP_GIPAW_ORBITALS (or PP_BETA, with"
               " paw_as_gipaw), XSpectra needs two")
    else:
        return
    raise InputError(f"{pseudo.path} has {why}: make a set with polaron pseudo, or generate yours"
                     " with lgipaw_reconstruction")


def core_orbital_text(pseudo: Pseudopotential) -> str:
    """Return the core orbitals as XSpectra reads them (``filecore``): r (bohr) and u(r), 1s first.

    XSpectra reads by line position: a comment, then one orbital after the other, a blank line
    between.
    """
    columns = [zip(pseudo.radius_bohr, o.values, strict=True) for o in pseudo.core_orbitals]
    blocks = ["\n".join(f"{r:.12E} {u:.12E}" for r, u in rows) for rows in columns]
    head = f"#number of core states  {len(blocks)}\n"
    return head + "\n\n".join(blocks) + "\n"
