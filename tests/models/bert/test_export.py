"""Exports: raw strings in, the same numbers out, with no Python of TensorFlow."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tests.models.bert.tiny import predict, save
from tests.serving.loader import check_warm_ups, run_c_api
from tfdl import export as export_verb

TEXTS = ["the quick brown fox", "hello, world! the lazy dog", ""]


def export(directory, output, capsys):
    """Runs the verb; returns the version folder."""
    arguments = [f"--model_dir={directory}", f"--output={output}"]
    assert export_verb.main(["export", *arguments]) == 0
    return json.loads(capsys.readouterr().out)["saved_model"]


def test_classifier_through_the_c_api(tmp_path, capsys):
    labels = {"labels": ["bad", "good", "odd"]}
    save(tmp_path / "m", "classification", head_config=labels)
    folder = export(tmp_path / "m", tmp_path / "out", capsys)
    assert folder.endswith("/out/1")
    found = run_c_api(folder, {"text": TEXTS}, ["label", "probabilities"])
    records = predict(tmp_path / "m", tmp_path, TEXTS[:2], capsys)
    for i, record in enumerate(records):
        assert found["label"][i] == record["label"]
        expected = [record["probabilities"][name] for name in labels["labels"]]
        np.testing.assert_allclose(found["probabilities"][i], expected, atol=2e-6)
    again = export(tmp_path / "m", tmp_path / "out", capsys)
    assert again.endswith("/out/2")
    pair = run_c_api(
        again,
        {"text": TEXTS, "text_b": ["the dog", "", "fox"]},
        ["logits"],
        "pair",
    )
    assert check_warm_ups(again) == {"serving_default", "pair", "ids"}
    loaded = tf.saved_model.load(again)
    python = loaded.signatures["pair"](
        text=tf.constant(TEXTS), text_b=tf.constant(["the dog", "", "fox"])
    )
    np.testing.assert_allclose(pair["logits"], python["logits"], rtol=1e-5, atol=1e-6)


def test_fill_mask_and_embedding(tmp_path, capsys):
    save(tmp_path / "m", "pretraining")
    folder = export(tmp_path / "m", tmp_path / "out", capsys)
    texts = ["the [MASK] fox", "the [MASK] dog and the [MASK] fox"]
    found = run_c_api(folder, {"text": texts}, ["tokens", "probabilities"])
    assert found["tokens"].shape == (2, 2, 5)
    assert found["tokens"][0, 1].tolist() == [""] * 5
    records = predict(tmp_path / "m", tmp_path, texts, capsys)
    for i, record in enumerate(records):
        for k, mask in enumerate(record["masks"]):
            assert found["tokens"][i, k].tolist() == list(mask)
            np.testing.assert_allclose(
                found["probabilities"][i, k], list(mask.values()), atol=2e-6
            )
    vectors = run_c_api(folder, {"text": TEXTS[:2]}, ["mean_output"], "embedding")
    records = predict(
        tmp_path / "m", tmp_path, TEXTS[:2], capsys, "--option=mode=embedding"
    )
    for vector, record in zip(vectors["mean_output"], records, strict=True):
        np.testing.assert_allclose(vector, record["embedding"], atol=2e-6)


def test_the_model_is_stored_once(tmp_path, capsys):
    save(tmp_path / "m", "encoder")
    folder = export(tmp_path / "m", tmp_path / "out", capsys)
    weights = (tmp_path / "m" / "model.weights.h5").stat().st_size
    variables = tmp_path / "out" / folder.rsplit("/", 1)[1] / "variables"
    data = sum(path.stat().st_size for path in variables.iterdir())
    assert data < 1.3 * weights


def test_spans(tmp_path, capsys):
    save(tmp_path / "m", "squad")
    folder = export(tmp_path / "m", tmp_path / "out", capsys)
    passages = ["The Quick brown fox jumps over the lazy dog.", "hello world", ""]
    # The first of these requests is far shorter than the longest answer may be.
    assert check_warm_ups(folder) == {"serving_default", "ids"}
    values = {"question": ["who jumps?"] * 3, "passage": passages}
    found = run_c_api(folder, values, ["answer", "score", "null_score"])
    for answer, passage in zip(found["answer"][:2], passages[:2], strict=True):
        assert answer and answer in passage
    assert found["answer"][2] == ""
    assert np.isfinite(found["null_score"]).all()


def test_entities(tmp_path, capsys):
    save(tmp_path / "m", "ner", head_config={"labels": ["O", "B-PER", "I-PER"]})
    folder = export(tmp_path / "m", tmp_path / "out", capsys)
    found = run_c_api(folder, {"text": TEXTS}, ["words", "labels"])
    assert found["words"].shape == found["labels"].shape == (3, 5)
    assert found["words"][0].tolist() == ["the", "quick", "brown", "fox", ""]
    assert set(found["labels"][0][:4]) <= {"O", "B-PER", "I-PER"}
    assert found["labels"][2].tolist() == [""] * 5


def test_choices(tmp_path):
    save(tmp_path / "m", "swag")
    from tfdl.models.bert.export import serving_module

    _, signatures = serving_module(tmp_path / "m")
    found = signatures["serving_default"](
        context=tf.constant(["the dog sat."]),
        start=tf.constant(["it"]),
        endings=tf.constant([["barked", "jumps over the fox", "", "slept"]]),
    )
    assert found["probabilities"].shape == (1, 4)
    np.testing.assert_allclose(tf.reduce_sum(found["probabilities"]), 1.0, rtol=1e-5)


def test_unwritable_output(tmp_path, capsys):
    save(tmp_path / "m", "encoder")
    (tmp_path / "file").write_text("x")
    code = export_verb.main(
        ["export", f"--model_dir={tmp_path / 'm'}", f"--output={tmp_path / 'file'}"]
    )
    assert code == 1
    assert capsys.readouterr().err.startswith("error: cannot write to")


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_no_model_directory(tmp_path, capsys, name):
    (tmp_path / "empty").mkdir()
    assert export_verb.main(["export", f"--model_dir={tmp_path / name}"]) == 1
    assert "model directory" in capsys.readouterr().err
