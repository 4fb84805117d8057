/* Continued fractions of Lanczos chains, and the ray integral of the occupied states, several
 * energies at once: called by lanczos.pyx for every spectrum that is calculated from stored
 * chains. */
#ifndef CONTINUED_FRACTION_H
#define CONTINUED_FRACTION_H

#include <math.h>
#include "special.h"

/* Eight numbers that are worked on together. */
#define LANE_COUNT 8
typedef double pack __attribute__((vector_size(8 * LANE_COUNT)));
typedef int64_t pack_bits __attribute__((vector_size(8 * LANE_COUNT)));

#define NODE_LANES 8
#define STEPS 8
/* One level waits for the one before: with two packs there is something to do meanwhile. */
#define MOST_PACKS 2

#define MAGNITUDE ((int64_t)0x7FFFFFFFFFFFFFFF)
#define EXPONENT ((int64_t)0x7FF0000000000000)

/* The power of two that brings |re| + |im|, below 2^1023, to between 1/2 and 1: it costs no
 * division and no rounding. */
INLINED void to_one(const pack *re, const pack *im, pack *factor)
{
    pack size = (pack)((pack_bits)*re & MAGNITUDE) + (pack)((pack_bits)*im & MAGNITUDE);
    *factor = (pack)(((int64_t)2045 << 52) - ((pack_bits)size & EXPONENT));
}

/* One level of the recursion on all lanes, in place: p becomes (z - a) q - b^2 p. */
INLINED void level(pack *pr, pack *pi, const pack *qr, const pack *qi, const pack *zr,
                   const pack *zi, int packs, double a, double b)
{
    double b2 = b * b;
    for (int i = 0; i < packs; i++) {
        pack x = zr[i] - a, r = zi[i] * qi[i] + b2 * pr[i], m = zi[i] * qr[i] - b2 * pi[i];
        pr[i] = x * qr[i] - r;
        pi[i] = x * qi[i] + m;
    }
}

/* The constant tail a, b of a chain as n / d = 2 / (w + sqrt(w^2 - 4 b^2)), w = z - a, the root
 * on the side of w: the branch that decays at infinity. Without a tail (b = 0) n / d = 0 / 1, so
 * the chain's last b drops out by itself. */
INLINED void terminator(double a, double b, const double *zr, const double *zi, int lanes,
                        double *nr, double *ni, double *dr, double *di)
{
    for (int i = 0; i < lanes; i++) {
        double x = zr[i] - a, y = zi[i], re = x * x - y * y - 4 * b * b, im = 2 * x * y;
        double large = sqrt(0.5 * (fabs(re) + sqrt(re * re + im * im)));
        double small = 0.5 * fabs(im) / large;
        double root_re = re < 0 ? small : large, root_im = copysign(re < 0 ? large : small, im);
        double side = x * root_re + y * root_im < 0 ? -1 : 1;
        nr[i] = b > 0 ? 2 : 0;
        ni[i] = 0;
        dr[i] = b > 0 ? x + side * root_re : 1;
        di[i] = b > 0 ? y + side * root_im : 0;
    }
}

/* G = n / d of one chain at packs * LANE_COUNT energies z: from the terminator backwards, G' = 1
 * / (z - a - b^2 n / d) is n' = d, d' = (z - a) d - b^2 n, so there is no division until the
 * end. Two levels at a time, so that n and d change places without being moved; every STEPS
 * levels both are brought back to size one. z, n and d: real parts, then imaginary ones. */
INLINED void fraction(const double *a, const double *b, long length, double tail_a, double tail_b,
                      const pack *z, int packs, pack *n, pack *d)
{
    pack p[2 * MOST_PACKS], q[2 * MOST_PACKS], size;
    terminator(tail_a, tail_b, (const double *)z, (const double *)(z + packs), packs * LANE_COUNT,
               (double *)p, (double *)(p + packs), (double *)q, (double *)(q + packs));
    long odd = length & 1;
    for (long last = length; last > odd; last -= STEPS) {
        long first = last > STEPS ? last - STEPS : odd;
        for (long j = last - 1; j > first; j -= 2) {
            level(p, p + packs, q, q + packs, z, z + packs, packs, a[j], b[j]);
            level(q, q + packs, p, p + packs, z, z + packs, packs, a[j - 1], b[j - 1]);
        }
        for (int i = 0; i < packs; i++) {
            to_one(q + i, q + packs + i, &size);
            p[i] *= size; p[packs + i] *= size; q[i] *= size; q[packs + i] *= size;
        }
    }
    if (odd) level(p, p + packs, q, q + packs, z, z + packs, packs, a[0], b[0]);
    memcpy(n, odd ? q : p, 2 * packs * sizeof *n);
    memcpy(d, odd ? p : q, 2 * packs * sizeof *d);
}

