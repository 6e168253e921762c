r"""Fine-tune BERT on SWAG (paper section 4.4): batch 16, 3 epochs at 2e-5.

Learns from the official files:

    tfdl train --model=bert --recipe=swag --init_from=bert-base \
        --config.data=swag:train.csv,val.csv
"""

from ml_collections import ConfigDict

from tfdl.models.bert import recipes


def get_config() -> ConfigDict:
    """Returns the paper's settings."""
    config = recipes.finetuning("swag")
    config.data = "swag:"
    config.batch_size = 16
    config.optimizer = recipes.optimizer(2e-5)
    return config
