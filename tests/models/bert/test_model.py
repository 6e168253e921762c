"""The encoder and its heads against the original's outputs."""

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import golden
from tests.models.bert.tiny import close, inputs, load
from tfdl.models.bert import losses
from tfdl.models.bert.names import variable_names


@pytest.fixture(scope="module")
def pretrain():
    return dict(np.load(golden("bert", "io_pretrain.npz")))


def total_loss(model, io, training=False):
    features = inputs(io) | {"masked_positions": io["masked_lm_positions"]}
    out = model(features, training=training)
    weights = io["masked_lm_weights"].astype("float32")
    mlm, _ = losses.masked_lm(out["mlm_logits"], io["masked_lm_ids"], weights)
    labels = io["next_sentence_labels"][:, 0].astype("int32")
    nsp, _ = losses.classification(out["nsp_logits"], labels, np.ones(6, "float32"))
    return mlm / (weights.sum() + 1e-5), nsp / 6.0


def test_every_layer_and_head_equals_the_original(pretrain):
    model = load()
    out = model(inputs(pretrain), all_layers=True)
    close(out["encoder_outputs"][0], pretrain["out_embedding_output"])
    for i in range(3):
        close(out["encoder_outputs"][i + 1], pretrain[f"out_layer_{i}"])
    close(out["sequence_output"], pretrain["out_sequence_output"])
    close(out["pooled_output"], pretrain["out_pooled_output"])
    close(tf.nn.log_softmax(out["nsp_logits"]), pretrain["out_nsp_log_probs"])
    positions = pretrain["masked_lm_positions"]
    at_masks = tf.gather(out["mlm_logits"], positions, batch_dims=1)
    log_probs = tf.reshape(tf.nn.log_softmax(at_masks), [36, -1])
    close(log_probs, pretrain["out_mlm_log_probs"])


def test_gathered_positions_equal_all_positions(pretrain):
    model = load()
    positions = pretrain["masked_lm_positions"]
    every = model(inputs(pretrain))["mlm_logits"]
    some = model(inputs(pretrain) | {"masked_positions": positions})["mlm_logits"]
    close(some, tf.gather(every, positions, batch_dims=1), 1e-6)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_losses_and_gradients_equal_the_original(pretrain, checkpointing):
    model = load()
    model.encoder.gradient_checkpointing = checkpointing
    named = variable_names(model)
    with tf.GradientTape() as tape:
        mlm, nsp = total_loss(model, pretrain, training=True)
        total = mlm + nsp
    close(mlm, pretrain["out_mlm_loss"])
    close(nsp, pretrain["out_nsp_loss"])
    close(total, pretrain["out_total_loss"])
    gradients = tape.gradient(total, [v.value for v in named.values()])
    gradients = dict(zip(named, map(tf.convert_to_tensor, gradients), strict=True))
    norm = tf.linalg.global_norm(list(gradients.values()))
    close(norm, pretrain["out_grad_global_norm"])
    expected = np.load(golden("bert", "io_grads.npz"))
    largest = max(np.abs(expected[key]).max() for key in expected.files)
    for key in expected.files:
        np.testing.assert_allclose(
            gradients[key.replace("|", "/")],
            expected[key],
            rtol=1e-5,
            atol=1e-6 * largest,
            err_msg=key,
        )


def test_both_forms_of_gelu(pretrain):
    io = np.load(golden("bert", "io_hf.npz"))
    tanh = load()(inputs(pretrain), all_layers=True)
    erf = load(act="gelu_erf")(inputs(pretrain), all_layers=True)
    close(tanh["encoder_outputs"][3], io["hidden_3"])
    close(tanh["mlm_logits"][:2], io["prediction_logits"])
    erf_keys = [key for key in io.files if key.startswith("erf_")]
    assert erf_keys
    names = {
        "erf_last_hidden": erf["sequence_output"],
        "erf_prediction_logits": erf["mlm_logits"][:, :2],
        "erf_seq_relationship_logits": erf["nsp_logits"],
    }
    for key in erf_keys:
        close(names[key], io[key])
    # The two forms differ by what the reference's differ by, 7.2e-4: far more than
    # the tolerance, so that one cannot pass for the other.
    gap = np.abs(erf["sequence_output"] - tanh["sequence_output"]).max()
    expected = np.abs(io["erf_last_hidden"] - io["hidden_3"]).max()
    np.testing.assert_allclose(gap, expected, rtol=0.01)
    assert expected > 10 * 1e-5 * np.abs(io["hidden_3"]).max()


def test_classifier(pretrain):
    io = np.load(golden("bert", "io_classifier.npz"))
    extra = {name: io[name] for name in ("output_weights", "output_bias")}
    model = load("classification", extra, head_config={"num_labels": 3})
    out = model(inputs(io))
    close(out["logits"], io["logits"])
    labels = io["labels"].astype("int32")
    loss, _ = losses.classification(
        out["logits"], labels, np.ones(len(labels), "float32")
    )
    close(loss / len(labels), io["loss"])
    fast = model(inputs(io), first_token_only=True)
    assert "sequence_output" not in fast
    close(fast["logits"], out["logits"], 1e-6)


def test_span_selector(pretrain):
    io = np.load(golden("bert", "io_squad_head.npz"))
    extra = {
        "cls/squad/output_weights": io["output_weights"],
        "cls/squad/output_bias": io["output_bias"],
    }
    features = inputs(io if "input_ids" in io.files else pretrain)
    out = load("squad", extra)(features)
    close(out["start_logits"], io["start_logits"])
    close(out["end_logits"], io["end_logits"])
