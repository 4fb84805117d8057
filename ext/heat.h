/* Inversion of an enthalpy whose heat capacity is piecewise linear, and the absorbed light before it, many draws at a time.
 *
 * The enthalpies are cut into cells of equal width. A cell has two rows: for the segment that reaches into it, and for the
 * one that starts within it (at infinity where none does). A row holds an enthalpy and the temperature there, 1/C and
 * 2C'/C², C' the slope of the heat capacity C. With e the enthalpy above and x = 2C'e/C² the temperature is that of the row
 * plus e/C · 2/(1 + √(1 + x)); in a cell |x| <= LIMIT, where a polynomial gives the last factor to rounding (CURVE in
 * special.h). A cell that holds more segments, or one that is curved more, is NaN. So are then the rises in it, and at the
 * end of a block these are computed one by one.
 *
 * A block goes through three stages, one group of draws at a time: attenuate, absorb (and find the cell), invert. Each
 * works on the group that lies LAG behind that of the stage before: what it reads is finished then, and the processor has
 * three independent pieces of work at any time. Without LAG, draws wait for exp, the division and their rows.
 */
#ifndef POLARON_HEAT_H
#define POLARON_HEAT_H

#include <stddef.h>
#include "special.h"

#define BLOCK 512
#define GROUP (2 * LANE_COUNT)
#define LAG GROUP
#define ROW 4
#define LIMIT (1.0 / 256)

typedef struct {
    const double *cells; /* twice ROW numbers each */
    const double *knots; /* temperature, enthalpy, C and C' at the start of each segment: segments numbers, four times */
    int64_t last, segments;
    double per_eV;
} table;

/* Lengths are thickness × unit in the inverse unit of absorption. An input that is one number for all draws stands there
 * BLOCK times, and moves is 0 for it: that stays in the cache. */
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
    double part[BLOCK], enthalpy[BLOCK];
    int32_t cell[BLOCK];
} stages;

typedef double row __attribute__((vector_size(8 * ROW), aligned(8), may_alias));

#if defined(__clang__) || __GNUC__ >= 12
#define SHUFFLED(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#define JOINED(a, b) SHUFFLED(a, b, 0, 1, 2, 3, 4, 5, 6, 7)
#else
#define SHUFFLED(a, b, ...) __builtin_shuffle(a, b, (pack_bits){__VA_ARGS__})
INLINED pack JOINED(row a, row b) { return (pack){a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]}; }
#endif
#define EVEN(a, b) SHUFFLED(a, b, 0, 8, 2, 10, 4, 12, 6, 14)
#define ODD(a, b) SHUFFLED(a, b, 1, 9, 3, 11, 5, 13, 7, 15)
#define FRONT(a, b) SHUFFLED(a, b, 0, 1, 4, 5, 8, 9, 12, 13)
#define BACK(a, b) SHUFFLED(a, b, 2, 3, 6, 7, 10, 11, 14, 15)

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
#pragma omp simd
    for (int k = 0; k < GROUP; k++) part[k] = absorbed_part(absorption[k] * thickness[k], unit);
}

/* Energy absorbed per formula unit, averaged over the jet: scale F (1 − exp(−µd)) / (d c), d without its unit, and photons
 * per cube, photon_scale × energy × size³.
 *
 * A draw that is not five positive finite numbers shows in signs (the highest bit is set) or in sum (not finite any
 * more). A negative number has its sign bit. Zero in F, µ or the size makes photons zero, and so does infinity in d or c;
 * one less than the bits of 0 has the highest bit, and so has −0. Zero in d or c divides by zero; other infinities and NaN
 * pass on into photons. Only µ may hide in part, so it is added by itself. */
INLINED void absorb(const draws *from, ptrdiff_t at, const double *part, double scale, double photon_scale, double *energy,
                    double *photons, double *sum, uint64_t *signs)
{
    const double *fluence = from->fluence + at, *absorption = from->absorption + at, *size = from->size + at;
    const double *thickness = from->thickness + at, *concentration = from->concentration + at;
#pragma omp simd
    for (int k = 0; k < GROUP; k++) {
        double f = fluence[k], mu = absorption[k], d = thickness[k], c = concentration[k], edge = size[k];
        double taken = f * part[k] * scale / (c * d), many = photon_scale * edge * (edge * edge) * taken;
        energy[k] = taken;
        photons[k] = many;
        sum[k] += many + mu;
        signs[k] |= (uint64_t)(bits_of(f) | bits_of(mu) | bits_of(d) | bits_of(c) | bits_of(edge) | bits_of(many))
                    | ((uint64_t)bits_of(many) - 1);
    }
}

/* Enthalpy and its cell. What is no number or negative takes any cell; its temperature means nothing. */
INLINED void place(const table *t, const double *energy, double factor, double start_enthalpy, double *enthalpy,
                   int32_t *cell)
{
    double last = (double)t->last, per_eV = t->per_eV;
#pragma omp simd
    for (int k = 0; k < GROUP; k++) {
        enthalpy[k] = start_enthalpy + factor * energy[k];
        double cells = fabs(enthalpy[k] * per_eV);
        cell[k] = (int32_t)(cells < last ? cells : last);
    }
}

