"""Continued fractions of many Lanczos chains, and the part of a spectrum that lies below the Fermi energy."""

from cython.parallel cimport prange

cdef extern from "complex.h" nogil:
    double complex csqrt(double complex)
    double creal(double complex)
    double cimag(double complex)

cdef enum:
    LANES = 8


cdef void block(
    const double *a, const double *b, const long *start, const double *weight, const double *tail_a,
    const double *tail_b, const long *group, long chains, const double *zr, const double *zi,
    double *outr, double *outi, long stride,
) noexcept nogil:
    cdef double[LANES] gr
    cdef double[LANES] gi
    cdef double dr, di, b2, norm, w
    cdef double complex d, s
    cdef long c, j
    cdef int i
    for c in range(chains):
        b2 = tail_b[c] * tail_b[c]
        for i in range(LANES):
            gr[i] = 0
            gi[i] = 0
            if b2 > 0:
                d = zr[i] - tail_a[c] + 1j * zi[i]
                s = csqrt(d * d - 4 * b2)
                if creal(d) * creal(s) + cimag(d) * cimag(s) < 0:
                    s = -s
                d = 2 / (d + s)
                gr[i] = creal(d)
                gi[i] = cimag(d)
        for j in range(start[c + 1] - 1, start[c] - 1, -1):
            # Without a terminator the tail is zero, so the last b drops out by itself.
            b2 = b[j] * b[j]
            for i in range(LANES):
                dr = zr[i] - a[j] - b2 * gr[i]
                di = zi[i] - b2 * gi[i]
                norm = 1 / (dr * dr + di * di)
                gr[i] = dr * norm
                gi[i] = -di * norm
        w = weight[c]
        for i in range(LANES):
            outr[group[c] * stride + i] += w * gr[i]
            outi[group[c] * stride + i] += w * gi[i]


def resolvent(
    const double[::1] a, const double[::1] b, const long[::1] start, const double[::1] weight,
    const double[::1] tail_a, const double[::1] tail_b, const long[::1] group,
    const double[::1] zr, const double[::1] zi, double[:, ::1] outr, double[:, ::1] outi, int threads,
):
    """Add the weighted resolvents of all chains to out; the length of z is a multiple of eight."""
    cdef long k, blocks = zr.shape[0] // LANES, stride = zr.shape[0]
    for k in prange(blocks, nogil=True, num_threads=threads, schedule="static"):
        block(&a[0], &b[0], &start[0], &weight[0], &tail_a[0], &tail_b[0], &group[0], weight.shape[0],
              &zr[k * LANES], &zi[k * LANES], &outr[0, k * LANES], &outi[0, k * LANES], stride)


cdef void occupied_at(
    double u, double hwhm, const double *tr, const double *ti, const double *fr, const double *fi, long nodes,
    long groups, double *out, long stride,
) noexcept nogil:
    cdef double dr, di, norm, kr, ki
    cdef long g, j
    for g in range(groups):
        out[g * stride] = 0
    for j in range(nodes):
        dr = (tr[j] - u) * (tr[j] - u) - ti[j] * ti[j] + hwhm * hwhm
        di = 2 * (tr[j] - u) * ti[j]
        norm = hwhm / (dr * dr + di * di)
        kr = dr * norm
        ki = -di * norm
        for g in range(groups):
            out[g * stride] += kr * fi[g * nodes + j] + ki * fr[g * nodes + j]


def occupied(
    const double[::1] u, const double[::1] hwhm, const double[:, ::1] tr, const double[:, ::1] ti,
    const double[:, :, ::1] fr, const double[:, :, ::1] fi, double[:, ::1] out, int threads,
):
    """Imaginary part of the ray integral at each energy; ray 0 leans right (u < 0), ray 1 left (u >= 0)."""
    cdef long e, ray, n = u.shape[0]
    for e in prange(n, nogil=True, num_threads=threads, schedule="static"):
        ray = 0 if u[e] < 0 else 1
        occupied_at(u[e], hwhm[e], &tr[ray, 0], &ti[ray, 0], &fr[ray, 0, 0], &fi[ray, 0, 0], tr.shape[1],
                    fr.shape[1], &out[0, e], n)
