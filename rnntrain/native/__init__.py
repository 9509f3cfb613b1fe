"""The time loops of recurrent cells in C++, for float32 on a processor; built once by `rnntrain build`.

`source/` holds the kernels, plain C functions without any library's headers: they build in seconds, and the same
file serves every version of PyTorch. `library` finds, builds and loads them; `recurrence`, `gated`, `lru` and `scan`
make them differentiable. Every cell that uses them has a plain PyTorch path beside them, the reference in the tests.
"""
