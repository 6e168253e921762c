"""Batches by epoch: nothing dropped, padded by the head, started anywhere."""

import itertools

import numpy as np
import pytest

from tfdl.data.indexed import batches_per_epoch, epoch_batches
from tfdl.engine.distribution import Shard


def take(count, *arguments, **options):
    """Returns the first batches as (index, position) pairs."""
    found = epoch_batches(*arguments, **options).as_numpy_iterator()
    return [(b["index"], b["position"]) for b in itertools.islice(found, count)]


@pytest.mark.parametrize(
    "examples, batch, multiple", [(23, 8, 4), (24, 8, 8), (5, 8, 4)]
)
def test_an_epoch_has_every_example(examples, batch, multiple):
    steps = batches_per_epoch(examples, batch, multiple)
    whole = -(-examples // multiple) * multiple
    assert steps == -(-whole // batch)
    two = take(2 * steps, examples, batch, 7, 3, 0, Shard(), multiple=multiple)
    orders = []
    for batches in (two[:steps], two[steps:]):
        assert [len(index) for index, _ in batches[:-1]] == [batch] * (steps - 1)
        order = np.concatenate([index for index, _ in batches])
        assert len(order) == whole
        assert sorted(order[:examples]) == list(range(examples))
        # The sampler's padding: the head again.
        np.testing.assert_array_equal(order[examples:], order[: whole - examples])
        orders.append(order)
    assert (orders[0] != orders[1]).any()
    positions = np.concatenate([position for _, position in two])
    assert len(set(positions.tolist())) == 2 * whole


def test_full_batches_are_static():
    data = epoch_batches(23, 8, 0, 0, 0, Shard(), full=True)
    assert data.element_spec["index"].shape == (8,)
    batches = take(3, 23, 8, 0, 0, 0, Shard(), full=True)
    order = np.concatenate([index for index, _ in batches])
    np.testing.assert_array_equal(order[23:], order[:1])


def test_starts_anywhere_and_shards_are_slices():
    whole = take(9, 23, 8, 5, 2, 0, Shard(), multiple=4)
    for one, two in zip(
        take(5, 23, 8, 5, 2, 4, Shard(), multiple=4), whole[4:], strict=True
    ):
        np.testing.assert_array_equal(one, two)
    parts = [take(9, 23, 8, 5, 2, 0, Shard(i, 2), multiple=4) for i in range(2)]
    for a, b, both in zip(*parts, whole, strict=True):
        np.testing.assert_array_equal(np.concatenate([a, b], axis=1), both)
    # Phases go on where the one before ended.
    later = take(3, 23, 8, 5, 4, 0, Shard(), multiple=4)
    for one, two in zip(later, whole[6:9], strict=True):
        np.testing.assert_array_equal(one, two)
    assert any((take(1, 23, 8, 6, 2, 0, Shard())[0][0] != whole[0][0]).tolist())
