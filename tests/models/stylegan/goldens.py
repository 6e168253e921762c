"""The original's networks and what they compute, for several tests."""

import dataclasses
import functools

import numpy as np
import pytest

from tests.helpers import golden
from tfdl.models.stylegan import model, names, original, pickled_network


@functools.cache
def arrays(name: str) -> dict[str, np.ndarray]:
    """Returns what an io_*.npz holds."""
    with np.load(golden("stylegan", f"io_{name}.npz")) as file:
        return dict(file)


@functools.cache
def pickled(name: str):
    """Returns the networks in a golden pickle."""
    return pickled_network.read(golden("stylegan", f"{name}.pkl"))


def network(name: str, role: str, **changes):
    """Returns a new network with a golden's weights, its configuration changed."""
    built = original.build(pickled(name)[role], f"{name}.pkl")[0]
    if not changes:
        return built
    config = dataclasses.replace(built.config, **changes)
    build = model.build_discriminator if role == "D" else model.build_generator
    other = build(config)
    values = names.variable_names(built, buffers=True)
    for key, variable in names.variable_names(other, buffers=True).items():
        variable.assign(values[key])
    return other


def nhwc(images: np.ndarray) -> np.ndarray:
    """Returns the goldens' [B, C, H, W] as [B, H, W, C]."""
    return np.transpose(images, (0, 2, 3, 1))


def assert_near(found, expected, tolerance: float = 1e-5) -> None:
    """Asserts a difference of at most `tolerance` of the largest value."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    scale = max(np.abs(expected).max(), 1e-30)
    worst = np.abs(found.astype("float64") - expected).max() / scale
    if not worst <= tolerance:
        pytest.fail(f"differs by {worst:.3g} of the largest value {scale:.4g}")
