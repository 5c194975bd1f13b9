"""Finding what can go: slices of parameters followed through the network, and proven."""

from .units import find_units

__all__ = ["find_units"]
