r"""Fine-tune BERT on SQuAD 2.0 (paper section 4.3).

    tfdl train --model=bert --recipe=squad2 --init_from=bert-large \
        --config.data=squad:train-v2.0.json,dev-v2.0.json

Batch 48, 2 epochs at 5e-5. The threshold for "no answer" that is best on the
development file is stored in the model directory.
"""

from ml_collections import ConfigDict

from tfdl.models.bert import recipes


def get_config() -> ConfigDict:
    """Returns the paper's settings for version 2.0."""
    config = recipes.question_answering()
    config.data = "squad:"
    config.version_2 = True
    config.batch_size = 48
    config.epochs = 2.0
    return config
