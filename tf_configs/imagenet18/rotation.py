r"""Learning without labels: rotations, then a linear classifier on what was learned.

RotNet (Gidaris et al. 2018, arXiv 1803.07728). By default on scikit-learn's digits, in
about a minute; the labels are used by the second stage only.

    tfdl train --model=imagenet18 --recipe=rotation
    tfdl train --model=imagenet18 --recipe=rotation \
        --config.stages.rotation.data=folder:/data/imagenet

The same classifier on a random network, to compare with:

    tfdl train --model=imagenet18 --recipe=probe
"""

from ml_collections import ConfigDict

from tfdl.models.imagenet18 import recipes


def get_config() -> ConfigDict:
    """Returns two stages: rotation, then linear_probe."""
    config = recipes.common("rotation")
    config.description = "rotations of pictures, then a linear probe"
    rotation = recipes.digits("rotation")
    rotation.name = "rotation"
    rotation.schedule = recipes.phases(
        {"ep": 0, "sz": 32, "bs": 32, "min_scale": 0.5},
        {"ep": (0, 2), "lr": (0.02, 0.1)},
        {"ep": (2, 12), "lr": (0.1, 0.001), "curve": "cosine"},
    )
    probe = recipes.probe()
    probe.name = "linear_probe"
    config.log_every = config.steps_per_loop = 50
    config.stages = (rotation, probe)
    return config
