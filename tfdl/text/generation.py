"""Continuing a text: sampling and beam search (fastai's `predict`, `beam_search`).

A language model here has `config.vocab_size`, `zero_state(rows)`, a call that maps
`token_ids` and `state` to `hidden` [B, T, H] and `state` (a list of tuples of tensors
[B, n]), and `decode`, which maps outputs to logits.
"""

import weakref
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tfdl.engine.errors import UserError

# More beams than this are a mistake: each holds a state.
MAX_BEAMS = 4096
# A model's step is traced once, not at every call.
_compiled: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


class Stepper:
    """Feeds a language model one token per row at a time and carries its state.

    Args:
        model: the language model.
        banned: ids that are never continued with.
    """

    def __init__(self, model: keras.Model, banned: Sequence[int] = ()):
        self.model = model
        size = model.config.vocab_size
        outside = [i for i in banned if not 0 <= i < size]
        if outside:
            raise UserError(f"token {outside[0]} is not in [0, {size})")
        barred = np.zeros(size, bool)
        barred[list(banned)] = True
        if barred.all():
            raise UserError("every token is ruled out: nothing can follow")
        self._barred = tf.constant(barred)
        if model not in _compiled:
            _compiled[model] = _step_of(weakref.ref(model))

    def __call__(self, ids, state):
        """Reads ids [B, T]; returns float64 log-probabilities [B, V] and the state."""
        if state is None:
            state = self.model.zero_state(len(ids))
        step = _compiled[self.model]
        log_probs, state = step(tf.constant(ids, tf.int32), state, self._barred)
        return log_probs.numpy(), state


def _step_of(model):
    """Returns a model's compiled step, which does not keep the model alive."""

    @tf.function(reduce_retracing=True)
    def step(ids, state, barred):
        found = model()({"token_ids": ids, "state": state})
        logits = tf.cast(model().decode(found["hidden"][:, -1]), tf.float64)
        lowest = tf.constant(-np.inf, tf.float64)
        return tf.nn.log_softmax(tf.where(barred, lowest, logits)), found["state"]

    return step


def generate(
    model: keras.Model,
    prompt_ids: Sequence[int],
    count: int,
    temperature: float = 1.0,
    min_p: float | None = None,
    no_unk: bool = True,
    top_k: int | None = None,
    seed: int = 0,
    unk_id: int = 0,
) -> np.ndarray:
    """Samples a continuation.

    Args:
        model: the language model.
        prompt_ids: what comes before, one token at least.
        count: tokens to sample.
        temperature: probabilities are raised to the power 1 / temperature; 0 takes the
            likeliest token.
        min_p: tokens less likely than this are left out, unless all are.
        no_unk: whether the unknown word is left out.
        top_k: only so many of the likeliest tokens are left in.
        seed: of the draws; the same seed gives the same text.
        unk_id: the unknown word.

    Returns:
        The sampled ids [count].
    """
    _check(model, prompt_ids, count)
    if temperature < 0:
        raise UserError(f"temperature has to be at least 0, got {temperature}")
    if top_k is not None and top_k < 1:
        raise UserError(f"top_k has to be at least 1, got {top_k}")
    random = np.random.default_rng(seed)
    step = Stepper(model, [unk_id] if no_unk else [])
    log_probs, state = step([list(prompt_ids)], None)
    found = []
    for _ in range(count):
        chosen = _draw(log_probs[0], temperature, min_p, top_k, random)
        found.append(chosen)
        if len(found) < count:
            log_probs, state = step([[chosen]], state)
    return np.array(found, np.int32)


def _draw(log_probs, temperature, min_p, top_k, random) -> int:
    kept = log_probs.copy()
    if min_p is not None and (log_probs >= np.log(max(min_p, 1e-300))).any():
        kept[log_probs < np.log(max(min_p, 1e-300))] = -np.inf
    if top_k is not None and top_k < len(kept):
        kept[np.argpartition(kept, -top_k)[:-top_k]] = -np.inf
    if temperature == 0:
        return int(kept.argmax())
    scaled = (kept - kept.max()) / temperature
    weights = np.exp(scaled)
    return int(random.choice(len(weights), p=weights / weights.sum()))


def beam_search(
    model: keras.Model,
    prompt_ids: Sequence[int],
    count: int,
    top_k: int = 10,
    beams: int = 1000,
    temperature: float = 1.0,
    no_unk: bool = True,
    seed: int = 0,
    unk_id: int = 0,
) -> np.ndarray:
    """Continues a text with fastai 1's beam search.

    Every beam is continued with its `top_k` likeliest tokens, the `beams` likeliest
    texts stay. At the end one is drawn by its probability to the power
    1 / temperature; 0 takes the likeliest.

    Returns:
        The ids of the continuation [count].
    """
    _check(model, prompt_ids, count)
    if not 1 <= beams <= MAX_BEAMS or top_k < 1:
        raise UserError(
            f"beams has to be in [1, {MAX_BEAMS}] and top_k at least 1, got {beams} "
            f"and {top_k}"
        )
    step = Stepper(model, [unk_id] if no_unk else [])
    log_probs, state = step([list(prompt_ids)], None)
    texts = np.zeros([1, 0], np.int32)
    scores = np.zeros(1)
    for position in range(count):
        width = min(top_k, log_probs.shape[1])
        best = np.argsort(-log_probs, 1, kind="stable")[:, :width]
        total = scores[:, None] + np.take_along_axis(log_probs, best, 1)
        flat = np.argsort(-total, axis=None, kind="stable")[:beams]
        flat = flat[np.isfinite(total.reshape(-1)[flat])]
        parents, picks = np.unravel_index(flat, total.shape)
        chosen = best[parents, picks].astype(np.int32)
        texts = np.concatenate([texts[parents], chosen[:, None]], 1)
        scores = total[parents, picks]
        if position + 1 < count:
            kept = [tuple(tf.gather(x, parents) for x in pair) for pair in state]
            log_probs, state = step(chosen[:, None], kept)
    if temperature <= 0:
        return texts[scores.argmax()]
    weights = np.exp((scores - scores.max()) / temperature)
    random = np.random.default_rng(seed)
    return texts[random.choice(len(texts), p=weights / weights.sum())]


def _check(model: keras.Model, prompt_ids: Sequence[int], count: int) -> None:
    size = model.config.vocab_size
    if len(prompt_ids) == 0:
        raise UserError("the text to continue has no token")
    if min(prompt_ids) < 0 or max(prompt_ids) >= size:
        raise UserError(f"the text to continue has ids outside of [0, {size})")
    if count < 1:
        raise UserError(f"at least 1 token has to be asked for, got {count}")
