"""Measures a generator against real pictures: distances, scores, precision, recall.

    tfdl evaluate --model_dir=biggan-128 --data=folder:/data/imagenet \\
        --config.evaluation.extractor=inception:inception-2015-12-05.pb
"""

from ml_collections import ConfigDict

from tfdl.models.biggan import recipes


def get_config() -> ConfigDict:
    """Returns the defaults of measuring."""
    config = recipes.common("tiny")
    config.description = "metrics of generated pictures"
    config.data = ""
    config.evaluation.samples = 10_000
    return config
