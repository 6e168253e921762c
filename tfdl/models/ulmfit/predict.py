"""ULMFiT on a user's own texts: classes, or the likelihood or continuation of a text.

Inputs are a file with a text a line, JSON lines with a field `text`, or a folder with
a text a file (*.txt).
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

import tfdl
from tfdl.engine import errors, files
from tfdl.engine.prediction import Request
from tfdl.models.ulmfit import classify_task, tokenizer, vocabulary_transfer
from tfdl.models.ulmfit.score import token_log_probs
from tfdl.text import generation
from tfdl.text.inputs import read, shortened

MODES = ("score", "continue")


class Predictor:
    """A loaded model directory with its tokenizer."""

    def __init__(self, directory: files.PathLike, config: Mapping[str, Any]):
        self.directory, self.config = directory, config
        self.itos = vocabulary_transfer.read_vocab(directory)
        self.tokenizer = tokenizer.python(
            config.get("tokenizer") or {}, self.itos, directory
        )
        self.model = tfdl.load(str(directory))
        self.is_backward = config.get("direction", "forward") == "backward"

    def ids(self, text: str) -> np.ndarray:
        """Returns a text's ids in the order that the model reads them."""
        found = np.array(self.tokenizer.encode(text), np.int32)
        return found[::-1] if self.is_backward else found


def predict(request: Request) -> Iterator[dict[str, Any]]:
    """Yields a record per text.

    Raises:
        UserError: the input or an option does not fit the model.
    """
    if request.config["head"] == "classifier":
        request.check_options("batch_size", "ensemble")
        yield from _classes(request)
        return
    request.check_options(
        "mode", "count", "temperature", "min_p", "top_k", "beams", "tokens"
    )
    predictor = Predictor(request.model_dir, request.config)
    mode = request.option("mode", "score", MODES)
    if mode == "score":
        yield from _scores(predictor, request)
    else:
        yield from _continuations(predictor, request)


def _classes(request: Request) -> Iterator[dict[str, Any]]:
    predictor = Predictor(request.model_dir, request.config)
    count = request.config["classifier"]["num_classes"]
    labels = list(request.config.get("labels") or map(str, range(count)))
    members = [predictor]
    other = request.options.get("ensemble")
    if other:
        saved = classify_task.check_partner(
            other, str(request.model_dir), request.config.get("labels") or (),
            predictor.itos,
        )  # fmt: skip
        members.append(Predictor(other, saved))
    texts = read(request.input)
    size = request.number("batch_size", 32)
    strategy = tf.distribute.get_strategy()
    chances = np.mean(
        [
            classify_task.Probabilities(
                strategy, member.model, member.tokenizer.vocabulary.pad_id, size
            )([member.ids(text) for text in texts])
            for member in members
        ],
        axis=0,
    )
    for text, row in zip(texts, chances, strict=True):
        yield {
            "text": shortened(text),
            "label": labels[int(row.argmax())],
            "probabilities": {
                name: round(float(p), 6) for name, p in zip(labels, row, strict=True)
            },
        }


def _scores(predictor: Predictor, request: Request) -> Iterator[dict[str, Any]]:
    with_tokens = request.option("tokens", "yes", ("yes", "no")) == "yes"

    @tf.function(input_signature=[tf.TensorSpec([1, None], tf.int32)])
    def score(ids):
        return token_log_probs(predictor.model, ids)

    for text in read(request.input):
        ids = predictor.ids(text)
        found = score(ids[None]).numpy()[0].astype(np.float64)
        loss = -found.mean() if len(found) else 0.0
        record: dict[str, Any] = {
            "text": shortened(text),
            "perplexity": math.exp(min(loss, 700.0)),
            "log_probability": float(found.sum()),
        }
        if with_tokens:
            tokens = predictor.tokenizer.vocabulary.decode(ids)[1:]
            record["tokens"] = [
                [token, round(float(p), 4)]
                for token, p in zip(tokens, found, strict=True)
            ]
        yield record


def _continuations(predictor: Predictor, request: Request) -> Iterator[dict[str, Any]]:
    if predictor.is_backward:
        raise errors.UserError(
            f"{request.model_dir} reads backward: it cannot continue a text"
        )
    count = request.number("count", 50)
    unk_id = predictor.tokenizer.vocabulary.unk_id
    for text in read(request.input):
        ids = predictor.ids(text)
        common = {"seed": request.seed, "unk_id": unk_id}
        if "beams" in request.options:
            found = generation.beam_search(
                predictor.model,
                ids,
                count,
                top_k=request.number("top_k", 10),
                beams=request.number("beams", 100),
                temperature=_rate(request, "temperature", 1.0),
                **common,
            )
        else:
            top_k = request.number("top_k", 1) if "top_k" in request.options else None
            min_p = _rate(request, "min_p", 0.0)
            found = generation.generate(
                predictor.model,
                ids,
                count,
                temperature=_rate(request, "temperature", 0.8),
                min_p=min_p or None,
                top_k=top_k,
                **common,
            )
        yield {"text": text, "continuation": predictor.tokenizer.decode(found)}


def _rate(request: Request, name: str, default: float) -> float:
    try:
        value = float(request.options.get(name, default))
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise errors.UserError(
            f"--option={name}={request.options[name]}: a number from 0 on is needed"
        )
    return value
