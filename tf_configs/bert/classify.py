r"""Fine-tune BERT on a table of your own: classes, several labels, or a number.

    tfdl train --model=bert --recipe=classify --init_from=bert-base \
        --config.data=table:train.tsv,dev.tsv

The table is a .tsv or .csv with a header, or a .jsonl; columns are found by their usual
names (text, text_a, sentence1 ...; text_b ...; label) or named by --config.text_a,
--config.text_b and --config.label. --config.kind is classification, multilabel (labels
separated by |) or regression.
"""

from ml_collections import ConfigDict

from tfdl.models.bert import recipes


def get_config() -> ConfigDict:
    """Returns the fields, with the embedded passages as data."""
    config = recipes.classification()
    config.data = "embedded:topics"
    return config
