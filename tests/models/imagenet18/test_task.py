"""The training task: its plan, steps, metrics and refusals."""

import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from tfdl import evaluate as evaluate_verb
from tfdl import train as train_verb
from tfdl.engine import config as config_lib
from tfdl.engine import distribution, runs
from tfdl.engine.errors import UserError
from tfdl.engine.learner import Learner
from tfdl.models.imagenet18 import batches, dawnbench, recipes
from tfdl.models.imagenet18.schedule import Schedule

TINY = (
    {"ep": 0, "sz": 32, "bs": 240, "min_scale": 0.5},
    {"ep": (0, 1), "lr": (0.1, 0.2)},
    {"ep": 1, "sz": 40, "bs": 240, "min_scale": 0.6, "rect_val": True},
    {"ep": (1, 2), "lr": (0.2, 0.05)},
)


def recipe(task="classify", schedule=TINY, **fields):
    """Returns a configuration on the digits."""
    config = recipes.digits(task)
    config.schedule = recipes.phases(*schedule)
    for name, value in fields.items():
        config[name] = value
    return config


def prepared(config, replicas=1, folder="unused"):
    """Returns the task with its data."""
    task = runs.create_task(config, pathlib.Path(folder))
    task.replicas = replicas
    task.prepare()
    return task


# --- batches on the devices there are -------------------------------------------


@pytest.mark.parametrize("replicas", [1, 8, 128])
def test_a_kept_batch_is_computed_in_the_original_parts(replicas):
    schedule = Schedule(recipes.original(16), recipes.IMAGENET, 128)
    for one in batches.stretches(schedule, replicas):
        each = one.batch_size // (replicas * one.micro_batches)
        assert each == one.data.batch_size
        assert one.batch_size == schedule.global_batch_size(one.start)
        assert one.steps == schedule.steps(one.start) and one.factor == 1.0


def test_a_kept_batch_fits_where_less_fits():
    schedule = Schedule(recipes.original(1), recipes.IMAGENET, 8)
    found = batches.stretches(schedule, 2, most=100)
    for one in found:
        assert one.batch_size % (2 * one.micro_batches) == 0
        assert one.batch_size // (2 * one.micro_batches) <= 100
        assert one.multiple % (2 * one.micro_batches) == 0


