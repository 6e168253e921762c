r"""Six hundred epochs: torchvision's recipe for its second weights.

Trained at 176, tested at 224: label smoothing, mixup 0.2 or CutMix 1.0, averaged
weights, no decay of normalisation; without its TrivialAugment and random erasing.

    tfdl train --model=imagenet18 --recipe=long-600ep \
        --config.data=folder:/data/imagenet
"""

from ml_collections import ConfigDict

from tfdl.models.imagenet18 import recipes


def get_config() -> ConfigDict:
    """Returns the recipe: a batch of 1024 over 8 devices."""
    config = recipes.common("classify")
    config.description = "torchvision's 600 epochs"
    config.network = ConfigDict({"preset": "resnet50", "zero_gamma": False})
    config.optimizer.weight_decay = 2e-5
    config.label_smoothing = 0.1
    config.mixup, config.cutmix = 0.2, 1.0
    config.ema_decay = 0.99998
    config.schedule = recipes.phases(
        {"ep": 0, "sz": 176, "bs": 128},
        {"ep": (0, 5), "lr": (0.005, 0.5)},
        {"ep": (5, 600), "lr": (0.5, 0.0), "curve": "cosine"},
    )
    config.evaluation.size, config.evaluation.resize_ratio = 224, 232 / 224
    return config
