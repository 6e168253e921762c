"""The fields of a language model's training in recipes, with their defaults."""

from typing import Any

from ml_collections import ConfigDict

from tfdl.engine import config as config_lib
from tfdl.engine.ema import NEVER
from tfdl.models.automl.recurrent.config import DROPOUTS

# google-research's enas_lm, its fixed architectures.
ENAS_DROPOUTS = {"word": 0.125, "embedding": 0.175, "input": 0.725, "node": 0.225, "weight": 0.0, "output": 0.75}  # fmt: skip  # noqa: E501


def stage(**fields: Any) -> ConfigDict:
    """Returns the configuration of a training, alone or as the stage of a run.

    Args:
        **fields: what differs from the defaults below; a dict changes a group's
            fields, except `optimizer` and `schedule`, which are taken whole.
    """
    config = config_lib.base_config()
    config.model, config.task = "automl", "language"
    config.data = "embedded:topics"  # see tfdl/data/text_corpora.py
    config.rules = "fastai2"  # words: the text is tokenized already
    config.max_vocab = 0  # 0: the rules' own
    config.min_count = 2
    config.held_out = 0.1  # of the documents, for each split that the data lacks
    # random: `network.genotype`; architecture: that of the search that init_from, or
    # the stage before, made; model: goes on with the language model there
    config.start = "random"
    config.network = ConfigDict(
        {
            # a published cell's name (nas_cell, enas_lm, enas_lm_old, darts_rnn_v2
            # ...) or its numbers: "tree: 0 1 ...", "enas_lm: 0 2 ..."
            "genotype": "nas_cell",
            "embedding_size": 200,
            "hidden_size": 200,
            "num_layers": 1,
            "projection_size": 0,
            "cell_bias": False,
            "tied": True,
            "softmax_bias": False,
            "init_range": 0.0,
        }
    )
    config.dropouts = ConfigDict(dict.fromkeys(DROPOUTS, 0.0))
    config.alpha = 0.0  # of the mean square of the last cell's outputs
    config.beta = 0.0  # of the mean square of their differences in time
    config.weight_decay = 0.0  # of the sum of squares of all weights, in the loss
    config.batch_size = 20
    config.bptt = 35
    config.windows = "fastai2"  # see tfdl/data/bptt.py
    config.window_multiple = 0  # lengths are multiples of it: few are compiled
    config.rescale_rate = False  # rates in proportion to the window's drawn length
    config.epochs = 10
    config.learning_rate = 1.0
    config.schedule = ConfigDict({"name": "constant"})
    config.optimizer = ConfigDict({"name": "sgd", "global_clip_norm": 5.0})
    # Averages the weights from when the loss on the validation text is above the least
    # of all but the last so many evaluations; 0 never does.
    config.average_after = 0
    config.keep_best = True  # the model of the best evaluation, not the last
    config.patience = 0  # evaluations without a better one before it stops
    config.eval_batch_size = 16  # rows of the validation text
    # Rows of the text that `tfdl evaluate` and the end of a run measure; with 1 the
    # state is carried over all of it, and the perplexity is exact.
    config.test_batch_size = 1
    config.sample_tokens = 40  # of the text that is generated to be looked at
    config.checkpoint_every = 1000
    for name, value in fields.items():
        if name in ("network", "dropouts"):
            config[name].update(ConfigDict(value))
        elif name in ("optimizer", "schedule"):
            config[name] = ConfigDict(value)
        else:
            config[name] = value
    if config.average_after:
        # The decay is the mean's own; the number only asks for averages.
        config.ema_decay, config.ema_start = 0.5, NEVER
    return config
