"""Displaced positions of many structures: called by kernels/displacement.py for `polaron distort`
and thermal ensembles.

out[s] = equilibrium + sum over m of coefficients[s, m] patterns[m], for the structures s from
first to last.
"""


cdef void _one(const double* equilibrium, const double* patterns, const double* coefficients,
               double* out, Py_ssize_t n_modes, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t m, i
    cdef double c = coefficients[0]
    for i in range(n):
        out[i] = equilibrium[i] + c * patterns[i]
    for m in range(1, n_modes):
        c = coefficients[m]
        for i in range(n):
            out[i] += c * patterns[m * n + i]


def displace(const double[::1] equilibrium not None, const double[:, ::1] patterns not None,
             const double[:, ::1] coefficients not None, double[:, ::1] out not None,
             Py_ssize_t first, Py_ssize_t last):
    cdef Py_ssize_t s, n = equilibrium.shape[0], n_modes = patterns.shape[0]
    with nogil:
        for s in range(first, last):
            _one(&equilibrium[0], &patterns[0, 0], &coefficients[s, 0], &out[s, 0], n_modes, n)
