import json
import pathlib

import pytest
import tensorflow as tf

from tfdl.engine import errors, prediction, registry, runs
from tfdl.models.automl.search import predicting, recipe, result
from tfdl.models.automl.search import trials as trials_lib
from tfdl.models.automl.search.task import SearchTask


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(registry.MODELS, "automl", "architecture search")


def stage(**fields):
    config = recipe.stage(
        **{
            "space": {"name": "dag"},
            "proposer": {"name": "evolution", "population": 8, "sample": 4},
            "children": {"name": "sleep", "noise": 0.1},
            "budget": 40,
            "order": "proposed",
            **fields,
        }
    )
    config.model = "automl"
    return config


def test_a_search_ends_as_a_model_directory_without_weights(tmp_path):
    config = stage()
    runs.freeze(tmp_path, config, "refuse", write=True)
    record = runs.train(config, tmp_path, tf.distribute.get_strategy())
    metrics = record["metrics"]
    assert metrics["trials"] == 40 and "random_best_reward" in metrics

    found = result.read(record["model"])
    rows = trials_lib.read(found.trials)
    assert len(rows) == 40
    assert metrics["best_reward"] == max(row.reward for row in rows)
    assert trials_lib.searches(found.trials) == ["search", "random", "rescored"]
    assert found.genotype == found.space.genotype(found.architecture)
    means = [winner["mean"] for winner in found.winners]
    assert means == sorted(means, reverse=True) and len(means) == 5
    assert {len(winner["rescored"]) for winner in found.winners} == {2}
    assets = tmp_path / "model" / "assets"
    assert json.loads((assets / "winners.json").read_text()) == found.winners
    for name in ("scores.png", "cell.png"):
        assert (assets / name).read_bytes()[:4] == b"\x89PNG"
    assert not (tmp_path / "model" / "model.weights.h5").exists()

    # What `tfdl evaluate` says of it.
    with config.unlocked():
        config.init_from = record["model"]
    task = SearchTask(config, tmp_path)
    task.prepare_evaluation(None)
    measured = task.evaluate(None)
    assert {k: measured[k] for k in metrics} == metrics


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"budget": 0}, "budget has to be at least 1"),
        ({"budget": 8}, "population of 8"),
        ({"order": "first"}, "unknown order"),
        ({"compare_with": "rnd"}, "unknown proposer 'rnd'"),
        ({"space": {"name": "dag", "ops": []}}, "ops"),
        ({"proposer": {"name": "evolution", "samples": 3}}, "samples"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_any_work(
    fields, message, tmp_path
):
    with pytest.raises(errors.UserError, match=message):
        SearchTask(stage(**fields), tmp_path).prepare()
    assert not list(tmp_path.iterdir())


def test_unknown_pools_and_their_options_are_refused(tmp_path):
    for pool, message in (
        ({"name": "remote"}, "unknown pool"),
        ({"address": "here:1"}, "address"),
        ({"threads": 0}, "pool.threads"),
        ({"time_limit": 0.0}, "time_limit"),
    ):
        task = SearchTask(stage(pool=pool), tmp_path)
        with pytest.raises(errors.UserError, match=message):
            task.create_pool({"name": "sleep"})


def test_predict_shows_trials_and_tells_what_architectures_are(tmp_path):
    config = stage(budget=10, compare_with="")
    runs.freeze(tmp_path, config, "refuse", write=True)
    model = runs.train(config, tmp_path, tf.distribute.get_strategy())["model"]

    def records(text=None, **options):
        path = tmp_path / "architectures.txt"
        path.write_text(text or "")
        return list(
            predicting.predict(
                prediction.Request(
                    pathlib.Path(model),
                    {},
                    input=str(path) if text else "",
                    options=options,
                )
            )
        )

    assert [record["number"] for record in records()] == list(range(10))
    best = records(top="3")
    rewards = sorted((record["reward"] for record in records()), reverse=True)
    assert [record["reward"] for record in best] == rewards[:3]
    assert len(records(search="rescored")) == 10
    (decoded,) = records("\n2,1,0 0 1 2\n")
    assert decoded["description"][0] == "edge 0 to 1: conv_3x3"
    assert decoded["genotype"]["kind"] == "dag"
    for text, message in (
        ("2 1 0 0 1 2\n2 1 0 0 1 7", r"txt:2: position 6 .* is 7; allowed are 0 to 2"),
        ("2 1 x 0 1 2", r"txt:1: position 3 .*'x'"),
        ("2 1", "has 6 values, not 2"),
    ):
        with pytest.raises(errors.UserError, match=message):
            records(text)
