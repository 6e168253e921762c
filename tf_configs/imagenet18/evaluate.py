r"""Measures a model directory on labelled pictures: top-1, top-5 and loss.

    tfdl evaluate --model_dir=resnet50 --data=folder:/data/imagenet
    tfdl evaluate --model_dir=resnet50 --data=folder:/data/imagenet \
        --config.evaluation.size=288 --config.evaluation.rectangular=always

Size and resize are the model's unless evaluation.size says otherwise;
evaluation.flip=true adds the logits of the mirrored picture.
"""

from ml_collections import ConfigDict

from tfdl.models.imagenet18 import recipes


def get_config() -> ConfigDict:
    """Returns the fields."""
    return recipes.common("classify")
