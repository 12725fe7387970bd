"""Files of torch.save without PyTorch: the numbers that PyTorch reads, and nothing is ever executed."""

import io
import os
import pickle
import sys
import zipfile
from collections import OrderedDict
from contextlib import suppress

import numpy as np
import pytest

from neoclassic.base.errors import NeoclassicError
from neoclassic.model import weight_files

torch = pytest.importorskip("torch")


@pytest.fixture
def without_torch(monkeypatch):
    def read(path):
        with monkeypatch.context() as without:
            without.setitem(sys.modules, "torch", None)
            return weight_files.read(path).arrays

    return read


def state():
    rng = torch.Generator().manual_seed(0)
    base = torch.randn(6, 4, generator=rng)
    tensors = OrderedDict(weight=base, part=base[2:5, 1:], turned=base.t(), scalar=torch.tensor(2.5), none=base[:0])
    tensors |= {str(t): torch.arange(5).to(t) for t in (torch.float64, torch.float16, torch.bfloat16, torch.uint8)}
    tensors |= {str(t): torch.arange(5).to(t) for t in (torch.int64, torch.int32, torch.int16, torch.int8, torch.bool)}
    tensors["parameter"] = torch.nn.Parameter(base + 1)
    tensors._metadata = OrderedDict({"": {"version": 1}})  # as a module's state_dict has it
    return tensors


FORMS = {
    "a state_dict": lambda: state(),
    "in a dictionary": lambda: {"state_dict": state(), "epoch": 300, "loss": [0.5, -1.5, None, 1 << 40], "done": True},
    "of a module": lambda: torch.nn.Sequential(torch.nn.Conv2d(3, 70, 3), torch.nn.BatchNorm2d(70)).state_dict(),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("zipped", [True, False])
def test_the_numbers_are_those_that_pytorch_reads(form, zipped, tmp_path, without_torch):
    torch.save(FORMS[form](), tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    expected, found = weight_files.read(tmp_path / "w.pth").arrays, without_torch(tmp_path / "w.pth")
    assert list(found) == list(expected)
    for key, array in found.items():
        assert array.dtype == expected[key].dtype
        assert np.array_equal(array, expected[key])


class Hostile:
    """An object that calls a function when it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (lambda path: Hostile(os.system, f"touch {path}"), "posix system|nt system"),
        (lambda path: {"w": Hostile(eval, f"open({str(path)!r}, 'w')")}, "builtin.* eval"),
        (lambda path: {"w": torch.ones(2), "x": Hostile(getattr, int, "mro")}, "builtin.* getattr"),
        (lambda path: {"w": torch.ones(2), "x": Hostile(OrderedDict, [("a", 1)])}, "collections OrderedDict"),
        (lambda path: {"w": torch.ones(2), "x": Hostile(torch._utils._rebuild_tensor_v2)}, "cannot be read as weights"),
        (lambda path: {"w": torch.ones(2), (1, 2): 3}, "keys are neither text nor integers"),
        (lambda path: {"w": torch.ones(1).expand(9, 9)}, "a tensor that is larger than its storage"),
        (lambda path: {"w": torch.ones(2), "x": {1.5: 2}}, "keys are neither text nor integers"),
        (lambda path: {"w": torch.ones(2), "x": {1, 2}}, "only PyTorch reads: "),
        (lambda path: [torch.ones(2)], "no tensors by name"),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_what_is_more_than_tensors_is_refused_in_one_line(content, reason, zipped, tmp_path, without_torch):
    trace, path = tmp_path / "trace", tmp_path / "w.pth"
    torch.save(content(trace), path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(NeoclassicError, match=reason) as error:
        without_torch(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert not trace.exists()


def packed(pickled, data=bytes(8)):
    """A file of torch.save with this pickle and one storage, 'data/0'."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("w/data.pkl", pickled)
        archive.writestr("w/data/0", data)
    return stream.getvalue()


def tensor(numel=b"K\x02", offset=b"K\x00", shape=b"K\x02\x85", strides=b"K\x01\x85", kind=b"Float"):
    """A pickle of {"w": tensor} with one storage of two numbers, written by hand."""
    storage = b"(X\x07\0\0\0storagectorch\n" + kind + b"Storage\nX\x01\0\0\x000X\x03\0\0\0cpu" + numel + b"tQ"
    made = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + offset + shape + strides + b"\x89}tR"
    return b"\x80\x02}X\x01\0\0\0w" + made + b"s."


def test_the_pickle_written_by_hand_is_one_that_is_read(tmp_path, without_torch):
    (tmp_path / "w.pth").write_bytes(packed(tensor(), np.array([3, 4], "<f4").tobytes()))
    assert without_torch(tmp_path / "w.pth")["w"].tolist() == [3, 4]


@pytest.mark.parametrize(
    "pickled",
    [
        tensor(numel=b"K\x7f"),  # more numbers than the storage has
        tensor(offset=b"K\x01"),
        tensor(shape=b"K\x03\x85"),
        tensor(strides=b"K\x02\x85"),
        tensor(strides=b"J\xff\xff\xff\xff\x85"),  # backwards
        tensor(shape=b"J\xff\xff\xff\xff\x85"),
        tensor(shape=b"K\x02K\x01\x86"),  # without a second stride
        tensor(shape=b"X\x01\0\0\0a\x85"),
        tensor(kind=b"Quint"),
        tensor()[:-1],
        tensor()[:-2] + b".",
        b"\x80\x02.",
        b"\x80\x02}(u.",
        b"\x80\x02h\x05.",
        b"\x80\x02}r\xff\xff\xff\xff.",
        b"\x80\x02" + b"}" * 1000 + b"R.",
        b"\x80\x02" + b"(" * 5000 + b"t" * 5000 + b".",
        b"\x80\x02})" + b"q\x00h\x00\x86" * 60 + b"K\x01s.",  # a key whose hash takes 2^60 steps
        pickle.dumps({"w": np.ones(3)}, 2),
    ],
)
def test_a_pickle_that_lies_is_refused_in_one_line(pickled, tmp_path, without_torch):
    (tmp_path / "w.pth").write_bytes(packed(pickled))
    with pytest.raises(NeoclassicError) as error:
        without_torch(tmp_path / "w.pth")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_damaged_file_raises_nothing_but_our_error(zipped, tmp_path, without_torch):
    path, rng = tmp_path / "w.pth", np.random.default_rng(0)
    torch.save({"a": torch.ones(9, 3), "b": torch.arange(5)}, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for end in range(0, len(whole), 29):
        path.write_bytes(whole[:end])
        with pytest.raises(NeoclassicError):
            without_torch(path)
    for _ in range(150):
        content = bytearray(whole)
        content[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        path.write_bytes(content)
        with suppress(NeoclassicError):  # nothing else, and no hang
            without_torch(path)


def test_tensors_that_share_a_storage_cannot_outgrow_the_file(tmp_path, without_torch):
    base = torch.zeros(1000)
    torch.save({f"w{i}": base.view(10, 100) for i in range(100)}, tmp_path / "w.pth")
    with pytest.raises(NeoclassicError, match="its tensors are larger than the file"):
        without_torch(tmp_path / "w.pth")
