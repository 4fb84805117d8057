"""Measured spectra and traces, from the file to a statement; knows nothing of how the theory was computed."""
