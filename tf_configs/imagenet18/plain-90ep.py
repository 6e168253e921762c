r"""The plain ninety epochs: 0.1, divided by ten every thirty (He et al. 2015).

tfdl train --model=imagenet18 --recipe=plain-90ep --config.data=folder:/data/imagenet
"""

from ml_collections import ConfigDict

from tfdl.models.imagenet18 import recipes


def get_config() -> ConfigDict:
    """Returns the recipe: a batch of 256 over 8 devices, 224 pixels."""
    config = recipes.common("classify")
    config.description = "ninety epochs at 224"
    config.network = ConfigDict({"preset": "resnet50", "zero_gamma": False})
    config.schedule = recipes.phases(
        {"ep": 0, "sz": 224, "bs": 32},
        {"ep": 0, "lr": 0.1},
        {"ep": 30, "lr": 0.01},
        {"ep": (60, 90), "lr": 0.001},
    )
    config.evaluation.resize_ratio = 256 / 224
    return config
