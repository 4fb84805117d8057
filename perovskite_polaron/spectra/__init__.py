"""Spectra as physics: broadening, alignment, averages and differences; knows nothing of Quantum ESPRESSO."""
