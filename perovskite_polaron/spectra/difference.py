"""Difference spectra and the ways to normalise a spectrum."""

from collections.abc import Mapping

import numpy as np

from perovskite_polaron.errors import InputError
from perovskite_polaron.spectra.average import StructureSpectra
from perovskite_polaron.spectra.spectrum import Spectrum

NORMALISATIONS = ("none", "last point", "edge step", "area", "absolute area")


def norm(spectrum: Spectrum, kind: str) -> float:
    """Return the number a spectrum is divided by.

    last point: the last intensity; edge step: mean of the last fifth minus the first intensity; area and absolute
    area: trapezoidal integral of the intensity or of its magnitude (in intensity × eV).
    Raises InputError for an unknown kind or a norm of zero.
    """
    e, y = spectrum.energy_eV, spectrum.intensity
    if kind == "none":
        return 1.0
    if kind == "last point":
        value = y[-1]
    elif kind == "edge step":
        value = y[e >= e[-1] - 0.2 * (e[-1] - e[0])].mean() - y[0]
    elif kind == "area":
        value = np.trapezoid(y, e)
    elif kind == "absolute area":
        value = np.trapezoid(np.abs(y), e)
    else:
        raise InputError(f"{kind!r} is no normalisation: choose from {', '.join(NORMALISATIONS)}")
    if value == 0:
        raise InputError(f"{spectrum.label!r} cannot be normalised by its {kind}: that is zero; choose another")
    return float(value)


def normalise(spectrum: Spectrum, kind: str) -> Spectrum:
    """Return the spectrum divided by its norm."""
    return spectrum * (1 / norm(spectrum, kind))


def differences(
    structures: Mapping[str, StructureSpectra], reference: str, normalisation: str = "none"
) -> dict[str, Spectrum]:
    """Return average minus reference average for every structure, both divided by the norm of the reference.

    One norm for all keeps changes of intensity. Raises InputError when the reference is not among the structures.
    """
    if reference not in structures:
        raise InputError(f"reference {reference!r} is not among {', '.join(structures)}: name one of them")
    base = structures[reference].average
    scale = 1 / norm(base, normalisation)
    return {name: (s.average - base) * scale for name, s in structures.items()}
