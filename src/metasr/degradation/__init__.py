"""Degradations: y = m · ((x * k)↓s + n), and where their kernels come from."""
