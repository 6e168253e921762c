r"""Fine-tune a multilingual BERT on XNLI (multilingual.md of google-research/bert).

One language's training file, the development file of the same:

    tfdl train --model=bert --recipe=xnli --init_from=multi-cased \
        --config.data=xnli:/data/XNLI --config.language=zh
"""

from ml_collections import ConfigDict

from tfdl.models.bert import recipes


def get_config() -> ConfigDict:
    """Returns the original's settings: 2 epochs at 5e-5."""
    config = recipes.classification()
    config.data = "xnli:"
    config.epochs = 2.0
    return config
