"""Results and reports in Weights & Biases."""
