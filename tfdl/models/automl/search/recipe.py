"""The fields of a search in a recipe, with their defaults."""

from typing import Any

from ml_collections import ConfigDict

from tfdl.engine import config as config_lib


def stage(**fields: Any) -> ConfigDict:
    """Returns the configuration of a search, to be trained alone or as a stage.

    Args:
        **fields: what differs from the defaults below; a dict changes a group's
            fields, except `space`, `proposer` and `children`, which are taken whole.
    """
    config = config_lib.base_config()
    config.task = "search"
    config.space = ConfigDict({"name": "amoeba"})
    config.proposer = ConfigDict({"name": "evolution"})
    config.children = ConfigDict({"name": "image"})
    config.budget = 200  # trials
    # completed: the proposer learns of trials as they end, and no worker waits;
    # proposed: in the order of proposals, `window` of them out at once, so that the
    # history is the same for any number of workers.
    config.order = "completed"
    config.window = 8
    # train | average | cache: of architectures that make the same network
    config.duplicates = "train"
    config.compare_with = "random"  # searches again with the same budget; "" does not
    config.pool = ConfigDict(
        {
            "name": "local",  # local | ray
            "workers": 0,  # 0: as many as the cores allow
            "threads": 1,  # of a worker
            "time_limit": 600.0,  # seconds without a report from a child
            "recycle_after": 0,  # children, against leaks; 0: never
            "address": "",  # of a Ray cluster, HOST:PORT
        }
    )
    # The best ones are trained again, with other seeds, and the winner is the best of
    # them by the mean; `children` are options that differ from the search's, say more
    # epochs.
    config.rescore = ConfigDict({"top": 5, "seeds": 2, "children": {}})
    for name, value in fields.items():
        if name in ("pool", "rescore"):
            config[name].update(ConfigDict(value))
        elif name in ("space", "proposer", "children"):
            config[name] = ConfigDict(value)
        else:
            config[name] = value
    return config
