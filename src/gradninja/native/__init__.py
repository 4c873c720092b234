"""Native: lines -> loops -> text -> LLVM -> machine code."""

from gradninja.native.calls.axis_lengths import ByLength, columns_of, shorter
from gradninja.native.calls.compiling import Compiled, compile
from gradninja.native.calls.stepping import Specialised
from gradninja.native.calls.training_run import Kernel, compile_training
from gradninja.native.reading.refusal import NativeError

__all__ = [
    "ByLength",
    "Compiled",
    "Kernel",
    "NativeError",
    "Specialised",
    "columns_of",
    "compile",
    "compile_training",
    "shorter",
]
