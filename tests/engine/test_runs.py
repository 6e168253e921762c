"""Whole runs of a toy: replicas, workers, kills, damage. Each in its own process."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.engine import toy
from tests.helpers import ROOT, free_ports, run_python
from tfdl.engine import errors, runs


def start(workdir, env=None, **options):
    """Starts the toy in a process of its own."""
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *sys.path])
    environment["TF_CPP_MIN_LOG_LEVEL"] = "3"
    environment.update(env or {})
    return subprocess.Popen(
        [sys.executable, "-m", "tests.engine.toy", str(workdir), json.dumps(options)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(workdir, env=None, **options):
    """Runs the toy to its end; returns (exit code, stdout, stderr)."""
    process = start(workdir, env, **options)
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err


def weights(workdir):
    """Returns the weights of the final model, flat."""
    import h5py

    found = []
    with h5py.File(workdir / "model" / "model.weights.h5") as file:
        file.visititems(
            lambda _, item: (
                found.append(np.array(item).ravel())
                if isinstance(item, h5py.Dataset)
                else None
            )
        )
    return np.concatenate(found)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The uninterrupted run on one device, without dropout."""
    workdir = tmp_path_factory.mktemp("plain") / "run"
    code, out, err = run(workdir, dropout=0.0)
    assert code == 0, err
    return workdir, json.loads(out.splitlines()[-1])


def test_learns_and_writes_what_it_promises(plain):
    workdir, metrics = plain
    assert metrics["loss"] < 0.3
    kept = json.loads((workdir / "model" / "evaluation.json").read_text())
    assert kept["loss"] == metrics["loss"]
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    steps = [record["step"] for record in records if record["kind"] == "train"]
    assert steps == [10, 20, 30, 40, 50, 60]
    assert {record["phase"] for record in records if record["kind"] == "train"} == {
        "first",
        "second",
    }
    assert list((workdir / "events").iterdir())
    assert json.loads((workdir / "config.json").read_text())["task"] == "toy"


@pytest.mark.parametrize(
    "options",
    [
        {"strategy": "mirrored", "devices": 2},
        {"gradient_accumulation": 4},
        {"strategy": "mirrored", "devices": 2, "gradient_accumulation": 2},
        {"xla": True},
        {"steps_per_loop": 3},
    ],
)
def test_ends_with_the_same_weights(plain, tmp_path, options):
    code, _, err = run(tmp_path / "run", dropout=0.0, **options)
    assert code == 0, err
    np.testing.assert_allclose(
        weights(tmp_path / "run"), weights(plain[0]), rtol=1e-4, atol=2e-5
    )


def _two_workers(workdir, **options):
    workers = [f"127.0.0.1:{port}" for port in free_ports(2)]
    processes = []
    for index in range(2):
        task = {"type": "worker", "index": index}
        config = {"cluster": {"worker": workers}, "task": task}
        env = {"TF_CONFIG": json.dumps(config)}
        processes.append(start(workdir, env, strategy="multi_worker", **options))
    ended = [process.communicate(timeout=240) for process in processes]
    for process, (out, err) in zip(processes, ended, strict=True):
        assert process.returncode == 0, (out, err[-2000:])


def test_two_workers_equal_one(plain, tmp_path):
    _two_workers(tmp_path / "run", dropout=0.0)
    np.testing.assert_allclose(
        weights(tmp_path / "run"), weights(plain[0]), rtol=1e-4, atol=2e-5
    )


def test_workers_wait_for_the_model_between_stages(tmp_path):
    options = {"dropout": 0.0, "stages": ["a", "b"]}
    code, _, err = run(tmp_path / "one", **options)
    assert code == 0, err
    _two_workers(tmp_path / "two", save_delay=3.0, **options)
    np.testing.assert_allclose(
        weights(tmp_path / "two"), weights(tmp_path / "one"), rtol=1e-4, atol=2e-5
    )


def test_dropout_differs_between_replicas_and_a_seed_reproduces_it(tmp_path):
    for name in ("a", "b"):
        code, _, err = run(tmp_path / name, strategy="mirrored", devices=2, dropout=0.5)
        assert code == 0, err
    np.testing.assert_array_equal(weights(tmp_path / "a"), weights(tmp_path / "b"))
    code = (
        "import tensorflow as tf\n"
        "tf.config.set_logical_device_configuration(\n"
        "    tf.config.list_physical_devices('CPU')[0],\n"
        "    [tf.config.LogicalDeviceConfiguration()] * 2)\n"
        "strategy = tf.distribute.MirroredStrategy(['CPU:0', 'CPU:1'])\n"
        "from tfdl.layers.dropout import Dropout\n"
        "with strategy.scope(): layer = Dropout(0.5)\n"
        "run = tf.function(lambda: strategy.run(\n"
        "    lambda: layer(tf.ones([1, 64]), training=True)))\n"
        "a, b = strategy.experimental_local_results(run())\n"
        "assert (a.numpy() != b.numpy()).any()\n"
    )
    done = run_python("-c", code)
    assert done.returncode == 0, done.stderr


