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

# Nodes of a ray come in multiples of this.
NODE_BLOCK = 2 * NODE_LANES


cdef void block(
    const double *a, const double *b, const long *start, const double *weight, const double *tail_a,
    const double *tail_b, const long *group, long chains, const double *energy, const double *hwhm, long count,
    double *outr, double *outi, long stride,
) noexcept nogil:
    # The last of the count energies also fills the lanes that are left over.
    cdef double[LANES] zr
    cdef double[LANES] zi
    cdef double[LANES] nr
    cdef double[LANES] ni
    cdef double[LANES] dr
    cdef double[LANES] di
    cdef double scale
    cdef long c, g
    cdef long i
    for i in range(LANES):
        zr[i] = energy[min(i, count - 1)]
        zi[i] = hwhm[min(i, count - 1)]
    for c in range(chains):
        terminator(tail_a[c], tail_b[c], zr, zi, nr, ni, dr, di)
        chain_fraction(a + start[c], b + start[c], start[c + 1] - start[c], zr, zi, nr, ni, dr, di)
        g = group[c] * stride
        for i in range(count):
            scale = weight[c] / (dr[i] * dr[i] + di[i] * di[i])
            outr[g + i] += scale * (nr[i] * dr[i] + ni[i] * di[i])
            outi[g + i] += scale * (ni[i] * dr[i] - nr[i] * di[i])


def resolvent(
    const double[::1] a, const double[::1] b, const long[::1] start, const double[::1] weight,
    const double[::1] tail_a, const double[::1] tail_b, const long[::1] group,
    const double[::1] energy, const double[::1] hwhm, double[:, ::1] outr, double[:, ::1] outi, int threads,
):
    """Add the weighted resolvents of all chains at energy + i hwhm to out."""
    cdef long n = energy.shape[0], blocks = (n + LANES - 1) // LANES, k, at
    # About eight turns for each thread: the faster core takes more of them.
    cdef long turn = blocks // (8 * threads) + 1
    for k in prange(blocks, nogil=True, num_threads=threads, schedule="dynamic", chunksize=turn):
        at = k * LANES
        block(&a[0], &b[0], &start[0], &weight[0], &tail_a[0], &tail_b[0], &group[0], weight.shape[0],
              &energy[at], &hwhm[at], min(<long>LANES, n - at), &outr[0, at], &outi[0, at], n)


def occupied(
    const double[::1] u, const double[::1] hwhm, const double[:, ::1] tr, const double[:, ::1] ti,
    const double[:, :, ::1] fr, const double[:, :, ::1] fi, double[:, ::1] out, int threads,
):
    """Add the imaginary part of the ray integral at each energy; ray 0 leans right (u < 0), ray 1 left (u >= 0)."""
    cdef long e, g, ray, n = u.shape[0], groups = fr.shape[1], nodes = tr.shape[1]
    for e in prange(n, nogil=True, num_threads=threads, schedule="static"):
        ray = 0 if u[e] < 0 else 1
        for g in range(groups):
            out[g, e] += ray_sum(u[e], hwhm[e], &tr[ray, 0], &ti[ray, 0], &fr[ray, g, 0], &fi[ray, g, 0], nodes)
