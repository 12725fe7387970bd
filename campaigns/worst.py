"""The worst files that we could think of: small ones that ask for minutes or gigabytes. Each is opened in a process.

A file must be refused in one line, or answered, within 2 seconds of processor time and 300 MB above what the process
takes without it. What each took is printed, too.
"""

from __future__ import annotations

import gzip
import pickle
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from campaigns.common import Session, idx_file, idx_header
from neoclassic.model import artefact

SECONDS, MEGABYTES = 2.0, 300

DOORS = {
    "model": "from neoclassic.model.artefact import Model; door = Model.load",
    "onnx": "from neoclassic.model.opening import open_model as door",
    "weights": "from neoclassic.model.opening import open_weights as door",
    "pickle": "from neoclassic.compat.dlfs.pickles import load_arrays as door",
    "image": "from neoclassic.data.preprocessing import Preprocessing, read_pixels; "
    "door = lambda path: read_pixels(path, Preprocessing((32, 32), 3))",
    "data": "from neoclassic.data import open_dataset; door = open_dataset",
}
OPEN = """
import os, resource, sys, time
from neoclassic.base.errors import NeoclassicError
{door}
def peak():
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
before, started = peak(), time.process_time()
try:
    door(sys.argv[1])
    said = "answered"
except NeoclassicError as error:
    said = "several lines" if "\\n" in str(error) else "refused"
except BaseException as error:
    said = f"{{type(error).__name__}}: {{str(error)[:200]}}"
print(said, time.process_time() - started, (peak() - before) / 1024, sep="\\t")
"""


def run(session: Session) -> None:
    """Make and open each file once; then there is nothing random to try."""
    for number, (name, (door, make)) in enumerate(FILES.items()):
        path = session.work / f"{number}.{ENDINGS.get(door, door)}"
        make(path)
        said, seconds, megabytes = opened(door, path)
        size = path.stat().st_size if path.is_file() else 0
        print(f"worst     {name:<44} {size:>12,} bytes  {said:<9} {seconds:5.2f} s {megabytes:6.0f} MB", flush=True)
        session.figures[name] = {"bytes": size, "seconds": round(seconds, 2), "megabytes": round(megabytes)}
        if said not in ("answered", "refused") or seconds > SECONDS or megabytes > MEGABYTES:
            session.failed(name, f"{said}, {seconds:.1f} s, {megabytes:.0f} MB", path)
        else:
            (session.answered if said == "answered" else session.refused)(name)


ENDINGS = {"model": "safetensors", "weights": "pth", "pickle": "pkl", "image": "png"}


