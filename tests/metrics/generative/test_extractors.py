import ast

import numpy as np
import pytest
import tensorflow as tf
from sklearn import datasets

from tests.helpers import golden
from tfdl.engine import errors
from tfdl.metrics.generative import (
    extractors,
    frechet,
    inception,
    inception_graph,
    neighbours,
    perceptual,
    small_cnn,
)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """Tests neither use nor fill the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder / "tfdl" / "extractors"


@pytest.fixture(scope="module")
def digits():
    data = datasets.load_digits()
    images = (data.images * (255 / 16)).astype(np.uint8)[..., None]
    return images, data.target


@pytest.fixture(scope="module")
def small(digits):
    images, labels = digits
    return extractors.open_extractor("smallcnn", images[:600], labels[:600])


def test_smallcnn_learns_its_pictures_classes(digits, small):
    images, labels = digits
    found = small(images[600:1000])
    assert (found.probabilities.argmax(1) == labels[600:1000]).mean() > 0.7
    assert found.vectors.shape == (400, small_cnn.WIDTH)


def test_its_distances_tell_noise_and_missing_classes(digits, small):
    images, labels = digits
    real, held_out = small.reference(images[:600]), images[600:1200]
    noise = np.random.RandomState(0).randint(0, 90, held_out.shape)
    sets = {
        "held out": held_out,
        "noisy": np.clip(held_out + noise, 0, 255).astype(np.uint8),
        "half the classes": held_out[labels[600:1200] < 5],
    }
    measured = {name: small.measure([x]) for name, x in sets.items()}
    distances = {
        name: frechet.distance(real.moments, x.moments).value
        for name, x in measured.items()
    }
    assert 3 * distances["held out"] < distances["half the classes"]
    assert 3 * distances["held out"] < distances["noisy"]
    half = neighbours.prdc(real.vectors, measured["half the classes"].vectors)
    whole = neighbours.prdc(real.vectors, measured["held out"].vectors)
    assert half["recall"] < whole["recall"] - 0.1
    assert half["coverage"] < whole["coverage"] - 0.2


def test_training_is_repeatable_kept_and_needs_no_labels(digits, cache, monkeypatch):
    images, _ = digits
    few = images[:100]
    monkeypatch.setattr(small_cnn, "_LEAST_STEPS", 20)
    one = small_cnn.trained(few)
    assert small_cnn.SmallCNN(small_cnn.train(few)).sha256 == one.sha256
    with monkeypatch.context() as patch:
        patch.setattr(small_cnn, "train", lambda *_: pytest.fail("trained again"))
        assert small_cnn.trained(few).sha256 == one.sha256
    kept = max(cache.glob("smallcnn-*.npz"), key=lambda p: p.stat().st_mtime)
    kept.write_bytes(kept.read_bytes()[:100])
    assert small_cnn.trained(few).sha256 == one.sha256


def test_reference_features_come_from_the_cache(digits, cache):
    images, _ = digits
    calls = []

    def function(batch):
        calls.append(len(batch))
        return batch.reshape(len(batch), -1)[:, :5].astype(np.float32)

    mine = extractors.Callable("mine", function, sha256="0" * 64)
    first = mine.reference(images[:100], 40)
    assert calls == [40, 40, 20]
    again = mine.reference(images[:100], 40)
    assert calls == [40, 40, 20] and again.probabilities is None
    assert np.array_equal(first.vectors, again.vectors)
    np.testing.assert_array_equal(first.moments.covariance, again.moments.covariance)
    mine.reference(images[1:101], 40)
    assert len(calls) == 6
    unknown = extractors.Callable("mine", function)
    unknown.reference(images[:10])
    unknown.reference(images[:10])
    assert len(calls) == 8


def test_only_the_official_extractors_distance_is_called_fid(small):
    assert small.metric("fid") == "fcd_smallcnn"
    assert small.metric("precision") == "precision_smallcnn"
    official = extractors.Callable("x", len, official=True)
    assert official.metric("fid") == "fid"
    assert small.describe()["extractor_sha256"] == small.sha256


def test_pixels_and_random_need_no_data(digits):
    images, _ = digits
    pixels = extractors.open_extractor("pixels")(images[:3])
    assert np.array_equal(pixels.vectors, images[:3].reshape(3, 64))
    random = extractors.open_extractor("random")
    assert random(images[:3]).vectors.shape == (3, small_cnn.WIDTH)


def test_bad_names_and_files(tmp_path):
    with pytest.raises(errors.UserError, match="did you mean 'smallcnn'"):
        extractors.open_extractor("smalcnn")
    with pytest.raises(errors.UserError, match="none were given"):
        extractors.open_extractor("smallcnn")
    with pytest.raises(errors.UserError, match="no such file"):
        extractors.open_extractor(f"inception:{tmp_path}/a.pth")
    with pytest.raises(errors.UserError, match="lacks Conv2d_1a_3x3 and 93 more"):
        inception.Inception({})
    with pytest.raises(errors.UserError, match="lacks net.slice1.0.weight"):
        perceptual.VGG16({})
    with pytest.raises(ValueError, match="uint8"):
        extractors.open_extractor("pixels")(np.zeros([1, 8, 8, 1]))


def seeded(data, draw):
    """Returns the arrays that the other implementation was given."""
    arrays = {}
    for name, shape in zip(data["names"], data["shapes"], strict=True):
        shape = ast.literal_eval(str(shape))
        arrays[str(name)] = draw(str(name), shape).astype(np.float32)
    return arrays


def test_inception_equals_pytorch_fid():
    data = np.load(golden("generative", "inception.npz"))
    random = np.random.RandomState(0)

    def draw(name, shape):
        if len(shape) == 4:
            return random.randn(*shape) * np.sqrt(2 / np.prod(shape[1:]))
        if len(shape) == 2:
            return random.randn(*shape) * 0.02
        if name.endswith("running_var"):
            return 0.5 + random.rand(*shape)
        if name.endswith("bn.weight"):
            return 0.8 + 0.4 * random.rand(*shape)
        return 0.1 * random.randn(*shape)

    network = inception.Inception(seeded(data, draw))
    images = random.randint(0, 256, size=(2, 299, 299, 3)).astype(np.uint8)
    features, probabilities = network(tf.constant(images))
    np.testing.assert_allclose(features, data["out"], atol=1e-4)
    assert probabilities.shape == (2, 1008)


def graph_of(arrays):
    """Returns the TensorFlow graph that would hold a PyTorch file's weights."""
    graph = tf.compat.v1.GraphDef()

    def constant(name, value):
        node = graph.node.add(name=name, op="Const")
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))

    for original, name in inception_graph._layers().items():
        kernel = arrays[f"{name}.conv.weight"].transpose(2, 3, 1, 0)
        constant(f"{original}/conv2d_params", np.ascontiguousarray(kernel))
        norm = f"{original}/batchnorm"
        node = graph.node.add(name=norm, op="BatchNormWithGlobalNormalization")
        node.attr["scale_after_normalization"].b = True
        for ours, theirs in (
            ("running_mean", "moving_mean"),
            ("running_var", "moving_variance"),
            ("bias", "beta"),
            ("weight", "gamma"),
        ):
            constant(f"{norm}/{theirs}", arrays[f"{name}.bn.{ours}"])
    constant("softmax/weights", np.ascontiguousarray(arrays["fc.weight"].T))
    return graph


