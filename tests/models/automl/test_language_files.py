"""Checkpoints of recurrent cells, and what language models are exported as."""

import numpy as np
import pytest
import tensorflow as tf

import tfdl
from tests.helpers import golden
from tests.models.automl import language
from tfdl.checkpoints import tf1
from tfdl.engine import exports, model_dir
from tfdl.engine.errors import UserError
from tfdl.engine.prediction import Request
from tfdl.models.automl import convert, export, language_predict, text_tokens
from tfdl.models.automl.language_task import LanguageTask
from tfdl.models.automl.recurrent import genotypes, named, nodes
from tfdl.models.automl.recurrent.config import LanguageConfig
from tfdl.models.automl.recurrent.language_model import LanguageModel
from tfdl.models.automl.recurrent.stream import Stream
from tfdl.text import fastai_vocab

CLOSE = {"rtol": 1e-5, "atol": 1e-6}
WORDS = ["<unk>", "<pad>", "<eos>", "the", "cat", "sat", "on", "mat"]


def make(folder, **fields):
    """Writes a language model with random weights; returns the directory."""
    sizes = {"vocab_size": len(WORDS), "embedding_size": 6, "hidden_size": 6}
    cell = named.cell(fields.pop("cell", "enas_lm"))
    config = LanguageConfig(**{"genotype": cell.to_dict(), **sizes, **fields})
    tf.keras.utils.set_random_seed(3)
    model = LanguageModel(config)
    model.build()
    described = {
        "model": "automl",
        "network": {"kind": "language", **config.to_dict()},
        "tokenizer": {"rules": "words", "base": "regex"},
    }
    assets = {text_tokens.VOCAB: fastai_vocab.dump(WORDS)}
    return str(model_dir.save(folder, described, model, assets))


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tree") / "model"
    return make(folder, cell="nas_cell", num_layers=2, cell_bias=True)


@pytest.fixture(scope="module")
def arc(tmp_path_factory):
    return make(tmp_path_factory.mktemp("arc") / "model")


# --- checkpoints -------------------------------------------------------------------


def test_the_nas_cells_checkpoint(tmp_path):
    source = golden("automl", "nascell.ckpt.index").with_suffix("")
    report = convert.convert(source, tmp_path / "model")
    assert (report["format"], report["network"]) == ("nas_cell", "recurrent")
    model = tfdl.load(str(tmp_path / "model"))
    with np.load(golden("automl", "io_nascell.npz")) as io:
        state = [(io["bias_proj_c0"], io["bias_proj_h0"])]
        found = model({"inputs": io["x"], "state": state})
        np.testing.assert_allclose(found["outputs"], io["bias_proj_init_h"], **CLOSE)
        c, m = found["state"][0]
        np.testing.assert_allclose(c, io["bias_proj_init_c"][:, -1], **CLOSE)
        np.testing.assert_array_equal(m, found["outputs"][:, -1])
    convert.to_original(tmp_path / "model", tmp_path / "back")
    before, after = tf1.read(source), tf1.read(tmp_path / "back" / "model.ckpt")
    assert before.keys() == after.keys()
    for name, value in before.items():
        np.testing.assert_array_equal(value, after[name])


def enas_checkpoint(hidden=6, words=5):
    """Returns enas_lm's tensors of the published arc, and what a training adds."""
    with np.load(golden("automl", "io_enas_rnn.npz")) as io:
        arrays = {"language_model/rnn_cell/w_prev": io["w_prev"]}
        for i in range(8):
            arrays[f"language_model/rnn_cell/layer_{i}/w"] = io[f"layer_{i}"]
        expected = io["enas_published_out"], io["x"], io["s0"]
    rng = np.random.default_rng(0)
    embedding = rng.normal(size=[words, hidden]).astype(np.float32)
    arrays["language_model/embedding/w"] = embedding
    arrays["language_model/init_states/batch/s"] = np.zeros([2, hidden], np.float32)
    arrays["global_step"] = np.int64(7)
    arrays["moving_avg_flag/flag"] = np.int32(0)
    return arrays, expected


def test_enas_lm_checkpoints(tmp_path):
    arrays, (expected, x, s0) = enas_checkpoint()
    tf1.write(tmp_path / "model.ckpt", arrays)
    report = convert.convert(tmp_path / "model.ckpt", tmp_path / "model")
    assert report["format"] == "enas_lm"
    assert len(report["skipped"]) == 3
    model = tfdl.load(str(tmp_path / "model"))
    layer = model.cells[0]
    out, _ = layer(tf.constant(np.swapaxes(x, 0, 1)), (tf.constant(s0),))
    np.testing.assert_allclose(np.swapaxes(out, 0, 1), expected, **CLOSE)
    convert.to_original(tmp_path / "model", tmp_path / "back")
    back = tf1.read(tmp_path / "back" / "model.ckpt")
    for name, value in back.items():
        np.testing.assert_array_equal(value, arrays[name])
    assert len(back) == 10


