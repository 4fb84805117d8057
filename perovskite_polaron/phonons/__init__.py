"""Phonons: force constants, the modes they give, files of other programs that hold modes, and what they tell."""
