"""Networks of convolutions with skip connections, and the children made of them."""

import numpy as np
import pytest
import tensorflow as tf

from tfdl.engine.errors import UserError
from tfdl.models.automl import children, spaces
from tfdl.models.automl.model import build_model
from tfdl.models.automl.networks.zoph_conv import concatenated
from tfdl.models.automl.spaces.zoph_conv import ConvLayer, ConvNet

NET = ConvNet(
    (
        ConvLayer(3, 1, 4),
        ConvLayer(1, 5, 6, 2, 3, (0,)),
        ConvLayer(3, 3, 5),
        ConvLayer(1, 1, 2, 1, 1, (0, 1)),
    )
)


def convolved(x, layer):
    """Returns a layer's output by NumPy and TensorFlow's plain convolution."""
    conv, norm = layer.layers[:2]
    y = tf.nn.conv2d(x, conv.kernel, conv.stride, "SAME").numpy()
    scale = norm.gamma.numpy() / np.sqrt(norm.moving_variance.numpy() + norm.epsilon)
    return np.maximum((y - norm.moving_mean.numpy()) * scale + norm.beta.numpy(), 0)


def test_network_layer_by_layer():
    model = build_model({"genotype": NET.to_dict(), "kind": "zoph_conv"})
    rng = np.random.default_rng(0)
    for variable in model.variables:
        if "moving_variance" not in variable.path and variable.dtype == "float32":
            variable.assign(rng.normal(size=variable.shape))
    x = rng.normal(size=[2, 7, 8, 3]).astype("f4")
    layers = model.convolutions
    first = convolved(x, layers[0])
    second = convolved(first, layers[1])
    assert second.shape == (2, 4, 3, 6)
    third = convolved(x, layers[2])
    small = np.zeros([2, 7, 8, 6], "f4")
    small[:, :4, :3] = second
    last = convolved(np.concatenate([first, small], -1), layers[3])
    # Layers 2 and 3 are read by none.
    features = np.concatenate([third, last], -1).mean((1, 2))
    out = model({"image": x})
    np.testing.assert_allclose(out["features"], features, rtol=1e-5, atol=1e-5)
    kernel, bias = model.classifier.kernel.numpy(), model.classifier.bias.numpy()
    expected = features @ kernel + bias
    np.testing.assert_allclose(out["logits"], expected, rtol=1e-4, atol=1e-4)
    assert model.config.fewest_parameters() == sum(
        np.prod(v.shape) for v in model.kernels()
    )


def test_options_of_the_network():
    network = {"genotype": NET.to_dict(), "kind": "zoph_conv"}
    model = build_model({**network, "extra_filters": 3, "pool_after": [0]})
    assert model.config.num_features == 5 + 2 + 2 * 3
    x = np.zeros([1, 8, 8, 3], "f4")
    assert model.convolutions[0](x).shape == (1, 4, 4, 7)
    maps = concatenated([tf.ones([1, 2, 3, 1]), tf.ones([1, 3, 2, 1])])
    assert maps.shape == (1, 3, 3, 2) and float(tf.reduce_sum(maps)) == 12
    for changes, message in (
        ({"pool_after": [4]}, "allowed are layers 0 to 3"),
        ({"genotype": "nasnet_a"}, "needs a genotype of them"),
        ({"extra_filter": 1}, "did you mean 'extra_filters'"),
        ({"num_classes": 0}, "network.num_classes"),
    ):
        with pytest.raises(UserError, match=message):
            build_model({**network, **changes})


def test_children_learn_and_repeat():
    space = {"name": "zoph_conv", "layers": 2, "filters": [4, 8], "max_layers": 2}
    config = {
        "name": "zoph_conv",
        "space": space,
        "data": "embedded:square-digits",
        "size": 8,
        "valid_examples": 200,
        "epochs": 3,
        "batch_size": 32,
        "augment": "none",
        "reward": "accuracy",
    }
    made = children.create(config)
    arch = spaces.create(space).parse("1 1 1 1 1 1 1")
    reports = []
    first = made.train(arch, 5, reports.append)
    assert first["reward"] == first["valid_accuracies"][-1] > 0.6
    assert len(reports) == 3 and first["train_losses"][-1] < first["train_losses"][0]
    second = made.train(arch, 5, reports.append)
    assert second["train_losses"] == first["train_losses"]
    diverged = children.create({**config, "rate": 1e30}).train(arch, 5, reports.append)
    assert diverged["diverged"] and diverged["reward"] <= 0.1
    with pytest.raises(UserError, match="other networks"):
        children.create({**config, "space": {"name": "amoeba"}})
    with pytest.raises(UserError, match="did you mean 'epochs'"):
        children.create({**config, "epoch": 3})
