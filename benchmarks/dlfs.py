"""One epoch of the book's `Trainer` on DeepConvNet: neoclassic.compat.dlfs against a plain im2col engine in float64.

    python benchmarks/dlfs.py [--steps 20] [--rounds 5] [--threads N]

The plain engine is what a reader writes after chapter 7: im2col, one matrix product and col2im in float64, with Adam.
Both take the same steps on the same batches, and their first losses are compared before the measurement. An epoch is
600 steps of 100 images; fewer steps are measured here, alternating between both. The ratios of the medians, in wall
time and CPU time, are written to results/.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from neoclassic.compat import dlfs

RESULTS = Path(__file__).parent.parent / "results"
CONVS = ((16, 1), (16, 1), (32, 1), (32, 2), (64, 1), (64, 1))  # filters, padding


def im2col(x: np.ndarray, k: int, stride: int, pad: int = 0) -> np.ndarray:
    """im2col as taught: fill an array of six axes window by window, then reshape it to rows."""
    n, c, h, w = x.shape
    out_h, out_w = (h + 2 * pad - k) // stride + 1, (w + 2 * pad - k) // stride + 1
    padded = np.pad(x, [(0, 0), (0, 0), (pad, pad), (pad, pad)], "constant")
    columns = np.zeros((n, c, k, k, out_h, out_w))
    for i in range(k):
        for j in range(k):
            columns[:, :, i, j] = padded[:, :, i : i + stride * out_h : stride, j : j + stride * out_w : stride]
    return columns.transpose(0, 4, 5, 1, 2, 3).reshape(n * out_h * out_w, -1)


def relu(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ReLU as taught: a mask, and a copy with zeros at the mask."""
    mask = x <= 0
    y = x.copy()
    y[mask] = 0
    return y, mask


