"""A language model of your own text, or a public one tuned on it.

    tfdl train --model=ulmfit --recipe=language_model --config.data=text:'books/*.txt'
    tfdl train --model=ulmfit --recipe=language_model --config.data=imdb:aclImdb \
        --init_from=wt103
"""

from ml_collections import ConfigDict

from tfdl.models.ulmfit import recipes


def get_config() -> ConfigDict:
    """Returns the recipe; with `--init_from` sizes are that model's."""
    config = recipes.language_model()
    config.description = "a language model"
    config.data = "embedded:docstrings"
    config.phases = (
        recipes.phase(
            "all", 10, 4e-3, shares=recipes.LM_SHARES, schedule=recipes.slanted()
        ),
    )
    config.log_every = 100
    return config
