"""The paper's recipe for the topics of encyclopedia articles (DBpedia).

    tfdl convert --model=ulmfit --source=fwd_wt103.h5 --output=wt103
    tfdl train --model=ulmfit --recipe=dbpedia --init_from=wt103 \
        --config.stages.tune.data=dbpedia:/data/dbpedia_csv \
        --config.stages.classify.data=dbpedia:/data/dbpedia_csv
"""

from ml_collections import ConfigDict

from tfdl.models.ulmfit import recipes


def get_config() -> ConfigDict:
    """Returns two stages: tune the language model, classify."""
    config = recipes.paper("dbpedia:dbpedia_csv", lm_epochs=15)
    config.description = "topics of encyclopedia articles (DBpedia)"
    return config