def test_inception_from_the_original_graph(tmp_path):
    data = np.load(golden("generative", "inception.npz"))
    random = np.random.RandomState(0)
    arrays = {}
    for name, shape in zip(data["names"], data["shapes"], strict=True):
        # The network, 16 times narrower.
        shape = [
            n if n < 16 or n == 1008 else n // 16 for n in ast.literal_eval(str(shape))
        ]
        arrays[str(name)] = random.uniform(0.1, 0.3, shape).astype(np.float32) - (
            0.2 if len(shape) == 4 else 0
        )
    graph = graph_of(arrays)
    path = tmp_path / "classify_image_graph_def.pb"
    path.write_bytes(graph.SerializeToString())
    official = extractors.open_extractor(f"inception:{path}")
    assert official.metric("fid") == "fid"
    images = random.randint(0, 256, size=(2, 75, 75, 3)).astype(np.uint8)
    expected, probabilities = inception.Inception(arrays)(images)
    found = official(images)
    np.testing.assert_allclose(found.vectors, expected, rtol=1e-5)
    np.testing.assert_allclose(found.probabilities, probabilities, rtol=1e-5)
    assert found.vectors.shape == (2, 128) and np.ptp(found.vectors) > 0

    path.write_bytes(graph.SerializeToString()[:-1000])
    with pytest.raises(errors.UserError, match="is no TensorFlow graph, or is damaged"):
        inception_graph.read(path)
    bomb = next(n for n in graph.node if n.name == "mixed_4/conv/conv2d_params")
    bomb.attr["value"].tensor.tensor_shape.dim[0].size = 1 << 40
    path.write_bytes(graph.SerializeToString())
    with pytest.raises(errors.UserError, match="does not fill"):
        inception_graph.read(path)
    bomb.op = "ReadFile"
    path.write_bytes(graph.SerializeToString())
    with pytest.raises(errors.UserError, match="no constant mixed_4/conv/conv2d"):
        inception_graph.read(path)