def test_killed_three_times_ends_like_uninterrupted(tmp_path):
    # Five minutes' worth of steps are not needed: checkpoints come every 3 steps.
    options = {"dropout": 0.5, "checkpoint_every": 3, "steps_per_loop": 3}
    code, _, err = run(tmp_path / "whole", **options)
    assert code == 0, err
    workdir = tmp_path / "killed"
    for wanted in (6, 21, 45):
        process = start(workdir, **options)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            marks = (workdir / "checkpoints").glob("ckpt-*.json")
            steps = [int(path.stem.split("-")[1]) for path in marks]
            if steps and max(steps) >= wanted:
                break
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    code, _, err = run(workdir, **options)
    assert code == 0, err
    np.testing.assert_array_equal(weights(workdir), weights(tmp_path / "whole"))


def test_sigterm_saves_and_the_same_command_goes_on(tmp_path):
    options = {"dropout": 0.5, "steps_per_loop": 1}
    code, _, err = run(tmp_path / "whole", **options)
    assert code == 0, err
    process = start(tmp_path / "run", **options)
    while process.poll() is None and not (tmp_path / "run" / "metrics.jsonl").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 143, (out, err)
    assert "to go on" in out
    assert list((tmp_path / "run" / "checkpoints").glob("*.json"))
    code, _, err = run(tmp_path / "run", **options)
    assert code == 0, err
    assert "goes on at step" in err
    np.testing.assert_array_equal(
        weights(tmp_path / "run"), weights(tmp_path / "whole")
    )


def test_a_damaged_newest_checkpoint_falls_back(plain, tmp_path):
    workdir = tmp_path / "run"
    code, _, err = run(workdir, dropout=0.0)
    assert code == 0, err
    newest = workdir / "checkpoints" / "ckpt-60.data-00000-of-00001"
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    (workdir / "done.json").unlink()
    code, _, err = run(workdir, dropout=0.0)
    assert code == 0, err
    assert "trying the one before" in err
    assert "goes on at step 50" in err
    np.testing.assert_array_equal(weights(workdir), weights(plain[0]))


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_nan_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path, precision):
    options = {"poison": True, "checkpoint_every": 1, "precision": precision}
    code, out, _ = run(tmp_path / "run", **options)
    assert code == 1
    assert "NaN or Inf in the gradient of" in out and "at step" in out
    assert not (tmp_path / "run" / "model").exists()
    found = list((tmp_path / "run" / "checkpoints").glob("*.json"))
    assert found and "is kept" in out


def test_another_configuration_is_refused(plain):
    code, out, _ = run(plain[0], dropout=0.25)
    assert code == 1
    assert "holds another run (dropout: 0.0 -> 0.25)" in out


def test_a_foreign_folder_is_refused(tmp_path):
    (tmp_path / "precious.txt").write_text("mine")
    code, out, _ = run(tmp_path)
    assert code == 1 and "is not empty" in out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["precious.txt"]


def test_other_workers_leave_the_folder_to_the_first(tmp_path):
    (tmp_path / ".config.json.half").write_text("{")
    config = toy.toy_config()
    runs.freeze(tmp_path, config, "refuse", write=False)
    with pytest.raises(errors.UserError, match="is not empty"):
        runs.freeze(tmp_path, config, "refuse", write=True)


def test_frozen_variables_do_not_move(plain, tmp_path):
    code, _, err = run(tmp_path / "run", dropout=0.0, freeze=True)
    assert code == 0, err
    assert pathlib.Path(tmp_path / "run" / "model").exists()
    assert not np.array_equal(weights(tmp_path / "run"), weights(plain[0]))


def test_averages_are_what_is_saved(plain, tmp_path):
    code, _, err = run(tmp_path / "run", dropout=0.0, ema_decay=0.5)
    assert code == 0, err
    difference = np.abs(weights(tmp_path / "run") - weights(plain[0])).max()
    assert 0 < difference < 1.0


@pytest.mark.parametrize("config", ["{", '{"cluster": {}}', "[]", '{"a": 1}'])
def test_tf_config_that_makes_no_sense(tmp_path, config):
    code, out, err = run(
        tmp_path / "run", {"TF_CONFIG": config}, strategy="multi_worker"
    )
    assert code == 1 and "error: TF_CONFIG" in out, (out, err)
