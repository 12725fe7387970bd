"""Compile every kernel of engines/torch/cuda.py for a GPU, without one: python tests/compile_kernels.py 80

The interpreter that the other tests use takes Python that Triton's compiler does not. Prints a name a line.
"""

import sys

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from neoclassic.engines.torch import cuda

CONSTANTS = {
    "K": 3,
    "S": 2,
    "P": 1,
    "REACH": 2,
    "BIAS": True,
    "RELU": True,
    "OTHER": True,
    "PIXELS": 64,
    "CHANNELS": 32,
}
CONSTANTS |= {"TAPS": 32, "TAPS_IN_ALL": 49, "ROWS": 128, "COLUMNS": 16}
POINTERS = dict.fromkeys(("x", "y", "dy", "dx", "other"), "*bf16") | {"place": "*u8"}
POINTERS |= dict.fromkeys(("part", "total", "sums", "bias", "weight", "shift", "moments"), "*fp32")
POINTERS |= {"running_mean": "*fp32", "running_var": "*fp32", "eps": "fp32", "momentum": "fp32"}


def main() -> None:
    for name, kernel in vars(cuda).items():
        if (
            isinstance(kernel, triton.runtime.jit.JITFunction) and kernel.do_not_specialize
        ):  # the others are their parts
            types = {p.name: "constexpr" if p.is_constexpr else POINTERS.get(p.name, "i32") for p in kernel.params}
            constants = {(p.num,): CONSTANTS[p.name] for p in kernel.params if p.is_constexpr}
            triton.compile(ASTSource(kernel, types, constants), target=GPUTarget("cuda", int(sys.argv[1]), 32))
            print(name, flush=True)


if __name__ == "__main__":
    main()
