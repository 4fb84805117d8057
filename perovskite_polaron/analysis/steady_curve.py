"""A calculated steady state at measured energies, for any zero, stretch, width and resolution."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy.interpolate import CubicSpline

from perovskite_polaron.analysis.matched import Matched, Width
from perovskite_polaron.arrays import Array, Interval, number
from perovskite_polaron.errors import require
from perovskite_polaron.kernels.convolution import broaden_lorentzian
from perovskite_polaron.spectra.broadening import half_width, resolve
from perovskite_polaron.spectra.spectrum import Spectrum

#: A calculation: law, half width of the core hole and parameters -> its curve without resolution.
Curve = Callable[[str, float, Mapping[str, float]], Spectrum]
#: Parameter -> where its search starts, its bounds, and the step of its derivative.
AXIS = {"e0_eV": (0.0, -np.inf, np.inf, 1e-3), "stretch": (0.0, -0.1, 0.1, 1e-5),
        "resolution_fwhm_eV": (0.7, 1e-3, 20.0, 1e-3)}
HOLE = {"core_hole_hwhm_eV": (1.0, 1e-3, 20.0, 1e-3)}
LAWS = {"constant": {}, "linear": {"slope": (0.02, 0.0, 2.0, 1e-4),
                                   "start_eV": (0.0, -50.0, 200.0, 1e-2)},
        "arctangent": {"Gamma_max": (10.0, 1e-3, 200.0, 1e-2), "E_cent": (30.0, 1.0, 300.0, 1e-2),
                       "E_larg": (30.0, 1.0, 300.0, 1e-2), "E_cut": (0.0, -50.0, 50.0, 1e-3)}}
#: A curve that begins with less than this share of its range is continued so far below.
SMALL, BELOW_EV = 0.1, 30.0
#: What is held unless it is asked for: a steady state hardly tells it from what is fitted.
HELD = {"constant": (), "linear": ("core_hole_hwhm_eV", "start_eV"),
        "arctangent": ("core_hole_hwhm_eV", "E_larg", "E_cut")}


def broadened(spectrum: Spectrum) -> Curve:
    """Return the calculation that broadens a curve of another program with the compiled kernel.

    Widths are those added to what the curve has already; outside it goes on with its ends. Below
    an edge nothing absorbs: a curve that begins near zero is known there.
    """
    e, y = spectrum.energy_eV, spectrum.intensity
    first = e[0] - (BELOW_EV if y[0] - min(y.min(), 0.0) <= SMALL * np.ptp(y) else 0.0)
    grid = np.linspace(first, e[-1], int(np.clip((e[-1] - first) / 0.1, 200, 4000)) + 1)

    def curve(model: str, core_hole_hwhm_eV: float, parameters: Mapping[str, float]) -> Spectrum:
        hwhm = half_width(model, grid, core_hole_hwhm_eV, parameters)
        return Spectrum(grid, broaden_lorentzian(e, y, grid, hwhm), spectrum.label)

    return curve


@dataclass(frozen=True, eq=False)
class SteadyCurve:
    """The curve T at measured energies.

    Attributes
    ----------
    law
        A key of LAWS.
    values
        Every parameter by name, those that are held too.
    seen
        (resolution, core-hole half width, parameters of the law in their order) -> T at calculated
        energies.
    """

    law: str
    values: Mapping[str, float]
    seen: Callable[..., CubicSpline]

    @classmethod
    def of(cls, curve: Curve, law: str, values: Mapping[str, float]) -> "SteadyCurve":
        """Return that of a calculation; each width is evaluated once."""

        @lru_cache(maxsize=32)
        def lorentzian(hole: float, *parameters: float) -> Spectrum:
            return curve(law, hole, dict(zip(LAWS[law], parameters, strict=True)))

        @lru_cache(maxsize=32)
        def seen(fwhm: float, *widths: float) -> CubicSpline:
            found = resolve(lorentzian(*widths), fwhm)
            return CubicSpline(found.energy_eV, found.intensity)

        return cls(law, dict(values), seen)

    def moved(self, changed: Mapping[str, float]) -> "SteadyCurve":
        """Return it with some parameters changed."""
        return replace(self, values={**self.values, **changed})

    def spline(self) -> CubicSpline:
        """Return T at calculated energies; the resolution is that of the measured axis."""
        v = self.values
        widths = [v["core_hole_hwhm_eV"], *(v[name] for name in LAWS[self.law])]
        return self.seen(v["resolution_fwhm_eV"] / (1 + v["stretch"]), *widths)

    def at(self, energy_eV: Array) -> Array:
        """Return T (m,); beyond its ends the calculation goes on as it ends."""
        spline = self.spline()
        own = (energy_eV - self.values["e0_eV"]) / (1 + self.values["stretch"])
        return np.asarray(spline(np.clip(own, spline.x[0], spline.x[-1])))

    @property
    def span_eV(self) -> Interval:
        """Measured energies that the calculation reaches."""
        ends = self.values["e0_eV"] + (1 + self.values["stretch"]) * self.spline().x[[0, -1]]
        return float(ends[0]), float(ends[1])


def parameters(law: str, core_hole_hwhm_eV: float, resolution_fwhm_eV: float,
               hold: Mapping[str, float], free: Mapping[str, float | None],
               ) -> tuple[list[str], dict[str, float], dict[str, Interval]]:
    """Return the names of what is fitted, the start of every parameter, and the bounds of each.

    Parameters
    ----------
    law, core_hole_hwhm_eV, resolution_fwhm_eV
        Law of the widths, and where its two common ones start.
    hold, free
        Parameters to hold at a value; some of HELD to fit after all, from a value or, with None,
        from the usual one.

    Raises
    ------
    InputError
        For an unknown law or parameter, one that is both, or a value beyond its bounds.
    """
    require(law in LAWS, f"width law {law!r} is unknown: choose from {', '.join(LAWS)}")
    known = AXIS | HOLE | LAWS[law]
    for name in (*hold, *free):
        require(name in known, f"{name!r} is no parameter of this match: choose from"
                f" {', '.join(known)}")
    both = set(hold) & set(free)
    require(not both, f"{', '.join(sorted(both))} cannot be held and free: choose one")
    values = {name: start for name, (start, *_) in known.items()}
    values |= {"core_hole_hwhm_eV": core_hole_hwhm_eV, "resolution_fwhm_eV": resolution_fwhm_eV}
    values |= {k: number(v, k) for k, v in {**hold, **free}.items() if v is not None}
    for name, value in values.items():
        _, low, high, _ = known[name]
        # A resolution of zero is held where a calculation is to be left as it is.
        least = 0.0 if name == "resolution_fwhm_eV" and name in hold else low
        require(least <= value <= high, f"{name} = {value:g} is outside {least:g} to {high:g}")
    held = (set(HELD[law]) - set(free)) | set(hold)
    return ([name for name in known if name not in held], values,
            {name: (low, high) for name, (_, low, high, _) in known.items()})


def one_error_wider(matched: Matched, curve: Curve) -> tuple[Width, float]:
    """Return widths one standard error larger, and by how much that is (eV, FWHM).

    The parameters of the widths are correlated: of their errors that combination is taken which
    changes the steady state most. The FWHM is that of a Voigt profile (Olivero and Longbothum,
    J. Quant. Spectrosc. Radiat. Transf. 17, 233 (1977)), root mean square over the calculation.
    """
    width, law = matched.width, matched.width.model
    known = {"resolution_fwhm_eV": width.resolution_fwhm_eV,
             "core_hole_hwhm_eV": width.core_hole_hwhm_eV, **width.parameters}
    names = tuple(name for name in known if matched.error(name))
    if not names:
        return width, 0.0
    size, axes = np.linalg.eigh(matched.part(names))
    errors = axes * np.sqrt(np.maximum(size, 0.0))
    model = SteadyCurve.of(curve, law, {"e0_eV": 0.0, "stretch": 0.0, **known})
    energy = model.spline().x
    bounds = AXIS | HOLE | LAWS[law]

    def moved(step: Array) -> dict[str, float]:
        return {name: float(np.clip(known[name] + change, *bounds[name][1:3]))
                for name, change in zip(names, step, strict=True)}

    def fwhm_eV(values: Mapping[str, float]) -> Array:
        v = {**known, **values}
        lorentz = 2 * half_width(law, energy, v["core_hole_hwhm_eV"],
                                 {name: v[name] for name in LAWS[law]})
        return 0.5346 * lorentz + np.sqrt(0.2166 * lorentz**2 + v["resolution_fwhm_eV"]**2)

    changes = np.array([model.moved(moved(step)).at(energy) - model.at(energy)
                        for step in errors.T])
    combined = errors @ np.linalg.svd(changes, full_matrices=False)[0][:, 0]
    wider = fwhm_eV(moved(combined)) - fwhm_eV({})
    if wider.mean() < 0:
        combined = -combined
        wider = fwhm_eV(moved(combined)) - fwhm_eV({})
    found = {**known, **moved(combined)}
    return (Width(law, found["core_hole_hwhm_eV"], found["resolution_fwhm_eV"],
                  {name: found[name] for name in LAWS[law]}), float(np.sqrt((wider**2).mean())))
