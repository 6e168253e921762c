r"""The recipe for 2 machines of 8 GPUs, from the original's successor.

cybertronai/imagenet18.

    tfdl train --model=imagenet18 --recipe=dawnbench-2 \
        --config.data=folder:/data/imagenet --precision=float16

Add --dry_run for the table of phases. On fewer devices the global batch stays and is
computed in parts; --config.batch_policy=scale scales batch and rates instead.
"""

from ml_collections import ConfigDict

from tfdl.models.imagenet18 import recipes


def get_config() -> ConfigDict:
    """Returns the schedule of 2 machines."""
    return recipes.dawnbench_recipe(2)
