/* Exact integrals of a piecewise-linear spectrum with a Lorentzian, and the multipole sums that stand for them far away.
 *
 * Everything is the Cauchy integral f(E) = (1/π) Im ∫ y(u) du / (x(u) − E − iγ), whose denominator runs along the
 * straight complex line from w0 − iγ0 to w1 − iγ1 (w = x − E) on each segment: γ0 = γ1 when the width belongs to the
 * output energy, and γ linear along the segment when it belongs to the source energy.
 */
#ifndef POLARON_BROADENING_H
#define POLARON_BROADENING_H

#include "special.h"

/* π times one segment's contribution. With α = 1 − i(γ1 − γ0)/h and Λ = ln((w1 − iγ1)/(w0 − iγ0)) it is
 * Im[y0 Λ/α + s (h − (w0 − iγ0) Λ/α)/α], s the slope; Λ is built from differences so that small segments far away
 * keep their relative accuracy. Here α = 1. narrow: the segment is short against its distance, see NARROW. */
INLINED double lorentzian_level(double w0, double w1, double h, double gamma, double y0, double slope, int narrow)
{
    double q0 = w0 * w0 + gamma * gamma, q1 = w1 * w1 + gamma * gamma, turn, log_ratio;
    angle_and_log_ratio(gamma * h, w0 * w1 + gamma * gamma, q1, q0, h * (w0 + w1), narrow, &turn, &log_ratio);
    return y0 * turn + slope * (0.5 * gamma * log_ratio - w0 * turn);
}

/* The same for any α, given g = (γ1 − γ0)/h and norm = 1/(1 + g²). */
INLINED double lorentzian_slanted(double w0, double w1, double h, double gamma0, double gamma1, double y0, double slope,
                                  double g, double norm, int narrow)
{
    double rise = gamma1 - gamma0, q0 = w0 * w0 + gamma0 * gamma0, q1 = w1 * w1 + gamma1 * gamma1, turn, stretch;
    angle_and_log_ratio(gamma0 * h - w0 * rise, w0 * w1 + gamma0 * gamma1, q1, q0,
                        h * (w0 + w1) + rise * (gamma0 + gamma1), narrow, &turn, &stretch);
    stretch *= 0.5;
    /* 1/α = norm (1 + ig); L = Λ/α, B = h − (w0 − iγ0) L */
    double l_re = norm * (stretch - g * turn), l_im = norm * (turn + g * stretch);
    double b_re = h - (w0 * l_re + gamma0 * l_im), b_im = gamma0 * l_re - w0 * l_im;
    return y0 * l_im + slope * norm * (b_im + g * b_re);
}

/* Where a segment is this much shorter than the distance of its nearer end from the pole, short polynomials do. */
#define NARROW (1.0 / 16)

/* Segments that are looked at together: what belongs to them alone is computed once for all outputs. */
#define BATCH 128
typedef struct {
    double slope[BATCH], g[BATCH], norm[BATCH]; /* g and norm only where hwhm is given */
    double longest2, lowest;                    /* largest h² + (γ1 − γ0)², smallest γ */
} batch;

INLINED void describe(const double *x, const double *y, const double *hwhm, ptrdiff_t n, batch *s)
{
    double longest2 = 0.0, lowest = INFINITY;
    if (hwhm) {
#pragma omp simd reduction(max : longest2) reduction(min : lowest)
        for (ptrdiff_t k = 0; k < n; k++) {
            double h = x[k + 1] - x[k], rise = hwhm[k + 1] - hwhm[k], length2 = h * h + rise * rise, g = rise / h;
            s->slope[k] = (y[k + 1] - y[k]) / h;
            s->g[k] = g;
            s->norm[k] = 1.0 / (1.0 + g * g);
            longest2 = length2 > longest2 ? length2 : longest2;
            lowest = hwhm[k] < lowest ? hwhm[k] : lowest;
        }
        lowest = fmin(lowest, hwhm[n]);
    } else {
#pragma omp simd reduction(max : longest2)
        for (ptrdiff_t k = 0; k < n; k++) {
            double h = x[k + 1] - x[k], length2 = h * h;
            s->slope[k] = (y[k + 1] - y[k]) / h;
            longest2 = length2 > longest2 ? length2 : longest2;
        }
    }
    s->longest2 = longest2;
    s->lowest = lowest;
}

