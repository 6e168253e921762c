"""Strings of bits: a toy space on which searches can be told apart at no cost."""

import random

from tfdl.models.automl.spaces import space
from tfdl.models.automl.spaces.space import Architecture, Decision


class BitSpace(space.Space):
    """Strings of bits, drawn and mutated as in Real et al.'s published example.

    Args:
        bits: how many.
    """

    name = "bits"

    def __init__(self, bits: int = 100):
        self.bits = space.count("space.bits", bits)
        super().__init__(
            [Decision(f"bit {i}", "bit", ("0", "1")) for i in range(self.bits)]
        )

    def from_number(self, number: int) -> Architecture:
        """Returns the bits of a number, the lowest first."""
        return tuple(number >> i & 1 for i in range(self.bits))

    def to_number(self, arch: Architecture) -> int:
        """Undoes `from_number`."""
        return sum(bit << i for i, bit in enumerate(arch))

    def sample(self, rng: random.Random) -> Architecture:
        """Returns the bits of one number below 2^bits."""
        return self.from_number(rng.randint(0, 2**self.bits - 1))

    def mutate(self, arch: Architecture, rng: random.Random) -> Architecture:
        """Returns `arch` with one bit flipped."""
        i = rng.randint(0, self.bits - 1)
        return (*arch[:i], 1 - arch[i], *arch[i + 1 :])
