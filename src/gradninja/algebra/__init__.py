"""Fuse: backward lines -> fewer lines, by algebra in index notation."""

from gradninja.algebra.fuse import Fused, fuse

__all__ = ["Fused", "fuse"]
