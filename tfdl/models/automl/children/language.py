"""Children that are language models: recurrent cells, trained briefly on text.

One compiled graph trains every architecture: the cell's numbers are its input, and
where they choose between functions all are computed, fused, and one is taken. An
epoch is one call; weights, optimizer and text stay inside.

What the papers do not publish of their children's training (Adam, a cosine to zero,
sizes, epochs) is this project's choice for small machines.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfdl.engine import errors
from tfdl.engine.options import number
from tfdl.layers.cross_entropy import tied_cross_entropy
from tfdl.models.automl import rewards, spaces, text_data
from tfdl.models.automl.children.child import Children, Report
from tfdl.models.automl.recurrent import nodes, tree
from tfdl.models.automl.recurrent.genotypes import NODE_FUNCTIONS
from tfdl.models.automl.spaces.recurrent_cells import EnasRnnSpace, ZophRnnSpace
from tfdl.models.automl.spaces.space import Architecture

DEFAULTS: dict[str, Any] = {
    "name": "language",
    "space": {"name": "zoph_rnn", "base": 8},
    "data": "embedded:docstrings",
    "rules": "fastai2",
    "max_vocab": 1000,
    "held_out": 0.1,
    "train_tokens": 60_000,  # 0: all
    "valid_tokens": 10_000,
    "hidden_size": 64,  # of embedding and cells
    "num_layers": 1,
    "batch_size": 32,
    "bptt": 32,
    "epochs": 2,
    "learning_rate": 0.01,
    "clip": 1.0,  # of the gradient's norm
    "dropout": 0.0,  # of the embedding's and the last cell's outputs
    "reward": "inverse_square",
    "c": 80.0,
}
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8
INTEGERS = ("max_vocab", "hidden_size", "num_layers", "batch_size", "bptt", "epochs")

Values = list[tf.Tensor]


class LanguageChildren(Children):
    """Trains language models of the spaces "zoph_rnn" and "enas_rnn".

    Args:
        config: see `DEFAULTS`.
    """

    def __init__(self, config: Mapping[str, Any]):
        for name in config:
            if name not in DEFAULTS:
                raise errors.unknown("option of children 'language'", name, DEFAULTS)
        super().__init__({**DEFAULTS, **config})
        options = self.config
        for name in INTEGERS:
            if type(options[name]) is not int or options[name] < 1:
                raise errors.UserError(
                    f"children.{name}={options[name]!r}: a whole number above 0 is "
                    "needed"
                )
        for name in ("learning_rate", "clip", "c", "train_tokens", "valid_tokens"):
            number(f"children.{name}", options[name])
        number("children.dropout", options["dropout"], below=1.0)
        if options["reward"] not in ("inverse", "inverse_square"):
            raise errors.unknown(
                "reward of language models",
                *(options["reward"], ("inverse", "inverse_square")),
            )
        self.space = spaces.create(options["space"])
        text = self._text()
        self.network = Network(self.space, len(text.itos), options)
        size, width = options["batch_size"], options["bptt"]
        train = _rows(text.train.flat, size, width, "train_tokens")
        valid = _rows(text.valid.flat, size, width, "valid_tokens")
        self._graph = Graph(self.network, train, valid, options)

    def _text(self) -> text_data.Text:
        options = self.config
        most = (int(options["train_tokens"]), int(options["valid_tokens"]), 1000)
        return text_data.load(
            options["data"],
            options["rules"],
            options["max_vocab"],
            held_out=options["held_out"],
            most=most,
        )

    def train(self, arch: Architecture, seed: int, report: Report) -> dict[str, Any]:
        """Trains a child; the reward is c / perplexity^2, or c / perplexity."""
        options = self.config
        tokens = tf.constant(self.network.tokens(arch), tf.int32)
        seed = tf.constant([seed % 2**31, seed // 2**31 % 2**31], tf.int32)
        values = self._graph.first(seed)
        perplexities, losses = [], []
        for epoch in range(options["epochs"]):
            values, loss = self._graph.epoch(
                tokens, values, tf.constant(epoch, tf.int32), seed
            )
            losses.append(float(loss))
            valid = float(self._graph.measure(tokens, values[0]))
            perplexities.append(math.exp(valid) if valid < 700 else math.inf)
            known = {"epoch": epoch + 1, "loss": losses[-1]}
            report({**known, "perplexity": perplexities[-1]})
            if not math.isfinite(losses[-1] + perplexities[-1]):
                break
        given = {"c": options["c"]}
        reward = rewards.reward(options["reward"], perplexities, **given)
        diverged = not math.isfinite(losses[-1] + perplexities[-1])
        return {
            "reward": rewards.LOWEST if diverged else reward,
            "perplexity": perplexities[-1],
            "perplexities": perplexities,
            "losses": losses,
            "parameters": self.network.num_weights(),
            **({"diverged": True} if diverged else {}),
        }


class Network:
    """A language model whose cell is an input: weights in, loss out.

    Args:
        space: what the cell is of.
        vocab_size: V.
        options: see `DEFAULTS`.

    Raises:
        UserError: a space of other networks, or with functions that are not here.
    """

    def __init__(self, space, vocab_size: int, options: Mapping[str, Any]):
        self.space, self.vocab_size = space, vocab_size
        self.hidden, self.layers = options["hidden_size"], options["num_layers"]
        self.dropout = float(options["dropout"])
        self.is_tree = isinstance(space, ZophRnnSpace)
        if not self.is_tree and not isinstance(space, EnasRnnSpace):
            raise errors.UserError(
                f"children 'language' train cells of the spaces zoph_rnn and enas_rnn, "
                f"not of {space.name}"
            )
        if self.is_tree:
            found = {*space.combines, *space.activations}
            self._extra = bool(found & {"max", "sin"})
        else:
            for name in space.functions:
                if name not in NODE_FUNCTIONS["enas_lm"]:
                    allowed = NODE_FUNCTIONS["enas_lm"]
                    raise errors.unknown("function of children", name, allowed)

    def tokens(self, arch: Architecture) -> tuple[int, ...]:
        """Returns an architecture as the graph's input."""
        cell = self.space.decode(arch)
        return cell.tokens() if self.is_tree else cell.arc()

    @property
    def num_tokens(self) -> int:
        """How many numbers `tokens` returns."""
        return len(self.space.decisions)

    def shapes(self) -> list[list[int]]:
        """Returns the weights' shapes: the embedding, then every cell's."""
        width, found = self.hidden, [[self.vocab_size, self.hidden]]
        for _ in range(self.layers):
            if self.is_tree:
                found += [[width, self.space.base * width]] * 2
            else:
                found += [[2 * width, 2 * width]]
                found += [[width, 2 * width]] * self.space.nodes
        return found

    def num_weights(self) -> int:
        """Returns how many weights there are."""
        return int(sum(np.prod(shape) for shape in self.shapes()))

    def zero_state(self, rows: int) -> list[Values]:
        """Returns the state of every layer before any text."""
        each = 2 if self.is_tree else 1
        return [[tf.zeros([rows, self.hidden])] * each for _ in range(self.layers)]

    def loss(
        self, tokens, weights: Values, ids, labels, state, training=True, seed=None
    ):
        """Returns the mean cross-entropy of a window, and the state after it.

        Args:
            tokens: the cell.
            weights: of `shapes`.
            ids: int32 [B, T].
            labels: the tokens that follow [B, T].
            state: before the window.
            training: keep what a gradient needs.
            seed: int32 [2] of the dropout's masks; without it nothing is dropped.
        """
        embedding, *rest = weights
        x = tf.gather(embedding, tf.transpose(ids))
        masks = self._masks(ids.shape[0], seed)
        x, after = x * masks[0], []
        each = len(rest) // self.layers
        for i, before in enumerate(state):
            matrices = rest[i * each : (i + 1) * each]
            x, now = self._cell(tokens, x, matrices, before, training)
            after.append(now)
        rows = tf.reshape(x * masks[1], [-1, self.hidden])
        flat = tf.reshape(tf.transpose(labels), [-1])
        ones = tf.ones_like(flat, tf.float32)
        total, _ = tied_cross_entropy(rows, embedding, None, flat, ones, training)
        return total / tf.cast(tf.size(labels), tf.float32), after

    def _cell(self, tokens, x, matrices, state, training):
        if self.is_tree:
            function = tree.function_of_tokens(tokens, self._extra)
            c, m = state
            weights = tree.Weights(*matrices)
            x, m, c = tree.run(function, x, weights, m, c, training)
            return x, [c, m]
        plan = nodes.PlanOfArc(tokens)
        w_prev, *layers = matrices
        x, s = nodes.run(plan, x, w_prev, layers, state[0], training)
        return x, [s]

    def _masks(self, rows: int, seed) -> list:
        if seed is None or not self.dropout:
            return [1.0, 1.0]
        shape, keep = [2, rows, self.hidden], 1.0 - self.dropout
        kept = tf.random.stateless_uniform(shape, seed) < keep
        return tf.unstack(tf.cast(kept, tf.float32) / keep)


