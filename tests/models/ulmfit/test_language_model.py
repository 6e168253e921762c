"""The language model against the references: outputs, states, gradients, dropout."""

import numpy as np
import pytest
import tensorflow as tf

from tests.models.ulmfit.networks import convert, difference, golden_masks, load
from tfdl.engine import errors
from tfdl.models.ulmfit import names
from tfdl.models.ulmfit.config import EncoderConfig
from tfdl.models.ulmfit.language_model import LanguageModel
from tfdl.models.ulmfit.model import groups


@pytest.fixture(scope="module")
def golden_model(tmp_path_factory):
    """The golden language model in v2's form."""
    return convert("lm_v2.pth", tmp_path_factory.mktemp("lm") / "m")[0]


def model(**rates):
    """A small random model."""
    tf.keras.utils.set_random_seed(0)
    config = EncoderConfig(11, embedding_size=5, hidden_size=7, num_layers=2, **rates)
    made = LanguageModel(config)
    made.build()
    return made


def ids(*shape):
    """Random tokens."""
    return tf.constant(np.random.default_rng(3).integers(0, 11, shape), tf.int32)


@pytest.mark.parametrize(
    "name, logits, change",
    [
        ("fwd_wt103_v07.h5", "logits_nobias", None),
        ("lstm_wt103_v1.pth", "logits", "v1_resets"),
        ("lm_v2.pth", "logits", "v2_keeps_state"),
    ],
)
def test_windows(tmp_path, name, logits, change):
    found = convert(name, tmp_path / "m")[0]
    arrays = load("io_lm.npz")
    tokens, state, start = arrays["ids"].astype("int32"), None, 0
    for i, length in enumerate((7, 5, 9)):
        window = tokens[:, start : start + length]
        inputs = {"token_ids": window, **({"state": state} if state else {})}
        out = found(inputs, all_layers=True)
        labels = tokens[:, start + 1 : start + length + 1]
        sums = found.loss_sums(window, labels, state, training=False, accuracy=True)
        state, start = out["state"], start + length
        assert difference(out["logits"], arrays[f"w{i}_{logits}"]) < 1e-5
        for layer, raw in enumerate(out["raw_outputs"]):
            assert difference(raw, arrays[f"w{i}_rnn{layer}_out"]) < 1e-5
            for part, values in zip("hc", state[layer], strict=True):
                assert difference(values, arrays[f"w{i}_{part}{layer}"]) < 1e-5
        np.testing.assert_array_equal(out["hidden"], out["raw_outputs"][-1])
        if logits == "logits":
            assert difference(sums.ce / sums.tokens, arrays[f"w{i}_ce"]) < 1e-5
        assert difference(2 * sums.ar / sums.ar_count, arrays[f"w{i}_ar"]) < 1e-5
        assert difference(sums.tar / sums.tar_count, arrays[f"w{i}_tar"]) < 1e-5
        best = np.argmax(arrays[f"w{i}_{logits}"], -1)
        assert float(sums.correct) == (best == labels).sum()
    if change:
        changed = arrays["bs_change_ids"].astype("int32")
        out = found({"token_ids": changed, "state": state})
        assert difference(out["logits"], arrays[f"bs_change_logits_{change}"]) < 1e-5
        out = found({"token_ids": changed})
        assert difference(out["logits"], arrays["after_reset_logits"]) < 1e-5


def test_training_with_given_masks(golden_model):
    arrays = load("io_lm_train_masks.npz")
    masks = golden_masks(arrays)
    state = [(arrays[f"h0_{i}"], arrays[f"c0_{i}"]) for i in range(3)]
    x, y = arrays["x"].astype("int32"), arrays["y"].astype("int32")
    out = golden_model({"token_ids": x, "state": state}, training=True, masks=masks)
    assert difference(out["logits"], arrays["logits"]) < 1e-5
    assert difference(out["hidden"], arrays["raw_last"]) < 1e-5
    assert difference(out["dropped"], arrays["dropped_last"]) < 1e-5
    named = names.variable_names(golden_model)

    @tf.function
    def gradients():
        with tf.GradientTape() as tape:
            sums = golden_model.loss_sums(x, y, state, masks=masks)
            ar, tar = 2 * sums.ar / sums.ar_count, sums.tar / sums.tar_count
            loss = sums.ce / sums.tokens + ar + tar
        found = tape.gradient(loss, [v.value for v in named.values()])
        return loss, sums, [tf.convert_to_tensor(gradient) for gradient in found]

    loss, sums, found = gradients()
    assert difference(loss, arrays["loss"]) < 1e-5
    assert difference(sums.ce / sums.tokens, arrays["ce"]) < 1e-5
    assert difference(tf.linalg.global_norm(found[1:]), _norm(arrays)) < 1e-4
    by_name = dict(zip(named, [gradient.numpy() for gradient in found], strict=True))
    theirs = names.to_original(by_name, "language_model", "v2")
    for name in arrays.files:
        if name.startswith("grad."):
            assert difference(theirs[name[5:]], arrays[name]) < 1e-4, name


def _norm(arrays):
    every = [
        arrays[name].ravel()
        for name in arrays.files
        if name.startswith("grad.") and name != "grad.0.encoder.weight"
    ]
    return np.linalg.norm(np.concatenate(every))


