"""Prints the polynomial coefficients of special.h: Chebyshev interpolants computed with 60 digits,
as powers.

Run it (``python ext/coefficients.py``, needs mpmath) and paste what it prints when an interval or a
degree changes.
"""

from mpmath import atan, atanh, cos, erfc, exp, matrix, mp, mpf, pi, polyval, sqrt

mp.dps = 60


def powers(function, low, high, terms):
    """Coefficients, lowest first, of the interpolant through the Chebyshev points of [low, high].
    """
    low, high = mpf(low), mpf(high)
    nodes = [cos(pi * (2 * k + 1) / (2 * terms)) for k in range(terms)]
    points = [(low + high) / 2 + (high - low) / 2 * node for node in nodes]
    vandermonde = matrix(terms, terms)
    for i, point in enumerate(points):
        for j in range(terms):
            vandermonde[i, j] = point**j
    coefficients = list(mp.lu_solve(vandermonde, matrix([function(point) for point in points])))
    checks = [low + (high - low) * k / 1000 for k in range(1, 1000)]
    worst = max(abs(polyval(coefficients[::-1], x) / function(x) - 1) for x in checks)
    return coefficients, worst


def scaled_erfc(z):
    return exp(z * z) * erfc(z) if z < 100 else sum(
        (-1) ** k * mp.fac2(2 * k - 1) / (2 * z * z) ** k for k in range(12)) / (z * sqrt(pi))


def residue(z):
    """1 − √π z erfcx(z)."""
    return 1 - sqrt(pi) * z * scaled_erfc(z) if z < 100 else -sum(
        (-1) ** k * mp.fac2(2 * k - 1) / (2 * z * z) ** k for k in range(1, 12))


def of_half_line(function, centre):
    return lambda t: function(centre * (1 + t) / (1 - t))


CENTRE = mpf("3.75")
TABLES = {"ATAN": (lambda q: atan(sqrt(q)) / sqrt(q), 1e-30, mpf("0.1716"), 12),
          "ATANH": (lambda q: atanh(sqrt(q)) / sqrt(q), 1e-30, mpf("0.0425"), 9),
          "EXP": (exp, mpf("-0.3466"), mpf("0.3466"), 12),
          "ERFCX": (of_half_line(lambda z: (1 + 2 * z) * scaled_erfc(z), CENTRE), -1,
                    mpf(1) - mpf(10) ** -9, 28),
          "EXP2": (lambda x: mp.expm1(x * mp.ln2) / x if x else mp.ln2, mpf("-0.5"), mpf("0.5"),
                   11),
          "RESIDUE": (of_half_line(lambda z: (1 + 2 * z + 2 * z * z) * residue(z), CENTRE), -1,
                      mpf(1) - mpf(10) ** -9, 30)}
if __name__ == "__main__":
    for name, (function, low, high, terms) in TABLES.items():
        coefficients, worst = powers(function, low, high, terms)
        print(f"/* {name}: largest relative error {mp.nstr(worst, 2)} */")
        print(f"#define {name}_POWERS " + ", ".join(mp.nstr(c, 19) for c in coefficients))
