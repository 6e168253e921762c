r"""Pretrain BERT-Base as the paper did (section 3.1, appendix A.2).

    tfdl prepare --model=bert --input='corpus/*.txt' --output=records/128 \
        --config.vocab=vocab.txt --config.max_seq_length=128
    tfdl train --model=bert --recipe=pretrain --config.vocab=vocab.txt \
        --config.data='tfrecord:records/128/*'

A million steps of 256 sequences: 90% at 128 tokens, 10% at 512, learning rate 1e-4 with
10,000 steps of warm-up. The phases' own data are set by --config.phases.128.data=GLOB
and --config.phases.512.data=GLOB.
"""

from ml_collections import ConfigDict

from tfdl.models.bert import recipes


def get_config() -> ConfigDict:
    """Returns the paper's recipe for BERT-Base."""
    config = recipes.pretraining()
    config.data = "tfrecord:"
    config.optimizer = recipes.optimizer(1e-4, warmup_steps=10_000)
    config.phases = (
        recipes.phase("128", 128, 20, steps=900_000, batch_size=256),
        recipes.phase("512", 512, 77, steps=100_000, batch_size=256),
    )
    config.checkpoint_every = 5000
    config.steps_per_loop = 100
    config.log_every = 100
    return config