class Plain:
    """DeepConvNet in float64, written out in full."""

    def __init__(self, params: dict[str, np.ndarray]) -> None:
        self.params = {key: value.astype(np.float64) for key, value in params.items()}
        self.m = {key: np.zeros_like(value) for key, value in self.params.items()}
        self.v = {key: np.zeros_like(value) for key, value in self.params.items()}
        self.t = 0

    def predict(self, x: np.ndarray, masks: list[np.ndarray]) -> tuple[np.ndarray, list[tuple], np.ndarray, np.ndarray]:
        """The logits, and what backward needs: the values of each layer, and the inputs of the two linear layers."""
        p, kept = self.params, []
        for i, (filters, pad) in enumerate(CONVS, 1):
            columns = im2col(x, 3, 1, pad)
            side = x.shape[2] + 2 * pad - 2
            y = (columns @ p[f"W{i}"].reshape(filters, -1).T + p[f"b{i}"]).reshape(len(x), side, side, filters)
            y, mask = relu(y.transpose(0, 3, 1, 2))
            kept.append((x.shape, columns, mask))
            x = y
            if i % 2 == 0:
                windows = im2col(y, 2, 2).reshape(-1, 4)
                largest = windows.argmax(1)
                half = side // 2
                x = windows.max(1).reshape(len(y), half, half, filters).transpose(0, 3, 1, 2)
                kept.append((y.shape, largest, None))
        flat = x.reshape(len(x), -1)
        dropped = np.maximum(flat @ p["W7"] + p["b7"], 0) * masks[0]
        return (dropped @ p["W8"] + p["b8"]) * masks[1], kept, flat, dropped

    def loss(self, x: np.ndarray, t: np.ndarray, masks: list[np.ndarray]) -> float:
        return dlfs.cross_entropy_error(dlfs.softmax(self.predict(x, masks)[0]), t)

    def gradient(self, x: np.ndarray, t: np.ndarray, masks: list[np.ndarray]) -> tuple[float, dict[str, np.ndarray]]:
        p, grads = self.params, {}
        logits, kept, flat, dropped = self.predict(x, masks)
        y = dlfs.softmax(logits)
        loss = dlfs.cross_entropy_error(y, t)
        y[np.arange(len(t)), t] -= 1
        dy = y / len(t) * masks[1]
        grads["W8"], grads["b8"] = dropped.T @ dy, dy.sum(0)
        dy = (dy @ p["W8"].T) * masks[0] * (dropped > 0)
        grads["W7"], grads["b7"] = flat.T @ dy, dy.sum(0)
        dy = (dy @ p["W7"].T).reshape(len(x), 64, 4, 4)
        for i in range(6, 0, -1):
            if i % 2 == 0:
                shape, largest, _ = kept.pop()
                spread = np.zeros((largest.size, 4))
                spread[np.arange(largest.size), largest] = dy.transpose(0, 2, 3, 1).reshape(-1)
                n, c, h, w = shape
                rows = spread.reshape(n * (h // 2) * (w // 2), c * 4)
                dy = dlfs.col2im(rows, shape, 2, 2, 2)
            shape, columns, mask = kept.pop()
            filters, pad = CONVS[i - 1]
            dy[mask] = 0
            rows = dy.transpose(0, 2, 3, 1).reshape(-1, filters)
            grads[f"W{i}"] = (columns.T @ rows).T.reshape(p[f"W{i}"].shape)
            grads[f"b{i}"] = rows.sum(0)
            dy = dlfs.col2im(rows @ p[f"W{i}"].reshape(filters, -1), shape, 3, 3, 1, pad)
        return loss, grads

    def step(self, x: np.ndarray, t: np.ndarray, masks: list[np.ndarray]) -> float:
        loss, grads = self.gradient(x, t, masks)
        self.t += 1
        rate = 0.001 * np.sqrt(1 - 0.999**self.t) / (1 - 0.9**self.t)
        for key, g in grads.items():
            self.m[key] += 0.1 * (g - self.m[key])
            self.v[key] += 0.001 * (g * g - self.v[key])
            self.params[key] -= rate * self.m[key] / (np.sqrt(self.v[key]) + 1e-7)
        return loss


def clocks() -> np.ndarray:
    """Wall time, and CPU time of this process."""
    return np.array([time.perf_counter(), time.process_time()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, help="BLAS threads; default: one per core")
    options = parser.parse_args()
    (x, t), _ = dlfs.load_mnist(flatten=False, data="fashion-mnist")
    x, t = x[: 100 * options.steps], t[: 100 * options.steps]
    rng = np.random.default_rng(0)

    def ours(network: dlfs.DeepConvNet) -> float:
        trainer = dlfs.Trainer(network, x, t, x[:1], t[:1], 1, 100, "Adam", {"lr": 0.001}, 1, verbose=False)
        trainer.train()
        return trainer.train_loss_list[-1]

    def theirs(network: Plain) -> float:
        loss = 0.0
        for start in range(0, len(x), 100):
            masks = [rng.random((100, 50)) > 0.5, rng.random((100, 10)) > 0.5]
            loss = network.step(x[start : start + 100], t[start : start + 100], masks)
        return loss

    with threadpool_limits(options.threads, "blas"):
        network = dlfs.DeepConvNet()
        network.gradient(x[:100], t[:100])
        plain = Plain(network.params)
        masks = [network.layers[17].mask, network.layers[19].mask]
        loss, _ = plain.gradient(x[:100], t[:100], masks)
        assert abs(loss - network.last_layer.loss) < 1e-4, "the two engines disagree"
        seconds: dict[str, list[np.ndarray]] = {"neoclassic": [], "plain": []}
        for _ in range(options.rounds):
            for name, run, it in (("neoclassic", ours, network), ("plain", theirs, plain)):
                start = clocks()
                run(it)
                seconds[name].append((clocks() - start) / options.steps)
    medians = {name: np.median(values, 0) for name, values in seconds.items()}
    wall, processor = medians["plain"] / medians["neoclassic"]
    result = {
        "benchmark": "dlfs",
        "what": f"a step of DeepConvNet with Adam, 100 images; {options.steps} of an epoch's 600 steps a round",
        "wall, processor seconds": {name: np.round(values, 4).tolist() for name, values in seconds.items()},
        "epoch_minutes": {name: round(float(m[0]) * 10, 2) for name, m in medians.items()},
        "ratio": {"wall": round(wall, 2), "processor": round(processor, 2)},
        "threads": options.threads or "all",
        "load": round(os.getloadavg()[0], 1),
        "machine": f"{platform.machine()}, Python {platform.python_version()}, NumPy {np.__version__}",
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "dlfs.json").write_text(json.dumps(result, indent=1) + "\n")
    for name, (w, c) in medians.items():
        print(f"{name:<12}{w * 1000:8.1f} ms per step, CPU time {c * 1000:8.1f} ms")
    print(f"neoclassic is {wall:.1f}× as fast in wall time, {processor:.1f}× in CPU time")


if __name__ == "__main__":
    main()
