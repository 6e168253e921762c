"""The task `enas_rnn`: language models with shared weights."""

import math

import numpy as np
import tensorflow as tf

from tfdl.data import bptt
from tfdl.engine import errors, options
from tfdl.layers.carry import Carry
from tfdl.models.automl import text_data
from tfdl.models.automl.enas.controller import number_of as whole
from tfdl.models.automl.enas.controllers import RecurrentController
from tfdl.models.automl.enas.shared_recurrent import SharedRecurrent
from tfdl.models.automl.enas.steps import Steps
from tfdl.models.automl.enas.task import EnasTask
from tfdl.models.automl.recurrent.genotypes import NODE_FUNCTIONS
from tfdl.models.automl.search.task import plain

C = 80.0  # a reward is C / perplexity (enas_lm; the first power)


class EnasTextTask(EnasTask):
    """Searches a recurrent cell."""

    measure, trained = "reward", "train_reward"

    def prepare(self) -> None:
        """Reads the text."""
        super().prepare()
        config = self.config
        for name in ("batch_size", "bptt"):
            whole(name, config[name], 1)
        for name in ("alpha", "beta", "weight_decay"):
            options.number(name, config[name])
        if tuple(self.space.functions) != NODE_FUNCTIONS["enas_lm"]:
            raise errors.UserError(
                "space.functions: cells that share weights choose from "
                f"{', '.join(NODE_FUNCTIONS['enas_lm'])}, in this order"
            )
        self.text = text_data.load(
            *(config.data, config.rules, config.max_vocab, config.min_count),
            held_out=config.held_out,
        )
        self.batches = bptt.Batches(
            *(self.text.train, config.batch_size, config.bptt, config.windows),
            seed=config.seed,
        )
        table, columns = bptt.rows(
            self.text.valid.flat, config.batch_size, "fastai2", config.bptt
        )
        # Windows of one length: what judges is the same amount of text each time.
        self._judging = columns // config.bptt
        if not self._judging:
            raise errors.UserError(
                f"{config.data}: {self.text.valid.tokens:,} tokens to choose by are "
                f"too few for {config.batch_size} rows in windows of {config.bptt}"
            )
        self._valid = np.ascontiguousarray(table, np.int32)

    def create_steps(self) -> Steps:
        """Returns epochs of as many steps as their windows are."""
        config = self.config
        shared = [len(self.batches.table(i)) for i in range(config.epochs)]
        return Steps.of(shared, config.controller_steps * config.aggregate)

    def create_network(self):
        """Returns the language model of all cells."""
        return options.construct(
            "network",
            {"enas_rnn": SharedRecurrent},
            {"name": "enas_rnn", **plain(self.config.network)},
            vocab_size=len(self.text.itos),
            nodes=self.space.nodes,
        )

    def create_controller(self):
        """Returns the controller of recurrent cells."""
        return options.construct(
            "controller",
            {"enas_rnn": RecurrentController},
            {"name": "enas_rnn", **plain(self.config.controller)},
            nodes=self.space.nodes,
            functions=len(self.space.functions),
        )

    def networks(self):
        """Also makes the carried state, and compiles what measures a cell."""
        networks = super().networks()
        size = self.network.hidden_size
        self.carry = Carry([(size,)], self.config.batch_size)
        ids = tf.TensorSpec([self.config.batch_size, None], tf.int32)
        arc = tf.TensorSpec([2 * self.space.nodes], tf.int32)
        state = tf.TensorSpec([self.config.batch_size, size])
        self._measure = tf.function(self._window, input_signature=[arc, ids, state])
        return networks

    def state(self):
        """Returns also the state that training carries from window to window."""
        return [*super().state(), *self.carry.variables]

    def train_data(self, phase, start_step, shard):
        """Returns windows to learn from, then windows that judge."""
        del phase, shard
        steps, size = self.steps, self.config.batch_size

        def generate():
            epoch, table = -1, []
            for step in range(start_step, len(steps)):
                row = {
                    "epoch": steps.epoch[step],
                    "judges": steps.judges[step],
                    "index": steps.index[step],
                    "number": steps.number[step],
                }
                if row["judges"]:
                    ids, scale = self._judge_window(int(row["number"])), 1.0
                else:
                    if row["epoch"] != epoch:
                        epoch = int(row["epoch"])
                        table = self.batches.table(epoch)
                    first, drawn, length = table[row["index"]]
                    ids = self.batches.rows(epoch)[:, first : first + length + 1]
                    scale = drawn / self.config.bptt
                yield {
                    "token_ids": ids[:, :-1],
                    "labels": ids[:, 1:],
                    "reset": np.full([size], row["index"] == 0, np.float32),
                    "scale": np.float32(scale),
                    **row,
                }

        ids = tf.TensorSpec([size, None], tf.int32)
        number = tf.TensorSpec([], tf.int64)
        return tf.data.Dataset.from_generator(
            generate,
            output_signature={
                "token_ids": ids,
                "labels": ids,
                "reset": tf.TensorSpec([size]),
                "scale": tf.TensorSpec([]),
                "epoch": number,
                "judges": tf.TensorSpec([], tf.bool),
                "index": number,
                "number": number,
            },
        )

    def rate_factor(self, batch):
        """Returns how long a window is for what is usual, where the recipe asks."""
        return batch["scale"] if self.config.rescale_rate else 1.0

    def child_loss(self, batch, arc, seed):
        """Returns the loss with what holds outputs and weights small, and the reward.

        enas_lm decays the matrices that a cell uses by half the sum of their fourth
        powers (it squares twice).
        """
        config = self.config
        (before,) = self.carry.read(batch["reset"])[0]
        outputs = self.network(
            {"token_ids": batch["token_ids"], "arc": arc, "state": before},
            training=True,
            seed=seed,
        )
        after = outputs["state"]
        finite = tf.reduce_all(tf.math.is_finite(after))
        # A cell that diverged must not spoil what the next one reads.
        self.carry.write([(tf.where(finite, after, tf.zeros_like(after)),)])
        loss = self.network.cross_entropy(outputs, batch["labels"], training=True)
        total, hidden = loss, outputs["hidden"]
        if config.alpha:
            total += config.alpha * tf.reduce_mean(hidden**2)
        if config.beta:
            steps = hidden[1:] - hidden[:-1]
            count = tf.cast(tf.maximum(tf.size(steps), 1), tf.float32)
            total += config.beta * tf.reduce_sum(steps**2) / count
        if config.weight_decay:
            fourth = [0.5 * tf.reduce_sum(w**4) for w in outputs["matrices"]]
            total += config.weight_decay * tf.add_n(fourth)
        return total, loss, C * tf.exp(-loss)

    def reward(self, batch, arc):
        """Returns C / perplexity on a window from the held-out text, from no state."""
        inputs = {"token_ids": batch["token_ids"], "arc": arc}
        loss = self.network.cross_entropy(
            self.network(inputs), batch["labels"], training=False
        )
        return C * tf.exp(-loss), loss

    def look(self, arcs, number):
        """Returns rewards on a window each."""
        state, first = self._zero_state(), number * 1000
        return [
            _reward(float(self._measure(arc, self._judge_window(first + i), state)[0]))
            for i, arc in enumerate(arcs)
        ]

    def full(self, arc):
        """Returns the reward on all of the held-out text, the state carried on."""
        state, losses = self._zero_state(), []
        for number in range(self._judging):
            loss, state = self._measure(arc, self._judge_window(number), state)
            losses.append(float(loss))
        return _reward(float(np.mean(losses)))

    def _judge_window(self, number: int) -> np.ndarray:
        start = number % self._judging * self.config.bptt
        return self._valid[:, start : start + self.config.bptt + 1]

    def _zero_state(self) -> tf.Tensor:
        return tf.zeros([self.config.batch_size, self.network.hidden_size])

    def _window(self, arc, ids, state):
        inputs = {"token_ids": ids[:, :-1], "arc": arc, "state": state}
        outputs = self.network(inputs)
        loss = self.network.cross_entropy(outputs, ids[:, 1:], training=False)
        return loss, outputs["state"]


def _reward(loss: float) -> float:
    return C * math.exp(-loss) if math.isfinite(loss) else 0.0
