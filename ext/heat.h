/* Absorbed light and the enthalpy inverted: the inner loops of heating.pyx, that is of `polaron
 * heat`, whose Monte Carlo run asks for tens of thousands of draws.
 *
 * Everything is done for BLOCK draws at a time, the last of them repeated where there are fewer:
 * every loop has a fixed length and becomes vector instructions, and a draw does not depend on
 * its neighbours.
 */
#ifndef POLARON_HEAT_H
#define POLARON_HEAT_H

#include <stddef.h>
#include "special.h"

#define BLOCK 128

/* knots: four numbers for each segment, its temperature, enthalpy, heat capacity C and slope C'
 * at the start; a last one of NaN ends the search. guide: for each cell of enthalpies, per_eV of
 * them in an eV, the last segment that starts before it. */
typedef struct {
    const double *knots;
    const int64_t *guide;
    double last_cell, per_eV, start, start_enthalpy;
} table;

/* rise = T(start_enthalpy + energy) - start; with e the enthalpy above its segment's start, T is
 * the segment's first temperature + 2e / (C + sqrt(C² + 2C'e)). What is no number or negative
 * takes any cell. */
INLINED void invert(const table *t, const double *energy, double *rise)
{
    double kelvin[BLOCK], excess[BLOCK], first[BLOCK], ramp[BLOCK];
    int64_t cell[BLOCK];
#pragma omp simd
    for (int k = 0; k < BLOCK; k++) {
        excess[k] = t->start_enthalpy + energy[k];
        double at = fabs(excess[k] * t->per_eV);
        cell[k] = (int32_t)(at < t->last_cell ? at : t->last_cell);
    }
    for (int k = 0; k < BLOCK; k++) {
        const double *knot = t->knots + 4 * t->guide[cell[k]];
        while (excess[k] >= knot[5]) knot += 4;
        kelvin[k] = knot[0];
        excess[k] -= knot[1];
        first[k] = knot[2];
        ramp[k] = knot[3];
    }
#pragma omp simd
    for (int k = 0; k < BLOCK; k++) {
        double sum = first[k] + sqrt(first[k] * first[k] + 2.0 * ramp[k] * excess[k]);
        rise[k] = kelvin[k] + 2.0 * excess[k] / sum - t->start;
    }
}

/* The next count <= BLOCK numbers: where they stand or, completed by the last of them, in block;
 * one number that is_one for all draws fills it. */
INLINED const double *fetch(const double *given, int is_one, ptrdiff_t at, ptrdiff_t count,
                            double *block)
{
    if (!is_one && count == BLOCK) return given + at;
    for (ptrdiff_t k = 0; k < BLOCK; k++)
        block[k] = given[is_one ? 0 : at + (k < count ? k : count - 1)];
    return block;
}

/* What the draws have in common: lengths are d × unit in the inverse unit of µ. */
typedef struct {
    double unit, scale, heat_fraction, photon_scale;
} conditions;

/* Energy absorbed per formula unit, averaged over the jet, scale F (1 - exp(-µd unit)) / (d c),
 * of which heat_fraction warms the crystal; photons per cube, photon_scale × energy × size³.
 * given: F, µ, d, c and size, each one number or one for every draw. Returns whether one of them
 * is not positive and finite. */
MULTIVERSIONED
static int heats(const table *t, const double *const given[5], const int is_one[5],
                 const conditions *of, ptrdiff_t first, ptrdiff_t last, double *rise,
                 double *photons)
{
    double filled[5][BLOCK], heat[BLOCK], many[BLOCK], lowest = INFINITY, bad = 0.0;
    const double *in[5];
    for (ptrdiff_t at = first; at < last; at += BLOCK) {
        ptrdiff_t n = last - at < BLOCK ? last - at : BLOCK;
        for (int i = 0; i < 5; i++) in[i] = fetch(given[i], is_one[i], at, n, filled[i]);
#pragma omp simd
        for (int k = 0; k < BLOCK; k++) {
            double d = in[2][k], c = in[3][k], edge = in[4][k];
            double energy = of->scale * in[0][k] * absorbed_part(in[1][k] * d, of->unit) / (d * c);
            heat[k] = of->heat_fraction * energy;
            many[k] = of->photon_scale * energy * (edge * edge * edge);
        }
        invert(t, heat, heat);
        memcpy(rise + at, heat, n * sizeof *rise);
        memcpy(photons + at, many, n * sizeof *photons);
        for (int i = 0; i < 5; i++)
#pragma omp simd reduction(min : lowest) reduction(+ : bad)
            for (int k = 0; k < BLOCK; k++) {
                lowest = in[i][k] < lowest ? in[i][k] : lowest;
                bad += in[i][k] - in[i][k]; /* NaN for NaN and infinity */
            }
    }
    return !(lowest > 0.0 && bad == 0.0);
}

#endif
