"""Little texts, and recipes of a few seconds that learn from them."""

import pathlib

from ml_collections import ConfigDict

import tfdl
from tests import training_runs
from tfdl.engine import config as config_lib
from tfdl.engine import distribution, runs
from tfdl.models.automl import language_recipes

NETWORK = {"genotype": "enas_lm", "embedding_size": 8, "hidden_size": 8}


def penn(folder: pathlib.Path) -> str:
    """Writes text in the files of the Penn Treebank; returns the source."""
    words = "the cat sat on a mat and the dog lay <unk> on N rugs".split()
    for k, (name, lines) in enumerate((("train", 40), ("valid", 9), ("test", 7))):
        rows = []
        for i in range(lines):
            start = (i * 5 + k) % len(words)
            rows.append(" " + " ".join((words * 2)[start : start + 4 + i % 6]) + " ")
        (folder / f"ptb.{name}.txt").write_text("\n".join(rows) + "\n")
    return f"ptb:{folder}"


def recipe(source: str, **fields) -> ConfigDict:
    """Returns the recipe of a small model."""
    network = {**NETWORK, **fields.pop("network", {})}
    common = {
        "data": source,
        "rules": "words",
        "min_count": 1,
        "batch_size": 4,
        "bptt": 8,
        "epochs": 2,
        "eval_batch_size": 2,
        "sample_tokens": 4,
        "log_every": 3,
        "checkpoint_every": 3,
        "steps_per_loop": 3,
    }
    return language_recipes.stage(network=network, **{**common, **fields})


def train(config: ConfigDict, workdir: pathlib.Path) -> dict:
    """Runs a recipe in this process; returns its record."""
    return runs.train(config, workdir, distribution.create("one_device"))


def start(config: ConfigDict, workdir: pathlib.Path, *flags: str):
    """Starts a run in a process of its own."""
    path = workdir.parent / f"{workdir.name}.json"
    path.write_text(config_lib.to_json(config))
    return training_runs.start(path, workdir, *flags)


def weights(model: str | pathlib.Path) -> dict:
    """Returns a model directory's weights by name."""
    # The first part of a path counts the models of this process.
    found = tfdl.load(str(model)).trainable_variables
    return {v.path.partition("/")[2]: v.numpy() for v in found}
