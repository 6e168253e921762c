"""What the recipes share: fields, the original's schedules, FFCV's."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from tfdl.engine import config as config_lib
from tfdl.engine import errors

# Devices of one of the original's machines (p3.16xlarge).
GPUS = 8
IMAGENET = 1_281_167


def common(task: str) -> ConfigDict:
    """Returns the fields of every recipe, with the original's values."""
    config = config_lib.base_config()
    config.model, config.task = "imagenet18", task
    config.data = "folder:/data/imagenet"
    config.validation_data = ""  # where `data` names one split only (tfrecord:)
    config.resized_copies = True  # use the folders that phases name (trndir)
    config.network = ConfigDict({"preset": "resnet50"})
    config.classes = 0  # 0: those of the data
    config.optimizer = ConfigDict(
        {"name": "sgd", "momentum": 0.9, "weight_decay": 1e-4}
    )
    config.train_only = ()  # regexes of weights; empty: all
    config.decay_batch_norm = False  # whether the decay applies to gamma and beta
    # The schedule, and the devices that its batch sizes are for.
    config.schedule = ()
    config.rate_at = "step_end"  # step_end | step_start
    config.world = GPUS
    config.examples = 0  # training images; 0 counts them
    # keep: the global batch, by accumulation where there are fewer devices;
    # scale: the batch per device, rates in proportion to the devices.
    config.batch_policy = "keep"
    config.max_device_batch = 0  # images at a time on one device; 0: the schedule's
    config.short_last_batch = True  # else the epoch's first images fill it
    # Crops.
    config.flip = True
    config.crop_ratio = (3 / 4, 4 / 3)
    config.crop_fallback = "ratio"  # ratio | square: torchvision's, now and in 2018
    config.on_bad = "stop"  # stop | skip: unreadable training images
    # Targets.
    config.loss = "softmax"  # softmax | binary
    config.label_smoothing = 0.0
    config.binary_threshold = 0.0  # soft targets above it count as 1; 0: as they are
    config.mixup = 0.0  # alpha of Beta(alpha, alpha); 0: off
    config.cutmix = 0.0
    config.evaluation = evaluation()
    config.target = ConfigDict({"metric": "top5", "value": 93.0, "stop": False})
    config.dawnbench = dawnbench()
    config.steps_per_loop = config.log_every = 50
    config.checkpoint_every = 1000
    return config


def evaluation() -> ConfigDict:
    """Returns how pictures are measured: the original's way."""
    return ConfigDict(
        {
            "size": 0,  # 0: that of the phase
            "resize_ratio": 1.14,  # short side / size
            "rectangular": "phase",  # phase | always | never
            "batch_size": 0,  # 0: that of the phase
            "flip": False,  # add the logits of the mirrored image
            "every": 1,  # epochs
        }
    )


def dawnbench() -> ConfigDict:
    """Returns what a DAWNBench entry says of its author and machines."""
    return ConfigDict(
        {
            "author": "",
            "author_email": "",
            "code_url": "",
            "hardware": "",
            "cost_per_hour": 0.0,  # USD for all machines, on demand
            "price_per_hour": 0.0,  # USD, what you pay (spot, say)
            "count_validation": True,  # the rules allow to leave its time out
        }
    )


def phases(*items: Mapping[str, Any]) -> tuple[ConfigDict, ...]:
    """Returns a schedule as a recipe's field."""
    return tuple(ConfigDict(dict(item)) for item in items)


def original(machines: int) -> tuple[ConfigDict, ...]:
    """Returns the original's schedule for 1, 4, 8 or 16 machines of 8 GPUs.

    diux-dev/imagenet18, train.py; 2 machines are from its successor,
    cybertronai/imagenet18. Rates are written as there: in terms of `lr`.
    """
    if machines not in SCHEDULES:
        raise errors.unknown("number of machines", machines, SCHEDULES)
    return phases(*SCHEDULES[machines]())


def _one() -> Sequence[Mapping[str, Any]]:
    lr = 1.0
    scale_224, scale_288 = 224 / 512, 128 / 512
    return (
        {"ep": 0, "sz": 128, "bs": 512, "trndir": "-sz/160"},
        {"ep": (0, 7), "lr": (lr, lr * 2)},
        {"ep": (7, 13), "lr": (lr * 2, lr / 4)},
        {"ep": 13, "sz": 224, "bs": 224, "trndir": "-sz/352", "min_scale": 0.087},
        {"ep": (13, 22), "lr": (lr * scale_224, lr / 10 * scale_224)},
        {"ep": (22, 25), "lr": (lr / 10 * scale_224, lr / 100 * scale_224)},
        {"ep": 25, "sz": 288, "bs": 128, "min_scale": 0.5, "rect_val": True},
        {"ep": (25, 28), "lr": (lr / 100 * scale_288, lr / 1000 * scale_288)},
    )


def _two() -> Sequence[Mapping[str, Any]]:
    return _two_or_four(1.5, 23)


def _four() -> Sequence[Mapping[str, Any]]:
    return _two_or_four(2.0, 24)


