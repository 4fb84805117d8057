"""Broadening of piecewise-linear spectra, and exponential decays seen through a Gaussian pulse.

Called by kernels/convolution.py: the Lorentzian with a width for each energy to lay a calculated
spectrum on a measured one, the Gaussian for instrument resolution, densities of states and the
smoothing of scenarios, the pulse response for kinetics. Each output is one fixed sum; a call
computes those from number first up to last.
"""

from libc.math cimport M_PI, erfc, sqrt

cdef extern from "pulse.h" nogil:
    void pulse_response(const double *delay, Py_ssize_t count, double lifetime, double sigma,
                        double t0, double *value, double *d_lifetime, double *d_sigma, double *d_t0,
                        int gradient) noexcept

cdef extern from "broadening.h" nogil:
    double angle(double im, double re) noexcept
    double lorentzian_sum(double energy, double hwhm, const double *x, const double *y,
                          const double *slope, Py_ssize_t segments) noexcept
    double gaussian_sum(double energy, double sigma, double longest, const double *x,
                        const double *y, const double *slope, Py_ssize_t segments) noexcept


def lorentzian(const double[::1] x, const double[:, ::1] y, const double[:, ::1] slope,
               const double[::1] out_x, const double[::1] hwhm, bint continued, double[:, ::1] out,
               Py_ssize_t first, Py_ssize_t last):
    """out[r, j] = the spectrum r broadened by a Lorentzian of hwhm[j] at out_x[j].

    Outputs are counted row by row.
    """
    cdef Py_ssize_t n = x.shape[0], m = out_x.shape[0], task, row, j
    cdef double total
    with nogil:
        for task in range(first, last):
            row = task // m
            j = task % m
            total = lorentzian_sum(out_x[j], hwhm[j], &x[0], &y[row, 0], &slope[row, 0], n - 1)
            if continued:
                total += (y[row, 0] * angle(hwhm[j], out_x[j] - x[0])
                          + y[row, n - 1] * angle(hwhm[j], x[n - 1] - out_x[j]))
            out[row, j] = total / M_PI


def gaussian(const double[::1] x, const double[:, ::1] y, const double[:, ::1] slope,
             const double[::1] out_x, const double[::1] sigma, bint continued, double[:, ::1] out,
             Py_ssize_t first, Py_ssize_t last):
    """out[r, j] = the spectrum r broadened by a Gaussian of sigma[j] at out_x[j].

    Outputs are counted row by row.
    """
    cdef Py_ssize_t n = x.shape[0], m = out_x.shape[0], task, row, j
    cdef double total, scale, longest = 0.0
    with nogil:
        for j in range(n - 1):
            longest = max(longest, x[j + 1] - x[j])
        for task in range(first, last):
            row = task // m
            j = task % m
            total = gaussian_sum(out_x[j], sigma[j], longest, &x[0], &y[row, 0], &slope[row, 0],
                                 n - 1)
            if continued:
                scale = sqrt(0.5) / sigma[j]
                total += 0.5 * (y[row, 0] * erfc((out_x[j] - x[0]) * scale)
                                + y[row, n - 1] * erfc((x[n - 1] - out_x[j]) * scale))
            out[row, j] = total


def exponential_gaussian(const double[::1] delay, const double[::1] lifetime, double sigma,
                         double t0, bint gradient, double[:, :, ::1] out, Py_ssize_t first,
                         Py_ssize_t last):
    """out[0, c] = response of component c; first and last count delays.

    With gradient, out[1..3, c] are its derivatives by lifetime, sigma and t0.
    """
    cdef Py_ssize_t c, rows = 3 * gradient
    with nogil:
        for c in range(lifetime.shape[0]):
            pulse_response(&delay[first], last - first, lifetime[c], sigma, t0, &out[0, c, first],
                           &out[rows // 3, c, first], &out[2 * rows // 3, c, first],
                           &out[rows, c, first], gradient)
