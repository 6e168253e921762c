"""BigGAN-PyTorch's script for ImageNet at 128 pixels (launch_BigGAN_bs256x8.sh).

    tfdl train --model=biggan --recipe=imagenet128-port \\
        --config.data=folder:/data/imagenet

256 pictures at a time, eight times over: for eight GPUs where the paper has a pod. The
author's log of this run reads, by PyTorch's Inception, FID 173.8, 83.6, 61.3, 35.5,
20.5, 11.7 after 2, 10, 20, 30, 50 and 100 thousand iterations, and 9.77 at best.
"""

from ml_collections import ConfigDict

from tfdl.models.biggan import recipes


def get_config() -> ConfigDict:
    """Returns the script's values."""
    config = recipes.port("biggan-128")
    config.description = "ImageNet at 128 pixels as in BigGAN-PyTorch"
    return config
