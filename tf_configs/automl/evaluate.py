r"""Measures an image network on labelled pictures: error, top-1, top-5, loss.

    tfdl evaluate --model_dir=nasnet-mobile --data=folder:/data/imagenet

Every picture is resized and its centre taken, as the model directory says.
"""

from ml_collections import ConfigDict

from tfdl.models.automl import image_recipes


def get_config() -> ConfigDict:
    """Returns the fields."""
    return image_recipes.final()
