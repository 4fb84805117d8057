/* exp(−t/τ)θ(t) convolved with a normalised Gaussian, and its derivatives: called by
 * convolution.pyx for the kinetics.
 *
 * With a = σ/τ, b = (t − t0)/σ, z = (a − b)/√2 the response is ½ exp(−b²/2) erfcx(z). The
 * exponents reach hundreds, so a and b are carried with their rounding errors (suffix _low);
 * nothing overflows, because exp is only ever taken of negative numbers. With K(z) = 1 − √π z
 * erfcx(z), from its own expansion because it cancels for large z,   σ ∂/∂τ = a² s K,   σ ∂/∂t0
 * = b R − s K,   σ ∂/∂σ = b² R − (a + b) s K,   s = exp(−b²/2)/√(2π), R being the response. For
 * z < 0 it is exp(a²/2 − ab) less the formula at |z|, which is ½ erfc(|z|) of it: below half a
 * unit in the last place from |z| = 6 on.
 */
#ifndef POLARON_PULSE_H
#define POLARON_PULSE_H

#include "special.h"

#define PULSE_BLOCK 64
#define FORGOTTEN 6.01 /* |z| from which a decay no longer knows how long the pulse was */

/* Which of the two terms a block of delays needs: leaving one out where it has no weight changes
 * no bit. */
enum part { BOTH, RISING, DECAYING };

INLINED void pulse_block(const double *delay, ptrdiff_t count, double lifetime, double sigma,
                         double t0, double *value, double *d_lifetime, double *d_sigma,
                         double *d_t0, int gradient, enum part part)
{
    int decays = lifetime < INFINITY;
    double a = decays ? sigma / lifetime : 0.0, a_low = decays ? fma(-a, lifetime,
                                                                     sigma) / lifetime : 0.0;
    double half_aa = 0.5 * a * a, half_aa_low = fma(0.5 * a, a, -half_aa) + a * a_low;
    double farthest = 1e100 * sigma, per_sigma = 1.0 / sigma;
#pragma omp simd
    for (ptrdiff_t k = 0; k < count; k++) {
        double t = delay[k] - t0, back = t + t0, t_low = (delay[k] - back) + (back - t - t0);
        t_low = fabs(t) > farthest ? 0.0 : t_low;
        t = t > farthest ? farthest : t < -farthest ? -farthest : t;
        double b = t * per_sigma, b_low = (fma(-b, sigma, t) + t_low) * per_sigma;
        double bb = b * b, bb_low = fma(b, b, -bb) + 2.0 * b * b_low;
        double gauss = fast_exp(-0.5 * bb) * (1.0 - 0.5 * bb_low);
        double z = ((a - b) + (a_low - b_low)) * 0.70710678118654752440, size = fabs(z);
        int late = part == DECAYING || (part == BOTH && z < 0.0);
        /* one division for u = (size − 3.75) / (size + 3.75) and for the 1 + 2 size that the
         * table was multiplied by */
        double shifted = size + 3.75, grown = 1.0 + 2.0 * size, both = 1.0 / (shifted * grown);
        double u = (size - 3.75) * (grown * both);
        double scaled = part == DECAYING ? 0.0 : 0.5 * gauss * POLYNOMIAL(ERFCX,
                                                                          u) * (shifted * both);
        double ab = a * b, ab_low = fma(a, b, -ab) + a * b_low + a_low * b;
        double exponent = half_aa - ab, kept = exponent + ab;
        double exponent_low = (half_aa - kept) - (ab - (kept - exponent)) + half_aa_low - ab_low;
        double tail = part == RISING ? 0.0 : fast_exp(late ? exponent : 0.0) * (1.0 + exponent_low);
        double response = late ? tail - scaled : scaled;
        value[k] = response;
        if (gradient) {
            double s = 0.39894228040143267794 * gauss;
            double s_residue = late ? s + 1.41421356237309504880 * size * response
                                    : s * POLYNOMIAL(RESIDUE,
                                                     u) / (1.0 + 2.0 * size + 2.0 * size * size);
            d_lifetime[k] = a * a * per_sigma * s_residue;
            d_t0[k] = (late ? a * response - s : b * response - s_residue) * per_sigma;
            d_sigma[k] = (late ? a * a * response - (a + b) * s : bb * response - (a + b) *
                          s_residue) * per_sigma;
        }
    }
}

MULTIVERSIONED
static void pulse_response(const double *delay, ptrdiff_t count, double lifetime, double sigma,
                           double t0, double *value, double *d_lifetime, double *d_sigma,
                           double *d_t0, int gradient)
{
    for (ptrdiff_t k = 0; k < count; k += PULSE_BLOCK) {
        ptrdiff_t n = count - k < PULSE_BLOCK ? count - k : PULSE_BLOCK;
        double first = delay[k], last = delay[k];
        for (ptrdiff_t i = k; i < k + n; i++) {
            first = delay[i] < first ? delay[i] : first;
            last = delay[i] > last ? delay[i] : last;
        }
        double a = sigma / lifetime, root_half = 0.70710678118654752440;
        enum part part = (a - (first - t0) / sigma) * root_half < -FORGOTTEN ? DECAYING
                       : (a - (last - t0) / sigma) * root_half > 0.0 ? RISING : BOTH;
        ptrdiff_t g = gradient ? k : 0; /* without gradients their arrays are NULL */
#define BLOCK_OF(part, gradient) \
    pulse_block(delay + k, n, lifetime, sigma, t0, value + k, d_lifetime + g, d_sigma + g, \
                d_t0 + g, gradient, part)
        if (part == DECAYING) gradient ? BLOCK_OF(DECAYING, 1) : BLOCK_OF(DECAYING, 0);
        else if (part == RISING) gradient ? BLOCK_OF(RISING, 1) : BLOCK_OF(RISING, 0);
        else gradient ? BLOCK_OF(BOTH, 1) : BLOCK_OF(BOTH, 0);
#undef BLOCK_OF
    }
}

#endif
