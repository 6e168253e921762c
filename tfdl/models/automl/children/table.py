"""Children whose scores are looked up in a table of trainings done before."""

import random
import time
from collections.abc import Mapping
from typing import Any

from tfdl.engine import errors, options
from tfdl.models.automl.children.child import Children, Report
from tfdl.models.automl.spaces.space import Architecture
from tfdl.models.automl.tables import table


class TableChildren(Children):
    """Looks up what a training gave; which of its seeds' is up to the trial's seed.

    Args:
        config: `table`: a name of `tables.table.TABLES`, or a table's `.json` file;
            `seconds`: how long a child pretends to train.
    """

    def __init__(self, config: Mapping[str, Any]):
        super().__init__(config)
        allowed = ("name", "table", "seconds")
        for key in config:
            if key not in allowed:
                raise errors.unknown("option of children 'table'", key, allowed)
        if "table" not in config:
            raise errors.UserError("children 'table' need the name of a table")
        self._seconds = options.number("seconds", config.get("seconds", 0.0))
        self.table = table.find(config["table"])

    def train(self, arch: Architecture, seed: int, report: Report) -> dict[str, Any]:
        """Looks up; see `Children`."""
        row = self.table.row(self.table.space.check(arch))
        column = random.Random(seed).randrange(self.table.seeds)
        report({})
        time.sleep(self._seconds)
        return {
            "reward": float(self.table.valid[row, column]),
            "valid_accuracy": float(self.table.valid[row, column]),
            "test_accuracy": float(self.table.test[row, column]),
        }


CHILDREN = TableChildren
