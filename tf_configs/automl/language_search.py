"""A search for a recurrent cell on embedded text, and its winner trained in full.

Cells are trees of four leaves (Zoph & Le 2017, section 3.4); a child is trained for
some hundred steps, its reward is c / perplexity^2 on held-out text. The winner is
then trained longer, with all words. Some ten minutes on two cores.

    tfdl train --model=automl --recipe=language_search
"""

from ml_collections import ConfigDict

from tfdl.models.automl import language_recipes
from tfdl.models.automl.search import recipe


def get_config() -> ConfigDict:
    """Returns two stages: search and final."""
    search = recipe.stage(
        space={"name": "zoph_rnn", "base": 4},
        proposer={"name": "evolution", "population": 16, "sample": 5},
        children={
            "name": "language",
            "data": "embedded:topics",
            "train_tokens": 0,
            "valid_tokens": 0,
            "max_vocab": 500,
            "hidden_size": 32,
            "epochs": 3,
        },
        budget=60,
        rescore={"top": 5, "seeds": 2},
    )
    search.name = "search"
    final = language_recipes.stage(
        start="architecture",
        network={"embedding_size": 64, "hidden_size": 64},
        dropouts={"embedding": 0.2, "input": 0.2, "output": 0.4},
        epochs=12,
        batch_size=16,
        bptt=32,
        learning_rate=5e-3,
        schedule={"name": "cosine"},
        optimizer={"name": "adam", "global_clip_norm": 1.0},
    )
    final.name = "final"
    config = search.copy_and_resolve_references()
    config.model = "automl"
    config.description = "a recurrent cell searched for and trained on embedded text"
    config.stages = (search, final)
    return config