/* Whether all segments from x_first to x_last are narrow for energies from low to high. */
INLINED int is_narrow(double low, double high, double hwhm, double x_first, double x_last, double longest2)
{
    double away = fmax(0.0, fmax(x_first - high, low - x_last));
    return longest2 <= NARROW * NARROW * (away * away + hwhm * hwhm);
}

INLINED double level_part(const double *x, const double *y, const batch *s, ptrdiff_t n, double e, double hwhm, int narrow)
{
    double part = 0.0;
#pragma omp simd reduction(+ : part)
    for (ptrdiff_t k = 0; k < n; k++)
        part += lorentzian_level(x[k] - e, x[k + 1] - e, x[k + 1] - x[k], hwhm, y[k], s->slope[k], narrow);
    return part;
}

INLINED double slanted_part(const double *x, const double *y, const double *hwhm, const batch *s, ptrdiff_t n, double e,
                            int narrow)
{
    double part = 0.0;
#pragma omp simd reduction(+ : part)
    for (ptrdiff_t k = 0; k < n; k++)
        part += lorentzian_slanted(x[k] - e, x[k + 1] - e, x[k + 1] - x[k], hwhm[k], hwhm[k + 1], y[k], s->slope[k], s->g[k],
                                   s->norm[k], narrow);
    return part;
}

/* π times the sum over all segments, for count outputs; hwhm has a width for each of them or, at_source, for each point. */
INLINED void lorentzian_sums(const double *energy, ptrdiff_t count, const double *hwhm, int at_source, const double *x,
                             const double *y, ptrdiff_t segments, double *sum)
{
    batch s;
    memset(sum, 0, count * sizeof *sum);
    for (ptrdiff_t first = 0; first < segments; first += BATCH) {
        ptrdiff_t n = segments - first < BATCH ? segments - first : BATCH;
        const double *from = x + first, *of = y + first, *widths = at_source ? hwhm + first : NULL;
        describe(from, of, widths, n, &s);
        for (ptrdiff_t j = 0; j < count; j++) {
            double e = energy[j];
            int narrow = is_narrow(e, e, at_source ? s.lowest : hwhm[j], from[0], from[n], s.longest2);
            if (at_source)
                sum[j] += narrow ? slanted_part(from, of, widths, &s, n, e, 1) : slanted_part(from, of, widths, &s, n, e, 0);
            else
                sum[j] += narrow ? level_part(from, of, &s, n, e, hwhm[j], 1) : level_part(from, of, &s, n, e, hwhm[j], 0);
        }
    }
}

MULTIVERSIONED
static void lorentzian_sums_level(const double *energy, ptrdiff_t count, const double *hwhm, const double *x, const double *y,
                                  ptrdiff_t segments, double *sum)
{
    lorentzian_sums(energy, count, hwhm, 0, x, y, segments, sum);
}

MULTIVERSIONED
static void lorentzian_sums_slanted(const double *energy, ptrdiff_t count, const double *hwhm, const double *x, const double *y,
                                    ptrdiff_t segments, double *sum)
{
    lorentzian_sums(energy, count, hwhm, 1, x, y, segments, sum);
}

/* ---- far away: multipole sums -------------------------------------------------------------------------------------
 * The segments hang on a binary tree, node (level l, number i) owning those from i*count/2^l to (i+1)*count/2^l. A node
 * of centre c and radius r keeps M_p = ∫ y (ξ − c)^p du, ξ = x − iγ(source), and stands for its segments at
 * z = E + iγ(output) through −Σ M_p/(z − c)^(p+1) wherever r <= |z − c|/2.
 */
#define TERMS 32

typedef struct {
    const double *x, *hwhm, *y; /* hwhm: of the source points, or NULL when the width belongs to the output */
    double *nodes;              /* per node: centre (re, im), radius, unused, then moments */
    ptrdiff_t segments;
    int levels;
} tree;
#define HEAD 4
#define NODE_SIZE (HEAD + 2 * TERMS) /* the moments: TERMS real, TERMS imaginary parts */

INLINED double *tree_node(const tree *t, int level, ptrdiff_t i)
{
    return t->nodes + NODE_SIZE * (((ptrdiff_t)1 << level) - 1 + i);
}
INLINED ptrdiff_t tree_bound(const tree *t, int level, ptrdiff_t i) { return (i * t->segments) >> level; }

/* Nodes and weights of Gauss–Legendre rules on [-1, 1], the positive half of each symmetric rule. */
static const double GAUSS_4[4] = {0.3399810435848562648, 0.6521451548625461426, 0.8611363115940525752, 0.3478548451374538574};
static const double GAUSS_8[8] = {0.1834346424956498049, 0.3626837833783619830, 0.5255324099163289858, 0.3137066458778872873,
                                  0.7966664774136267396, 0.2223810344533744705, 0.9602898564975362317, 0.1012285362903762592};
