"""Absorbed light to temperature: the energy a nanocrystal takes from the jet, the enthalpy inverted, and cooling."""

from cython.parallel cimport prange
from libc.math cimport exp
from libc.stdint cimport int64_t

cdef extern from "heat.h" nogil:
    ctypedef struct table:
        const double *rows
        const int64_t *guide
        int64_t steps
        double per_eV
        int64_t reach
    enum: ROW
    enum: BLOCK
    ctypedef struct draws:
        const double *fluence
        const double *absorption
        const double *thickness
        const double *concentration
        const double *size
        double unit
    void block_rise(const table *t, const double *energy, Py_ssize_t count, double factor, double start,
                    double start_enthalpy, double *rise) noexcept
    int64_t block_absorbed(const draws *of, Py_ssize_t at, Py_ssize_t count, double scale, double photon_scale,
                           double *energy, double *photons) noexcept


cdef table bind(const double[:, ::1] rows, const int64_t[::1] guide, double per_eV, int reach) except *:
    cdef table t
    t.rows = &rows[0, 0]
    t.guide = &guide[0]
    t.steps = guide.shape[0]
    t.per_eV = per_eV
    t.reach = ROW * reach
    return t


def temperature_rise(const double[::1] energy, const double[:, ::1] rows, const int64_t[::1] guide, double per_eV,
                     int reach, double start, double start_enthalpy, double[::1] rise, int threads):
    """rise[k] = temperature at enthalpy start_enthalpy + energy[k], minus start."""
    cdef Py_ssize_t n = energy.shape[0], blocks = (n + BLOCK - 1) // BLOCK, b, k
    cdef table t = bind(rows, guide, per_eV, reach)
    for b in prange(blocks, nogil=True, num_threads=threads, schedule="static"):
        k = b * BLOCK
        block_rise(&t, &energy[k], min(BLOCK, n - k), 1.0, start, start_enthalpy, &rise[k])


cdef int64_t heat_block(const table *t, const draws *of, Py_ssize_t at, Py_ssize_t count, double scale,
                        double heat_fraction, double photon_scale, double start, double start_enthalpy, double *rise,
                        double *photons) noexcept nogil:
    cdef double[BLOCK] energy
    cdef int64_t bad = block_absorbed(of, at, count, scale, photon_scale, energy, photons)
    block_rise(t, energy, count, heat_fraction, start, start_enthalpy, rise)
    return bad


def heat(const double[::1] fluence, const double[::1] absorption, const double[::1] thickness,
         const double[::1] concentration, const double[::1] size, double unit, double scale, double heat_fraction,
         double photon_scale, const double[:, ::1] rows, const int64_t[::1] guide, double per_eV, int reach,
         double start, double start_enthalpy, double[::1] rise, double[::1] photons, int threads):
    """rise[k] and photons[k] of draw k: absorbed energy, photons per nanocrystal and enthalpy inversion in one pass.

    Returns how many draws have an input that is not a positive finite number.
    """
    cdef Py_ssize_t n = fluence.shape[0], blocks = (n + BLOCK - 1) // BLOCK, b, k
    cdef int64_t bad = 0
    cdef table t = bind(rows, guide, per_eV, reach)
    cdef draws of
    of.fluence = &fluence[0]
    of.absorption = &absorption[0]
    of.thickness = &thickness[0]
    of.concentration = &concentration[0]
    of.size = &size[0]
    of.unit = unit
    for b in prange(blocks, nogil=True, num_threads=threads, schedule="static"):
        k = b * BLOCK
        bad += heat_block(&t, &of, k, min(BLOCK, n - k), scale, heat_fraction, photon_scale, start, start_enthalpy,
                          &rise[k], &photons[k])
    return bad


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
