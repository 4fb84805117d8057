/* Inversion of an enthalpy whose heat capacity is piecewise linear, a block of draws at a time.
 *
 * A row describes one piece: the enthalpy and the temperature at its start, 1/C there, and 2C'/C², C' the slope of the
 * heat capacity C. With e the enthalpy above the start and x = 2C'e/C² the temperature is start + e/C · 2/(1 + √(1 + x)).
 * The pieces are so short that |x| <= 1/32, where a polynomial gives the last factor to rounding (CURVE in special.h).
 * The search starts from a table over equal steps of enthalpy and goes on by halving, without branches.
 */
#ifndef POLARON_HEAT_H
#define POLARON_HEAT_H

#include <stddef.h>
#include "special.h"

#define BLOCK 64
#define AHEAD 512 /* draws: how far ahead memory is asked for, because it idles while a block is inverted */
#define ROW 4

typedef struct {
    const double *rows;   /* ROW numbers a piece, and 2 × reach rows more that start at infinity */
    const int64_t *guide; /* for each step of enthalpy where the row of the last piece that starts before all of it is */
    int64_t steps;
    double per_eV;
    int64_t reach;        /* ROW × half of the pieces that a step may hold, at least 1: a power of two */
} table;

typedef double row __attribute__((vector_size(8 * ROW), aligned(8), may_alias));

/* rise = T(start_enthalpy + factor × energy) − start. An energy that is no number takes the first piece. */
MULTIVERSIONED
static void block_rise(const table *t, const double *energy, ptrdiff_t count, double factor, double start,
                       double start_enthalpy, double *rise)
{
    int32_t step[BLOCK];
    double enthalpy[BLOCK], found[ROW * BLOCK];
    double last = (double)(t->steps - 1), per_eV = t->per_eV;
    const double *rows = t->rows;
    const int64_t *guide = t->guide;
#pragma omp simd
    for (ptrdiff_t k = 0; k < count; k++) {
        enthalpy[k] = start_enthalpy + factor * energy[k];
        double place = enthalpy[k] * per_eV;
        place = place > 0.0 ? place : 0.0;
        step[k] = (int32_t)(place > last ? last : place);
    }
    /* The rows side by side: eight loads of four neighbours cost less than four gathers of eight. */
    for (ptrdiff_t k = 0; k < count; k++) {
        const double h = enthalpy[k], *at = rows + guide[step[k]];
        for (ptrdiff_t half = t->reach; half > ROW; half >>= 1) at += h >= at[half] ? half : 0;
        at += h >= at[ROW] ? ROW : 0;
        *(row *)(found + ROW * k) = *(const row *)at;
    }
#pragma omp simd
    for (ptrdiff_t k = 0; k < count; k++) {
        const double *at = found + ROW * k;
        double excess = enthalpy[k] - at[0];
        rise[k] = at[1] + excess * at[2] * POLYNOMIAL(CURVE, excess * at[3]) - start;
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
    for (ptrdiff_t k = AHEAD; k < count + AHEAD; k += LANE_COUNT) { /* past the end of an array it does nothing */
        __builtin_prefetch(fluence + k);
        __builtin_prefetch(absorption + k);
        __builtin_prefetch(thickness + k);
        __builtin_prefetch(concentration + k);
        __builtin_prefetch(size + k);
        __builtin_prefetch(photons + k, 1);
    }
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
