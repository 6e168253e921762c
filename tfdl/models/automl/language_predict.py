"""How likely a language model of searched cells finds texts, or how they go on."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

import tfdl
from tfdl.engine import errors
from tfdl.engine.prediction import Request
from tfdl.models.automl import text_tokens
from tfdl.models.automl.recurrent.language_model import LanguageModel
from tfdl.text import generation
from tfdl.text.inputs import read, shortened

MODES = ("score", "continue")
OPTIONS = ("mode", "count", "temperature", "top_k", "tokens")
WINDOW = 70


def predict(request: Request) -> Iterator[dict[str, Any]]:
    """Yields a record per text: its likelihood, or a continuation.

    Raises:
        UserError: the input or an option does not fit the model.
    """
    request.check_options(*OPTIONS)
    mode = request.option("mode", "score", MODES)
    if not text_tokens.has(request.model_dir):
        raise errors.UserError(
            f"{request.model_dir} has no vocabulary; convert with --option=vocab=FILE"
        )
    tokenizer = text_tokens.python(request.config, request.model_dir)
    model = tfdl.load(str(request.model_dir))
    how = _scores if mode == "score" else _continuations
    yield from how(request, model, tokenizer)


def log_probs(model: LanguageModel, token_ids: tf.Tensor) -> tf.Tensor:
    """Returns the log-probability of every token but the first.

    Texts are read a window at a time, so that memory does not grow with the length.

    Args:
        model: the language model.
        token_ids: int32 [B, T], padded behind.

    Returns:
        float32 [B, T - 1]; behind a text's end they mean nothing.
    """
    inputs, labels = token_ids[:, :-1], token_ids[:, 1:]
    steps, rows = tf.shape(inputs)[1], tf.shape(inputs)[0]
    windows = (steps + WINDOW - 1) // WINDOW
    # The last window is filled up: all are of one size.
    fill = [[0, 0], [0, windows * WINDOW - steps]]
    inputs, labels = tf.pad(inputs, fill), tf.pad(labels, fill)
    shape = tf.TensorShape([inputs.shape[0], WINDOW])
    found = tf.TensorArray(tf.float32, windows, element_shape=shape)

    def body(i, state, found):
        part = slice(i * WINDOW, (i + 1) * WINDOW)
        out = model({"token_ids": inputs[:, part], "state": state})
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
            labels[:, part], out["logits"]
        )
        losses = tf.ensure_shape(losses, shape)
        return i + 1, _as_given(out["state"], inputs), found.write(i, -losses)

    state = _as_given(model.zero_state(rows), inputs)
    _, _, found = tf.while_loop(
        lambda i, *_: i < windows,
        body,
        (tf.constant(0), state, found),
        parallel_iterations=1,
        maximum_iterations=windows,
    )
    together = tf.transpose(found.stack(), [1, 0, 2])
    return tf.reshape(together, [rows, windows * WINDOW])[:, :steps]


def _as_given(state, inputs):
    rows = inputs.shape[0]
    return [
        tuple(tf.ensure_shape(x, [rows, x.shape[-1]]) for x in layer) for layer in state
    ]


def _scores(request: Request, model, tokenizer) -> Iterator[dict[str, Any]]:
    with_tokens = request.option("tokens", "yes", ("yes", "no")) == "yes"

    @tf.function(input_signature=[tf.TensorSpec([1, None], tf.int32)])
    def score(ids):
        return log_probs(model, ids)

    for text in read(request.input):
        ids = np.array(tokenizer.encode(text), np.int32)
        found = score(ids[None]).numpy()[0].astype(np.float64)
        loss = -found.mean() if len(found) else 0.0
        record: dict[str, Any] = {
            "text": shortened(text),
            "perplexity": math.exp(min(loss, 700.0)),
            "log_probability": float(found.sum()),
        }
        if with_tokens:
            words = tokenizer.vocabulary.decode(ids)[1:]
            record["tokens"] = [
                [word, round(float(p), 4)] for word, p in zip(words, found, strict=True)
            ]
        yield record


def _continuations(request: Request, model, tokenizer) -> Iterator[dict[str, Any]]:
    count = request.number("count", 50)
    top_k = request.number("top_k", 1) if "top_k" in request.options else None
    given = request.options.get("temperature", "0.8")
    try:
        temperature = float(given)
    except ValueError:
        temperature = math.nan
    if not 0 <= temperature < math.inf:
        raise errors.UserError(
            f"--option=temperature={given}: a number from 0 on is needed"
        )
    for text in read(request.input):
        ids = tokenizer.encode(text)
        if tokenizer.rules == "words" and len(ids) > 1:
            ids = ids[:-1]  # a text that is gone on with has no end yet
        found = generation.generate(
            *(model, ids, count, temperature),
            top_k=top_k,
            seed=request.seed,
            unk_id=tokenizer.vocabulary.unk_id,
        )
        yield {"text": text, "continuation": tokenizer.decode(found)}
