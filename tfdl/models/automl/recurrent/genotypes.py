"""What a recurrent cell is, without its weights: plain data that JSON can hold.

Two families: the trees of Zoph & Le (2017, section 3.4) and the highway nodes of ENAS
(Pham et al. 2018, section 2.1), which DARTS kept.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tfdl.engine import errors

# By their number in a cell's text; the last of each was only tried in a control.
COMBINES = ("add", "mult", "max")
ACTIVATIONS = ("identity", "tanh", "sigmoid", "relu", "sin")
# The functions by their numbers in an arc. ENAS's first language model and its later
# one differ in 2 and 3.
NODE_FUNCTIONS = {
    "enas_lm": ("tanh", "relu", "sigmoid", "identity"),
    "enas": ("tanh", "relu", "identity", "sigmoid"),
}
OUTPUTS = ("all", "loose_ends")
GATES = ("last", "first")

Pair = tuple[str, str]


@dataclasses.dataclass(frozen=True)
class TreeCell:
    """A binary tree whose leaves read the input and the last output.

    With n leaves the inner node n + k reads nodes 2k and 2k + 1; the last node is the
    root, whose output is the cell's. Leaf k is `activation(x W_k combine h U_k)`.

    Attributes:
        nodes: (combine, activation) of all 2n - 1 nodes.
        inject: (combine, activation) that puts the last cell state in.
        cell: the node whose value before its activation is the next cell state.
        inject_at: the node whose output the last cell state is put into.
    """

    nodes: tuple[Pair, ...]
    inject: Pair
    cell: int
    inject_at: int

    def __post_init__(self):
        pairs = tuple((str(c), str(a)) for c, a in self.nodes)
        object.__setattr__(self, "nodes", pairs)
        object.__setattr__(self, "inject", tuple(self.inject))
        if not len(pairs) % 2:
            raise errors.UserError(
                f"a tree of n leaves has 2n - 1 nodes, this one {len(pairs)}"
            )
        for where, (combine, activation) in enumerate([*pairs, self.inject]):
            place = f"node {where}" if where < len(pairs) else "the injection"
            if combine not in COMBINES:
                raise errors.unknown(f"combination of {place}", combine, COMBINES)
            if activation not in ACTIVATIONS:
                raise errors.unknown(f"activation of {place}", activation, ACTIVATIONS)
        for name, value in (("cell", self.cell), ("inject_at", self.inject_at)):
            _check_index(name, value, len(pairs))

    @property
    def base(self) -> int:
        """How many leaves there are."""
        return (len(self.nodes) + 1) // 2

    @classmethod
    def from_tokens(cls, tokens: Sequence[int]) -> "TreeCell":
        """Reads a cell's numbers: its nodes, the injection, `cell`, `inject_at`.

        A pair is (0 add, 1 mult, 2 max; 0 identity, 1 tanh, 2 sigmoid, 3 relu, 4 sin).

        Raises:
            UserError: a wrong count, or a number that means nothing at its position.
        """
        tokens = [int(token) for token in tokens]
        if len(tokens) < 6 or len(tokens) % 4 != 2:
            raise errors.UserError(
                f"a tree cell of n leaves is 4n + 2 numbers, not {len(tokens)}"
            )
        pairs = []
        for i in range(0, len(tokens) - 2, 2):
            combine = _choice(tokens, i, COMBINES, "combination")
            pairs.append((combine, _choice(tokens, i + 1, ACTIVATIONS, "activation")))
        count = len(pairs) - 1
        for i in (len(tokens) - 2, len(tokens) - 1):
            _choice(tokens, i, range(count), "node")
        return cls(tuple(pairs[:-1]), pairs[-1], tokens[-2], tokens[-1])

    def tokens(self) -> tuple[int, ...]:
        """Returns what `from_tokens` reads."""
        pairs = [*self.nodes, self.inject]
        numbers = [(COMBINES.index(c), ACTIVATIONS.index(a)) for c, a in pairs]
        return (*(n for pair in numbers for n in pair), self.cell, self.inject_at)

    def to_dict(self) -> dict[str, Any]:
        """Returns the cell as JSON can hold it."""
        return {
            "kind": "tree",
            "nodes": [list(pair) for pair in self.nodes],
            "inject": list(self.inject),
            "cell": self.cell,
            "inject_at": self.inject_at,
        }


@dataclasses.dataclass(frozen=True)
class NodesCell:
    """Highway nodes, each made of an earlier one (Zilly et al. 2016).

    `[h, t] = [x; s] W`, `s0 = s + sigmoid(t) (first(h) - s)`, and node i likewise from
    node p: `[h, t] = s_p W_i`, `s_i = s_p + sigmoid(t) (f(h) - s_p)`. The output, the
    next s, is a mean of nodes.

    Attributes:
        nodes: (previous node, function) of nodes 1, 2, ...; node 0 may be previous.
        output: the mean of "all" nodes but node 0, or of the "loose_ends" alone, which
            no node reads.
        gate: whether t is the "last" or the "first" half of a product (DARTS).
        first: the function of node 0.
    """

    nodes: tuple[tuple[int, str], ...]
    output: str = "all"
    gate: str = "last"
    first: str = "tanh"

    def __post_init__(self):
        nodes = tuple((p, str(f)) for p, f in self.nodes)
        object.__setattr__(self, "nodes", nodes)
        if not nodes:
            raise errors.UserError("a cell of highway nodes has no node")
        for i, (previous, function) in enumerate(nodes):
            _check_index(f"the node that node {i + 1} reads", previous, i + 1)
            if function not in ACTIVATIONS:
                raise errors.unknown(f"function of node {i + 1}", function, ACTIVATIONS)
        if self.first not in ACTIVATIONS:
            raise errors.unknown("function of node 0", self.first, ACTIVATIONS)
        if self.output not in OUTPUTS:
            raise errors.unknown("output", self.output, OUTPUTS)
        if self.gate not in GATES:
            raise errors.unknown("gate", self.gate, GATES)

    def averaged(self) -> tuple[int, ...]:
        """Returns the nodes whose mean is the output."""
        if self.output == "all":
            return tuple(range(1, len(self.nodes) + 1))
        read = {previous for previous, _ in self.nodes}
        return tuple(i for i in range(len(self.nodes) + 1) if i not in read)

    @classmethod
    def from_arc(cls, arc: Sequence[int], form: str = "enas_lm") -> "NodesCell":
        """Reads an arc.

        Args:
            arc: of "enas_lm" (previous, function) of every node; of "enas", the first
                published code, node 0's function before them.
            form: "enas_lm" or "enas": they number the functions differently, and
                average all nodes or the loose ends.

        Raises:
            UserError: a wrong count, or a number that means nothing at its position.
        """
        if form not in NODE_FUNCTIONS:
            raise errors.unknown("form of an arc", form, NODE_FUNCTIONS)
        arc, functions = [int(token) for token in arc], NODE_FUNCTIONS[form]
        first, start = "tanh", 0
        if form == "enas":
            first, start = _choice(arc, 0, functions, "function"), 1
        if (len(arc) - start) % 2 or len(arc) <= start:
            raise errors.UserError(
                f"an arc of {form} is {'one number and ' if start else ''}pairs "
                f"(previous node, function), not {len(arc)} numbers"
            )
        nodes = []
        for i in range(start, len(arc), 2):
            previous = _choice(arc, i, range((i - start) // 2 + 1), "previous node")
            nodes.append((previous, _choice(arc, i + 1, functions, "function")))
        return cls(tuple(nodes), OUTPUTS[start], "last", first)

    def arc(self) -> tuple[int, ...]:
        """Returns the numbers that `from_arc` reads as "enas_lm"."""
        functions = NODE_FUNCTIONS["enas_lm"]
        return tuple(n for p, f in self.nodes for n in (p, functions.index(f)))

    @classmethod
    def from_darts(cls, pairs: Sequence[tuple[str, int]]) -> "NodesCell":
        """Reads a genotype of DARTS: (function, previous node) of every node."""
        return cls(tuple((p, f) for f, p in pairs), "all", "first")

    def to_dict(self) -> dict[str, Any]:
        """Returns the cell as JSON can hold it."""
        return {
            "kind": "nodes",
            "nodes": [list(pair) for pair in self.nodes],
            "output": self.output,
            "gate": self.gate,
            "first": self.first,
        }


Cell = TreeCell | NodesCell
KINDS = {"tree": TreeCell, "nodes": NodesCell}


def from_dict(values: Mapping[str, Any]) -> Cell:
    """Returns the cell of a `to_dict`.

    Raises:
        UserError: it is none.
    """
    fields = dict(values)
    kind = fields.pop("kind", None)
    if kind not in KINDS:
        raise errors.unknown("kind of a recurrent cell", kind, KINDS)
    try:
        return KINDS[kind](**fields)
    except (TypeError, ValueError) as error:
        raise errors.UserError(f"a recurrent cell cannot be read: {error}") from None


def parse(text: str, form: str = "tree") -> Cell:
    """Reads a cell from its numbers as text.

    Args:
        text: numbers, with spaces or commas.
        form: "tree", "enas_lm" or "enas".

    Raises:
        UserError: it does not parse; the message names the position.
    """
    tokens = []
    for i, word in enumerate(text.replace(",", " ").split()):
        if not word.isdigit():
            raise errors.UserError(
                f"position {i + 1} of the cell is {word!r}, not a number"
            )
        tokens.append(int(word))
    readers: dict[str, Callable[..., Cell]] = {"tree": TreeCell.from_tokens}
    for name in NODE_FUNCTIONS:
        readers[name] = lambda tokens, name=name: NodesCell.from_arc(tokens, name)
    if form not in readers:
        raise errors.unknown("form of a recurrent cell", form, readers)
    return readers[form](tokens)


def _choice(tokens: Sequence[int], i: int, choices: Sequence, what: str):
    if not 0 <= tokens[i] < len(choices):
        raise errors.UserError(
            f"position {i + 1} of the cell ({what}) is {tokens[i]}; allowed are 0 to "
            f"{len(choices) - 1}"
        )
    return choices[tokens[i]]


def _check_index(name: str, value: Any, count: int) -> None:
    if type(value) is not int or not 0 <= value < count:
        raise errors.UserError(
            f"{name} is {value!r}; allowed are 0 to {count - 1} in this cell"
        )