/* The row of an enthalpy. Bits compare as the numbers do, positive as they are. */
INLINED const row *find(const double *cells, int32_t cell, double enthalpy)
{
    const double *at = cells + 2 * ROW * (size_t)(uint32_t)cell;
    return (const row *)(bits_of(enthalpy) >= bits_of(at[ROW]) ? at + ROW : at);
}

/* Temperatures of a group; they are added up in sum, where NaN shows. Four rows are turned into four packs, one of each of
 * their numbers: the pairs of rows in a pack are chosen for that to keep the order. */
INLINED void invert(const double *cells, const double *enthalpy, const int32_t *cell, double start, double *rise, pack *sum)
{
#pragma GCC unroll 4
    for (int k = 0; k < GROUP; k += LANE_COUNT) {
#define FOUND(i) *find(cells, cell[k + i], enthalpy[k + i])
        pack a = JOINED(FOUND(0), FOUND(2)), b = JOINED(FOUND(1), FOUND(3));
        pack c = JOINED(FOUND(4), FOUND(6)), d = JOINED(FOUND(5), FOUND(7));
#undef FOUND
        pack even_ab = EVEN(a, b), even_cd = EVEN(c, d), odd_ab = ODD(a, b), odd_cd = ODD(c, d), excess;
        memcpy(&excess, enthalpy + k, sizeof excess);
        excess -= FRONT(even_ab, even_cd);
        pack kelvin = FRONT(odd_ab, odd_cd), inverse = BACK(even_ab, even_cd), x = excess * BACK(odd_ab, odd_cd), xx = x * x;
        pack odd = (CURVE_POWERS[5] * xx + CURVE_POWERS[3]) * xx + CURVE_POWERS[1];
        pack factor = (CURVE_POWERS[4] * xx + CURVE_POWERS[2]) * xx + CURVE_POWERS[0] + x * odd;
        pack result = kelvin + excess * inverse * factor - start;
        *sum += result;
        memcpy(rise + k, &result, sizeof result);
    }
}

/* Rises that are no numbers, by the formula of their segments. */
static void mend(const table *t, const double *enthalpy, ptrdiff_t count, double start, double *rise)
{
    const double *kelvin = t->knots, *begin = kelvin + t->segments, *first = begin + t->segments, *ramp = first + t->segments;
    for (ptrdiff_t k = 0; k < count; k++) {
        if (rise[k] == rise[k]) continue;
        int64_t low = 0, high = t->segments;
        while (high - low > 1) {
            int64_t middle = (low + high) / 2;
            if (enthalpy[k] >= begin[middle]) low = middle; else high = middle;
        }
        double excess = enthalpy[k] - begin[low];
        rise[k] = kelvin[low] + 2.0 * excess / (first[low] + sqrt(first[low] * first[low] + 2.0 * ramp[low] * excess)) - start;
    }
}

INLINED int is_finite(const double *sums, int count)
{
    double total = 0.0;
    for (int k = 0; k < count; k++) total += sums[k];
    return total * 0.0 == 0.0;
}

/* Temperature rise and photons of the count draws from at on, whole groups and at most BLOCK. Returns whether one of them
 * may not be five positive finite numbers: it misses none, but results that vanish or overflow raise it too. */
MULTIVERSIONED
static int block_heat(const table *t, const draws *from, ptrdiff_t at, ptrdiff_t count, const conditions *c, double *rise,
                      double *photons)
{
    stages s;
    const draws here = from_draw(from, at);
    double energy[GROUP], sum[GROUP] = {0}, scale = c->scale / from->unit;
    uint64_t signs[GROUP] = {0}, sign = 0;
    pack rises = {0};
    for (ptrdiff_t k = 0; k < count + 2 * LAG; k += GROUP) {
        if (k < count) attenuate(&here, k, s.part + k);
        ptrdiff_t j = k - LAG;
        if (j >= 0 && j < count) {
            absorb(&here, j, s.part + j, scale, c->photon_scale, energy, photons + j, sum, signs);
            place(t, energy, c->heat_fraction, c->start_enthalpy, s.enthalpy + j, s.cell + j);
        }
        j -= LAG;
        if (j >= 0) invert(t->cells, s.enthalpy + j, s.cell + j, c->start, rise + j, &rises);
    }
    if (!is_finite((const double *)&rises, LANE_COUNT)) mend(t, s.enthalpy, count, c->start, rise);
    for (int k = 0; k < GROUP; k++) sign |= signs[k];
    return !is_finite(sum, GROUP) || sign >> 63;
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
    pack rises = {0};
    for (ptrdiff_t k = 0; k < BLOCK; k++) filled[k] = energy[k < count ? k : count - 1];
    for (ptrdiff_t k = 0; k < count; k += GROUP) place(t, filled + k, 1.0, start_enthalpy, s.enthalpy + k, s.cell + k);
    for (ptrdiff_t k = 0; k < count; k += GROUP)
        invert(t->cells, s.enthalpy + k, s.cell + k, start, filled + k, &rises);
    memcpy(rise, filled, count * sizeof *rise);
    if (!is_finite((const double *)&rises, LANE_COUNT)) mend(t, s.enthalpy, count, start, rise);
}

#endif
