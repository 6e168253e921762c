"""Networks of ENAS's layers, each with weights of its own."""

import numpy as np
import pytest
import tensorflow as tf

from tfdl.engine.errors import UserError
from tfdl.models.automl.model import build_model
from tfdl.models.automl.spaces.enas import MacroNet

# Everything is halved behind layers 0 and 1; layer 2 reads the stem past both.
NET = MacroNet((("conv_3x3", ()), ("avg_3x3", (0,)), ("sep_5x5", (0, 1))))


def network(**fields):
    found = {"kind": "enas_macro", "genotype": NET.to_dict(), "filters": 4}
    return build_model({**found, "num_classes": 5, **fields})


class Plain:
    """The network by plain calls, in inference, from the weights' names."""

    def __init__(self, model):
        self.weights = {name: v.numpy() for name, v in model.named()}
        self.read = set()

    def get(self, name):
        self.read.add(name)
        return self.weights[name]

    def norm(self, x, name):
        mean, variance = (
            self.get(f"{name}/moving_mean"),
            self.get(f"{name}/moving_variance"),
        )
        y = (x - mean) / np.sqrt(variance + 1e-5)
        return y * self.get(f"{name}/gamma") + self.get(f"{name}/beta")

    def conv(self, x, name):
        return tf.nn.conv2d(x, self.get(f"{name}/weights"), 1, "SAME").numpy()

    def project(self, x, name, conv="1x1", bn="bn_1"):
        return self.norm(self.conv(np.maximum(x, 0), f"{name}/{conv}"), f"{name}/{bn}")

    def halve(self, x, name):
        odd = np.pad(x, [[0, 0], [0, 1], [0, 1], [0, 0]])[:, 1::2, 1::2]
        halves = [
            self.conv(part, f"{name}/path{i}_conv")
            for i, part in ((1, x[:, ::2, ::2]), (2, odd))
        ]
        return self.norm(np.concatenate(halves, -1), f"{name}/final_path_bn")

    def op(self, x, i):
        return self.project(x, f"layer_{i}", "conv_1x1", "bn_1x1")

    def __call__(self, x):
        stem = self.norm(self.conv(x, "stem/conv"), "stem/bn")
        first = self.project(self.op(stem, 0), "layer_0", "conv", "bn")
        stem = self.halve(stem, "pool_at_0_from_0")
        first = self.halve(first, "pool_at_0_from_1")
        out = tf.nn.avg_pool2d(self.op(first, 1), 3, 1, "SAME").numpy()
        second = self.project(np.concatenate([stem, out], -1), "layer_1_skip")
        stem = self.halve(stem, "pool_at_1_from_0")
        first = self.halve(first, "pool_at_1_from_1")
        second = self.halve(second, "pool_at_1_from_2")
        out = self.project(self.op(second, 2), "layer_2", "conv", "bn")
        last = np.concatenate([stem, first, out], -1)
        features = self.project(last, "layer_2_skip").mean((1, 2))
        return features @ self.get("classifier/weights")


def test_layer_by_layer():
    model = network()
    rng = np.random.default_rng(0)
    for name, variable in model.named():
        value = rng.normal(size=variable.shape)
        variable.assign(np.abs(value) if "variance" in name else value)
    x = rng.normal(size=[2, 9, 8, 3]).astype("f4")
    plain = Plain(model)
    expected = plain(x)
    logits = model({"image": x})["logits"]
    size = np.abs(expected).max()
    np.testing.assert_allclose(logits, expected, atol=1e-5 * size)
    # There is no weight that nothing reads.
    assert plain.read == set(model.by_name())


def test_the_published_one():
    model = network(genotype="enas_macro", filters=4, num_classes=10)
    assert model.config.name() == "enas_macro" and len(model.ops) == 24
    assert model.config.pools() == (7, 15) and model.config.num_features == 16
    x = tf.random.stateless_normal([2, 8, 8, 3], [0, 1])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model({"image": x}, training=True)["logits"] ** 2)
    gradients = tape.gradient(loss, model.trainable_variables)
    assert all(gradient is not None for gradient in gradients)


def test_separable_convolutions_if_asked_for():
    plain, separable = network(), network(separable=True)
    # 5x5 of 16 filters: 25 * 16 * 16 weights, or 25 * 16 and 16 * 16.
    saved = plain.num_parameters() - separable.num_parameters()
    assert saved == 25 * 256 - (25 * 16 + 256)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"filters": 5}, "even number"),
        ({"genotype": "nasnet_a"}, "needs a genotype of them"),
        ({"genotype": {"kind": "enas_macro", "layers": []}}, "needs a layer"),
        (
            {"genotype": {"kind": "enas_macro", "layers": [["max_3x3", []]]}},
            "3 or more",
        ),
        ({"dropout": 0.5}, "did you mean"),
        ({"genotype": ""}, "needs a genotype"),
    ],
)
def test_what_is_refused(fields, said):
    with pytest.raises(UserError, match=said):
        network(**fields)
