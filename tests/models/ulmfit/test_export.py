"""Exports: raw text in, the numbers of the model out, without Python; hub modules.

Takes over 20 s: two exports are run through TensorFlow's C API, and one is loaded to be
trained further.
"""

import json

import numpy as np
import pytest
import tensorflow as tf

import tfdl
from tests.models.ulmfit.networks import CHUNKS, convert
from tests.serving.loader import check_warm_ups
from tfdl import export as export_verb
from tfdl.engine import exports, model_dir
from tfdl.hub import interface
from tfdl.models.ulmfit import export, tokenizer
from tfdl.models.ulmfit.vocabulary_transfer import read_vocab

TEXTS = ["w3 w4 w5", "", "w9 unheard w2 " * 9]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Model directories: a classifier, a language model, a backward one."""
    root = tmp_path_factory.mktemp("ulmfit")
    convert("clas_v1.pth", root / "classifier", padding="masked", **CHUNKS)
    convert("lm_v2.pth", root / "forward")
    convert("lm_v2.pth", root / "backward", direction="backward")
    return root


def ids_of(directory, text) -> list[int]:
    """A text's ids by the tokenizer in Python."""
    config = model_dir.read_config(directory)
    encode = tokenizer.python(config["tokenizer"], read_vocab(directory)).encode
    return list(encode(text))


def saved(directory, capsys) -> str:
    """Runs the verb; returns the version folder."""
    arguments = [f"--model_dir={directory}", f"--output={directory}-saved"]
    assert export_verb.main(["export", *arguments]) == 0
    return json.loads(capsys.readouterr().out)["saved_model"]


def test_classifier(folders, capsys):
    folder = saved(folders / "classifier", capsys)
    asked = check_warm_ups(folder)
    names = {"classify", "classify_ids", "encode", "encode_ids"}
    assert asked == {"serving_default", *names}
    loaded = tf.saved_model.load(folder)
    out = loaded.signatures["serving_default"](text=tf.constant(TEXTS))
    pooled = loaded.signatures["encode"](text=tf.constant(TEXTS))["pooled"]
    model = tfdl.load(str(folders / "classifier"))
    for i, text in enumerate(TEXTS):
        ids = ids_of(folders / "classifier", text)
        expected = model({"token_ids": tf.constant([ids], tf.int32)})
        for found, theirs in (
            (out["logits"][i], expected["logits"][0]),
            (out["probabilities"][i], tf.nn.softmax(expected["logits"])[0]),
            (pooled[i], expected["pooled"][0]),
        ):
            np.testing.assert_allclose(found, theirs, rtol=1e-5, atol=1e-6)
        assert out["label"][i].numpy().decode() == str(np.argmax(expected["logits"]))


def test_language_model(folders, capsys):
    folder = saved(folders / "forward", capsys)
    names = {"lm_score", "begin", "next_word", "encode", "encode_ids"}
    assert check_warm_ups(folder) == {"serving_default", *names}
    loaded = tf.saved_model.load(folder)
    model = tfdl.load(str(folders / "forward"))
    out = loaded.signatures["serving_default"](text=tf.constant(TEXTS))
    begun = loaded.signatures["begin"](text=tf.constant(TEXTS))
    itos = read_vocab(folders / "forward")
    for i, text in enumerate(TEXTS):
        ids = ids_of(folders / "forward", text)
        logits = model({"token_ids": tf.constant([ids], tf.int32)})["logits"][0]
        own = tf.nn.log_softmax(logits).numpy()
        expected = [own[t, token] for t, token in enumerate(ids[1:])]
        length = int(out["lengths"][i])
        assert length == len(ids) - 1
        found = out["log_probs"][i].numpy()
        np.testing.assert_allclose(found[:length], expected, rtol=1e-5, atol=1e-6)
        assert not found[length:].any()
        tokens = [token.decode() for token in out["tokens"][i].numpy()]
        assert tokens[:length] == [itos[token] for token in ids[1:]]
        mean = np.mean(expected) if expected else 0.0
        np.testing.assert_allclose(out["perplexity"][i], np.exp(-mean), rtol=1e-5)
        np.testing.assert_allclose(begun["logits"][i], logits[-1], atol=1e-6)
    # Stepping on from there is reading one longer text.
    state = {name: value for name, value in begun.items() if name[1] == "_"}
    stepped = loaded.signatures["next_word"](
        token_ids=tf.constant([[7], [8], [9]]), **state
    )
    ids = [*ids_of(folders / "forward", TEXTS[0]), 7]
    whole = model({"token_ids": tf.constant([ids], tf.int32)})
    np.testing.assert_allclose(stepped["logits"][0], whole["logits"][0, -1], atol=1e-6)
    np.testing.assert_allclose(stepped["c_2"][0], whole["state"][2][1][0], atol=1e-6)
    best = itos[int(np.argmax(whole["logits"][0, -1]))]
    assert stepped["tokens"][0, 0].numpy().decode() == best


