/* Branch-free elementary functions for broadening.h, pulse.h and heat.h, so that the loops that
 * use them become vector instructions; continued_fraction.h takes MULTIVERSIONED and INLINED
 * from here.
 *
 * MULTIVERSIONED marks a function compiled once per instruction set and chosen when the library
 * is loaded. The tables are written by coefficients.py.
 */
#ifndef POLARON_SPECIAL_H
#define POLARON_SPECIAL_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__) \
    && __GNUC__ >= 12 && !defined(__SANITIZE_ADDRESS__)
#define MULTIVERSIONED __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define MULTIVERSIONED
#endif
#define INLINED static inline __attribute__((always_inline))

/* ATAN: largest relative error 1.3e-18 */
static const double ATAN_POWERS[12] = {
    0.9999999999999999987, -0.3333333333333312082, 0.1999999999994080586,
    -0.1428571427924190144, 0.1111111074450449407, -0.09090896797060963209,
    0.07692045115329451325, -0.06662949335130159379, 0.05846860044131598378,
    -0.05035019199400292916, 0.03796311638695338722, -0.01780302457037242619};
/* ATANH: largest relative error 2.2e-19 */
static const double ATANH_POWERS[9] = {
    1.0, 0.3333333333333325081, 0.2000000000005171826, 0.1428571427324957888,
    0.1111111261382138179, 0.09090807539798779336, 0.07696324850148193371,
    0.06574682383311092978, 0.06999011071151908571};
/* EXP: largest relative error 4.2e-18 */
static const double EXP_POWERS[12] = {
    0.9999999999999999969, 0.9999999999999999998, 0.50000000000000184,
    0.1666666666666668082, 0.04166666666648798655, 0.008333333333319592233,
    0.001388888895234379704, 0.0001984126989006943138, 0.00002480148545126405671,
    2.755724089469107372e-6, 2.763265113287409924e-7, 2.511004644445748679e-8};
/* ERFCX: largest relative error 9.0e-20 */
static const double ERFCX_POWERS[28] = {
    1.237512630837827582, -0.140240598585547019, 0.00358541548546369155,
    0.08227673849015109969, -0.1088039301417075389, 0.09230432116019560419,
    -0.05869339859054578584, 0.0283622774215614491, -0.009746579547640485307,
    0.001755625831987962235, 0.0002937135949470694745, -0.0002901539767306066318,
    0.00005164940716054632733, 0.00002238390204877132454, -0.00001144504733341496437,
    -9.728229167489765215e-7, 1.753439849300216294e-6, -5.83122724130391266e-8,
    -2.611421267824025033e-7, 2.435345814847295652e-8, 4.096669651627980439e-8,
    -4.445141226031690812e-9, -6.542861077759557072e-9, 5.775327127782724202e-10,
    9.012777584413633983e-10, -4.814480378487261764e-11, -7.325109204538235751e-11,
    1.573356611912212115e-12};
/* RESIDUE: largest relative error 5.8e-20 */
static const double RESIDUE_POWERS[30] = {
    1.183299436104335087, -0.2034719260131918311, -0.07523050049597577713,
    0.2144604630055379301, -0.1911571287414874786, 0.08086934808455366077,
    0.02061291975691102321, -0.06369849552872523081, 0.05557563584599094608,
    -0.02878529143698222802, 0.008080449417709444966, 0.000332207381586318739,
    -0.001274134096973886994, 0.0003600514496615614722, 0.00009540447447636980269,
    -0.00007748928157423659871, -1.094752699030321465e-6, 0.00001296671391339026285,
    -1.271348658640199537e-6, -2.158161159555455098e-6, 3.388385539506803262e-7,
    3.853085128690238001e-7, -6.347280828838050863e-8, -7.316542118037627584e-8,
    9.426873412120473678e-9, 1.34748743089399951e-8, -1.014693260555246011e-9,
    -1.996626440138790398e-9, 5.844612879315281547e-11, 1.650406632398695165e-10};

/* EXP2: largest relative error 2.0e-17 */
static const double EXP2_POWERS[11] = {
    0.6931471805599453094, 0.2402265069591009822, 0.05550410866482159434,
    0.009618129107606888527, 0.001333355814641693531, 0.0001540353044173605015,
    0.00001525273382983611839, 1.321544258792168965e-6, 1.017806244584577352e-7,
    7.0725859492692237e-9, 4.454960598186518394e-10};

