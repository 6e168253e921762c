"""The classifier: three generations' padding, the exact one, gradients, the head."""

import numpy as np
import pytest
import tensorflow as tf

from tests.models.ulmfit.networks import CHUNKS, convert, difference, load
from tfdl.engine import errors
from tfdl.models.ulmfit import bpt3c, names
from tfdl.models.ulmfit.classifier import Classifier
from tfdl.models.ulmfit.config import ClassifierConfig, EncoderConfig
from tfdl.models.ulmfit.model import groups

ENCODER = EncoderConfig(30, embedding_size=4, hidden_size=6, num_layers=2)


def function(model, training=False):
    """The model and its encoder as one compiled function."""

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)])
    def run(ids):
        return {**model.encode(ids), **model({"token_ids": ids}, training=training)}

    return run


def small(encoder=ENCODER, **fields):
    """A small random classifier."""
    tf.keras.utils.set_random_seed(0)
    config = ClassifierConfig(
        **{"num_classes": 3, "hidden": (5,), "bptt": 4, "max_len": 8, **fields}
    )
    model = Classifier(encoder, config)
    model.build()
    return model


def documents(*lengths):
    """Random documents, padded behind."""
    random = np.random.default_rng(0)
    ids = np.ones([len(lengths), max(lengths)], np.int32)
    for row, length in zip(ids, lengths, strict=True):
        row[:length] = random.integers(2, 30, length)
    return tf.constant(ids)


@pytest.mark.parametrize(
    "name, generation, padding",
    [
        ("clas_v07.h5", "v07", "front"),
        ("clas_v1.pth", "v1", "front"),
        ("clas_v2.pth", "v2", "chunk"),
    ],
)
def test_goldens(tmp_path, name, generation, padding):
    model = convert(name, tmp_path / "m", **CHUNKS)[0]
    run, arrays = function(model), load("io_clas.npz")
    for batch in ("b0", "b1", "b2"):
        expected = f"{batch}_{generation}_"
        out = run(tf.constant(arrays[f"{batch}_ids_{padding}"], tf.int32))
        assert difference(out["raw"], arrays[expected + "enc"]) < 1e-5
        assert difference(out["pooled"], arrays[expected + "pooled"]) < 1e-5
        assert difference(out["logits"], arrays[expected + "logits"]) < 1e-5
        # Wherever the padding stood before.
        behind = np.ones_like(arrays[f"{batch}_ids_front"])
        for row, source in zip(behind, arrays[f"{batch}_ids_front"], strict=True):
            text = source[source != 1]
            row[: len(text)] = text
        again = run(tf.constant(behind, tf.int32))
        np.testing.assert_array_equal(again["logits"], out["logits"])


def test_words_are_looked_up_for_the_batch_or_for_each_chunk(monkeypatch):
    model, ids = small(), documents(3, 19, 0, 8)
    for_the_batch = function(model)(ids)
    monkeypatch.setattr(bpt3c, "MOST_WORDS", 0)
    for_a_chunk = function(model)(ids)
    # Training without dropout goes by the embedding itself.
    by_embedding = function(model, training=True)(ids)
    for name in ("pooled", "raw"):
        assert difference(for_the_batch[name], for_a_chunk[name]) < 1e-6
        assert difference(for_the_batch[name], by_embedding[name]) < 1e-6


def test_a_document_alone_is_as_in_a_batch():
    model = small()
    run = function(model)
    lengths = [3, 19, 0, 8, 1, 12, 9, 4]
    ids = documents(*lengths)
    together = run(ids)
    front = tf.reverse(ids, [1])
    for i, length in enumerate(lengths):
        alone = run(ids[i : i + 1, :length])
        assert difference(together["logits"][i], alone["logits"][0]) < 1e-6
        assert difference(together["pooled"][i] + 1, alone["pooled"][0] + 1) < 1e-6
    reversed_alone = run(front[1:2])
    assert difference(run(front)["logits"][1], reversed_alone["logits"][0]) < 1e-6
    assert np.isfinite(together["logits"]).all()


def test_pooling_is_of_the_last_chunks():
    """Against the encoder run over the whole document at once."""
    model = small()
    for length, start in ((3, 0), (8, 0), (9, 4), (13, 8), (16, 8)):
        ids = documents(length)
        raw = model.encoder(ids)["raw"][-1][start:, 0]
        expected = tf.concat(
            [raw[-1], tf.reduce_max(raw, 0), tf.reduce_mean(raw, 0)], 0
        )
        found = model({"token_ids": ids})["pooled"][0]
        assert difference(found, expected) < 1e-5, length


