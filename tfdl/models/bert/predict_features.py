"""Vectors of texts and of their tokens (extract_features.py)."""

import io
import pathlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from tfdl.engine import errors, files
from tfdl.models.bert import features
from tfdl.models.bert.base import inputs
from tfdl.models.bert.examples import Example
from tfdl.models.bert.finetune import Rows

if TYPE_CHECKING:
    from tfdl.models.bert.predict import Predictor

POOLINGS = ("mean", "cls", "max", "last_four_mean", "pooled")
COMBINATIONS = ("", "concat", "sum", "mean")


def embeddings(
    predictor: "Predictor", rows: Sequence[Example]
) -> Iterator[dict[str, Any]]:
    """Yields a vector per text (or pair of texts)."""
    pooling = predictor.request.option("pooling", "mean", POOLINGS)
    encoder = getattr(predictor.model, "encoder", predictor.model)
    made = [
        features.convert(x.text_a, x.text_b, predictor.tokenizer, predictor.length)
        for x in rows
    ]

    def run(batch):
        out = encoder(inputs(batch), all_layers=pooling == "last_four_mean")
        if pooling == "pooled":
            return {"embedding": out["pooled_output"]}
        vectors = out["sequence_output"]
        if pooling == "last_four_mean":
            vectors = tf.add_n(out["encoder_outputs"][-4:]) / 4.0
        if pooling == "cls":
            return {"embedding": vectors[:, 0]}
        mask = tf.cast(batch["padding_mask"], tf.float32)[:, :, None]
        if pooling == "max":
            return {"embedding": tf.reduce_max(vectors - 1e9 * (1 - mask), axis=1)}
        total = tf.maximum(tf.reduce_sum(mask, axis=1), 1.0)
        return {"embedding": tf.reduce_sum(vectors * mask, axis=1) / total}

    for x, result in zip(rows, predictor.run(Rows(made), run), strict=True):
        record: dict[str, Any] = {"text": x.text_a}
        if x.text_b is not None:
            record["text_b"] = x.text_b
        yield record | {"embedding": _rounded(result["embedding"])}


def tokens(predictor: "Predictor", rows: Sequence[Example]) -> Iterator[dict[str, Any]]:
    """Yields the vectors of every token in chosen layers.

    Into an output that ends in .npz they go as arrays instead: `offsets` [N + 1], where
    each text's tokens begin; `tokens` [T]; `features`, float32 [T, layers, H], or
    [T, D] with the option `combine`.
    """
    request = predictor.request
    layers = _layers(predictor)
    combine = request.option("combine", "", COMBINATIONS)
    encoder = getattr(predictor.model, "encoder", predictor.model)
    made = [_convert(x, predictor) for x in rows]

    def run(batch):
        out = encoder(inputs(batch), all_layers=True)["encoder_outputs"]
        chosen = tf.stack([out[layer] for layer in layers], axis=2)
        if combine == "concat":
            chosen = tf.concat(tf.unstack(chosen, axis=2), -1)[:, :, None]
        elif combine:
            chosen = tf.reduce_sum(chosen, axis=2, keepdims=True)
            chosen /= len(layers) if combine == "mean" else 1
        return {"layers": chosen}

    results = predictor.run(Rows(made), run)
    vocab = predictor.tokenizer.vocab
    names = [[vocab[i] for i in row["token_ids"]] for row in made]
    vectors = [
        result["layers"][: len(row)] for row, result in zip(names, results, strict=True)
    ]
    if request.output.endswith(".npz"):
        _write_arrays(pathlib.Path(request.output), names, vectors, combine)
        return
    indices = [combine] if combine else layers
    for i, (row, found) in enumerate(zip(names, vectors, strict=True)):
        described = [
            {
                "token": token,
                "layers": [
                    {"index": index, "values": _rounded(vector)}
                    for index, vector in zip(indices, each, strict=True)
                ],
            }
            for token, each in zip(row, found, strict=True)
        ]
        yield {"linex_index": i, "features": described}


def _convert(x: Example, predictor: "Predictor") -> dict[str, list[int]]:
    # The original's file format separates the two texts by |||.
    a, bar, b = x.text_a.partition("|||")
    second = b.strip() if bar else x.text_b
    return features.convert(a.strip(), second, predictor.tokenizer, predictor.length)


def _layers(predictor: "Predictor") -> list[int]:
    text = predictor.request.options.get("layers", "-1,-2,-3,-4")
    depth = predictor.config["encoder"]["num_hidden_layers"] + 1
    try:
        layers = [int(part) for part in text.split(",")]
    except ValueError:
        raise errors.UserError(
            f"layers={text}: numbers such as -1,-2 are needed"
        ) from None
    if any(not -depth <= layer < depth for layer in layers):
        raise errors.UserError(
            f"layers={text}: the model has {depth}, from {-depth} on"
        )
    return layers


def _write_arrays(path: pathlib.Path, names, vectors, combine: str) -> None:
    joined = np.concatenate(vectors)
    data = io.BytesIO()
    np.savez(
        data,
        offsets=np.cumsum([0, *map(len, names)]),
        tokens=np.array([token for row in names for token in row]),
        features=joined[:, 0] if combine else joined,
    )
    files.atomic_write(path, data.getvalue())


def _rounded(vector: np.ndarray) -> list[float]:
    return [round(float(value), 6) for value in vector]
