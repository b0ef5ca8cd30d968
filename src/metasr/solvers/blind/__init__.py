"""Blind solvers: the degradation is estimated from the image."""
