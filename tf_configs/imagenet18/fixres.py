r"""FixRes: the classifier and the last normalisation tuned for larger test pictures.

A network trained on random crops sees larger objects than at test time (Touvron et al.
2019). A few epochs on centre-like crops at the test size, everything else frozen, mend
that.

    tfdl train --model=imagenet18 --recipe=fixres --init_from=resnet50-at-128 \
        --config.data=folder:/data/imagenet
"""

from ml_collections import ConfigDict

from tfdl.models.imagenet18 import recipes


def get_config() -> ConfigDict:
    """Returns the recipe: 224 pixels, crops of at least 87% of the picture."""
    config = recipes.common("classify")
    config.description = "classifier and last normalisation at the test size"
    config.train_only = (r"^fc\.", r"^layer4\.\d+\.bn[23]\.")
    config.schedule = recipes.phases(
        {"ep": 0, "sz": 224, "bs": 64, "min_scale": 0.87},
        {"ep": (0, 10), "lr": (0.01, 0.0), "curve": "cosine"},
    )
    config.evaluation.resize_ratio = 256 / 224
    return config
