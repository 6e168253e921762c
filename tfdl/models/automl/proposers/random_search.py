"""Random search: what every other proposer has to beat."""

import random
from typing import Any

from tfdl.models.automl.proposers.proposer import Proposal, Proposer
from tfdl.models.automl.spaces.space import Space


class RandomSearch(Proposer):
    """Proposes architectures at random, whatever the earlier ones were worth.

    Args:
        space: what it chooses from.
        seed: of its random choices.
    """

    name = "random"

    def __init__(self, space: Space, seed: int):
        super().__init__(space, seed)
        self.random = random.Random(seed)
        self._asked = 0

    def ask(self) -> Proposal:
        """Returns the next proposal."""
        number = self._asked
        self._asked += 1
        return Proposal(number, self.space.at(number).sample(self.random))

    def tell(self, proposal: Proposal, reward: float) -> None:
        """Does nothing."""

    def state(self) -> dict[str, Any]:
        """Returns all that `restore` needs."""
        return {"asked": self._asked, "random": self.random.getstate()}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes back to a `state`."""
        self._asked = state["asked"]
        set_state(self.random, state["random"])


def set_state(rng: random.Random, state: Any) -> None:
    """Gives a generator back its state, which JSON may have made lists of."""
    version, values, gauss = state
    rng.setstate((version, tuple(values), gauss))
