"""Continuing a text, and the cache pointer."""

import numpy as np
import pytest
import tensorflow as tf

from tfdl.engine import errors
from tfdl.models.ulmfit import pointer
from tfdl.models.ulmfit.config import EncoderConfig
from tfdl.models.ulmfit.language_model import LanguageModel
from tfdl.text.generation import beam_search, generate

SIZE = 12


@pytest.fixture(scope="module")
def model():
    """A random model with opinions: its embedding is large."""
    tf.keras.utils.set_random_seed(3)
    made = LanguageModel(EncoderConfig(SIZE, 6, 8, 2))
    made.build()
    made.encoder.embedding.assign(made.encoder.embedding * 40)
    made.decoder_bias.assign(np.where(np.arange(SIZE) == 0, 4.0, 0.0))
    return made


def log_probs(model, ids) -> np.ndarray:
    """Log-probabilities of what follows a whole text, without any state."""
    logits = model({"token_ids": tf.constant([ids], tf.int32)})["logits"][0, -1]
    return tf.nn.log_softmax(tf.cast(logits, tf.float64)).numpy()


def test_greedy_equals_reading_the_whole_text(model):
    text = [2, 3]
    found = generate(model, text, 8, temperature=0)
    for token in found:
        scores = log_probs(model, text)
        scores[0] = -np.inf
        assert token == scores.argmax()
        text.append(int(token))
    with_unknown = generate(model, [2, 3], 8, temperature=0, no_unk=False)
    assert 0 in with_unknown and 0 not in found


def test_sampling(model):
    first = generate(model, [2, 3], 30, seed=1)
    np.testing.assert_array_equal(first, generate(model, [2, 3], 30, seed=1))
    assert not np.array_equal(first, generate(model, [2, 3], 30, seed=2))
    greedy = generate(model, [2, 3], 30, temperature=0)
    np.testing.assert_array_equal(generate(model, [2, 3], 30, top_k=1), greedy)
    np.testing.assert_array_equal(generate(model, [2, 3], 30, 1e-3), greedy)
    # Nothing is likely enough: the limit is ignored.
    np.testing.assert_array_equal(generate(model, [2, 3], 30, min_p=1.0, seed=1), first)
    probabilities = np.exp(log_probs(model, [2, 3]))
    probabilities[0] = 0
    probabilities /= probabilities.sum()
    limit = np.sort(probabilities)[-3]
    drawn = {
        int(generate(model, [2, 3], 1, min_p=limit * 0.999, seed=seed)[0])
        for seed in range(30)
    }
    assert drawn <= set(np.argsort(probabilities)[-3:])


def test_beams_find_the_likeliest_text(model):
    """With room for every text the search is exhaustive."""
    found = beam_search(model, [2, 3], 2, top_k=SIZE, beams=200, temperature=0)
    best, score = None, -np.inf
    for first in range(1, SIZE):
        start = np.delete(log_probs(model, [2, 3]), 0)
        start -= np.log(np.exp(start).sum())
        second = np.delete(log_probs(model, [2, 3, first]), 0)
        second -= np.log(np.exp(second).sum())
        total = start[first - 1] + second.max()
        if total > score:
            best, score = [first, int(second.argmax()) + 1], total
    assert found.tolist() == best
    drawn = beam_search(model, [2, 3], 6, top_k=3, beams=5, seed=4)
    again = beam_search(model, [2, 3], 6, top_k=3, beams=5, seed=4)
    np.testing.assert_array_equal(drawn, again)


@pytest.mark.parametrize(
    "options, said",
    [
        ({"prompt_ids": []}, "has no token"),
        ({"prompt_ids": [99]}, "ids outside of [0, 12)"),
        ({"count": 0}, "at least 1 token"),
        ({"temperature": -1}, "temperature has to be at least 0"),
        ({"top_k": 0}, "top_k has to be at least 1"),
    ],
)
def test_bad_requests(model, options, said):
    with pytest.raises(errors.UserError) as caught:
        generate(model, **{"prompt_ids": [2], "count": 3, **options})
    assert said in str(caught.value)


@pytest.mark.parametrize("wait", [False, True])
def test_cache(model, wait):
    """Against the definition, position by position."""
    ids = np.random.default_rng(0).integers(0, SIZE, 30)
    cache = pointer.Cache(window=7, theta=0.3, share=0.2, wait=wait)
    found = pointer.cache_losses(model, ids, cache, bptt=8)
    out = model({"token_ids": tf.constant(ids[None], tf.int32)})
    hidden, own = out["hidden"][0].numpy(), tf.nn.softmax(out["logits"][0]).numpy()
    for t in range(len(ids) - 1):
        p = own[t, ids[t + 1]]
        past = np.arange(max(0, t - cache.window), t)
        if len(past) and (t > cache.window or not wait):
            attention = np.exp(cache.theta * hidden[past] @ hidden[t])
            attention /= attention.sum()
            pointed = attention[ids[past + 1] == ids[t + 1]].sum()
            p = (1 - cache.share) * p + cache.share * pointed
        assert found[t] == pytest.approx(-np.log(p), rel=1e-4)
    perplexity = pointer.cache_perplexity(model, ids, cache, bptt=8)
    assert perplexity == pytest.approx(np.exp(found.mean()))
    with pytest.raises(errors.UserError, match="share is 2"):
        pointer.Cache(share=2)
