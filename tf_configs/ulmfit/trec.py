"""The paper's recipe for the types of questions (TREC-6).

    tfdl convert --model=ulmfit --source=fwd_wt103.h5 --output=wt103
    tfdl train --model=ulmfit --recipe=trec --init_from=wt103 \
        --config.stages.tune.data=trec:/data/TREC \
        --config.stages.classify.data=trec:/data/TREC
"""

from ml_collections import ConfigDict

from tfdl.models.ulmfit import recipes


def get_config() -> ConfigDict:
    """Returns two stages: tune the language model, classify."""
    config = recipes.paper("trec:TREC", lm_epochs=15)
    config.description = "types of questions (TREC-6)"
    return config
