"""A small cell: every pair of nodes joined by one operation, or by none."""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from tfdl.engine import errors
from tfdl.models.automl.spaces.space import Architecture, Decision, Space

ZERO = "zero"
MAX_NODES = 20


@dataclasses.dataclass(frozen=True)
class DagCell:
    """Nodes and the operations between them.

    Attributes:
        nodes: how many; the first is the input, the last the output.
        edges: (from, to, operation), without those that are "zero".
    """

    nodes: int
    edges: tuple[tuple[int, int, str], ...]

    def to_dict(self) -> dict[str, Any]:
        """Returns it as JSON's types."""
        edges = [list(edge) for edge in self.edges]
        return {"kind": "dag", "nodes": self.nodes, "edges": edges}


class DagSpace(Space):
    """Cells small enough to train all of them.

    The nodes are ordered; node 0 is the input, the last one the output, and each is
    the sum of its edges. The decisions are the edges' operations, in the order (0,1)
    (0,2) (1,2) (0,3) (1,3) (2,3) ...

    Args:
        nodes: how many, input and output included.
        ops: what an edge may be; `"zero"`, if there, is no edge.
    """

    name = "dag"

    def __init__(
        self,
        nodes: int = 4,
        ops: Sequence[str] = (ZERO, "identity", "conv_3x3"),
    ):
        if not 2 <= nodes <= MAX_NODES:
            raise errors.UserError(
                f"space.nodes={nodes}: a cell has 2 to {MAX_NODES} nodes"
            )
        if not ops or len(set(ops)) != len(ops):
            raise errors.UserError(
                f"space.ops={list(ops)}: expected one operation at least, each once"
            )
        self.nodes = nodes
        self.ops = tuple(ops)
        self.edges = tuple((i, j) for j in range(1, nodes) for i in range(j))
        super().__init__(
            [Decision(f"edge {i} to {j}", "op", self.ops) for i, j in self.edges]
        )

    def decode(self, arch: Sequence[int]) -> DagCell:
        """Returns the cell of an architecture."""
        values = zip(self.edges, self.check(arch), strict=True)
        named = ((i, j, self.ops[op]) for (i, j), op in values)
        edges = tuple(edge for edge in named if edge[2] != ZERO)
        return DagCell(self.nodes, edges)

    def canonical(self, arch: Architecture) -> Architecture:
        """Returns `arch` without the edges that are on no path to the output.

        A space without "zero" has no such edges.
        """
        if ZERO not in self.ops:
            return arch
        zero = self.ops.index(ZERO)
        there = [edge for edge, op in zip(self.edges, arch, strict=True) if op != zero]
        fed = {0}
        for i, j in there:  # ordered by j, so that i is known
            if i in fed:
                fed.add(j)
        read = {self.nodes - 1}
        for i, j in reversed(there):
            if j in read:
                read.add(i)
        return tuple(
            op if i in fed and j in read else zero
            for (i, j), op in zip(self.edges, arch, strict=True)
        )

    def all(self) -> Iterator[Architecture]:
        """Returns every architecture, the last edge's operation changing fastest."""
        choices = range(len(self.ops))
        return itertools.product(choices, repeat=len(self.edges))
