"""Graph networks of four layers: the space of NAS-Bench-Graph.

Each layer reads the input or an earlier layer, and what no layer reads is the output
(Qin et al. 2022, arXiv:2206.09166, section 3.1). The ways to connect four layers are
nine; the others are these with their layers numbered otherwise.
"""

import functools
import itertools
from collections.abc import Iterator, Sequence

from tfdl.models.automl.spaces.space import Architecture, Decision, Space

# For each layer what it reads: 0 is the input, 1 the first layer, ...
LINKS = (
    (0, 0, 0, 0),
    (0, 0, 0, 1),
    (0, 0, 1, 1),
    (0, 0, 1, 2),
    (0, 0, 1, 3),
    (0, 1, 1, 1),
    (0, 1, 1, 2),
    (0, 1, 2, 2),
    (0, 1, 2, 3),
)
SKIP = "skip"
OPS = ("gat", "gcn", "gin", "cheb", "sage", "arma", "graph", "fc", SKIP)
_LAYERS = 4

# What hangs on a node: for each layer that reads it, its operation and what hangs on
# that, sorted.
Tree = tuple


class GraphNetworkSpace(Space):
    """The decisions are the links, one of nine, and each layer's operation.

    Args:
        ops: the operations; "skip" passes on what the layer reads.
    """

    name = "graph_networks"

    def __init__(self, ops: Sequence[str] = OPS):
        self.ops = tuple(ops)
        links = tuple(" ".join(map(str, link)) for link in LINKS)
        super().__init__(
            [
                Decision("links", "links", links),
                *(Decision(f"layer {i + 1}", "op", self.ops) for i in range(_LAYERS)),
            ]
        )

    def tree(self, arch: Architecture) -> Tree:
        """Returns a form that architectures have in common if they are one network.

        A "skip" that another layer reads, or that is the only reader of its layer,
        changes nothing and is left out. So is the one from the input to the output,
        whose width does not fit.
        """
        links = LINKS[arch[0]]
        ops = [self.ops[op] for op in arch[1:]]

        def readers(node: int) -> list[tuple[str, Tree]]:
            found = []
            for i, source in enumerate(links):
                if source == node:
                    below = readers(i + 1)
                    if ops[i] == SKIP and below:
                        found += below
                    else:
                        found.append((ops[i], tuple(sorted(below))))
            if found == [(SKIP, ())]:
                return []
            return found

        return tuple(sorted(r for r in readers(0) if r != (SKIP, ())))

    def all(self) -> Iterator[Architecture]:
        """Returns every architecture, the last layer's operation changing fastest."""
        return itertools.product(*(range(len(d.choices)) for d in self.decisions))

    def canonical(self, arch: Architecture) -> Architecture:
        """Returns the first of all architectures that are one network."""
        return self._first[self.tree(arch)]

    @functools.cached_property
    def _first(self) -> dict[Tree, Architecture]:
        first: dict[Tree, Architecture] = {}
        for arch in self.all():
            first.setdefault(self.tree(arch), arch)
        return first
