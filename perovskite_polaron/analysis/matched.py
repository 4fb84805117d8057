"""What ``polaron match`` found, as a file that other verbs take: axis, widths and their errors."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from perovskite_polaron.arrays import Array, floats, freeze
from perovskite_polaron.errors import InputError, require
from perovskite_polaron.files import write_atomically
from perovskite_polaron.settings import read_tables
from perovskite_polaron.spectra.broadening import half_width
from perovskite_polaron.spectra.spectrum import Spectrum


@dataclass(frozen=True)
class MatchFit:
    """What was fitted to what, how well, and what is known of the parameters.

    Attributes
    ----------
    calculated_id
        Tells the calculation from others.
    widened
        What the errors were multiplied by because the misfit exceeds the noise.
    known_errors
        Whether the measured points had errors.
    background
        Coefficients of the Legendre polynomials over the window.
    parameters, errors, correlation
        (p,), (p,) and (p, p) of what was fitted, ``scale`` last.
    on_bound
        Parameters that ended on a bound, and have no error.
    """

    measured: str
    calculated: str
    calculated_id: str
    window_eV: tuple[float, float]
    points: int
    chi2: float
    widened: float
    known_errors: bool
    scale: float
    background: tuple[float, ...]
    parameters: tuple[str, ...]
    errors: tuple[float, ...]
    correlation: tuple[tuple[float, ...], ...]
    on_bound: tuple[str, ...] = ()


@dataclass(frozen=True)
class Axis:
    """Measured energy of a calculated one, E_c: e0_eV + (1 + stretch)·E_c."""

    e0_eV: float
    stretch: float


@dataclass(frozen=True)
class Width:
    """Lorentzian widths at calculated energies, by a law; Gaussian resolution on the measured axis.
    """

    model: str
    core_hole_hwhm_eV: float
    resolution_fwhm_eV: float
    parameters: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Matched:
    """Where a calculated steady state lies on a measured axis, and how wide it is there.

    Attributes
    ----------
    axis, width, fit
        The tables of its file.
    covariance
        (p, p), float64, of the fitted parameters.
    """

    axis: Axis
    width: Width
    fit: MatchFit
    covariance: Array

    def __post_init__(self) -> None:
        count = len(self.fit.parameters)
        covariance = floats(self.covariance, "the covariance of the match", (count, count))
        least = np.linalg.eigvalsh(covariance)[0]
        require(least > -1e-9 * np.trace(covariance), "the correlation of the match is no"
                " correlation matrix: run polaron match again")
        half_width(self.width.model, [0.0], self.width.core_hole_hwhm_eV, self.width.parameters)
        freeze(self, covariance=covariance)

    @property
    def e0_err_eV(self) -> float:
        """Standard error of the zero; 0 where it was held."""
        return self.error("e0_eV")

    @property
    def chi2_red(self) -> float:
        """χ² per degree of freedom."""
        free = self.fit.points - len(self.fit.parameters) - len(self.fit.background)
        return self.fit.chi2 / max(free, 1)

    def error(self, name: str) -> float:
        """Return the standard error of a parameter; 0 for one that was not fitted."""
        return dict(zip(self.fit.parameters, self.fit.errors, strict=True)).get(name, 0.0)

    def part(self, names: tuple[str, ...]) -> Array:
        """Return the covariance (k, k) of some parameters, zero for those that were not fitted."""
        at = {name: i for i, name in enumerate(self.fit.parameters)}
        rows = [[self.covariance[at[a], at[b]] if a in at and b in at else 0.0 for b in names]
                for a in names]
        return np.array(rows)

    @property
    def pivot_eV(self) -> float:
        """Calculated energy whose place is not correlated with the stretch."""
        (_, mixed), (_, variance) = self.part(("e0_eV", "stretch"))
        return -mixed / variance if variance > 0 else 0.0

    @property
    def pivot_err_eV(self) -> float:
        """Standard error of the place of that energy."""
        (zero, mixed), (_, variance) = self.part(("e0_eV", "stretch"))
        return float(np.sqrt(max(zero - (mixed**2 / variance if variance > 0 else 0.0), 0.0)))

    def hwhm_eV(self, energy_eV: Array) -> Array:
        """Return the Lorentzian half width (m,) at measured energies, on the measured axis."""
        longer = 1 + self.axis.stretch
        return longer * half_width(self.width.model, (energy_eV - self.axis.e0_eV) / longer,
                                   self.width.core_hole_hwhm_eV, self.width.parameters)

    def for_calculation(self, calculated_id: str, source: str) -> "Matched":
        """Return itself; InputError when it was made with another calculation."""
        require(calculated_id == self.fit.calculated_id, f"{source} was made with another"
                f" calculation ({self.fit.calculated}), whose zero and widths are its own: run"
                " polaron match with this one")
        return self


def fingerprint(spectrum: Spectrum) -> str:
    """Return what tells a calculated curve from another."""
    rows = np.array([spectrum.energy_eV, spectrum.intensity])
    text = "\n".join(f"{value:.8e}" for value in rows.ravel())
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_matched(matched: Matched, path: Path) -> Path:
    """Write the file of a match (TOML); errors as ``files.write_atomically``."""
    tables = {"axis": asdict(matched.axis), "width": asdict(matched.width),
              "fit": asdict(matched.fit)}
    head = "# Written by polaron match; spectra, compare and report take it with --match.\n"
    return write_atomically(path, head + tomli_w.dumps(_plain(tables)))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return value.item() if isinstance(value, np.generic) else value


def read_matched(path: str | Path) -> Matched:
    """Read the file of a match.

    Raises
    ------
    InputError
        With every problem at once.
    """
    tables, given = read_tables(path, {"axis": Axis, "width": Width, "fit": MatchFit})
    missing = [name for name in tables if not given[name]]
    require(not missing, f"{path} has no table {', '.join(missing)}: write it with polaron match")
    fit: MatchFit = tables["fit"]
    count = len(fit.parameters)
    require(len(fit.errors) == count == len(fit.correlation), f"{path}: {count} parameters,"
            f" {len(fit.errors)} errors and {len(fit.correlation)} rows of correlation do not"
            " match: write it with polaron match")
    try:
        errors = floats(fit.errors, "errors", (count,))
        correlation = floats(fit.correlation, "correlation", (count, count))
        return Matched(tables["axis"], tables["width"], fit, correlation * np.outer(errors, errors))
    except (InputError, ValueError) as error:
        raise InputError(f"{path}: {error}") from None


