"""The curve of quality against truncation, with the paper's operating points.

    tfdl evaluate --model_dir=biggan-128 --recipe=truncation \\
        --data=folder:/data/imagenet --config.evaluation.samples=50000
"""

from ml_collections import ConfigDict

from tfdl.models.biggan import recipes


def get_config() -> ConfigDict:
    """Returns a grid of truncations, 0.05 to 1."""
    config = recipes.common("tiny")
    config.task = "truncation"
    config.description = "metrics against truncation"
    config.data = ""
    config.evaluation.samples = 10_000
    return config
