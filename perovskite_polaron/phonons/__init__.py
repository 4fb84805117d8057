"""Phonons: modes from forces and files, charges, choice, distortion, projection."""
