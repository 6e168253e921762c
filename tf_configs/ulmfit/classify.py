"""A classifier on the encoder of a language model.

    tfdl train --model=ulmfit --recipe=classify --config.data=csv:FOLDER \
        --init_from=runs/tuned/model

`--config.start=random` trains the same network from scratch.
"""

from ml_collections import ConfigDict

from tfdl.models.ulmfit import recipes


def get_config() -> ConfigDict:
    """Returns the paper's fine-tuning with gradual unfreezing."""
    config = recipes.classifier()
    config.description = "a classifier, unfrozen layer by layer"
    config.log_every = 100
    return config
