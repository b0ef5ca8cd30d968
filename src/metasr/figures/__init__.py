"""Pictures of results: comparisons, maps, kernels."""
