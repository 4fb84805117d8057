/* Inversion of an enthalpy whose heat capacity is piecewise linear, and the absorbed light before it, many draws at a time.
 *
 * A row describes one piece: the enthalpy and the temperature at its start, 1/C there, and 2C'/C², C' the slope of the
 * heat capacity C. With e the enthalpy above the start and x = 2C'e/C² the temperature is start + e/C · 2/(1 + √(1 + x)).
 * The pieces are so short that |x| <= 1/32, where a polynomial gives the last factor to rounding (CURVE in special.h).
 * The search starts from a table over equal steps of enthalpy and goes on by halving, without branches.
 *
 * A block goes through four stages, one group of draws at a time: attenuate, absorb (and find the step), look_up, invert.
 * Each stage works on the group that lies LAG behind that of the stage before. What a stage reads is finished then, and
 * the processor has four independent pieces of work at any time. One stage after the other for the same draws takes half
 * as long again where the draws are in the cache: they wait for exp, the division, the search and their rows.
 */
#ifndef POLARON_HEAT_H
#define POLARON_HEAT_H

#include <stddef.h>
#include "special.h"

#define BLOCK 512
#define GROUP (2 * LANE_COUNT)
#define LAG (2 * GROUP)
#define AHEAD 128 /* draws: how far ahead memory is asked for */
#define ROW 4

typedef struct {
    const double *rows;   /* ROW numbers a piece, and 2 × reach rows more that start at infinity */
    const int64_t *guide; /* for each step of enthalpy where the row of the last piece that starts before all of it is */
    int64_t steps;
    double per_eV;
    int64_t reach;        /* ROW × half of the pieces that a step may hold, at least 1: a power of two */
} table;

/* Lengths are thickness × unit in the inverse unit of absorption. An input that is one number for all draws stands there
 * BLOCK times, and moves is 0 for it: memory is what limits the kernel, and that stays in the cache. */
typedef struct {
    const double *fluence, *absorption, *thickness, *concentration, *size;
    double unit;
    ptrdiff_t moves[5];
} draws;

/* scale: see absorb; heat_fraction of the absorbed energy warms the crystal from start, where its enthalpy is given. */
typedef struct {
    double scale, photon_scale, heat_fraction, start, start_enthalpy;
} conditions;

/* What the stages of a block hand on. */
typedef struct {
    double part[BLOCK], enthalpy[BLOCK], found[ROW * BLOCK];
    int32_t step[BLOCK];
} stages;

typedef double row __attribute__((vector_size(8 * ROW), aligned(8), may_alias));

INLINED draws from_draw(const draws *all, ptrdiff_t at)
{
    draws here = *all;
    here.fluence += at * all->moves[0];
    here.absorption += at * all->moves[1];
    here.thickness += at * all->moves[2];
    here.concentration += at * all->moves[3];
    here.size += at * all->moves[4];
    return here;
}

/* The part of the light that does not leave the jet, 1 − exp(−µd). */
INLINED void attenuate(const draws *from, ptrdiff_t at, double *part)
{
    const double *absorption = from->absorption + at, *thickness = from->thickness + at;
    double unit = from->unit;
    for (ptrdiff_t k = at + AHEAD; k < at + AHEAD + GROUP; k += LANE_COUNT) { /* past the end of an array it does nothing */
        __builtin_prefetch(from->fluence + k);
        __builtin_prefetch(from->absorption + k);
        __builtin_prefetch(from->thickness + k);
        __builtin_prefetch(from->concentration + k);
        __builtin_prefetch(from->size + k);
    }
#pragma omp simd
    for (int k = 0; k < GROUP; k++) part[k] = absorbed_part(absorption[k] * (thickness[k] * unit));
}

/* Energy absorbed per formula unit, averaged over the jet: scale F (1 − exp(−µd)) / (d c), and photons per cube,
 * photon_scale × energy × size³.
 *
 * A draw that is not five positive finite numbers shows in signs (the highest bit is set) or in sum (not finite any
 * more). A negative number has its sign bit. Zero in F, µ or the size makes photons zero, and so does infinity in d or c;
 * one less than the bits of zero has the highest bit. Zero in d or c divides by zero; other infinities and NaN pass on
 * into photons. Only µ may hide in part, so it is added by itself. */
INLINED void absorb(const draws *from, ptrdiff_t at, const double *part, double scale, double photon_scale, double *energy,
                    double *photons, double *sum, uint64_t *signs)
{
    const double *fluence = from->fluence + at, *absorption = from->absorption + at, *size = from->size + at;
    const double *thickness = from->thickness + at, *concentration = from->concentration + at;
    double unit = from->unit;
#pragma omp simd
    for (int k = 0; k < GROUP; k++) {
        double f = fluence[k], mu = absorption[k], d = thickness[k], c = concentration[k], edge = size[k];
        double taken = scale * f * part[k] / (c * (d * unit)), many = photon_scale * taken * edge * edge * edge;
        energy[k] = taken;
        photons[k] = many;
        sum[k] += many + mu;
        signs[k] |= (uint64_t)(bits_of(f) | bits_of(mu) | bits_of(d) | bits_of(c) | bits_of(edge))
                    | ((uint64_t)bits_of(many) - 1);
    }
}

