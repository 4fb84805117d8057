/* Exact integrals of a piecewise-linear spectrum with a Lorentzian and with a Gaussian, called
 * by convolution.pyx. */
#ifndef POLARON_BROADENING_H
#define POLARON_BROADENING_H

#include "special.h"

/* π times one segment's part of f(E) = (1/π) Im ∫ y(x) dx / (x − E − iγ). With w = x − E and Λ =
 * ln((w1 − iγ)/(w0 − iγ)) it is Im[y0 Λ + s (h − (w0 − iγ) Λ)], s the slope; Λ is built from
 * differences so that small segments far away keep their relative accuracy. */
INLINED double lorentzian_segment(double w0, double w1, double h, double gamma, double y0,
                                  double slope)
{
    double q0 = w0 * w0 + gamma * gamma, q1 = w1 * w1 + gamma * gamma, turn, log_ratio;
    angle_and_log_ratio(gamma * h, w0 * w1 + gamma * gamma, q1, q0, h * (w0 + w1), &turn,
                        &log_ratio);
    return y0 * turn + slope * (0.5 * gamma * log_ratio - w0 * turn);
}

MULTIVERSIONED
static double lorentzian_sum(double energy, double hwhm, const double *x, const double *y,
                             const double *slope, ptrdiff_t segments)
{
    double sum = 0.0;
#pragma omp simd reduction(+ : sum)
    for (ptrdiff_t k = 0; k < segments; k++)
        sum += lorentzian_segment(x[k] - energy, x[k + 1] - energy, x[k + 1] - x[k], hwhm, y[k],
                                  slope[k]);
    return sum;
}

/* Nodes and weights of Gauss–Legendre rules on [-1, 1], the positive half of each symmetric
 * rule. */
static const double GAUSS_4[4] = {
    0.3399810435848562648, 0.6521451548625461426, 0.8611363115940525752,
    0.3478548451374538574};
static const double GAUSS_8[8] = {
    0.1834346424956498049, 0.3626837833783619830, 0.5255324099163289858,
    0.3137066458778872873, 0.7966664774136267396, 0.2223810344533744705,
    0.9602898564975362317, 0.1012285362903762592};

#define CUT 10.0 /* sigmas beyond which a Gaussian (1e-23 of its area) is left out */

/* One long segment's integral with a normalised Gaussian, by differences of error functions. */
static double gaussian_segment(double w0, double w1, double sigma, double y0, double slope)
{
    double a = w0 / sigma, b = w1 / sigma, area, root_half = 0.70710678118654752440;
    if (a > 0)
        area = 0.5 * (erfc(a * root_half) - erfc(b * root_half));
    else if (b < 0)
        area = 0.5 * (erfc(-b * root_half) - erfc(-a * root_half));
    else
        area = 0.5 * (erf(b * root_half) - erf(a * root_half));
    return y0 * area
           + slope * (sigma * 0.39894228040143267794 * (exp(-0.5 * a * a) - exp(-0.5 * b * b))
                      - w0 * area);
}

/* The segments low <= k < high that are not longer than sigma, by quadrature, because
 * differences of error functions would cancel. Returns how many are longer. */
INLINED ptrdiff_t gaussian_points(double energy, double sigma, const double *x, const double *y,
                                  ptrdiff_t low, ptrdiff_t high, int points, const double *rule,
                                  double *total)
{
    double per_sigma = 1.0 / sigma, sum = 0.0;
    ptrdiff_t longer = 0;
#pragma omp simd reduction(+ : sum, longer)
    for (ptrdiff_t k = low; k < high; k++) {
        double h = x[k + 1] - x[k], w = x[k] - energy, rise = y[k + 1] - y[k], part = 0.0;
#pragma GCC unroll 4
        for (int q = 0; q < points; q += 2) {
            double left = 0.5 - 0.5 * rule[q], right = 0.5 + 0.5 * rule[q];
            double a = (w + h * left) * per_sigma, b = (w + h * right) * per_sigma;
            part += rule[q + 1] * (fast_exp(-0.5 * a * a) * (y[k] + rise * left)
                                   + fast_exp(-0.5 * b * b) * (y[k] + rise * right));
        }
        sum += h <= sigma ? h * part : 0.0;
        longer += h > sigma;
    }
    *total = 0.5 * sum * 0.39894228040143267794 * per_sigma;
    return longer;
}

/* Where no segment is longer than sigma/8, four points are exact to rounding. */
MULTIVERSIONED
static ptrdiff_t gaussian_short(double energy, double sigma, int fine, const double *x,
                                const double *y, ptrdiff_t low, ptrdiff_t high, double *total)
{
    return fine ? gaussian_points(energy, sigma, x, y, low, high, 4, GAUSS_4, total)
                : gaussian_points(energy, sigma, x, y, low, high, 8, GAUSS_8, total);
}

static double gaussian_sum(double energy, double sigma, double longest, const double *x,
                           const double *y, const double *slope, ptrdiff_t segments)
{
    ptrdiff_t low = 0, high = segments, end = segments;
    while (low < high) { /* the first segment that ends inside the cut */
        ptrdiff_t middle = (low + high) / 2;
        if (x[middle + 1] < energy - CUT * sigma) low = middle + 1; else high = middle;
    }
    for (high = low; high < end;) { /* the first that begins beyond it */
        ptrdiff_t middle = (high + end) / 2;
        if (x[middle] < energy + CUT * sigma) high = middle + 1; else end = middle;
    }
    double sum;
    ptrdiff_t longer = gaussian_short(energy, sigma, longest <= 0.125 * sigma, x, y, low, high,
                                      &sum);
    for (ptrdiff_t k = low; longer > 0 && k < high; k++)
        if (x[k + 1] - x[k] > sigma)
            sum += gaussian_segment(x[k] - energy, x[k + 1] - energy, sigma, y[k], slope[k]);
    return sum;
}

#endif
