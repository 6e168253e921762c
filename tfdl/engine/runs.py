"""Runs: a workdir, its frozen configuration, stages and restarts."""

import json
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
from ml_collections import ConfigDict

from tfdl.engine import config as config_lib
from tfdl.engine import distribution, errors, files, registry

CONFIG = "config.json"


def freeze(workdir: pathlib.Path, config: ConfigDict, on_change: str, write: bool):
    """Freezes the configuration in the workdir, or checks that it is the same.

    Args:
        workdir: the run's folder; made when it is not there.
        config: what was asked for now.
        on_change: what to do when the folder holds a run of another configuration:
            `"refuse"`, `"restart"` (delete that run) or `"adopt"` (go on with the
            new one).
        write: False on workers that write nothing.

    Raises:
        UserError: it holds another run and `on_change` refuses, or is not a
            folder that can be written to.
    """
    path = workdir / CONFIG
    if path.exists() and _has_begun(workdir):
        old = config_lib.from_json(files.read_text(path), path)
        changes = config_lib.differences(old, config)
        if changes and on_change == "refuse":
            raise errors.UserError(
                f"{workdir} holds another run ({'; '.join(changes[:3])}"
                f"{' ...' if len(changes) > 3 else ''}); choose another --workdir, or "
                "--on_config_change=restart to delete that run, or =adopt to go on "
                "from it"
            )
        if changes and on_change == "restart" and write:
            _clear(workdir)
    # Another worker may find what the first is just writing.
    elif write and not path.exists() and on_change == "refuse" and _is_in_use(workdir):
        raise errors.UserError(
            f"{workdir} is not empty and holds no run of tfdl; choose another --workdir"
        )
    if write:
        files.atomic_write(path, config_lib.to_json(config))


def train(
    config: ConfigDict, workdir: pathlib.Path, strategy: tf.distribute.Strategy
) -> dict[str, Any]:
    """Trains all stages of a configuration; goes on where it was interrupted.

    Args:
        config: the run's configuration.
        workdir: the run's folder, frozen.
        strategy: where it runs.

    Returns:
        `"stages"`: name -> {"before", "after"}; `"metrics"`: those of the last
        stage; `"model"`: the model directory; `"summary"`: lines for a person.
    """
    stages = dict(_stages(config))
    record: dict[str, Any] = {"stages": {}, "remarks": []}
    source = config.init_from
    for name, stage in stages.items():
        folder = workdir / name if name else workdir
        if source and not stage.init_from:
            with stage.unlocked():
                stage.init_from = str(source)
        try:
            result = _train_stage(stage, folder, strategy, name or config.model)
        except tf.errors.UnavailableError as error:
            raise distribution.lost_worker(error) from None
        source = result["model"]
        record["stages"][name or config.task] = {
            "before": result["before"],
            "after": result["after"],
        }
        record["summary"] = result["summary"]
        record["remarks"] += result.get("remarks", [])
        record["metrics"] = result["after"]
    model = workdir / "model"
    if pathlib.Path(source) != model and distribution.is_chief(strategy):
        with files.atomic_directory(model) as scratch:
            shutil.copytree(source, scratch, dirs_exist_ok=True)
    if distribution.is_chief(strategy):
        # Where `tfdl evaluate` writes as well: exports and published modules say it.
        files.atomic_write(
            model / "evaluation.json", json.dumps(record["metrics"]) + "\n"
        )
    record["model"] = str(model)
    record["summary"] = [
        line.replace(str(source), str(model)) for line in record["summary"]
    ]
    return record


def plan(config: ConfigDict, workdir: pathlib.Path, replicas: int) -> list[str]:
    """Returns lines that tell what a run would do: its stages and their phases.

    Args:
        config: the run's configuration.
        workdir: the run's folder, which need not be there.
        replicas: how many replicas would train.

    Raises:
        UserError: the configuration makes no sense, or a stage needs data or a
            model that is not there.
    """
    lines = []
    for name, stage in _stages(config):
        task = create_task(stage, workdir / name)
        task.replicas = replicas
        lines += [f"{name}:"] if name else []
        try:
            task.prepare_plan()
            lines += task.plan()
        except errors.UserError as error:
            if len(lines) < 2:
                raise
            lines.append(f"  known when the stage before has ended ({error})")
    return lines


def _stages(config: ConfigDict) -> Iterator[tuple[str, ConfigDict]]:
    if not config.get("stages"):
        yield "", config
        return
    for stage in config.stages:
        yield stage.name, config_lib.stage_config(config, stage)


def _train_stage(
    config: ConfigDict,
    workdir: pathlib.Path,
    strategy: tf.distribute.Strategy,
    name: str,
) -> dict[str, Any]:
    """Trains one stage, several times over when it asks for restarts."""
    if config.restarts <= 1:
        return _train_once(config, workdir, strategy, name)
    best: dict[str, Any] | None = None
    for i in range(config.restarts):
        again = config.copy_and_resolve_references()
        again.seed = config.seed + i
        result = _train_once(again, workdir / f"restart-{i}", strategy, f"{name} {i}")
        if best is None or result["score"] > best["score"]:
            best = result
    model = workdir / "model"
    if distribution.is_chief(strategy):
        with files.atomic_directory(model) as scratch:
            shutil.copytree(best["model"], scratch, dirs_exist_ok=True)
    distribution.barrier(strategy)
    return {**best, "model": str(model)}


def _train_once(
    config: ConfigDict,
    workdir: pathlib.Path,
    strategy: tf.distribute.Strategy,
    name: str,
) -> dict[str, Any]:
    done = workdir / "done.json"
    if done.exists():
        return {**json.loads(files.read_text(done)), "model": str(workdir / "model")}
    if distribution.is_chief(strategy):
        try:
            workdir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise errors.UserError(
                f"cannot write to {workdir}: {error.strerror}"
            ) from None
    task = create_task(config, workdir)
    task.prepare()
    result = task.run(strategy, name)
    record = {
        "before": result.before,
        "after": result.after,
        "model": str(result.model),
        "score": task.score(result.after),
        "remarks": task.remarks(),
        "summary": task.summary(result.before, result.after, str(result.model)),
    }
    if distribution.is_chief(strategy):
        files.atomic_write(done, json.dumps(record, indent=2))
    # The next stage reads the model that the chief has written.
    distribution.barrier(strategy)
    return record


def create_task(config: ConfigDict, workdir: pathlib.Path):
    """Returns the task that `config.model` and `config.task` name, not prepared.

    Raises:
        UserError: the model has no such task.
    """
    tasks = registry.load(config.model, "tasks").TASKS
    if config.task not in tasks:
        raise errors.unknown(f"task of model {config.model!r}", config.task, tasks)
    return tasks[config.task](config, workdir)


def _has_begun(workdir: pathlib.Path) -> bool:
    """Tells whether a run got further than its configuration."""
    return any(path.is_file() and path.name != CONFIG for path in workdir.rglob("*"))


def _is_in_use(workdir: pathlib.Path) -> bool:
    return workdir.is_dir() and any(workdir.iterdir())


def _clear(workdir: pathlib.Path) -> None:
    for path in workdir.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
