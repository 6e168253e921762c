"""The NAS cell's language model on the Penn Treebank (Zoph & Le 2017, section 4.2).

Two layers of the published cell, embeddings shared with the softmax (25 million
weights: 64.0 perplexity in the paper). The paper searched rates, initial weights and
dropout for the final training and published none of them; these are the medium LSTM's
(Zaremba et al. 2014) with Gal's masks, and not verified on the full corpus here.

    tfdl train --model=automl --recipe=nas_ptb --config.data=ptb:/data/penn
"""

from ml_collections import ConfigDict

from tfdl.models.automl import language_recipes


def get_config() -> ConfigDict:
    """Returns the recipe."""
    config = language_recipes.stage(
        data="ptb:penn",
        rules="words",
        min_count=1,
        network={
            "genotype": "nas_cell",
            "embedding_size": 740,
            "hidden_size": 740,
            "num_layers": 2,
            "init_range": 0.05,
            "softmax_bias": True,
        },
        dropouts={"word": 0.2, "input": 0.35, "weight": 0.2, "output": 0.5},
        batch_size=20,
        bptt=35,
        epochs=60,
        learning_rate=1.0,
        schedule={"name": "cosine"},
        optimizer={"name": "sgd", "global_clip_norm": 5.0},
        log_every=200,
        steps_per_loop=50,
    )
    config.description = "the NAS cell's language model on the Penn Treebank"
    return config