def test_averages_take_the_weights_places(tmp_path):
    arrays, _ = enas_checkpoint()
    names = ["embedding/w", "rnn_cell/w_prev"]
    names += [f"rnn_cell/layer_{i}/w" for i in range(8)]
    for i, name in enumerate(names):
        arrays[f"average/{i}"] = arrays[f"language_model/{name}"] + 1
    arrays["moving_avg_flag/flag"] = np.int32(1)
    tf1.write(tmp_path / "model.ckpt", arrays)
    for averaged, more in ((True, 1), (False, 0)):
        convert.convert(tmp_path / "model.ckpt", tmp_path / "model", averaged=averaged)
        model = tfdl.load(str(tmp_path / "model"))
        expected = arrays["language_model/rnn_cell/layer_5/w"] + more
        np.testing.assert_array_equal(model.cells[0].matrices[6], expected)


def test_an_architecture_out_of_shared_weights(tmp_path):
    rng = np.random.default_rng(1)
    shapes = {"embedding/w": [5, 6], "rnn_cell/w_prev": [12, 12]}
    shapes |= {f"rnn_cell/layer_{i}/w": [4, i, 6, 12] for i in (1, 2)}
    arrays = {
        f"child/{name}": rng.normal(size=shape).astype(np.float32)
        for name, shape in shapes.items()
    }
    arrays["controller/lstm/w"] = np.zeros([4, 8], np.float32)
    tf1.write(tmp_path / "model.ckpt", arrays)
    text = "enas_lm: 0 2 1 3"
    convert.convert(tmp_path / "model.ckpt", tmp_path / "model", genotype=text)
    model = tfdl.load(str(tmp_path / "model"))
    x, s = tf.ones([3, 2, 6]), tf.zeros([2, 6])
    layers = [
        arrays["child/rnn_cell/layer_1/w"][2, 0],
        arrays["child/rnn_cell/layer_2/w"][3, 1],
    ]
    plan = nodes.Plan(genotypes.parse("0 2 1 3", "enas_lm"))
    w_prev = tf.constant(arrays["child/rnn_cell/w_prev"])
    expected, _ = nodes.run(plan, x, w_prev, [tf.constant(w) for w in layers], s)
    np.testing.assert_allclose(model.cells[0](x, (s,))[0], expected, **CLOSE)
    with pytest.raises(UserError, match="2 nodes, the genotype 8"):
        convert.convert(tmp_path / "model.ckpt", tmp_path / "other")


def test_checkpoints_that_do_not_fit(tmp_path):
    arrays, _ = enas_checkpoint()
    arrays.pop("language_model/rnn_cell/layer_7/w")
    tf1.write(tmp_path / "model.ckpt", arrays)
    cases = [({}, "7 nodes"), ({"genotype": "enas_lm: 0 x"}, "position 2")]
    cases += [({"genotype": "nas_cell"}, "another kind"), ({"resize": 3}, "resize")]
    (tmp_path / "words").write_text("one\ntwo\n")
    arc = "enas_lm: 0 2 1 0 2 1 2 2 4 0 5 0 3 2"
    cases.append(({"genotype": arc, "vocab": tmp_path / "words"}, "2 words.* 5 rows"))
    for options, said in cases:
        with pytest.raises(UserError, match=said):
            convert.convert(tmp_path / "model.ckpt", tmp_path / "model", **options)
    assert not (tmp_path / "model").exists()


# --- measuring, predicting, exporting ----------------------------------------------


def test_every_token_counts_once_whatever_the_rows(tree):
    model = tfdl.load(tree)
    text = np.random.default_rng(0).integers(0, len(WORDS), 83).astype(np.int32)
    logits = model({"token_ids": text[None, :-1]})["logits"]
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(text[None, 1:], logits)
    expected = float(tf.reduce_mean(losses))
    stream = Stream(model)
    for rows, width in ((1, 82), (1, 7), (5, 9), (82, 3)):
        found = stream(text, rows, width)
        # What a row has not read before its beginning is forgotten by these weights.
        close = 1e-6 if rows == 1 else 1e-3
        assert found["loss"] == pytest.approx(expected, rel=close), (rows, width)


