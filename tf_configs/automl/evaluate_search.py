r"""Reads what a search's trials came to: the best, the last fifth's mean, how many.

Nothing is trained again.

    tfdl evaluate --model_dir=runs/automl-default/search/model
"""

from ml_collections import ConfigDict

from tfdl.models.automl.search import recipe


def get_config() -> ConfigDict:
    """Returns the fields."""
    config = recipe.stage()
    config.model = "automl"
    return config
