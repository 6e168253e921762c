"""Windows over a corpus, against those of fastai 0.7 and 2."""

import numpy as np
import pytest

from tests.helpers import golden
from tfdl.data import bptt, sortish
from tfdl.data.bptt import Batches, Documents
from tfdl.engine.distribution import Shard
from tfdl.engine.errors import UserError

DOCUMENTS = Documents(
    [np.arange(n) + 100 * i for i, n in enumerate((31, 7, 53, 1, 20))]
)

WHOLE = Shard()


@pytest.fixture(scope="module")
def originals():
    return np.load(golden("ulmfit", "io_lm_batches.npz"))


def take(batches, epoch, start, count, shard=WHOLE):
    """Returns `count` batches as NumPy arrays."""
    dataset = batches.dataset(epoch, start, shard).take(count)
    return list(dataset.as_numpy_iterator())


def test_drawn_windows_equal_fastai_07(originals):
    length, batch, width = originals["stream_len"]
    table, columns = bptt.rows(np.arange(length), batch, "fastai07", width)
    np.testing.assert_array_equal(table.T, originals["batchify_v07"])
    draws = iter(originals["v07_draws_u_z"].tolist())
    found = bptt.windows(columns, width, "fastai07", draws)
    np.testing.assert_array_equal(found, originals["v07_windows_start_draw_real"])


def test_fixed_windows_equal_fastai_2(originals):
    length, batch, width = originals["stream_len"]
    table, columns = bptt.rows(np.arange(length), batch, "fastai2", width)
    windows = bptt.windows(columns, width, "fastai2", None)
    for k, (start, _, count) in enumerate(windows):
        x, y = originals[f"v2_x{k}"], originals[f"v2_y{k}"]
        np.testing.assert_array_equal(table[:, start : start + count], x)
        np.testing.assert_array_equal(table[:, start + 1 : start + count + 1], y)
    assert f"v2_x{len(windows)}" not in originals.files


def test_fastai_1_goes_on_at_the_beginning():
    table, columns = bptt.rows(np.arange(10), 2, "fastai1", 3)
    assert columns == 6
    np.testing.assert_array_equal(table, [[0, 1, 2, 3, 4, 5, 6], [5, 6, 7, 8, 9, 0, 1]])


def test_awd_lstm_lm_windows_cover_the_rows():
    draws = iter([(0.5, 0.0), (0.97, 0.0), (0.5, -9.0), (0.5, 3.0)])
    found = bptt.windows(80, 40, "awd-lstm-lm", draws)
    assert found == [(0, 40, 40), (40, 20, 20), (60, 5, 5), (65, 55, 15)]


def test_enas_lm_draws_no_length_far_off():
    draws = iter([(0.5, 1.9), (0.5, 9.0), (0.5, -2.1), (0.97, -1.0), (0.5, 0.0)])
    # 35 + 9; the next two draws are too far off for (0.5, ...), whose third is -1.
    found = bptt.windows(100, 35, "enas-lm", draws)
    assert found == [(0, 44, 44), (44, 30, 30), (74, 35, 26)]


@pytest.mark.parametrize("kind", bptt.KINDS)
def test_batches_are_a_function_of_the_step(kind):
    batches = Batches(DOCUMENTS, 4, 6, kind, seed=3)
    steps = [len(batches.table(epoch)) for epoch in range(3)]
    whole = take(batches, 0, 0, sum(steps))
    # Another object, asked in the middle of the second epoch.
    middle = steps[0] + 1
    later = take(Batches(DOCUMENTS, 4, 6, kind, seed=3), 0, middle, 2)
    for found, expected in zip(later, whole[middle:], strict=False):
        for name in expected:
            np.testing.assert_array_equal(found[name], expected[name])
    begins = [i for i, batch in enumerate(whole) if batch["reset"].all()]
    assert begins == list(np.cumsum([0, *steps[:2]]))
    assert not any(
        batch["reset"].any() for i, batch in enumerate(whole) if i not in begins
    )
    # Rows go on where they were, and labels are one ahead.
    for before, after in zip(whole[: steps[0] - 1], whole[1:], strict=False):
        np.testing.assert_array_equal(before["labels"][:, -1], after["token_ids"][:, 0])
    shuffled = not np.array_equal(whole[0]["token_ids"], whole[steps[0]]["token_ids"])
    assert shuffled == (kind in bptt.SHUFFLED) or kind in bptt.DRAWN


