"""Measuring a language model on one long text.

Every token but the first is predicted exactly once, whatever the number of rows and
the width of the windows: the rest of a row is not left out, as batches of training
leave it. With one row the state is carried from the text's first token to its last,
and the perplexity is exact. With several, each row begins with the state after
`context` tokens before it, which are read but not counted.
"""

import math

import numpy as np
import tensorflow as tf

from tfdl.models.automl.recurrent.language_model import LanguageModel

CONTEXT = 200


class Stream:
    """Measures a language model; a window's graph is traced once.

    Args:
        model: the model.
    """

    def __init__(self, model: LanguageModel):
        ids = tf.TensorSpec([None, None], tf.int32)
        weights = tf.TensorSpec([None, None], tf.float32)
        state = [
            tuple(tf.TensorSpec([None, width]) for width in widths)
            for widths in model.state_sizes
        ]

        @tf.function(input_signature=[ids, ids, weights, state])
        def window(token_ids, labels, weights, state):
            sums = model.loss_sums(
                *(token_ids, labels, state),
                training=False,
                weights=weights,
                accuracy=True,
            )
            return sums.ce, sums.correct, sums.tokens, sums.state

        self._window, self._model = window, model

    def __call__(
        self, text: np.ndarray, rows: int, width: int, context: int = CONTEXT
    ) -> dict[str, float]:
        """Returns loss, perplexity and accuracy.

        Args:
            text: ids [N], two at least.
            rows: how many are read at a time.
            width: of the windows.
            context: tokens that a row reads before its own.
        """
        count = len(text) - 1
        length = -(-count // max(min(rows, count), 1))
        rows = -(-count // length)
        where = np.arange(rows)[:, None] * length + np.arange(length)[None, :]
        weights = (where < count).astype(np.float32)
        where = np.minimum(where, count - 1)
        state = self._before(text, rows, length, width, context)
        totals = np.zeros(3)
        for start in range(0, length, width):
            at = where[:, start : start + width]
            now = weights[:, start : start + width]
            *sums, state = self._window(text[at], text[at + 1], now, state)
            totals += [float(value) for value in sums]
        loss = totals[0] / totals[2]
        return {
            "loss": loss,
            "perplexity": math.exp(min(loss, 700.0)),
            "accuracy": totals[1] / totals[2],
        }

    def _before(self, text, rows, length, width, context):
        """Returns the rows' first states."""
        state = self._model.zero_state(rows)
        context = min(context, length)
        if rows == 1 or not context:
            return state
        where = np.arange(rows)[:, None] * length + np.arange(-context, 0)[None, :]
        where = np.maximum(where, 0)
        for start in range(0, context, width):
            at = where[:, start : start + width]
            weights = np.ones(at.shape, np.float32)
            *_, state = self._window(text[at], text[at], weights, state)
        # Nothing is before the first row.
        keep = tf.constant([[0.0]] + [[1.0]] * (rows - 1))
        return [tuple(part * keep for part in layer) for layer in state]
