r"""A linear classifier on the frozen features of a network.

tfdl train --model=imagenet18 --recipe=probe                  # a random network's
tfdl train --model=imagenet18 --recipe=probe --init_from=MODEL_DIR
"""

from ml_collections import ConfigDict

from tfdl.models.imagenet18 import recipes


def get_config() -> ConfigDict:
    """Returns the probe on scikit-learn's digits."""
    return recipes.probe()
