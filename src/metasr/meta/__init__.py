"""The differentiable inner loop and what belongs to it; no Lightning here."""
