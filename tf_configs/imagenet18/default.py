"""The whole method in miniature on scikit-learn's digits, in a minute or two.

Three sizes with their batches and rates, rectangular validation at the end, DAWNBench's
table and the time to 95% top-1. The digits keep their aspect ratios; they are not
mirrored, and crops keep most of them.

    tfdl train --model=imagenet18
"""

from ml_collections import ConfigDict

from tfdl.models.imagenet18 import recipes


def get_config() -> ConfigDict:
    """Returns a small ResNet and fourteen epochs."""
    config = recipes.digits("classify")
    config.description = "three image sizes on scikit-learn's digits"
    lr, small = 0.1, 0.4
    config.schedule = recipes.phases(
        {"ep": 0, "sz": 32, "bs": 64, "trndir": "-sz/32", "min_scale": small},
        {"ep": (0, 3), "lr": (lr, lr * 2)},
        {"ep": (3, 6), "lr": (lr * 2, lr / 4)},
        {"ep": 6, "sz": 48, "bs": 32, "trndir": "-sz/48", "min_scale": small},
        {"ep": (6, 10), "lr": (lr / 2, lr / 10)},
        {"ep": 10, "sz": 64, "bs": 16, "min_scale": 0.6, "rect_val": True},
        {"ep": (10, 14), "lr": (lr / 8, lr / 80)},
    )
    return config
