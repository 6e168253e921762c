"""The paper's recipe for the topics of news (AG).

    tfdl convert --model=ulmfit --source=fwd_wt103.h5 --output=wt103
    tfdl train --model=ulmfit --recipe=ag --init_from=wt103 \
        --config.stages.tune.data=ag:/data/ag_news_csv \
        --config.stages.classify.data=ag:/data/ag_news_csv
"""

from ml_collections import ConfigDict

from tfdl.models.ulmfit import recipes


def get_config() -> ConfigDict:
    """Returns two stages: tune the language model, classify."""
    config = recipes.paper("ag:ag_news_csv", lm_epochs=15)
    config.description = "topics of news (AG)"
    return config
