"""Absorbed light to temperature: the energy a nanocrystal takes from the jet, the enthalpy inverted, and cooling."""

from cython.parallel cimport prange
from libc.math cimport exp
from libc.stdint cimport int64_t, uintptr_t

cdef extern from "heat.h" nogil:
    ctypedef struct table:
        const double *cells
        const double *knots
        int64_t last
        int64_t segments
        double per_eV
    const double HEAT_LIMIT "LIMIT"
    enum: BLOCK
    ctypedef struct draws:
        const double *fluence
        const double *absorption
        const double *thickness
        const double *concentration
        const double *size
        double unit
        Py_ssize_t moves[5]
    ctypedef struct conditions:
        double scale
        double photon_scale
        double heat_fraction
        double start
        double start_enthalpy
    void block_rise(const table *t, const double *energy, Py_ssize_t count, double start, double start_enthalpy,
                    double *rise) noexcept
    int block_heat(const table *t, const draws *of, Py_ssize_t at, Py_ssize_t count, const conditions *c, double *rise,
                   double *photons) noexcept
    int part_heat(const table *t, const draws *of, Py_ssize_t at, Py_ssize_t count, const conditions *c, double *rise,
                  double *photons) noexcept


# How often an input that is one number for all draws is given; how curved a cell of the table may be.
REPEATS = BLOCK
LIMIT = HEAT_LIMIT


cdef table bind(const double[:, ::1] cells, const double[:, ::1] knots, double per_eV) except *:
    cdef table t
    t.cells = &cells[0, 0]
    t.last = cells.shape[0] - 1
    t.knots = &knots[0, 0]
    t.segments = knots.shape[1]
    t.per_eV = per_eV
    return t


def temperature_rise(const double[::1] energy, const double[:, ::1] cells, const double[:, ::1] knots, double per_eV,
                     double start, double start_enthalpy, double[::1] rise, int threads):
    """rise[k] = temperature at enthalpy start_enthalpy + energy[k], minus start."""
    cdef Py_ssize_t n = energy.shape[0], blocks = (n + BLOCK - 1) // BLOCK, b, k
    cdef table t = bind(cells, knots, per_eV)
    for b in prange(blocks, nogil=True, num_threads=threads, schedule="static"):
        k = b * BLOCK
        block_rise(&t, &energy[k], min(<Py_ssize_t>BLOCK, n - k), start, start_enthalpy, &rise[k])


def heat(const double[::1] fluence, const double[::1] absorption, const double[::1] thickness,
         const double[::1] concentration, const double[::1] size, double unit, double scale, double heat_fraction,
         double photon_scale, const double[:, ::1] cells, const double[:, ::1] knots, double per_eV, double start,
         double start_enthalpy, double[::1] rise, double[::1] photons, int threads):
    """rise[k] and photons[k] of draw k: absorbed energy, photons per nanocrystal and enthalpy inversion in one pass.

    An input with REPEATS numbers, and not one for each draw, holds the same number so many times.
    Returns whether an input may not be a positive finite number; when it returns 0, all are.
    """
    cdef Py_ssize_t n = rise.shape[0], b, k
    # Stores that cross cache lines cost time: the draws before the first whole line of rises are a block of their own.
    cdef Py_ssize_t first = min(n, <Py_ssize_t>(-<uintptr_t>&rise[0] % 64 // 8))
    cdef int suspect = 0
    cdef table t = bind(cells, knots, per_eV)
    cdef draws of
    cdef conditions c
    of.fluence = &fluence[0]
    of.absorption = &absorption[0]
    of.thickness = &thickness[0]
    of.concentration = &concentration[0]
    of.size = &size[0]
    of.unit = unit
    of.moves[0] = fluence.shape[0] == n
    of.moves[1] = absorption.shape[0] == n
    of.moves[2] = thickness.shape[0] == n
    of.moves[3] = concentration.shape[0] == n
    of.moves[4] = size.shape[0] == n
    c.scale = scale
    c.photon_scale = photon_scale
    c.heat_fraction = heat_fraction
    c.start = start
    c.start_enthalpy = start_enthalpy
    for b in prange(-1, (n - first + BLOCK - 1) // BLOCK, nogil=True, num_threads=threads, schedule="static"):
        k = first + b * BLOCK
        if b < 0:
            if first:
                suspect += part_heat(&t, &of, 0, first, &c, &rise[0], &photons[0])
        elif n - k < BLOCK:
            suspect += part_heat(&t, &of, k, n - k, &c, &rise[k], &photons[k])
        else:
            suspect += block_heat(&t, &of, k, BLOCK, &c, &rise[k], &photons[k])
    return suspect


cdef void scaled(const double *values, Py_ssize_t count, double factor, double *out) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(count):
        out[j] = factor * values[j]


def cooling(const double[::1] rise, const double[::1] time, double lifetime, double second_lifetime, double fraction,
            double[::1] left, double[:, ::1] out, int threads):
    """out[k, j] = rise[k] left[j], left[j] = fraction exp(−t/τ) + (1 − fraction) exp(−t/τ2) at time[j]."""
    cdef Py_ssize_t n = rise.shape[0], m = time.shape[0], k, j
    for j in range(m):
        left[j] = fraction * exp(-time[j] / lifetime) + (1.0 - fraction) * exp(-time[j] / second_lifetime)
    for k in prange(n, nogil=True, num_threads=threads, schedule="static"):
        scaled(&left[0], m, rise[k], &out[k, 0])
