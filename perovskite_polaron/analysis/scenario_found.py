"""One hypothesis fitted to a transient: strengths, their errors, and what makes these."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from perovskite_polaron.analysis.scenario_curves import Axes, Grid
from perovskite_polaron.analysis.scenarios import Scenario, error_name
from perovskite_polaron.analysis.separation import Amplitude, pair
from perovskite_polaron.arrays import Array, Interval


@dataclass(frozen=True, eq=False)
class ScenarioFit:
    """One hypothesis' best fit; arrays are float64.

    Attributes
    ----------
    name, parts
        The hypothesis and its scenarios.
    upper
        (parts,): what strengths cannot be above.
    strengths, intervals68, intervals95
        Shapes (parts,) and (parts, 2). The strength of an odd mode is f·Q²/Qmax², with Qmax its
        largest computed amplitude (f·Q/Qmax where +Q and −Q differ): the excited fraction if the
        amplitude is that one.
    errors, errors_calculation
        Of the strengths: statistical, half of the 68 % interval as if the calculation were exact;
        and what the settings of the calculation add to it in square, None where that was not
        estimated. Intervals have both.
    shares
        Row of the errors -> (parts,): its share in the square of what the calculation adds.
    shift_eV, stretch, width_fwhm_eV, q_sqrt_amu_A
        The nuisance parameters, and the amplitude of a sweep, else None.
    amplitude
        None where f and Q cannot be told apart.
    chi2
        The lowest, with the priors' terms.
    ln_determinant
        Of the covariance, over that of the noise.
    ln_evidence
        As ``evidence.ln_evidence``.
    parameters
        How many there are.
    model, model_error
        Shape (m,), at the transient's energies, and its calculation error (1σ).
    on_bound
        What is wrong with the fit, or "".
    correlated, correlation
        What was free: the parts, the nuisance parameters; and their correlations, (n, n).
    axes
        Shifts, stretches, widths and amplitudes that resolve what the data leave of them.
    """

    name: str
    parts: tuple[Scenario, ...]
    upper: Array
    strengths: Array
    intervals68: Array
    intervals95: Array
    errors: tuple[float, ...]
    errors_calculation: tuple[float | None, ...]
    shares: Mapping[str, Array]
    shift_eV: float
    stretch: float
    width_fwhm_eV: float
    q_sqrt_amu_A: float | None
    amplitude: Amplitude | None
    chi2: float
    ln_determinant: float
    ln_evidence: float
    parameters: int
    model: Array
    model_error: Array
    on_bound: str
    correlated: tuple[str, ...]
    correlation: Array
    axes: Axes

    @property
    def strength(self) -> float:
        """Strength of the first part."""
        return float(self.strengths[0])

    @property
    def interval68(self) -> Interval:
        """68 % interval of the first part's strength."""
        return pair(self.intervals68[0])

    @property
    def interval95(self) -> Interval:
        """95 % interval of the first part's strength."""
        return pair(self.intervals95[0])

    @property
    def strength_err(self) -> float:
        """Statistical error of the first part's strength."""
        return self.errors[0]

    @property
    def strength_err_calculation(self) -> float | None:
        """Its error by the calculation; None where that was not estimated."""
        return self.errors_calculation[0]

    def calculation_parts(self, part: int) -> dict[str, float]:
        """Return what each named part of the calculation's error makes of one strength: in square
        they add up to it.
        """
        whole = self.errors_calculation[part] or 0.0
        found: dict[str, float] = {}
        for row, share in self.shares.items():
            name, own = error_name(row), whole * np.sqrt(share[part])
            found[name] = float(np.hypot(found.get(name, 0.0), own))
        return found

    @property
    def aic(self) -> float:
        """−2 ln of the likelihood, over that of a perfect fit to noise, + 2 × parameters."""
        return self.chi2 + self.ln_determinant + 2 * self.parameters

    @property
    def per_strength(self) -> float | None:
        """Excited fraction × Q² (Å²·amu) of a strength of one for an odd mode, fraction × Q
        (Å·√amu) for a mode whose signs differ, else None.
        """
        largest = self.parts[0].amplitude_sqrt_amu_A
        return None if largest is None else largest ** self.parts[0].power

    @property
    def product(self) -> float | None:
        """Excited fraction × Q² (Å²·amu), or × Q (Å·√amu), as ``per_strength``."""
        return None if self.per_strength is None else self.strength * self.per_strength

    @property
    def possible(self) -> bool:
        """Whether every strength is positive, and none surely above its bound; an edge may shift
        either way.
        """
        return bool((self.intervals95[:, 0] < self.upper).all()) and all(
            strength > 0 or part.kind == "shift"
            for strength, part in zip(self.strengths, self.parts, strict=True))


def shares(best: Grid, strengths: Array) -> Array:
    """Return (settings, parts): share of each row of the errors in the square of what they add to
    the errors of strengths (parts,), at one point of a grid whose weights hold them.

    To first order the fit moves by its gain times a row. Of the error of any shape, which has the
    size of all rows together, each has the share of its own square (``weights.with_shapes``).
    """
    template, count = best.template, len(best.template.settings)
    gain = best.inverse[0] @ best.columns[0].T
    squares = (gain @ (best.weights.errors @ strengths).T) ** 2
    rows = template.errors(best.points[0])[:count]
    # (parts, parts): what an error of any shape of the second makes of the first.
    any_shape = squares[:, count:].reshape(len(strengths), len(strengths), -1).sum(axis=2)
    size = (rows**2).mean(axis=1)
    whole = size.sum(axis=0)
    own = np.divide(size, whole, out=np.zeros_like(size), where=whole > 0)
    found = squares[:, :count].T + own @ any_shape.T
    total = found.sum(axis=0)
    return np.divide(found, total, out=np.zeros_like(found), where=total > 0)