class Graph:
    """What is compiled: new weights, an epoch, a measurement.

    Args:
        network: the network.
        train: ids [B, n + 1] to learn from, n a multiple of the window.
        valid: ids to measure on.
        options: see `DEFAULTS`.
    """

    def __init__(self, network: Network, train, valid, options: Mapping[str, Any]):
        self._network, self._options = network, options
        self._train, self._valid = tf.constant(train), tf.constant(valid)
        tokens = tf.TensorSpec([network.num_tokens], tf.int32)
        specs = [tf.TensorSpec(shape) for shape in network.shapes()]
        seed, number = tf.TensorSpec([2], tf.int32), tf.TensorSpec([], tf.int32)

        def compiled(function, *signature):
            return tf.function(function, input_signature=signature, jit_compile=True)

        self.first = compiled(self._first, seed)
        self.epoch = compiled(self._epoch, tokens, [specs] * 3, number, seed)
        self.measure = compiled(self._measure, tokens, specs)

    def _first(self, seed):
        """Returns new weights, and both of Adam's means."""
        weights = []
        for i, shape in enumerate(self._network.shapes()):
            # The embedding as in LanguageModel, the cells' in Glorot's range.
            bound = math.sqrt(6.0 / sum(shape)) if i else 0.1
            key = tf.random.experimental.stateless_fold_in(seed, i)
            weights.append(tf.random.stateless_uniform(shape, key, -bound, bound))
        zeros = [tf.zeros_like(weight) for weight in weights]
        return [weights, zeros, zeros]

    def _epoch(self, tokens, values, epoch, seed):
        """Returns what an epoch makes of weights and means, and its mean loss."""
        options, network = self._options, self._network
        width = options["bptt"]
        steps = (self._train.shape[1] - 1) // width
        total = float(steps * options["epochs"])
        sums = tf.zeros([])

        def body(i, values, state, sums):
            step = epoch * steps + i
            key = tf.random.experimental.stateless_fold_in(seed, step + 1000)
            ids, labels = _window(self._train, i * width, width)
            weights, *means = values
            with tf.GradientTape() as tape:
                tape.watch(weights)
                loss, state = network.loss(
                    tokens, weights, ids, labels, state, seed=key
                )
            gradients = tape.gradient(loss, weights)
            share = tf.cast(step, tf.float32) / total
            rate = options["learning_rate"] * 0.5 * (1.0 + tf.cos(math.pi * share))
            step = tf.cast(step + 1, tf.float32)
            values = _adam(weights, *means, gradients, rate, step, options["clip"])
            return i + 1, values, state, sums + loss

        state = network.zero_state(options["batch_size"])
        _, values, _, sums = tf.while_loop(
            lambda i, *_: i < steps,
            body,
            (tf.constant(0), values, state, sums),
            maximum_iterations=steps,
        )
        return values, sums / steps

    def _measure(self, tokens, weights):
        """Returns the mean loss on the held-out text, the state carried on."""
        options, network = self._options, self._network
        width = options["bptt"]
        steps = (self._valid.shape[1] - 1) // width

        def body(i, state, sums):
            ids, labels = _window(self._valid, i * width, width)
            loss, state = network.loss(
                tokens, weights, ids, labels, state, training=False
            )
            return i + 1, state, sums + loss

        state = network.zero_state(options["batch_size"])
        loop = (tf.constant(0), state, tf.zeros([]))
        found = tf.while_loop(
            lambda i, *_: i < steps, body, loop, maximum_iterations=steps
        )
        return found[-1] / steps


