"""ENAS's search for a recurrent cell, in miniature on Python's documentation.

All cells share one language model's weights; the controller learns which do well with
them. The chosen cell is then trained alone, from new weights.

    tfdl train --model=automl --recipe=enas_text
"""

from ml_collections import ConfigDict

from tfdl.engine import config as config_lib
from tfdl.models.automl import language_recipes
from tfdl.models.automl.enas import recipes

DATA, RULES = "embedded:topics", "fastai2"


def get_config() -> ConfigDict:
    """Returns a search of six nodes a cell, and the training of what it finds."""
    search = recipes.text(
        DATA,
        rules=RULES,
        max_vocab=1000,
        space={"name": "enas_rnn", "nodes": 6},
        network={"hidden_size": 64, "dropouts": {"output": 0.1}},
        batch_size=32,
        bptt=32,
        windows="fastai2",
        rescale_rate=False,
        beta=0.0,
        weight_decay=0.0,
        epochs=12,
        optimizer={"name": "adam", "global_clip_norm": 1.0},
        schedule={"name": "cosine", "rate": 5e-3},
        # Few updates: larger than the paper's.
        controller_steps=5,
        aggregate=8,
        controller_rate=0.02,
        baseline_decay=0.95,
        samples=40,
        rescore=8,
    )
    search.model, search.name = "automl", "search"
    final = language_recipes.stage(
        data=DATA,
        rules=RULES,
        max_vocab=1000,
        start="architecture",
        network={"embedding_size": 64, "hidden_size": 64},
        dropouts={"embedding": 0.2, "output": 0.3},
        epochs=12,
        batch_size=32,
        bptt=32,
        learning_rate=5e-3,
        schedule={"name": "cosine"},
        optimizer={"name": "adam", "global_clip_norm": 1.0},
    )
    final.name = "final"
    config = config_lib.base_config()
    config.model = "automl"
    config.description = "a recurrent cell whose candidates share weights, on text"
    config.log_every = config.steps_per_loop = 20
    config.stages = (search, final)
    return config
