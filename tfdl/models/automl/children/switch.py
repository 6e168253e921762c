"""A place in a child's graph whose op is chosen while the graph runs."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from tfdl.models.automl.children.chains import Chain, Program


class Choice(NamedTuple):
    """What a place may do.

    Attributes:
        chain: the layers.
        channels: that go in.
        side: height and width of what goes in.
    """

    chain: Chain
    channels: int
    side: int


class Switch:
    """Runs one of several chains; the weights of all are one vector of one length.

    Only the chosen one is computed, forward and backward. Places whose choices are
    the same share a switch, and with it its traces.

    Args:
        choices: what may be chosen.
        side: height and width of what comes out.
        filters: channels that come out.
        epsilon: of the batch normalisations.
    """

    def __init__(
        self, choices: Sequence[Choice], side: int, filters: int, epsilon: float
    ):
        self.choices = tuple(choices)
        self.side, self.filters = side, filters
        self.programs = [Program(*choice, epsilon) for choice in choices]
        self.size = max(program.size for program in self.programs)
        self.statistics = max(program.statistics for program in self.programs)
        self._kept = max(program.kept for program in self.programs) - 1
        self._train = tf.function(self._forward, autograph=False)
        self._gradient = tf.function(self._backward, autograph=False)
        self._infer = tf.function(self._inference, autograph=False)

    def train(
        self, x: tf.Tensor, weights: tf.Tensor, choice: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Runs a choice with batch statistics; returns them as well."""

        @tf.custom_gradient
        def run(x, weights):
            y, statistics, *kept = self._train(x, weights, choice)

            def gradient(dy, _):
                return self._gradient(x, weights, choice, dy, *kept)

            return (y, statistics), gradient

        y, statistics = run(x, weights)
        return self._shaped(y), statistics

    def infer(self, x, weights, statistics, choice) -> tf.Tensor:
        """Runs a choice with given statistics."""
        (y,) = self._infer(x, weights, statistics, choice)
        return self._shaped(y)

    def _shaped(self, y):
        return tf.ensure_shape(y, [None, self.side, self.side, self.filters])

    def _input(self, x, choice: Choice):
        return tf.ensure_shape(x, [None, choice.side, choice.side, choice.channels])

    def _forward(self, x, weights, choice):
        def branch(option, program, x, weights):
            y, statistics, kept = program.train(self._input(x, option), weights)
            statistics = tf.pad(statistics, [[0, self.statistics - program.statistics]])
            kept = kept[1:]  # without what went in
            kept += [tf.zeros([0])] * (self._kept - len(kept))
            return [y, statistics, *kept]

        return self._switch(choice, branch, x, weights)

    def _backward(self, x, weights, choice, dy, *kept):
        def branch(option, program, x, weights, dy, *kept):
            inner = [self._input(x, option), *kept]
            return list(program.gradient(weights, inner, dy))

        return self._switch(choice, branch, x, weights, dy, *kept)

    def _inference(self, x, weights, statistics, choice):
        def branch(option, program, x, weights, statistics):
            return [program.infer(self._input(x, option), weights, statistics)]

        return self._switch(choice, branch, x, weights, statistics)

    def _switch(self, choice, branch, *inputs):
        specs = [tf.TensorSpec(t.shape, t.dtype) for t in inputs]
        branches = []
        for option, program in zip(self.choices, self.programs, strict=True):
            function = functools.partial(branch, option, program)
            traced = tf.function(function, autograph=False)
            branches.append(traced.get_concrete_function(*specs))
        if len(branches) == 1:
            return branches[0](*inputs)
        # Not tf.switch_case, which has every branch's nodes looked at in each run.
        return tf.raw_ops.StatelessCase(
            branch_index=choice,
            input=inputs,
            Tout=[output.dtype for output in branches[0].outputs],
            branches=branches,
            output_shapes=[[]] * 0,
        )