def test_workers_get_their_rows():
    batches = Batches(DOCUMENTS, 4, 6, "fastai2")
    whole = take(batches, 0, 0, 3)
    parts = [take(batches, 0, 0, 3, Shard(i, 2)) for i in range(2)]
    for one, two, both in zip(*parts, whole, strict=True):
        for name in both:
            together = np.concatenate([one[name], two[name]])
            np.testing.assert_array_equal(together, both[name])


def test_bucketed_windows_have_few_lengths():
    documents = Documents([np.arange(40_000)])
    batches = Batches(documents, 4, 70, "awd-lstm-lm", multiple=16)
    table = batches.table(0)
    assert {window.length % 16 for window in table} == {0}
    assert len({window.length for window in table}) <= 7
    covered = sum(window.length for window in table)
    assert 9999 - covered < 16
    starts = np.cumsum([0] + [window.length for window in table])[:-1]
    assert [window.start for window in table] == starts.tolist()


def test_a_corpus_that_is_too_small_is_refused():
    with pytest.raises(UserError, match="12 tokens are too few for 8 rows"):
        Batches(Documents([np.arange(12)]), 8, 70)
    with pytest.raises(UserError, match="did you mean 'fastai2'"):
        Batches(DOCUMENTS, 2, 5, "fastai3")


def test_runs_of_equal_epochs():
    assert bptt.epoch_runs([5, 5, 6, 5]) == [(0, 2, 5), (2, 1, 6), (3, 1, 5)]


def test_sortish_batches():
    lengths = np.random.default_rng(0).integers(1, 500, 1003)
    plan = sortish.sortish_batches(lengths, 4, np.random.default_rng(1))
    again = sortish.sortish_batches(lengths, 4, np.random.default_rng(1))
    np.testing.assert_array_equal(plan, again)
    assert plan.shape == (251, 4)
    # All are there, one more to fill up.
    counts = np.bincount(plan.ravel(), minlength=1003)
    assert counts.min() == 1 and counts.sum() == 1004
    assert lengths[plan[0]].max() == lengths.max()
    padding = lengths[plan].max(1, keepdims=True) - lengths[plan]
    random = lengths[: 251 * 4 - 4].reshape(-1, 4)
    assert padding.sum() < 0.2 * (random.max(1, keepdims=True) - random).sum()
    few = sortish.sortish_batches(np.array([3, 9]), 8, np.random.default_rng(0))
    assert few.shape == (1, 8) and set(few.ravel()) == {0, 1}


def test_training_batches_go_on_anywhere():
    documents = [np.full(n, n, np.int32) for n in (5, 2, 9, 4, 7)]
    labels = np.arange(5, dtype=np.int32)

    def batches(start, shard=WHOLE):
        found = sortish.training_batches(documents, labels, 2, 7, 1, start, shard, 1)
        return list(found.take(7 - start).as_numpy_iterator())

    whole = batches(0)
    for found, expected in zip(batches(4), whole[4:], strict=True):
        np.testing.assert_array_equal(found["token_ids"], expected["token_ids"])
    assert whole[0]["token_ids"].shape[1] == 9
    half = batches(0, Shard(1, 2))[0]
    np.testing.assert_array_equal(half["token_ids"], whole[0]["token_ids"][1:])


def test_evaluation_batches_cover_each_once():
    lengths = np.array([3, 9, 1, 4, 4])
    plan = list(sortish.evaluation_batches(lengths, 2))
    assert [(batch.tolist(), count) for batch, count in plan] == [
        ([1, 3], 2),
        ([4, 0], 2),
        ([2, 2], 1),
    ]
