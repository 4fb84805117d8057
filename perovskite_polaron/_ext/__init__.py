"""Compiled kernels, built from ext/; reached only through perovskite_polaron.kernels."""
