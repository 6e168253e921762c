r"""FFHQ at 1024x1024, as the original trains it.

    tfdl prepare --model=stylegan --input=folder:/data/ffhq1024 \
        --output=/data/ffhq1024-tf
    tfdl train --model=stylegan --recipe=ffhq1024 --strategy=mirrored \
        --config.data=tfrecord:/data/ffhq1024-tf

The batches are those of eight GPUs. On one, two or four of them: --config.devices=0
and --config.growing.batch_sizes as `recipes.BATCHES` has them. Rows of table 1:
--config.table1=b to f; mapping depths of table 4: --config.generator.mapping_layers=2.
"""

from ml_collections import ConfigDict

from tfdl.models.stylegan import recipes


def get_config() -> ConfigDict:
    """Returns the settings of the paper's configuration F."""
    config = recipes.base(1024, "tfrecord:ffhq1024")
    config.description = "FFHQ at 1024x1024"
    config.mirror = True
    config.devices = 8
    config.growing.batch_sizes = recipes.BATCHES[8]
    return config
