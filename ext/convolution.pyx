"""Broadening of piecewise-linear spectra, and the response of exponential decays to a Gaussian pulse.

Every loop over output points is shared out between threads; each point is one fixed sum, so the result does not
depend on how many threads there are.
"""

from cython.parallel cimport prange
from libc.math cimport M_PI, erfc, fabs, sqrt
from scipy.special.cython_special cimport wofz

cdef extern from "pulse.h" nogil:
    void pulse_response(const double *delay, Py_ssize_t count, double lifetime, double sigma, double t0, double *value,
                        double *d_lifetime, double *d_sigma, double *d_t0, int gradient) noexcept

cdef extern from "broadening.h" nogil:
    ctypedef struct tree:
        const double *x
        const double *hwhm
        const double *y
        double *nodes
        Py_ssize_t segments
        int levels
    int NODE_SIZE
    const double *GAUSS_4
    const double *GAUSS_8
    double angle(double im, double re) noexcept
    double lorentzian_level(double w0, double w1, double h, double gamma, double y0, double slope, int narrow) noexcept
    void lorentzian_sums_level(const double *energy, Py_ssize_t count, const double *hwhm, const double *x,
                               const double *y, Py_ssize_t segments, double *sum) noexcept
    void lorentzian_sums_slanted(const double *energy, Py_ssize_t count, const double *hwhm, const double *x,
                                 const double *y, Py_ssize_t segments, double *sum) noexcept
    void fill_node(const tree *t, int level, Py_ssize_t i) noexcept
    enum: LANE_COUNT
    void tree_block(const tree *t, const double *energy, const double *hwhm, double *total) noexcept
    double gaussian_sum(double energy, double sigma, double longest, const double *x, const double *y,
                        Py_ssize_t segments) noexcept
    double voigt_excess(double v, double hwhm, double sigma) noexcept

NODE_DOUBLES = NODE_SIZE

# A thread takes so many outputs at a time: widths often grow along a spectrum, and with them the work of an output.
cdef enum:
    TURN = 8


cdef double lorentzian_tails(double energy, double hwhm_left, double hwhm_right, double x_first, double x_last,
                             double y_first, double y_last) noexcept nogil:
    """π times the part of the first and last value continued to infinity."""
    return y_first * angle(hwhm_left, energy - x_first) + y_last * angle(hwhm_right, x_last - energy)


cdef void exact_block(const double *x, const double *y, Py_ssize_t n, const double *out_x, const double *hwhm,
                      Py_ssize_t first, Py_ssize_t m, bint at_source, bint continued, double *out) noexcept nogil:
    """The next TURN of m outputs, or as many as there are."""
    cdef Py_ssize_t j, left, right, count = min(<Py_ssize_t>TURN, m - first)
    if at_source:
        lorentzian_sums_slanted(out_x + first, count, hwhm, x, y, n - 1, out + first)
    else:
        lorentzian_sums_level(out_x + first, count, hwhm + first, x, y, n - 1, out + first)
    for j in range(first, first + count):
        if continued:
            left = 0 if at_source else j
            right = n - 1 if at_source else j
            out[j] += lorentzian_tails(out_x[j], hwhm[left], hwhm[right], x[0], x[n - 1], y[0], y[n - 1])
        out[j] /= M_PI


