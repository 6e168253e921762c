"""Training in this process: what is learned, what is frozen, what is carried over.

Half a minute: the classifier's step is traced four times.
"""

import json
from dataclasses import replace

import numpy as np
import pytest

import tfdl
from tests.models.ulmfit import toys
from tfdl.data import text_corpora
from tfdl.engine import config as config_lib
from tfdl.engine import distribution, model_dir, runs
from tfdl.engine.errors import UserError
from tfdl.engine.learner import Learner
from tfdl.models.ulmfit import recipes
from tfdl.models.ulmfit.classify_task import Probabilities
from tfdl.models.ulmfit.model import groups


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return toys.csv_folder(tmp_path_factory.mktemp("data"))


def prepared(config, workdir):
    """Returns a task and its learner."""
    strategy = distribution.create("one_device")
    task = runs.create_task(config, workdir)
    task.prepare()
    return task, Learner(task, strategy, config)


def steps(task, learner, phase, count):
    """Makes steps of a phase; returns the means of the metrics."""
    data = task.train_data(phase, 0, distribution.Shard())
    iterator = iter(distribution.distribute(learner.strategy, data))
    return learner.train_function(phase)(iterator, 0, count)["metrics"]


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """Three stages: pretrain, tune, classify, in one run."""
    # Enough batches to forget what the moving variances of the head start at.
    source = toys.csv_folder(tmp_path_factory.mktemp("more"), train=80)
    config = recipes.common("language_model")
    pretrain = toys.language_model(source, 3)
    pretrain.name = "pretrain"
    tune = toys.language_model(source, 2, start="model")
    tune.name = "tune"
    classify = toys.classifier(source, start="model")
    classify.name, classify.dropmult = "classify", 0.0
    classify.phases = (
        recipes.phase("head", 2, 2e-2, trained="last:1", ratio=2.6),
        recipes.phase("all", 18, 2e-2, ratio=2.6),
    )
    config.stages = (pretrain, tune, classify)
    config.log_every = config.checkpoint_every = config.steps_per_loop = 20
    folder = tmp_path_factory.mktemp("run") / "run"
    return toys.train(config, folder), folder


def test_three_stages_learn(stages):
    record, folder = stages
    pretrain, tune = record["stages"]["pretrain"], record["stages"]["tune"]
    assert pretrain["after"]["loss"] < pretrain["before"]["loss"] - 0.3
    # It starts with what the stage before has learned.
    assert tune["before"]["loss"] < pretrain["before"]["loss"] - 0.2
    assert record["metrics"]["error"] < 0.2
    config = model_dir.read_config(folder / "model")
    assert config["labels"] == ["colour", "taste"] and config["head"] == "classifier"
    vocab = json.loads((folder / "model" / "assets" / "vocab.json").read_text())
    assert len(vocab) % 8 == 0 and vocab[:2] == ["xxunk", "xxpad"]
    tuned = model_dir.read_config(folder / "tune" / "model")
    assert tuned["encoder"]["vocab_size"] == len(vocab)
    assert list((folder / "classify" / "samples").glob("confusion-*.png"))
    text = next((folder / "tune" / "samples").glob("text-*.txt")).read_text()
    assert "xxunk" not in text.split("...", 1)[1]


def test_a_language_model_learns_a_batch_by_heart(source, tmp_path):
    config = toys.language_model(source, 1, dropmult=0.0, alpha=0.0, beta=0.0)
    config.encoder.embedding_size, config.encoder.hidden_size = 24, 32
    config.phases = (recipes.phase("all", 1, 2e-2),)
    task, learner = prepared(config, tmp_path)
    batch = next(iter(task.batches.dataset(0, 0, distribution.Shard()).repeat()))
    task.train_data = lambda *_: (
        task.batches.dataset(0, 0, distribution.Shard()).take(1).cache().repeat()
    )
    phase = task.phases()[0]
    assert batch["reset"].numpy().all()
    first = steps(task, learner, phase, 1)["loss"]
    steps(task, learner, phase, 200)
    assert steps(task, learner, phase, 1)["loss"] < 0.3 * first


