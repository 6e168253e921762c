"""Masks that are drawn anew each time an instance is read.

The original masks when it writes the records, `dupe_factor` times over. Drawing at
every step (as Liu et al. 2019, arXiv 1907.11692, section 4.1) gives a long run other
masks in every epoch, from the same records.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from tfdl.text.vocab import CLS, MASK, SEP


class Masker:
    """Replaces the masks of a batch.

    Args:
        vocab: tokens in the order of their ids.
        probability: masked_lm_prob.
        whole_words: mask all pieces of a word, or none.
    """

    def __init__(self, vocab: Sequence[str], probability: float, whole_words: bool):
        self.size, self.probability = len(vocab), probability
        self.mask = vocab.index(MASK)
        self.fixed = np.array([vocab.index(CLS), vocab.index(SEP)])
        self.inside = None
        if whole_words:
            self.inside = np.array([token.startswith("##") for token in vocab])

    def __call__(
        self, batch: Mapping[str, np.ndarray], seed: Sequence[int], rows: slice
    ) -> dict[str, np.ndarray]:
        """Returns the batch with other masks.

        Args:
            batch: with our names (`pretraining_records.NAMES`), NumPy arrays.
            seed: of the draws of the global batch.
            rows: which rows of the global batch these are; whatever the workers, a
                row is masked alike.
        """
        tokens = unmasked(batch)
        length, slots = tokens.shape[1], batch["masked_positions"].shape[1]
        # A generator for each: a worker draws no more rows than it needs.
        order, kind, other = (np.random.default_rng([*seed, i]) for i in range(3))
        order = order.random((rows.stop, length))[rows]
        kind = kind.random((rows.stop, length))[rows]
        other = other.integers(0, self.size, (rows.stop, length))[rows]
        real = batch["padding_mask"] > 0
        wanted = np.rint(real.sum(1) * self.probability).astype(int)
        wanted = np.clip(wanted, 1, slots)
        candidates = real & ~np.isin(tokens, self.fixed)
        chosen = self._choose(tokens, candidates, order, wanted)
        output = np.where(chosen & (kind < 0.8), self.mask, tokens)
        output = np.where(chosen & (kind >= 0.9), other, output)
        # The chosen positions first, in their order, then position 0 as filling.
        place = np.where(chosen, np.arange(length), length)
        positions = np.sort(place, axis=1)[:, :slots]
        used = positions < length
        positions = np.where(used, positions, 0).astype(np.int32)
        labels = np.take_along_axis(tokens, positions, axis=1)
        return {
            **batch,
            "token_ids": output.astype(np.int32),
            "masked_positions": positions,
            "masked_ids": np.where(used, labels, 0).astype(np.int32),
            "masked_weights": used.astype(np.float32),
        }

    def _choose(self, tokens, candidates, order, wanted) -> np.ndarray:
        """Returns which positions are predicted, bool [B, S]."""
        if self.inside is None:
            ranks = np.argsort(np.argsort(np.where(candidates, order, 2.0)))
            return candidates & (ranks < wanted[:, None])
        # As in the original, the first candidate begins a word, whatever it is.
        first = np.cumsum(candidates, axis=1) == 1
        starts = candidates & (first | ~self.inside[tokens])
        words = np.where(candidates, np.cumsum(starts, axis=1), 0)
        chosen = np.zeros_like(candidates)
        for row in range(len(tokens)):
            sizes = np.bincount(words[row])
            left = wanted[row]
            numbers = words[row][starts[row]]
            for word in numbers[np.argsort(order[row][starts[row]])]:
                if left == 0:
                    break
                if sizes[word] <= left:
                    chosen[row] |= words[row] == word
                    left -= sizes[word]
        return chosen


def unmasked(batch: Mapping[str, np.ndarray]) -> np.ndarray:
    """Returns the original tokens of masked instances, [B, S]."""
    tokens = batch["token_ids"].copy()
    row, slot = np.nonzero(batch["masked_weights"] > 0)
    tokens[row, batch["masked_positions"][row, slot]] = batch["masked_ids"][row, slot]
    return tokens
