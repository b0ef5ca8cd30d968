"""Compose, build, run the stages, evaluate."""