def test_loss_sums_are_those_of_the_logits():
    made, x, y = model(), ids(3, 6), ids(3, 6)
    weights = tf.constant(np.random.default_rng(0).uniform(size=(3, 6)), tf.float32)

    def plain():
        logits = made({"token_ids": x})["logits"]
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits)
        return tf.reduce_sum(losses * weights)

    results = []
    for function in (plain, lambda: made.loss_sums(x, y, weights=weights).ce):
        with tf.GradientTape() as tape:
            value = function()
        found = tape.gradient(value, made.trainable_variables)
        results.append([value, *(tf.convert_to_tensor(g) for g in found)])
    for first, second in zip(*results, strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-6)
    assert float(made.loss_sums(x, y, weights=weights).tokens) == pytest.approx(
        float(tf.reduce_sum(weights))
    )


def test_xla_and_any_length():
    """One trace for all lengths; XLA compiles the step and agrees."""
    made, x = model(weight_p=0.3, input_p=0.3), ids(3, 6)
    masks, traces = made.encoder.draw_masks(3), []

    def gradients(tokens):
        traces.append(1)
        with tf.GradientTape() as tape:
            sums = made.loss_sums(tokens[:, :-1], tokens[:, 1:], masks=masks)
        found = tape.gradient(sums.ce, [v.value for v in made.trainable_variables])
        return [tf.convert_to_tensor(gradient) for gradient in found]

    shape = [tf.TensorSpec([3, None], tf.int32)]
    plain = tf.function(gradients, input_signature=shape)
    expected = plain(x)
    plain(x[:, :4])
    assert len(traces) == 1
    compiled = tf.function(gradients, jit_compile=True)(x)
    for first, second in zip(compiled, expected, strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-6)


def test_weight_drop_acts_from_the_second_step():
    made, x = model(weight_p=0.5), ids(2, 4)
    plain = made({"token_ids": x})["hidden"]
    dropped = made({"token_ids": x}, training=True)["hidden"]
    np.testing.assert_allclose(dropped[:, 0], plain[:, 0], rtol=1e-6)
    assert np.abs(dropped[:, 1:] - plain[:, 1:]).max() > 1e-3


def test_embedding_dropout_takes_words_and_spares_the_decoder():
    made = model(embed_p=0.5)
    masks = made.encoder.draw_masks(2, seed=[1, 2])
    assert masks.keys() == {"embed"} and masks["embed"].shape == (11, 1)
    assert set(np.unique(masks["embed"])) == {0.0, 2.0}
    x = tf.range(11)[None]
    vectors = made.encoder.embed(x, masks)[:, 0]
    np.testing.assert_allclose(vectors, made.encoder.embedding * masks["embed"])
    out = made({"token_ids": x}, training=True, masks=masks)
    np.testing.assert_allclose(out["logits"], made.decode(out["hidden"]), rtol=1e-6)


def test_masks_are_locked_and_drawn_anew():
    made = model(input_p=0.5, hidden_p=0.5, output_p=0.5, weight_p=0.5)
    first, second = (made.encoder.draw_masks(64) for _ in range(2))
    assert {name: tuple(mask.shape) for name, mask in first.items()} == {
        "input": (64, 1, 5),
        "hidden0": (64, 1, 7),
        "output": (64, 1, 5),
        "weight0": (7, 28),
        "weight1": (5, 20),
    }
    for name, mask in first.items():
        assert not np.array_equal(mask, second[name])
        assert 0.7 < np.mean(mask) < 1.3
    assert not np.array_equal(first["input"][0], first["input"][1])
    assert not np.array_equal(first["input"], first["output"])
    same = [made.encoder.draw_masks(64, seed=[5, 6]) for _ in range(2)]
    for name, mask in same[0].items():
        np.testing.assert_array_equal(mask, same[1][name])
    assert model().encoder.draw_masks(2) == {}


def test_padding_row_learns_through_the_decoder_only():
    made = model()
    with tf.GradientTape() as tape:
        out = made({"token_ids": tf.constant([[1, 1, 4]])}, training=True)
        total = tf.reduce_sum(out["hidden"] ** 2)
    found = tf.convert_to_tensor(tape.gradient(total, made.encoder.embedding.value))
    assert not np.any(found[1]) and np.any(found[4])


def test_groups():
    made = model()
    assert [len(group) for group in groups(made)] == [4, 4, 2]
    assert groups(made)[-1][0] is made.encoder.embedding
    assert sum(map(len, groups(made))) == len(made.trainable_variables)


@pytest.mark.parametrize(
    "fields, said",
    [
        ({"input_p": 1.0}, "input_p has to be in [0, 1)"),
        ({"num_layers": 0}, "num_layers has to be a whole number in [1, 64]"),
        ({"batch_change": "drop"}, "unknown batch_change 'drop'"),
        ({"width": 3}, "unknown field of the network 'width'"),
    ],
)
def test_bad_sizes(fields, said):
    with pytest.raises(errors.UserError) as caught:
        EncoderConfig.from_dict({"vocab_size": 10, **fields})
    assert said in str(caught.value)
