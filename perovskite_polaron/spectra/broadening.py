"""How wide a final state is at each energy, and the Gaussian resolution of the instrument.

Widths of the final states are half widths at half maximum (hwhm) of Lorentzians; the parameters
that FDMNES names are full widths, as in its manual. All energies are in eV, from the zero of the
axis that the caller uses for all spectra.
"""

from collections.abc import Callable, Mapping
from functools import cache
from inspect import signature
from math import inf, log, pi, sqrt
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from perovskite_polaron.arrays import Array, floats, number
from perovskite_polaron.errors import InputError, require
from perovskite_polaron.kernels.convolution import broaden_gaussian
from perovskite_polaron.spectra.spectrum import Spectrum


@cache
def lifetime_hwhm_eV(element: str, edge: str = "K") -> float:
    """Return half of the natural width of a core level, in eV.

    It is that of the tables which xraydb holds: Krause and Oliver, J. Phys. Chem. Ref. Data 8, 329
    (1979), and for light elements Keski-Rahkonen and Krause, At. Data Nucl. Data Tables 14, 139
    (1974).

    Raises
    ------
    InputError
        For an element or edge that is not tabulated.
    """
    import xraydb

    try:
        width = xraydb.core_width(element, edge)
    except ValueError:
        width = None
    if not width:
        raise InputError(f"the natural width of the {edge} level of {element!r} is not tabulated:"
                         " give core_hole_hwhm_eV")
    return float(width) / 2


def constant(energy_eV: Array, core_hole_hwhm_eV: float) -> Array:
    """The core hole's half width at every energy."""
    return np.full(energy_eV.shape, core_hole_hwhm_eV)


def linear(energy_eV: Array, core_hole_hwhm_eV: float, *, slope: float,
           start_eV: float = 0.0) -> Array:
    """The core hole's half width up to start_eV, then growing by slope (eV of half width/eV)."""
    require(slope >= 0, f"slope is {slope:g}: the width model needs zero or a positive slope")
    return core_hole_hwhm_eV + slope * np.maximum(energy_eV - start_eV, 0.0)


def arctangent(energy_eV: Array, core_hole_hwhm_eV: float, *, Gamma_max: float, E_cent: float,
               E_larg: float, Gamma_hole: float | None = None, E_cut: float = 0.0) -> Array:
    """Half of the full width that FDMNES calls the arctangent model.

    Γ(E) = Gamma_hole + Gamma_max [1/2 + arctan(π/3 · Gamma_max/E_larg · (e − 1/e²))/π], e = (E −
    E_cut)/E_cent, all in eV; Gamma_hole (default: the core hole's) at and below E_cut. It rises by
    half of Gamma_max at E_cut + E_cent.

    References
    ----------
    Bunău and Joly, J. Phys.: Condens. Matter 21, 345501 (2009), and the FDMNES manual.
    """
    hole = 2 * core_hole_hwhm_eV if Gamma_hole is None else Gamma_hole
    for name, value in (("Gamma_hole", hole), ("E_cent", E_cent), ("E_larg", E_larg)):
        require(value > 0, f"{name} is {value:g}: the width model needs a positive energy in eV")
    require(Gamma_max >= 0,
            f"Gamma_max is {Gamma_max:g}: the width model needs zero or a positive energy in eV")
    # So close above E_cut the arctangent is -π/2 to the last digit; the floor keeps 1/e² finite.
    e = np.maximum((energy_eV - E_cut) / E_cent, 1e-100)
    rise = 0.5 + np.arctan(pi / 3 * Gamma_max / E_larg * (e - e**-2.0)) / pi
    return (hole + Gamma_max * np.where(energy_eV > E_cut, rise, 0.0)) / 2


def table(energy_eV: Array, core_hole_hwhm_eV: float, *, energies_eV: ArrayLike,
          hwhm_eV: ArrayLike) -> Array:
    """Straight lines between the given half widths, and the first and last of them outside.

    The table holds the whole width: core_hole_hwhm_eV is not added.
    """
    at = floats(energies_eV, "energies_eV", (None,))
    widths = floats(hwhm_eV, "hwhm_eV", at.shape)
    require((np.diff(at) > 0).all(),
            "energies_eV of the width table do not increase: sort them and merge equal ones")
    require((widths > 0).all(),
            "hwhm_eV of the width table is not positive everywhere: give half widths above zero")
    return np.interp(energy_eV, at, widths)


MODELS: dict[str, Callable[..., Array]] = {
    f.__name__: f for f in (constant, linear, arctangent, table)}


def half_width(model: str, energy_eV: ArrayLike, core_hole_hwhm_eV: float,
               parameters: Mapping[str, Any]) -> Array:
    """Return the half width at energy_eV (n,): float64 (n,), positive, in eV.

    Parameters
    ----------
    model
        A key of MODELS.
    energy_eV
        (n,), from the zero of the common axis.
    core_hole_hwhm_eV
        Half width of the core hole.
    parameters
        Those of the model's function.

    Raises
    ------
    InputError
        For an unknown model, an unknown, missing or impossible parameter, or a core-hole width that
        is not positive.
    """
    energy, given = floats(energy_eV, "energy_eV", (None,)), dict(parameters)
    require(model in MODELS, f"width model {model!r} is unknown: choose from {', '.join(MODELS)}")
    function = MODELS[model]
    takes = [p for p in signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    needed = [p.name for p in takes if p.default is p.empty]
    known = ", ".join(p.name if p.name in needed else f"{p.name} (optional)" for p in takes)
    known = f"it takes {known or 'no parameters'}"
    unknown = [name for name in given if name not in {p.name for p in takes}]
    require(not unknown, f"width model {model!r} does not know {', '.join(unknown)}: {known}")
    missing = [name for name in needed if name not in given]
    require(not missing, f"width model {model!r} lacks {', '.join(missing)}: {known}")
    if function is not table:
        given = {name: number(value, name) for name, value in given.items()}
    require(0 < core_hole_hwhm_eV < inf,
            f"core_hole_hwhm_eV is {core_hole_hwhm_eV}: give a half width above zero")
    return function(energy, float(core_hole_hwhm_eV), **given)


def resolve(spectrum: Spectrum, resolution_fwhm_eV: float) -> Spectrum:
    """Return the spectrum as seen with a Gaussian resolution of this FWHM (0: unchanged).

    The spectrum goes on with its first and last value beyond its grid.

    Raises
    ------
    InputError
        For a negative width or NaN.
    """
    require(0 <= resolution_fwhm_eV < inf,
            f"resolution_fwhm_eV is {resolution_fwhm_eV}: give zero or a positive full width")
    if resolution_fwhm_eV == 0:
        return spectrum
    energy, sigma = spectrum.energy_eV, resolution_fwhm_eV / sqrt(8 * log(2))
    seen = broaden_gaussian(energy, spectrum.intensity, energy, sigma)
    return Spectrum(energy, seen, spectrum.label)
