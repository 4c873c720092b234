"""The text of a compiled function -> LLVM's language -> machine code."""