def lorentzian(const double[::1] x, const double[:, ::1] y, const double[::1] out_x, const double[::1] hwhm,
               bint at_source, bint continued, double[:, ::1] out, int threads):
    """out[r, j] = the broadened spectrum r at out_x[j]; hwhm has one value per source (at_source) or output point."""
    cdef Py_ssize_t n = x.shape[0], m = out_x.shape[0], turns = (m + TURN - 1) // TURN, task
    for task in prange(turns * y.shape[0], nogil=True, num_threads=threads, schedule="dynamic"):
        exact_block(&x[0], &y[task // turns, 0], n, &out_x[0], &hwhm[0], task % turns * TURN, m, at_source, continued,
                    &out[task // turns, 0])


cdef void fast_block(const tree *t, const double *out_x, const double *hwhm, Py_ssize_t count, bint continued,
                     double *out) noexcept nogil:
    """The next count <= LANE_COUNT outputs; the last one fills lanes that are left over."""
    cdef double[LANE_COUNT] energy
    cdef double[LANE_COUNT] width
    cdef double[LANE_COUNT] total
    cdef Py_ssize_t k, lane, last = t.segments
    for lane in range(LANE_COUNT):
        k = min(lane, count - 1)
        energy[lane] = out_x[k]
        width[lane] = 0.0 if t.hwhm else hwhm[k]
    tree_block(t, energy, width, total)
    for lane in range(count):
        if continued:
            if t.hwhm:
                total[lane] += lorentzian_tails(energy[lane], t.hwhm[0], t.hwhm[last], t.x[0], t.x[last], t.y[0],
                                                t.y[last])
            else:
                total[lane] += lorentzian_tails(energy[lane], width[lane], width[lane], t.x[0], t.x[last], t.y[0],
                                                t.y[last])
        out[lane] = total[lane] / M_PI


def lorentzian_fast(const double[::1] x, const double[::1] y, const double[::1] out_x, const double[::1] hwhm,
                    bint at_source, bint continued, int levels, double[::1] nodes, double[::1] out, int threads):
    """The same for one spectrum through a tree of 2^levels leaves; nodes: NODE_DOUBLES per node.

    Outputs are taken LANE_COUNT at a time, so they should come in increasing order.
    """
    cdef Py_ssize_t m = out_x.shape[0], blocks = (m + LANE_COUNT - 1) // LANE_COUNT, b, i
    cdef int level, several
    cdef tree t
    t.x = &x[0]
    t.y = &y[0]
    t.hwhm = &hwhm[0] if at_source else NULL
    t.nodes = &nodes[0]
    t.segments = x.shape[0] - 1
    t.levels = levels
    for level in range(levels, -1, -1):
        several = threads if level else 1
        for i in prange(<Py_ssize_t>1 << level, nogil=True, num_threads=several, schedule="static"):
            fill_node(&t, level, i)
    for b in prange(blocks, nogil=True, num_threads=threads, schedule="dynamic", chunksize=TURN):
        i = b * LANE_COUNT
        fast_block(&t, &out_x[i], &hwhm[0 if at_source else i], min(<Py_ssize_t>LANE_COUNT, m - i), continued, &out[i])


def gaussian(const double[::1] x, const double[:, ::1] y, const double[::1] out_x, const double[::1] sigma,
             bint continued, double[:, ::1] out, int threads):
    """out[r, j] = the spectrum r broadened by a Gaussian of sigma[j] at out_x[j]."""
    cdef Py_ssize_t n = x.shape[0], m = out_x.shape[0], task, row, j
    cdef double total, scale, longest = 0.0
    for j in range(n - 1):
        longest = max(longest, x[j + 1] - x[j])
    for task in prange(m * y.shape[0], nogil=True, num_threads=threads, schedule="dynamic", chunksize=TURN):
        row = task // m
        j = task % m
        total = gaussian_sum(out_x[j], sigma[j], longest, &x[0], &y[row, 0], n - 1)
        if continued:
            scale = sqrt(0.5) / sigma[j]
            total = total + 0.5 * (y[row, 0] * erfc((out_x[j] - x[0]) * scale)
                                   + y[row, n - 1] * erfc((x[n - 1] - out_x[j]) * scale))
        out[row, j] = total


cdef double voigt_value(double v, double hwhm, double sigma) noexcept nogil:
    """π times the normalised Voigt profile."""
    cdef double scale = sqrt(0.5) / sigma
    return sqrt(M_PI) * scale * wofz(v * scale + 1j * (hwhm * scale)).real


cdef double voigt_piece(double a, double b, double value, double slope, double hwhm, double sigma,
                        bint near) noexcept nogil:
    """Integral on [a, b] of the profile (near) or its excess over the Lorentzian (far), times value + slope (v − a)."""
    cdef double total = 0.0, half = 0.5 * (b - a), u, profile
    cdef bint fine = b - a <= 0.125 * sigma
    cdef const double *rule = GAUSS_4 if fine else GAUSS_8
    cdef int q
    for q in range(4 if fine else 8):
        u = half * (1.0 + (rule[q - 1] if q % 2 else -rule[q]))
        profile = voigt_value(a + u, hwhm, sigma) if near else voigt_excess(a + u, hwhm, sigma)
        total += rule[q | 1] * profile * (value + slope * u)
    return half * total


cdef double voigt_segment(double w0, double w1, double y0, double y1, double hwhm, double sigma) noexcept nogil:
    """π times one segment: beyond 20 sigma the Lorentzian's own integral and its asymptotic excess, else quadrature."""
    cdef double edge = sqrt(max(0.0, 400.0 * sigma * sigma - hwhm * hwhm)), slope = (y1 - y0) / (w1 - w0)
    cdef double a = w0, b, value, total = 0.0
    cdef bint near
    while a < w1:
        near = -edge <= a < edge
        b = a + (sigma if near else 0.5 * sqrt(a * a + hwhm * hwhm))
        if a < -edge and b > -edge:
            b = -edge
        if near and b > edge:
            b = edge
        if b > w1 or b <= a:
            b = w1
        value = y0 + slope * (a - w0)
        if not near:
            total += lorentzian_level(a, b, b - a, hwhm, value, slope, 0)
        total += voigt_piece(a, b, value, slope, hwhm, sigma, near)
        a = b
    return total


def voigt(const double[::1] x, const double[:, ::1] y, const double[::1] out_x, const double[::1] hwhm,
          const double[::1] sigma, bint continued, double[:, ::1] out, int threads):
    """out[r, j] = the spectrum r broadened by a Voigt profile of hwhm[j] and sigma[j] at out_x[j].

    Continued ends are integrated out to 1e9 widths and spans by doubling pieces, then as a Lorentzian.
    """
    cdef Py_ssize_t n = x.shape[0], m = out_x.shape[0], task, row, j, k
    cdef double total, far
    for task in prange(m * y.shape[0], nogil=True, num_threads=threads, schedule="dynamic", chunksize=TURN):
        row = task // m
        j = task % m
        total = 0.0
        for k in range(n - 1):
            total = total + voigt_segment(x[k] - out_x[j], x[k + 1] - out_x[j], y[row, k], y[row, k + 1], hwhm[j],
                                          sigma[j])
        if continued:
            far = 1e9 * (fabs(x[0] - out_x[j]) + fabs(x[n - 1] - out_x[j]) + hwhm[j] + sigma[j])
            total = (total + voigt_segment(-far, x[0] - out_x[j], y[row, 0], y[row, 0], hwhm[j], sigma[j])
                     + voigt_segment(x[n - 1] - out_x[j], far, y[row, n - 1], y[row, n - 1], hwhm[j], sigma[j])
                     + (y[row, 0] + y[row, n - 1]) * angle(hwhm[j], far))
        out[row, j] = total / M_PI


def exponential_gaussian(const double[::1] delay, const double[::1] lifetime, double sigma, double t0,
                         bint gradient, double[:, :, ::1] out, int threads):
    """out[0, c] = response of component c; with gradient, out[1..3, c] its derivatives by lifetime, sigma and t0."""
    cdef Py_ssize_t m = delay.shape[0], chunk = 512, chunks = (m + chunk - 1) // chunk, task, c, k, last = 3 * gradient
    for task in prange(chunks * lifetime.shape[0], nogil=True, num_threads=threads, schedule="dynamic"):
        c = task // chunks
        k = (task % chunks) * chunk
        pulse_response(&delay[k], min(chunk, m - k), lifetime[c], sigma, t0, &out[0, c, k], &out[last // 3, c, k],
                       &out[2 * last // 3, c, k], &out[last, c, k], gradient)
