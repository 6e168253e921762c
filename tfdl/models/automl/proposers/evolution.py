"""Evolution: the best of a few of the population, changed a little.

Regularised or aging evolution (Real et al. 2019, arXiv:1802.01548, algorithm 1) and
tournament selection that removes the worst instead of the oldest (section 3 there).
"""

import dataclasses
import random
from typing import Any

from tfdl.models.automl.proposers.proposer import Proposal, Proposer
from tfdl.models.automl.proposers.random_search import set_state
from tfdl.models.automl.spaces import space as spaces
from tfdl.models.automl.spaces.space import Architecture, Space


@dataclasses.dataclass(frozen=True)
class Individual:
    """A member of the population."""

    number: int
    arch: Architecture
    reward: float


class Evolution(Proposer):
    """Aging evolution.

    Until `population` rewards are known, proposals are random. From then on each is
    a mutation of the best of `sample` members, drawn with replacement; the first
    drawn wins a tie. An architecture enters the population when its reward is told,
    and the oldest member leaves: with many workers nobody waits for a generation, and
    age counts from the end of training. A reward is never carried over to a child
    that equals its parent: aging lives on training survivors again.

    While the first population is trained and more workers are idle than it has
    members left, further random architectures are proposed.

    Args:
        space: what it chooses from, and how it mutates.
        seed: of its random choices.
        population: how many members there are.
        sample: how many are drawn to find a parent.
        aging: whether the oldest member leaves; else the worst of those drawn, the one
            that entered first of equal ones.
    """

    name = "evolution"

    def __init__(
        self,
        space: Space,
        seed: int,
        population: int = 100,
        sample: int = 25,
        aging: bool = True,
    ):
        super().__init__(space, seed)
        self.capacity = spaces.count("proposer.population", population)
        self.sample = spaces.count("proposer.sample", sample)
        self.aging = bool(aging)
        self.random = random.Random(seed)
        self.population: list[Individual] = []
        # Of the proposals that are out, the numbers of those drawn.
        self._drawn: dict[int, tuple[int, ...]] = {}
        self._asked = 0

    def ask(self) -> Proposal:
        """Returns the next proposal."""
        number = self._asked
        self._asked += 1
        if len(self.population) < self.capacity:
            return Proposal(number, self.space.at(number).sample(self.random))
        drawn = [self.random.choice(self.population) for _ in range(self.sample)]
        parent = max(drawn, key=lambda member: member.reward)
        child = self.space.mutate(parent.arch, self.random)
        if not self.aging:
            self._drawn[number] = tuple(member.number for member in drawn)
        return Proposal(number, child, parent.number)

    def tell(self, proposal: Proposal, reward: float) -> None:
        """Takes an architecture into the population; another may have to leave."""
        drawn = self._drawn.pop(proposal.number, ())
        if len(self.population) >= self.capacity:
            self.population.pop(0 if self.aging else self._worst(drawn))
        self.population.append(Individual(proposal.number, proposal.arch, reward))

    def _worst(self, drawn):
        """Returns the position of the worst of those drawn that are still there."""
        there = [i for i, m in enumerate(self.population) if m.number in drawn]
        among = there or range(len(self.population))
        return min(among, key=lambda i: self.population[i].reward)

    def state(self) -> dict[str, Any]:
        """Returns all that `restore` needs."""
        return {
            "asked": self._asked,
            "random": self.random.getstate(),
            "population": [
                [member.number, list(member.arch), member.reward]
                for member in self.population
            ],
            "drawn": [[number, list(d)] for number, d in self._drawn.items()],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes back to a `state`."""
        self._asked = state["asked"]
        set_state(self.random, state["random"])
        self.population = [
            Individual(number, tuple(arch), reward)
            for number, arch, reward in state["population"]
        ]
        self._drawn = {number: tuple(d) for number, d in state["drawn"]}

    def scalars(self) -> dict[str, float]:
        """Returns the mean and the best reward of the population."""
        rewards = [member.reward for member in self.population]
        if not rewards:
            return {}
        return {
            "population/mean": sum(rewards) / len(rewards),
            "population/best": max(rewards),
        }


class Tournament(Evolution):
    """Evolution without aging: the worst of those drawn leaves.

    Args:
        space: what it chooses from, and how it mutates.
        seed: of its random choices.
        population: how many members there are.
        sample: how many are drawn to find a parent and the one who leaves.
    """

    name = "tournament"

    def __init__(
        self, space: Space, seed: int, population: int = 100, sample: int = 25
    ):
        super().__init__(space, seed, population, sample, aging=False)
