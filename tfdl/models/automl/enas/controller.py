"""What ENAS's three controllers share: the LSTM, the choices, what they cost."""

import dataclasses
from collections.abc import Sequence

import keras
import tensorflow as tf

from tfdl.engine import errors
from tfdl.engine.options import number


@dataclasses.dataclass(frozen=True)
class Samples:
    """What a controller chose, for m architectures at once.

    Attributes:
        arcs: int32 [m, n], the architectures.
        neg_log_probs: float32 [m], minus the sum of the choices' log-probabilities.
        entropies: float32 [m], without gradient.
        logits: of every decision, float32 [m, choices], in the order in which they
            were made.
        skip_penalties: float32 [m], how far skip connections are from their target;
            0 where there are none.
        skip_rates: float32 [m], the share of skip connections that were chosen.
    """

    arcs: tf.Tensor
    neg_log_probs: tf.Tensor
    entropies: tf.Tensor
    logits: Sequence[tf.Tensor]
    skip_penalties: tf.Tensor
    skip_rates: tf.Tensor


class Choices:
    """Draws, or is told, the choices of m architectures, and adds up their cost.

    Args:
        count: m.
        length: how many decisions an architecture has.
        arcs: int32 [m, length], what is chosen; None draws.
        seed: int32 [2], of the draws.
        full_entropy: entropies are those of the distributions; else they are the
            terms -p log p of the choices made.
    """

    def __init__(
        self,
        count: int,
        length: int,
        arcs: tf.Tensor | None,
        seed: tf.Tensor | None,
        full_entropy: bool,
    ):
        self.count, self.length = count, length
        self._arcs, self._seed, self._full = arcs, seed, full_entropy
        self._values: dict[int, tf.Tensor] = {}
        self._costs: list[tf.Tensor] = []
        self._entropies: list[tf.Tensor] = []
        self.logits: list[tf.Tensor] = []

    def choose(self, position: int, logits: tf.Tensor) -> tf.Tensor:
        """Decides what stands at a position; returns int32 [m].

        Args:
            position: in the architecture.
            logits: float32 [m, choices].
        """
        if self._arcs is None:
            seed = tf.random.experimental.stateless_fold_in(self._seed, position)
            value = tf.random.stateless_categorical(logits, 1, seed, tf.int32)[:, 0]
        else:
            value = self._arcs[:, position]
        cost = tf.nn.sparse_softmax_cross_entropy_with_logits(value, logits)
        if self._full:
            logs = tf.nn.log_softmax(logits)
            entropy = -tf.reduce_sum(tf.exp(logs) * logs, axis=1)
        else:
            entropy = cost * tf.exp(-cost)
        self._values[position] = value
        self._costs.append(cost)
        self._entropies.append(tf.stop_gradient(entropy))
        self.logits.append(logits)
        return value

    def samples(
        self,
        penalties: Sequence[tf.Tensor] = (),
        skips: Sequence[tf.Tensor] = (),
    ) -> Samples:
        """Returns everything that was chosen.

        Args:
            penalties: float32 [m] each; their mean is the skip penalty.
            skips: float32 [m] each, 1 for a chosen skip connection.
        """
        nothing = tf.zeros([self.count])
        return Samples(
            tf.stack([self._values[i] for i in range(self.length)], axis=1),
            tf.add_n(self._costs),
            tf.add_n(self._entropies),
            tuple(self.logits),
            tf.add_n(list(penalties)) / len(penalties) if penalties else nothing,
            tf.add_n(list(skips)) / len(skips) if skips else nothing,
        )