static const double GAUSS_18[18] = {
    0.0847750130417353013, 0.1691423829631435918, 0.2518862256915055096, 0.1642764837458327230,
    0.4117511614628426460, 0.1546846751262652449, 0.5597708310739475346, 0.1406429146706506512,
    0.6916870430603532079, 0.1225552067114784602, 0.8037049589725231157, 0.1009420441062871656,
    0.8926024664975557392, 0.0764257302548890565, 0.9558239495713977552, 0.0497145488949697965,
    0.9915651684209309467, 0.0216160135264833103};

/* The moments of the segments of a leaf about its centre, eight segments at a time. Segments that are short against the
 * radius need fewer quadrature points. */
MULTIVERSIONED
static void leaf_moments(const tree *t, ptrdiff_t first, ptrdiff_t last, double *node)
{
    pack re[TERMS] = {{0}}, im[TERMS] = {{0}};
    for (ptrdiff_t start = first; start < last; start += LANE_COUNT) {
        pack x, h, y, rise, gamma, growth;
        double longest2 = 0.0;
        for (int l = 0; l < LANE_COUNT; l++) { /* lanes beyond the end have no length, so no weight */
            int used = start + l < last;
            ptrdiff_t k = used ? start + l : last - 1;
            x[l] = t->x[k];
            h[l] = used ? t->x[k + 1] - t->x[k] : 0.0;
            y[l] = t->y[k];
            rise[l] = t->y[k + 1] - t->y[k];
            gamma[l] = t->hwhm ? t->hwhm[k] : 0.0;
            growth[l] = t->hwhm ? t->hwhm[k + 1] - t->hwhm[k] : 0.0;
            double length2 = h[l] * h[l] + growth[l] * growth[l];
            longest2 = length2 > longest2 ? length2 : longest2;
        }
        double part2 = longest2 / (node[2] * node[2]);
        int points = part2 < 1.0 / 256 ? 4 : part2 < 1.0 / 64 ? 8 : 18;
        const double *rule = points == 4 ? GAUSS_4 : points == 8 ? GAUSS_8 : GAUSS_18;
        for (int q = 0; q < points; q++) {
            double at = 0.5 * (1.0 + (q & 1 ? rule[q - 1] : -rule[q]));
            pack d_re = x + at * h - node[0], d_im = -gamma - at * growth - node[1];
            pack p_re = 0.5 * rule[q | 1] * h * (y + at * rise), p_im = {0};
            for (int p = 0; p < TERMS; p++) {
                re[p] += p_re;
                im[p] += p_im;
                pack next = p_re * d_re - p_im * d_im;
                p_im = p_re * d_im + p_im * d_re;
                p_re = next;
            }
        }
    }
    for (int p = 0; p < TERMS; p++)
        for (int l = 0; l < LANE_COUNT; l++) {
            node[HEAD + p] += re[p][l];
            node[HEAD + TERMS + p] += im[p][l];
        }
}

/* Adds the moments of a child to those of its parent, moving them by the difference d of the centres (Horner's scheme
 * for the binomial sums). */
MULTIVERSIONED
static void move_moments(const double *child, double *parent)
{
    double re[TERMS], im[TERMS], d_re = child[0] - parent[0], d_im = child[1] - parent[1];
    memcpy(re, child + HEAD, sizeof re);
    memcpy(im, child + HEAD + TERMS, sizeof im);
    for (int low = 1; low < TERMS; low++)
        for (int p = TERMS - 1; p >= low; p--) {
            double shifted = re[p] + d_re * re[p - 1] - d_im * im[p - 1];
            im[p] += d_re * im[p - 1] + d_im * re[p - 1];
            re[p] = shifted;
        }
    for (int p = 0; p < TERMS; p++) {
        parent[HEAD + p] += re[p];
        parent[HEAD + TERMS + p] += im[p];
    }
}

