"""The solver of the last layer, against scikit-learn's, and by what a minimum is."""

import numpy as np
import pytest
from helpers import needs

from neoclassic.train.head import stratified_folds
from neoclassic.train.logistic import Problem


def examples(n, d, k, seed=0):
    """Features that tell k classes apart, but not perfectly."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % k)
    return rng.standard_normal((n, d)) + 1.5 * rng.standard_normal((k, d))[labels] / np.sqrt(d), labels


def loss(weight, bias, x, labels, penalty, shares=None):
    logits = x @ weight + bias
    top = logits.max(1)
    each = np.log(np.exp(logits - top[:, None]).sum(1)) + top - logits[np.arange(len(labels)), labels]
    return np.average(each, weights=shares) + penalty / 2 * (weight**2).sum()


@pytest.mark.parametrize(("n", "d", "k"), [(200, 20, 3), (60, 150, 4), (50, 50, 7)], ids=["tall", "wide", "square"])
@pytest.mark.parametrize("penalty", [1.0, 0.01])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_loss_is_scikit_learns(n, d, k, penalty, weighted):
    needs("sklearn")
    from sklearn.linear_model import LogisticRegression

    x, labels = examples(n, d, k)
    shares = np.random.default_rng(1).uniform(0.5, 2, n) if weighted else None
    ours = Problem.of(x, labels, k, shares).solve(penalty)
    total = n if shares is None else shares.sum()
    theirs = LogisticRegression(C=1 / (penalty * total), tol=1e-10, max_iter=10_000).fit(x, labels, shares)
    expected = loss(theirs.coef_.T, theirs.intercept_, x, labels, penalty, shares)
    assert loss(ours.weight, ours.bias, x, labels, penalty, shares) == pytest.approx(expected, abs=1e-5)
    assert ours.value == pytest.approx(expected, abs=1e-5)
    assert np.abs(ours.logits(x) - theirs.decision_function(x) - (ours.bias - theirs.intercept_).mean()).max() < 1e-2


def test_two_starts_end_at_the_same_minimum():
    x, labels = examples(80, 30, 3)
    problem = Problem.of(x, labels, 3)
    cold = problem.solve(0.1, 1e-9)
    warm = problem.solve(0.1, 1e-9, problem.solve(10.0))
    assert warm.iterations > 0
    assert warm.weight == pytest.approx(cold.weight, abs=1e-7)


def test_features_that_never_change_do_no_harm():
    x, labels = examples(40, 60, 2)
    x[:, :5] = 0.0
    found = Problem.of(x, labels, 2).solve(0.1)
    assert np.abs(found.weight[:5]).max() < 1e-9
    assert np.isfinite(found.value)


def test_folds_share_every_class_and_every_image_is_held_out_once():
    labels = np.repeat([0, 1, 2], [23, 11, 3])
    folds = list(stratified_folds(labels, 5, seed=3))
    assert (np.sum(folds, 0) == 1).all()
    for label, n in ((0, 23), (1, 11)):
        held = [int((labels[fold] == label).sum()) for fold in folds]
        assert max(held) - min(held) <= 1, (label, n, held)
    assert not all(map(np.array_equal, folds, stratified_folds(labels, 5, seed=4)))
