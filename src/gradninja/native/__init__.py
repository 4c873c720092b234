"""Native: lines -> loops -> text for Numba -> machine code."""

from gradninja.native.refusal import NativeError
from gradninja.native.training import Kernel, compile_training

__all__ = ["Kernel", "NativeError", "compile_training"]
