"""Native: lines -> loops -> text -> LLVM -> machine code."""

from gradninja.native.calls.compiling import Compiled, compile
from gradninja.native.calls.stepping import Specialised
from gradninja.native.calls.training import Kernel, compile_training
from gradninja.native.reading.refusal import NativeError

__all__ = ["Compiled", "Kernel", "NativeError", "Specialised", "compile", "compile_training"]
