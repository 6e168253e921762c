"""The paper's recipe for the sentiment of film reviews (IMDb).

    tfdl convert --model=ulmfit --source=fwd_wt103.h5 --output=wt103
    tfdl train --model=ulmfit --recipe=imdb --init_from=wt103 \
        --config.stages.tune.data=imdb:/data/aclImdb \
        --config.stages.classify.data=imdb:/data/aclImdb
"""

from ml_collections import ConfigDict

from tfdl.models.ulmfit import recipes


def get_config() -> ConfigDict:
    """Returns two stages: tune the language model, classify."""
    config = recipes.paper("imdb:aclImdb", lm_epochs=50)
    config.description = "sentiment of film reviews (IMDb)"
    return config
