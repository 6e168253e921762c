"""Cells of blocks: NASNet's and AmoebaNet's space, and what an architecture of it is.

A network repeats two cells: the normal one, and the reduction cell that halves the
resolution (Zoph et al. 2018, arXiv:1707.07012). The states of a cell are its two
inputs and what its blocks return; a block adds or concatenates two ops of two
earlier states. States are numbered as in TF-slim:

    0    the cell's current input: the output of the cell before
    1    the previous input: the output of the cell before that one
    2... the blocks' outputs
"""

import dataclasses
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tfdl.engine import errors
from tfdl.models.automl.spaces import space
from tfdl.models.automl.spaces.space import Architecture, Decision

# Real et al. 2019 (arXiv:1802.01548).
AMOEBA_OPS = (
    "identity",
    "sep_3x3",
    "sep_5x5",
    "sep_7x7",
    "avg_3x3",
    "max_3x3",
    "dil_3x3",
    "conv_1x7_7x1",
)
NASNET_OPS = (
    "identity",
    "conv_1x3_3x1",
    "conv_1x7_7x1",
    "dil_3x3",
    "avg_3x3",
    "max_3x3",
    "max_5x5",
    "max_7x7",
    "conv_1x1",
    "conv_3x3",
    "sep_3x3",
    "sep_5x5",
    "sep_7x7",
)
# What published cells have besides: AmoebaNet-B and -D, and DARTS' dilated ops
# (depthwise with rate 2, then pointwise, once).
OPS = (*NASNET_OPS, "max_2x2", "dil2_sep_5x5", "dil_sep_3x3", "dil_sep_5x5")
COMBINES = ("add", "concat")
SIGNS = {"add": "+", "concat": "|"}
CELLS = ("normal", "reduction")


@dataclasses.dataclass(frozen=True)
class Block:
    """Two ops of two earlier states, combined."""

    input1: int
    op1: str
    input2: int
    op2: str
    combine: str = "add"

    def __str__(self) -> str:
        sign = SIGNS[self.combine]
        return f"{self.op1}({self.input1}) {sign} {self.op2}({self.input2})"

    @classmethod
    def parse(cls, text: str) -> "Block":
        """Reads what `str` writes, e.g. `"sep_5x5(0) + identity(1)"`."""
        found = re.fullmatch(r"\s*(\w+)\((\d+)\)\s*([+|])\s*(\w+)\((\d+)\)\s*", text)
        if not found:
            raise errors.UserError(
                f"a block has to be op(state) + op(state), got {text!r}"
            )
        op1, in1, sign, op2, in2 = found.groups()
        combine = next(name for name in COMBINES if SIGNS[name] == sign)
        return cls(int(in1), op1, int(in2), op2, combine)


@dataclasses.dataclass(frozen=True)
class Cell:
    """A cell.

    Attributes:
        blocks: block k makes state k + 2.
        used: the states that are concatenated, in this order, to make the cell's
            output. Of searched cells: those that no block reads, the cell's inputs
            included. Published cells have a table of their own.
    """

    blocks: tuple[Block, ...]
    used: tuple[int, ...]

    def __post_init__(self):
        if not self.blocks:
            raise errors.UserError("a cell needs a block")
        for k, block in enumerate(self.blocks):
            for given in (block.input1, block.input2):
                if not 0 <= given < k + 2:
                    raise errors.UserError(
                        f"block {k + 1} of a cell reads state {given}; allowed are 0 "
                        f"to {k + 1}"
                    )
            for op in (block.op1, block.op2):
                if op not in OPS:
                    raise errors.unknown(f"op in block {k + 1} of a cell", op, OPS)
            if block.combine not in COMBINES:
                raise errors.unknown("combination", block.combine, COMBINES)
        states = len(self.blocks) + 2
        if not self.used or not set(self.used) <= set(range(states)):
            raise errors.UserError(
                f"a cell's output is made of {list(self.used)}; allowed are states 0 "
                f"to {states - 1}, one or more"
            )

    @classmethod
    def of(cls, blocks: Sequence[Block]) -> "Cell":
        """Returns the cell of these blocks, with its loose ends as output."""
        read = {state for b in blocks for state in (b.input1, b.input2)}
        loose = (s for s in range(len(blocks) + 2) if s not in read)
        return cls(tuple(blocks), tuple(loose))

    def to_dict(self) -> dict[str, Any]:
        """Returns it as JSON's types."""
        return {
            "blocks": [list(dataclasses.astuple(block)) for block in self.blocks],
            "used": list(self.used),
        }

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> "Cell":
        """Returns the cell that `to_dict` was called on.

        Raises:
            UserError: it is no cell.
        """
        try:
            blocks = [
                Block(int(in1), str(op1), int(in2), str(op2), *map(str, combine))
                for in1, op1, in2, op2, *combine in given["blocks"]
            ]
            used = tuple(int(state) for state in given["used"])
        except (KeyError, TypeError, ValueError):
            raise errors.UserError(
                'a cell has to be {"blocks": [[input, op, input, op, "add"], ...], '
                f'"used": [...]}}, got {given!r}'
            ) from None
        return cls(tuple(blocks), used)