/* Even and odd powers apart: each Horner chain is half as long, and the two run side by side. */
INLINED double polynomial(const double *powers, int terms, double x)
{
    double square = x * x, last = powers[terms - 1], other = powers[terms - 2];
#pragma GCC unroll 16
    for (int k = terms - 3; k >= 1; k -= 2) {
        last = last * square + powers[k];
        other = other * square + powers[k - 1];
    }
    return terms & 1 ? (last * square + powers[0]) + x * other : other + x * last;
}
#define POLYNOMIAL(name, x) \
    polynomial(name##_POWERS, (int)(sizeof(name##_POWERS) / sizeof(double)), x)

INLINED int64_t bits_of(double x) { int64_t bits; memcpy(&bits, &x, 8); return bits; }
INLINED double from_bits(int64_t bits) { double x; memcpy(&x, &bits, 8); return x; }

/* 2^k for a whole number k in [-1022, 1023], held in the low bits of k + 1.5 * 2^52. */
#define ROUNDER 6755399441055744.0
INLINED double power_of_two(double shifted) { return from_bits((int64_t)((uint64_t)(bits_of(shifted)
                                             + 1023) << 52)); }

/* exp(x); below -708 it flushes to zero in two steps instead of overflowing the exponent. */
INLINED double fast_exp(double x)
{
    double clipped = x < -1400.0 ? -1400.0 : x;
    double shifted = clipped * 1.4426950408889634074 + ROUNDER, k = shifted - ROUNDER;
    double r = (clipped - k * 6.93147180369123816490e-01) - k * 1.90821492927058770002e-10;
    double half = 0.5 * k + ROUNDER, rest = (k - (half - ROUNDER)) + ROUNDER;
    return POLYNOMIAL(EXP, r) * power_of_two(half) * power_of_two(rest);
}

/* 1 − exp(−x unit) for x >= 0, with all its digits for small x too: 2^k (1 + r EXP2(r)), where k
 * + r = −x unit / ln 2. What the exponent loses by rounding does not show, for the power is
 * small where it is large. */
INLINED double absorbed_part(double x, double unit)
{
    double exponent = x * (unit * -1.4426950408889634074);
    double kept = exponent > -1000.0 ? exponent : -1000.0;
    double shifted = kept + ROUNDER, r = kept - (shifted - ROUNDER), scale = power_of_two(shifted);
    return (1.0 - scale) - scale * r * POLYNOMIAL(EXP2, r);
}

/* The angle of the complex number (re, im), in (-π, π], given the tangent of what it differs
 * from a multiple of 45 degrees. */
INLINED double angle_of(double tangent, int steep, double im, double re)
{
    double a = tangent * POLYNOMIAL(ATAN, tangent * tangent) + (steep ? 0.78539816339744831 : 0.0);
    a = fabs(im) < fabs(re) ? a : 1.57079632679489662 - a;
    a = re < 0.0 ? 3.14159265358979324 - a : a;
    return im < 0.0 ? -a : a;
}

/* That tangent is rise / run. */
INLINED int tangent(double im, double re, double *rise, double *run)
{
    double y = fabs(im), x = fabs(re), small = y < x ? y : x, large = y < x ? x : y;
    int steep = small > 0.41421356237309503 * large;
    *rise = steep ? small - large : small;
    *run = steep ? small + large : large;
    return steep;
}

INLINED double angle(double im, double re)
{
    double rise, run;
    int steep = tangent(im, re, &rise, &run);
    return angle_of(rise / run, steep, im, re);
}

/* The angle of (re, im), and ln(q1 / q0) for positive q given their accurately computed
 * difference. One division serves both quotients: (re² + im²) q² may be 1e-280 to 1e280 for
 * that. */
INLINED void angle_and_log_ratio(double im, double re, double q1, double q0, double difference,
                                 double *turn, double *log_ratio)
{
    double rise, run;
    int steep = tangent(im, re, &rise, &run);
    int64_t k = (bits_of(q1) - bits_of(q0) + ((int64_t)1 << 51)) >> 52;
    double c = from_bits((k + 1023) << 52), whole = from_bits(bits_of(ROUNDER) + k) - ROUNDER;
    double sum = q1 + c * q0, inverse = 1.0 / (run * sum);
    double t = (k == 0 ? difference : q1 - c * q0) * run * inverse;
    *turn = angle_of(rise * sum * inverse, steep, im, re);
    *log_ratio = 2.0 * t * POLYNOMIAL(ATANH, t * t) + whole * 0.69314718055994530942;
}

#endif
