"""Tell what is wrong or doubtful about a vocabulary file.

    tfdl prepare --model=bert --recipe=check_vocab --input=vocab.txt

--config.rows also checks it against the rows of a word embedding.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the fields."""
    config = ConfigDict()
    config.model = "bert"
    config.task = "check_vocab"
    config.writes = False  # no --output
    config.rows = 0  # of the word embedding it goes with; 0: not known
    return config
