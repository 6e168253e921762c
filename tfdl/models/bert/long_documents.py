"""Classifying documents that are longer than max_seq_length, in windows.

A document is read in overlapping windows, as run_squad.py reads passages: each starts
`stride` tokens after the one before, until the end is covered. In training every
window is an example with the document's label; in evaluation and prediction the
windows' logits are joined to the document's.
"""

from collections.abc import Sequence

import numpy as np

from tfdl.engine import errors
from tfdl.models.bert import features
from tfdl.models.bert.examples import Example
from tfdl.text.wordpiece import BertTokenizer

AGGREGATIONS = ("mean", "max")


def windows(
    text_a: str, text_b: str | None, tokenizer: BertTokenizer, length: int, stride: int
) -> list[dict[str, list[int]]]:
    """Returns unpadded features of the windows of a document.

    A text that fits gives one window, equal to `features.convert`. Of a pair the
    longer text slides and the shorter is in every window, cut to half of the room.

    Args:
        text_a: the text.
        text_b: a second text, if any.
        tokenizer: BERT's.
        length: max_seq_length, special tokens included.
        stride: tokens between the starts of windows; what a window shows of the long
            text, if that is less, so that every token is seen.

    Raises:
        UserError: the stride is not above 0, or the length has no room.
    """
    a, b = tokenizer.encode(text_a), tokenizer.encode(text_b) if text_b else []
    room = length - (3 if b else 2)
    if room < 2:
        raise errors.UserError(f"max_seq_length {length} has no room for windows")
    if stride < 1:
        raise errors.UserError(f"stride {stride}: a number above 0 is needed")
    if len(a) + len(b) <= room:
        return [features.pack(a, b, tokenizer, length)]
    a_slides = len(a) > len(b)
    long, kept = (a, b) if a_slides else (b, a)
    kept = kept[: room // 2]
    shown = room - len(kept)
    starts = _starts(len(long), shown, min(stride, shown))
    parts = [long[start : start + shown] for start in starts]
    return [
        features.pack(*((part, kept) if a_slides else (kept, part)), tokenizer, length)
        for part in parts
    ]


def convert(
    examples: Sequence[Example], tokenizer: BertTokenizer, length: int, stride: int
) -> tuple[list[dict[str, list[int]]], np.ndarray]:
    """Returns the windows of all examples, and int64 [windows], whose each is.

    Windows of an example follow one another, in the order of the examples, so that
    `labels[owners]` are the windows' labels.
    """
    rows, owners = [], []
    for i, x in enumerate(examples):
        found = windows(x.text_a, x.text_b, tokenizer, length, stride)
        rows += found
        owners += [i] * len(found)
    return rows, np.array(owners, np.int64)


def aggregate(logits: np.ndarray, owners: np.ndarray, how: str = "mean") -> np.ndarray:
    """Joins the logits of windows to those of their documents.

    Args:
        logits: [windows, C].
        owners: [windows], as `convert` returns them.
        how: `"mean"`, or `"max"`, the largest of each class: for labels that one
            passage decides.

    Returns:
        [documents, C], float64.

    Raises:
        UserError: `how` is neither.
    """
    if how not in AGGREGATIONS:
        raise errors.unknown("aggregation", how, AGGREGATIONS)
    logits = np.asarray(logits, np.float64)
    firsts = np.flatnonzero(np.diff(owners, prepend=-1))
    if how == "max":
        return np.maximum.reduceat(logits, firsts, axis=0)
    counts = np.diff(firsts, append=len(owners))
    return np.add.reduceat(logits, firsts, axis=0) / counts[:, None]


def _starts(tokens: int, shown: int, stride: int) -> range:
    """Returns where windows start: the first that reaches the end is the last."""
    steps = max(-(-(tokens - shown) // stride), 0)
    return range(0, steps * stride + 1, stride)
