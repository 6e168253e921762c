"""One graph for all networks of two cells: the architecture is what is fed to it.

It computes what `networks.cells` computes (the wiring of TF-slim's NASNet), but its
weights are one vector, of which an architecture uses a part, and every block's ops and
inputs are chosen while it runs. Tracing it costs as much as tracing a few networks; a
search trains thousands.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfdl.engine import errors
from tfdl.models.automl.children import cell_ops
from tfdl.models.automl.children.chains import Layer
from tfdl.models.automl.children.switch import Choice, Switch
from tfdl.models.automl.spaces.cells import Cell, CellGenotype


@dataclasses.dataclass(frozen=True)
class Plan:
    """The sizes of the networks.

    Attributes:
        ops: the names of the ops that blocks may have.
        combine: whether blocks may concatenate.
        blocks: of a cell.
        cells: normal cells; two reduction cells come on top.
        filters: of the first normal cells; reduction cells double them.
        stem_filters: of the first convolution.
        size: height and width of the images.
        num_classes: what is told apart.
        epsilon: of the batch normalisations.
    """

    ops: tuple[str, ...]
    combine: bool
    blocks: int
    cells: int
    filters: int
    stem_filters: int
    size: int
    num_classes: int
    epsilon: float = 1e-5

    def __post_init__(self):
        for name in ("blocks", "cells", "filters", "stem_filters", "size"):
            if getattr(self, name) < 1:
                raise errors.UserError(f"{name} of children has to be at least 1")
        if self.filters % 2:
            raise errors.UserError(
                f"filters of children have to be even (a factorised reduction makes "
                f"two halves), got {self.filters}"
            )


class Place:
    """Where a switch stands in the graph, and which part of the vectors is its own."""

    def __init__(self, name: str, switch: Switch):
        self.name, self.switch = name, switch
        self.start = self.code = 0


@dataclasses.dataclass
class _Output:
    """What a cell or the stem returns: `states` times `filters` channels."""

    kind: int | None  # 0 normal, 1 reduction, None the stem
    states: int
    filters: int
    side: int
    halvings: int

    @property
    def channels(self) -> int:
        return self.states * self.filters


class _Cell:
    """A cell's places."""

    def __init__(self, graph: "CellGraph", name: str, kind: int, filters: int, given):
        plan, (current, previous) = graph.plan, given
        self.kind, self.filters = kind, filters
        self.stride = 2 if kind == 1 else 1
        self.current, self.previous = current, previous
        side = current.side
        self.side = -(-side // self.stride)
        begin = Choice(cell_ops.projection(filters), current.channels, side)
        self.begin = graph.place(f"{name}/begin", (begin,), side, filters)
        raw = previous is None
        self.second = current.channels if raw else filters
        self.adjust = None if raw else self._adjustment(graph, name, side)
        # How ops may find their input: how many channels, and with which stride.
        self.variants = list(
            dict.fromkeys(
                [(filters, self.stride), (self.second, self.stride), (filters, 1)]
            )
        )
        choices = [
            Choice(
                cell_ops.op(op, channels, filters, stride),
                channels,
                side if stride == self.stride else self.side,
            )
            for channels, stride in self.variants
            for op in plan.ops
        ]
        self.ops, self.combines = [], []
        both = 2 * filters
        combine = (
            Choice((Layer("sum"),), both, self.side),
            Choice(cell_ops.projection(filters), both, self.side),
        )
        for b in range(plan.blocks):
            for half in ("left", "right"):
                where = f"{name}/block_{b + 2}/{half}"
                self.ops.append(graph.place(where, choices, self.side, filters))
            if plan.combine:
                where = f"{name}/block_{b + 2}/combine"
                self.combines.append(graph.place(where, combine, self.side, filters))
        self.loose = {}
        for state, channels in enumerate((filters, self.second)):
            if self.stride == 1 and channels == filters:
                continue
            loose = [
                Choice(chain, channels, side)
                for chain in (
                    (Layer("zeros", filters=filters, stride=self.stride),),
                    cell_ops.factorised_reduction(filters, self.stride),
                )
            ]
            where = f"{name}/reduction_{state}"
            self.loose[state] = graph.place(where, loose, self.side, filters)
        self.output = _Output(
            kind,
            plan.blocks + 2,
            filters,
            self.side,
            current.halvings + kind,
        )

    def _adjustment(self, graph, name, side):
        """Returns the place that fits the previous input to the current one."""
        channels, filters = self.previous.channels, self.filters
        if self.previous.halvings != self.current.halvings:
            chain = (
                Layer("relu"),
                *cell_ops.factorised_reduction(filters, 2),
            )
            choices = [Choice(chain, channels, self.previous.side)]
        elif self.previous.kind is None and channels == filters:
            return None
        else:
            choices = [Choice(cell_ops.projection(filters), channels, side)]
            # Without a change of its channels it stays as it is.
            if self.previous.kind is not None and self.unchanged_states:
                select = (Layer("select", filters=filters),)
                choices.append(Choice(select, channels, side))
        return graph.place(f"{name}/adjust", choices, side, filters)

    @property
    def unchanged_states(self) -> int:
        """How many states the previous input has if it stays unchanged; 0: never."""
        many, rest = divmod(self.filters, self.previous.filters)
        return 0 if rest or many > self.previous.states else many

    def code(self, place: Place, cell: Cell, used: Sequence[Sequence[int]]) -> int:
        """Returns the choice of a place that belongs to this cell."""
        if place is self.adjust and len(place.switch.choices) > 1:
            return int(len(used[self.previous.kind]) == self.unchanged_states)
        if place in self.combines:
            block = cell.blocks[self.combines.index(place)]
            return int(block.combine == "concat")
        for state, loose in self.loose.items():
            if place is loose:
                return int(state in cell.used)
        return 0

    def op_code(self, ops: Sequence[str], op: str, state: int) -> int:
        """Returns the choice of an op on a state."""
        variant = (
            (self.filters, self.stride),
            (self.second, self.stride),
            (self.filters, 1),
        )[min(state, 2)]
        return self.variants.index(variant) * len(ops) + ops.index(op)


class CellGraph:
    """See the module.

    Args:
        plan: the sizes.

    Attributes:
        places: all switches with what is theirs.
        size: of the vector of weights.
        statistics: of the vector of moving means and variances.
    """

    def __init__(self, plan: Plan):
        self.plan = plan
        self.places: list[Place] = []
        self._switches: dict[tuple, Switch] = {}
        stem = (Layer("conv", (3, 3), plan.stem_filters), Layer("norm"))
        self._stem = self.place(
            "stem", (Choice(stem, 3, plan.size),), plan.size, plan.stem_filters
        )
        outputs = [None, _Output(None, 1, plan.stem_filters, plan.size, 0)]
        self.cells: list[_Cell] = []
        filters = plan.filters
        reductions = {int(plan.cells * k / 3) for k in (1, 2)}
        for i in range(plan.cells):
            kinds = ([1] if i in reductions else []) + [0]
            for kind in kinds:
                filters *= 1 + kind
                name = f"cell_{len(self.cells)}"
                given = (outputs[-1], outputs[-2])
                cell = _Cell(self, name, kind, filters, given)
                self.cells.append(cell)
                outputs.append(cell.output)
        self._last = outputs[-1]
        self.size = 0
        self.statistics = 0
        for code, place in enumerate(self.places):
            place.start, place.code = self.size, code
            self.size += place.switch.size
            self.statistics += place.switch.statistics
        self._dense = self.size
        self.size += (self._last.channels + 1) * plan.num_classes

    def place(self, name, choices, side, filters) -> Place:
        """Returns a new place; places with the same choices share a switch."""
        key = (tuple(choices), side, filters)
        if key not in self._switches:
            self._switches[key] = Switch(choices, side, filters, self.plan.epsilon)
        self.places.append(Place(name, self._switches[key]))
        return self.places[-1]

    def run(
        self,
        vectors: tuple[tf.Tensor, tf.Tensor | None],
        images: tf.Tensor,
        inputs: tf.Tensor,
        codes: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Computes the logits of images.

        Args:
            vectors: the weights; the moving statistics, None to use the batch's.
            images: float32 [B, size, size, 3].
            inputs: int32 [2, 2 blocks], what the blocks' halves read.
            codes: int32 [places], see `Network`.

        Returns:
            The logits [B, num_classes] and the batch's statistics, None if moving
            ones were given.
        """
        return _Run(self, vectors, codes)(images, inputs)


class _Run:
    """One pass through the graph."""

    def __init__(self, graph: CellGraph, vectors, codes):
        self.graph = graph
        places, rest = graph.places, graph.size - graph._dense
        sizes = [place.switch.size for place in places] + [rest]
        self.weights = tf.split(vectors[0], sizes)
        self.codes = tf.unstack(codes, len(places))
        self.training = vectors[1] is None
        if not self.training:
            sizes = [place.switch.statistics for place in places]
            self.statistics = tf.split(vectors[1], sizes)
        self.found: list[tf.Tensor] = [None] * len(places)

    def __call__(self, images, inputs):
        graph, plan = self.graph, self.graph.plan
        x, before = self._do(graph._stem, images), None
        for cell in graph.cells:
            x, before = self._cell(cell, x, before, inputs[cell.kind]), x
        x = tf.reduce_mean(tf.nn.relu(x), [1, 2])
        dense = tf.reshape(self.weights[-1], [-1, plan.num_classes])
        logits = tf.matmul(x, dense[:-1]) + dense[-1]
        return logits, tf.concat(self.found, 0) if self.training else None

    def _do(self, place: Place, x):
        i = place.code
        weights, code, switch = self.weights[i], self.codes[i], place.switch
        if self.training:
            y, self.found[i] = switch.train(x, weights, code)
            return y
        return switch.infer(x, weights, self.statistics[i], code)

    def _cell(self, cell: _Cell, current, previous, inputs):
        first = self._do(cell.begin, current)
        second = current if previous is None else previous
        if cell.adjust is not None:
            second = self._do(cell.adjust, second)
        # A list of tensors of any shape: reading from it copies nothing.
        listed = tf.TensorArray(
            tf.float32,
            self.graph.plan.blocks + 2,
            clear_after_read=False,
            infer_shape=False,
            element_shape=[None] * 4,
        )
        states = [first, second]
        listed = listed.write(0, first).write(1, second)
        for b in range(self.graph.plan.blocks):
            left, right = (
                self._do(cell.ops[2 * b + half], listed.read(inputs[2 * b + half]))
                for half in (0, 1)
            )
            if cell.combines:
                both = self._do(cell.combines[b], tf.concat([left, right], -1))
            else:
                both = left + right
            states.append(both)
            listed = listed.write(b + 2, both)
        for state, place in cell.loose.items():
            states[state] = self._do(place, states[state])
        return tf.concat(states, -1)


class Network:
    """An architecture as what `CellGraph.run` is fed with, and its first weights.

    Args:
        graph: the graph.
        genotype: the cells; `used` states ascend.

    Attributes:
        inputs: int32 [2, 2 blocks].
        codes: int32 [places], the choice of every place.
        mean: of the first weights, float32 [size].
        deviation: of the first weights, which are truncated normal.
        active: 1 where a weight is used and trained.
        decayed: 1 where it is of a kernel besides.
        parameters: how many are used and trained.
    """

    def __init__(self, graph: CellGraph, genotype: CellGenotype):
        self.graph = graph
        cells = (genotype.normal, genotype.reduction)
        plan = graph.plan
        for cell in cells:
            if len(cell.blocks) != plan.blocks or list(cell.used) != sorted(cell.used):
                raise errors.UserError(
                    f"children are made of cells of {plan.blocks} blocks, whose "
                    "outputs are in the states' order"
                )
        self.used = [cell.used for cell in cells]
        self.inputs = np.array(
            [[i for b in cell.blocks for i in (b.input1, b.input2)] for cell in cells],
            np.int32,
        )
        self.codes = np.zeros(len(graph.places), np.int32)
        for one in graph.cells:
            cell = cells[one.kind]
            for place in (one.adjust, *one.combines, *one.loose.values()):
                if place is not None:
                    self.codes[place.code] = one.code(place, cell, self.used)
            for k, place in enumerate(one.ops):
                block = cell.blocks[k // 2]
                op, state = (
                    (block.op2, block.input2) if k % 2 else (block.op1, block.input1)
                )
                self.codes[place.code] = one.op_code(plan.ops, op, state)
        self._describe_weights()

    def _describe_weights(self) -> None:
        graph = self.graph
        self.mean, self.deviation, self.active, self.decayed = (
            np.zeros(graph.size, np.float32) for _ in range(4)
        )
        readers = {}
        for cell in graph.cells:
            readers[cell.begin] = cell.current
            if cell.adjust is not None:
                readers[cell.adjust] = cell.previous
        for place in graph.places:
            program = place.switch.programs[self.codes[place.code]]
            start = place.start
            for piece in program.pieces:
                kind = program.chain[piece.layer].kind
                # Of what a whole cell returned, only the used states count.
                rows = None
                if place in readers and len(piece.shape) == 4:
                    rows = self._rows(readers[place])
                self._piece(start, piece, kind, rows)
                start += piece.size
        last = graph._last
        shape = (last.channels, graph.plan.num_classes)
        self._kernel(graph._dense, shape, graph.plan.num_classes, self._rows(last))
        self.active[graph._dense + shape[0] * shape[1] :] = 1.0
        self.parameters = int(self.active.sum())

    def _rows(self, output: _Output) -> np.ndarray | None:
        """Returns which channels of a cell's output are used."""
        if output.kind is None:
            return None
        rows = np.zeros([output.states, output.filters], np.float32)
        rows[list(self.used[output.kind])] = 1.0
        return rows.reshape(-1)

    def _piece(self, start, piece, kind, rows) -> None:
        where = slice(start, start + piece.size)
        if kind == "select":
            kernel = np.zeros(piece.shape[2:], np.float32)
            kernel[np.flatnonzero(rows), np.arange(piece.shape[3])] = 1.0
            self.mean[where] = kernel.reshape(-1)
        elif piece.name in ("gamma", "beta"):
            self.mean[where] = piece.name == "gamma"
            self.active[where] = 1.0
        else:
            fan_out = piece.shape[0] * piece.shape[1] * piece.shape[3]
            self._kernel(start, piece.shape, fan_out, rows)

    def _kernel(self, start, shape, fan_out, rows) -> None:
        mask = np.ones(shape, np.float32)
        if rows is not None:
            mask *= rows[:, None]
        where = slice(start, start + mask.size)
        # TF 1's variance scaling: 1.3 makes up for what is cut off.
        self.deviation[where] = mask.reshape(-1) * np.sqrt(1.3 * 2.0 / fan_out)
        self.active[where] = self.decayed[where] = mask.reshape(-1)

    def first_weights(self, seed: int) -> np.ndarray:
        """Returns weights to begin with: a function of the seed."""
        random = np.random.default_rng(seed)
        drawn = np.flatnonzero(self.deviation)
        normal = random.standard_normal(len(drawn), np.float32)
        while (far := np.flatnonzero(np.abs(normal) > 2.0)).size:
            normal[far] = random.standard_normal(len(far), np.float32)
        weights = self.mean.copy()
        weights[drawn] += self.deviation[drawn] * normal
        return weights

    def first_statistics(self) -> np.ndarray:
        """Returns moving means of 0 and variances of 1."""
        found = []
        for place in self.graph.places:
            program = place.switch.programs[self.codes[place.code]]
            part = np.zeros(place.switch.statistics, np.float32)
            start = 0
            for count in program.norms:
                part[start + count : start + 2 * count] = 1.0
                start += 2 * count
            found.append(part)
        return np.concatenate(found)

    def named(
        self, weights: np.ndarray, statistics: np.ndarray
    ) -> dict[str, list[np.ndarray]]:
        """Returns each used place's trained weights and its moving statistics.

        Kernels keep the rows of used states alone. `name` has a place's weights in
        the order of its layers, `name/statistics` means and variances in turn.
        """
        found = {}
        readers = {}
        for cell in self.graph.cells:
            readers[cell.begin] = cell.current
            if cell.adjust is not None:
                readers[cell.adjust] = cell.previous
        first = 0
        for place in self.graph.places:
            program = place.switch.programs[self.codes[place.code]]
            start, parts = place.start, []
            for piece in program.pieces:
                part = weights[start : start + piece.size].reshape(piece.shape)
                rows = self._rows(readers[place]) if place in readers else None
                if rows is not None and part.ndim == 4:
                    part = part[:, :, rows > 0]
                if program.chain[piece.layer].kind != "select":
                    parts.append(part)
                start += piece.size
            found[place.name] = parts
            counts = [count for count in program.norms for _ in range(2)]
            ends = np.cumsum([0, *counts]) + first
            found[f"{place.name}/statistics"] = [
                statistics[a:b] for a, b in zip(ends, ends[1:], strict=False)
            ]
            first += place.switch.statistics
        dense = weights[self.graph._dense :].reshape(-1, self.graph.plan.num_classes)
        rows = self._rows(self.graph._last)
        kernel = dense[:-1] if rows is None else dense[:-1][rows > 0]
        found["dense"] = [kernel, dense[-1]]
        return found
