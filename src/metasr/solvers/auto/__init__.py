"""The solver that looks at a photo and takes what suits it."""
