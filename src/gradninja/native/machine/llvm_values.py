"""Scalars in LLVM's language: their types, and arithmetic on two of them.

Types and arithmetic are Numba's, and so NumPy's: what is written here and what Numba compiles
(`scalars.py`) may stand in one expression.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

TYPES = {"float32": "float", "float64": "double", "int64": "i64", "bool": "i1"}
IN_MEMORY = {**TYPES, "bool": "i8", "uint8": "i8", "uint16": "i16", "uint32": "i32"}

_FLOATS = {"+": "fadd", "-": "fsub", "*": "fmul", "/": "fdiv"}
_INTS = {"+": "add", "-": "sub", "*": "mul", "&": "and", "|": "or", "^": "xor"}
_ORDER = {"<": "lt", "<=": "le", ">": "gt", ">=": "ge", "==": "eq", "!=": "ne"}


@dataclass(frozen=True)
class Value:
    """An operand as LLVM writes it; `dtype` is one of TYPES."""

    text: str
    dtype: str

    def __str__(self) -> str:
        return f"{TYPES[self.dtype]} {self.text}"


@dataclass(frozen=True)
class Pointer:
    """Where an array's elements begin."""

    text: str
    dtype: str

    def __str__(self) -> str:
        return f"ptr {self.text}"


def constant(number: bool | int | float, dtype: str) -> Value:
    """A number, rounded to its type."""
    if dtype == "bool":
        return Value("true" if number else "false", dtype)
    if dtype == "int64":
        return Value(str(int(number)), dtype)
    wide = float(np.float32(number)) if dtype == "float32" else float(number)
    return Value(f"0x{struct.unpack('<Q', struct.pack('<d', wide))[0]:016X}", dtype)


def common(one: str, other: str) -> str:
    """The type of two operands' result."""
    kinds = {one, other}
    if len(kinds) == 1:
        return one
    if kinds == {"bool", "int64"}:
        return "int64"
    return "float32" if kinds == {"bool", "float32"} else "float64"


class Lines:
    """The instructions of a function, as they are written."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.count = 0

    def fresh(self, base: str = "v") -> str:
        self.count += 1
        return f"%{base}.{self.count}"

    def add(self, line: str) -> None:
        self.lines.append(f"  {line}")

    def made(self, instruction: str, dtype: str) -> Value:
        """The result of an instruction."""
        name = self.fresh()
        self.add(f"{name} = {instruction}")
        return Value(name, dtype)

    def label(self, name: str) -> None:
        self.lines.append(f"{name.removeprefix('%')}:")

    def jump(self, block: str) -> None:
        self.add(f"br label {block}")

    def branch(self, condition: Value, yes: str, no: str) -> None:
        self.add(f"br {condition}, label {yes}, label {no}")

    def load(self, pointer: Pointer, index: Value | None = None) -> Value:
        """An element; what is unsigned becomes an int64."""
        kind = IN_MEMORY[pointer.dtype]
        at = pointer if index is None else self.element(pointer, index)
        found = self.made(f"load {kind}, {at}", pointer.dtype)
        if pointer.dtype == "bool":
            return self.made(f"icmp ne i8 {found.text}, 0", "bool")
        if pointer.dtype not in TYPES:
            return self.made(f"zext {kind} {found.text} to i64", "int64")
        return found

    def store(self, value: Value, pointer: Pointer, index: Value | None = None) -> None:
        at = pointer if index is None else self.element(pointer, index)
        value = self.cast(value, pointer.dtype)
        if pointer.dtype == "bool":
            byte = self.made(f"zext {value} to i8", "bool").text
            self.add(f"store i8 {byte}, {at}")
        else:
            self.add(f"store {value}, {at}")

    def element(self, pointer: Pointer, index: Value) -> Pointer:
        place = self.made(
            f"getelementptr inbounds {IN_MEMORY[pointer.dtype]}, {pointer}, {index}", "int64"
        )
        return Pointer(place.text, pointer.dtype)

    def cast(self, value: Value, dtype: str) -> Value:
        """The same number as another type."""
        if value.dtype == dtype:
            return value
        source, kind = value.dtype, TYPES[dtype]
        if dtype == "bool":
            zero = constant(0, source).text
            return self.made(f"{'fcmp une' if 'f' in source else 'icmp ne'} {value}, {zero}", dtype)
        if "float" in source:
            how = {"float64": "fpext", "float32": "fptrunc", "int64": "fptosi"}[dtype]
        elif dtype == "int64":
            how = "zext"
        else:
            how = "uitofp" if source == "bool" else "sitofp"
        return self.made(f"{how} {value} to {kind}", dtype)

    def arithmetic(self, sign: str, a: Value, b: Value) -> Value | None:
        """`a sign b`; None where it takes more than an instruction."""
        dtype = common(a.dtype, b.dtype)
        if sign == "/" and "float" not in dtype:
            dtype = "float64"
        if "float" in dtype:
            signs = _FLOATS
        else:
            signs = _INTS
            if dtype == "bool" and sign not in "&|^":
                dtype = "int64"
        if sign not in signs:
            return None
        a, b = self.cast(a, dtype), self.cast(b, dtype)
        return self.made(f"{signs[sign]} {a}, {b.text}", dtype)

    def compared(self, sign: str, a: Value, b: Value) -> Value:
        dtype = common(a.dtype, b.dtype)
        dtype = "int64" if dtype == "bool" else dtype
        a, b, order = self.cast(a, dtype), self.cast(b, dtype), _ORDER[sign]
        if "float" in dtype:
            return self.made(f"fcmp {'u' if order == 'ne' else 'o'}{order} {a}, {b.text}", "bool")
        order = order if order in ("eq", "ne") else f"s{order}"
        return self.made(f"icmp {order} {a}, {b.text}", "bool")

    def rounded_down(self, sign: str, a: Value, by: int) -> Value:
        """`a // by` or `a % by` of ints, `by` > 0, as Python has it."""
        quotient = self.made(f"sdiv {a}, {by}", "int64")
        rest = self.made(f"srem {a}, {by}", "int64")
        below = self.made(f"icmp slt {rest}, 0", "bool")
        if sign == "//":
            less = self.made(f"sub {quotient}, 1", "int64")
            return self.made(f"select {below}, {less}, {quotient}", "int64")
        more = self.made(f"add {rest}, {by}", "int64")
        return self.made(f"select {below}, {more}, {rest}", "int64")
