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

typedef struct {
    const double *temperature, *enthalpy, *first, *ramp;
    const int64_t *guide;
    int64_t segments, guides;
    double step;
    int walk;
} table;

/* rise = T(start_enthalpy + factor × energy) − start. An energy that is no number takes the first segment. */
MULTIVERSIONED
static void block_rise(const table *t, const double *energy, ptrdiff_t count, double factor, double start,
                       double start_enthalpy, double *rise)
{
    int64_t segment[BLOCK];
    double enthalpy[BLOCK], per_step = 1.0 / t->step;
    int64_t last = t->segments - 1;
    const int64_t *guide = t->guide;
    const double *starts = t->enthalpy, *first = t->first, *ramp = t->ramp, *kelvin = t->temperature;
    double end = (double)(t->guides - 1);
#pragma omp simd
    for (ptrdiff_t k = 0; k < count; k++) {
        enthalpy[k] = start_enthalpy + factor * energy[k];
        double place = enthalpy[k] * per_step;
        place = place > 0.0 ? place : 0.0;
        segment[k] = guide[(int32_t)(place > end ? end : place)];
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
        rise[k] = kelvin[s] + 2.0 * excess / (c + sqrt(c * c + 2.0 * ramp[s] * excess)) - start;
    }
}

/* The draws of one block. Lengths are thickness × unit in the inverse unit of absorption. */
typedef struct {
    const double *fluence, *absorption, *thickness, *concentration, *size;
    double unit;
} draws;

/* Energy absorbed per formula unit, averaged over the jet: scale F (1 − exp(−µd)) / (d c), and photons per cube,
 * photon_scale × energy × size³. Returns how many draws are not positive finite numbers; their results mean nothing. */
MULTIVERSIONED
static int64_t block_absorbed(const draws *from, ptrdiff_t at, ptrdiff_t count, double scale, double photon_scale,
                              double *energy, double *photons)
{
    const double *fluence = from->fluence + at, *absorption = from->absorption + at, *size = from->size + at;
    const double *thickness = from->thickness + at, *concentration = from->concentration + at;
    double unit = from->unit;
    int64_t bad = 0;
#pragma omp simd reduction(+ : bad)
    for (ptrdiff_t k = 0; k < count; k++) {
        double f = fluence[k], mu = absorption[k], d = thickness[k], c = concentration[k], edge = size[k];
        double path = d * unit, taken = scale * f * absorbed_part(mu * path) / (c * path);
        double least = f < mu ? f : mu, rest = c < edge ? c : edge;
        least = d < least ? d : least;
        least = rest < least ? rest : least;
        /* Infinity and NaN times zero are not zero. */
        bad += (least > 0.0) & ((f + mu + d + c + edge) * 0.0 == 0.0) ? 0 : 1;
        energy[k] = taken;
        photons[k] = photon_scale * taken * edge * edge * edge;
    }
    return bad;
}

#endif
