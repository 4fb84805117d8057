"""Crystals: files, symmetry, matching of atoms, octahedra."""
