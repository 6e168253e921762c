"""ENAS's search for a pair of cells, in miniature on scikit-learn's digits.

All architectures share one network's weights; the controller learns which cells do
well with them. Some three minutes on two cores.

    tfdl train --model=automl --recipe=enas_digits
"""

from ml_collections import ConfigDict

from tfdl.models.automl.enas import recipes


def get_config() -> ConfigDict:
    """Returns a search of two blocks a cell."""
    config = recipes.images(
        "enas_micro",
        "embedded:square-digits",
        size=16,
        valid=400,
        space={"name": "enas_micro", "blocks": 2},
        network={"layers": 2, "filters": 16, "keep": 0.9},
        batch_size=64,
        augment="none",
        epochs=45,
        # Few updates: larger than the paper's.
        controller_steps=2,
        aggregate=8,
        controller_rate=0.05,
        baseline_decay=0.95,
        optimizer=recipes.sgd(1e-4, global_clip_norm=5.0),
        schedule={"name": "cosine", "rate": 0.2, "end": 0.002},
        samples=40,
        rescore=8,
    )
    config.model = "automl"
    config.description = "cells that share weights, on scikit-learn's digits"
    config.log_every = 66
    config.eval_every = 165
    return config
