"""Solvers: one low-resolution image in, one super-resolved image out."""
