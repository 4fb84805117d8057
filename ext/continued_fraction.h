/* Continued fractions of Lanczos chains, and the ray integral of the occupied states, several energies at once. */
#ifndef CONTINUED_FRACTION_H
#define CONTINUED_FRACTION_H

#include <math.h>
#include "special.h"

#define LANES 16
#define NODE_LANES 8
#define STEPS 8

/* G = n / d of one chain at LANES energies; n, d hold the terminator on entry. Backwards, G' = 1 / (z - a - b^2 n / d) is
   n' = d, d' = (z - a) d - b^2 n: no division until the end. Every STEPS steps both are brought back to size one. */
MULTIVERSIONED static void chain_fraction(const double *a, const double *b, long length, const double *zr, const double *zi,
                                   double *nr, double *ni, double *dr, double *di)
{
    double pr[LANES], pi[LANES], qr[LANES], qi[LANES];
    for (int i = 0; i < LANES; i++) {
        pr[i] = nr[i]; pi[i] = ni[i]; qr[i] = dr[i]; qi[i] = di[i];
    }
    for (long last = length; last > 0; last -= STEPS) {
        long first = last > STEPS ? last - STEPS : 0;
        for (long j = last - 1; j >= first; j--) {
            double level = a[j], b2 = b[j] * b[j];
            for (int i = 0; i < LANES; i++) {
                double x = zr[i] - level, y = zi[i];
                double r = x * qr[i] - y * qi[i] - b2 * pr[i];
                double m = x * qi[i] + y * qr[i] - b2 * pi[i];
                pr[i] = qr[i]; pi[i] = qi[i]; qr[i] = r; qi[i] = m;
            }
        }
        for (int i = 0; i < LANES; i++) {
            double scale = 1 / (fabs(qr[i]) + fabs(qi[i]));
            pr[i] *= scale; pi[i] *= scale; qr[i] *= scale; qi[i] *= scale;
        }
    }
    for (int i = 0; i < LANES; i++) {
        nr[i] = pr[i]; ni[i] = pi[i]; dr[i] = qr[i]; di[i] = qi[i];
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