def _window(rows, start, width):
    """Returns inputs and labels [B, width] of a window."""
    found = tf.slice(rows, [0, start], [rows.shape[0], width + 1])
    return found[:, :-1], found[:, 1:]


def _adam(weights, firsts, seconds, gradients, rate, step, clip):
    """Returns weights and means after an update (Kingma & Ba 2015), clipped."""
    gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
    if clip:
        gradients, _ = tf.clip_by_global_norm(gradients, clip)
    correction = tf.sqrt(1.0 - BETA_2**step) / (1.0 - BETA_1**step)
    found: tuple[Values, Values, Values] = ([], [], [])
    for row in zip(weights, firsts, seconds, gradients, strict=True):
        weight, first, second, gradient = row
        first = BETA_1 * first + (1.0 - BETA_1) * gradient
        second = BETA_2 * second + (1.0 - BETA_2) * gradient * gradient
        move = rate * correction * first / (tf.sqrt(second) + EPSILON)
        for part, value in zip(found, (weight - move, first, second), strict=True):
            part.append(value)
    return list(found)


def _rows(ids: Sequence[int], size: int, width: int, name: str) -> np.ndarray:
    """Returns a text as rows of whole windows and one token more."""
    length = (len(ids) // size - 1) // width * width
    if length < 1:
        raise errors.UserError(
            f"children.{name}: {len(ids):,} tokens are too few for {size} rows in "
            f"windows of {width}"
        )
    columns = len(ids) // size
    table = np.asarray(ids[: size * columns], np.int32).reshape(size, columns)
    return table[:, : length + 1]


CHILDREN = LanguageChildren
