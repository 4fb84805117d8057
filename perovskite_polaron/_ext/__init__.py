"""The compiled core; the only door to it is perovskite_polaron.kernels."""
