/* Continued fractions of Lanczos chains, and the ray integral of the occupied states, several energies at once. */
#ifndef CONTINUED_FRACTION_H
#define CONTINUED_FRACTION_H

#include <math.h>
#include "special.h"

#define LANES 16
#define NODE_LANES 8
#define STEPS 8

#define PACKS (LANES / LANE_COUNT)

#define MAGNITUDE ((int64_t)0x7FFFFFFFFFFFFFFF)
#define EXPONENT ((int64_t)0x7FF0000000000000)

/* The power of two that brings |re| + |im|, below 2^1023, to between 1/2 and 1: it costs no division and no rounding. */
INLINED void to_one(const pack *re, const pack *im, pack *factor)
{
    pack size = (pack)((pack_bits)*re & MAGNITUDE) + (pack)((pack_bits)*im & MAGNITUDE);
    *factor = (pack)(((int64_t)2045 << 52) - ((pack_bits)size & EXPONENT));
}

/* One level of the recursion on all lanes, in place: p becomes (z - a) q - b^2 p. */
INLINED void level(pack *pr, pack *pi, const pack *qr, const pack *qi, const pack *zr, const pack *zi, double a, double b)
{
    double b2 = b * b;
    for (int i = 0; i < PACKS; i++) {
        pack x = zr[i] - a, r = zi[i] * qi[i] + b2 * pr[i], m = zi[i] * qr[i] - b2 * pi[i];
        pr[i] = x * qr[i] - r;
        pi[i] = x * qi[i] + m;
    }
}

/* G = n / d of one chain at LANES energies; n, d hold the terminator on entry. Backwards, G' = 1 / (z - a - b^2 n / d) is
   n' = d, d' = (z - a) d - b^2 n: no division until the end. Two levels at a time, so that n and d change places without
   being moved; every STEPS levels both are brought back to size one. */
MULTIVERSIONED static void chain_fraction(const double *a, const double *b, long length, const double *zr, const double *zi,
                                   double *nr, double *ni, double *dr, double *di)
{
    pack p[2 * PACKS], q[2 * PACKS], z[2 * PACKS], size;
    memcpy(z, zr, LANES * 8); memcpy(z + PACKS, zi, LANES * 8);
    memcpy(p, nr, LANES * 8); memcpy(p + PACKS, ni, LANES * 8);
    memcpy(q, dr, LANES * 8); memcpy(q + PACKS, di, LANES * 8);
    long odd = length & 1;
    for (long last = length; last > odd; last -= STEPS) {
        long first = last > STEPS ? last - STEPS : odd;
        for (long j = last - 1; j > first; j -= 2) {
            level(p, p + PACKS, q, q + PACKS, z, z + PACKS, a[j], b[j]);
            level(q, q + PACKS, p, p + PACKS, z, z + PACKS, a[j - 1], b[j - 1]);
        }
        for (int i = 0; i < PACKS; i++) {
            to_one(q + i, q + PACKS + i, &size);
            p[i] *= size; p[PACKS + i] *= size; q[i] *= size; q[PACKS + i] *= size;
        }
    }
    if (odd) level(p, p + PACKS, q, q + PACKS, z, z + PACKS, a[0], b[0]);
    memcpy(nr, odd ? q : p, LANES * 8); memcpy(ni, odd ? q + PACKS : p + PACKS, LANES * 8);
    memcpy(dr, odd ? p : q, LANES * 8); memcpy(di, odd ? p + PACKS : q + PACKS, LANES * 8);
}

/* The constant tail a, b of a chain as n / d = 2 / (w + sqrt(w^2 - 4 b^2)), w = z - a, the root on the side of w: the branch
   that decays at infinity. Without a tail (b = 0) n / d = 0 / 1, so the chain's last b drops out by itself. */
MULTIVERSIONED static void terminator(double a, double b, const double *zr, const double *zi, double *nr, double *ni,
                                      double *dr, double *di)
{
    for (int i = 0; i < LANES; i++) {
        double x = zr[i] - a, y = zi[i], re = x * x - y * y - 4 * b * b, im = 2 * x * y;
        double large = sqrt(0.5 * (fabs(re) + sqrt(re * re + im * im))), small = 0.5 * fabs(im) / large;
        double root_re = re < 0 ? small : large, root_im = copysign(re < 0 ? large : small, im);
        double side = x * root_re + y * root_im < 0 ? -1 : 1;
        nr[i] = b > 0 ? 2 : 0;
        ni[i] = 0;
        dr[i] = b > 0 ? x + side * root_re : 1;
        di[i] = b > 0 ? y + side * root_im : 0;
    }
}

/* Imaginary part of the sum over the nodes t of a ray of f * hwhm / ((t - u)^2 + hwhm^2); nodes: a multiple of
 * 2 NODE_LANES. */
MULTIVERSIONED static double ray_sum(double u, double hwhm, const double *tr, const double *ti, const double *fr,
                              const double *fi, long nodes)
{
    double sum[NODE_LANES] = {0}, total = 0, width2 = hwhm * hwhm;
    for (long j = 0; j < nodes; j += 2 * NODE_LANES)
        for (int i = 0; i < NODE_LANES; i++) {
            /* two nodes over one denominator: a division costs more than the products it saves */
            long k = j + i, l = k + NODE_LANES;
            double x = tr[k] - u, y = ti[k], v = tr[l] - u, w = ti[l];
            double r = x * x - y * y + width2, m = 2 * x * y, s = v * v - w * w + width2, n = 2 * v * w;
            double p = r * r + m * m, q = s * s + n * n;
            sum[i] += ((r * fi[k] - m * fr[k]) * q + (s * fi[l] - n * fr[l]) * p) / (p * q);
        }
    for (int i = 0; i < NODE_LANES; i++)
        total += sum[i];
    return hwhm * total;
}

#endif
