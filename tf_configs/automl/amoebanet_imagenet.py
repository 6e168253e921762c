r"""AmoebaNet-A to -D on ImageNet, by the flags of the authors' TPU code.

    tfdl train --model=automl --recipe=amoebanet_imagenet
    tfdl train --model=automl --recipe=amoebanet_imagenet \
        --config.network.preset=amoebanet_d
"""

from ml_collections import ConfigDict

from tfdl.models.automl import image_recipes


def get_config() -> ConfigDict:
    """Returns RMSprop with epsilon 1, three epochs of warm-up, a least rate."""
    config = image_recipes.imagenet(
        network={"preset": "amoebanet_a"},
        size=224,
        epochs=100,
        batch_size=32,
        schedule={**image_recipes.falling(0.015), "end": 0.015e-4},
        warmup_epochs=3.0,
        weight_decay=4e-5,
    )
    config.description = "AmoebaNet on ImageNet"
    return config
