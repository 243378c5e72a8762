"""Grids of runs: cells that are finished once, here or over a Ray cluster; sweeps of settings."""
