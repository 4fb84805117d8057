"""Formats of the neighbour program, Quantum ESPRESSO: its inputs, outputs and save files, and
nothing else.
"""