def test_scaled_batches_scale_rates():
    schedule = Schedule(recipes.original(16), recipes.IMAGENET, 128)
    one = batches.stretches(schedule, 4, "scale")[0]
    assert (one.batch_size, one.micro_batches) == (64 * 4, 1)
    assert one.factor == 4 / 128
    assert one.steps == -(-recipes.IMAGENET // 256)
    rate = schedule.learning_rate(one.start, one.end, one.factor, one.steps)
    last = float(rate(tf.constant(one.steps * 6 - 1)))
    assert last == pytest.approx(3.76 * 4 / 128, rel=1e-6)
    with pytest.raises(UserError, match="did you mean 'scale'"):
        batches.stretches(schedule, 4, "scales")


def test_a_batch_that_cannot_be_split():
    schedule = Schedule(TINY, 1437, 1)
    with pytest.raises(UserError, match="a batch of 240 cannot be split over 7"):
        batches.stretches(schedule, 7)


def test_dry_run_needs_no_data(capsys):
    flags = ["--recipe=dawnbench-16", "--dry_run", "--num_devices=8"]
    assert train_verb.main(["train", "--model=imagenet18", *flags]) == 0
    out = capsys.readouterr().out
    assert "8192 = 8 x 16 x 64" in out and "24576 = 8 x 16 x 192" in out
    assert "64,058,350 images" in out and "rectangular" in out


# --- steps ------------------------------------------------------------------------


def learner_of(task):
    """Returns a learner of a prepared task on one device."""
    learner = Learner(task, distribution.create("one_device"), task.config)
    return learner, task.phases()


@pytest.mark.parametrize(
    "rate, fields",
    [
        (0.05, {}),
        (0.05, {"label_smoothing": 0.1, "mixup": 0.2, "cutmix": 1.0}),
        (0.5, {"loss": "binary", "binary_threshold": 0.2, "mixup": 0.2}),
    ],
)
def test_one_batch_is_learned_by_heart(rate, fields):
    schedule = ({"ep": 0, "sz": 32, "bs": 16}, {"ep": (0, 1), "lr": rate})
    task = prepared(recipe(schedule=schedule, **fields))
    learner, (phase,) = learner_of(task)
    batch = next(iter(task.train_data(phase, 0, distribution.Shard())))
    # The same mixture is no longer the whole label: the loss has a floor.
    clean = {k: batch[k] for k in ("image", "label", "weight")}

    @tf.function
    def step(i):
        return learner.strategy.run(
            lambda: learner_step(learner, task, batch, phase, i)
        )

    for i in range(60):
        step(tf.constant(i, tf.int64))
    plain = recipe(schedule=schedule)
    measured = prepared(plain)
    share, metrics = measured.loss(
        learner.model, clean, measured.denominators(clean), training=True
    )
    right, count = metrics["accuracy"]
    assert float(right / count) > (0.8 if fields else 0.99)
    assert np.isfinite(float(share))


def learner_step(learner, task, batch, phase, i):
    """Makes a step outside the training loop."""
    learner._trace.stops = []
    return task.train_step(learner, batch, phase, i)["loss"][0]


def test_a_step_compiles_for_accelerators_at_static_shapes():
    task = prepared(recipe(short_last_batch=False, mixup=0.2, cutmix=1.0))
    learner, (phase, _) = learner_of(task)
    data = task.train_data(phase, 0, distribution.Shard())
    assert all(spec.shape.is_fully_defined() for spec in data.element_spec.values())

    def gradients(batch):
        with tf.GradientTape() as tape:
            share, _ = task.loss(learner.model, batch, task.denominators(batch))
        variables = learner.model.trainable_variables
        return tape.gradient(share, [variable.value for variable in variables])

    compiled = tf.function(gradients, jit_compile=True)
    text = compiled.experimental_get_compiler_ir(next(iter(data)))(stage="hlo")
    assert "convolution" in text


def test_decay_spares_gammas_and_betas_alone():
    task = prepared(recipe())
    learner, _ = learner_of(task)
    optimizer = learner.optimizers["model"]
    decayed = {
        name
        for name, variable in learner._names["model"].items()
        if optimizer._decay(name, variable)
    }
    spared = set(learner._names["model"]) - decayed
    assert {"fc.weight", "fc.bias", "conv1.weight"} <= decayed
    assert spared and all("bn" in n or "downsample.1" in n for n in spared)


def test_rotations_are_what_they_are_called():
    schedule = ({"ep": 0, "sz": 32, "bs": 8}, {"ep": (0, 1), "lr": 0.1})
    task = prepared(recipe("rotation", schedule))
    images = np.random.default_rng(0).integers(0, 255, [2, 32, 32, 3], np.uint8)
    seen = {}

    def model(inputs, training):
        seen["image"] = inputs["image"].numpy()
        return {"logits": tf.zeros([8, 4])}

    batch = {"image": tf.constant(images), "weight": tf.constant([1.0, 0.0])}
    _, labels, weight = task._turned(model, batch, True)
    assert labels.numpy().tolist() == [0, 1, 2, 3] * 2
    assert weight.numpy().tolist() == [1.0] * 4 + [0.0] * 4
    first = seen["image"].reshape(2, 4, 32, 32, 3)[0]
    for turns in range(4):
        np.testing.assert_array_equal(first[turns], np.rot90(first[0], turns))


def test_a_probe_trains_the_classifier_alone():
    task = prepared(recipe("linear_probe"))
    learner, (phase, _) = learner_of(task)
    assert set(learner.trained("model", phase)) == {"fc.weight", "fc.bias"}


# --- whole runs ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short run through the verb; returns (workdir, printed, shown)."""
    folder = tmp_path_factory.mktemp("run")
    path = folder / "recipe.json"
    config = recipe()
    config.target.value = 5.0
    config.dawnbench.cost_per_hour = 24.48
    path.write_text(config_lib.to_json(config))
    workdir = folder / "run"
    code = train_verb.main(["train", f"--config={path}", f"--workdir={workdir}"])
    return code, workdir, path


def test_a_run_writes_its_log_and_model(run):
    code, workdir, _ = run
    assert code == 0
    rows = dawnbench.read(workdir / "dawnbench.tsv")
    assert [row.epoch for row in rows] == [0, 1]
    again = dawnbench.read(workdir / "event.log")
    assert [(row.epoch, row.top1) for row in again] == [
        (row.epoch, row.top1) for row in rows
    ]
    lines = [
        json.loads(x) for x in (workdir / "metrics.jsonl").read_text().split("\n")[:-1]
    ]
    assert {x["images"] for x in lines if x["kind"] == "eval"} == {360}
    done = json.loads((workdir / "done.json").read_text())
    assert "5% top-1 after" in done["remarks"][0] and "$" in done["remarks"][1]
    (entry,) = (workdir / "dawnbench").glob("*.tsv")
    assert entry.with_suffix(".json").exists()
    saved = json.loads((workdir / "model" / "config.json").read_text())
    assert saved["test_size"] == 40 and saved["resize"] == 45


@pytest.mark.parametrize("batch", [7, 360])
def test_all_pictures_count_for_any_batch(run, capsys, batch):
    flags = [f"--workdir={run[1]}", f"--output={run[1]}"]
    options = [f"--config.evaluation.batch_size={batch}"]
    options += ["--config.evaluation.rectangular=never"]
    assert evaluate_verb.main(["evaluate", *flags, *options]) == 0
    metrics = json.loads(capsys.readouterr().out)
    assert metrics["images"] == 360
    key = str(run[1])
    assert KNOWN.setdefault(key, metrics["top1"]) == metrics["top1"]


KNOWN = {}


def test_a_run_stops_at_its_target(run, tmp_path, capsys):
    flags = [f"--config={run[2]}", f"--workdir={tmp_path / 'run'}"]
    code = train_verb.main(["train", *flags, "--config.target.stop=true"])
    assert code == 0
    rows = dawnbench.read(tmp_path / "run" / "dawnbench.tsv")
    assert [row.epoch for row in rows] == [0]
    # Asked again after its end was lost, it does not go on.
    (tmp_path / "run" / "done.json").unlink()
    assert train_verb.main(["train", *flags, "--config.target.stop=true"]) == 0
    assert "phase 40 px" not in capsys.readouterr().err
    assert len(dawnbench.read(tmp_path / "run" / "dawnbench.tsv")) == 1


# --- refusals -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields, said",
    [
        ({"examples": 5}, "is for 5 training images, embedded:digits has 1,437"),
        ({"classes": 4}, "--config.classes=4, but the data have 10"),
        ({"loss": "softmx"}, "did you mean 'softmax'"),
        ({"data": "tfrecord:x/train-*"}, "needs --config.validation_data"),
        ({"schedule": ()}, "no data"),
        ({"data": "folder:nowhere"}, "nowhere"),
    ],
)
def test_configurations_that_make_no_sense(fields, said):
    with pytest.raises(UserError, match=said):
        prepared(recipe(**fields))


def test_missing_resized_copies_are_told(tmp_path):
    from PIL import Image

    for split in ("train", "validation"):
        for name in ("a", "b"):
            path = tmp_path / "data" / split / name / "x.jpg"
            path.parent.mkdir(parents=True)
            Image.new("RGB", (40, 40)).save(path)
    config = recipe(data=f"folder:{tmp_path / 'data'}")
    config.schedule = recipes.phases(
        {"ep": 0, "sz": 32, "bs": 2, "trndir": "-sz/160"}, {"ep": (0, 1), "lr": 0.1}
    )
    with pytest.raises(UserError, match="data-sz/160.*tfdl prepare"):
        prepared(config)
    config.resized_copies = False
    assert len(prepared(config).class_names) == 2
