"""Which architecture won: the best of a search are trained again with other seeds.

The best of many noisy scores was lucky as well; a few more seeds tell.
"""

import dataclasses
import statistics
from collections.abc import Sequence
from typing import Any

from tfdl.models.automl.proposers.proposer import Proposal, Proposer
from tfdl.models.automl.search import loop
from tfdl.models.automl.search.trials import Trial
from tfdl.models.automl.spaces.space import Architecture, Space


@dataclasses.dataclass(frozen=True)
class Winner:
    """One of the best architectures.

    Attributes:
        architecture: as the space writes it.
        reward: its best one in the search.
        trials: the numbers of its trials there, duplicates included.
        rescored: its rewards with further seeds.
    """

    architecture: str
    reward: float
    trials: tuple[int, ...]
    rescored: tuple[float, ...] = ()

    @property
    def mean(self) -> float:
        """What it is ranked by."""
        return statistics.fmean(self.rescored) if self.rescored else self.reward

    def to_dict(self) -> dict[str, Any]:
        """Returns it as JSON's types."""
        return {
            "architecture": self.architecture,
            "reward": self.reward,
            "mean": self.mean,
            "rescored": list(self.rescored),
            "trials": list(self.trials),
        }


class Listed(Proposer):
    """Proposes what is on a list, in its order."""

    name = "listed"

    def __init__(self, space: Space, archs: Sequence[Architecture]):
        super().__init__(space, 0)
        self._archs, self._next = list(archs), 0

    def ask(self) -> Proposal:
        """Returns the next one of the list."""
        self._next += 1
        return Proposal(self._next - 1, self._archs[self._next - 1])

    def tell(self, proposal: Proposal, reward: float) -> None:
        """Nothing is learned."""

    def state(self) -> dict[str, Any]:
        """Returns how far the list is done."""
        return {"next": self._next}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes back to a `state`."""
        self._next = state["next"]


def best(history: Sequence[Trial], count: int) -> list[Winner]:
    """Returns the best distinct architectures of a search, the best first."""
    groups: dict[str, list[Trial]] = {}
    for trial in history:
        if trial.status == "done":
            groups.setdefault(trial.canonical, []).append(trial)
    winners = []
    for group in groups.values():
        top = max(group, key=lambda trial: (loop.value(trial), -trial.number))
        numbers = tuple(sorted(trial.number for trial in group))
        winners.append(Winner(top.architecture, loop.value(top), numbers))
    # Stable: of equal ones the first found.
    return sorted(winners, key=lambda winner: -winner.reward)[:count]


def ranked(winners: Sequence[Winner], rescored: Sequence[Trial]) -> list[Winner]:
    """Returns the winners with what they scored again, the best first."""
    found = [
        dataclasses.replace(
            winner,
            rescored=tuple(
                trial.reward
                for trial in sorted(rescored, key=lambda trial: trial.number)
                if trial.architecture == winner.architecture
            ),
        )
        for winner in winners
    ]
    return sorted(found, key=lambda winner: -winner.mean)
