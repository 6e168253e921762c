"""Measures a model directory: `tfdl evaluate --model_dir=DIR [--data=...]`."""

from ml_collections import ConfigDict

from tfdl.models.stylegan import recipes


def get_config() -> ConfigDict:
    """Returns the metrics and their sizes."""
    config = recipes.base(32)
    config.description = "metrics of a StyleGAN"
    return config
