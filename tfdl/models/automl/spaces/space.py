"""What every search space has: decisions, and architectures as their values."""

import dataclasses
import math
import random
from collections.abc import Iterable, Sequence
from typing import Any

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
        link: of a skip connection, whether the layer `link[0]` feeds layer `link[1]`;
            a controller may decide it by comparing what it knows of the two.
    """

    name: str
    kind: str
    choices: tuple[str, ...]
    link: tuple[int, int] | None = None


@dataclasses.dataclass(frozen=True)
class Choices:
    """An architecture of a space of which no networks are built, e.g. of a table.

    Attributes:
        chosen: (what was decided, the choice) of every decision.
    """

    chosen: tuple[tuple[str, str], ...]

    def to_dict(self) -> dict[str, Any]:
        """Returns it as JSON's types."""
        return {"kind": "choices", "chosen": [list(pair) for pair in self.chosen]}


def count(name: str, value: Any, low: int = 1) -> int:
    """Returns a whole number of at least `low`, or raises `UserError`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise errors.UserError(f"{name} has to be {low} or more, got {value!r}")
    return value


def names(name: str, values: Any, allowed: Iterable[str]) -> tuple[str, ...]:
    """Returns one or more different names, all allowed, or raises `UserError`."""
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise errors.UserError(f"{name} has to be a list of names, got {values!r}")
    allowed = tuple(allowed)
    for value in values:
        if value not in allowed:
            raise errors.unknown(f"name among the {name}", value, allowed)
    if not values or len(set(values)) < len(values):
        raise errors.UserError(
            f"{name} has to be one name or more, each once, got {list(values)}"
        )
    return tuple(values)


class Space:
    """A search space.

    Attributes:
        name: how recipes call it.
        decisions: what is decided, in the order in which controllers decide.
        anchors: of a space of layers with skip connections: how many decisions come
            before those of layer i's connections.
    """

    name = ""
    anchors: tuple[int, ...] = ()

    def __init__(self, decisions: Sequence[Decision]):
        self.decisions = tuple(decisions)
        if not self.decisions:
            raise errors.UserError(f"space {self.name!r} has nothing to decide")
        for decision in self.decisions:
            if not decision.choices:
                raise errors.UserError(
                    f"space {self.name!r} has no valid child: {decision.name} has no "
                    "choices"
                )

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
        return self.check_values(arch)

    def check_values(self, arch: Sequence[int]) -> Architecture:
        """Returns `arch` as a tuple, whatever its length, see `check`."""
        for i, (value, decision) in enumerate(zip(arch, self.decisions, strict=False)):
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
        where = [i for i in range(len(arch)) if len(self.decisions[i].choices) > 1]
        if not where:
            return arch
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

    def at(self, number: int) -> "Space":
        """Returns the part of this space that proposal `number` is made from.

        A space that grows during a search is smaller at first; its architectures are
        this space's, with fewer values.
        """
        return self

    def decode(self, arch: Sequence[int]) -> Any:
        """Returns what a network is built from; it has a method `to_dict`.

        Raises:
            UserError: `arch` is none of this space.
        """
        chosen = zip(self.decisions, self.check(arch), strict=True)
        return Choices(tuple((d.name, d.choices[value]) for d, value in chosen))

    def genotype(self, arch: Sequence[int]) -> dict[str, Any]:
        """Returns what `decode` returns as JSON's types, with its `"kind"`."""
        return self.decode(arch).to_dict()

    def describe(self, arch: Architecture) -> list[str]:
        """Returns lines that tell a person what `arch` is."""
        return [
            f"{decision.name}: {decision.choices[value]}"
            for decision, value in zip(self.decisions, arch, strict=False)
        ]
