"""Broadening, alignment, averages and differences; knows nothing of Quantum ESPRESSO."""
