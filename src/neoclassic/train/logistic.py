"""Multinomial logistic regression with an L2 penalty, by a deterministic full-batch solver in NumPy.

With N examples x of D features, K classes, weights W (D×K), biases b and example weights v, it minimises

    f(W, b) = Σ vᵢ · −log softmax(xᵢ W + b)[labelᵢ] / Σ vᵢ  +  penalty/2 · ‖W‖²

which is scikit-learn's `LogisticRegression` with C = 1 / (penalty · N). The biases are not penalised. f is convex, and
L-BFGS (J. Nocedal, "Updating quasi-Newton matrices with limited storage", 1980) with a backtracking line search finds
its minimum. The best W is a combination of the examples, so with D > N the problem is first rotated into the N
dimensions that they span: the penalty does not change, and an iteration takes N²K instead of NDK operations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from neoclassic.engines.contract import Array

MEMORY = 10  # pairs of steps and changes of the gradient that L-BFGS remembers
ITERATIONS = 1000
SUFFICIENT = 1e-4  # of the decrease that the slope promises, Armijo's condition
FLAT = 1e-12  # relative to the largest, singular values below are zero


@dataclass(frozen=True)
class Solution:
    """W, D×K, and b, K, both float64; the value of f; and the number of iterations."""

    weight: Array
    bias: Array
    value: float
    iterations: int

    def logits(self, x_ND: Array) -> Array:
        """N×K logits."""
        logits: Array = x_ND @ self.weight + self.bias
        return logits


@dataclass(frozen=True)
class Problem:
    """Examples, ready to be fitted with one penalty after another.

    examples  N×R, in the coordinates of the solver
    basis     D×R, which brings its solutions back; None where the coordinates are the features
    targets   N×K, 1 at the label, times the example's share of the weights
    """

    examples: Array
    basis: Array | None
    targets: Array

    @classmethod
    def of(cls, x_ND: Array, labels: Array, classes: int, weights: Array | None = None) -> Problem:
        """From features, N×D, labels, N, and positive weights of the examples, N; 1 each if omitted."""
        wide = np.asarray(x_ND, np.float64)
        shares = np.ones(len(labels)) if weights is None else np.asarray(weights, np.float64)
        targets = np.zeros((len(labels), classes))
        targets[np.arange(len(labels)), labels] = shares / shares.sum()
        n, d = wide.shape
        if d <= n:
            return cls(wide, None, targets)
        squares, vectors = np.linalg.eigh(wide @ wide.T)  # of x xᵀ = U S² Uᵀ; x = U S Vᵀ, so V = xᵀ U / S
        real = squares > FLAT * max(squares[-1], 0.0)
        sizes = np.sqrt(squares[real])
        basis = wide.T @ (vectors[:, real] / sizes)
        return cls(vectors[:, real] * sizes, basis, targets)

    def solve(self, penalty: float, tolerance: float = 1e-7, start: Solution | None = None) -> Solution:
        """The minimum for a penalty above 0: where no derivative of f is larger than `tolerance`.

        start: another solution of this problem, to begin there.
        """
        (_, r), k = self.examples.shape, self.targets.shape[1]
        theta = np.zeros((r + 1, k))
        if start is not None:
            theta[:r] = start.weight if self.basis is None else self.basis.T @ start.weight
            theta[r] = start.bias

        def objective(flat: Array) -> tuple[float, Array]:
            value, gradient = self._value(flat.reshape(r + 1, k), penalty)
            return value, gradient.ravel()

        flat, value, iterations = minimum(objective, theta.ravel(), tolerance)
        theta = flat.reshape(r + 1, k)
        weight = theta[:r] if self.basis is None else self.basis @ theta[:r]
        return Solution(weight, theta[r], value, iterations)

    def _value(self, theta: Array, penalty: float) -> tuple[float, Array]:
        """f and its gradient. theta: W above b."""
        weight, bias = theta[:-1], theta[-1]
        logits = self.examples @ weight + bias
        logits -= logits.max(1, keepdims=True)
        shares = self.targets.sum(1, keepdims=True)
        log_sum = np.log(np.exp(logits).sum(1, keepdims=True))
        value = float((shares * log_sum).sum() - (self.targets * logits).sum() + penalty / 2 * (weight**2).sum())
        slopes = shares * np.exp(logits - log_sum) - self.targets
        return value, np.vstack([self.examples.T @ slopes + penalty * weight, slopes.sum(0)])


# ── L-BFGS ───────────────────────────────────────────────────────────────────────────────────────────


def minimum(
    objective: Callable[[Array], tuple[float, Array]], start: Array, tolerance: float
) -> tuple[Array, float, int]:
    """Where a smooth convex function has its minimum, the value there, and the number of iterations.

    objective: returns the value and the gradient. It ends where no derivative is larger than `tolerance`, or where
    the rounding of the value hides any further decrease.
    """
    x, (value, gradient) = start, objective(start)
    pairs: list[tuple[Array, Array]] = []
    iteration = 0
    while iteration < ITERATIONS and np.abs(gradient).max() > tolerance:
        direction = -_scaled(gradient, pairs)
        slope = float(gradient @ direction)
        length = 1.0 if pairs else min(1.0, 1 / float(np.linalg.norm(gradient)))
        while True:
            new = x + length * direction
            new_value, new_gradient = objective(new)
            if new_value <= value + SUFFICIENT * length * slope:
                break
            length /= 2
            if length < 1e-10:
                return x, value, iteration
        step, change = new - x, new_gradient - gradient
        if float(step @ change) > 0:
            pairs = [*pairs[1 - MEMORY :], (step, change)]
        x, value, gradient = new, new_value, new_gradient
        iteration += 1
    return x, value, iteration


def _scaled(gradient: Array, pairs: list[tuple[Array, Array]]) -> Array:
    """The gradient times the estimate of the inverse Hessian: Nocedal's recursion in two loops."""
    q, factors = gradient.copy(), []
    for step, change in reversed(pairs):
        factor = float(step @ q) / float(step @ change)
        q -= factor * change
        factors.append(factor)
    if pairs:
        step, change = pairs[-1]
        q *= float(step @ change) / float(change @ change)
    for (step, change), factor in zip(pairs, reversed(factors), strict=True):
        q += step * (factor - float(change @ q) / float(step @ change))
    return q