def _two_or_four(lr: float, knee: int) -> Sequence[Mapping[str, Any]]:
    top, scale_224, scale_288 = lr * 2, 224 / 256, 128 / 256
    return (
        {"ep": 0, "sz": 128, "bs": 256, "trndir": "-sz/160"},
        {"ep": (0, 6), "lr": (lr, top)},
        {"ep": 6, "sz": 128, "bs": 512, "keep_dl": True},
        {"ep": 6, "lr": top},
        {"ep": (11, 13), "lr": (top, lr)},
        {"ep": 13, "sz": 224, "bs": 224, "trndir": "-sz/352", "min_scale": 0.087},
        {"ep": 13, "lr": lr * scale_224},
        {"ep": (16, knee), "lr": (lr * scale_224, lr / 10 * scale_224)},
        {"ep": (knee, 28), "lr": (lr / 10 * scale_224, lr / 100 * scale_224)},
        {"ep": 28, "sz": 288, "bs": 128, "min_scale": 0.5, "rect_val": True},
        {"ep": (28, 30), "lr": (lr / 100 * scale_288, lr / 1000 * scale_288)},
    )


def _eight() -> Sequence[Mapping[str, Any]]:
    lr = 0.24 * 8
    scale_224, scale_288 = 224 / 128, 128 / 128
    return (
        {"ep": 0, "sz": 128, "bs": 128, "trndir": "-sz/160"},
        {"ep": (0, 6), "lr": (lr, lr * 2)},
        {"ep": 6, "bs": 256, "keep_dl": True, "lr": lr * 2},
        {"ep": (11, 14), "lr": (lr * 2, lr)},
        {
            "ep": 14,
            "sz": 224,
            "bs": 128,
            "trndir": "-sz/352",
            "min_scale": 0.087,
            "lr": lr,
        },
        {"ep": 17, "bs": 224, "keep_dl": True},
        {"ep": (17, 23), "lr": (lr, lr / 10 * scale_224)},
        {"ep": (23, 29), "lr": (lr / 10 * scale_224, lr / 100 * scale_224)},
        {"ep": 29, "sz": 288, "bs": 128, "min_scale": 0.5, "rect_val": True},
        {"ep": (29, 36), "lr": (lr / 100 * scale_288, lr / 1000 * scale_288)},
    )


def _sixteen() -> Sequence[Mapping[str, Any]]:
    lr = 0.235 * 8
    scale_224, scale_288 = 192 / 64, 128 / 64
    return (
        {"ep": 0, "sz": 128, "bs": 64, "trndir": "-sz/160"},
        {"ep": (0, 6), "lr": (lr, lr * 2)},
        {"ep": 6, "bs": 128, "keep_dl": True},
        {"ep": 6, "lr": lr * 2},
        {"ep": 16, "sz": 224, "bs": 64},
        {"ep": 16, "lr": lr},
        {"ep": 19, "bs": 192, "keep_dl": True},
        {"ep": 19, "lr": lr / 10 * scale_224},
        {"ep": 31, "lr": lr / 100 * scale_224},
        {"ep": 37, "sz": 288, "bs": 128, "min_scale": 0.5, "rect_val": True},
        {"ep": 37, "lr": lr / 100 * scale_288},
        # One rate, not a ramp, though it is written with an end.
        {"ep": (38, 50), "lr": lr / 1000 * scale_288},
    )


SCHEDULES = {1: _one, 2: _two, 4: _four, 8: _eight, 16: _sixteen}


def dawnbench_recipe(machines: int) -> ConfigDict:
    """Returns the original's recipe for so many machines."""
    config = common("classify")
    config.description = f"DAWNBench 2018, {machines} machine(s) of 8 GPUs"
    config.schedule = original(machines)
    config.world = GPUS * machines
    config.examples = IMAGENET
    config.crop_fallback = "square"
    config.dawnbench.hardware = f"{machines} x p3.16xlarge (AWS)"
    config.dawnbench.cost_per_hour = 24.48 * machines
    return config


def ffcv(
    epochs: int,
    ramp: tuple[int, int],
    batch_size: int,
    rate: float,
    sizes: tuple[int, int] = (160, 192),
    peak: int = 2,
) -> tuple[ConfigDict, ...]:
    """Returns FFCV's schedule (libffcv/ffcv-imagenet, train_imagenet.py).

    The rate rises from 1e-4 of `rate` to all of it at epoch `peak` and falls to 0;
    the size grows over the epochs `ramp` between `sizes`, in multiples of 32.
    """
    data, last = [], 0
    for epoch in range(epochs):
        size = int(np.round(np.interp([epoch], ramp, sizes) / 32).item()) * 32
        if size != last:
            data.append({"ep": epoch, "sz": size, "bs": batch_size, "min_scale": 0.08})
        last = size
    return phases(
        *data,
        {"ep": (0, peak), "lr": (1e-4 * rate, rate)},
        {"ep": (peak, epochs), "lr": (rate, 0.0)},
    )


def digits(task: str) -> ConfigDict:
    """Returns a task on scikit-learn's digits with a ResNet of three thin stages."""
    config = common(task)
    config.data = "embedded:digits"
    config.network = ConfigDict(
        {
            "block": "basic",
            "blocks": (1, 1, 1),
            "widths": (16, 32, 64),
            "expansion": 1,
            "stem_width": 16,
        }
    )
    config.world = 1
    config.flip = False
    config.target.metric, config.target.value = "top1", 95.0
    config.log_every = config.steps_per_loop = 20
    return config


def probe() -> ConfigDict:
    """Returns the linear probe of digits at 32 pixels."""
    config = digits("linear_probe")
    config.description = "a linear classifier on frozen features"
    config.schedule = phases(
        {"ep": 0, "sz": 32, "bs": 64, "min_scale": 0.6},
        {"ep": (0, 10), "lr": (0.5, 0.0), "curve": "cosine"},
    )
    return config
