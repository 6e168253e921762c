"""Children that are language models: one graph for all cells of a space."""

import pytest
import tensorflow as tf

from tfdl.engine.errors import UserError
from tfdl.models.automl.children import language
from tfdl.models.automl.recurrent.config import LanguageConfig
from tfdl.models.automl.recurrent.language_model import LanguageModel

TREE = {"name": "zoph_rnn", "base": 2}
ARC = {"name": "enas_rnn", "nodes": 2}
# h = tanh(x W_0 + h U_0) sigmoid(...): learns; the other's leaves are 0 for ever.
LEARNS = (0, 1, 0, 2, 1, 0, 0, 1, 0, 0)
NEVER = (1, 1, 1, 1, 1, 0, 0, 0, 0, 2)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    for i in range(12):
        words = "the cat sat on the mat and the dog lay on the rug".split()
        text = " ".join(words[i % 3 :] * 12)
        (folder / f"{i:02}.txt").write_text(text)
    return f"text:{folder}/*.txt"


def options(source, space, **changes):
    fields = {
        "name": "language",
        "space": space,
        "data": source,
        "rules": "words",
        "train_tokens": 0,
        "valid_tokens": 0,
        "hidden_size": 8,
        "batch_size": 4,
        "bptt": 8,
    }
    return {**fields, **changes}


@pytest.fixture(scope="module")
def children(source):
    return language.CHILDREN(options(source, TREE, learning_rate=0.05))


@pytest.mark.parametrize(("space", "arch"), [(TREE, LEARNS), (ARC, (0, 1, 1, 2))])
def test_a_child_is_the_network_of_its_cell(source, space, arch):
    found = language.CHILDREN(options(source, space, num_layers=2))
    network = found.network
    rng = tf.random.Generator.from_seed(0)
    weights = [rng.normal(shape, stddev=0.3) for shape in network.shapes()]
    model = LanguageModel(
        LanguageConfig(
            found.space.decode(arch).to_dict(), network.vocab_size, 8, 8, num_layers=2
        )
    )
    model.build()
    for variable, value in zip(model.trainable_variables, weights, strict=True):
        variable.assign(value)
    assert network.num_weights() == model.config.fewest_parameters()
    ids = tf.constant([[2, 3, 4, 5], [6, 5, 4, 3]])
    tokens = tf.constant(network.tokens(arch))
    with tf.GradientTape() as tape:
        tape.watch(weights)
        loss, state = network.loss(tokens, weights, ids, ids, network.zero_state(2))
    with tf.GradientTape() as other:
        sums = model.loss_sums(ids, ids)
        expected = sums.ce / sums.tokens
    assert float(loss) == pytest.approx(float(expected), rel=1e-6)
    for one, two in zip(state, sums.state, strict=True):
        tf.debugging.assert_near(one, list(two), 1e-5, 1e-5)
    gradients = other.gradient(expected, model.trainable_variables)
    for one, two in zip(tape.gradient(loss, weights), gradients, strict=True):
        tf.debugging.assert_near(one, tf.convert_to_tensor(two), 1e-4, 1e-6)


def test_a_seed_gives_a_result(children):
    told = []
    first = children.train(LEARNS, 3, told.append)
    assert [report["epoch"] for report in told] == [1, 2]
    assert first == children.train(LEARNS, 3, told.append)
    other = children.train(LEARNS, 4, told.append)
    assert other["perplexity"] != first["perplexity"]
    # Eight words and two ends: it has learned, and its reward says how much.
    assert first["perplexities"][1] < first["perplexities"][0] < 10
    assert first["reward"] == pytest.approx(80 / first["perplexity"] ** 2)


def test_cells_differ(children):
    dead = children.train(NEVER, 3, lambda report: None)
    vocabulary = children.network.vocab_size
    assert dead["perplexity"] == pytest.approx(vocabulary, rel=1e-5)
    learns = children.train(LEARNS, 3, lambda report: None)
    assert learns["reward"] > dead["reward"] > 0


def test_a_child_that_diverges_is_scored(source):
    found = language.CHILDREN(options(source, TREE, learning_rate=1e30))
    result = found.train(LEARNS, 0, lambda report: None)
    assert result["diverged"]
    assert result["reward"] == 0.0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hiden_size": 3}, "hiden_size"),
        ({"epochs": 0}, "children.epochs=0"),
        ({"dropout": 1.0}, "dropout"),
        ({"reward": "accuracy"}, "inverse, inverse_square"),
        ({"batch_size": 4000}, "too few for 4000 rows"),
        ({"space": {"name": "amoeba"}}, "not of amoeba"),
        ({"data": "text:/nowhere/*"}, "no file fits"),
    ],
)
def test_bad_options(source, changes, said):
    with pytest.raises(UserError, match=said):
        language.CHILDREN({**options(source, TREE), **changes})
