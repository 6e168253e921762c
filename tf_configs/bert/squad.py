r"""Fine-tune BERT on SQuAD 1.1 (paper section 4.2).

    tfdl train --model=bert --recipe=squad --init_from=bert-base \
        --config.data=squad:train-v1.1.json,dev-v1.1.json

Batch 32, 3 epochs at 5e-5 as in the paper; google-research/bert's README uses batch 12,
2 epochs and 3e-5. `--config.bucketing=false` pads every window to 384 as the original
does (there, padding takes part in the softmax).
"""

from ml_collections import ConfigDict

from tfdl.models.bert import recipes


def get_config() -> ConfigDict:
    """Returns the paper's settings for version 1.1."""
    config = recipes.question_answering()
    config.data = "squad:"
    return config
