"""ENAS's spaces of image networks (Pham et al. 2018, arXiv:1802.03268)."""

import dataclasses
import random
from collections.abc import Mapping, Sequence
from typing import Any

from tfdl.engine import errors
from tfdl.models.automl.spaces import cells, space
from tfdl.models.automl.spaces.space import Architecture, Decision

MICRO_OPS = ("sep_3x3", "sep_5x5", "avg_3x3", "max_3x3", "identity")
MACRO_OPS = ("conv_3x3", "sep_3x3", "conv_5x5", "sep_5x5", "avg_3x3", "max_3x3")
SKIP = ("no", "yes")


class MicroSpace(space.Space):
    """Pairs of cells, written as ENAS does.

    Decisions: the normal cell's blocks, then the reduction cell's; for each block
    input 1, op 1, input 2, op 2. Here input 0 is the cell before the last one and
    1 the last one; `decode` numbers them as `cells` does.

    Args:
        blocks: how many a cell has.
        ops: the names of the ops.
    """

    name = "enas_micro"

    def __init__(self, blocks: int = 5, ops: Sequence[str] = MICRO_OPS):
        self.cells = cells.CellSpace(self.name, ops, blocks)
        self.blocks, self.ops = blocks, self.cells.ops
        decisions = []
        for block in range(0, len(self.cells.decisions), 4):
            in1, in2, op1, op2 = self.cells.decisions[block : block + 4]
            decisions += [in1, op1, in2, op2]
        super().__init__(decisions)

    def to_cells(self, arch: Architecture) -> Architecture:
        """Returns the same cells as an architecture of `self.cells`."""
        values = []
        for block in range(0, len(arch), 4):
            in1, op1, in2, op2 = arch[block : block + 4]
            values += [*map(_swapped, (in1, in2)), op1, op2]
        return tuple(values)

    def from_cells(self, arch: Architecture) -> Architecture:
        """Undoes `to_cells`."""
        values = []
        for block in range(0, len(arch), 4):
            in1, in2, op1, op2 = arch[block : block + 4]
            values += [_swapped(in1), op1, _swapped(in2), op2]
        return tuple(values)

    def decode(self, arch: Sequence[int]) -> cells.CellGenotype:
        """Returns the cells of an architecture, loose ends as output."""
        return self.cells.decode(self.to_cells(self.check(arch)))

    def encode(self, genotype: cells.CellGenotype) -> Architecture:
        """Returns the architecture of cells of this space."""
        return self.from_cells(self.cells.encode(genotype))

    def mutate(self, arch: Architecture, rng: random.Random) -> Architecture:
        """Returns `arch` after a mutation of AmoebaNet's."""
        return self.from_cells(self.cells.mutate(self.to_cells(arch), rng))

    def canonical(self, arch: Architecture) -> Architecture:
        """Returns the one way to write these cells, see `CellSpace.canonical`."""
        return self.from_cells(self.cells.canonical(self.to_cells(arch)))

    def describe(self, arch: Architecture) -> list[str]:
        """Returns one line for each block and each cell's output."""
        return self.decode(arch).describe()


def _swapped(state):
    return 1 - state if state < 2 else state


@dataclasses.dataclass(frozen=True)
class MacroNet:
    """A network of layers.

    Attributes:
        layers: of each its op, which reads the output of the layer before, and the
            earlier outputs that are added: 0 the stem's, j that of layer j - 1.
    """

    layers: tuple[tuple[str, tuple[int, ...]], ...]

    def __post_init__(self):
        if not self.layers:
            raise errors.UserError("a network needs a layer")
        for i, (op, inputs) in enumerate(self.layers):
            if op not in MACRO_OPS:
                raise errors.unknown(f"op of layer {i}", op, MACRO_OPS)
            if not set(inputs) <= set(range(i)):
                allowed = f"0 to {i - 1}" if i else "none"
                raise errors.UserError(
                    f"layer {i} adds outputs {list(inputs)}; allowed are {allowed}"
                )

    def to_dict(self) -> dict[str, Any]:
        """Returns it as JSON's types."""
        layers = [[op, list(inputs)] for op, inputs in self.layers]
        return {"kind": "enas_macro", "layers": layers}

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> "MacroNet":
        """Returns the network that `to_dict` was called on.

        Raises:
            UserError: it is none.
        """
        try:
            layers = tuple(
                (str(op), tuple(map(int, inputs))) for op, inputs in given["layers"]
            )
        except (KeyError, TypeError, ValueError):
            raise errors.UserError(
                f"layers have to be [[op, [layer, ...]], ...], got {given!r}"
            ) from None
        return cls(layers)

    def describe(self) -> list[str]:
        """Returns lines that tell a person what it is."""
        return [
            f"layer {i} = " + " + ".join([op, *map(_output, inputs)])
            for i, (op, inputs) in enumerate(self.layers)
        ]


def _output(j):
    return f"layer {j - 1}" if j else "stem"


class MacroSpace(space.Space):
    """Whole networks: an op for each layer, and which earlier outputs are added.

    Decisions, layer by layer: the op, then for every output before that of the layer
    before, the stem's first, whether it is added.

    Args:
        layers: how many.
        ops: the names of the ops.
    """

    name = "enas_macro"

    def __init__(self, layers: int = 12, ops: Sequence[str] = MACRO_OPS):
        self.layers = space.count("space.layers", layers)
        self.ops = space.names("space.ops", ops, MACRO_OPS)
        decisions, anchors = [], []
        for i in range(self.layers):
            decisions.append(Decision(f"layer {i} op", "op", self.ops))
            anchors.append(len(decisions))
            for j in range(i):
                name = f"layer {i} adds {_output(j)}"
                decisions.append(Decision(name, "skip", SKIP, link=(j, i)))
        self.anchors = tuple(anchors)
        super().__init__(decisions)

    def decode(self, arch: Sequence[int]) -> MacroNet:
        """Returns the network of an architecture."""
        values = iter(self.check(arch))
        return MacroNet(
            tuple(
                (
                    self.ops[next(values)],
                    tuple(j for j in range(i) if next(values)),
                )
                for i in range(self.layers)
            )
        )

    def describe(self, arch: Architecture) -> list[str]:
        """Returns a line for each layer."""
        return self.decode(arch).describe()
