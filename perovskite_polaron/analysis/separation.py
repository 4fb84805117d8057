"""Amplitude and excited fraction of a mode, where the data or the user tell them apart.

A transient fixes their product with Q², or Q. The shape of a sweep tells more where its amplitude
is large, or a given fraction turns the product into Q.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import logsumexp

from perovskite_polaron.analysis.evidence import Posterior, central
from perovskite_polaron.analysis.scenario_curves import Template
from perovskite_polaron.arrays import Array, Interval

#: So much does a given fraction cost in χ² when it does not go with the shape.
CONTRADICTION = 9.0
#: The density of Q at the end of its 95 % interval, in −2 ln: what is higher at the ends is open.
OPEN = 3.841
LARGER = "compute larger ones"


@dataclass(frozen=True, eq=False)
class Amplitude:
    """Amplitude and excited fraction, where the data or the user tell them apart.

    Attributes
    ----------
    q, f
        Q (Å·√amu) and the fraction.
    q68, q95, f68, f95
        Their 68 % and 95 % intervals.
    given_fraction
        Whether f is the user's, and Q what follows from it.
    """

    q: float
    q68: Interval
    q95: Interval
    f: float
    f68: Interval
    f95: Interval
    given_fraction: bool

    def at_most_all(self) -> "Amplitude":
        """Return the same with no more than the whole sample excited."""
        def most(ends: Interval) -> Interval:
            return min(ends[0], 1.0), min(ends[1], 1.0)

        return replace(self, f=min(self.f, 1.0), f68=most(self.f68), f95=most(self.f95))


def separate(template: Template, found: Posterior, best: Array, strength: float,
             fraction: float | None) -> tuple[Amplitude | None, str]:
    """Return f and Q where they can be told apart, and what is wrong with Q, if anything is.

    best: the most probable point (4,), strength: its first part's. Without a given fraction the
    density of Q must fall by 3.84 in −2 ln (95 %) towards both small and large Q.
    """
    largest = template.largest
    if template.parts[0].sweep is None or strength <= 0:
        return None, ""
    if fraction is not None:
        q, (q68, q95), why = _given(template, found, strength, fraction)
        same = (fraction, fraction)
        return Amplitude(q, q68, q95, fraction, same, same, given_fraction=True), why
    if template.sweep is None:
        return None, ""
    q = float(best[3])
    fine, ln_density, *_ = found.along_amplitude()
    density = logsumexp(ln_density, axis=0)
    lost, whole = 2 * (density.max() - density), template.axes()[3]
    low_open, high_open = (abs(fine[end] - whole[end]) < 1e-9 and lost[end] <= OPEN
                           for end in (0, -1))
    if not low_open and q >= largest * (1 - 1e-6):
        return None, f"its amplitude sits on the largest computed, {largest:.3g} Å√amu; {LARGER}"
    if low_open or high_open:
        return None, ""
    power = template.parts[0].power
    (q68, q95), (f68, f95) = found.fractions(largest, power)
    # The strength is that at the largest amplitude: f follows with (Qmax/Q)², or Qmax/Q.
    f = strength * (largest / q) ** power
    return Amplitude(q, q68, q95, f, f68, f95, given_fraction=False), ""


def _given(template: Template, found: Posterior, strength: float,
           fraction: float) -> tuple[float, list[Interval], str]:
    """Return Q from the product and the fraction, its intervals, and what is wrong with it."""
    largest, power = template.largest, template.parts[0].power
    if template.sweep is None:
        intervals = [pair(largest * (np.maximum(ends, 0) / fraction) ** (1 / power))
                     for ends in found.intervals(0)]
        return largest * float((strength / fraction) ** (1 / power)), intervals, ""
    # In a sweep: the density of Q with the strength that each Q asks for.
    fine, ln_density, strengths, spreads, relative = found.along_amplitude()
    asked = fraction * (fine / largest) ** power
    spreads = np.hypot(spreads, relative * asked)
    miss = ((asked - strengths) / spreads) ** 2
    density = logsumexp(ln_density - miss / 2 - np.log(spreads), axis=0)
    least = float((2 * (ln_density.max() - ln_density) + miss).min())
    q, why = float(fine[int(np.argmax(density))]), ""
    if least > CONTRADICTION:
        why = (f"the fraction {fraction:g} contradicts the shape of the change (chi2 rises by "
               f"{least:.0f}); check the fraction and the normalisation, or compute larger "
               "amplitudes")
    elif q >= largest * (1 - 1e-6):
        why = (f"with the fraction {fraction:g} its amplitude sits on the largest computed, "
               f"{largest:.3g} Å√amu; {LARGER}")
    return q, central(fine, density), why


def pair(ends: Array) -> Interval:
    """Return an interval of an array of two."""
    return float(ends[0]), float(ends[1])