/* Fills one node; its children, if it has any, must be filled. */
static void fill_node(const tree *t, int level, ptrdiff_t i)
{
    ptrdiff_t first = tree_bound(t, level, i), last = tree_bound(t, level, i + 1);
    double *node = tree_node(t, level, i), low = INFINITY, high = 0.0, radius = 0.0;
    memset(node, 0, NODE_SIZE * sizeof *node);
    if (t->hwhm)
        for (ptrdiff_t k = first; k <= last; k++) {
            low = t->hwhm[k] < low ? t->hwhm[k] : low;
            high = t->hwhm[k] > high ? t->hwhm[k] : high;
        }
    else
        low = 0.0;
    node[0] = 0.5 * (t->x[first] + t->x[last]);
    node[1] = -0.5 * (low + high);
    for (ptrdiff_t k = first; k <= last; k++) {
        double d = hypot(t->x[k] - node[0], (t->hwhm ? -t->hwhm[k] : 0.0) - node[1]);
        radius = d > radius ? d : radius;
    }
    node[2] = radius;
    if (level == t->levels)
        leaf_moments(t, first, last, node);
    else {
        move_moments(tree_node(t, level + 1, 2 * i), node);
        move_moments(tree_node(t, level + 1, 2 * i + 1), node);
    }
}

INLINED void lanes_part(const tree *t, ptrdiff_t first, ptrdiff_t n, const batch *s, const double *energy, const double *hwhm,
                        int narrow, double *near)
{
    const double *x = t->x + first, *y = t->y + first, *gamma = t->hwhm ? t->hwhm + first : NULL;
    for (ptrdiff_t k = 0; k < n; k++) {
        double x0 = x[k], x1 = x[k + 1];
        if (t->hwhm)
#pragma omp simd
            for (int l = 0; l < LANE_COUNT; l++)
                near[l] += lorentzian_slanted(x0 - energy[l], x1 - energy[l], x1 - x0, gamma[k], gamma[k + 1], y[k], s->slope[k],
                                              s->g[k], s->norm[k], narrow);
        else
#pragma omp simd
            for (int l = 0; l < LANE_COUNT; l++)
                near[l] += lorentzian_level(x0 - energy[l], x1 - energy[l], x1 - x0, hwhm[l], y[k], s->slope[k], narrow);
    }
}

/* Adds the segments of a leaf one by one. The energies increase; thinnest is the smallest of their hwhm. */
INLINED void near_leaf(const tree *t, ptrdiff_t begin, ptrdiff_t end, const double *energy, const double *hwhm, double thinnest,
                       double *near)
{
    batch s;
    for (ptrdiff_t first = begin; first < end; first += BATCH) {
        ptrdiff_t n = end - first < BATCH ? end - first : BATCH;
        describe(t->x + first, t->y + first, t->hwhm ? t->hwhm + first : NULL, n, &s);
        if (is_narrow(energy[0], energy[LANE_COUNT - 1], t->hwhm ? s.lowest : thinnest, t->x[first], t->x[first + n], s.longest2))
            lanes_part(t, first, n, &s, energy, hwhm, 1, near);
        else
            lanes_part(t, first, n, &s, energy, hwhm, 0, near);
    }
}

/* π times the spectrum at LANE_COUNT neighbouring outputs in increasing order: a node stands for its segments where it is far
 * enough from all of them, else each half is looked at, and the segments of a near leaf are added one by one. */
MULTIVERSIONED
static void tree_block(const tree *t, const double *energy, const double *hwhm, double *total)
{
    struct { ptrdiff_t i; int level; } todo[64] = {{0, 0}};
    pack e, g, sum = {0};
    memcpy(&e, energy, sizeof e);
    memcpy(&g, hwhm, sizeof g);
    double thinnest = hwhm[0];
    for (int l = 1; l < LANE_COUNT; l++) thinnest = fmin(thinnest, hwhm[l]);
    for (int left = 1; left > 0;) {
        left--;
        int level = todo[left].level;
        ptrdiff_t i = todo[left].i;
        const double *node = tree_node(t, level, i);
        pack d_re = e - node[0], d_im = g - node[1], distance2 = d_re * d_re + d_im * d_im;
        double nearest2 = distance2[0];
        for (int l = 1; l < LANE_COUNT; l++) nearest2 = distance2[l] < nearest2 ? distance2[l] : nearest2;
        double ratio2 = node[2] * node[2] / nearest2;
        if (!(ratio2 <= 0.25)) {
            if (level < t->levels) {
                todo[left].level = todo[left + 1].level = level + 1;
                todo[left].i = 2 * i + 1;
                todo[left + 1].i = 2 * i;
                left += 2;
                continue;
            }
            double near[LANE_COUNT] = {0};
            near_leaf(t, tree_bound(t, level, i), tree_bound(t, level, i + 1), energy, hwhm, thinnest, near);
            for (int l = 0; l < LANE_COUNT; l++) sum[l] += near[l];
            continue;
        }
        /* (1/2)^32, (1/4)^16, (1/8)^12 ... : the same truncation error with fewer terms further away */
        int terms = ratio2 > 0.0625 ? 32 : ratio2 > 0.015625 ? 16 : ratio2 > 0.00390625 ? 12 : 8;
        const double *re = node + HEAD, *im = re + TERMS;
        pack i_re = d_re / distance2, i_im = -d_im / distance2;
        /* two chains, of even and of odd powers, because each step waits for the one before */
        pack s_re = i_re * i_re - i_im * i_im, s_im = 2 * i_re * i_im;
        pack even_re = {0}, even_im = {0}, odd_re = {0}, odd_im = {0};
        for (int p = terms - 2; p >= 0; p -= 2) {
            pack even = even_re * s_re - even_im * s_im + re[p], odd = odd_re * s_re - odd_im * s_im + re[p + 1];
            even_im = even_re * s_im + even_im * s_re + im[p];
            odd_im = odd_re * s_im + odd_im * s_re + im[p + 1];
            even_re = even;
            odd_re = odd;
        }
        pack sum_re = even_re + odd_re * i_re - odd_im * i_im, sum_im = even_im + odd_re * i_im + odd_im * i_re;
        sum -= sum_re * i_im + sum_im * i_re;
    }
    memcpy(total, &sum, sizeof sum);
}

