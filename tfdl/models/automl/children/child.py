"""What every kind of child does: train one architecture briefly and score it."""

from collections.abc import Callable, Mapping
from typing import Any

from tfdl.models.automl.spaces.space import Architecture

# Called now and then while a child trains, with what is known so far; a worker that
# does not report within the time limit of a trial is taken for hanging.
Report = Callable[[Mapping[str, float]], None]


class Children:
    """Scores architectures; made once in every worker and used for many of them.

    Args:
        config: plain numbers, texts, lists and dicts; it crosses processes.
    """

    def __init__(self, config: Mapping[str, Any]):
        self.config = config

    def train(self, arch: Architecture, seed: int, report: Report) -> dict[str, Any]:
        """Trains one child from new weights.

        Args:
            arch: the architecture.
            seed: of its weights and its batches: the same seed, the same result.
            report: see `Report`.

        Returns:
            `"reward"`: what the proposer is told, finite, higher being better; and
            what else is known (accuracies by epoch, parameters, ...). A child that
            diverges gets the lowest reward of its kind and `"diverged": True`.
        """
        raise NotImplementedError("subclasses define train()")
