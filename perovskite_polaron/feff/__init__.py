"""FEFF10: clusters, inputs, runs and outputs. Real-space multiple scattering, any edge."""