@dataclasses.dataclass(frozen=True)
class CellGenotype:
    """The two cells of which an image network is made."""

    normal: Cell
    reduction: Cell

    def to_dict(self) -> dict[str, Any]:
        """Returns it as JSON's types."""
        return {
            "kind": "cells",
            "normal": self.normal.to_dict(),
            "reduction": self.reduction.to_dict(),
        }

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> "CellGenotype":
        """Returns the genotype that `to_dict` was called on.

        Raises:
            UserError: it is none.
        """
        missing = [name for name in CELLS if name not in given]
        if missing:
            raise errors.UserError(f"a genotype of cells needs {', '.join(missing)}")
        return cls(*(Cell.from_dict(given[name]) for name in CELLS))

    def describe(self) -> list[str]:
        """Returns lines that tell a person what it is."""
        lines = []
        for name in CELLS:
            cell = getattr(self, name)
            lines += [f"{name} {k + 2} = {b}" for k, b in enumerate(cell.blocks)]
            lines.append(f"{name} output = {', '.join(map(str, cell.used))}")
        return lines


@dataclasses.dataclass(frozen=True)
class CellMutation:
    """A change of one element of a block (Real et al. 2019).

    Attributes:
        kind: `"identity"`, `"hidden_state"`, `"op"` or `"combine"`.
        cell: 0 for the normal cell, 1 for the reduction cell.
        block: which block, from 0.
        element: the first or the second half of the block, 0 or 1.
        value: the new input, or the new op's or combination's place in its list.
    """

    kind: str
    cell: int = 0
    block: int = 0
    element: int = 0
    value: int = 0


