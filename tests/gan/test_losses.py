"""Losses against their formulas in NumPy, penalties against known gradients."""

import numpy as np
import pytest
import tensorflow as tf

from tfdl.engine.errors import UserError
from tfdl.gan import losses

REAL = np.array([[2.0], [-1.0], [0.3]], "float32")
FAKE = np.array([[-0.5], [1.5], [0.1]], "float32")


def softplus(x):
    return np.log1p(np.exp(x))


@pytest.mark.parametrize(
    "name, expected",
    [
        ("non_saturating", softplus(-FAKE)),
        ("saturating", -softplus(FAKE)),
        ("wgan", -FAKE),
        ("hinge", -FAKE),
    ],
)
def test_generator(name, expected):
    np.testing.assert_allclose(losses.GENERATOR[name](FAKE), expected[:, 0], rtol=1e-6)


@pytest.mark.parametrize(
    "name, expected",
    [
        ("logistic", softplus(FAKE) + softplus(-REAL)),
        ("wgan", FAKE - REAL),
        ("hinge", np.maximum(0, 1 + FAKE) + np.maximum(0, 1 - REAL)),
    ],
)
def test_discriminator(name, expected):
    found = losses.DISCRIMINATOR[name](REAL, FAKE)
    np.testing.assert_allclose(found, expected[:, 0], rtol=1e-6)


def quadratic(images):
    """A score whose gradient is 2 weight x."""
    return tf.reduce_sum(tf.square(images) * 0.5, [1, 2, 3])[:, None]


@pytest.fixture
def pictures():
    rng = np.random.default_rng(0)
    return [tf.constant(rng.normal(size=(3, 4, 4, 2)).astype("float32")) for _ in "ab"]


def test_penalties(pictures):
    real, fake = pictures
    squares = np.sum(np.square(real), (1, 2, 3))
    loss = losses.DiscriminatorLoss("logistic", r1_gamma=10.0, r2_gamma=2.0)
    values, parts = loss(quadratic, real, fake)
    np.testing.assert_allclose(parts["r1_penalty"], 5 * squares, rtol=1e-5)
    np.testing.assert_allclose(
        parts["r2_penalty"], np.sum(np.square(fake), (1, 2, 3)), rtol=1e-5
    )
    plain = softplus(parts["scores_fake"]) + softplus(-parts["scores_real"])
    np.testing.assert_allclose(
        values, plain + parts["r1_penalty"] + parts["r2_penalty"], rtol=1e-5
    )
    mix = np.array([0.0, 0.25, 1.0], "float32")
    loss = losses.DiscriminatorLoss("wgan", gp_weight=10.0, gp_target=2.0, drift=0.001)
    _, parts = loss(quadratic, real, fake, mix)
    between = real + (fake - real) * mix[:, None, None, None]
    norms = np.sqrt(np.sum(np.square(between), (1, 2, 3)))
    expected = 10 / 4 * np.square(norms - 2)
    np.testing.assert_allclose(parts["gradient_penalty"], expected, rtol=1e-5)
    np.testing.assert_allclose(
        parts["drift_penalty"], 0.001 * np.square(parts["scores_real"]), rtol=1e-5
    )
    with pytest.raises(ValueError, match="needs `mix`"):
        loss(quadratic, real, fake)


def test_enlarged_pictures(pictures):
    # Of pictures enlarged by repeating pixels, with the mean taken first, the
    # gradients are what `enlarged` says of the small ones.
    real, fake = pictures
    mix = np.array([0.0, 0.25, 1.0], "float32")

    def enlarge(images):
        return tf.repeat(tf.repeat(images, 2, 1), 2, 2)

    def score(images):
        return quadratic(tf.nn.avg_pool2d(images, 2, 2, "VALID"))

    for loss in (
        losses.DiscriminatorLoss("logistic", r1_gamma=10.0, r2_gamma=3.0),
        losses.DiscriminatorLoss("hinge", gp_weight=10.0),
    ):
        small, _ = loss(quadratic, real, fake, mix, enlarged=2)
        large, _ = loss(score, enlarge(real), enlarge(fake), mix)
        np.testing.assert_allclose(small, large, rtol=1e-5)


def test_shares_add():
    values = tf.constant([1.0, 2.0, 6.0, 3.0])
    parts = losses.share(values[:1], 4) + losses.share(values[1:], 4)
    assert float(parts) == pytest.approx(3.0)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"name": "hing"}, "unknown discriminator's loss 'hing'; did you mean 'hinge'"),
        ({"r1_gamma": -1.0}, "r1_gamma may not be negative"),
        ({"gp_target": 0.0}, "gp_target has to be positive"),
        ({"drift": float("nan")}, "drift may not be negative"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(UserError, match=message):
        losses.DiscriminatorLoss(**options)
