"""Geometry of the BX6 octahedra of many displaced structures, without building the structures.

Called by kernels/geometry.py for the bond tables and figures of a sweep, that is by
lattice/octahedra.sweep_bonds, and for `polaron bonds`.
"""

from libc.math cimport asin, atan, cbrt, fabs, sqrt

cdef double DEGREES = 57.29577951308232


cdef inline double _dot(const double* a, const double* b) noexcept nogil:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


cdef inline double _angle(const double* a, const double* b) noexcept nogil:
    cdef double x = a[1] * b[2] - a[2] * b[1]
    cdef double y = a[2] * b[0] - a[0] * b[2]
    cdef double z = a[0] * b[1] - a[1] * b[0]
    cdef double sine = sqrt(x * x + y * y + z * z), cosine = _dot(a, b)
    # As atan2(sine, cosine), at less than half the cost; exact near 0 and 180 degrees alike.
    if cosine > 0:
        return DEGREES * atan(sine / cosine)
    if cosine < 0:
        return 180 + DEGREES * atan(sine / cosine)
    return 90.0


cdef inline double _from_right(const double* a, const double* b, double scale) noexcept nogil:
    # Deviation from a right angle, where the arc sine loses nothing; scale: one over both lengths.
    cdef double cosine = _dot(a, b) * scale
    if cosine > 1:
        cosine = 1
    elif cosine < -1:
        cosine = -1
    return DEGREES * asin(cosine)


cdef inline double _triple(const double* a, const double* b, const double* c) noexcept nogil:
    return (a[0] * (b[1] * c[2] - b[2] * c[1]) + a[1] * (b[2] * c[0] - b[0] * c[2])
            + a[2] * (b[0] * c[1] - b[1] * c[0]))


cdef inline void _vectors(const double* rest, const double* changes, const double* coefficients,
                          Py_ssize_t n_modes, Py_ssize_t stride, int count,
                          double* out) noexcept nogil:
    cdef Py_ssize_t m
    cdef int i
    for i in range(count):
        out[i] = rest[i] + coefficients[0] * changes[i]
    for m in range(1, n_modes):
        for i in range(count):
            out[i] += coefficients[m] * changes[m * stride + i]


cdef inline void _octahedron(const double* d, const double* axes, double* length, double* scalar,
                             double* tilt) noexcept nogil:
    # Ligands come as +1, -1, +2, -2, +3, -3 along the pseudo-cubic axes.
    cdef int i, j, k
    cdef double mean = 0.0, squares = 0.0, variance = 0.0, angles = 0.0, a, side
    cdef double centre[3]
    cdef double inverse[6]
    cdef double axis[9]
    for i in range(6):
        a = _dot(d + 3 * i, d + 3 * i)
        squares += a / 6
        length[i] = sqrt(a)
        inverse[i] = 1 / length[i]
        mean += length[i] / 6
    for i in range(3):
        centre[i] = (d[i] + d[3 + i] + d[6 + i] + d[9 + i] + d[12 + i] + d[15 + i]) / 6
    for i in range(6):
        variance += (length[i] - mean) * (length[i] - mean) / 6
    for i in range(4):
        for j in range(2 * (i // 2) + 2, 6):
            a = _from_right(d + 3 * i, d + 3 * j, inverse[i] * inverse[j])
            angles += a * a / 11
    for k in range(3):
        for i in range(3):
            axis[3 * k + i] = d[6 * k + i] - d[6 * k + 3 + i]
        tilt[k] = _angle(&axis[3 * k], axes + 3 * k)
    # The eight tetrahedra that meet at B add up to a sixth of the determinant of the three X-X
    # diagonals.
    side = cbrt(fabs(_triple(&axis[0], &axis[3], &axis[6])) / 8)
    scalar[0] = sqrt(_dot(centre, centre))
    scalar[1] = variance
    scalar[2] = squares / (side * side)
    scalar[3] = angles


def octahedra(const double[:, :, ::1] rest not None, const double[:, :, :, ::1] changes not None,
              const double[:, ::1] coefficients not None, const double[:, ::1] axes not None,
              const Py_ssize_t[:, ::1] bridges not None, double[:, :, ::1] lengths not None,
              double[:, :, ::1] scalars not None, double[:, :, ::1] tilts not None,
              double[:, ::1] angles not None, Py_ssize_t first, Py_ssize_t last):
    """Fills lengths, scalars, tilts and angles of the structures from first to last."""
    cdef Py_ssize_t s, n_modes = changes.shape[0], n_b = rest.shape[0], n_bridges = bridges.shape[0]
    cdef const Py_ssize_t* pairs = NULL
    if n_bridges:
        pairs = &bridges[0, 0]
    with nogil:
        for s in range(first, last):
            _structure(&rest[0, 0, 0], &changes[0, 0, 0, 0], &coefficients[s, 0], &axes[0, 0],
                       pairs, n_modes, n_b, n_bridges, &lengths[s, 0, 0], &scalars[s, 0, 0],
                       &tilts[s, 0, 0], &angles[s, 0] if n_bridges else NULL)


cdef void _structure(const double* rest, const double* changes, const double* coefficients,
                     const double* axes, const Py_ssize_t* bridges, Py_ssize_t n_modes,
                     Py_ssize_t n_b, Py_ssize_t n_bridges, double* lengths, double* scalars,
                     double* tilts, double* angles) noexcept nogil:
    cdef double d[18]
    cdef double e[6]
    cdef Py_ssize_t b, i, stride = n_b * 18
    for b in range(n_b):
        _vectors(rest + 18 * b, changes + 18 * b, coefficients, n_modes, stride, 18, &d[0])
        _octahedron(&d[0], axes, lengths + 6 * b, scalars + 4 * b, tilts + 3 * b)
    for b in range(n_bridges):
        for i in range(2):
            _vectors(rest + 3 * bridges[2 * b + i], changes + 3 * bridges[2 * b + i], coefficients,
                     n_modes, stride, 3, &e[3 * i])
        angles[b] = _angle(&e[0], &e[3])
