"""The heads: shapes, what they compute from the encoder's output, their errors."""

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import golden, run_python
from tests.models.bert.tiny import close, inputs, load
from tfdl.engine import errors
from tfdl.models.bert.heads import FEATURE_LAYERS, HEADS
from tfdl.models.bert.model import build_model
from tfdl.models.bert.names import variable_names

FOUR_LAYERS = {
    "vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 4,
    "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 40,
    "type_vocab_size": 2, "initializer_range": 0.5,
}  # fmt: skip


@pytest.fixture(scope="module")
def io():
    return dict(np.load(golden("bert", "io_pretrain.npz")))


def output_layer(model, x):
    """Returns x @ output_weights^T + output_bias in NumPy."""
    named = {k: v.numpy() for k, v in variable_names(model).items()}
    return np.asarray(x) @ named["output_weights"].T + named["output_bias"]


def with_bias(model):
    """Moves the output bias off zero, so that leaving it out would show."""
    bias = variable_names(model)["output_bias"]
    bias.assign(np.linspace(0.5, 1.5, bias.shape[0]))
    return model


@pytest.mark.parametrize("head", ["classification", "multilabel", "regression"])
def test_classifier_heads_read_the_pooled_output(io, head):
    options = {} if head == "regression" else {"labels": ["a", "b", "c"]}
    model = with_bias(load(head, head_config=options))
    out = model(inputs(io))
    assert out["logits"].shape == (6, 1 if head == "regression" else 3)
    close(out["logits"], output_layer(model, out["pooled_output"]), 1e-5)
    assert out["sequence_output"].shape == (6, 40, 32)


def test_token_head_reads_every_final_vector(io):
    model = with_bias(load("ner", head_config={"labels": list("abcde")}))
    out = model(inputs(io))
    assert out["logits"].shape == (6, 40, 5)
    close(out["logits"], output_layer(model, out["sequence_output"]), 1e-5)


def test_multiple_choice_scores_each_ending(io):
    model = with_bias(load("swag"))
    assert variable_names(model)["output_weights"].shape == (1, 32)
    flat = inputs(io)
    grouped = {k: v.reshape([2, 3, 40]) for k, v in flat.items()}
    out = model(grouped | {"labels": np.zeros(2, "int32")})
    encoded = model.encoder(flat)
    expected = output_layer(model, encoded["pooled_output"]).reshape([2, 3])
    close(out["logits"], expected, 1e-5)
    assert out["sequence_output"].shape == (2, 3, 40, 32)
    close(tf.reshape(out["pooled_output"], [6, 32]), encoded["pooled_output"], 1e-6)
    fast = model(grouped, first_token_only=True)
    close(fast["logits"], expected, 1e-5)
    ids_only = model({"token_ids": grouped["token_ids"]})
    assert ids_only["logits"].shape == (2, 3)


def test_multiple_choice_takes_any_number_of_endings(io):
    model = load("swag")
    spec = tf.TensorSpec([None, None, None], tf.int32)
    run = tf.function(lambda f: model(f)["logits"]).get_concrete_function(
        {name: spec for name in inputs(io)}
    )
    for shape in ([2, 3, 40], [3, 2, 40]):
        grouped = {k: tf.reshape(v, shape) for k, v in inputs(io).items()}
        assert run(grouped).shape == shape[:2]


@pytest.mark.parametrize("head", ["classification", "multilabel", "swag", "ner"])
def test_heads_drop_in_training_only(io, head):
    def logits(rate, training):
        options = {"dropout": rate} | ({} if head == "swag" else {"num_labels": 3})
        model = load(head, head_config=options)
        features = inputs(io)
        if head == "swag":
            features = {k: v[:, None] for k, v in features.items()}
        variable_names(model)["output_weights"].assign(
            np.ones(variable_names(model)["output_weights"].shape)
        )
        return model(features, training=training)["logits"].numpy()

    quiet = logits(0.5, False)
    np.testing.assert_array_equal(logits(0.0, True), quiet)
    assert np.abs(logits(0.5, True) - quiet).max() > 0


def test_span_selector_and_pretrainer_have_no_dropout_of_their_own(io):
    # The golden encoder has none either: training changes nothing.
    for head, key in (("squad", "start_logits"), ("pretraining", "mlm_logits")):
        model = load(head)
        np.testing.assert_array_equal(
            model(inputs(io), training=True)[key], model(inputs(io))[key]
        )


def expected_features(layers, how):
    layers = [np.asarray(x) for x in layers]
    return {
        "embeddings": layers[0],
        "last": layers[4],
        "second_to_last": layers[3],
        "weighted_sum_last_four": sum(layers[1:]) / 4,
        "concat_last_four": np.concatenate(layers[1:], -1),
        "weighted_sum_all": sum(layers[1:]) / 4,
    }[how]