def test_scores_and_continuations(arc, tmp_path):
    (tmp_path / "in.txt").write_text("the cat sat\nthe dog\n")
    config = model_dir.read_config(arc)
    request = Request(arc, config, input=str(tmp_path / "in.txt"))
    first, second = language_predict.predict(request)
    assert [word for word, _ in first["tokens"]] == ["cat", "sat", "<eos>"]
    ids = [[3, 4, 5, 2]]
    logits = tfdl.load(arc)({"token_ids": tf.constant(ids)})["logits"]
    expected = tf.nn.log_softmax(logits)[0, :3].numpy()[np.arange(3), ids[0][1:]]
    assert first["log_probability"] == pytest.approx(expected.sum(), rel=1e-5)
    assert [word for word, _ in second["tokens"]] == ["<unk>", "<eos>"]
    options = {"mode": "continue", "count": "5"}
    request = Request(arc, config, input=str(tmp_path / "in.txt"), options=options)
    again = list(language_predict.predict(request))
    assert again == list(language_predict.predict(request))
    assert len(again[0]["continuation"].split()) == 5
    request = Request(arc, config, options={"temperature": "hot", "mode": "continue"})
    with pytest.raises(UserError, match="temperature=hot"):
        list(language_predict.predict(request))


@pytest.mark.parametrize("kind", ["tree", "arc"])
def test_exports_answer_as_the_model_does(kind, request, tmp_path):
    directory = request.getfixturevalue(kind)
    module, signatures = export.serving_module(directory)
    tf.saved_model.save(module, str(tmp_path), signatures)
    served = tf.saved_model.load(str(tmp_path))
    model = tfdl.load(directory)
    found = served.signatures["score"](text=tf.constant(["the cat sat", "on"]))
    ids = tf.constant([[3, 4, 5, 2]])
    probs = tf.nn.log_softmax(model({"token_ids": ids})["logits"])[0]
    expected = [float(probs[i, ids[0, i + 1]]) for i in range(3)]
    np.testing.assert_allclose(found["log_probs"][0], expected, rtol=1e-5)
    assert found["tokens"][1].numpy().tolist() == [b"<eos>", b"", b""]
    # Word by word as at once.
    step, state = served.signatures["next_word"], {}
    for warm_up in export.warm_ups(directory):
        if warm_up.signature == "next_word" and len(warm_up.inputs["token_ids"]) == 1:
            state = {k: v for k, v in warm_up.inputs.items() if k != "token_ids"}
    for i in range(4):
        answer = step(token_ids=ids[:, i : i + 1], **state)
        np.testing.assert_allclose(
            tf.nn.log_softmax(answer["logits"])[0], probs[i], rtol=1e-4, atol=1e-5
        )
        state = {name: answer[name] for name in state}
    for warm_up in export.warm_ups(directory):
        inputs = {k: tf.constant(v) for k, v in warm_up.inputs.items()}
        served.signatures[warm_up.signature](**inputs)
    vectors = served(tf.constant(["the cat"]), training=True)
    assert vectors.shape == (1, 6)
    assert isinstance(export.card(directory), exports.Card)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(served(tf.constant(["the cat"]), training=True))
    gradients = tape.gradient(loss, served.trainable_variables)
    assert all(gradient is not None for gradient in gradients)


# --- the task's beginnings ----------------------------------------------------------


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return language.penn(tmp_path_factory.mktemp("penn"))


def test_a_search_gives_the_architecture(source, tmp_path):
    genotype = genotypes.parse("0 1 0 2", "enas_lm").to_dict()
    search = {
        "model": "automl",
        "kind": "search",
        "space": {"name": "enas_rnn", "nodes": 2},
        "architecture": "0 1 0 2",
        "genotype": genotype,
    }
    model_dir.save(tmp_path / "search", search, None)
    config = language.recipe(
        source, start="architecture", init_from=str(tmp_path / "search"), epochs=1
    )
    record = language.train(config, tmp_path / "run")
    found = model_dir.read_config(tmp_path / "run" / "model")
    assert found["network"]["genotype"] == genotype
    assert record["metrics"]["test_loss"] < 3
    # And the model goes on.
    config = language.recipe(
        source, start="model", init_from=str(tmp_path / "run" / "model"), epochs=1
    )
    after = language.train(config, tmp_path / "more")["metrics"]
    assert after["loss"] < record["metrics"]["loss"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"start": "nowhere"}, "nowhere"),
        ({"start": "architecture"}, "needs --init_from"),
        ({"network": {"genotype": "nasnet_a"}}, "no recurrent cell"),
        ({"network": {"genotype": "tree: 0 1 9"}}, "4n"),
        ({"network": {"hidden_size": 9}}, "9 is not 8"),
        ({"dropouts": {"word": 1.0}}, "dropouts.word"),
        ({"batch_size": 1000}, "too few for 1000 rows"),
        ({"gradient_accumulation": 2}, "micro-batches"),
        ({"ema_decay": 0.5}, "average_after=0"),
    ],
)
def test_bad_recipes(source, tmp_path, fields, said):
    with pytest.raises(UserError, match=said):
        LanguageTask(language.recipe(source, **fields), tmp_path).prepare()
