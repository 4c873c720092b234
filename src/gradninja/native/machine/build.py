"""LLVM's language -> machine code that can be called, kept on disk."""

from __future__ import annotations

import ast
import ctypes
import re
from collections.abc import Sequence
from typing import Any

import llvmlite.binding as llvm
import numpy as np

from gradninja.native.cache import Say, kept
from gradninja.native.machine.llvm_function import ENTRY, Module

_RAISED = re.compile(r"raise IndexError\((.*)\)")


class Machine:
    """A text's function as machine code: called with arrays and ints, as the text has them.

    The machine code is kept on disk; `say` is told what takes its time, before it does.
    """

    def __init__(
        self, text: str, arguments: Sequence[Any], say: Say | None = None, what: str = ""
    ) -> None:
        self.dtypes = [_dtype(argument) for argument in arguments]
        key = f"machine code of {self.dtypes}\n{text}"
        told = f"compiling {what or 'the loops for these sizes'}"
        code = kept(key, lambda: _object(Module(text, self.dtypes)), say, told)
        found = _RAISED.findall(text)
        self._messages = [ast.literal_eval(message) for message in dict.fromkeys(found)]
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target())
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        self._engine.finalize_object()
        address = self._engine.get_function_address(ENTRY)
        self._entry = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)(address)

    def __call__(self, *arguments: Any) -> None:
        """Arrays are contiguous and of the types that were compiled for.

        Raises:
            IndexError: as the text does.
        """
        table = np.array(
            [a if type(a) is int else a.__array_interface__["data"][0] for a in arguments]
        )
        error = self._entry(table.ctypes.data)
        if error:
            raise IndexError(self._messages[error - 1])


def _dtype(argument: Any) -> str:
    return "int64" if isinstance(argument, int) else f"{argument.dtype.name}*"


def _target() -> llvm.TargetMachine:
    """This machine; an engine takes the one that it is given for its own."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_triple(llvm.get_process_triple())
    features = llvm.get_host_cpu_features().flatten()
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=features, opt=3, reloc="pic", codemodel="jitdefault"
    )


def _object(module: Module) -> bytes:
    """Optimised machine code, as a linker takes it."""
    target = _target()
    whole = llvm.parse_assembly(module.text)
    whole.triple = target.triple
    whole.data_layout = str(target.target_data)
    for scalar in module.scalars.values():
        whole.link_in(llvm.parse_assembly(scalar.text))
        inside = whole.get_function(scalar.name)
        inside.linkage = "internal"
        inside.add_function_attribute("alwaysinline")
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = True
    options.slp_vectorization = False
    builder = llvm.create_pass_builder(target, options)
    builder.getModulePassManager().run(whole, builder)
    code: bytes = target.emit_object(whole)
    return code
