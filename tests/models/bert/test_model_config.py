"""BERT configurations: what is read, what is refused, how many weights."""

import json

import numpy as np
import pytest
import tensorflow as tf

import tfdl
from tests.helpers import golden
from tests.models.bert.tiny import load
from tfdl.engine import errors, model_dir
from tfdl.models.bert.config import BertConfig
from tfdl.models.bert.model import BertEncoder, build_model, from_config
from tfdl.models.bert.names import variable_names

PUBLISHED = [
    ("tiny", 30522, 4_385_920),
    ("mini", 30522, 11_170_560),
    ("small", 30522, 28_763_648),
    ("medium", 30522, 41_373_184),
    ("base", 30522, 109_482_240),
    ("base", 28996, 108_310_272),
    ("base", 119547, 177_853_440),
    ("base", 105879, 167_356_416),
    ("base", 21128, 102_267_648),
    ("large", 30522, 335_141_888),
    ("large", 28996, 333_579_264),
]


def count(model):
    return sum(int(np.prod(v.shape)) for v in model.weights)


@pytest.mark.parametrize("preset, vocab, parameters", PUBLISHED)
def test_published_parameter_counts(preset, vocab, parameters):
    assert BertConfig.preset(preset, vocab).num_parameters() == parameters


@pytest.mark.parametrize("preset", ["tiny", "mini"])
def test_the_formula_counts_what_is_built(preset):
    config = BertConfig.preset(preset, 100)
    model = build_model({"head": "encoder", "encoder": config.to_dict()})
    assert count(model) == config.num_parameters()


def test_base_with_its_pretraining_heads_as_built():
    config = BertConfig.preset("base")
    model = build_model({"head": "pretraining", "encoder": config.to_dict()})
    assert count(model.encoder) == 109_482_240
    assert count(model) == 110_106_428


def test_names_and_shapes_are_the_checkpoints():
    model = load("pretraining")
    reader = tf.train.load_checkpoint(str(golden("bert", "tf1")) + "/bert_model.ckpt")
    expected = {
        name: tuple(shape)
        for name, shape in reader.get_variable_to_shape_map().items()
        if name != "global_step"
    }
    named = {name: tuple(v.shape) for name, v in variable_names(model).items()}
    assert named == expected


def test_defaults_are_the_originals():
    config = BertConfig.from_dict({"vocab_size": 10})
    assert config.type_vocab_size == 16
    assert (config.hidden_size, config.num_hidden_layers) == (768, 12)
    assert config.max_position_embeddings == 512
    assert config.layer_norm_eps == 1e-12


def test_unknown_keys_are_tolerated():
    text = golden("bert", "tf1", "bert_config.json").read_text()
    values = json.loads(text) | {
        "hidden_act": "gelu_tanh",
        "directionality": "bidi",
        "pooler_type": "first_token_transform",
    }
    config = BertConfig.from_dict(values)
    assert (config.num_hidden_layers, config.hidden_size) == (3, 32)
    assert BertConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"num_attention_heads": 5}, "multiple"),
        ({"hidden_size": 0}, "hidden_size"),
        ({"hidden_size": "768"}, "hidden_size"),
        ({"num_hidden_layers": True}, "num_hidden_layers"),
        ({"vocab_size": -3}, "vocab_size"),
        ({"hidden_dropout_prob": 1.0}, "hidden_dropout_prob"),
        ({"attention_probs_dropout_prob": -0.1}, "attention_probs_dropout_prob"),
        ({"initializer_range": "0.02"}, "initializer_range"),
        ({"layer_norm_eps": float("nan")}, "layer_norm_eps"),
        ({"hidden_act": "gelu"}, "gelu_tanh"),
        ({"hidden_act": ["relu"]}, "hidden_act"),
    ],
)
def test_nonsense_is_refused(changes, words):
    with pytest.raises(errors.UserError, match=words):
        BertConfig.from_dict({"vocab_size": 10, **changes})


def test_vocab_size_has_no_default():
    with pytest.raises(errors.UserError, match="vocab_size"):
        BertConfig.from_dict({})


def test_unknown_preset():
    with pytest.raises(errors.UserError, match="base"):
        BertConfig.preset("bas")


def test_initial_values():
    config = BertConfig.preset("tiny", 1000)
    encoder = BertEncoder(config)
    encoder.build(None)
    for name, variable in variable_names(encoder).items():
        value = variable.numpy()
        if name.endswith(("bias", "beta")):
            assert (value == 0).all(), name
        elif name.endswith("gamma"):
            assert (value == 1).all(), name
        else:
            # Cut at two deviations, which leaves 0.88 of the deviation.
            assert np.abs(value).max() <= 0.04, name
            if value.size > 10_000:
                np.testing.assert_allclose(value.std(), 0.88 * 0.02, rtol=0.03)


def test_a_small_file_cannot_ask_for_a_large_model(tmp_path):
    model = load("encoder")
    config = {"model": "bert", "head": "encoder"}
    encoder = model.config.to_dict()
    model_dir.save(tmp_path / "model", {**config, "encoder": encoder}, model)
    huge = {**encoder, "hidden_size": 1 << 20, "vocab_size": 1 << 30}
    with pytest.raises(errors.UserError, match="too few"):
        from_config({**config, "encoder": huge}, tmp_path / "model")


@pytest.mark.parametrize(
    "head, head_config",
    [
        ("encoder", {}),
        ("pretraining", {}),
        ("classification", {"labels": ["a", "b", "c"]}),
        ("regression", {}),
        ("multilabel", {"labels": ["a", "b"]}),
        ("squad", {}),
        ("swag", {}),
        ("ner", {"labels": ["O", "B-X"]}),
        ("ner_features", {"labels": ["O"], "layers": "weighted_sum_all", "units": 4}),
    ],
)
def test_model_directories_of_every_head(tmp_path, head, head_config):
    model = load(head, head_config=head_config)
    encoder = getattr(model, "encoder", model)
    config = {
        "model": "bert",
        "head": head,
        "encoder": encoder.config.to_dict(),
        "head_config": head_config,
    }
    model_dir.save(tmp_path / "model", config, model)
    loaded = tfdl.load(str(tmp_path / "model"))
    ids = np.arange(12, dtype="int32").reshape([2, 6])
    features = {"token_ids": ids if head != "swag" else ids[:, None]}
    expected, actual = model(features), loaded(features)
    assert {"sequence_output", "pooled_output"} <= set(actual) == set(expected)
    for before, after in zip(
        tf.nest.flatten(expected), tf.nest.flatten(actual), strict=True
    ):
        np.testing.assert_array_equal(after, before)
