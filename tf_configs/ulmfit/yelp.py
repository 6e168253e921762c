"""The paper's recipe for the stars of reviews (Yelp-full, Yelp-bi).

    tfdl convert --model=ulmfit --source=fwd_wt103.h5 --output=wt103
    tfdl train --model=ulmfit --recipe=yelp --init_from=wt103 \
        --config.stages.tune.data=yelp:/data/yelp_review_full_csv \
        --config.stages.classify.data=yelp:/data/yelp_review_full_csv
"""

from ml_collections import ConfigDict

from tfdl.models.ulmfit import recipes


def get_config() -> ConfigDict:
    """Returns two stages: tune the language model, classify."""
    config = recipes.paper("yelp:yelp_review_full_csv", lm_epochs=15)
    config.description = "stars of reviews (Yelp-full or Yelp-bi)"
    return config
