"""Compile every kernel of engines/torch/cuda for a GPU, without one: python tests/engines/compile_kernels.py 80

The interpreter that the other tests use accepts Python that Triton's compiler rejects. Prints one name per line.
"""

import importlib
import pkgutil
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
POINTERS = dict.fromkeys(("x", "y", "dy", "dx", "other"), "*bf16") | {"indices": "*u8"}
POINTERS |= dict.fromkeys(("partials", "total", "sums", "bias", "weight", "shift", "moments"), "*fp32")
POINTERS |= {"running_mean": "*fp32", "running_var": "*fp32", "eps": "fp32", "momentum": "fp32"}


def main() -> None:
    files = [importlib.import_module(f"{cuda.__name__}.{info.name}") for info in pkgutil.iter_modules(cuda.__path__)]
    for name, kernel in [item for file in files for item in vars(file).items()]:
        # functions that are not specialised for sizes are kernels; the others are called by kernels
        if isinstance(kernel, triton.runtime.jit.JITFunction) and kernel.do_not_specialize:
            types = {p.name: "constexpr" if p.is_constexpr else POINTERS.get(p.name, "i32") for p in kernel.params}
            constants = {(p.num,): CONSTANTS[p.name] for p in kernel.params if p.is_constexpr}
            triton.compile(ASTSource(kernel, types, constants), target=GPUTarget("cuda", int(sys.argv[1]), 32))
            print(name, flush=True)


if __name__ == "__main__":
    main()
