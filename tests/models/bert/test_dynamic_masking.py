"""Masks drawn at every step, against the rules of the golden instances."""

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import golden
from tfdl.data import records
from tfdl.models.bert import pretraining_records
from tfdl.models.bert.dynamic_masking import Masker, unmasked
from tfdl.text.vocab import load_vocab

VOCAB = load_vocab(golden("bert", "tf1", "vocab.txt"))


@pytest.fixture(scope="module")
def batch():
    """Returns the golden instances as one batch."""
    source = records.Records(str(golden("bert", "pretrain.tfrecord")))
    serialized = source.gather(tf.range(len(source), dtype=tf.int64))
    parsed = pretraining_records.parse(serialized, 40, 6)
    return {name: value.numpy() for name, value in parsed.items()}


def remask(batch, whole_words=False, seed=(1, 0, 5), rows=None):
    rows = rows or slice(0, len(batch["token_ids"]))
    return Masker(VOCAB, 0.15, whole_words)(batch, seed, rows)


@pytest.mark.parametrize("whole_words", [False, True])
def test_masks_follow_the_rules(batch, whole_words):
    made = remask(batch, whole_words)
    assert np.array_equal(unmasked(made), unmasked(batch))
    tokens, lengths = unmasked(batch), batch["padding_mask"].sum(1)
    used = made["masked_weights"] > 0
    counts, wanted = used.sum(1), np.clip(np.rint(0.15 * lengths), 1, 6)
    if whole_words:
        assert (counts <= wanted).all() and counts.sum() > 0.8 * wanted.sum()
    else:
        assert np.array_equal(counts, wanted)
    for row in range(len(tokens)):
        chosen = made["masked_positions"][row][used[row]]
        assert (np.diff(chosen) > 0).all() and not made["masked_ids"][row][
            counts[row] :
        ].any()
        assert not {"[CLS]", "[SEP]", "[PAD]"} & {VOCAB[i] for i in tokens[row][chosen]}
        if whole_words:
            masked = set(chosen.tolist())
            for i in range(1, lengths[row]):
                if VOCAB[tokens[row, i]].startswith("##"):
                    # A piece after [SEP] goes with the word before it.
                    before = i - 1 - (VOCAB[tokens[row, i - 1]] == "[SEP]")
                    if before > 0:
                        assert (i in masked) == (before in masked)
    names = ("token_ids", "masked_positions", "masked_ids", "masked_weights")
    assert all(made[name].dtype == batch[name].dtype for name in names)


def test_steps_differ_and_a_seed_reproduces(batch):
    first, again = remask(batch), remask(batch)
    other = remask(batch, seed=(1, 0, 6))
    assert np.array_equal(first["token_ids"], again["token_ids"])
    assert not np.array_equal(first["masked_positions"], other["masked_positions"])


def test_a_row_is_masked_alike_on_any_worker(batch):
    half = {name: value[10:20] for name, value in batch.items()}
    made = remask(half, rows=slice(10, 20))
    for name, value in remask(batch).items():
        assert np.array_equal(made[name], value[10:20])


def test_four_in_five_become_the_mask_token(batch):
    many = {name: np.repeat(value, 60, axis=0) for name, value in batch.items()}
    made = remask(many)
    used = made["masked_weights"] > 0
    shown = np.take_along_axis(made["token_ids"], made["masked_positions"], 1)[used]
    truth = made["masked_ids"][used]
    assert np.mean(shown == VOCAB.index("[MASK]")) == pytest.approx(0.8, abs=0.02)
    assert np.mean(shown == truth) == pytest.approx(0.1, abs=0.02)
