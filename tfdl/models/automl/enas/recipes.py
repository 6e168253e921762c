"""The fields of searches with shared weights, for recipes."""

from typing import Any

from ml_collections import ConfigDict

from tfdl.engine import config as config_lib


def search(task: str, **fields: Any) -> ConfigDict:
    """Returns the configuration of a search, to be trained alone or as a stage.

    Args:
        task: `"enas_micro"`, `"enas_macro"` or `"enas_rnn"`.
        **fields: what differs from the defaults below.
    """
    config = config_lib.base_config()
    config.task = task
    config.space = ConfigDict({"name": task})
    config.network = ConfigDict()  # of the shared network, see enas/shared_*.py
    config.controller = ConfigDict()  # of the controller, see enas/controllers.py
    config.epochs = 150
    # Updates of the controller in every epoch, each by so many architectures.
    config.controller_steps, config.aggregate = 30, 10
    config.entropy_weight = 1e-4
    config.baseline_decay = 0.99
    config.controller_rate = 0.0035
    config.optimizer = sgd(1e-4)
    config.controller_optimizer = ConfigDict(
        {"name": "adam", "beta_1": 0.0, "epsilon": 1e-3, "epsilon_hat": True}
    )
    config.schedule = restarts(0.05, 0.0005)  # by epochs
    config.samples = 100  # architectures drawn in the end
    config.rescore = 10  # of which so many are measured on all validation data
    for name, value in fields.items():
        config[name] = ConfigDict(value) if isinstance(value, dict) else value
    return config


def images(task: str, data: str, size: int, valid: int, **fields: Any) -> ConfigDict:
    """Returns the configuration of a search for image networks.

    Args:
        task: `"enas_micro"` or `"enas_macro"`.
        data: images, see `tfdl/data/image_sources.py`.
        size: height and width.
        valid: how many of the training images judge.
        **fields: what else differs from the defaults.
    """
    config = search(task)
    config.data, config.size, config.valid = data, size, valid
    config.train = 0  # images to learn from; 0: all others
    config.split_seed = 0
    config.batch_size = 160
    config.augment = "pad"
    # The original gives the auxiliary head's weights to no optimizer.
    config.train_aux_head = True
    for name, value in fields.items():
        config[name] = ConfigDict(value) if isinstance(value, dict) else value
    return config


def text(data: str, **fields: Any) -> ConfigDict:
    """Returns the configuration of a search for a recurrent cell (enas_lm).

    Args:
        data: text, see `tfdl/data/text_corpora.py`.
        **fields: what differs from the defaults.
    """
    config = search("enas_rnn")
    config.data, config.rules = data, "words"
    config.max_vocab, config.min_count = 0, 1
    config.held_out = 0.1  # of the documents, for each split that the data lacks
    config.batch_size, config.bptt = 128, 35
    config.windows = "enas-lm"  # see tfdl/data/bptt.py
    config.rescale_rate = True  # rates in proportion to a window's drawn length
    config.alpha, config.beta = 0.0, 1.0  # see `EnasTextTask.child_loss`
    config.weight_decay = 8e-7
    config.network = ConfigDict(
        {
            "hidden_size": 200,
            "dropouts": {
                "word": 0.1,
                "embedding": 0.2,
                "input": 0.75,
                "node": 0.25,
                "output": 0.75,
            },
        }
    )
    config.epochs = 600
    config.controller_steps = 25
    config.controller_rate = 5e-5
    config.controller_optimizer = ConfigDict({"name": "adam"})
    config.entropy_weight, config.baseline_decay = 1e-5, 0.999
    config.optimizer = ConfigDict({"name": "sgd", "global_clip_norm": 0.1})
    config.schedule = ConfigDict({"name": "constant", "rate": 20.0})
    for name, value in fields.items():
        config[name] = ConfigDict(value) if isinstance(value, dict) else value
    return config


def sgd(l2: float, **fields: Any) -> ConfigDict:
    """Returns Nesterov's momentum; `l2` times the sum of squares is in the loss."""
    return ConfigDict(
        {
            "name": "sgd",
            "momentum": 0.9,
            "nesterov": True,
            "weight_decay": 2.0 * l2,
            **fields,
        }
    )


def restarts(rate: float, end: float) -> ConfigDict:
    """Returns cosines over 10, 20, 40, ... epochs."""
    return ConfigDict(
        {"name": "cosine_restarts", "rate": rate, "end": end, "first": 10, "factor": 2}
    )
