"""Phonons of a crystal from forces: displaced cells, force constants, dynamics, response and
selection."""
