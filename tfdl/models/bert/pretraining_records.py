"""Pretraining instances as arrays and as the original's TFRecords."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from tfdl.data import records
from tfdl.engine import errors

# Ours <- the original's (run_pretraining.py).
NAMES = {
    "token_ids": "input_ids",
    "padding_mask": "input_mask",
    "segment_ids": "segment_ids",
    "masked_positions": "masked_lm_positions",
    "masked_ids": "masked_lm_ids",
    "masked_weights": "masked_lm_weights",
    "next_sentence_labels": "next_sentence_labels",
}


def serialize(row: Mapping[str, np.ndarray]) -> bytes:
    """Returns the tf.Example of an instance's features."""
    example = tf.train.Example()
    for name, values in row.items():
        feature = example.features.feature[name]
        if values.dtype.kind == "f":
            feature.float_list.value.extend(values.tolist())
        else:
            feature.int64_list.value.extend(values.tolist())
    return example.SerializeToString(deterministic=True)


def write(paths: Sequence[str], rows: Iterable[Mapping[str, np.ndarray]]) -> int:
    """Writes instances to files in turn, as the original does; returns the count."""
    return records.write(paths, (serialize(row) for row in rows))


def parse(serialized: tf.Tensor, length: int, slots: int) -> dict[str, tf.Tensor]:
    """Parses records [B] into a batch with our names.

    Args:
        serialized: tf.Example strings [B].
        length: max_seq_length of the records.
        slots: max_predictions_per_seq of the records.
    """
    sizes = {name: length for name in ("input_ids", "input_mask", "segment_ids")}
    sizes |= {name: slots for name in ("masked_lm_positions", "masked_lm_ids")}
    spec = {
        name: tf.io.FixedLenFeature([size], tf.int64) for name, size in sizes.items()
    }
    spec["masked_lm_weights"] = tf.io.FixedLenFeature([slots], tf.float32)
    spec["next_sentence_labels"] = tf.io.FixedLenFeature([1], tf.int64)
    parsed = tf.io.parse_example(serialized, spec)
    return rename(parsed)


def rename(parsed: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Returns the original's features under our names and types."""
    batch = {}
    for ours, theirs in NAMES.items():
        value = parsed[theirs]
        batch[ours] = value if ours == "masked_weights" else tf.cast(value, tf.int32)
    batch["next_sentence_labels"] = batch["next_sentence_labels"][:, 0]
    return batch


def sizes(source: records.Records) -> tuple[int, int]:
    """Returns the max_seq_length and max_predictions_per_seq of records."""
    features = _first(source)
    return tuple(
        len(features[name].int64_list.value) for name in ("input_ids", "masked_lm_ids")
    )


def check(source: records.Records, length: int, slots: int, vocab_size: int) -> None:
    """Checks the first record against what training expects.

    Raises:
        UserError: it has other features, lengths or larger ids.
    """
    features, where = _first(source), _where(source)
    for name, expected, flag in (
        ("input_ids", length, "max_seq_length"),
        ("masked_lm_ids", slots, "max_predictions_per_seq"),
    ):
        found = len(features[name].int64_list.value)
        if found != expected:
            raise errors.UserError(
                f"{where}: {name} has {found} entries, {flag} is {expected}"
            )
    largest = max(features["input_ids"].int64_list.value)
    if largest >= vocab_size:
        raise errors.UserError(
            f"{where}: token id {largest}, the vocabulary has {vocab_size} tokens"
        )


def _where(source: records.Records) -> str:
    return f"{source.paths[0]}: record 0"


def _first(source: records.Records):
    """Returns the features of the first record, all of which are there."""
    example, where = tf.train.Example(), _where(source)
    try:
        example.ParseFromString(source.read([0])[0])
    except Exception:
        raise errors.UserError(f"{where} is no tf.Example") from None
    features = example.features.feature
    missing = sorted(set(NAMES.values()) - set(features))
    if missing:
        raise errors.UserError(f"{where} lacks {', '.join(missing)}")
    return features
