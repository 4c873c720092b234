"""A Function's methods run by hand, on a `ctx` of ours: what edits of their text would give.

So mends are found whatever kept the reader from the lines: kernels, complex numbers, NumPy, loops.
"""