class CellSpace(space.Space):
    """Pairs of cells of blocks.

    Decisions: the normal cell's blocks, then the reduction cell's; for each block its
    two inputs, its two ops and, if it is decided, how they are combined.

    Args:
        name: of the space, for messages.
        ops: the names of the ops, out of `OPS`.
        blocks: how many a cell has.
        combine: whether blocks may concatenate instead of adding.
    """

    # Of mutations that change nothing.
    identity = 0.05

    def __init__(
        self, name: str, ops: Sequence[str], blocks: int = 5, combine: bool = False
    ):
        self.name = name
        self.ops = space.names(f"ops of space {name!r}", ops, OPS)
        self.blocks = space.count(f"blocks of space {name!r}", blocks)
        self.combine = bool(combine)
        self.width = 5 if self.combine else 4
        decisions = []
        for cell in CELLS:
            for k in range(self.blocks):
                place = f"{cell} block {k + 1}"
                states = tuple(map(str, range(k + 2)))
                decisions += [
                    Decision(f"{place} input 1", "input", states),
                    Decision(f"{place} input 2", "input", states),
                    Decision(f"{place} op 1", "op", self.ops),
                    Decision(f"{place} op 2", "op", self.ops),
                ]
                if self.combine:
                    decisions.append(Decision(f"{place} combine", "combine", COMBINES))
        super().__init__(decisions)

    def decode(self, arch: Sequence[int]) -> CellGenotype:
        """Returns the cells of an architecture."""
        arch = self.check(arch)
        half = self.blocks * self.width
        return CellGenotype(self._cell(arch[:half]), self._cell(arch[half:]))

    def _cell(self, values):
        blocks = []
        for k in range(self.blocks):
            in1, in2, op1, op2, *how = values[k * self.width : (k + 1) * self.width]
            combine = COMBINES[how[0]] if how else "add"
            blocks.append(Block(in1, self.ops[op1], in2, self.ops[op2], combine))
        return Cell.of(blocks)

    def encode(self, genotype: CellGenotype) -> Architecture:
        """Returns the architecture of cells of this space; `used` isn't part of it.

        Raises:
            UserError: they have other ops, more or fewer blocks.
        """
        arch = []
        for name in CELLS:
            blocks = getattr(genotype, name).blocks
            if len(blocks) != self.blocks:
                raise errors.UserError(
                    f"the {name} cell has {len(blocks)} blocks; space {self.name!r} "
                    f"has {self.blocks}"
                )
            for block in blocks:
                for op in (block.op1, block.op2):
                    if op not in self.ops:
                        raise errors.unknown(f"op of space {self.name!r}", op, self.ops)
                arch += [block.input1, block.input2]
                arch += [self.ops.index(block.op1), self.ops.index(block.op2)]
                if self.combine:
                    arch.append(COMBINES.index(block.combine))
                elif block.combine != "add":
                    raise errors.UserError(f"space {self.name!r} only adds")
        return self.check(arch)

    def mutation(self, arch: Architecture, rng: random.Random) -> CellMutation:
        """Draws a mutation: its kind, then cell, block, element and value.

        A hidden state becomes another one, an op any op of the list. Where the
        combination is decided, it is a third kind, as probable as the others: of
        spaces with it no mutations are published.
        """
        if rng.random() < self.identity:
            return CellMutation("identity")
        kinds = ["hidden_state", "op"] + ["combine"] * self.combine
        kind = rng.choice(kinds)
        cell = rng.randrange(len(CELLS))
        block = rng.randrange(self.blocks)
        if kind == "combine":
            old = arch[self._position(cell, block) + 4]
            return CellMutation(kind, cell, block, 0, 1 - old)
        element = rng.randrange(2)
        if kind == "op":
            return CellMutation(
                kind, cell, block, element, rng.randrange(len(self.ops))
            )
        old = arch[self._position(cell, block) + element]
        others = [state for state in range(block + 2) if state != old]
        return CellMutation(kind, cell, block, element, rng.choice(others))

    def apply(self, arch: Architecture, mutation: CellMutation) -> Architecture:
        """Returns the mutated architecture."""
        if mutation.kind == "identity":
            return arch
        place = self._position(mutation.cell, mutation.block) + mutation.element
        place += {"hidden_state": 0, "op": 2, "combine": 4}[mutation.kind]
        return self.check((*arch[:place], mutation.value, *arch[place + 1 :]))

    def mutate(self, arch: Architecture, rng: random.Random) -> Architecture:
        """Returns `arch` after one mutation, see `mutation`."""
        return self.apply(arch, self.mutation(arch, rng))

    def _position(self, cell, block):
        return (cell * self.blocks + block) * self.width

    def canonical(self, arch: Architecture) -> Architecture:
        """Returns the first of all ways to write the same two cells.

        The order of the blocks, as far as they do not read one another, and of a
        block's halves is free: it permutes channels at most.
        """
        half = self.blocks * self.width
        return (*self._first(arch[:half]), *self._first(arch[half:]))

    def _first(self, values):
        """Returns the smallest sequence among all orders of a cell's blocks."""
        width = self.width
        blocks = [values[i : i + width] for i in range(0, len(values), width)]
        # An order in the making: the blocks' values so far, and new numbers of states.
        orders = {((), ((0, 0), (1, 1)))}
        for number in range(2, len(blocks) + 2):
            best, kept = None, set()
            for written, numbers in orders:
                known = dict(numbers)
                for k, (in1, in2, op1, op2, *how) in enumerate(blocks):
                    if k + 2 in known or in1 not in known or in2 not in known:
                        continue
                    halves = sorted([(known[in1], op1), (known[in2], op2)])
                    candidate = (*(i for i, _ in halves), *(o for _, o in halves), *how)
                    if best is None or candidate < best:
                        best, kept = candidate, set()
                    if candidate == best:
                        new = (*numbers, (k + 2, number))
                        kept.add((written + candidate, tuple(sorted(new))))
            orders = kept
        return next(iter(orders))[0]

    def describe(self, arch: Architecture) -> list[str]:
        """Returns one line for each block and each cell's output."""
        return self.decode(arch).describe()


def nasnet(
    blocks: int = 5, ops: Sequence[str] = NASNET_OPS, combine: bool = True
) -> CellSpace:
    """Returns NASNet's space: 13 ops; blocks add or concatenate."""
    return CellSpace("nasnet", ops, blocks, combine)


def amoeba(
    blocks: int = 5, ops: Sequence[str] = AMOEBA_OPS, combine: bool = False
) -> CellSpace:
    """Returns AmoebaNet's space: 8 ops; blocks add."""
    return CellSpace("amoeba", ops, blocks, combine)