MULTIVERSIONED static void fraction_of_one(const double *a, const double *b, long length,
                                           double tail_a, double tail_b, const pack *z, pack *n,
                                           pack *d)
{
    fraction(a, b, length, tail_a, tail_b, z, 1, n, d);
}

MULTIVERSIONED static void fraction_of_two(const double *a, const double *b, long length,
                                           double tail_a, double tail_b, const pack *z, pack *n,
                                           pack *d)
{
    fraction(a, b, length, tail_a, tail_b, z, 2, n, d);
}

/* Chain c has the coefficients from start[c] to start[c + 1], goes on with its tail, and adds to
 * the sum of its group. */
typedef struct {
    const double *a, *b, *weight, *tail_a, *tail_b;
    const long *start, *group;
    long count;
} chains;

/* Adds the weighted resolvents at n <= MOST_PACKS * LANE_COUNT energies to the groups' rows of
 * out, which are stride apart. The last energy also fills the lanes that are left over. */
static void add_block(const chains *all, const double *energy, const double *hwhm, long n,
                      double *outr, double *outi, long stride)
{
    pack z[2 * MOST_PACKS], numerator[2 * MOST_PACKS], denominator[2 * MOST_PACKS];
    int packs = n > LANE_COUNT ? 2 : 1;
    const double *nr = (const double *)numerator, *ni = nr + packs * LANE_COUNT;
    const double *dr = (const double *)denominator, *di = dr + packs * LANE_COUNT;
    for (long i = 0; i < packs * LANE_COUNT; i++) {
        ((double *)z)[i] = energy[i < n ? i : n - 1];
        ((double *)(z + packs))[i] = hwhm[i < n ? i : n - 1];
    }
    for (long c = 0; c < all->count; c++) {
        long first = all->start[c], length = all->start[c + 1] - first;
        (packs == 2 ? fraction_of_two : fraction_of_one)(all->a + first, all->b + first, length,
                                                         all->tail_a[c], all->tail_b[c], z,
                                                         numerator, denominator);
        double *r = outr + all->group[c] * stride, *m = outi + all->group[c] * stride;
        for (long i = 0; i < n; i++) {
            double scale = all->weight[c] / (dr[i] * dr[i] + di[i] * di[i]);
            r[i] += scale * (nr[i] * dr[i] + ni[i] * di[i]);
            m[i] += scale * (ni[i] * dr[i] - nr[i] * di[i]);
        }
    }
}

/* The same at any number of energies. */
static void add_resolvents(const chains *all, const double *energy, const double *hwhm, long n,
                           double *outr, double *outi, long stride)
{
    long most = MOST_PACKS * LANE_COUNT;
    for (long at = 0; at < n; at += most)
        add_block(all, energy + at, hwhm + at, n - at < most ? n - at : most, outr + at, outi + at,
                  stride);
}

/* Imaginary part of the sum over the nodes t of a ray of f * hwhm / ((t - u)^2 + hwhm^2); nodes:
 * a multiple of 2 NODE_LANES. */
MULTIVERSIONED static double ray_sum(double u, double hwhm, const double *tr, const double *ti,
                                     const double *fr, const double *fi, long nodes)
{
    double sum[NODE_LANES] = {0}, total = 0, width2 = hwhm * hwhm;
    for (long j = 0; j < nodes; j += 2 * NODE_LANES)
        for (int i = 0; i < NODE_LANES; i++) {
            /* two nodes over one denominator: a division costs more than the products it saves */
            long k = j + i, l = k + NODE_LANES;
            double x = tr[k] - u, y = ti[k], v = tr[l] - u, w = ti[l];
            double r = x * x - y * y + width2, m = 2 * x * y;
            double s = v * v - w * w + width2, n = 2 * v * w;
            double p = r * r + m * m, q = s * s + n * n;
            sum[i] += ((r * fi[k] - m * fr[k]) * q + (s * fi[l] - n * fr[l]) * p) / (p * q);
        }
    for (int i = 0; i < NODE_LANES; i++)
        total += sum[i];
    return hwhm * total;
}

#endif
