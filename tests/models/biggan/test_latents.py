"""The latent modes: bounds, spread, seeds, and the reference's numbers."""

import numpy as np
import pytest
from scipy import stats

from tests.helpers import golden
from tfdl.engine import errors
from tfdl.models.biggan import latents

METRICS = golden("biggan", "latents.npz")


def test_the_sampler_of_pytorch_pretrained_biggan():
    arrays = np.load(METRICS)
    assert len(arrays.files) == 3
    for name in arrays.files:
        truncation, seed = name.removeprefix("trunc_z_t").split("_seed")
        expected = arrays[name]
        found = latents.sample(*expected.shape, float(truncation), seed=int(seed))
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("truncation", [0.02, 0.4, 1.0])
@pytest.mark.parametrize("mode", latents.MODES)
def test_bounds_and_distribution(mode, truncation):
    z = latents.sample(400, 50, truncation, mode, seed=3)
    assert z.dtype == np.float32
    if mode == "std":
        expected = stats.norm(scale=truncation)
    elif mode == "scaled":
        assert np.abs(z).max() <= 2 * truncation
        expected = stats.truncnorm(-2, 2, scale=truncation)
    else:
        assert np.abs(z).max() <= truncation
        expected = stats.truncnorm(-truncation, truncation)
    assert stats.kstest(z.ravel(), expected.cdf).pvalue > 1e-3
    deviation = latents.standard_deviation(truncation, mode)
    assert deviation == pytest.approx(expected.std(), rel=1e-9)
    assert z.std() == pytest.approx(deviation, rel=0.03)


def test_the_known_deviation_of_two_sigma():
    assert latents.standard_deviation(1.0, "scaled") == pytest.approx(0.8796, abs=5e-5)


def test_seeds():
    for mode in latents.MODES:
        first = latents.sample(4, 6, 0.5, mode, seed=1)
        np.testing.assert_array_equal(first, latents.sample(4, 6, 0.5, mode, seed=1))
        assert not np.array_equal(first, latents.sample(4, 6, 0.5, mode, seed=2))
        parts = [latents.sample(4, 6, 0.5, mode, seed=(1, part)) for part in (0, 1)]
        assert not np.array_equal(*parts)
        assert latents.sample(1, 2, 0.5, mode, seed=-1).shape == (1, 2)


def test_straight_lines():
    start, end = np.zeros([1, 2], np.float32), np.ones([1, 2], np.float32)
    line = latents.interpolate(start, end, 3)
    np.testing.assert_allclose(line[0, :, 0], [0, 0.25, 0.5, 0.75, 1])


@pytest.mark.parametrize("truncation", [0.0, -0.1, 1.01, float("nan"), "wide"])
def test_truncation_outside_its_range(truncation):
    with pytest.raises(errors.UserError, match="above 0, at most 1"):
        latents.sample(1, 2, truncation)


def test_unknown_mode():
    with pytest.raises(errors.UserError, match="resample"):
        latents.sample(1, 2, 0.5, "clipped")
