r"""Turn text into BERT's pretraining records (create_pretraining_data.py).

A sentence per line, blank lines between documents:

    tfdl prepare --model=bert --input='corpus/*.txt' --output=records/128 \
        --config.vocab=vocab.txt --config.shards=16

Each shard is made by one process, which holds one shard's text; one large file is cut
at blank lines. Corpora that outgrow a machine: --config.runner=beam, with Beam's own
flags in --config.beam_options (pip install 'tfdl[beam]'), on folders that all machines
share.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the original's flags and their defaults."""
    config = ConfigDict()
    config.model = "bert"
    config.task = "records"
    config.vocab = ""  # vocab.txt
    config.train_vocab = 0  # or learn one of this size, kept as OUTPUT/vocab.txt
    config.do_lower_case = True
    config.max_seq_length = 128
    config.max_predictions_per_seq = 20
    config.random_seed = 12345
    config.dupe_factor = 10
    config.masked_lm_prob = 0.15
    config.short_seq_prob = 0.1
    config.do_whole_word_mask = False
    config.shards = 1  # output files; documents are never divided
    config.runner = "local"  # or beam, on the machines that beam_options name
    config.workers = 0  # processes of the local runner; 0 is one per core
    config.beam_options = ""  # Beam's own flags, in one string
    return config
