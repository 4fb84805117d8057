"""The chains of one absorber, and what carriers at the band edges open and block in them.

What one carrier is worth in intensity can be said in two ways.

With core hole (``chain``): the mean intensity per state of the chain over a window from the edge,
the states counted by ``pdos``. That is the final-state rule [von Barth and Grossmann, Phys. Rev. B
25, 5150 (1982)]: right for a few electrons in an empty band, whose final state has the hole's
potential and one electron more.

Without (``projection``): what of the edge state lies on the absorber's p shell, times the intensity
of one p electron, which is that of all filled states of the chain over the p electrons that
``pdos`` counts. Where the band is full after the transition, its electrons fill the same states
with and without the hole's potential, and what is left of the determinants is the undisturbed
orbital that was empty: right for a few holes in a full band.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import require
from perovskite_polaron.espresso.lanczos import Filling, evaluate
from perovskite_polaron.espresso.savefile import LanczosSave
from perovskite_polaron.spectra.carriers import Carriers

# With so wide a Lorentzian every state of a few tens of eV counts alike, to 1e-5.
_WIDE_EV = 1e4


@dataclass(frozen=True, eq=False)
class Way:
    """One way to say what carriers are worth.

    Attributes
    ----------
    opened, blocked
        (n,) what is gained and what is lost, both positive, in the unit of the spectrum.
    per_hole, per_electron
        The area of the line of one carrier in a cell, over that of all filled states of the site.
    """

    opened: Array
    blocked: Array
    per_hole: float
    per_electron: float


@dataclass(frozen=True, eq=False)
class AbsorberChains:
    """The chains of one absorber, and where they are evaluated.

    Attributes
    ----------
    chains
        Of its polarisations; results are their mean.
    energy_eV, hwhm_eV
        (n,) from the Fermi energy in the files, and half widths.
    ends
        How the chains end.
    cut_eV, edges_eV
        What parts full and empty levels of the chains, and the band edges, on the same axis.
    """

    chains: Sequence[LanczosSave]
    energy_eV: Array
    hwhm_eV: Array
    ends: Mapping[str, Any]
    cut_eV: float
    edges_eV: tuple[float, float]

    def empty(self, *levels: Filling) -> Array:
        """Return the spectrum (n,) with an occupation."""
        return np.mean([evaluate(c, self.energy_eV, self.hwhm_eV, occupation=levels,
                                 **self.ends).total for c in self.chains], axis=0)

    def area(self, low_eV: float | None, high_eV: float) -> float:
        """Return the intensity that the states between two energies hold: width × height of a wide
        Lorentzian.
        """
        found = 0.0
        for c in self.chains:
            below, above = (evaluate(c, [0.0], _WIDE_EV, occupation=terms, **self.ends).total[0]
                            for terms in ((() if low_eV is None else (Filling(1, low_eV),)),
                                          (Filling(1, high_eV),)))
            found += _WIDE_EV * float(below - above) / len(self.chains)
        return found

    def chain(self, given: Carriers, counted: tuple[float, float], window_eV: float) -> Way:
        """Return the channels by the chain's mean intensity per state in windows at the edges."""
        low, high = self.edges_eV[0] - window_eV, self.edges_eV[1] + window_eV
        require(low < self.cut_eV < high, f"a window of {window_eV:g} eV does not reach the levels"
                " of the chains: give a wider one")
        whole = self.area(None, self.cut_eV)
        areas = self.area(low, self.cut_eV), self.area(self.cut_eV, high)
        per = [area / states for area, states in zip(areas, counted, strict=True)]
        lines = [self._lines(given, kind) for kind in ("holes", "electrons")]
        return Way(per[0] * lines[0], per[1] * lines[1], per[0] / whole, per[1] / whole)

    def projection(self, given: Carriers, shares: Sequence[float], electrons: float) -> Way:
        """Return the channels by the p character of the edge states, VBM and CBM, on one atom."""
        whole = self.area(None, self.cut_eV)
        per = [whole * share / electrons for share in shares]
        lines = [self._lines(given, kind) for kind in ("holes", "electrons")]
        return Way(per[0] * lines[0], per[1] * lines[1], per[0] / whole, per[1] / whole)

    def as_it_stands(self, given: Carriers) -> tuple[Array, Array]:
        """Return the channels that the occupation itself opens and blocks on the chain's levels."""
        kt, base = given.thermal_eV, self.empty(Filling(1, self.cut_eV))
        holes = Filling(1, self.edges_eV[0] - given.level_eV["holes"], kt)
        electrons = Filling(1, self.edges_eV[1] + given.level_eV["electrons"], kt)
        return self.empty(holes) - base, base - self.empty(electrons)

    def _lines(self, given: Carriers, kind: str) -> Array:
        """Return the Lorentzians (n,) of all electrons or holes of a cell, each of area π."""
        edge, side = (self.edges_eV[0], -1) if kind == "holes" else (self.edges_eV[1], 1)
        held = given.held(kind)
        some = held > 1e-12 * held.max()
        at = edge + side * given.bands[kind].energy_eV[some]
        width = self.hwhm_eV[:, None]
        lines = (width / ((self.energy_eV[:, None] - at) ** 2 + width**2)) @ held[some]
        zero = self.chains[0].fermi_energy_eV + self.chains[0].core_energy_eV
        return np.asarray(lines * (1 + self.energy_eV / zero))
