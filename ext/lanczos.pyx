"""Continued fractions of many Lanczos chains, and the part of a spectrum below the Fermi energy.

Called by kernels/lanczos.py for every spectrum that is calculated from stored chains
(espresso/lanczos.evaluate).
"""

cdef extern from "continued_fraction.h" nogil:
    enum: NODE_LANES
    ctypedef struct chains:
        const double *a
        const double *b
        const double *weight
        const double *tail_a
        const double *tail_b
        const long *start
        const long *group
        long count
    void add_resolvents(const chains *all, const double *energy, const double *hwhm, long n,
                        double *outr, double *outi, long stride)
    double ray_sum(double u, double hwhm, const double *tr, const double *ti, const double *fr,
                   const double *fi, long nodes)

# Nodes of a ray come in multiples of this.
NODE_BLOCK = 2 * NODE_LANES


def resolvent(const double[::1] a, const double[::1] b, const long[::1] start,
              const double[::1] weight, const double[::1] tail_a, const double[::1] tail_b,
              const long[::1] group, const double[::1] energy, const double[::1] hwhm, double[:,
              ::1] outr, double[:, ::1] outi, long first, long last):
    """Add the resolvents of all chains at energy + i hwhm to out, for energies first to last."""
    cdef chains all
    all.a, all.b, all.weight = &a[0], &b[0], &weight[0]
    all.tail_a, all.tail_b = &tail_a[0], &tail_b[0]
    all.start, all.group, all.count = &start[0], &group[0], weight.shape[0]
    with nogil:
        add_resolvents(&all, &energy[first], &hwhm[first], last - first, &outr[0, first], &outi[0,
                       first], energy.shape[0])


def occupied(const double[::1] u, const double[::1] hwhm, const double[:, ::1] tr, const double[:,
             ::1] ti, const double[:, :, ::1] fr, const double[:, :, ::1] fi, double[:, ::1] out,
             long first, long last):
    """Add the imaginary part of the ray integral at each energy.

    Ray 0 leans right (u < 0), ray 1 left (u >= 0).
    """
    cdef long e, g, ray, groups = fr.shape[1], nodes = tr.shape[1]
    with nogil:
        for e in range(first, last):
            ray = 0 if u[e] < 0 else 1
            for g in range(groups):
                out[g, e] += ray_sum(u[e], hwhm[e], &tr[ray, 0], &ti[ray, 0], &fr[ray, g, 0],
                                     &fi[ray, g, 0], nodes)
