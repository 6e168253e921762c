"""BERT in miniature on embedded text, in about a minute on two cores.

Pretrains a small BERT (masked LM and next sentence) on CPython's documentation, then
fine-tunes it to tell what a passage is about.

    tfdl train --model=bert
"""

from ml_collections import ConfigDict

from tfdl.models.bert import recipes


def get_config() -> ConfigDict:
    """Returns two stages: pretrain, then classify."""
    config = recipes.common("pretrain")
    config.description = "pretraining and fine-tuning on CPython's documentation"
    config.log_every = config.checkpoint_every = 100

    pretrain = recipes.pretraining()
    pretrain.name = "pretrain"
    pretrain.data = "embedded:topics"
    pretrain.train_vocab = 1000
    pretrain.dupe_factor = 20
    pretrain.eval_examples = 200
    pretrain.encoder = recipes.encoder("tiny")
    pretrain.encoder.max_position_embeddings = 128
    # So little text is learned fastest from many short sequences.
    pretrain.encoder.initializer_range = 0.05
    pretrain.encoder.hidden_dropout_prob = 0.0
    pretrain.encoder.attention_probs_dropout_prob = 0.0
    pretrain.optimizer = recipes.optimizer(1e-3)
    pretrain.phases = (
        recipes.phase("16 tokens", 16, 3, steps=2000, batch_size=64),
        recipes.phase("64 tokens", 64, 10, steps=200, batch_size=32),
    )

    classify = recipes.classification()
    classify.name = "classify"
    classify.data = "embedded:topics"
    classify.max_seq_length = 96
    classify.batch_size = 32
    classify.epochs = 6.0
    classify.encoder.hidden_dropout_prob = 0.1
    classify.encoder.attention_probs_dropout_prob = 0.1
    classify.optimizer = recipes.optimizer(3e-4)

    config.stages = (pretrain, classify)
    return config
