"""How likely a language model finds texts, token by token."""

import tensorflow as tf

from tfdl.models.ulmfit.language_model import LanguageModel


def token_log_probs(
    model: LanguageModel, token_ids: tf.Tensor, window: int = 70
) -> tf.Tensor:
    """Returns the log-probability of every token but the first.

    Texts are read a window at a time, so that memory does not grow with the length.

    Args:
        model: the language model.
        token_ids: [B, T], padded behind.
        window: tokens that are read at a time.

    Returns:
        float32 [B, T - 1]; behind a text's end they mean nothing.
    """
    inputs, labels = token_ids[:, :-1], tf.transpose(token_ids[:, 1:])
    steps = tf.shape(inputs)[1]
    windows = (steps + window - 1) // window
    found = tf.TensorArray(
        tf.float32, windows, infer_shape=False, element_shape=[None, None]
    )

    def body(i, state, found):
        part = slice(i * window, (i + 1) * window)
        out = model.encoder(inputs[:, part], state=state)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
            labels[part], model.decode(out["raw"][-1])
        )
        return i + 1, _like(out["state"], inputs), found.write(i, -losses)

    state = _like(model.encoder.zero_state(tf.shape(inputs)[0]), inputs)
    _, _, found = tf.while_loop(
        lambda i, *_: i < windows,
        body,
        (tf.constant(0), state, found),
        parallel_iterations=1,
        maximum_iterations=windows,
    )
    # A row of nothing, for texts of one token.
    nothing = tf.zeros([0, tf.shape(inputs)[0]])
    together = tf.cond(windows > 0, found.concat, lambda: nothing)
    return tf.transpose(tf.ensure_shape(together, [None, inputs.shape[0]]))


def _like(state, inputs):
    rows = inputs.shape[0]
    return [
        tuple(tf.ensure_shape(x, [rows, x.shape[-1]]) for x in pair) for pair in state
    ]
