"""The tiny golden BERT, loaded from the original's checkpoint."""

import json

import numpy as np
import tensorflow as tf

from tests.helpers import golden
from tfdl import predict as predict_verb
from tfdl.engine import model_dir
from tfdl.models.bert.model import build_model
from tfdl.models.bert.names import variable_names


def close(actual, expected, tolerance=1e-5):
    """Asserts equality relative to the size of the expected values."""
    expected = np.asarray(expected)
    floor = tolerance * np.abs(expected).max()
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=floor)


def load(head="pretraining", extra=None, act="gelu_tanh", **options):
    """Returns the golden model under `head`, with `extra` weights by name."""
    encoder = json.loads(golden("bert", "tf1", "bert_config.json").read_text())
    encoder["hidden_act"] = act
    encoder["hidden_dropout_prob"] = encoder["attention_probs_dropout_prob"] = 0.0
    config = {"head": head, "encoder": encoder, **options}
    model = build_model(config)
    reader = tf.train.load_checkpoint(str(golden("bert", "tf1")) + "/bert_model.ckpt")
    for name, variable in variable_names(model).items():
        if extra and name in extra:
            variable.assign(extra[name])
        elif reader.has_tensor(name):
            variable.assign(reader.get_tensor(name))
    return model


def inputs(arrays):
    """Returns model inputs from a golden archive."""
    return {
        "token_ids": arrays["input_ids"].astype("int32"),
        "padding_mask": arrays["input_mask"].astype("int32"),
        "segment_ids": arrays["segment_ids"].astype("int32"),
    }


def save(directory, head, **extra):
    """Writes a model directory of the golden encoder under a head."""
    tf.random.set_seed(1)
    model = load(head, **extra)
    config = {
        "model": "bert",
        "head": head,
        "encoder": model.encoder.config.to_dict()
        if hasattr(model, "encoder")
        else model.config.to_dict(),
        "head_config": extra.get("head_config", {}),
        "tokenizer": {"do_lower_case": True, "vocab": "vocab.txt"},
        "max_seq_length": 64,
    }
    vocab = golden("bert", "tf1", "vocab.txt").read_bytes()
    model_dir.save(directory, config, model, {"vocab.txt": vocab})
    return directory


def predict(directory, tmp_path, lines, capsys, *options):
    """Runs the verb predict on lines of text; returns its records."""
    path = tmp_path / "input.txt"
    path.write_text("\n".join(lines) + "\n")
    arguments = [f"--model_dir={directory}", f"--input={path}", *options]
    assert predict_verb.main(["predict", *arguments]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]
