"""What every search space has: decisions, and architectures as their values."""

import dataclasses
import math
import random
from collections.abc import Sequence

from tfdl.engine import errors

# One value per decision of the space, in its order.
Architecture = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Decision:
    """One choice that a proposer makes.

    Attributes:
        name: what is decided, for messages, e.g. `"normal block 3 input 1"`.
        kind: decisions of one kind mean the same and have the same choices, or a
            prefix of them: a controller may share weights among them.
        choices: what the values 0, 1, ... mean.
    """

    name: str
    kind: str
    choices: tuple[str, ...]


class Space:
    """A search space.

    Attributes:
        name: how recipes call it.
        decisions: what is decided, in the order in which controllers decide.
    """

    name = ""

    def __init__(self, decisions: Sequence[Decision]):
        self.decisions = tuple(decisions)

    @property
    def size(self) -> int:
        """How many architectures there are, the same ones written twice included."""
        return math.prod(len(decision.choices) for decision in self.decisions)

    def check(self, arch: Sequence[int]) -> Architecture:
        """Returns `arch` as a tuple.

        Raises:
            UserError: it has too many or too few values, or one that is no choice;
                the message names the position.
        """
        if len(arch) != len(self.decisions):
            raise errors.UserError(
                f"an architecture of {self.name} has {len(self.decisions)} values, "
                f"not {len(arch)}"
            )
        for i, (value, decision) in enumerate(zip(arch, self.decisions, strict=True)):
            if not 0 <= value < len(decision.choices):
                raise errors.UserError(
                    f"position {i + 1} of the architecture ({decision.name}) is "
                    f"{value}; allowed are 0 to {len(decision.choices) - 1}"
                )
        return tuple(int(value) for value in arch)

    def sample(self, rng: random.Random) -> Architecture:
        """Returns an architecture, all equally probable."""
        return tuple(rng.randrange(len(d.choices)) for d in self.decisions)

    def mutate(self, arch: Architecture, rng: random.Random) -> Architecture:
        """Returns `arch` with one decision changed to another of its choices."""
        where = [i for i, d in enumerate(self.decisions) if len(d.choices) > 1]
        i = rng.choice(where)
        others = [v for v in range(len(self.decisions[i].choices)) if v != arch[i]]
        return (*arch[:i], rng.choice(others), *arch[i + 1 :])

    def canonical(self, arch: Architecture) -> Architecture:
        """Returns one of all architectures that make the same network as `arch`."""
        return arch

    def format(self, arch: Architecture) -> str:
        """Returns `arch` as text that `parse` reads."""
        return " ".join(map(str, arch))

    def parse(self, text: str) -> Architecture:
        """Reads what `format` writes.

        Raises:
            UserError: it does not parse; the message names the position.
        """
        values = []
        for i, word in enumerate(text.replace(",", " ").split()):
            try:
                values.append(int(word))
            except ValueError:
                raise errors.UserError(
                    f"position {i + 1} of the architecture is {word!r}, not a number"
                ) from None
        return self.check(values)

    def describe(self, arch: Architecture) -> list[str]:
        """Returns lines that tell a person what `arch` is."""
        return [
            f"{decision.name}: {decision.choices[value]}"
            for decision, value in zip(self.decisions, arch, strict=True)
        ]
