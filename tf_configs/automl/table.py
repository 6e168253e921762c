r"""The table of small cells that learn digits: trains all 2,128 distinct ones.

    tfdl prepare --model=automl --recipe=table --input=embedded:digits --output=table
    tfdl prepare --model=automl --recipe=table --input=embedded:digits \
        --output=small --config.ops='("zero", "identity", "conv_3x3")'

A seed of all takes about eight minutes of one core. A call that was stopped goes on
where it was. `OUTPUT/digits.json` then names a table wherever one is asked for.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the settings of the table that comes with tfdl."""
    config = ConfigDict()
    config.model = "automl"
    config.nodes = 4
    config.ops = ("zero", "identity", "conv_3x3", "avg_3x3")
    config.seeds = 3  # trainings of each architecture
    config.workers = 0  # processes; 0 is one per core
    return config