def test_frozen_layers_and_their_slots_do_not_move(source, tmp_path):
    config = toys.classifier(source)
    config.phases = (recipes.phase("head", 1, 0.1, trained="last:1"),)
    task, learner = prepared(config, tmp_path)
    optimizer = learner.optimizers["model"]

    def values():
        return [
            [v.numpy() for w in group for v in (w, *optimizer.slots(w).values())]
            for group in groups(learner.model)
        ]

    before = values()
    steps(task, learner, task.phases()[0], 3)
    after = values()
    for old, new in zip(before[:-1], after[:-1], strict=True):
        for a, b in zip(old, new, strict=True):
            np.testing.assert_array_equal(a, b)
    assert not any(
        np.array_equal(a, b) for a, b in zip(before[-1], after[-1], strict=True)
    )


def test_groups_learn_at_their_rates(source, tmp_path):
    config = toys.language_model(source, 1, dropmult=0.0)
    config.optimizer = recipes.sgd(weight_decay=0.0, global_clip_norm=0.0)
    moved = []
    for shares in ((1.0,) * 4, recipes.LM_SHARES):
        config.phases = (recipes.phase("all", 1, 0.1, shares=shares),)
        task, learner = prepared(config, tmp_path)
        before = [[v.numpy() for v in group] for group in groups(learner.model)]
        steps(task, learner, task.phases()[0], 1)
        after = [[v.numpy() for v in group] for group in groups(learner.model)]
        moved.append(
            [b[0] - a[0] for a, b in zip(before, after, strict=True)],
        )
    for share, plain, scaled in zip(recipes.LM_SHARES, *moved, strict=True):
        np.testing.assert_allclose(scaled, share * plain, rtol=1e-3, atol=1e-7)


def test_averaging_begins_and_the_average_is_kept(source, tmp_path):
    config = toys.language_model(source, 5, keep_best=False)
    config.optimizer = recipes.sgd()
    # So fast that the loss soon rises.
    config.phases = (recipes.phase("all", 5, 60.0),)
    recipes.average(config, "nt_asgd", nonmono=1)
    toys.train(config, tmp_path / "run")
    task, learner = prepared(config, tmp_path / "run")
    from tfdl.engine.checkpoints import Checkpoints

    folder = tmp_path / "run" / "checkpoints"
    Checkpoints(folder, learner.state(), learner.strategy, 3).restore_latest()
    assert task.monitor.triggered
    raw, average = (
        [np.asarray(v) for v in values]
        for values in (learner.ema._weights, learner.ema.averages)
    )
    saved = tfdl.load(str(tmp_path / "run" / "model"))
    kept = [variable for group in groups(saved) for variable in group]
    differs = [not np.allclose(a, b) for a, b in zip(raw, average, strict=True)]
    assert all(differs)
    for mine, found in zip(average, kept, strict=True):
        np.testing.assert_array_equal(mine, found.numpy())


def test_early_stopping_keeps_the_best(source, tmp_path):
    # From scratch at a rate at which it soon gets worse.
    config = toys.language_model(source, 12, patience=2, dropmult=0.0)
    config.phases = (recipes.phase("all", 12, 0.3),)
    record = toys.train(config, tmp_path / "run")
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    seen = [row["loss"] for row in rows if row["kind"] == "eval" and row["step"]]
    assert len(seen) < 12
    assert record["metrics"]["loss"] == pytest.approx(min(seen), rel=1e-6)
    measure = config_lib.load_recipe("ulmfit", "language_model")
    measure.update(config)
    measure.init_from = str(tmp_path / "run" / "model")
    task, learner = prepared(config, tmp_path)
    tfdl_model = tfdl.load(str(tmp_path / "run" / "model"))
    learner.model.set_weights(tfdl_model.get_weights())
    assert task.measure(learner)["loss"] == pytest.approx(min(seen), rel=1e-5)


