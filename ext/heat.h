/* Inversion of an enthalpy whose heat capacity is piecewise linear, a block of draws at a time.
 *
 * Segment k starts at temperature[k] and enthalpy[k], has the heat capacity first[k] + ramp[k] (T − temperature[k]) and
 * ends at enthalpy[k + 1] or, for a transition at one temperature, holds T fixed (first[k] = infinity). The search starts
 * from a table over equal steps of enthalpy (guide) and walks a fixed number of segments on, without branches.
 */
#ifndef POLARON_HEAT_H
#define POLARON_HEAT_H

#include "special.h"

#define BLOCK 256

/* (1 − exp(−x))/x from its series below x = 0.25, where 1 − exp(−x) loses digits */
static const double SERIES_POWERS[12] = {1.0, 1.0 / 2, 1.0 / 6, 1.0 / 24, 1.0 / 120, 1.0 / 720, 1.0 / 5040, 1.0 / 40320,
                                         1.0 / 362880, 1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600};

typedef struct {
    const double *temperature, *enthalpy, *first, *ramp;
    const int64_t *guide;
    int64_t segments, guides;
    double step;
    int walk;
} table;

MULTIVERSIONED
static void block_temperatures(const table *t, const double *enthalpy, ptrdiff_t count, double *temperature)
{
    int64_t segment[BLOCK];
    double per_step = 1.0 / t->step;
    int64_t last_guide = t->guides - 1, last = t->segments - 1;
    const int64_t *guide = t->guide;
    const double *starts = t->enthalpy, *first = t->first, *ramp = t->ramp, *kelvin = t->temperature;
    double end = (double)last_guide;
#pragma omp simd
    for (ptrdiff_t k = 0; k < count; k++) {
        double place = enthalpy[k] * per_step;
        place = place > end ? end : place;
        segment[k] = guide[(int32_t)place];
    }
    for (int walked = 0; walked < t->walk; walked++)
#pragma omp simd
        for (ptrdiff_t k = 0; k < count; k++) {
            int64_t next = segment[k] < last ? segment[k] + 1 : last;
            segment[k] = enthalpy[k] >= starts[next] ? next : segment[k];
        }
#pragma omp simd
    for (ptrdiff_t k = 0; k < count; k++) {
        int64_t s = segment[k];
        double excess = enthalpy[k] - starts[s], c = first[s];
        temperature[k] = kelvin[s] + 2.0 * excess / (c + sqrt(c * c + 2.0 * ramp[s] * excess));
    }
}

/* Energy absorbed per formula unit (same unit as scale × fluence × absorption / concentration), averaged over the jet:
 * scale F (1 − exp(−µd)) / (d c), and its limit for a thin jet. */
MULTIVERSIONED
static void block_absorbed(const double *fluence, const double *absorption, const double *thickness,
                           const double *concentration, double scale, ptrdiff_t count, double *energy)
{
#pragma omp simd
    for (ptrdiff_t k = 0; k < count; k++) {
        double depth = absorption[k] * thickness[k];
        /* (1 − e^−x)/x keeps its digits through −expm1: below 0.35 from the series */
        double small = POLYNOMIAL(SERIES, -depth);
        double large = (1.0 - fast_exp(-depth)) / depth;
        energy[k] = scale * fluence[k] * absorption[k] * (depth < 0.25 ? small : large) / concentration[k];
    }
}

#endif
