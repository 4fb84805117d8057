"""Absorbed light to temperature: the energy a nanocrystal takes from the jet, the enthalpy inverted, and cooling."""

from cython.parallel cimport prange
from libc.math cimport exp
from libc.stdint cimport int64_t

cdef extern from "heat.h" nogil:
    ctypedef struct table:
        const double *temperature
        const double *enthalpy
        const double *first
        const double *ramp
        const int64_t *guide
        int64_t segments
        int64_t guides
        double step
        int walk
    enum: BLOCK
    void block_temperatures(const table *t, const double *enthalpy, Py_ssize_t count, double *temperature) noexcept
    void block_absorbed(const double *fluence, const double *absorption, const double *thickness,
                        const double *concentration, double scale, Py_ssize_t count, double *energy) noexcept


cdef table bind(const double[:, ::1] knots, const int64_t[::1] guide, double step, int walk) noexcept:
    cdef table t
    t.temperature = &knots[0, 0]
    t.enthalpy = &knots[1, 0]
    t.first = &knots[2, 0]
    t.ramp = &knots[3, 0]
    t.guide = &guide[0]
    t.segments = knots.shape[1]
    t.guides = guide.shape[0]
    t.step = step
    t.walk = walk
    return t


cdef void shift(const double *values, Py_ssize_t count, double by, double factor, double *out) noexcept nogil:
    cdef Py_ssize_t k
    for k in range(count):
        out[k] = by + factor * values[k]


cdef void rise_block(const table *t, const double *energy, Py_ssize_t count, double factor, double start,
                     double start_enthalpy, double *rise) noexcept nogil:
    cdef double[BLOCK] enthalpy
    shift(energy, count, start_enthalpy, factor, enthalpy)
    block_temperatures(t, enthalpy, count, rise)
    shift(rise, count, -start, 1.0, rise)


def temperature_rise(const double[::1] energy, const double[:, ::1] knots, const int64_t[::1] guide, double step,
                     int walk, double start, double start_enthalpy, double[::1] rise, int threads):
    """rise[k] = temperature at enthalpy start_enthalpy + energy[k], minus start."""
    cdef Py_ssize_t n = energy.shape[0], blocks = (n + BLOCK - 1) // BLOCK, b, k
    cdef table t = bind(knots, guide, step, walk)
    for b in prange(blocks, nogil=True, num_threads=threads, schedule="static"):
        k = b * BLOCK
        rise_block(&t, &energy[k], min(BLOCK, n - k), 1.0, start, start_enthalpy, &rise[k])


cdef void photon_block(const double *energy, const double *size, Py_ssize_t count, double scale,
                       double *photons) noexcept nogil:
    cdef Py_ssize_t k
    for k in range(count):
        photons[k] = scale * energy[k] * size[k] * size[k] * size[k]


cdef void heat_block(const table *t, const double *fluence, const double *absorption, const double *thickness,
                     const double *concentration, const double *size, Py_ssize_t count, double scale,
                     double heat_fraction, double photon_scale, double start, double start_enthalpy, double *rise,
                     double *photons) noexcept nogil:
    cdef double[BLOCK] energy
    block_absorbed(fluence, absorption, thickness, concentration, scale, count, energy)
    photon_block(energy, size, count, photon_scale, photons)
    rise_block(t, energy, count, heat_fraction, start, start_enthalpy, rise)


def heat(const double[::1] fluence, const double[::1] absorption, const double[::1] thickness,
         const double[::1] concentration, const double[::1] size, double scale, double heat_fraction,
         double photon_scale, const double[:, ::1] knots, const int64_t[::1] guide, double step, int walk,
         double start, double start_enthalpy, double[::1] rise, double[::1] photons, int threads):
    """rise[k] and photons[k] of draw k: absorbed energy, photons per nanocrystal and enthalpy inversion in one pass."""
    cdef Py_ssize_t n = fluence.shape[0], blocks = (n + BLOCK - 1) // BLOCK, b, k
    cdef table t = bind(knots, guide, step, walk)
    for b in prange(blocks, nogil=True, num_threads=threads, schedule="static"):
        k = b * BLOCK
        heat_block(&t, &fluence[k], &absorption[k], &thickness[k], &concentration[k], &size[k], min(BLOCK, n - k),
                   scale, heat_fraction, photon_scale, start, start_enthalpy, &rise[k], &photons[k])


def cooling(const double[::1] rise, const double[::1] time, double lifetime, double second_lifetime, double fraction,
            double[:, ::1] out, int threads):
    """out[k, j] = rise[k] (fraction exp(−t/τ) + (1 − fraction) exp(−t/τ2)) at time[j]."""
    cdef Py_ssize_t n = rise.shape[0], m = time.shape[0], k, j
    cdef double left
    for j in prange(m, nogil=True, num_threads=threads, schedule="static"):
        left = fraction * exp(-time[j] / lifetime) + (1.0 - fraction) * exp(-time[j] / second_lifetime)
        for k in range(n):
            out[k, j] = rise[k] * left
