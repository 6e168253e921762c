r"""FFHQ at 256x256, as the original trains it.

    tfdl prepare --model=stylegan --input=folder:/data/ffhq256 \
        --output=/data/ffhq256-tf
    tfdl train --model=stylegan --recipe=ffhq256 --strategy=mirrored \
        --config.data=tfrecord:/data/ffhq256-tf

The batches are those of eight GPUs. On one, two or four of them: --config.devices=0
and --config.growing.batch_sizes as `recipes.BATCHES` has them. Rows of table 1:
--config.table1=b to f; mapping depths of table 4: --config.generator.mapping_layers=2.
"""

from ml_collections import ConfigDict

from tfdl.models.stylegan import recipes


def get_config() -> ConfigDict:
    """Returns the settings of the paper's configuration F."""
    config = recipes.base(256, "tfrecord:ffhq256")
    config.description = "FFHQ at 256x256"
    config.mirror = True
    config.devices = 8
    config.growing.batch_sizes = recipes.BATCHES[8]
    return config