def test_gradients_stop_at_chunks():
    """Against chunks read one by one with the state cut between them."""
    model, ids = small(), documents(14, 14)
    weights = model.encoder.trainable_variables

    def unrolled():
        state, outputs = None, []
        for start in range(0, 14, 4):
            found = model.encoder(ids[:, start : start + 4], state=state)
            state = tf.nest.map_structure(tf.stop_gradient, found["state"])
            if 14 - start <= 8:
                outputs.append(found["raw"][-1])
        raw = tf.concat(outputs, 0)
        return tf.concat([raw[-1], tf.reduce_max(raw, 0), tf.reduce_mean(raw, 0)], -1)

    @tf.function
    def whole():
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(model.encode(ids, training=True)["pooled"] ** 2)
        found = tape.gradient(total, [weight.value for weight in weights])
        return [tf.convert_to_tensor(gradient) for gradient in found]

    with tf.GradientTape() as tape:
        total = tf.reduce_sum(unrolled() ** 2)
    expected = tape.gradient(total, weights)
    for found, theirs in zip(whole(), expected, strict=True):
        assert difference(found, tf.convert_to_tensor(theirs)) < 1e-4


def test_every_chunk_has_masks_of_its_own():
    encoder = ENCODER.with_dropouts(embed_p=0.9)
    model = small(encoder, max_len=40)
    # The same words again and again: only masks can tell chunks apart.
    ids = tf.constant([[5, 6, 7, 8] * 6])
    out = function(model, training=True)(ids)
    assert out["mask"].shape == (1, 24)
    seen = set()
    for seed in range(6):
        own = tf.random.experimental.stateless_fold_in(tf.constant([1, 2]), seed)
        seen.add(model.encoder.draw_masks(1, own)["embed"].numpy().tobytes())
    assert len(seen) == 6
    again = small(encoder, max_len=40)
    np.testing.assert_array_equal(
        function(again, training=True)(ids)["raw"], out["raw"]
    )


def test_head_in_training(tmp_path):
    model = convert("clas_v1.pth", tmp_path / "m", **CHUNKS)[0]
    arrays, named = load("io_head_train.npz"), names.variable_names(model)
    for dropout in model.head.dropouts:
        dropout.random = None
    weights = {n: v for n, v in named.items() if n.startswith("head") and v.trainable}
    with tf.GradientTape() as tape:
        logits = model.head(tf.constant(arrays["pooled"]), training=True)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
            arrays["labels"], logits
        )
        loss = tf.reduce_mean(losses)
    found = tape.gradient(loss, [weight.value for weight in weights.values()])
    assert difference(logits, arrays["train_logits"]) < 1e-5
    assert difference(loss, arrays["loss"]) < 1e-5
    values = {name: variable.numpy() for name, variable in named.items()}
    after = names.to_original(values, "classifier", "v1", (0.4, 0.1))
    gradients = dict(zip(weights, [x.numpy() for x in found], strict=True))
    theirs = names.to_original({**values, **gradients}, "classifier", "v1", (0.4, 0.1))
    scale = max(np.abs(arrays[n]).max() for n in arrays.files if n.startswith("grad."))
    for name in arrays.files:
        if name.startswith("after.") and "tracked" not in name:
            assert difference(after["1." + name[6:]], arrays[name]) < 1e-5, name
        elif name.startswith("grad."):
            # A bias before a normalisation has no gradient but rounding.
            gap = np.abs(theirs["1." + name[5:]] - arrays[name]).max()
            assert gap < 1e-5 * scale, name


def test_groups_and_bad_configurations():
    model = small()
    assert [len(group) for group in groups(model)] == [1, 4, 4, 8]
    assert sum(map(len, groups(model))) == len(model.trainable_variables)
    for fields, said in (
        ({"padding": "front"}, "unknown padding 'front'"),
        ({"dropouts": (0.1,)}, "1 dropouts for 2 linear layers"),
        ({"max_len": 3}, "max_len has to be a whole number in [4,"),
    ):
        with pytest.raises(errors.UserError) as caught:
            small(**fields)
        assert said in str(caught.value)
