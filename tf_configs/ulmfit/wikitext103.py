"""The paper's first stage: a language model of WikiText-103.

    tfdl train --model=ulmfit --recipe=wikitext103 \
        --config.data=wikitext:/data/wikitext-103

For days on a GPU. `--config.direction=backward` trains the other one of the pair.
"""

from ml_collections import ConfigDict

from tfdl.models.ulmfit import recipes


def get_config() -> ConfigDict:
    """Returns the settings of pretrain_lm.py, sampled softmax included."""
    config = recipes.language_model()
    config.description = "WikiText-103, for transfer"
    config.start, config.data = "random", "wikitext:wikitext-103"
    config.rules, config.windows = "fastai07", "fastai07"
    config.encoder.hidden_size = 1150
    config.max_vocab = 238_462
    recipes.scaled(config, recipes.TUNING, 0.5)
    config.sampled_softmax = 15_000
    config.phases = (recipes.phase("all", 14, 5e-3, schedule=recipes.circular(32, 10)),)
    config.log_every, config.steps_per_loop = 500, 100
    return config
