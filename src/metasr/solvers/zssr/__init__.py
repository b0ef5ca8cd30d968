"""ZSSR: a network learned from the one image."""
