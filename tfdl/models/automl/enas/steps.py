"""What happens in which step of a search with shared weights.

Every epoch trains the shared weights for a while, each batch by an architecture of its
own, then the controller. A step of the latter judges one architecture; several of them
make an update.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Steps:
    """A table of all steps.

    Attributes:
        epoch: int64 [steps], from 0.
        judges: bool [steps], whether the controller is trained.
        index: int64 [steps], counts the steps of one kind within their epoch.
        number: int64 [steps], counts the steps of one kind from the beginning.
    """

    epoch: np.ndarray
    judges: np.ndarray
    index: np.ndarray
    number: np.ndarray

    @classmethod
    def of(cls, shared: Sequence[int], controller: int) -> "Steps":
        """Returns the table.

        Args:
            shared: steps of the shared weights in every epoch.
            controller: of the controller, in each.
        """
        lengths = np.asarray(shared, np.int64) + controller
        epoch = np.repeat(np.arange(len(shared)), lengths)
        within = np.arange(len(epoch)) - (np.cumsum(lengths) - lengths)[epoch]
        trains = np.asarray(shared, np.int64)[epoch]
        judges = within >= trains
        number = np.where(judges, np.cumsum(judges), np.cumsum(~judges)) - 1
        return cls(epoch, judges, within - np.where(judges, trains, 0), number)

    def __len__(self) -> int:
        return len(self.epoch)

    def dataset(self, start: int) -> tf.data.Dataset:
        """Returns the rows of the table from a step on, as dicts of scalars."""
        rows = {
            "epoch": self.epoch,
            "judges": self.judges,
            "index": self.index,
            "number": self.number,
        }
        table = {name: tf.constant(column) for name, column in rows.items()}
        steps = tf.data.Dataset.range(start, len(self))
        return steps.map(
            lambda step: {name: column[step] for name, column in table.items()}
        )
