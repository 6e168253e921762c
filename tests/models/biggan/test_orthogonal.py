"""Orthogonal regularisation against the reference's increments and against autodiff."""

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import golden
from tfdl.models.biggan import orthogonal

ARRAYS = np.load(golden("biggan", "ortho.npz"))
NAMES = sorted(name.removeprefix("ortho/w/") for name in ARRAYS.files if "/w/" in name)


def ours(array):
    """Returns torch's weight (filters first) in our layout (filters last)."""
    if array.ndim < 2:
        return tf.constant(array)
    return tf.constant(np.transpose(array, (*range(2, array.ndim), 1, 0)))


def close(found, expected):
    np.testing.assert_allclose(
        found, ours(expected), rtol=1e-5, atol=1e-5 * np.abs(expected).max() + 1e-12
    )


def test_the_references_increment_and_its_blacklist():
    variables = {n: tf.Variable(ours(ARRAYS[f"ortho/w/{n}"])) for n in NAMES}
    zeros = [tf.zeros_like(v) for v in variables.values()]
    changed = orthogonal.add(zeros, variables, 1e-4, blacklist=("shared.weight",))
    for name, value in zip(variables, changed, strict=True):
        close(value, ARRAYS[f"ortho/offdiag_1e-4/{name}"])
        assert bool(np.any(value)) == (len(value.shape) >= 2 and "shared" not in name)
    halves = orthogonal.add(
        zeros, variables, 1e-4, blacklist=("shared.weight",), replicas=2
    )
    for whole, half in zip(changed, halves, strict=True):
        np.testing.assert_allclose(whole, 2 * half, rtol=1e-6)


@pytest.mark.parametrize("name", ["conv", "fc", "wide"])
def test_full_and_exact_forms(name):
    weight = ours(ARRAYS[f"ortho/w/{name}.weight"])
    full = orthogonal.increment(weight, 1e-4, full=True)
    close(full, ARRAYS[f"ortho/full_1e-4/{name}.weight"])
    exact = orthogonal.increment(weight, 1e-4, "exact")
    close(exact, ARRAYS[f"ortho/exact_grad_1e-4/{name}"])
    value = orthogonal.penalty(weight, 1e-4)
    assert float(value) == pytest.approx(float(ARRAYS[f"ortho/exact_R/{name}"]), 1e-5)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("rows", [False, True])
def test_exact_is_the_gradient_of_the_penalty(rows, full):
    weight = tf.random.stateless_normal([3, 5], [1, 2])
    with tf.GradientTape() as tape:
        tape.watch(weight)
        value = orthogonal.penalty(weight, 0.1, full, rows)
    change = orthogonal.increment(weight, 0.1, "exact", full, rows)
    np.testing.assert_allclose(change, tape.gradient(value, weight), rtol=1e-5)


def test_orthogonal_filters_are_left_alone():
    q, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 4)))
    change = orthogonal.increment(tf.constant(q.astype(np.float32)), 1.0)
    np.testing.assert_allclose(change, np.zeros_like(q), atol=1e-6)
