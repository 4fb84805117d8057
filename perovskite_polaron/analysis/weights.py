"""How the points of a transient are weighed: by their noise, and by what the calculation may miss.

What a setting of the calculation (a k grid, a cut-off, ...) may still change is a curve R over
energy times a number a of zero mean and unit variance (``spectra.budget``). It is an error of the
calculated difference T and multiplies the unknown strength s with it: the data are s (T + Σ a R)
and noise of covariance N. At a given strength, integrated over the numbers a, that is a covariance
N + s² Σ R Rᵀ, so that marginalising the numbers and adding a covariance that grows with s² are the
same. A covariance that did not grow would exclude strong changes for their own numerics.

The last change of a setting says how large the next one may be, but less of its shape. With R alone
a precise transient would fix every number a and then believe R to the noise. So there is as much
again of an error of any shape, of one size at all energies: what R is at one of them is no measure
of what another shape is there, and a fit would lean on the energies where R happens to be small.

In a mixture one setting moves all parts together: R is then the sum over the parts, each with its
strength. In the fit the strengths of this covariance are held, and found by iteration: a covariance
that moves with a fitted parameter, or is scaled with the data, biases it to small values.

References
----------
R. D. Ball et al., JHEP 05 (2010) 075: iterating a multiplicative error instead of scaling the data.
R. Abdul Khalek et al., Eur. Phys. J. C 79, 931 (2019): errors of theory as a covariance.
"""

from dataclasses import dataclass

import numpy as np

from perovskite_polaron.arrays import Array
from perovskite_polaron.errors import InputError, require
from perovskite_polaron.measured.scan import Scan

#: Errors of any shape are correlated over so many eV, about half the distance of XANES features.
SHAPE_EV = 5.0
#: Errors that rest on fewer degrees of freedom say nothing of a spectrum.
LEAST_DOF = 4.0


@dataclass(frozen=True, eq=False)
class Weights:
    """What makes independent errors of unit size of a transient's points.

    Attributes
    ----------
    whiten
        (m,) inverse errors, or a whitening matrix (m, m).
    errors
        (k, m, parts): white curves of k settings for each part of a hypothesis, at strength one.
    strengths
        (parts,): for which they are in the weights.
    ln_determinant
        Of the covariance, over that of the noise alone.
    """

    whiten: Array
    errors: Array
    strengths: Array
    ln_determinant: float = 0.0


def with_shapes(curves: Array, energy_eV: Array) -> Array:
    """Return curves (k, m, parts) at energies (m,), and after them those of errors of any shape.

    The latter are as large everywhere as the root mean square of all of a part's curves; those of
    two energies are correlated with exp(−distance / SHAPE_EV).
    """
    size = np.sqrt((curves**2).sum(axis=0).mean(axis=0))
    root = np.linalg.cholesky(np.exp(-np.abs(np.subtract.outer(energy_eV, energy_eV)) / SHAPE_EV))
    return np.concatenate([curves, *(root.T[:, :, None] * one for one in np.diag(size))])


def white(columns: Array, whiten: Array) -> Array:
    """Return columns (p, m, c) in units of independent errors.

    whiten: (m,) inverse errors or a whitening matrix (m, m).
    """
    return columns * whiten[:, None] if whiten.ndim == 1 else np.asarray(whiten @ columns)


def white_data(intensity: Array, whiten: Array) -> Array:
    """Return intensities (m,) in units of independent errors."""
    return white(np.asarray(intensity, dtype=np.float64)[None, :, None], whiten)[0, :, 0]


def weigh(noise: Array, errors: Array, strengths: Array) -> Weights:
    """Return the weights for noise, as ``noise_whitening`` has it, and curves (k, m, parts)."""
    own = white(errors, noise)
    if not len(own):
        return Weights(noise, own, strengths)
    # One and a sum of few outer products: the inverse root is known in closed form.
    u, size, _ = np.linalg.svd((own @ strengths).T, full_matrices=False)
    root = np.eye(len(u)) - (u * (1 - 1 / np.sqrt(1 + size**2))) @ u.T
    both = root * noise if noise.ndim == 1 else root @ noise
    return Weights(both, white(own, root), strengths, float(np.log1p(size**2).sum()))


def noise_whitening(transient: Scan) -> Array:
    """Return what makes the noise of a transient white: (m,), or (m, m) for correlated points.

    Raises
    ------
    InputError
        When errors are missing, zero, known too badly or singular.
    """
    variance = transient.variance
    if variance is None:
        raise InputError(f"{transient.name}: the errors of the points are unknown; give an error "
                         "column or repeated scans")
    dof = transient.dof
    require(dof > LEAST_DOF, f"{transient.name}: its errors rest on {dof:g} degrees of freedom, "
            "too few to say anything; treat the repeats again (polaron treat), or measure more")
    # Weights that are themselves uncertain make errors larger than they say.
    return whitening(variance if np.isinf(dof) else variance * (dof - 2) / (dof - 4),
                     transient.name)


def whitening(variance: Array, name: str) -> Array:
    """Return what makes a variance (m,) or covariance (m, m) white: (m,) or (m, m).

    Raises
    ------
    InputError
        When an error is zero, or the covariance singular; it names the spectrum.
    """
    if variance.ndim == 1:
        require((variance > 0).all(), f"{name}: an error is zero; give every point its error")
        return np.asarray(1 / np.sqrt(variance))
    try:
        return np.asarray(np.linalg.inv(np.linalg.cholesky(variance)))
    except np.linalg.LinAlgError:
        raise InputError(f"{name}: the covariance of its points is singular (averaging and "
                         "normalising make it so); fit it before averaging, or rebin it") from None
