"""Continued fractions of many Lanczos chains, and the part of a spectrum that lies below the Fermi energy."""

from cython.parallel cimport prange

cdef extern from "continued_fraction.h" nogil:
    enum: LANES
    enum: NODE_LANES
    void chain_fraction(const double *a, const double *b, long length, const double *zr, const double *zi,
                        double *nr, double *ni, double *dr, double *di)
    void terminator(double a, double b, const double *zr, const double *zi, double *nr, double *ni, double *dr,
                    double *di)
    double ray_sum(double u, double hwhm, const double *tr, const double *ti, const double *fr, const double *fi,
                   long nodes)

# Energies come in multiples of BLOCK, nodes of a ray in multiples of NODE_BLOCK.
BLOCK = LANES
NODE_BLOCK = NODE_LANES


cdef void block(
    const double *a, const double *b, const long *start, const double *weight, const double *tail_a,
    const double *tail_b, const long *group, long chains, const double *zr, const double *zi,
    double *outr, double *outi, long stride,
) noexcept nogil:
    cdef double[LANES] nr
    cdef double[LANES] ni
    cdef double[LANES] dr
    cdef double[LANES] di
    cdef double scale
    cdef long c, g
    cdef int i
    for c in range(chains):
        terminator(tail_a[c], tail_b[c], zr, zi, nr, ni, dr, di)
        chain_fraction(a + start[c], b + start[c], start[c + 1] - start[c], zr, zi, nr, ni, dr, di)
        g = group[c] * stride
        for i in range(LANES):
            scale = weight[c] / (dr[i] * dr[i] + di[i] * di[i])
            outr[g + i] += scale * (nr[i] * dr[i] + ni[i] * di[i])
            outi[g + i] += scale * (ni[i] * dr[i] - nr[i] * di[i])


def resolvent(
    const double[::1] a, const double[::1] b, const long[::1] start, const double[::1] weight,
    const double[::1] tail_a, const double[::1] tail_b, const long[::1] group,
    const double[::1] zr, const double[::1] zi, double[:, ::1] outr, double[:, ::1] outi, int threads,
):
    """Add the weighted resolvents of all chains to out; the length of z is a multiple of BLOCK."""
    cdef long k, blocks = zr.shape[0] // LANES, stride = zr.shape[0]
    for k in prange(blocks, nogil=True, num_threads=threads, schedule="static"):
        block(&a[0], &b[0], &start[0], &weight[0], &tail_a[0], &tail_b[0], &group[0], weight.shape[0],
              &zr[k * LANES], &zi[k * LANES], &outr[0, k * LANES], &outi[0, k * LANES], stride)


def occupied(
    const double[::1] u, const double[::1] hwhm, const double[:, ::1] tr, const double[:, ::1] ti,
    const double[:, :, ::1] fr, const double[:, :, ::1] fi, double[:, ::1] out, int threads,
):
    """Imaginary part of the ray integral at each energy; ray 0 leans right (u < 0), ray 1 left (u >= 0)."""
    cdef long e, g, ray, n = u.shape[0], groups = fr.shape[1], nodes = tr.shape[1]
    for e in prange(n, nogil=True, num_threads=threads, schedule="static"):
        ray = 0 if u[e] < 0 else 1
        for g in range(groups):
            out[g, e] = ray_sum(u[e], hwhm[e], &tr[ray, 0], &ti[ray, 0], &fr[ray, g, 0], &fi[ray, g, 0], nodes)
