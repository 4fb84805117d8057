"""Excited fraction and amplitude apart: what the shape of a sweep, or a given fraction, tells beyond their product f·Q²."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perovskite_polaron.experiment.search import Found, Interval, profile_interval
from perovskite_polaron.experiment.template import SMALLEST_AMPLITUDE, Template

Array = NDArray[np.float64]
RISES = (1.0, 3.841)
# So much does a given fraction cost in χ² when it does not go with the shape; the grid does not reach beyond.
CONTRADICTION = 9.0


@dataclass(frozen=True, eq=False)
class Amplitude:
    """Q (Å·√amu) and the excited fraction f, each with its 68 % and 95 % interval: where the data or the user tell them apart.

    given_fraction: whether f is the user's, and Q what follows from it.
    """

    q: float
    q68: Interval
    q95: Interval
    f: float
    f68: Interval
    f95: Interval
    given_fraction: bool


def separate(template: Template, found: Found, fraction: float | None) -> tuple[Amplitude | None, str]:
    """Return f and Q where they can be told apart, and what is wrong with Q, if it sits on the largest computed one.

    Without a given fraction the profile of χ² over Q must rise by 3.84 (95 %) towards both small and large Q.
    """
    largest = template.parts[0].amplitude_sqrt_amu_A
    if largest is None or found.strengths[found.best, 0] <= 0:
        return None, ""
    if fraction is not None:
        return _given(template, found, fraction, largest)
    if template.sweep is None:
        return None, ""
    q, room = found.grid.points[:, 2], found.room
    low_q, high_q = SMALLEST_AMPLITUDE * largest, largest
    low_open = bool((room[q <= low_q * (1 + 1e-9)] <= RISES[1]).any())
    high_open = bool((room[q >= high_q * (1 - 1e-9)] <= RISES[1]).any())
    if not low_open and q[found.best] >= high_q * (1 - 1e-6):
        return None, f"its amplitude sits on the largest computed, {largest:.3g} Å√amu; compute larger ones"
    if low_open or high_open:
        return None, ""
    # The strength is that at the largest amplitude: f follows with (Qmax/Q)².
    factor = (largest / q[:, None]) ** 2
    f, f_variance = found.strengths[:, :1] * factor, found.variance[:, :1] * factor**2
    fractions = [profile_interval(room, f, f_variance, rise)[0] for rise in RISES]
    amplitudes = [q[room <= rise] for rise in RISES]
    q68, q95 = ((float(a.min()), float(a.max())) for a in amplitudes)
    best_q, best_f = float(q[found.best]), float(f[found.best, 0])
    return Amplitude(best_q, q68, q95, best_f, _pair(fractions[0]), _pair(fractions[1]), given_fraction=False), ""


def _given(template: Template, found: Found, fraction: float, largest: float) -> tuple[Amplitude, str]:
    """Q from the product and the fraction: in a sweep by the profile of χ² with the strength that Q then asks for."""
    strengths, variance = found.strengths[:, 0], found.variance[:, 0]
    if template.sweep is None:
        ends = [profile_interval(found.room, strengths[:, None], variance[:, None], rise)[0] for rise in RISES]
        q68, q95 = (_pair(largest * np.sqrt(np.maximum(e, 0) / fraction)) for e in ends)
        best = largest * float(np.sqrt(strengths[found.best] / fraction))
        return Amplitude(best, q68, q95, fraction, (fraction,) * 2, (fraction,) * 2, given_fraction=True), ""
    axis = found.grid.axes[2]
    fine = np.linspace(axis[0], axis[-1], 4001)

    def along_q(values: Array) -> Array:
        """Values (p,) at every shift and width, interpolated in Q: (shifts × widths, fine)."""
        rows = values.reshape(-1, len(axis))
        place = np.clip(np.searchsorted(axis, fine, side="right") - 1, 0, len(axis) - 2)
        rest = (fine - axis[place]) / (axis[place + 1] - axis[place])
        return np.asarray(rows[:, place] * (1 - rest) + rows[:, place + 1] * rest)

    wanted = fraction * (fine / largest) ** 2
    profile = (along_q(found.room) + (wanted - along_q(strengths)) ** 2 / along_q(variance)).min(axis=0)
    q = float(fine[int(np.argmin(profile))])
    within = [fine[profile <= profile.min() + rise] for rise in RISES]
    q68, q95 = ((float(w[0]), float(w[-1])) for w in within)
    why = ""
    if profile.min() > CONTRADICTION:
        why = (
            f"the fraction {fraction:g} contradicts the shape of the change (chi2 rises by {profile.min():.0f}); check the fraction "
            "and the normalisation, or compute larger amplitudes"
        )
    elif q >= largest * (1 - 1e-6):
        why = f"with the fraction {fraction:g} its amplitude sits on the largest computed, {largest:.3g} Å√amu; compute larger ones"
    return Amplitude(q, q68, q95, fraction, (fraction,) * 2, (fraction,) * 2, given_fraction=True), why


def _pair(ends: Array) -> Interval:
    return float(ends[0]), float(ends[1])
