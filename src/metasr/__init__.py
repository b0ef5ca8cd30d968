"""metasr: super-resolution that adapts to the image in front of it."""

__version__ = "0.1.0"
