"""A corpus as windows for training with truncated backpropagation through time.

The documents follow one another in one stream, the stream is cut into as many rows as
a batch has, and a batch is the next window of every row: the state that a network has
at a window's end is where the next one begins. Windows are a function of the seed and
the epoch, so that a run can be gone on with anywhere.

| windows | rows | lengths | order of documents |
| --- | --- | --- | --- |
| awd-lstm-lm | cut to full rows | drawn | as given |
| enas-lm | cut to full rows | drawn, none far off | as given |
| fastai07 | cut to full rows | drawn, the first longer | as given |
| fastai1 | begin at i/B of the stream, go on at its beginning | fixed | shuffled |
| fastai2 | cut to full rows and one more token | fixed, the last shorter | shuffled |
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfdl.engine import errors
from tfdl.engine.distribution import Shard

KINDS = ("awd-lstm-lm", "enas-lm", "fastai07", "fastai1", "fastai2")
DRAWN = ("awd-lstm-lm", "enas-lm", "fastai07")
SHUFFLED = ("fastai1", "fastai2")
SHORT_SHARE = 0.05  # of windows that are half as long
SPREAD = 5.0  # of the lengths, in tokens
SHORTEST = 5
FIRST_EXTRA = 25  # of fastai07's first window
# Of enas-lm (google-research's enas_lm): how far from the usual length a window is.
DEVIATIONS, EXTRA = 2.0, 20


class Window(NamedTuple):
    """Columns `[start, start + length)` of the rows; `drawn` is the length wished."""

    start: int
    drawn: int
    length: int


class Documents:
    """Token ids of many documents, one after the other.

    Args:
        rows: the documents' ids.
    """

    def __init__(self, rows: Sequence[Sequence[int]]):
        self.lengths = np.array([len(row) for row in rows], np.int64)
        parts = [np.asarray(row, np.int32) for row in rows]
        self.flat = np.concatenate(parts) if parts else np.zeros([0], np.int32)
        self._starts = np.concatenate([[0], np.cumsum(self.lengths)])

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.flat[self._starts[index] : self._starts[index + 1]]

    @property
    def tokens(self) -> int:
        """How many tokens there are."""
        return len(self.flat)

    def reversed(self) -> "Documents":
        """Returns the same documents, each read from its end."""
        return Documents([self[i][::-1] for i in range(len(self))])

    def stream(self, random: np.random.Generator | None = None) -> np.ndarray:
        """Returns all tokens; with `random` the documents are shuffled."""
        if random is None:
            return self.flat
        order = random.permutation(len(self))
        return np.concatenate([self[i] for i in order])


def rows(
    stream: np.ndarray, batch_size: int, kind: str, bptt: int
) -> tuple[np.ndarray, int]:
    """Returns a stream as rows [B, n], and how many of their columns are inputs.

    The column behind an input is its label.
    """
    total = len(stream)
    if kind in DRAWN:
        length = total // batch_size
        table = stream[: length * batch_size].reshape(batch_size, length)
        return table, length - 1
    if kind == "fastai1":
        length = -(-total // (bptt * batch_size)) * bptt
        first = [int(total / batch_size * i) for i in range(batch_size)]
        where = np.array(first)[:, None] + np.arange(length + 1)[None, :]
        return stream[where % total], length
    length = (total - 1) // batch_size
    where = np.arange(batch_size)[:, None] * length + np.arange(length + 1)[None, :]
    return stream[where], length


def windows(
    columns: int, bptt: int, kind: str, draws: Iterator[tuple[float, float]] | None
) -> list[Window]:
    """Returns the windows of an epoch.

    Args:
        columns: inputs in a row.
        bptt: the usual length.
        kind: one of `KINDS`.
        draws: a uniform and a standard normal number for every window; fastai07's
            first takes a pair as well and makes no use of it.
    """
    if kind not in DRAWN:
        return [
            Window(start, bptt, min(bptt, columns - start))
            for start in range(0, columns, bptt)
        ]
    most = (columns + 1) // bptt - 1 if kind == "fastai07" else columns
    # awd-lstm-lm begins no window at the last input, enas-lm none at the last two.
    end = columns - {"awd-lstm-lm": 1, "enas-lm": 2, "fastai07": 0}[kind]
    found, start = [], 0
    while start < end and len(found) < most:
        uniform, normal = next(draws)
        base = bptt if uniform < 1.0 - SHORT_SHARE else bptt / 2.0
        if kind == "fastai07" and not found:
            drawn = bptt + FIRST_EXTRA
        elif kind == "enas-lm":
            while abs(normal) > DEVIATIONS:
                _, normal = next(draws)
            drawn = min(max(1, int(base + SPREAD * normal)), bptt + EXTRA)
        else:
            drawn = max(SHORTEST, int(base + SPREAD * normal))
        found.append(Window(start, drawn, min(drawn, columns - start)))
        start += drawn
    return found


def bucketed(table: list[Window], columns: int, multiple: int) -> list[Window]:
    """Returns windows whose lengths are multiples: few lengths, so few compilations.

    Each length is rounded to the nearest multiple; what is left of the row in the end,
    less than one, is left out.
    """
    found, start = [], 0
    # Once more round where rounding down has left room for more windows.
    for window in itertools.cycle(table):
        length = max(round(window.drawn / multiple), 1) * multiple
        length = min(length, (columns - start) // multiple * multiple)
        if length <= 0:
            return found
        found.append(Window(start, window.drawn, length))
        start += length
    return found


class Batches:
    """Every epoch's windows over a corpus.

    Args:
        documents: the corpus.
        batch_size: rows.
        bptt: the usual length of a window.
        kind: one of `KINDS`.
        seed: of lengths and orders.
        multiple: lengths are multiples of this; 0 leaves them as they are.

    Raises:
        UserError: the corpus is too small for a single window, or `kind` is unknown.
    """

    def __init__(
        self,
        documents: Documents,
        batch_size: int,
        bptt: int,
        kind: str = "fastai2",
        seed: int = 0,
        multiple: int = 0,
    ):
        if kind not in KINDS:
            raise errors.unknown("windows", kind, KINDS)
        self.documents, self.batch_size = documents, batch_size
        self.bptt, self.kind, self.seed, self.multiple = bptt, kind, seed, multiple
        self._epoch: tuple[int, np.ndarray] = (-1, np.zeros([0]))
        if documents.tokens < 2 * batch_size + 1 or not self.table(0):
            raise errors.UserError(
                f"{documents.tokens:,} tokens are too few for {batch_size} rows in "
                f"windows of {bptt}: give more text, or a smaller batch_size or bptt"
            )

    def table(self, epoch: int) -> list[Window]:
        """Returns the windows of an epoch."""
        columns = self._columns()
        draws = self._draws(epoch) if self.kind in DRAWN else None
        found = windows(columns, self.bptt, self.kind, draws)
        return bucketed(found, columns, self.multiple) if self.multiple else found

    def rows(self, epoch: int) -> np.ndarray:
        """Returns the rows [B, n] of an epoch."""
        if self.kind not in SHUFFLED:
            epoch = 0
        if self._epoch[0] != epoch:
            random = None
            if self.kind in SHUFFLED:
                random = np.random.default_rng([self.seed % 2**63, epoch, 1])
            stream = self.documents.stream(random)
            made, _ = rows(stream, self.batch_size, self.kind, self.bptt)
            self._epoch = (epoch, made)
        return self._epoch[1]

    def dataset(self, epoch: int, start: int, shard: Shard) -> tf.data.Dataset:
        """Returns the batches from a window on, without end.

        Args:
            epoch: the epoch that `start` is counted from.
            start: the first window; it may lie in a later epoch.
            shard: which rows of each batch are returned.

        Returns:
            `token_ids` and `labels` int32 [rows, T], `reset` [rows], 1 where an epoch
            begins and the state with it, and `scale` [rows], drawn length / bptt.
        """
        part = shard.part(self.batch_size)
        mine = slice(shard.index * part, (shard.index + 1) * part)

        def generate():
            now, skip = epoch, start
            while True:
                table = self.table(now)
                made = self.rows(now)[mine] if skip < len(table) else None
                for i in range(skip, len(table)):
                    first, drawn, length = table[i]
                    yield {
                        "token_ids": made[:, first : first + length],
                        "labels": made[:, first + 1 : first + length + 1],
                        "reset": np.full([part], i == 0, np.float32),
                        "scale": np.full([part], drawn / self.bptt, np.float32),
                    }
                now, skip = now + 1, max(skip - len(table), 0)

        ids = tf.TensorSpec([part, None], tf.int32)
        value = tf.TensorSpec([part], tf.float32)
        signature = {"token_ids": ids, "labels": ids, "reset": value, "scale": value}
        return tf.data.Dataset.from_generator(generate, output_signature=signature)

    def _columns(self) -> int:
        total, size = self.documents.tokens, self.batch_size
        if self.kind in DRAWN:
            return total // size - 1
        if self.kind == "fastai1":
            return -(-total // (self.bptt * size)) * self.bptt
        return (total - 1) // size

    def _draws(self, epoch: int) -> Iterator[tuple[float, float]]:
        random = np.random.default_rng([self.seed % 2**63, epoch, 0])
        while True:
            yield random.random(), random.standard_normal()


def epoch_runs(steps: Sequence[int]) -> list[tuple[int, int, int]]:
    """Returns runs of epochs of equal length: (first epoch, epochs, steps of each)."""
    found: list[tuple[int, int, int]] = []
    for epoch, count in enumerate(steps):
        if found and found[-1][2] == count:
            first, epochs, _ = found[-1]
            found[-1] = (first, epochs + 1, count)
        else:
            found.append((epoch, 1, count))
    return found
