"""Absorbed light to temperature: called by kernels/heating.py for `polaron heat`.

It fills the results from number first up to last without the interpreter's lock.
"""

from libc.stdint cimport int64_t

cdef extern from "heat.h" nogil:
    ctypedef struct table:
        const double *knots
        const int64_t *guide
        double last_cell
        double per_eV
        double start
        double start_enthalpy
    ctypedef struct conditions:
        double unit
        double scale
        double heat_fraction
        double photon_scale
    int heats(const table *t, const double **given, const int *is_one, const conditions *of,
              Py_ssize_t first, Py_ssize_t last, double *rise, double *photons) noexcept


def heat(const double[::1] fluence, const double[::1] absorption, const double[::1] thickness,
         const double[::1] concentration, const double[::1] size, double unit, double scale,
         double heat_fraction, double photon_scale, const double[:, ::1] knots,
         const int64_t[::1] guide, double per_eV, double start, double start_enthalpy,
         double[::1] rise, double[::1] photons, Py_ssize_t first, Py_ssize_t last):
    """Temperature rise and photons per nanocrystal of each draw.

    An input of one number stands for all draws. Returns whether a draw is not five positive and
    finite numbers.
    """
    cdef table t = table(&knots[0, 0], &guide[0], guide.shape[0] - 1, per_eV, start, start_enthalpy)
    cdef conditions of = conditions(unit, scale, heat_fraction, photon_scale)
    cdef const double *given[5]
    cdef int is_one[5]
    cdef int bad
    given[0], given[1], given[2] = &fluence[0], &absorption[0], &thickness[0]
    given[3], given[4] = &concentration[0], &size[0]
    is_one[0], is_one[1] = fluence.shape[0] == 1, absorption.shape[0] == 1
    is_one[2], is_one[3] = thickness.shape[0] == 1, concentration.shape[0] == 1
    is_one[4] = size.shape[0] == 1
    with nogil:
        bad = heats(&t, given, is_one, &of, first, last, &rise[0], &photons[0])
    return bad
