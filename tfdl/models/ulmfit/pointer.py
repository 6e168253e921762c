"""The neural cache: a pointer to recent words (Grave et al. 2016; awd-lstm-lm)."""

import dataclasses

import numpy as np
import tensorflow as tf

from tfdl.engine.errors import UserError
from tfdl.models.ulmfit.language_model import LanguageModel


@dataclasses.dataclass(frozen=True)
class Cache:
    """How a cache is asked and mixed in.

    Attributes:
        window: tokens that are remembered.
        theta: sharpness of the attention to them.
        share: lambda, the cache's part of the probability.
        wait: ask it only when more than `window` tokens have passed (awd-lstm-lm).
    """

    window: int = 500
    theta: float = 1.0
    share: float = 0.1
    wait: bool = False

    def __post_init__(self):
        if self.window < 1:
            raise UserError(f"the cache's window is {self.window}: at least 1")
        if not 0 <= self.share <= 1:
            raise UserError(f"the cache's share is {self.share}: it is in [0, 1]")


# Of awd-lstm-lm, for its models of these corpora.
PENN_TREEBANK = Cache(500, 1.0, 0.1, wait=True)
WIKITEXT_2 = Cache(3785, 0.662, 0.1279, wait=True)


def cache_losses(
    model: LanguageModel, ids: np.ndarray, cache: Cache, bptt: int = 70
) -> np.ndarray:
    """Returns -log p of every token of a text but the first, with the cache.

    The probability of a token is (1 - lambda) times the model's plus lambda times
    the attention that the current output pays to earlier outputs that this token
    followed: softmax of theta * (h . h_i) over the last `window` of them.

    Args:
        model: the language model.
        ids: one text [N].
        cache: its settings.
        bptt: tokens that are read at a time.

    Returns:
        float64 [N - 1].
    """
    ids = np.asarray(ids, np.int32)
    if ids.ndim != 1 or len(ids) < 2:
        raise UserError("a text of two tokens at least is needed")

    @tf.function(reduce_retracing=True)
    def window(start, tokens, state, past, past_next):
        return _window(model, cache, start, tokens, state, past, past_next)

    state = model.encoder.zero_state(1)
    width = model.config.embedding_size
    past, past_next = tf.zeros([0, width]), tf.zeros([0], tf.int32)
    losses = []
    for start in range(0, len(ids) - 1, bptt):
        tokens = tf.constant(ids[start : start + bptt + 1])
        found, state, past, past_next = window(
            tf.constant(start), tokens, state, past, past_next
        )
        losses.append(found.numpy())
    return np.concatenate(losses)


def _window(model, cache: Cache, start, tokens, state, past, past_next):
    """Returns a window's losses, and what the next one remembers."""
    inputs, following = tokens[:-1], tokens[1:]
    found = model({"token_ids": inputs[None], "state": state})
    hidden = found["hidden"][0]
    logits = tf.cast(found["logits"][0], tf.float64)
    own = -tf.cast(
        tf.nn.sparse_softmax_cross_entropy_with_logits(following, logits), tf.float64
    )
    keys = tf.concat([past, hidden], 0)
    follows = tf.concat([past_next, following], 0)
    count, before = tf.shape(inputs)[0], tf.shape(past)[0]
    # Position t sees what was there before it, at most `window` of them.
    now = tf.range(count)[:, None] + before
    then = tf.range(tf.shape(keys)[0])[None, :]
    seen = (then < now) & (then >= now - cache.window)
    scores = cache.theta * tf.matmul(hidden, keys, transpose_b=True)
    scores = tf.where(seen, tf.cast(scores, tf.float64), -np.inf)
    # The very first position has nothing to look at.
    some = tf.reduce_any(seen, 1)
    if cache.wait:
        some &= start + tf.range(count) > cache.window
    attention = tf.nn.softmax(tf.where(some[:, None], scores, 0.0))
    same = tf.equal(follows[None, :], following[:, None]) & seen
    pointed = tf.reduce_sum(tf.where(same, attention, 0.0), 1)
    share = tf.where(some, tf.constant(cache.share, tf.float64), 0.0)
    losses = -tf.math.log((1.0 - share) * tf.exp(own) + share * pointed)
    return losses, found["state"], keys[-cache.window :], follows[-cache.window :]


def cache_perplexity(
    model: LanguageModel, ids: np.ndarray, cache: Cache, bptt: int = 70
) -> float:
    """Returns the perplexity of a text with the cache."""
    return float(np.exp(cache_losses(model, ids, cache, bptt).mean()))
