"""Which version of this package that is: what it writes says so."""

__all__ = ["__version__"]

__version__ = "0.1.0"
