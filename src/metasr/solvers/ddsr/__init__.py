"""DDSR: kernel and image learned together from one image."""
