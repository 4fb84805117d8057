/* exp(−t/τ)θ(t) convolved with a normalised Gaussian, and its derivatives.
 *
 * With a = σ/τ, b = (t − t0)/σ, z = (a − b)/√2 the response is ½ exp(−b²/2) erfcx(z). The exponents reach hundreds, so a
 * and b are carried with their rounding errors (suffix _low); nothing overflows, because exp is only ever taken of
 * negative numbers. With K(z) = 1 − √π z erfcx(z), from its own expansion because it cancels for large z,
 *   σ ∂/∂τ = a² s K,   σ ∂/∂t0 = b R − s K,   σ ∂/∂σ = b² R − (a + b) s K,   s = exp(−b²/2)/√(2π),
 * R being the response.
 */
#ifndef POLARON_PULSE_H
#define POLARON_PULSE_H

#include "special.h"

MULTIVERSIONED
static void pulse_response(const double *delay, ptrdiff_t count, double lifetime, double sigma, double t0, double *value,
                           double *d_lifetime, double *d_sigma, double *d_t0, int gradient)
{
    int decays = lifetime < INFINITY;
    double a = decays ? sigma / lifetime : 0.0, a_low = decays ? fma(-a, lifetime, sigma) / lifetime : 0.0;
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
        int late = z < 0.0;
        /* one division for u = (size − 3.75) / (size + 3.75) and for the 1 + 2 size that the table was multiplied by */
        double shifted = size + 3.75, grown = 1.0 + 2.0 * size, both = 1.0 / (shifted * grown);
        double u = (size - 3.75) * (grown * both), scaled = 0.5 * gauss * POLYNOMIAL(ERFCX, u) * (shifted * both);
        double ab = a * b, ab_low = fma(a, b, -ab) + a * b_low + a_low * b;
        double exponent = half_aa - ab, kept = exponent + ab;
        double exponent_low = (half_aa - kept) - (ab - (kept - exponent)) + half_aa_low - ab_low;
        double tail = fast_exp(late ? exponent : 0.0) * (1.0 + exponent_low);
        double response = late ? tail - scaled : scaled;
        value[k] = response;
        if (gradient) {
            double s = 0.39894228040143267794 * gauss;
            double s_residue = late ? s + 1.41421356237309504880 * size * response
                                    : s * POLYNOMIAL(RESIDUE, u) / (1.0 + 2.0 * size + 2.0 * size * size);
            d_lifetime[k] = a * a * per_sigma * s_residue;
            d_t0[k] = (late ? a * response - s : b * response - s_residue) * per_sigma;
            d_sigma[k] = (late ? a * a * response - (a + b) * s : bb * response - (a + b) * s_residue) * per_sigma;
        }
    }
}

#endif
