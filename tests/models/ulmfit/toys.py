"""Recipes of a few seconds on a little text, and runs of them."""

import pathlib

from ml_collections import ConfigDict

import tfdl
from tests import training_runs
from tfdl.engine import config as config_lib
from tfdl.engine import distribution, runs
from tfdl.models.ulmfit import recipes

ENCODER = {"embedding_size": 8, "hidden_size": 12, "num_layers": 3}
COLOURS, TASTES = "red green blue white".split(), "sweet sour bitter salty".split()


def documents(count: int, first: int = 0) -> list[tuple[str, str]]:
    """Returns (class, text): of colours or of tastes, of different lengths."""
    rows = []
    for i in range(first, first + count):
        words = (COLOURS, TASTES)[i % 2]
        text = " and ".join(words[(i * k) % 4] for k in range(1, 3 + i % 5))
        rows.append((str(i % 2 + 1), f"It is {text}."))
    return rows


def csv_folder(folder: pathlib.Path, train: int = 24, test: int = 10) -> str:
    """Writes documents as AG's files; returns the source."""
    for name, rows in (("train", documents(train)), ("test", documents(test, 100))):
        lines = "".join(f'"{label}","{text}"\n' for label, text in rows)
        (folder / f"{name}.csv").write_text(lines)
    (folder / "classes.txt").write_text("colour\ntaste\n")
    return f"ag:{folder}"


def language_model(source: str, epochs: int = 2, **fields) -> ConfigDict:
    """Returns a language model's recipe."""
    config = recipes.language_model()
    config.encoder = ConfigDict(ENCODER)
    config.data, config.start, config.min_count = source, "random", 1
    config.batch_size, config.bptt, config.eval_batch_size = 4, 7, 2
    config.sample_tokens = 4
    config.phases = (recipes.phase("all", epochs, 1e-2, shares=recipes.LM_SHARES),)
    return _with(config, fields)


def classifier(source: str, **fields) -> ConfigDict:
    """Returns a classifier's recipe."""
    config = recipes.classifier()
    config.encoder = ConfigDict(ENCODER)
    config.data, config.start, config.min_count = source, "random", 1
    config.head.hidden, config.head.bptt, config.head.max_len = (6,), 5, 10
    config.batch_size, config.eval_batch_size = 8, 4
    config.phases = recipes.full(1e-2, 2)
    return _with(config, fields)


def _with(config: ConfigDict, fields) -> ConfigDict:
    config.log_every = config.checkpoint_every = config.steps_per_loop = 2
    for name, value in fields.items():
        config[name] = value
    return config


def train(config: ConfigDict, workdir: pathlib.Path) -> dict:
    """Runs a recipe in this process; returns its record."""
    return runs.train(config, workdir, distribution.create("one_device"))


def start(config: ConfigDict, workdir: pathlib.Path, *flags: str):
    """Starts a run in a process of its own."""
    path = workdir.parent / f"{workdir.name}.json"
    path.write_text(config_lib.to_json(config))
    return training_runs.start(path, workdir, *flags)


def weights(workdir: pathlib.Path) -> dict:
    """Returns the final model's weights by name."""
    model = tfdl.load(str(workdir / "model"))
    # The first part of a path counts the models of this process.
    return {v.path.partition("/")[2]: v.numpy() for v in model.weights}
