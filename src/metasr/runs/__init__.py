"""What lies on disk and its rules: run folders, cards, weights."""
