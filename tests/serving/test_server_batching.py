"""Requests of many clients run together, and get their own answers."""

import collections
import concurrent.futures
import threading

import numpy as np
import pytest
import tensorflow as tf

from tests.serving import servers
from tfdl.engine import errors
from tfdl.serving import batching, status
from tfdl.serving.servable import Servable


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return servers.export(tmp_path_factory.mktemp("m"), 1, scale=0.5)


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return servers.export(tmp_path_factory.mktemp("n"), 1, scale=100)


def load(path, **options):
    return Servable("m", 1, path, batching.Batching(**options))


def together(calls, threads=16):
    """Runs calls at once; returns their results in order."""
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


def floats(*values):
    return np.float32(values)


def test_rows_share_batches(path):
    """Many single rows take far fewer runs than rows."""
    seen = []
    spec = [tf.TensorSpec([None], tf.float32)]

    def note(x):
        seen.append(len(x))
        return x * 2

    def double(x):
        return [tf.ensure_shape(tf.numpy_function(note, [x], tf.float32), [None])]

    options = batching.Batching(
        max_batch_size=8, batch_timeout_micros=200_000, num_batch_threads=1
    )
    function = batching.Queue(double, spec, options)
    calls = [
        lambda i=i: function(tf.constant([float(i)]))[0].numpy() for i in range(32)
    ]
    found = together(calls, threads=32)
    assert [one.tolist() for one in found] == [[2.0 * i] for i in range(32)]
    assert sum(seen) == 32 and max(seen) > 1 and len(seen) <= 16


def test_models_and_signatures_do_not_mix(path, other):
    """Neither versions nor signatures of the same shapes share a queue."""
    options = {"batch_timeout_micros": 5000, "max_batch_size": 64}
    half, hundred = load(path, **options), load(other, **options)
    lines = [half.signature(""), hundred.signature("")]
    strict = half.signature("strict")
    calls = []
    for i in range(150):
        calls.append(lambda i=i: lines[i % 2].run({"x": floats(i)})["y"][0])
        calls.append(lambda i=i: strict.run({"x": floats(i * i)})["root"][0])
    found = together(calls, threads=32)
    for i in range(150):
        assert found[2 * i] == i * (100.0 if i % 2 else 0.5)
        assert found[2 * i + 1] == i


def test_texts_are_grouped_by_length_and_come_back_in_order(path):
    words = load(path, max_batch_size=64, batch_timeout_micros=5000, group_rows=4)
    signature = words.signature("words")
    random = np.random.default_rng(0)
    texts = [" ".join(["w"] * n) for n in random.integers(1, 50, 200)]
    sizes = [1, 2, 7, 30]
    parts, at = [], 0
    while at < len(texts):
        parts.append(texts[at : at + sizes[len(parts) % 4]])
        at += len(parts[-1])

    def call(part):
        column = np.array([text.encode() for text in part], object)
        return signature.run({"text": column})

    for part, found in zip(
        parts, together([lambda p=p: call(p) for p in parts]), strict=True
    ):
        assert [text.decode() for text in found["text"]] == part
        expected = [len(text.split()) * 0.5 for text in part]
        np.testing.assert_array_equal(found["count"], expected)


@pytest.mark.parametrize("signature, rows", [("words", 50), ("serving_default", 50)])
def test_more_rows_than_a_batch(path, signature, rows):
    found = load(path, max_batch_size=8).signature(signature)
    if signature == "words":
        texts = np.array([b"w " * i + b"w" for i in range(rows)], object)
        assert found.run({"text": texts})["text"].tolist() == texts.tolist()
    else:
        values = np.arange(rows, dtype=np.float32)
        np.testing.assert_array_equal(found.run({"x": values})["y"], values / 2)


def test_no_rows(path):
    assert load(path).signature("").run({"x": floats()})["y"].shape == (0,)


