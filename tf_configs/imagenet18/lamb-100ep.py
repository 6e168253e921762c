r"""A hundred epochs with LAMB and a yes or no per class, at 160 pixels.

Recipe A3 of "ResNet strikes back" (Wightman, Touvron, Jegou 2021, table 2) without its
RandAugment: mixup 0.1, CutMix 1.0, binary cross entropy, tested at 224.

    tfdl train --model=imagenet18 --recipe=lamb-100ep \
        --config.data=folder:/data/imagenet --precision=bfloat16
"""

from ml_collections import ConfigDict

from tfdl.models.imagenet18 import recipes


def get_config() -> ConfigDict:
    """Returns the recipe: a batch of 2048 over 8 devices."""
    config = recipes.common("classify")
    config.description = "LAMB and binary cross entropy"
    config.network = ConfigDict({"preset": "resnet50", "zero_gamma": True})
    config.optimizer = ConfigDict(
        {
            "name": "lamb",
            "epsilon": 1e-6,
            "weight_decay": 0.02,
            "exclude_from_weight_decay": (r"\.bias$",),
        }
    )
    config.loss, config.binary_threshold = "binary", 0.2
    config.mixup, config.cutmix = 0.1, 1.0
    config.schedule = recipes.phases(
        {"ep": 0, "sz": 160, "bs": 256},
        {"ep": (0, 5), "lr": (1e-4, 8e-3)},
        {"ep": (5, 100), "lr": (8e-3, 1e-6), "curve": "cosine"},
    )
    config.evaluation.size, config.evaluation.resize_ratio = 224, 1 / 0.95
    return config
