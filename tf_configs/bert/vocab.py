r"""Learn a WordPiece vocabulary from text, a sentence per line.

    tfdl prepare --model=bert --recipe=vocab --input='corpus/*.txt' --output=vocab \
        --config.size=30000

Writes vocab/vocab.txt, special tokens first.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the fields."""
    config = ConfigDict()
    config.model = "bert"
    config.task = "vocab"
    config.size = 30_000  # tokens at most; a small corpus may give fewer
    config.do_lower_case = True
    config.unused = 0  # entries to reserve: [unused0], [unused1] ...
    return config
