"""Fuse: backward lines -> fewer lines, by algebra in index notation."""

from gradninja.algebra.fuse import fuse
from gradninja.algebra.fused import Dropped, Fused
from gradninja.algebra.tell.steps import Step

__all__ = ["Dropped", "Fused", "Step", "fuse"]