def test_without_a_vocabulary(folders):
    (folders / "forward" / "assets" / "vocab.json").rename(folders / "vocab.json")
    try:
        module, signatures = export.serving_module(str(folders / "forward"))
        assert {w.signature for w in export.warm_ups(str(folders / "forward"))} == set(
            signatures
        )
        assert module.__call__(tf.constant([[2, 9, 1]])).shape == (1, 36)
        assert "int32" in export.card(str(folders / "forward")).inputs[""]
        assert set(export.hub_modules(str(folders / "forward"))) == {""}
    finally:
        (folders / "vocab.json").rename(folders / "forward" / "assets" / "vocab.json")


def test_modules_of_a_backward_model_train_further(folders, tmp_path):
    modules = export.hub_modules(str(folders / "backward"))
    assert set(modules) == {"", "preprocess", "encoder"}
    for suffix, module in modules.items():
        assert isinstance(module.card, exports.Card)
        tf.saved_model.save(module.root, str(tmp_path / (suffix or "main")))
    assert interface.inspect(tmp_path / "main").uses_text
    loaded = tf.saved_model.load(str(tmp_path / "main"))

    def total(training=False):
        return tf.reduce_sum(loaded(tf.constant(TEXTS), training=training) ** 2)

    vectors = modules[""].root.__call__(tf.constant(TEXTS))
    np.testing.assert_allclose(loaded(tf.constant(TEXTS)), vectors, rtol=1e-5)
    with tf.GradientTape() as tape:
        value = total()
    found = tape.gradient(value, loaded.trainable_variables)
    found = [tf.convert_to_tensor(gradient) for gradient in found]
    # A small step against the gradient is worth the gradient's square.
    step = 1e-2 * float(value) / float(tf.linalg.global_norm(found)) ** 2
    for variable, gradient in zip(loaded.trainable_variables, found, strict=True):
        variable.assign_sub(step * gradient)
    gain = float(value - total(training=True)) / (1e-2 * float(value))
    assert 0.8 < gain < 1.2
    preprocess = tf.saved_model.load(str(tmp_path / "preprocess"))
    encoder = tf.saved_model.load(str(tmp_path / "encoder"))
    ids = preprocess(tf.constant(TEXTS))
    for row, text in zip(ids.numpy(), TEXTS, strict=True):
        # Texts are read from their end.
        expected = ids_of(folders / "backward", text)[::-1]
        assert row[: len(expected)].tolist() == expected
        assert (row[len(expected) :] == 1).all()
    out = encoder(ids)
    np.testing.assert_allclose(out["pooled_output"], vectors, atol=1e-6)
    assert out["sequence_output"].shape[-1] == 12


def test_vectors_of_a_classifier(folders):
    modules = export.hub_modules(str(folders / "classifier"))
    assert set(modules) == {"", "embedding"}
    assert modules[""].card.outputs[""].endswith("logits: 0, 1, 2")
    found = modules["embedding"].root.__call__(tf.constant(TEXTS[:1]))
    ids = tf.constant([ids_of(folders / "classifier", TEXTS[0])], tf.int32)
    expected = tfdl.load(str(folders / "classifier"))({"token_ids": ids})["pooled"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