def test_one_bad_request_does_not_fail_its_batch(path):
    strict = load(path, batch_timeout_micros=20_000).signature("strict")

    def call(value):
        try:
            return float(strict.run({"x": floats(value)})["root"][0])
        except status.StatusError as error:
            return error.code

    values = [float(i) if i % 4 else -1.0 for i in range(1, 33)]
    found = together([lambda v=v: call(v) for v in values], threads=32)
    for value, result in zip(values, found, strict=True):
        if value < 0:
            assert result == status.Code.INVALID_ARGUMENT
        else:
            assert result == pytest.approx(np.sqrt(value))


def test_unequal_lengths(path):
    """Rows of other lengths share a batch with padding, and run alone without."""
    plain = load(path).signature("pooled")
    assert not plain.is_batched
    padded = load(
        path, pad_variable_length_inputs=True, batch_timeout_micros=5000
    ).signature("pooled")
    assert padded.is_batched
    random = np.random.default_rng(1)
    rows = [random.random([2, n], np.float32) for n in (1, 3, 4, 5, 9, 16, 17, 0)] * 3

    def call(signature, row):
        mask = np.ones_like(row)
        return signature.run({"ids": row, "mask": mask})["mean"]

    found = together([lambda r=r: call(padded, r) for r in rows])
    for row, means in zip(rows, found, strict=True):
        np.testing.assert_allclose(means, call(plain, row), rtol=1e-6)
        np.testing.assert_allclose(means, row.sum(1) / 2, rtol=1e-6)
    with pytest.raises(status.StatusError, match="equal 0th-dimension"):
        padded.run({"ids": np.zeros([2, 3], "f"), "mask": np.zeros([1, 3], "f")})


def test_a_full_queue_refuses(path):
    """Clients hear at once that the server has too much to do."""
    slow = load(
        path, max_batch_size=2, num_batch_threads=1, max_enqueued_batches=1
    ).signature("slow")
    slow.run({"turns": np.int32([1])})
    codes = collections.Counter()
    lock = threading.Lock()

    def call():
        try:
            slow.run({"turns": np.int32([100])})
            code = status.Code.OK
        except status.StatusError as error:
            code = error.code
        with lock:
            codes[code] += 1

    together([call] * 12, threads=12)
    assert codes[status.Code.OK] >= 1
    assert codes[status.Code.UNAVAILABLE] >= 1
    assert sum(codes.values()) == codes[status.Code.OK] + codes[status.Code.UNAVAILABLE]


def test_what_is_batched():
    def spec(*shape):
        return tf.TensorSpec(shape, tf.float32)

    rows, fixed = spec(None, 3), spec(2, 3)
    wide = spec(None, None)
    unknown = tf.TensorSpec(None, tf.float32)
    assert batching.is_batchable([rows], [rows], False)
    assert batching.is_batchable([wide], [rows], True)
    for inputs, outputs in (
        ([fixed], [rows]),
        ([rows], [fixed]),
        ([spec()], [rows]),
        ([rows], [spec()]),
        ([unknown], [rows]),
        ([rows], [unknown]),
        ([wide], [rows]),
        ([rows], [wide]),
    ):
        assert not batching.is_batchable(inputs, outputs, False), (inputs, outputs)


@pytest.mark.parametrize(
    "options, text",
    [
        ({"max_batch_size": 0}, "max_batch_size has to be at least 1, got 0"),
        ({"batch_timeout_micros": -1}, "batch_timeout_micros has to be at least 0"),
        ({"num_batch_threads": 0}, "num_batch_threads has to be at least 1"),
        ({"allowed_batch_sizes": (8, 4)}, "has to increase"),
        ({"allowed_batch_sizes": (4, 8)}, "has to be max_batch_size, 1000, got 8"),
    ],
)
def test_wrong_options(options, text):
    with pytest.raises(errors.UserError, match=text):
        batching.Batching(**options)


def test_allowed_sizes(path):
    options = {"max_batch_size": 16, "allowed_batch_sizes": (4, 16)}
    words = load(path, batch_timeout_micros=2000, **options).signature("words")
    texts = [f"text {i}".encode() for i in range(20)]
    found = together(
        [lambda t=t: words.run({"text": np.array([t], object)}) for t in texts]
    )
    assert [one["text"][0] for one in found] == texts
