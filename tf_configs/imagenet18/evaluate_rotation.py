"""Measures how well a model tells the four rotations of pictures apart.

tfdl evaluate --model_dir=rotnet --data=folder:/data/imagenet
"""

from ml_collections import ConfigDict

from tfdl.models.imagenet18 import recipes


def get_config() -> ConfigDict:
    """Returns the fields."""
    return recipes.common("rotation")