def opened(door: str, path: Path) -> tuple[str, float, float]:
    """What opening a file said, and the seconds and megabytes that it took."""
    command = [sys.executable, "-c", OPEN.format(door=DOORS[door]), str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        return "it hangs", 60.0, 0.0
    if done.returncode:
        return (done.stderr.strip().splitlines() or [f"killed by signal {-done.returncode}"])[-1], 0.0, 0.0
    said, seconds, megabytes = done.stdout.rstrip("\n").split("\t")
    return said, float(seconds), float(megabytes)


# ── how each is made ─────────────────────────────────────────────────────────────────────────────────

Make = Callable[[Path], Any]


def header(inside: bytes) -> Make:
    """A .safetensors file with this JSON in its header."""
    text = b'{"__metadata__":{"neoclassic":"{}"},"x":[' + inside + b"]}"
    return lambda path: path.write_bytes(struct.pack("<Q", len(text)) + text)


def model(tree: dict[str, Any], shape: tuple[int, int, int] = (3, 32, 32)) -> Make:
    """An artefact with a checksum that fits, of a tree that is given as JSON and need not be possible."""
    facts = {
        "network": "x",
        "tree": tree,
        "input": list(shape),
        "classes": ["a", "b"],
        "preprocessing": {"size": list(shape[1:]), "channels": shape[0]},
        **{name: {} for name in ("metrics", "recipe", "data", "versions")},
    }
    return lambda path: artefact.write(path, "model", {"fc.weight": np.zeros((2, 2), np.float32)}, facts)


def chain(*layers: dict[str, Any], kind: str = "Sequential") -> dict[str, Any]:
    """A combinator of these layers, as JSON."""
    return {"type": kind, "children": {f"n{i}": layer for i, layer in enumerate(layers)}}


def nested(levels: int) -> dict[str, Any]:
    """Sequentials inside each other."""
    tree = {"type": "ReLU"}
    for _ in range(levels):
        tree = chain(tree)
    return tree


RELU, FLATTEN = {"type": "ReLU"}, {"type": "Flatten"}
WIDE = {"type": "Conv2d", "out_channels": 512, "kernel_size": 1}
HUGE = {"type": "Linear", "out_features": 1 << 24}


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> Make:
    """A PNG that claims this size, with these chunks after its header."""
    size = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = [(b"IHDR", size), *chunks, (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    return lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def folder(files: dict[str, bytes]) -> Make:
    """A folder with these files."""

    def make(path: Path) -> None:
        path.mkdir()
        for name, content in files.items():
            (path / name).write_bytes(content)

    return make


def idx(n: int, size: int) -> Make:
    """A folder of IDX files that claim n images and have `size` bytes of them, compressed."""
    images = gzip.compress(idx_header(n, 28, 28) + bytes(size), 1)
    labels = gzip.compress(idx_file(np.arange(10)))
    parts = [(f"{part}-images-idx3-ubyte.gz", f"{part}-labels-idx1-ubyte.gz") for part in ("train", "t10k")]
    return folder({name: content for pair in parts for name, content in zip(pair, (images, labels), strict=True)})


def archive(path: Path) -> None:
    """A .pth file, which is a zip archive, whose pickle is 300 MB of zeros in 300 KB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", bytes(300 << 20))
        file.writestr("archive/version", b"3\n")


class Shared:
    """Pickles as an array whose bytes the pickle holds only once, however many there are."""

    data = bytes(1 << 20)

    def __reduce__(self) -> tuple[Any, ...]:
        make, given, _ = np.empty(0).__reduce__()
        return make, given, (1, (len(self.data),), np.dtype("u1"), False, self.data)


def looping(path: Path) -> None:
    """An ONNX graph of 200,000 nodes."""
    node = b"\x0a\x06\x22\x04Relu"  # GraphProto.node with op_type "Relu"
    graph = node * 200_000
    path.write_bytes(b"\x3a" + varint(len(graph)) + graph)


def varint(value: int) -> bytes:
    """A number as protobuf writes it."""
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def table(path: Path) -> None:
    """A table of photos whose one quoted field has 60 MB."""
    path.write_bytes(b'path,label\n"' + b"x" * (60 << 20) + b'",cat\n')


FILES: dict[str, tuple[str, Make]] = {
    "header: 16 MB of numbers": ("model", header(b"1.50000," * 1_990_000 + b"1")),
    "header: 60 MB of empty lists": ("model", header(b"[]," * 20_000_000 + b"1")),
    "header: 100,000 levels": ("model", header(b"[" * 100_000)),
    "header: it claims 2⁶² bytes": ("model", lambda path: path.write_bytes(struct.pack("<Q", 1 << 62) + b"{" * 100)),
    "tree: 400 levels": ("model", model(nested(400))),
    "tree: 20,000 layers": ("model", model(chain(*[RELU] * 20_000))),
    "tree: a Sum of 9,000": ("model", model(chain(chain(*[RELU] * 9_000, kind="Sum"), FLATTEN))),
    "tree: 9,000 layers that do not fit": ("model", model(chain(*[RELU] * 8_990, FLATTEN, WIDE))),
    "tree: 2 GB of activations": ("model", model(chain(WIDE, WIDE, FLATTEN), (3, 1024, 1024))),
    "tree: 16 TB of weights": ("model", model(chain(FLATTEN, HUGE, HUGE))),
    "pickle: a memo of 2²⁸": ("pickle", lambda path: path.write_bytes(b"\x80\x02Nr\xff\xff\xff\x0f.")),
    "pickle: 1,000 arrays of the same megabyte": (
        "pickle",
        lambda path: path.write_bytes(pickle.dumps({str(i): Shared() for i in range(1000)})),
    ),
    "weights: 300 MB in 300 KB": ("weights", archive),
    "weights: a header of 60 MB": ("weights", header(b"[]," * 20_000_000 + b"1")),
    "onnx: 200,000 nodes": ("onnx", looping),
    "image: 60,000×60,000 pixels": ("image", png(60_000, 60_000)),
    "image: 400 MB of text": ("image", png(8, 8, (b"zTXt", b"k\0\0" + zlib.compress(bytes(400 << 20), 1)))),
    "image: 400 MB of colour profile": ("image", png(8, 8, (b"iCCP", b"k\0\0" + zlib.compress(bytes(400 << 20), 1)))),
    "idx: 4 billion images in 100 bytes": (
        "data",
        idx(1 << 31, 0),
    ),
    "idx: 1 GB of zeros": (
        "data",
        idx(10, 1 << 30),
    ),
    "table: one field of 60 MB": ("data", table),
}
