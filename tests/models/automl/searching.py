"""A small search, in this process or in one that can be killed.

python -m tests.models.automl.searching trials.sqlite '{"budget": 50}'
"""

import json
import pathlib
import sys
from typing import Any

from tfdl.models.automl import proposers, spaces
from tfdl.models.automl.search.loop import Search
from tfdl.models.automl.search.pool import LocalPool
from tfdl.models.automl.search.trials import Trial, Trials

SPACE = {"name": "bits", "bits": 12}
EVOLUTION = {"name": "evolution", "population": 10, "sample": 3}


def search(
    path: pathlib.Path,
    *,
    budget: int = 60,
    workers: int = 2,
    seed: int = 0,
    space: dict[str, Any] = SPACE,
    proposer: dict[str, Any] = EVOLUTION,
    children: dict[str, Any] | None = None,
    time_limit: float = 60.0,
    **options: Any,
) -> list[Trial]:
    """Searches with children that sleep; returns the history."""
    children = {"name": "sleep", "seconds": [0.0, 0.01], "noise": 0.1} | (
        children or {}
    )
    created = spaces.create(space)
    with (
        LocalPool(children, workers=workers, time_limit=time_limit) as pool,
        Trials(path, "search", {"space": space, "seed": seed}) as trials,
    ):
        return Search(
            created,
            proposers.create(proposer, created, seed),
            pool,
            trials,
            budget,
            seed=seed,
            **options,
        ).run()


def outcome(history: list[Trial]) -> list[tuple]:
    """Returns what must not depend on time, workers or interruptions."""
    return [(t.number, t.architecture, t.parent, t.seed, t.reward) for t in history]


if __name__ == "__main__":
    search(pathlib.Path(sys.argv[1]), **json.loads(sys.argv[2]))
