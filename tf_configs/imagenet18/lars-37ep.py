r"""Large batches with LARS, as MLPerf's entries train (You et al. 2017).

Eight devices of 408 images, rate 10.5 after two epochs, then (1 - t)^2 down to 0;
normalisation and biases are neither decayed nor adapted.

    tfdl train --model=imagenet18 --recipe=lars-37ep \
        --config.data=folder:/data/imagenet --precision=bfloat16
"""

from ml_collections import ConfigDict

from tfdl.models.imagenet18 import recipes


def get_config() -> ConfigDict:
    """Returns the recipe for 8 devices."""
    config = recipes.common("classify")
    config.description = "LARS, a batch of 3264"
    config.optimizer = ConfigDict(
        {
            "name": "lars",
            "momentum": 0.9,
            "eta": 1e-3,
            "weight_decay": 5e-5,
            "exclude_from_weight_decay": (r"\.bias$",),
        }
    )
    config.label_smoothing = 0.1
    config.schedule = recipes.phases(
        {"ep": 0, "sz": 224, "bs": 408},
        {"ep": (0, 2), "lr": (0.0, 10.5)},
        {"ep": (2, 37), "lr": (10.5, 0.0), "curve": "poly2"},
    )
    config.target.metric, config.target.value = "top1", 75.9
    config.evaluation.resize_ratio, config.evaluation.every = 256 / 224, 4
    return config
