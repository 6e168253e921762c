r"""NASNet-A on ImageNet: mobile (4 @ 1056, 5.3M weights) or large (6 @ 4032, 88.9M).

    tfdl train --model=automl --recipe=nasnet_imagenet
    tfdl train --model=automl --recipe=nasnet_imagenet \
        --config.network.preset=nasnet_large --config.size=331 \
        --config.weight_decay=5e-5 --config.schedule.rate=1.5

Paper: top-1 74.0% and 82.7%. Batches of 1,600, as 50 machines had (100 with 16 each for
the large one); on fewer devices --config.gradient_accumulation=N takes a batch in N
parts, or --config.batch_size and --config.schedule.rate are divided alike. TF-slim's
distortion of colours is not there. The notes give no number of epochs.
"""

from ml_collections import ConfigDict

from tfdl.models.automl import image_recipes


def get_config() -> ConfigDict:
    """Returns RMSprop with epsilon 1, rates that fall by 3% each 2.4 epochs, EMA."""
    config = image_recipes.imagenet(
        network={"preset": "nasnet_mobile"},
        size=224,
        epochs=312,
        batch_size=1600,
        schedule=image_recipes.falling(2.0),
        weight_decay=4e-5,
    )
    config.description = "NASNet-A on ImageNet"
    return config
