"""The version of the package; everything else, the build included, reads it from here."""

__all__ = ["__version__"]

__version__ = "0.1.0"