@pytest.mark.parametrize("how", FEATURE_LAYERS)
def test_feature_tagger(how):
    head_config = {"num_labels": 5, "layers": how, "units": 6}
    model = build_model(
        {"head": "ner_features", "encoder": FOUR_LAYERS, "head_config": head_config}
    )
    ids = np.arange(24, dtype="int32").reshape([2, 12])
    mask = np.ones_like(ids)
    mask[1, 7:] = 0
    features = {"token_ids": ids, "padding_mask": mask}
    with tf.GradientTape() as tape:
        out = model(features, training=True)
        total = tf.reduce_sum(out["logits"] ** 2)
    assert out["logits"].shape == (2, 12, 5)
    # The encoder's dropout is off: training sees the activations of inference.
    layers = model.encoder(features, all_layers=True)["encoder_outputs"]
    close(out["features"], expected_features(layers, how), 1e-5)
    named = variable_names(model)
    found = tape.gradient(total, [v.value for v in named.values()])
    for name, gradient in zip(named, found, strict=True):
        assert (gradient is None) == name.startswith("bert/"), name
    assert ("tagger/mixture" in named) == how.startswith("weighted")
    # All its variables have a name.
    assert {id(v) for v in named.values()} == {id(v) for v in model.weights}


def test_feature_tagger_reads_both_ways_and_skips_padding():
    head_config = {"num_labels": 2, "layers": "last", "units": 6}
    model = build_model(
        {"head": "ner_features", "encoder": FOUR_LAYERS, "head_config": head_config}
    )
    ids = np.arange(10, dtype="int32")[None]
    mask = np.array([[1] * 7 + [0] * 3], "int32")
    full = model({"token_ids": ids, "padding_mask": mask})["logits"][:, :7]
    cut = model({"token_ids": ids[:, :7]})["logits"]
    close(full, cut, 1e-5)


def test_feature_tagger_mixture_is_softmax_normalised():
    head_config = {"num_labels": 2, "layers": "weighted_sum_last_four", "units": 3}
    model = build_model(
        {"head": "ner_features", "encoder": FOUR_LAYERS, "head_config": head_config}
    )
    model.mixture.assign([0.0, 0.0, 50.0, 0.0])
    features = {"token_ids": np.arange(6, dtype="int32")[None]}
    out = model(features)
    close(out["features"], out["encoder_outputs"][3], 1e-5)


@pytest.mark.parametrize("head", HEADS)
def test_every_weight_has_one_name(head):
    head_config = {"num_labels": 3, "layers": "last", "units": 3}
    model = build_model(
        {"head": head, "encoder": FOUR_LAYERS, "head_config": head_config}
    )
    named = variable_names(model)
    assert len({id(v) for v in named.values()}) == len(named) == len(model.weights)


@pytest.mark.parametrize(
    "head, head_config, words",
    [
        ("clasification", {}, "classification"),
        ("classification", {}, "needs its labels"),
        ("ner", {"num_labels": -1}, "num_labels"),
        ("ner", {"num_labels": 10**9}, "num_labels"),
        ("ner", {"num_labels": "3"}, "num_labels"),
        ("multilabel", {"num_labels": 2, "labels": ["a"]}, "1 labels are named"),
        ("swag", {"dropout": 1.0}, "dropout"),
        ("swag", {"dropout": "much"}, "dropout"),
        ("ner_features", {"num_labels": 2, "layers": "lst"}, "last"),
        ("ner_features", {"num_labels": 2, "units": 0}, "units"),
        ("ner_features", {"num_labels": 2, "units": 10**9}, "units"),
    ],
)
def test_nonsense_is_refused(head, head_config, words):
    with pytest.raises(errors.UserError, match=words):
        build_model({"head": head, "encoder": FOUR_LAYERS, "head_config": head_config})


@pytest.mark.parametrize("how", ["concat_last_four", "weighted_sum_last_four"])
def test_four_layers_need_four_layers(how):
    with pytest.raises(errors.UserError, match="3"):
        load("ner_features", head_config={"num_labels": 2, "layers": how})


REPLICAS = """
import keras, numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, two)
from tests.models.bert.test_model_heads import FOUR_LAYERS
from tfdl.models.bert.model import build_model
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
keras.utils.set_random_seed(4)
with strategy.scope():
    model = build_model({"head": "pretraining", "encoder": FOUR_LAYERS})
features = {"token_ids": tf.reshape(tf.range(24), [2, 12])}
state = [v.numpy() for v in model.non_trainable_variables]

@tf.function
def run(training):
    return strategy.run(
        lambda: model(features, training=training)["sequence_output"]
    )

def outputs(training):
    for variable, value in zip(model.non_trainable_variables, state):
        variable.assign(value)
    return [x.numpy() for x in strategy.experimental_local_results(run(training))]

quiet, loud = outputs(False), outputs(True)
np.testing.assert_array_equal(quiet[0], quiet[1])
assert np.abs(loud[0] - loud[1]).max() > 0.1, "replicas share masks"
for a, b in zip(loud, outputs(True)):
    np.testing.assert_array_equal(a, b)
print("DIFFERENT")
"""


def test_replicas_drop_differently():
    done = run_python("-c", REPLICAS)
    assert "DIFFERENT" in done.stdout, done.stderr[-3000:]
