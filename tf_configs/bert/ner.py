r"""Fine-tune BERT on CoNLL-2003 entities (paper section 5.3).

    tfdl train --model=bert --recipe=ner --init_from=bert-base-cased \
        --config.data=conll:eng.train,eng.testa

The feature-based tagger of table 7, a BiLSTM on the frozen encoder:

    ... --config.feature_layers=concat_last_four --config.optimizer.learning_rate=1e-3
"""

from ml_collections import ConfigDict

from tfdl.models.bert import recipes


def get_config() -> ConfigDict:
    """Returns the paper's settings."""
    config = recipes.tagging()
    config.data = "conll:"
    return config
