"""ENAS' recurrent cell on the Penn Treebank, trained in full (enas_lm).

The published architecture or, with `start=architecture` and `--init_from` of a search,
that one's winner. 56.1 perplexity in the reference's ten runs; a training of 3000
epochs, not repeated here.

    tfdl train --model=automl --recipe=enas_ptb_final --config.data=ptb:/data/penn
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
            "genotype": "enas_lm",
            "embedding_size": 800,
            "hidden_size": 800,
            "init_range": 0.05,
        },
        dropouts=language_recipes.ENAS_DROPOUTS,
        alpha=0.7,
        weight_decay=8e-7,
        batch_size=64,
        bptt=35,
        windows="enas-lm",
        rescale_rate=True,
        epochs=3000,
        learning_rate=20.0,
        optimizer={"name": "sgd", "global_clip_norm": 0.25},
        average_after=10,
        keep_best=False,
        eval_batch_size=64,
        log_every=200,
        steps_per_loop=50,
    )
    config.description = "ENAS' recurrent cell on the Penn Treebank"
    return config