class Controller(keras.Model):
    """An LSTM that chooses architectures one decision after the other.

    The LSTM has one layer, no bias, and its gates in the order i, f, o, g. Logits
    z of inputs are attention over what was built before: `tanh(anchor W1 + h W2) v`.

    Args:
        hidden_size: of the LSTM and the embeddings.
        init_range: weights start uniformly in +- this.
        tanh_constant: C; logits become `C tanh(z / T)`. 0 leaves them.
        temperature: T.

    Raises:
        UserError: a number out of its range.
    """

    full_entropy = False

    def __init__(
        self,
        hidden_size: int,
        init_range: float,
        tanh_constant: float,
        temperature: float,
        name: str,
    ):
        super().__init__(name=name)
        number("hidden_size of the controller", hidden_size, 1)
        self.hidden_size = int(hidden_size)
        self.init_range = number("init_range of the controller", init_range)
        self.tanh_constant = number("tanh_constant", tanh_constant)
        self.temperature = number("temperature", temperature, 1e-6)
        size = self.hidden_size
        self.lstm = self.weight("lstm", [2 * size, 4 * size])
        self.start = self.weight("g_emb", [1, size])
        self.w_1 = self.weight("w_1", [size, size])
        self.w_2 = self.weight("w_2", [size, size])
        self.v = self.weight("v", [size, 1])
        self.built = True

    def weight(self, name: str, shape: Sequence[int]) -> keras.Variable:
        """Returns a new weight, uniformly random."""
        init = keras.initializers.RandomUniform(-self.init_range, self.init_range)
        return self.add_weight(shape=shape, initializer=init, name=name)

    @property
    def length(self) -> int:
        """How many decisions an architecture has."""
        raise NotImplementedError("subclasses define length")

    def decide(self, choices: Choices) -> Samples:
        """Makes all decisions, in order."""
        raise NotImplementedError("subclasses define decide()")

    def sample(self, count: int, seed: tf.Tensor) -> Samples:
        """Draws `count` architectures; the same seed (int32 [2]) draws the same."""
        return self.decide(Choices(count, self.length, None, seed, self.full_entropy))

    def forced(self, arcs: tf.Tensor) -> Samples:
        """Returns what `sample` would, had it drawn `arcs`, int32 [m, n]."""
        count = arcs.shape[0]
        return self.decide(Choices(count, self.length, arcs, None, self.full_entropy))

    # --- what decisions are made of --------------------------------------------

    def zeros(self, choices: Choices) -> tf.Tensor:
        """Returns zeros [m, hidden_size]."""
        return tf.zeros([choices.count, self.hidden_size], self.lstm.dtype)

    def first_input(self, choices: Choices) -> tf.Tensor:
        """Returns the start embedding [m, hidden_size]."""
        return tf.repeat(tf.convert_to_tensor(self.start), choices.count, axis=0)

    def step(
        self, inputs: tf.Tensor, state: tuple[tf.Tensor, tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the LSTM's next state (c, h), each [m, hidden_size]."""
        c, h = state
        gates = tf.matmul(tf.concat([inputs, h], axis=1), self.lstm)
        i, f, o, g = tf.split(gates, 4, axis=1)
        c = tf.sigmoid(i) * tf.tanh(g) + tf.sigmoid(f) * c
        return c, tf.sigmoid(o) * tf.tanh(c)

    def attention(self, keys: Sequence[tf.Tensor], h: tf.Tensor) -> tf.Tensor:
        """Returns the scores [m, len(keys)] of anchors' keys (anchor W1)."""
        query = tf.matmul(h, self.w_2)[:, None, :]
        hidden = tf.tanh(tf.stack(list(keys), axis=1) + query)
        return tf.einsum("mkh,h->mk", hidden, self.v[:, 0])

    def bounded(self, logits: tf.Tensor, shrink: float = 1.0) -> tf.Tensor:
        """Returns `C / shrink * tanh(logits / T)`."""
        logits = logits / self.temperature
        if not self.tanh_constant:
            return logits
        return self.tanh_constant / shrink * tf.tanh(logits)


def gathered(anchors: Sequence[tf.Tensor], which: tf.Tensor) -> tf.Tensor:
    """Returns `anchors[which]` [m, H] for anchors [m, H] each and `which` [m]."""
    return tf.gather(tf.stack(list(anchors), axis=1), which, batch_dims=1)


def number_of(name: str, value, low: int) -> int:
    """Returns a whole number of at least `low`, or raises `UserError`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise errors.UserError(
            f"{name} has to be a whole number of at least {low}, got {value!r}"
        )
    return value
