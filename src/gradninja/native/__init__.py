"""Native: lines -> loops -> text for Numba -> machine code."""

from gradninja.native.compiling import Compiled, compile
from gradninja.native.refusal import NativeError
from gradninja.native.stepping import Specialised
from gradninja.native.training import Kernel, compile_training

__all__ = ["Compiled", "Kernel", "NativeError", "Specialised", "compile", "compile_training"]
