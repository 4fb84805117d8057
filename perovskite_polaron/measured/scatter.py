"""How large the errors of repeated scans are, and how well that is known.

The scatter of n scans at one point says its variance with n − 1 degrees of freedom only. The
scatter at all points together says it much better, once the law is known by which the variance
changes along the spectrum: constant, a power of the intensity or of the errors that the files give
(counting: the first power), or smooth along the points. The law is a regression of the squares,
which are gamma distributed, with a logarithmic link [P. McCullagh, J. A. Nelder, Generalized Linear
Models, chapter 8 (1989)]; which one, the data choose by BIC, where each further coefficient must
gain. A point that scatters more than its law allows keeps its own scatter.

Points are taken as independent: an offset or a slope that each scan has of its own is not noise of
the points; remove it first (baseline, normalisation).
"""

from collections.abc import Sequence

import numpy as np

from perovskite_polaron.arrays import Array

#: A point leaves the law where a scatter as large has this chance, among all points together.
_SURPRISE = 0.01


def pool(squares: Array, freedom: int, shapes: Sequence[Array] = ()) -> tuple[Array, float]:
    """Return the variance of each point, shape (m,), and its degrees of freedom.

    Parameters
    ----------
    squares
        Shape (m,): the variance of each point as its own repeats scatter.
    freedom
        Their degrees of freedom, n − 1.
    shapes
        Positive quantities, shape (m,), of which the variance may follow a power.

    Returns
    -------
    variance, dof
        By the law; the degrees of freedom are those of all points, shared by its coefficients.
    """
    if not squares.any():
        return squares, float(freedom)
    from scipy.ndimage import median_filter
    from scipy.stats import chi2

    allowed = chi2.isf(_SURPRISE / len(squares), freedom) / freedom
    # A spike would bend the law towards itself: what is far above the points about it waits.
    about = median_filter(squares, 11, mode="nearest") * freedom / chi2.median(freedom)
    held = (squares <= 3 * allowed * about) | (about == 0)
    while True:
        law, coefficients = _law(squares, held, freedom, shapes)
        inside = held & (squares <= allowed * law)
        # Copies of one scan have no scatter: where only they are left, there is no law.
        if inside.sum() == held.sum() or not squares[inside].any():
            return np.where(held, law, squares), freedom * held.sum() / coefficients
        held = inside


def _law(squares: Array, held: Array, freedom: int, shapes: Sequence[Array]) -> tuple[Array, int]:
    """Return the variances (m,) by the law that the held points support, and its coefficients."""
    m = len(squares)
    at = np.linspace(0, 1, m)
    bases = [np.ones((m, 1)), *(np.column_stack([np.ones(m), np.log(s)]) for s in shapes)]
    # Lines between equally spaced knots: 2, 3, 5, 9 ... of them, with eight points for each.
    knots = [np.linspace(0, 1, 2**k + 1) for k in range(20) if 8 * (2**k + 1) <= m]
    bases += [np.array([np.interp(at, at_knots, row) for row in np.eye(len(at_knots))]).T
              for at_knots in knots]
    found = []
    for basis in bases:
        law = _regressed(squares, held, basis)
        misfit = freedom * float(np.sum(np.log(law[held]) + squares[held] / law[held]))
        found.append((misfit + np.log(held.sum()) * basis.shape[1], basis.shape[1], law))
    _, coefficients, law = min(found, key=lambda row: row[0])
    return law, coefficients


def _regressed(squares: Array, held: Array, basis: Array) -> Array:
    """Return the variances (m,) whose logarithm is the combination of columns that fits best."""
    y, solve = squares[held], np.linalg.pinv(basis[held])
    log_law = np.full(len(squares), np.log(y.mean()))
    for _ in range(100):
        # Fisher's scoring: with this link its weights are equal. Steps are kept below e-fold 3.
        step = basis @ (solve @ np.minimum(y / np.exp(log_law[held]) - 1, 20.0))
        log_law = log_law + np.clip(step, -3, 3)
        if np.abs(step).max() < 1e-9:
            break
    return np.asarray(np.exp(log_law))
