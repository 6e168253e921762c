import numpy as np

from tests.helpers import golden
from tfdl.gan import interpolation


def test_slerp_equals_the_reference():
    data = np.load(golden("stylegan", "io_misc.npz"))
    found = interpolation.slerp(data["slerp_a"], data["slerp_b"], data["slerp_t"])
    np.testing.assert_allclose(found, data["slerp_out"], atol=1e-6)


def test_slerp_of_equal_directions_stays():
    a = np.array([[3.0, 4.0]])
    found = interpolation.slerp(a, 2 * a, 0.3)
    np.testing.assert_allclose(found, [[0.6, 0.8]])


def test_path_is_closed_and_keeps_a_latents_length():
    points = np.random.default_rng(0).normal(size=[3, 64]).astype(np.float32)
    way = interpolation.path(points, 4, arc=True)
    assert way.shape == (12, 64) and way.dtype == np.float32
    np.testing.assert_allclose(way[::4], points, atol=1e-5)
    lengths = np.linalg.norm(way, axis=-1)
    assert lengths.min() > 0.99 * np.linalg.norm(points, axis=-1).min()
    straight = interpolation.path(points, 4)
    np.testing.assert_allclose(straight[10], (points[2] + points[0]) / 2, atol=1e-6)
