"""What every proposer does: ask for an architecture, tell what it was worth."""

import dataclasses
from typing import Any

from tfdl.models.automl.spaces.space import Architecture, Space


@dataclasses.dataclass(frozen=True)
class Proposal:
    """An architecture to try.

    Attributes:
        number: counts the proposals of a search from 0.
        arch: the architecture.
        parent: the number of the proposal that it was made from, if any.
    """

    number: int
    arch: Architecture
    parent: int | None = None


class Proposer:
    """Decides which architecture is tried next.

    Any number of proposals may be out at once: `tell` takes them in any order. The
    state is plain (numbers, texts, lists, dicts, numpy arrays), and a proposer that
    is given it back goes on with the same proposals.

    Args:
        space: what it chooses from.
        seed: of its random choices.
    """

    name = ""

    def __init__(self, space: Space, seed: int):
        self.space = space
        self.seed = seed

    def ask(self) -> Proposal:
        """Returns the next proposal."""
        raise NotImplementedError("subclasses define ask()")

    def tell(self, proposal: Proposal, reward: float) -> None:
        """Learns what a proposal was worth, higher being better."""
        raise NotImplementedError("subclasses define tell()")

    def state(self) -> dict[str, Any]:
        """Returns all that `restore` needs."""
        raise NotImplementedError("subclasses define state()")

    def restore(self, state: dict[str, Any]) -> None:
        """Goes back to a `state`."""
        raise NotImplementedError("subclasses define restore()")

    def scalars(self) -> dict[str, float]:
        """Returns what is worth plotting, e.g. a controller's entropy."""
        return {}
