"""Measured data: readers, normalisation, comparison, kinetics and fits; knows nothing of Quantum ESPRESSO."""
