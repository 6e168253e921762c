"""The fields of training an image network in full, for recipes."""

from typing import Any

from ml_collections import ConfigDict

from tfdl.engine import config as config_lib

# Of ENAS's final trainings (melodyguan/enas): 2e-4 times the squares of all weights,
# zeros around normalised pictures, squares of cutout that begin inside.
ENAS = {
    "optimizer": {"name": "sgd", "momentum": 0.9, "nesterov": True},
    "weight_decay": 4e-4,
    "decayed": "all",
    "padding_value": "mean",
    "cutout_place": "corner",
}


def final(**fields: Any) -> ConfigDict:
    """Returns the configuration of a training, alone or as a stage behind a search.

    The defaults are those of NASNet on CIFAR-10 (TF-slim's notes).

    Args:
        **fields: what differs; a dict changes a group's fields, except `network`,
            `optimizer` and `schedule`, which are taken whole.
    """
    config = config_lib.base_config()
    config.model, config.task = "automl", "image"
    config.data = "cifar10:/data/cifar10"
    config.validation_data = ""  # where `data` names one split only (tfrecord:)
    config.on_bad = "stop"  # stop | skip: unreadable training images
    # weights: init_from is a network, whose weights are the first; architecture: it is
    # a search's result or a network, whose cells are trained from new weights.
    config.start = "weights"
    config.network = ConfigDict({"preset": "nasnet_a_cifar"})
    config.size = 32  # height and width of what the network sees
    # square: the pictures' squares at `load_size`, padded, of which a random part is
    # cropped; area: a random part of the picture's area, resized.
    config.crop = "square"
    config.load_size = 0  # 0: size
    config.padding = 4  # pixels on each side
    config.padding_value = "black"  # black | mean: zeros before or after normalising
    config.min_area = 0.08
    config.flip = True
    config.cutout = 16  # side of the square; 0: none
    config.cutout_place = "centre"  # centre: anywhere; corner: its top left is inside
    config.preprocessing = ConfigDict()  # empty: the training images' mean and std
    config.resize_ratio = 1.0  # short side / size when measured
    config.epochs = 600.0
    config.batch_size = 32
    config.optimizer = ConfigDict(
        {"name": "sgd", "momentum": 0.9, "global_clip_norm": 5.0}
    )
    # Steps, or epochs where the field's name ends so: every_epochs.
    config.schedule = ConfigDict({"name": "cosine", "rate": 0.025})
    config.warmup_epochs = 0.0
    # The loss has weight_decay / 2 * |w|^2 of kernels, or of all trained weights.
    config.weight_decay = 5e-4
    config.decayed = "kernels"
    config.label_smoothing = 0.0
    config.aux_weight = 0.4
    config.train_aux_head = True  # melodyguan/enas leaves it as it starts
    config.progress_offset = 0  # of ScheduledDropPath: (step + offset) / steps
    config.evaluation = ConfigDict({"batch_size": 200, "every": 0})  # epochs; 0: end
    config.log_every = config.steps_per_loop = 50
    config.checkpoint_every = 1000
    for name, value in fields.items():
        if name == "evaluation":
            config[name].update(ConfigDict(value))
        else:
            config[name] = ConfigDict(value) if isinstance(value, dict) else value
    return config


def amoebanet_cifar(**fields: Any) -> ConfigDict:
    """Returns the training of AmoebaNet-A on CIFAR-10 (Real et al. 2019)."""
    given = {
        "network": {"preset": "amoebanet_a_cifar"},
        "batch_size": 128,
        "schedule": {"name": "cosine", "rate": 0.024},
        "optimizer": {"name": "sgd", "momentum": 0.9},
        "aux_weight": 0.5,
    }
    return final(**{**given, **fields})


def imagenet(**fields: Any) -> ConfigDict:
    """Returns what trainings on ImageNet have in common (TF-slim, TPU code)."""
    given = {
        "data": "folder:/data/imagenet",
        "crop": "area",
        "cutout": 0,
        "preprocessing": {"mode": "tf"},
        "resize_ratio": 1 / 0.875,
        "optimizer": {
            "name": "rmsprop",
            "rho": 0.9,
            "momentum": 0.9,
            "epsilon": 1.0,
            "global_clip_norm": 10.0,
        },
        "label_smoothing": 0.1,
        "ema_decay": 0.9999,
    }
    return final(**{**given, **fields})


def falling(rate: float) -> dict[str, Any]:
    """Returns a rate that falls by 3% every 2.4 epochs."""
    return {
        "name": "exponential",
        "rate": rate,
        "factor": 0.97,
        "every_epochs": 2.4,
    }
