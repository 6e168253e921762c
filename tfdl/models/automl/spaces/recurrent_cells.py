"""Recurrent cells: the trees of Zoph & Le (2017), the nodes of ENAS (2018)."""

from collections.abc import Sequence

from tfdl.models.automl.recurrent import genotypes
from tfdl.models.automl.spaces import space
from tfdl.models.automl.spaces.space import Architecture, Decision


class ZophRnnSpace(space.Space):
    """Cells that are a binary tree over the input and the last output (section 3.4).

    Decisions: combination and activation of every node, leaves first; those that put
    the last cell state in; the node that is the next cell state; the node that the
    last one is put into. See `genotypes.TreeCell`.

    Args:
        base: how many leaves; 8 in the paper.
        combines: the choices of how two values are combined.
        activations: the choices of activation; the paper tried "max" among the
            combinations and "sin" here too.
    """

    name = "zoph_rnn"

    def __init__(
        self,
        base: int = 8,
        combines: Sequence[str] = ("add", "mult"),
        activations: Sequence[str] = ("identity", "tanh", "sigmoid", "relu"),
    ):
        self.base = space.count("space.base", base, 2)
        self.combines = space.names("space.combines", combines, genotypes.COMBINES)
        self.activations = space.names(
            "space.activations", activations, genotypes.ACTIVATIONS
        )
        nodes = 2 * self.base - 1
        decisions = []
        for place in (*(f"node {i}" for i in range(nodes)), "injection"):
            decisions += [
                Decision(f"{place} combination", "combine", self.combines),
                Decision(f"{place} activation", "activation", self.activations),
            ]
        states = tuple(map(str, range(nodes)))
        decisions += [
            Decision("next cell state", "cell", states),
            Decision("injected node", "inject", states),
        ]
        super().__init__(decisions)

    def decode(self, arch: Sequence[int]) -> genotypes.TreeCell:
        """Returns the cell of an architecture."""
        *pairs, cell, inject_at = self.check(arch)
        named = [
            (self.combines[pairs[i]], self.activations[pairs[i + 1]])
            for i in range(0, len(pairs), 2)
        ]
        return genotypes.TreeCell(tuple(named[:-1]), named[-1], cell, inject_at)


class EnasRnnSpace(space.Space):
    """Cells of highway nodes, each made of an earlier one (ENAS, section 2.1).

    Decisions: of every node the node that it reads and its function. See
    `genotypes.NodesCell`.

    Args:
        nodes: how many there are besides node 0.
        functions: the choices of functions, numbered as in the later, corrected code.
    """

    name = "enas_rnn"

    def __init__(
        self,
        nodes: int = 8,
        functions: Sequence[str] = genotypes.NODE_FUNCTIONS["enas_lm"],
    ):
        self.nodes = space.count("space.nodes", nodes)
        self.functions = space.names(
            "space.functions", functions, genotypes.ACTIVATIONS
        )
        decisions = []
        for i in range(1, self.nodes + 1):
            earlier = tuple(map(str, range(i)))
            decisions += [
                Decision(f"node {i} reads", "previous", earlier),
                Decision(f"node {i} function", "function", self.functions),
            ]
        super().__init__(decisions)

    def decode(self, arch: Sequence[int]) -> genotypes.NodesCell:
        """Returns the cell of an architecture."""
        arch = self.check(arch)
        return genotypes.NodesCell(
            tuple(
                (arch[i], self.functions[arch[i + 1]]) for i in range(0, len(arch), 2)
            )
        )

    def canonical(self, arch: Architecture) -> Architecture:
        """Returns the first of all orders of the nodes that make the same cell."""
        nodes = [(arch[i], arch[i + 1]) for i in range(0, len(arch), 2)]
        # Node 0 is the root of a tree of nodes; equal trees have equal sorted forms.
        below: dict[int, list[int]] = {i: [] for i in range(len(nodes) + 1)}
        for i, (previous, _) in enumerate(nodes):
            below[previous].append(i + 1)

        def form(i):
            function = nodes[i - 1][1] if i else -1
            return (function, tuple(sorted(map(form, below[i]))))

        written: list[int] = []

        def write(tree, previous):
            for child in tree[1]:
                written.extend((previous, child[0]))
                write(child, len(written) // 2)

        write(form(0), 0)
        return tuple(written)