def test_lpips_equals_the_lpips_package():
    data = np.load(golden("generative", "lpips.npz"))
    random = np.random.RandomState(0)

    def draw(name, shape):
        if name.startswith("lin"):
            return random.rand(*shape)
        if len(shape) == 4:
            return random.randn(*shape) * np.sqrt(2 / np.prod(shape[1:]))
        return 0.1 * random.randn(*shape)

    network = perceptual.VGG16(seeded(data, draw))
    a = random.uniform(-1, 1, size=(3, 48, 40, 3)).astype(np.float32)
    b = np.clip(a + 0.3 * random.randn(*a.shape), -1, 1).astype(np.float32)
    distance = perceptual.of_maps(network.stages, network.weights)
    np.testing.assert_allclose(distance(a, b), data["out"], rtol=1e-5)


@pytest.mark.parametrize("spec", ["smallcnn", "pyramid"])
def test_distances_grow_with_the_difference_and_have_gradients(digits, spec):
    images, labels = digits
    network = small_cnn.trained(images[:600], labels[:600])
    distance = perceptual.open_distance(spec, network)
    a = tf.constant(images[:4] / 127.5 - 1, tf.float32)
    noise = tf.constant(np.random.RandomState(0).randn(*a.shape), tf.float32)
    near, far = distance(a, a + 0.01 * noise), distance(a, a + 0.3 * noise)
    assert (far.numpy() > 5 * near.numpy()).all() and (near.numpy() > 0).all()
    np.testing.assert_allclose(distance(a, a), 0, atol=1e-12)
    with tf.GradientTape() as tape:
        tape.watch(a)
        total = tf.reduce_sum(distance(a, tf.zeros_like(a)))
    assert np.isfinite(tape.gradient(total, a)).all()


def test_pictures_may_be_read_while_they_are_looked_at(digits):
    images, _ = digits
    large = images[:70].repeat(16, 1).repeat(16, 2)

    class Lazily:
        shape, dtype = large.shape, large.dtype

        def __len__(self):
            return len(large)

        def __getitem__(self, which):
            found = large[which]
            assert len(found) <= small_cnn._CHUNK
            return found

    pixels = extractors.open_extractor("pixels")
    whole, lazy = pixels.reference(large, 16), pixels.reference(Lazily(), 32)
    assert np.array_equal(whole.vectors, lazy.vectors)
    assert small_cnn._small(Lazily()).shape == (70, 64, 64, 1)
    assert np.array_equal(small_cnn._small(Lazily()), small_cnn._small(large))
    both = whole.joined(pixels.measure([images[70:100]]))
    assert both.count == 100 and both.probabilities is None
    np.testing.assert_allclose(both.moments.mean, images[:100].reshape(100, 64).mean(0))
