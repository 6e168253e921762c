"""Ways to compute the same with less: they change the cost, not the result."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import golden
from tests.models.bert.tiny import close, inputs, load
from tfdl.engine import errors
from tfdl.models.bert import losses
from tfdl.models.bert.model import build_model
from tfdl.models.bert.names import variable_names


@pytest.fixture(scope="module")
def io():
    return dict(np.load(golden("bert", "io_pretrain.npz")))


@pytest.fixture
def policy():
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy("float32")


def pretraining_loss(model, io, training=True):
    features = inputs(io) | {"masked_positions": io["masked_lm_positions"]}
    out = model(features, training=training)
    weights = io["masked_lm_weights"].astype("float32")
    mlm, _ = losses.masked_lm(out["mlm_logits"], io["masked_lm_ids"], weights)
    labels = io["next_sentence_labels"][:, 0].astype("int32")
    nsp, _ = losses.classification(out["nsp_logits"], labels, np.ones(6, "float32"))
    return mlm / (weights.sum() + 1e-5) + nsp / 6.0


def gradients(model, loss):
    """Returns loss and the gradients that there are, by name."""
    named = variable_names(model)
    with tf.GradientTape() as tape:
        value = loss()
    found = tape.gradient(value, [v.value for v in named.values()])
    pairs = zip(named, found, strict=True)
    return value, {n: tf.convert_to_tensor(g) for n, g in pairs if g is not None}


def same_gradients(actual, expected):
    assert set(actual) == set(expected)
    largest = max(np.abs(g).max() for g in expected.values())
    for name, gradient in expected.items():
        np.testing.assert_allclose(
            actual[name], gradient, rtol=1e-5, atol=1e-6 * largest, err_msg=name
        )


# --- the first token alone -------------------------------------------------------


def test_first_token_only_gives_the_same_pooled_output(io):
    model = load("encoder")
    full = model(inputs(io), all_layers=True)
    fast = model(inputs(io), first_token_only=True, all_layers=True)
    assert "sequence_output" not in fast
    close(fast["pooled_output"], full["pooled_output"], 2e-6)
    close(fast["encoder_outputs"][-1], full["encoder_outputs"][-1][:, :1], 2e-6)
    close(fast["encoder_outputs"][2], full["encoder_outputs"][2], 2e-6)


def test_first_token_only_gives_the_same_gradients(io):
    model = load("classification", head_config={"num_labels": 3, "dropout": 0.0})

    def loss(first):
        out = model(inputs(io), training=True, first_token_only=first)
        return tf.reduce_sum(out["logits"] ** 2)

    full, expected = gradients(model, lambda: loss(False))
    fast, actual = gradients(model, lambda: loss(True))
    close(fast, full)
    same_gradients(actual, expected)


def test_first_token_only_skips_work(io):
    model = load("encoder")
    features = {k: tf.TensorSpec([6, 40], tf.int32) for k in inputs(io)}

    def products(first):
        graph = (
            tf.function(lambda f: model(f, first_token_only=first)["pooled_output"])
            .get_concrete_function(features)
            .graph
        )
        matmuls = [op for op in graph.get_operations() if op.type == "MatMul"]
        shapes = [tuple(op.outputs[0].shape) for op in matmuls]
        # All 240 tokens: five products a layer; feed-forward of 6 first tokens.
        return shapes.count((240, 32)), shapes.count((6, 64))

    assert products(False) == (3 * 5, 0)
    # Of the last layer, key and value only.
    assert products(True) == (2 * 5 + 2, 1)


# --- without padding ---------------------------------------------------------------


def test_unpad_equals_at_real_tokens(io):
    padded, model = load(), load()
    model.encoder.unpad = True
    expected = padded(inputs(io), all_layers=True)
    out = model(inputs(io), all_layers=True)
    real = io["input_mask"].astype(bool)
    assert not real.all()
    for a, b in zip(out["encoder_outputs"], expected["encoder_outputs"], strict=True):
        close(a.numpy()[real], b.numpy()[real], 2e-6)
        assert (a.numpy()[~real] == 0).all()
    close(out["pooled_output"], io["out_pooled_output"])
    close(tf.nn.log_softmax(out["nsp_logits"]), io["out_nsp_log_probs"])


def test_unpad_gives_the_originals_loss_and_gradients(io):
    model = load()
    _, expected = gradients(model, lambda: pretraining_loss(model, io))
    model.encoder.unpad = True
    value, actual = gradients(model, lambda: pretraining_loss(model, io))
    close(value, io["out_total_loss"])
    norm = tf.linalg.global_norm(list(actual.values()))
    close(norm, io["out_grad_global_norm"])
    same_gradients(actual, expected)


def test_unpad_takes_holes_empty_rows_and_no_mask(io):
    padded, model = load("encoder"), load("encoder")
    model.unpad = True
    features = inputs(io)
    mask = np.ones([6, 40], "int32")
    mask[0, 5:9], mask[1, 20:], mask[2] = 0, 0, 0
    expected = padded(features | {"padding_mask": mask})["sequence_output"]
    actual = model(features | {"padding_mask": mask})["sequence_output"]
    close(actual.numpy()[mask == 1], expected.numpy()[mask == 1], 2e-6)
    assert (actual.numpy()[mask == 0] == 0).all()
    del features["padding_mask"]
    close(model(features)["sequence_output"], padded(features)["sequence_output"], 2e-6)


@pytest.mark.parametrize("unpad", [False, True])
def test_one_trace_serves_every_batch_and_length(io, unpad):
    model = load("encoder")
    model.unpad = unpad
    spec = tf.TensorSpec([None, None], tf.int32)
    run = tf.function(lambda f: model(f)).get_concrete_function(
        {name: spec for name in inputs(io)}
    )
    for rows, length in ((6, 40), (2, 24), (1, 3)):
        part = {k: tf.constant(v[:rows, :length]) for k, v in inputs(io).items()}
        real = part["padding_mask"].numpy() == 1
        out, expected = run(part), model(part)
        close(out["pooled_output"], expected["pooled_output"], 2e-6)
        close(
            out["sequence_output"].numpy()[real],
            expected["sequence_output"].numpy()[real],
            2e-6,
        )


def test_unpad_with_first_token_only(io):
    model = load("encoder")
    model.unpad = True
    fast = model(inputs(io), first_token_only=True)["pooled_output"]
    close(fast, io["out_pooled_output"])


# --- recomputing -------------------------------------------------------------------


@pytest.mark.parametrize("unpad", [False, True])
def test_gradient_checkpointing_replays_dropout(io, unpad):
    encoder = json.loads(golden("bert", "tf1", "bert_config.json").read_text())
    encoder["hidden_act"] = "gelu_tanh"
    encoder["hidden_dropout_prob"] = encoder["attention_probs_dropout_prob"] = 0.3
    keras.utils.set_random_seed(0)
    model = build_model({"head": "pretraining", "encoder": encoder}, unpad=unpad)
    state = model.non_trainable_variables
    assert len(state) == 1 + 3 * 3  # the embedding's site and three in each layer
    start = [v.numpy() for v in state]

    def run(checkpointing):
        for variable, value in zip(state, start, strict=True):
            variable.assign(value)
        model.encoder.gradient_checkpointing = checkpointing
        value, found = gradients(model, lambda: pretraining_loss(model, io))
        return value, found, [v.numpy() for v in state]

    plain, expected, after = run(False)
    again, actual, after_again = run(True)
    np.testing.assert_allclose(again, plain, rtol=1e-6)
    same_gradients(actual, expected)
    np.testing.assert_array_equal(after_again, after)
    # Dropout was on: the masks of the next state give another loss.
    assert pretraining_loss(model, io) != plain
    assert pretraining_loss(model, io, training=False) != plain


# --- precision and compilers -------------------------------------------------------


@pytest.mark.parametrize(
    "name, slack", [("mixed_bfloat16", 0.1), ("mixed_float16", 0.02)]
)
def test_mixed_precision_is_close_and_finite(io, policy, name, slack):
    exact = load()(inputs(io))
    policy(name)
    model = load()
    out = model(inputs(io))
    for key in ("sequence_output", "pooled_output", "mlm_logits", "nsp_logits"):
        assert out[key].dtype == tf.float32
        np.testing.assert_allclose(out[key], exact[key], atol=slack * 4)
    assert all(v.dtype == "float32" for v in model.weights)
    value, found = gradients(model, lambda: pretraining_loss(model, io))
    np.testing.assert_allclose(value, io["out_total_loss"], rtol=slack)
    assert all(np.isfinite(g).all() for g in found.values())
    norm = tf.linalg.global_norm(list(found.values()))
    np.testing.assert_allclose(norm, io["out_grad_global_norm"], rtol=slack)


@pytest.mark.parametrize("name", ["mixed_bfloat16", "mixed_float16"])
def test_long_masks_hold_in_half_precision(policy, name):
    encoder = {
        "vocab_size": 30, "hidden_size": 16, "num_hidden_layers": 2,
        "num_attention_heads": 2, "intermediate_size": 32, "initializer_range": 0.5,
    }  # fmt: skip
    policy(name)
    model = build_model({"head": "encoder", "encoder": encoder})
    ids = np.arange(1024, dtype="int32").reshape([2, 512]) % 30
    mask = np.zeros([2, 512], "int32")
    mask[0, :3] = 1  # the second row is padding throughout
    other = ids.copy()
    other[0, 3:] = 7
    out = model({"token_ids": ids, "padding_mask": mask})["sequence_output"]
    assert np.isfinite(out).all()
    # What stands at padding does not reach the three real tokens.
    again = model({"token_ids": other, "padding_mask": mask})["sequence_output"]
    np.testing.assert_array_equal(again[0, :3], out[0, :3])
    assert np.abs(again[0, 3:] - out[0, 3:]).max() > 0


@pytest.mark.parametrize("checkpointing", [False, True])
def test_xla_gives_the_same_loss_and_gradients(io, checkpointing):
    model = load()
    expected, plain = gradients(model, lambda: pretraining_loss(model, io))
    model.encoder.gradient_checkpointing = checkpointing
    compiled = tf.function(
        lambda: gradients(model, lambda: pretraining_loss(model, io)), jit_compile=True
    )
    value, found = compiled()
    close(value, expected)
    same_gradients(found, plain)


def test_xla_forward(io):
    model = load("encoder")
    features = {k: tf.constant(v) for k, v in inputs(io).items()}
    out = tf.function(lambda f: model(f), jit_compile=True)(features)
    close(out["sequence_output"], io["out_sequence_output"])


# --- inputs ------------------------------------------------------------------------


def test_segments_and_mask_have_defaults(io):
    model = load("encoder")
    ids = inputs(io)["token_ids"]
    full = {
        "token_ids": ids,
        "segment_ids": np.zeros_like(ids),
        "padding_mask": np.ones_like(ids),
    }
    expected = model(full)["sequence_output"]
    close(model({"token_ids": ids})["sequence_output"], expected, 1e-6)
    close(model({"token_ids": tf.constant(ids)})["sequence_output"], expected, 1e-6)


def test_more_tokens_than_positions():
    model = load("encoder")
    with pytest.raises(errors.UserError, match="65 tokens.*64 positions"):
        model({"token_ids": np.zeros([1, 65], "int32")})
