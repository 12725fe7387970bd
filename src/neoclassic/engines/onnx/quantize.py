"""Quantise an ONNX graph to 8 bits, with the quantizer that onnxruntime comes with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from neoclassic.base import files
from neoclassic.base.errors import NeoclassicError
from neoclassic.engines.contract import Array
from neoclassic.engines.onnx.packages import need

WEIGHTED = {"Conv", "Gemm", "MatMul"}
QUANTISED = [*sorted(WEIGHTED), "Add", "AveragePool", "Clip", "Concat", "GlobalAveragePool", "MaxPool", "Relu"]


def quantize(content: bytes, batches: Iterable[Array]) -> bytes:
    """The content of the ONNX file of a network, with weights and activations of 8 bits, without metadata.

    content: what `write` returned. batches: images as the network takes them, float32 N×C×H×W; each activation's range
    is the one that it has on them. The form is QDQ: pairs of QuantizeLinear and DequantizeLinear, which onnxruntime
    fuses with the operators between them. Each output channel's weights have a scale of their own, and what comes after
    the last weights is computed in float32, so that labels do not depend on the rounding of logits.

    Weights use 7 of the 8 bits. Processors without VNNI add two products in 16 bits, which overflows with 8: on such a
    processor LeNet lost 5 points of accuracy. https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html

    UsageError if the package onnx or onnxruntime is not installed; NeoclassicError if onnxruntime cannot quantise it.
    """
    need("onnx", "--int8")
    need("onnxruntime", "--int8")
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with files.scratch() as folder:
        given, prepared, written = (folder / name for name in ("given.onnx", "prepared.onnx", "written.onnx"))
        given.write_bytes(content)
        try:
            quant_pre_process(given, prepared, skip_symbolic_shape=True)  # folds batch norm into convolutions
            quantization.quantize_static(
                prepared,
                written,
                _reader(iter(batches)),
                op_types_to_quantize=QUANTISED,
                per_channel=True,
                reduce_range=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                nodes_to_exclude=_behind_the_weights(onnx.load(prepared).graph),
                extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm"]},
            )
            model = onnx.load(written)
        except Exception as error:  # onnxruntime and onnx have classes of exceptions of their own
            reason = " ".join(str(error).split())[:120]
            raise NeoclassicError(
                f"onnxruntime cannot quantise the network ({reason}): export it without --int8"
            ) from None
    own = [each for each in model.opset_import if not each.domain]  # the optimizer lists domains that it might need
    del model.opset_import[:], model.metadata_props[:]
    model.opset_import.extend(own)
    model.producer_name = "neoclassic"
    quantised: bytes = model.SerializeToString(deterministic=True)
    return quantised


def _reader(batches: Iterator[Array]) -> Any:
    """The images in the form in which onnxruntime asks for them."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, Array] | None:
            return next(({"images": batch} for batch in batches), None)

    return Reader()


def _behind_the_weights(graph: Any) -> list[str]:
    """The names of the nodes from which the outputs are reached without passing a convolution or a dense layer."""
    makers = {output: node for node in graph.node for output in node.output}
    found, ahead = [], [output.name for output in graph.output]
    while ahead:
        node = makers.get(ahead.pop())
        if node is not None and node.op_type not in WEIGHTED and node.name not in found:
            found.append(node.name)
            ahead += node.input
    return found
