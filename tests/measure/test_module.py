"""`neoclassic.measure` is a module, and `nc.measure(tree, input)` a call."""

import copy
import doctest
import inspect
import pickle
import pydoc
import subprocess
import sys
from types import ModuleType

import neoclassic as nc
import neoclassic.measure
import neoclassic.measure as m
from neoclassic import measure as from_the_package
from neoclassic.measure import Measure, Row, measure
from neoclassic.networks import network

SHAPE = (1, 28, 28)


def test_every_way_to_import_it_gives_the_module_and_it_can_be_called():
    assert nc.measure is m is from_the_package is sys.modules["neoclassic.measure"]
    assert isinstance(m, ModuleType)
    assert m.Row is Row
    assert callable(nc.measure)
    result = nc.measure(network("lenet"), SHAPE)
    assert isinstance(result, Measure)
    assert result == measure(network("lenet"), SHAPE) == m.measure(tree=network("lenet"), input=SHAPE)


def test_it_looks_like_the_function():
    assert inspect.signature(nc.measure) == inspect.signature(measure)
    assert "measure(tree" in pydoc.render_doc(nc.measure)
    assert "ShapeError" in pydoc.render_doc(nc.measure)
    assert pickle.loads(pickle.dumps(nc.measure)) is copy.deepcopy(nc.measure) is nc.measure


def test_its_example_prints_what_it_says():
    failed, tried = doctest.testmod(neoclassic.measure)
    assert (failed, tried) == (0, 3)


def test_importing_and_measuring_needs_no_numpy_and_no_torch():
    code = (
        "import sys, neoclassic as nc; nc.measure(nc.network('lenet'), (1, 28, 28)).memory(1);"
        "assert not {'numpy', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