/* Enthalpy and its step. What is no number or negative takes any step; its temperature means nothing. */
INLINED void place(const table *t, const double *energy, double factor, double start_enthalpy, double *enthalpy,
                   int32_t *step)
{
    double last = (double)(t->steps - 1), per_eV = t->per_eV;
#pragma omp simd
    for (int k = 0; k < GROUP; k++) {
        enthalpy[k] = start_enthalpy + factor * energy[k];
        double steps = fabs(enthalpy[k] * per_eV);
        step[k] = (int32_t)(steps < last ? steps : last);
    }
}

/* The rows side by side: eight loads of four neighbours cost less than four gathers of eight. Bits compare as the
 * numbers do, positive as they are, and leave the floating-point units to the other stages. */
INLINED void look_up(const table *t, int64_t reach, const double *enthalpy, const int32_t *step, double *found)
{
#pragma GCC unroll 16
    for (int k = 0; k < GROUP; k++) {
        const double *at = t->rows + t->guide[(uint32_t)step[k]];
        int64_t h = bits_of(enthalpy[k]);
        for (int64_t half = reach; half > ROW; half >>= 1) at += h >= bits_of(at[half]) ? half : 0;
        const double *next = at + ROW;
        at = h >= bits_of(*next) ? next : at;
        *(row *)(found + ROW * k) = *(const row *)at;
    }
}

INLINED void invert(const double *enthalpy, const double *found, double start, double *rise)
{
#pragma omp simd
    for (int k = 0; k < GROUP; k++) {
        const double *at = found + ROW * k;
        double excess = enthalpy[k] - at[0];
        rise[k] = at[1] + excess * at[2] * POLYNOMIAL(CURVE, excess * at[3]) - start;
    }
}

/* Temperature rise and photons of the count draws from at on, whole groups and at most BLOCK. Returns whether one of them
 * may not be five positive finite numbers: it misses none, but results that vanish or overflow raise it too. */
MULTIVERSIONED
static int block_heat(const table *t, const draws *from, ptrdiff_t at, ptrdiff_t count, const conditions *c, double *rise,
                      double *photons)
{
    stages s;
    const draws here = from_draw(from, at);
    double energy[GROUP], sum[GROUP] = {0}, total = 0.0;
    uint64_t signs[GROUP] = {0}, sign = 0;
    for (ptrdiff_t k = 0; k < count + 3 * LAG; k += GROUP) {
        if (k < count) attenuate(&here, k, s.part + k);
        ptrdiff_t j = k - LAG;
        if (j >= 0 && j < count) {
            absorb(&here, j, s.part + j, c->scale, c->photon_scale, energy, photons + j, sum, signs);
            place(t, energy, c->heat_fraction, c->start_enthalpy, s.enthalpy + j, s.step + j);
        }
        j -= LAG;
        if (j >= 0 && j < count) {
            if (t->reach == ROW) /* most tables, and then without a loop for each draw */
                look_up(t, ROW, s.enthalpy + j, s.step + j, s.found + ROW * j);
            else
                look_up(t, t->reach, s.enthalpy + j, s.step + j, s.found + ROW * j);
        }
        j -= LAG;
        if (j >= 0) invert(s.enthalpy + j, s.found + ROW * j, c->start, rise + j);
    }
    for (int k = 0; k < GROUP; k++) {
        total += sum[k];
        sign |= signs[k];
    }
    return !(total * 0.0 == 0.0) || sign >> 63;
}

/* The same for any count up to BLOCK: the last draw fills its group. */
static int part_heat(const table *t, const draws *from, ptrdiff_t at, ptrdiff_t count, const conditions *c, double *rise,
                     double *photons)
{
    const draws here = from_draw(from, at);
    const double *given[5] = {here.fluence, here.absorption, here.thickness, here.concentration, here.size};
    double copy[5][BLOCK], results[2][BLOCK];
    ptrdiff_t whole = (count + GROUP - 1) / GROUP * GROUP;
    for (int i = 0; i < 5; i++)
        for (ptrdiff_t k = 0; k < whole; k++) copy[i][k] = given[i][k < count ? k : count - 1];
    draws filled = {copy[0], copy[1], copy[2], copy[3], copy[4], from->unit, {0}};
    int suspect = block_heat(t, &filled, 0, whole, c, results[0], results[1]);
    memcpy(rise, results[0], count * sizeof *rise);
    memcpy(photons, results[1], count * sizeof *photons);
    return suspect;
}

/* rise = T(start_enthalpy + energy) − start of count <= BLOCK energies. */
MULTIVERSIONED
static void block_rise(const table *t, const double *energy, ptrdiff_t count, double start, double start_enthalpy,
                       double *rise)
{
    stages s;
    double filled[BLOCK];
    for (ptrdiff_t k = 0; k < BLOCK; k++) filled[k] = energy[k < count ? k : count - 1];
    for (ptrdiff_t k = 0; k < count; k += GROUP) place(t, filled + k, 1.0, start_enthalpy, s.enthalpy + k, s.step + k);
    for (ptrdiff_t k = 0; k < count; k += GROUP)
        look_up(t, t->reach, s.enthalpy + k, s.step + k, s.found + ROW * k);
    for (ptrdiff_t k = 0; k < count; k += GROUP) invert(s.enthalpy + k, s.found + ROW * k, start, filled + k);
    memcpy(rise, filled, count * sizeof *rise);
}

#endif
