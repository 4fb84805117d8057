"""Geometry of the BX6 octahedra of many displaced structures, without building the structures."""

from cython.parallel cimport prange
from libc.math cimport atan2, cbrt, fabs, sqrt

cdef double DEGREES = 57.29577951308232


cdef inline double _dot(const double* a, const double* b) noexcept nogil:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


cdef inline double _angle(const double* a, const double* b) noexcept nogil:
    cdef double x = a[1] * b[2] - a[2] * b[1]
    cdef double y = a[2] * b[0] - a[0] * b[2]
    cdef double z = a[0] * b[1] - a[1] * b[0]
    return DEGREES * atan2(sqrt(x * x + y * y + z * z), _dot(a, b))


cdef inline double _triple(const double* a, const double* b, const double* c) noexcept nogil:
    return (a[0] * (b[1] * c[2] - b[2] * c[1]) + a[1] * (b[2] * c[0] - b[0] * c[2])
            + a[2] * (b[0] * c[1] - b[1] * c[0]))


cdef inline void _bond(const double* rest, const double* change, const double* coefficients,
                       Py_ssize_t n_modes, Py_ssize_t stride, double* out) noexcept nogil:
    cdef Py_ssize_t m, i
    for i in range(3):
        out[i] = rest[i]
    for m in range(n_modes):
        for i in range(3):
            out[i] += coefficients[m] * change[m * stride + i]


cdef void _octahedron(const double* d, const double* axes, double* length, double* scalar, double* tilt) noexcept nogil:
    # Ligands come as +1, -1, +2, -2, +3, -3 along the pseudo-cubic axes.
    cdef Py_ssize_t i, j, k
    cdef double mean = 0.0, squares = 0.0, variance = 0.0, volume = 0.0, angles = 0.0, a, r2
    cdef double centre[3]
    cdef double axis[3]
    for i in range(6):
        length[i] = sqrt(_dot(d + 3 * i, d + 3 * i))
        mean += length[i] / 6
    for i in range(3):
        centre[i] = 0.0
        for j in range(6):
            centre[i] += d[3 * j + i] / 6
    for i in range(6):
        squares += length[i] * length[i] / 6
        variance += (length[i] - mean) * (length[i] - mean) / 6
    for i in range(0, 2):
        for j in range(2, 4):
            a = _angle(d + 3 * i, d + 3 * j) - 90
            angles += a * a / 11
            for k in range(4, 6):
                volume += fabs(_triple(d + 3 * i, d + 3 * j, d + 3 * k)) / 6
    for i in range(0, 4):
        for j in range(4, 6):
            a = _angle(d + 3 * i, d + 3 * j) - 90
            angles += a * a / 11
    r2 = cbrt(0.75 * volume)
    scalar[0] = sqrt(_dot(centre, centre))
    scalar[1] = variance
    scalar[2] = squares / (r2 * r2)
    scalar[3] = angles
    for k in range(3):
        for i in range(3):
            axis[i] = d[6 * k + i] - d[6 * k + 3 + i]
        tilt[k] = _angle(axis, axes + 3 * k)


def octahedra(const double[:, :, ::1] rest not None, const double[:, :, :, ::1] changes not None,
              const double[:, ::1] coefficients not None, const double[:, ::1] axes not None,
              const Py_ssize_t[:, ::1] bridges not None, double[:, :, ::1] lengths not None,
              double[:, :, ::1] scalars not None, double[:, :, ::1] tilts not None,
              double[:, ::1] angles not None, int threads):
    cdef Py_ssize_t s
    cdef Py_ssize_t n_modes = changes.shape[0], n_b = rest.shape[0], n_bridges = bridges.shape[0]
    cdef const Py_ssize_t* pairs = NULL
    if n_bridges:
        pairs = &bridges[0, 0]
    for s in prange(coefficients.shape[0], nogil=True, schedule="static", num_threads=threads):
        _structure(&rest[0, 0, 0], &changes[0, 0, 0, 0], &coefficients[s, 0], &axes[0, 0], pairs, n_modes, n_b,
                   n_bridges, &lengths[s, 0, 0], &scalars[s, 0, 0], &tilts[s, 0, 0],
                   &angles[s, 0] if n_bridges else NULL)


cdef void _structure(const double* rest, const double* changes, const double* coefficients, const double* axes,
                     const Py_ssize_t* bridges, Py_ssize_t n_modes, Py_ssize_t n_b, Py_ssize_t n_bridges,
                     double* lengths, double* scalars, double* tilts, double* angles) noexcept nogil:
    cdef double d[18]
    cdef double e[6]
    cdef Py_ssize_t b, i, stride = n_b * 18
    for b in range(n_b):
        for i in range(6):
            _bond(rest + 18 * b + 3 * i, changes + 18 * b + 3 * i, coefficients, n_modes, stride, &d[3 * i])
        _octahedron(&d[0], axes, lengths + 6 * b, scalars + 4 * b, tilts + 3 * b)
    for b in range(n_bridges):
        for i in range(2):
            _bond(rest + 3 * bridges[2 * b + i], changes + 3 * bridges[2 * b + i], coefficients, n_modes, stride,
                  &e[3 * i])
        angles[b] = _angle(&e[0], &e[3])