def test_test_documents_are_for_the_kept_model_alone(tmp_path, monkeypatch):
    def split(count, first=0):
        rows = toys.documents(count, first)
        return [text_corpora.Document((text,), label) for label, text in rows]

    # Of the test documents every third has the other one's class.
    test = split(30, 200)
    test = [replace(x, label="12"[i % 2 == i % 3 // 2]) for i, x in enumerate(test)]
    corpus = text_corpora.Corpus(split(24), split(10, 100), test, labels=("1", "2"))
    monkeypatch.setitem(text_corpora.EMBEDDED, "embedded:toy", lambda: corpus)
    # Two good epochs, then one that spoils it.
    config = toys.classifier("embedded:toy", keep_best=True)
    config.phases = (*recipes.full(2e-2, 2), *recipes.full(9.0, 1))
    record = toys.train(config, tmp_path / "run")
    rows = (tmp_path / "run/metrics.jsonl").read_text().splitlines()
    told = [json.loads(row) for row in rows if '"eval"' in row]
    assert ["test_error" in row for row in told] == [False] * 3 + [True]
    task, learner = prepared(config, tmp_path / "again")
    learner.model.set_weights(tfdl.load(record["model"]).get_weights())
    guessed = Probabilities(
        learner.strategy, learner.model, task.tokenizer.vocabulary.pad_id, 4
    )(task.tokenize(test)).argmax(-1)
    wrong = np.mean(
        [guess != int(x.label) - 1 for guess, x in zip(guessed, test, strict=True)]
    )
    assert record["metrics"]["test_error"] == pytest.approx(wrong)
    assert 0.0 < wrong < 1.0


def test_a_backward_model_reads_from_the_end(source, tmp_path):
    forward, _ = prepared(toys.language_model(source), tmp_path)
    backward, _ = prepared(toys.language_model(source, direction="backward"), tmp_path)
    np.testing.assert_array_equal(backward.documents[0], forward.documents[0][::-1])
    assert backward.model_config()["direction"] == "backward"


def test_windows_of_all_lengths_share_a_graph(source, tmp_path, monkeypatch):
    config = toys.language_model(
        source, 1, sampled_softmax=6, windows="awd-lstm-lm", bptt=12
    )
    task, learner = prepared(config, tmp_path)
    assert len({window.length for window in task.batches.table(0)[:4]}) > 2
    traced = []
    original = task.trace
    monkeypatch.setattr(
        task, "trace", lambda *given: (traced.append(given), original(*given))
    )
    metrics = steps(task, learner, task.phases()[0], 4)
    assert np.isfinite(metrics["loss"]) and metrics["ar"] > 0
    assert len(traced) == 1


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"direction": "up"}, "unknown direction 'up'"),
        ({"ema_decay": 0.9}, "averaging=none needs ema_decay 0"),
        ({"gradient_accumulation": 2}, "does not train in micro-batches"),
        ({"held_out": 0.0}, "a larger held_out, or more text, is needed"),
        ({"batch_size": 500}, "are too few for 500 rows"),
        ({"rules": "fastai3"}, "did you mean 'fastai2'"),
    ],
)
def test_recipes_that_make_no_sense(source, tmp_path, fields, message):
    with pytest.raises(UserError, match=message):
        prepared(toys.language_model(source, **fields), tmp_path)


def test_classifiers_without_what_they_need(source, tmp_path):
    (tmp_path / "a.txt").write_text("some text")
    for data, message in (
        (f"text:{tmp_path}/*.txt", "has no labels to learn"),
        (toys.csv_folder(tmp_path), "30 labelled examples are wanted, there are 24"),
    ):
        with pytest.raises(UserError, match=message):
            prepared(toys.classifier(data, examples=30), tmp_path)
    (tmp_path / "test.csv").unlink()
    with pytest.raises(UserError, match="set held_out, e.g. 0.1"):
        prepared(toys.classifier(f"ag:{tmp_path}"), tmp_path)