/* ---- Gaussian and Voigt --------------------------------------------------------------------------------------- */

#define CUT 10.0 /* sigmas beyond which a Gaussian (1e-23 of its area) is left out */

/* One long segment's integral with a normalised Gaussian, by differences of error functions. */
static double gaussian_segment(double w0, double w1, double h, double sigma, double y0, double y1)
{
    double a = w0 / sigma, b = w1 / sigma, area, root_half = 0.70710678118654752440;
    if (a > 0)
        area = 0.5 * (erfc(a * root_half) - erfc(b * root_half));
    else if (b < 0)
        area = 0.5 * (erfc(-b * root_half) - erfc(-a * root_half));
    else
        area = 0.5 * (erf(b * root_half) - erf(a * root_half));
    return y0 * area
           + (y1 - y0) / h * (sigma * 0.39894228040143267794 * (exp(-0.5 * a * a) - exp(-0.5 * b * b)) - w0 * area);
}

/* The segments low <= k < high that are not longer than sigma, by quadrature, because differences of error functions
 * would cancel. Returns how many are longer. */
INLINED ptrdiff_t gaussian_points(double energy, double sigma, const double *x, const double *y, ptrdiff_t low,
                                  ptrdiff_t high, int points, const double *rule, double *total)
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
static ptrdiff_t gaussian_short(double energy, double sigma, int fine, const double *x, const double *y, ptrdiff_t low,
                                ptrdiff_t high, double *total)
{
    return fine ? gaussian_points(energy, sigma, x, y, low, high, 4, GAUSS_4, total)
                : gaussian_points(energy, sigma, x, y, low, high, 8, GAUSS_8, total);
}

static double gaussian_sum(double energy, double sigma, double longest, const double *x, const double *y,
                           ptrdiff_t segments)
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
    ptrdiff_t longer = gaussian_short(energy, sigma, longest <= 0.125 * sigma, x, y, low, high, &sum);
    for (ptrdiff_t k = low; longer > 0 && k < high; k++)
        if (x[k + 1] - x[k] > sigma)
            sum += gaussian_segment(x[k] - energy, x[k + 1] - energy, x[k + 1] - x[k], sigma, y[k], y[k + 1]);
    return sum;
}

/* π (Voigt − Lorentzian) at v where |v − iγ| >= 20σ: the asymptotic series Im Σ (2j−1)!! σ^2j / (v − iγ)^(2j+1). */
static double voigt_excess(double v, double hwhm, double sigma)
{
    double d2 = v * v + hwhm * hwhm, i_re = v / d2, i_im = hwhm / d2;
    double s_re = sigma * sigma * (i_re * i_re - i_im * i_im), s_im = 2 * sigma * sigma * i_re * i_im;
    double re = 0.0, im = 0.0;
    for (int j = 9; j > 0; j--) { /* re + i im = (2j-1) s (1 + inner) */
        double r = 1.0 + re, m = im, factor = 2 * j - 1;
        re = factor * (s_re * r - s_im * m);
        im = factor * (s_re * m + s_im * r);
    }
    return re * i_im + im * i_re;
}

#endif
