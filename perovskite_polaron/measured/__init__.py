"""Measured data: readers, scans, treatment."""
